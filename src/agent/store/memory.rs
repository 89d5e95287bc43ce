//! A store in memory, for tests and simulations. What it holds survives as long as it does: a simulated
//! crash drops the agent and keeps the store.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{JournalEntry, KeptDocument, LedgerEntry, ServiceRecord, Store, StoreError, Voucher};

/// Small durable state, in memory.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    session: u64,
    desired: Option<KeptDocument>,
    applied: Option<String>,
    released: bool,
    ledger: BTreeMap<String, LedgerEntry>,
    journal: Option<JournalEntry>,
    services: BTreeMap<String, ServiceRecord>,
    damage: Option<String>,
    is_full: bool,
}

impl MemoryStore {
    /// From now on (or no longer), its disk is full: nothing can be written.
    pub fn set_full(&self, is_full: bool) {
        self.state().is_full = is_full;
    }

    fn writable(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state();
        if state.is_full { Err(StoreError("no space left on device".to_owned())) } else { Ok(state) }
    }

    /// A store that was found damaged and begun anew.
    pub fn damaged(what: &str) -> Self {
        Self(Mutex::new(State { damage: Some(what.to_owned()), ..State::default() }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn last_session(&self) -> Result<u64, StoreError> {
        Ok(self.state().session)
    }

    fn set_last_session(&self, number: u64) -> Result<(), StoreError> {
        self.writable()?.session = number;
        Ok(())
    }

    fn desired(&self) -> Result<Option<KeptDocument>, StoreError> {
        Ok(self.state().desired.clone())
    }

    fn set_desired(&self, document: Option<&KeptDocument>) -> Result<(), StoreError> {
        self.writable()?.desired = document.cloned();
        Ok(())
    }

    fn set_voucher(&self, voucher: &Voucher) -> Result<(), StoreError> {
        if let Some(kept) = &mut self.writable()?.desired {
            kept.voucher = Some(voucher.clone());
        }
        Ok(())
    }

    fn applied(&self) -> Result<Option<String>, StoreError> {
        Ok(self.state().applied.clone())
    }

    fn set_applied(&self, revision: Option<&str>) -> Result<(), StoreError> {
        self.writable()?.applied = revision.map(str::to_owned);
        Ok(())
    }

    fn released(&self) -> Result<bool, StoreError> {
        Ok(self.state().released)
    }

    fn set_released(&self, released: bool) -> Result<(), StoreError> {
        self.writable()?.released = released;
        Ok(())
    }

    fn ledger(&self) -> Result<Vec<(String, LedgerEntry)>, StoreError> {
        Ok(self.state().ledger.iter().map(|(identity, entry)| (identity.clone(), entry.clone())).collect())
    }

    fn settle(&self, identity: &str, entry: Option<&LedgerEntry>) -> Result<(), StoreError> {
        let mut state = self.writable()?;
        match entry {
            Some(entry) => state.ledger.insert(identity.to_owned(), entry.clone()),
            None => state.ledger.remove(identity),
        };
        state.journal = None;
        Ok(())
    }

    fn journal(&self) -> Result<Option<JournalEntry>, StoreError> {
        Ok(self.state().journal.clone())
    }

    fn set_journal(&self, entry: &JournalEntry) -> Result<(), StoreError> {
        self.writable()?.journal = Some(entry.clone());
        Ok(())
    }

    fn services(&self) -> Result<Vec<(String, ServiceRecord)>, StoreError> {
        Ok(self.state().services.iter().map(|(name, record)| (name.clone(), record.clone())).collect())
    }

    fn set_service(&self, name: &str, record: Option<&ServiceRecord>) -> Result<(), StoreError> {
        let mut state = self.writable()?;
        match record {
            Some(record) => state.services.insert(name.to_owned(), record.clone()),
            None => state.services.remove(name),
        };
        Ok(())
    }

    fn damage(&self) -> Option<String> {
        self.state().damage.clone()
    }
}
