//! The store on disk: one redb file, a lock against a second agent, and a reserve for a full disk.
//! A damaged file is moved aside and begun anew, and said so. Does IO; knows nothing of what the state means.

mod beside;
#[cfg(test)]
mod tests;
mod whole;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use prost::Message as _;
use redb::{Database, ReadableDatabase, Table};
use serde::de::DeserializeOwned;

use super::{JournalEntry, KeptDocument, LedgerEntry, ServiceRecord, Store, StoreError, Voucher};
use crate::{agent::host::machine, model::PublicKey, wire::trust_v1::Envelope};
use beside::{lock, make_reserve, move_aside, release_reserve};
use whole::{Definition, FORMAT, Fault, LEDGER, META, SERVICES, open_whole, rows};

/// Small durable state in `<folder>/agent.redb`.
#[derive(Debug)]
pub struct DiskStore {
    folder: PathBuf,
    /// Held until the process ends, however it ends.
    _lock: File,
    damage: Option<String>,
    /// `None` after an I/O error: redb refuses everything then until it is opened again.
    database: Mutex<Option<Database>>,
}

/// Why there is no store to work with.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Two agents must never share a state directory.
    #[error("another agent runs with the state directory {0}; expected to be the only one")]
    InUse(String),
    /// The folder or the file cannot be used.
    #[error("open the agent's store at {path}: {source}")]
    Io {
        /// Which.
        path: String,
        /// What the machine says.
        source: std::io::Error,
    },
    /// Made by a version that this one does not know.
    #[error(
        "the agent's store at {path} has the format {found}, expected {FORMAT}: it belongs to a newer windlass-agent"
    )]
    Newer {
        /// Which.
        path: String,
        /// What it says.
        found: u64,
    },
    /// Neither the old file nor a new one can be opened.
    #[error("open the agent's store at {path}: {why}")]
    Unusable {
        /// Which.
        path: String,
        /// What redb says.
        why: String,
    },
}

impl DiskStore {
    /// Opens the store in this folder, creating both where they are absent.
    pub fn open(folder: &Path) -> Result<Self, OpenError> {
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |source| OpenError::Io { path, source }
        };
        machine::create_private_directory(folder).map_err(io(folder))?;
        let lock = lock(folder)?;
        make_reserve(folder);
        let path = folder.join("agent.redb");
        let (database, lost) = match open_whole(&path) {
            Ok(database) => (database, None),
            Err(Fault::Io(source)) => return Err(OpenError::Io { path: path.display().to_string(), source }),
            Err(Fault::Newer(found)) => return Err(OpenError::Newer { path: path.display().to_string(), found }),
            Err(Fault::Damaged(why)) => {
                let aside = move_aside(&path).map_err(io(&path))?;
                let database = open_whole(&path)
                    .map_err(|e| OpenError::Unusable { path: path.display().to_string(), why: format!("{e:?}") })?;
                let lost = format!(
                    "the agent's store was damaged ({why}) and begun anew; what is present counts as adopted and \
                     nothing is pruned; the old file is {}",
                    aside.display()
                );
                (database, Some(lost))
            }
        };
        let mut store = Self { folder: folder.to_owned(), _lock: lock, damage: None, database: Some(database).into() };
        if let Some(lost) = &lost {
            store
                .put("damage", Some(lost))
                .map_err(|e| OpenError::Unusable { path: path.display().to_string(), why: e.to_string() })?;
        }
        store.damage = store.still_damaged(lost);
        Ok(store)
    }

    /// Damage is said until the first start after a revision was carried out whole.
    fn still_damaged(&self, lost: Option<String>) -> Option<String> {
        if lost.is_some() {
            return lost;
        }
        let earlier = self.get::<String>("damage").ok().flatten()?;
        if self.applied().is_ok_and(|applied| applied.is_some()) {
            let _ = self.put::<String>("damage", None);
            return None;
        }
        Some(earlier)
    }

    fn database(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, read: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        self.with(read)
    }

    /// One transaction over the three tables, durable when it returns.
    fn write(&self, change: impl Fn(&mut Tables<'_>) -> Result<(), redb::Error>) -> Result<(), StoreError> {
        self.with(|database| {
            let transaction = database.begin_write()?;
            let mut tables = Tables {
                meta: transaction.open_table(META)?,
                ledger: transaction.open_table(LEDGER)?,
                services: transaction.open_table(SERVICES)?,
            };
            change(&mut tables)?;
            drop(tables);
            Ok(transaction.commit()?)
        })
    }

    /// Tries it, and once more after opening anew: redb wants that after any I/O error, and a disk that was
    /// full has the reserve's room then.
    fn with<T>(&self, work: impl Fn(&Database) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let mut held = self.database();
        for last in [false, true] {
            if held.is_none() {
                *held = open_whole(&self.folder.join("agent.redb")).ok();
            }
            let Some(database) = held.as_ref() else { break };
            match work(database) {
                Ok(value) => return Ok(value),
                Err(error) if !is_io(&error) => return Err(StoreError(error.to_string())),
                Err(error) => {
                    *held = None;
                    release_reserve(&self.folder);
                    if last {
                        return Err(StoreError(error.to_string()));
                    }
                }
            }
        }
        Err(StoreError(format!("cannot open {}", self.folder.join("agent.redb").display())))
    }

    fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, StoreError> {
        let bytes = self.bytes(key)?;
        bytes.map(|bytes| serde_json::from_slice(&bytes).map_err(|e| StoreError(format!("{key}: {e}")))).transpose()
    }

    fn bytes(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|database| {
            let table = database.begin_read()?.open_table(META)?;
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
    }

    fn put<T: serde::Serialize>(&self, key: &str, value: Option<&T>) -> Result<(), StoreError> {
        let value = value.map(encode).transpose()?;
        self.write(|tables| set(&mut tables.meta, key, value.as_deref()))
    }

    fn all<T: DeserializeOwned>(&self, table: Definition) -> Result<Vec<(String, T)>, StoreError> {
        let rows = self.read(|database| rows(database, table))?;
        rows.into_iter()
            .map(|(key, value)| {
                let value = serde_json::from_slice(&value).map_err(|e| StoreError(format!("{key}: {e}")))?;
                Ok((key, value))
            })
            .collect()
    }
}

struct Tables<'t> {
    meta: Table<'t, &'static str, &'static [u8]>,
    ledger: Table<'t, &'static str, &'static [u8]>,
    services: Table<'t, &'static str, &'static [u8]>,
}

impl Store for DiskStore {
    fn last_session(&self) -> Result<u64, StoreError> {
        Ok(self.get("session")?.unwrap_or_default())
    }

    fn set_last_session(&self, number: u64) -> Result<(), StoreError> {
        self.put("session", Some(&number))
    }

    fn desired(&self) -> Result<Option<KeptDocument>, StoreError> {
        let Some(bytes) = self.bytes("desired")? else { return Ok(None) };
        // What cannot be read vouches for nothing, and that is told where it is asked for.
        let envelope = self.bytes("desired.envelope")?.and_then(|bytes| Envelope::decode(&bytes[..]).ok());
        let signer = self.bytes("desired.signer")?.and_then(|bytes| PublicKey::try_from(&bytes[..]).ok());
        let voucher = envelope.zip(signer).map(|(envelope, signer)| Voucher { envelope, signer });
        Ok(Some(KeptDocument { bytes, voucher }))
    }

    fn set_desired(&self, document: Option<&KeptDocument>) -> Result<(), StoreError> {
        self.write(|tables| {
            set(&mut tables.meta, "desired", document.map(|kept| &kept.bytes[..]))?;
            vouch(&mut tables.meta, document.and_then(|kept| kept.voucher.as_ref()))
        })
    }

    fn set_voucher(&self, voucher: &Voucher) -> Result<(), StoreError> {
        self.write(|tables| vouch(&mut tables.meta, Some(voucher)))
    }

    fn applied(&self) -> Result<Option<String>, StoreError> {
        self.get("applied")
    }

    fn set_applied(&self, revision: Option<&str>) -> Result<(), StoreError> {
        self.put("applied", revision.as_ref())
    }

    fn released(&self) -> Result<bool, StoreError> {
        Ok(self.get("released")?.unwrap_or_default())
    }

    fn set_released(&self, released: bool) -> Result<(), StoreError> {
        self.put("released", Some(&released))
    }

    fn ledger(&self) -> Result<Vec<(String, LedgerEntry)>, StoreError> {
        self.all(LEDGER)
    }

    fn settle(&self, identity: &str, entry: Option<&LedgerEntry>) -> Result<(), StoreError> {
        let entry = entry.map(encode).transpose()?;
        self.write(|tables| {
            set(&mut tables.ledger, identity, entry.as_deref())?;
            set(&mut tables.meta, "journal", None)
        })
    }

    fn journal(&self) -> Result<Option<JournalEntry>, StoreError> {
        self.get("journal")
    }

    fn set_journal(&self, entry: &JournalEntry) -> Result<(), StoreError> {
        self.put("journal", Some(entry))
    }

    fn services(&self) -> Result<Vec<(String, ServiceRecord)>, StoreError> {
        self.all(SERVICES)
    }

    fn set_service(&self, name: &str, record: Option<&ServiceRecord>) -> Result<(), StoreError> {
        let record = record.map(encode).transpose()?;
        self.write(|tables| set(&mut tables.services, name, record.as_deref()))
    }

    fn damage(&self) -> Option<String> {
        self.damage.clone()
    }
}

fn encode(value: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|e| StoreError(e.to_string()))
}

fn vouch(meta: &mut Table<'_, &'static str, &'static [u8]>, voucher: Option<&Voucher>) -> Result<(), redb::Error> {
    let envelope = voucher.map(|voucher| voucher.envelope.encode_to_vec());
    set(meta, "desired.envelope", envelope.as_deref())?;
    set(meta, "desired.signer", voucher.map(|voucher| &voucher.signer.as_bytes()[..]))
}

fn set(table: &mut Table<'_, &'static str, &'static [u8]>, key: &str, value: Option<&[u8]>) -> Result<(), redb::Error> {
    match value {
        Some(value) => table.insert(key, value)?,
        None => table.remove(key)?,
    };
    Ok(())
}

fn is_io(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed)
}
