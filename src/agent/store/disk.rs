//! The store on disk: one redb file, a lock against a second agent, and a reserve for a full disk.
//! A damaged file is moved aside and begun anew, and said so. Does IO; knows nothing of what the state means.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{ErrorKind, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use redb::{Database, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition};
use serde::de::DeserializeOwned;

use super::{JournalEntry, LedgerEntry, ServiceRecord, Store, StoreError};
use crate::agent::host::machine;

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

type Definition = TableDefinition<'static, &'static str, &'static [u8]>;
const META: Definition = Definition::new("meta");
const LEDGER: Definition = Definition::new("ledger");
const SERVICES: Definition = Definition::new("services");

/// Format of what stands in the tables.
const FORMAT: u64 = 1;
/// The state is a few hundred KiB; the agent's memory is counted.
const CACHE_BYTES: usize = 256 << 10;
/// Released on a full disk, so that the journal can still be written.
const RESERVE_BYTES: usize = 1 << 20;

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

    fn desired(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.bytes("desired")
    }

    fn set_desired(&self, document: Option<&[u8]>) -> Result<(), StoreError> {
        self.write(|tables| set(&mut tables.meta, "desired", document))
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

fn set(table: &mut Table<'_, &'static str, &'static [u8]>, key: &str, value: Option<&[u8]>) -> Result<(), redb::Error> {
    match value {
        Some(value) => table.insert(key, value)?,
        None => table.remove(key)?,
    };
    Ok(())
}

fn rows(database: &Database, table: Definition) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let table = database.begin_read()?.open_table(table)?;
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        rows.push((key.value().to_owned(), value.value().to_vec()));
    }
    Ok(rows)
}

fn is_io(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::PreviousIo | redb::Error::DatabaseClosed)
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let fail = |source| OpenError::Io { path: path.display().to_string(), source };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(fail)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.display().to_string())),
        Err(TryLockError::Error(source)) => Err(fail(source)),
    }
}

/// Best effort: an agent on a disk that is full already still supervises what runs.
fn make_reserve(folder: &Path) {
    let path = folder.join("reserve");
    if fs::metadata(&path).is_ok_and(|m| m.len() == RESERVE_BYTES as u64) {
        return;
    }
    let made = File::create(&path).and_then(|mut file| file.write_all(&vec![0; RESERVE_BYTES]));
    if made.is_err() {
        let _ = fs::remove_file(&path);
    }
}

fn release_reserve(folder: &Path) {
    if fs::remove_file(folder.join("reserve")).is_ok() {
        tracing::warn!("the agent's store could not be written; released the reserve");
    }
}

fn move_aside(path: &Path) -> std::io::Result<PathBuf> {
    let aside = path.with_extension("redb.damaged");
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[derive(Debug)]
enum Fault {
    Io(std::io::Error),
    Newer(u64),
    Damaged(String),
}

/// Opens the file, checks every page and reads every record once.
fn open_whole(path: &Path) -> Result<Database, Fault> {
    // redb may panic on a file that was altered; that is damage as well.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
        let database = builder.create(path).map_err(redb::Error::from)?;
        check_records(&database)?;
        Ok(database)
    }));
    match opened {
        Ok(result) => result,
        Err(_) => Err(Fault::Damaged("reading it panicked".to_owned())),
    }
}

fn check_records(database: &Database) -> Result<(), Fault> {
    let transaction = database.begin_write().map_err(redb::Error::from)?;
    for table in [META, LEDGER, SERVICES] {
        transaction.open_table(table).map_err(redb::Error::from)?;
    }
    {
        let mut meta = transaction.open_table(META).map_err(redb::Error::from)?;
        let format = meta.get("format").map_err(redb::Error::from)?.map(|value| parse::<u64>("format", value.value()));
        match format.transpose()? {
            Some(FORMAT) => {}
            Some(found) => return Err(Fault::Newer(found)),
            None => {
                meta.insert("format", FORMAT.to_string().as_bytes()).map_err(redb::Error::from)?;
            }
        }
    }
    transaction.commit().map_err(redb::Error::from)?;
    for (key, value) in rows(database, META)? {
        match key.as_str() {
            "session" => drop(parse::<u64>(&key, &value)?),
            "applied" | "damage" => drop(parse::<String>(&key, &value)?),
            "released" => drop(parse::<bool>(&key, &value)?),
            "journal" => drop(parse::<JournalEntry>(&key, &value)?),
            _ => {}
        }
    }
    for (key, value) in rows(database, LEDGER)? {
        parse::<LedgerEntry>(&key, &value)?;
    }
    for (key, value) in rows(database, SERVICES)? {
        parse::<ServiceRecord>(&key, &value)?;
    }
    Ok(())
}

fn parse<T: DeserializeOwned>(key: &str, value: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(value).map_err(|e| Fault::Damaged(format!("{key}: {e}")))
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        match error {
            // What redb reports as wrong data in a file that could be read is damage, not trouble of the disk.
            redb::Error::Io(e) if !matches!(e.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof) => Self::Io(e),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        redb::Error::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::{
            place::Thing,
            store::{MemoryStore, Origin},
        },
        model::HostPath,
    };

    fn entry(path: &str) -> LedgerEntry {
        let thing = Thing::File(HostPath::parse(path).expect("path"));
        LedgerEntry { thing, origin: Origin::Created, carried_out: "ab".into() }
    }

    fn intent(path: &str) -> JournalEntry {
        JournalEntry { entry: entry(path), was_absent: true, digest: "00".into(), salt: String::new(), removal: false }
    }

    fn each_kind(behaviour: impl Fn(&dyn Store)) {
        behaviour(&MemoryStore::default());
        let folder = tempfile::tempdir().expect("folder");
        behaviour(&DiskStore::open(folder.path()).expect("open"));
    }

    #[test]
    fn what_is_kept_is_given_back() {
        each_kind(|store| {
            assert_eq!((store.last_session(), store.desired(), store.applied()), (Ok(0), Ok(None), Ok(None)));
            store.set_last_session(7).expect("session");
            store.set_desired(Some(b"doc")).expect("desired");
            store.set_applied(Some("ab")).expect("applied");
            store.set_released(true).expect("released");
            assert_eq!(store.last_session(), Ok(7));
            assert_eq!(store.desired(), Ok(Some(b"doc".to_vec())));
            assert_eq!(store.applied(), Ok(Some("ab".into())));
            assert_eq!(store.released(), Ok(true));
            store.set_desired(None).expect("desired");
            assert_eq!(store.desired(), Ok(None));
        });
    }

    #[test]
    fn settling_an_entry_clears_the_journal() {
        each_kind(|store| {
            store.set_journal(&intent("/a")).expect("journal");
            assert_eq!(store.journal(), Ok(Some(intent("/a"))));
            store.settle("/a", Some(&entry("/a"))).expect("settle");
            assert_eq!(store.journal(), Ok(None));
            assert_eq!(store.ledger(), Ok(vec![("/a".into(), entry("/a"))]));
            store.settle("/a", None).expect("settle");
            assert_eq!(store.ledger(), Ok(vec![]));
        });
    }

    #[test]
    fn a_store_that_is_opened_again_has_kept_everything() {
        let folder = tempfile::tempdir().expect("folder");
        {
            let store = DiskStore::open(folder.path()).expect("open");
            store.set_last_session(3).expect("session");
            store.set_journal(&intent("/a")).expect("journal");
        }
        let store = DiskStore::open(folder.path()).expect("open again");
        assert_eq!((store.last_session(), store.journal()), (Ok(3), Ok(Some(intent("/a")))));
        assert_eq!(store.damage(), None);
    }

    #[test]
    fn two_agents_never_share_a_state_directory() {
        let folder = tempfile::tempdir().expect("folder");
        let _first = DiskStore::open(folder.path()).expect("open");
        assert!(matches!(DiskStore::open(folder.path()), Err(OpenError::InUse(_))));
    }

    #[test]
    fn a_damaged_file_is_moved_aside_and_said_until_a_revision_was_carried_out() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("agent.redb");
        {
            let store = DiskStore::open(folder.path()).expect("open");
            for i in 0..200 {
                store.settle(&format!("/{i}"), Some(&entry("/x"))).expect("settle");
            }
        }
        let mut bytes = fs::read(&path).expect("file");
        let at = bytes.windows(9).position(|w| w == b"\"Created\"").expect("a record");
        bytes[at + 1] ^= 1;
        for byte in &mut bytes[4096..] {
            *byte = byte.wrapping_add(u8::from(*byte == b'C'));
        }
        fs::write(&path, bytes).expect("damage");

        let store = DiskStore::open(folder.path()).expect("begun anew");
        let said = store.damage().expect("said");
        assert!(said.contains("agent.redb.damaged"), "{said}");
        assert_eq!(store.ledger(), Ok(vec![]));
        assert!(folder.path().join("agent.redb.damaged").exists());
        drop(store);

        let store = DiskStore::open(folder.path()).expect("open");
        assert!(store.damage().is_some(), "nothing was carried out since");
        store.set_applied(Some("ab")).expect("applied");
        drop(store);
        assert_eq!(DiskStore::open(folder.path()).expect("open").damage(), None);
    }

    #[test]
    fn a_file_of_rubbish_or_cut_short_is_damage_too() {
        for rubbish in [vec![7u8; 10], vec![0u8; 100_000]] {
            let folder = tempfile::tempdir().expect("folder");
            fs::write(folder.path().join("agent.redb"), rubbish).expect("rubbish");
            assert!(DiskStore::open(folder.path()).expect("begun anew").damage().is_some());
        }
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("agent.redb");
        drop(DiskStore::open(folder.path()).expect("open"));
        let length = fs::metadata(&path).expect("file").len();
        OpenOptions::new().write(true).open(&path).and_then(|f| f.set_len(length / 3)).expect("cut");
        assert!(DiskStore::open(folder.path()).expect("begun anew").damage().is_some());
    }

    #[test]
    fn a_store_of_a_newer_version_is_left_alone() {
        let folder = tempfile::tempdir().expect("folder");
        {
            let store = DiskStore::open(folder.path()).expect("open");
            store.put("format", Some(&2u64)).expect("format");
        }
        assert!(matches!(DiskStore::open(folder.path()), Err(OpenError::Newer { found: 2, .. })));
    }
}
