//! What the store keeps of managed things, and how that is written: in JSON, which later versions go on reading.
//! Pure.

use serde::{Deserialize, Serialize};

use crate::{
    agent::place::Thing,
    model::{HostPath, PathError},
};

/// Something that the agent manages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// What, and where as written in the document.
    #[serde(flatten)]
    pub thing: Thing,
    /// Whether the agent made it, or found it.
    pub origin: Origin,
    /// Digest of the entry (contents and attributes) as it was last carried out, in hex; empty for none.
    /// Under Audit an entry that differs from it is a change by the operator and is carried out once, while
    /// a machine that differs from it is drift and is only reported.
    #[serde(default)]
    pub carried_out: String,
}

/// Who made a managed thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Origin {
    /// The agent: removed when its entry goes.
    #[default]
    Created,
    /// Somebody else: left when its entry goes.
    Adopted,
}

/// "X was absent, will create": on recovery an X that matches is owned, any other adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalEntry {
    /// The entry as it is to be in the ledger.
    pub entry: LedgerEntry,
    /// Whether nothing was there before.
    pub was_absent: bool,
    /// What the file is to digest to, in hex; empty for directories and removals.
    pub digest: String,
    /// Salt of that digest, in hex; empty for none.
    #[serde(default)]
    pub salt: String,
    /// Whether it is to be removed.
    pub removal: bool,
}

/// A [`Thing`] as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind")]
enum Written {
    Directory { path: String },
    File { path: String },
}

impl From<&Thing> for Written {
    fn from(thing: &Thing) -> Self {
        match thing {
            Thing::Directory(path) => Self::Directory { path: path.to_string() },
            Thing::File(path) => Self::File { path: path.to_string() },
        }
    }
}

impl TryFrom<Written> for Thing {
    type Error = PathError;

    fn try_from(written: Written) -> Result<Self, PathError> {
        Ok(match written {
            Written::Directory { path } => Self::Directory(HostPath::parse(&path)?),
            Written::File { path } => Self::File(HostPath::parse(&path)?),
        })
    }
}

impl Serialize for Thing {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Thing {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Written::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_versions_wrote_is_read() {
        let file = r#"{"path":"/etc/acme","kind":"File","origin":"Created","carriedOut":"ab"}"#;
        let path = HostPath::parse("/etc/acme").expect("path");
        let expected =
            LedgerEntry { thing: Thing::File(path.clone()), origin: Origin::Created, carried_out: "ab".into() };
        assert_eq!(serde_json::from_str::<LedgerEntry>(file).expect("read"), expected);
        let first = r#"{"entry":{"path":"/etc/acme","kind":"Directory","origin":"Adopted"},"wasAbsent":true,"digest":"","removal":false}"#;
        let journal = serde_json::from_str::<JournalEntry>(first).expect("read");
        let thing = Thing::Directory(path);
        let entry = LedgerEntry { thing, origin: Origin::Adopted, carried_out: String::new() };
        assert_eq!((journal.entry, journal.was_absent, journal.salt.as_str()), (entry, true, ""));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let path = HostPath::parse("C:\\Acme\\x").expect("path");
        for thing in [Thing::Directory(path.clone()), Thing::File(path)] {
            let entry = LedgerEntry { thing, origin: Origin::Created, carried_out: "ab".into() };
            let text = serde_json::to_string(&entry).expect("written");
            assert_eq!(serde_json::from_str::<LedgerEntry>(&text).expect(&text), entry);
        }
    }
}
