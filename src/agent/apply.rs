//! Carries out one action: journal, do, settle; and after a crash or a failure finds out how far it came.
//! IO through the host and the store. "X was absent, will create" makes X owned; nothing else does.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use super::{
    contents::Contents,
    host::{Host, PathState, Reason, Removed},
    observe::look,
    place::{Place, Thing},
    plan::{Action, Deed},
    retry::Trouble,
    store::{JournalEntry, LedgerEntry, Origin, Store, StoreError},
};
use crate::model::{Attributes, Digest, HostPath, Salt, Source};

/// Where actions are carried out.
#[derive(Clone, Copy)]
pub struct Ground<'g> {
    /// The machine.
    pub host: &'g dyn Host,
    /// Where intents and what is owned are kept.
    pub store: &'g dyn Store,
    /// Where bytes come from.
    pub contents: &'g dyn Contents,
    /// For tests of crashes.
    pub crash: &'g CrashPoint,
}

/// Why an action was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// The machine did not do it.
    Trouble(Trouble),
    /// It could not be journaled or settled: nothing more is to be done before [`recover`] has run.
    Store(StoreError),
}

impl From<StoreError> for Undone {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Ends the process at the n-th journal step, for tests that kill the real program at each of them. There are
/// three steps to an action: after the journal was written, after the action, after it was settled.
#[derive(Debug, Default)]
pub struct CrashPoint(AtomicU32);

impl CrashPoint {
    /// At this step, counted from 1; 0 for never.
    pub fn at(step: u32) -> Self {
        Self(AtomicU32::new(step))
    }

    fn step(&self) {
        let left = self.0.load(Ordering::Relaxed);
        self.0.store(left.saturating_sub(1), Ordering::Relaxed);
        if left == 1 {
            std::process::abort();
        }
    }
}

/// Carries out one action.
pub fn carry_out(
    ground: Ground<'_>,
    ledger: &mut BTreeMap<String, LedgerEntry>,
    action: &Action,
) -> Result<(), Undone> {
    let identity = action.place().identity();
    if action.deed == Deed::Note {
        return Ok(settle(ground, ledger, &identity, action.afterwards.as_ref())?);
    }
    ground.store.set_journal(&intent(ledger.get(&identity), action))?;
    ground.crash.step();
    let done = act(ground, &action.place(), &action.deed);
    ground.crash.step();
    let ended = match done {
        Ok(()) => Ok(settle(ground, ledger, &identity, action.afterwards.as_ref())?),
        Err(trouble) => {
            recover(ground, ledger)?;
            Err(Undone::Trouble(trouble))
        }
    };
    ground.crash.step();
    ended
}

/// Finds out what became of an action that was begun and not settled.
pub fn recover(ground: Ground<'_>, ledger: &mut BTreeMap<String, LedgerEntry>) -> Result<(), StoreError> {
    let Some(journal) = ground.store.journal()? else { return Ok(()) };
    let place = journal.entry.thing.place();
    let identity = place.identity();
    if let (Thing::File(path), false) = (&journal.entry.thing, journal.removal) {
        // It could hold a secret. If it cannot be removed now, the next write of that file does it.
        let _ = ground.host.discard_interrupted(path);
    }
    let seen = look(ground.host, &place, salt(&journal).as_ref()).ok();
    let entry = match (&seen, journal.removal) {
        (Some(PathState::Absent), _) => None,
        (Some(seen), false) if journal.was_absent && is_intended(&journal, seen) => {
            // Attributes may not have been set yet: they are looked at again.
            Some(LedgerEntry { origin: Origin::Created, carried_out: String::new(), ..journal.entry.clone() })
        }
        _ => ledger.get(&identity).cloned(),
    };
    settle(ground, ledger, &identity, entry.as_ref())
}

fn settle(
    ground: Ground<'_>,
    ledger: &mut BTreeMap<String, LedgerEntry>,
    identity: &str,
    entry: Option<&LedgerEntry>,
) -> Result<(), StoreError> {
    ground.store.settle(identity, entry)?;
    match entry {
        Some(entry) => ledger.insert(identity.to_owned(), entry.clone()),
        None => ledger.remove(identity),
    };
    Ok(())
}

fn intent(managed: Option<&LedgerEntry>, action: &Action) -> JournalEntry {
    let (digest, salt) = match &action.deed {
        Deed::WriteFile(source, _) => {
            (source.digest().to_string(), source.salt().map(|s| hex(s.as_bytes())).unwrap_or_default())
        }
        _ => (String::new(), String::new()),
    };
    let entry = action.afterwards.as_ref().or(managed).cloned().unwrap_or_else(|| LedgerEntry {
        thing: action.thing.clone(),
        origin: Origin::Adopted,
        carried_out: String::new(),
    });
    JournalEntry { entry, was_absent: action.was_absent, digest, salt, removal: action.afterwards.is_none() }
}

fn is_intended(journal: &JournalEntry, seen: &PathState) -> bool {
    match (&journal.entry.thing, seen) {
        (Thing::Directory(_), PathState::Directory(_)) => true,
        (Thing::File(_), PathState::File { digest, .. }) => digest.to_string() == journal.digest,
        _ => false,
    }
}

fn act(ground: Ground<'_>, place: &Place, deed: &Deed) -> Result<(), Trouble> {
    let Ground { host, contents, .. } = ground;
    let Place::Path(path) = place;
    match deed {
        Deed::CreateDirectory(attributes) => host.create_directory(path, attributes)?,
        Deed::WriteFile(source, attributes) => write(host, contents, path, source, attributes)?,
        Deed::SetAttributes(attributes) => host.set_attributes(path, attributes)?,
        Deed::RemoveFile => host.remove_file(path)?,
        Deed::RemoveDirectory { or_leave } => {
            if host.remove_directory(path)? == Removed::NotEmpty && !or_leave {
                let message = format!("remove the directory {path}, where a file should be: things lie in it");
                return Err(Trouble::new(Reason::WrongKind.as_str(), message));
            }
        }
        Deed::Note => {}
    }
    Ok(())
}

fn write(
    host: &dyn Host,
    contents: &dyn Contents,
    path: &HostPath,
    source: &Source,
    attributes: &Attributes,
) -> Result<(), Trouble> {
    let mut content = contents
        .open(&source.digest())
        .map_err(|e| Trouble::new(Reason::IoError.as_str(), format!("read the contents of {path}: {e}")))?;
    Ok(host.write_file(path, content.as_mut(), attributes, source.is_secret())?)
}

fn salt(journal: &JournalEntry) -> Option<Salt> {
    // Written as a digest is: 32 bytes in hex.
    Digest::from_hex(&journal.salt).ok().map(|bytes| Salt::new(*bytes.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
