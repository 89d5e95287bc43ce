//! Opens the store's file only if it is whole: every page is checked and every record read once. Does IO.

use std::{
    io::{self, ErrorKind},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

use redb::{Database, ReadableDatabase, ReadableTable, StorageError, TableDefinition};
use serde::de::DeserializeOwned;

use super::super::{JournalEntry, LedgerEntry, ServiceRecord};

pub(super) type Definition = TableDefinition<'static, &'static str, &'static [u8]>;
pub(super) const META: Definition = Definition::new("meta");
pub(super) const LEDGER: Definition = Definition::new("ledger");
pub(super) const SERVICES: Definition = Definition::new("services");

/// Format of what stands in the tables.
pub(super) const FORMAT: u64 = 1;
/// The state is a few hundred KiB; the agent's memory is counted.
const CACHE_BYTES: usize = 256 << 10;

/// Why a file is not opened.
#[derive(Debug)]
pub(super) enum Fault {
    Io(io::Error),
    Newer(u64),
    Damaged(String),
}

/// Opens the file, checks every page and reads every record once.
pub(super) fn open_whole(path: &Path) -> Result<Database, Fault> {
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

/// All that a table holds.
pub(super) fn rows(database: &Database, table: Definition) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let table = database.begin_read()?.open_table(table)?;
    let mut rows = Vec::new();
    for row in table.iter()? {
        let (key, value) = row?;
        rows.push((key.value().to_owned(), value.value().to_vec()));
    }
    Ok(rows)
}
