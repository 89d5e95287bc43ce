//! What the agent keeps across restarts: session counter, desired document, ledger, journal, processes.
//! Kinds of it: redb on disk, and memory for tests and simulations; both pass one suite of behaviours.

mod contents_folder;
mod contents_memory;
mod disk;
mod ledger;
mod memory;

use serde::{Deserialize, Serialize};

use super::host::ProcessIdentity;
use crate::{model::PublicKey, wire::trust_v1::Envelope};

pub use contents_folder::ContentsFolder;
pub use contents_memory::MemoryContents;
pub use disk::{DiskStore, OpenError};
pub use ledger::{JournalEntry, LedgerEntry, Origin};
pub use memory::MemoryStore;

/// Small durable state. Every `set` is durable when it returns. Calls block briefly.
pub trait Store: Send + Sync + 'static {
    /// Number of the last session that this agent was welcomed to, 0 for none.
    fn last_session(&self) -> Result<u64, StoreError>;
    /// Keeps it.
    fn set_last_session(&self, number: u64) -> Result<(), StoreError>;

    /// The document that is in force.
    fn desired(&self) -> Result<Option<KeptDocument>, StoreError>;
    /// Replaces it; `None` after a release.
    fn set_desired(&self, document: Option<&KeptDocument>) -> Result<(), StoreError>;
    /// Replaces who vouches for it.
    fn set_voucher(&self, voucher: &Voucher) -> Result<(), StoreError>;

    /// Revision that was carried out whole, last.
    fn applied(&self) -> Result<Option<String>, StoreError>;
    /// Keeps it.
    fn set_applied(&self, revision: Option<&str>) -> Result<(), StoreError>;

    /// Whether the EdgeNode was deleted with the machine left as it is.
    fn released(&self) -> Result<bool, StoreError>;
    /// Keeps it.
    fn set_released(&self, released: bool) -> Result<(), StoreError>;

    /// What the agent manages, by `Place::identity`.
    fn ledger(&self) -> Result<Vec<(String, LedgerEntry)>, StoreError>;
    /// Adds or replaces (`Some`) or forgets (`None`) an entry and clears the journal, in one transaction.
    fn settle(&self, identity: &str, entry: Option<&LedgerEntry>) -> Result<(), StoreError>;

    /// The action that was begun and not settled.
    fn journal(&self) -> Result<Option<JournalEntry>, StoreError>;
    /// Writes the intent, before the action.
    fn set_journal(&self, entry: &JournalEntry) -> Result<(), StoreError>;

    /// What is known of each service, by `ServiceName::identity`.
    fn services(&self) -> Result<Vec<(String, ServiceRecord)>, StoreError>;
    /// Adds, replaces or forgets one.
    fn set_service(&self, name: &str, record: Option<&ServiceRecord>) -> Result<(), StoreError>;

    /// Says what was lost, if the store was found damaged and begun anew; everything present then counts as
    /// adopted, and nothing is pruned. It is said until the first start after a revision was carried out whole.
    fn damage(&self) -> Option<String>;
}

/// The document that is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct KeptDocument {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Who says that it is this node's; `None` where an agent of before signed documents kept it.
    pub voucher: Option<Voucher>,
}

/// Who says that a document is a node's.
#[derive(Debug, Clone, PartialEq)]
pub struct Voucher {
    /// The statement, signed.
    pub envelope: Envelope,
    /// Whose signature counted when it came.
    pub signer: PublicKey,
}

/// What is known of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRecord {
    /// The name as written in the document.
    pub name: String,
    /// The process that was started last, until its end was seen.
    pub process: Option<ProcessIdentity>,
    /// Digest of the configuration and files that it was started with.
    pub fingerprint: String,
    /// Who made it, where a manager of the machine keeps services. Written before it is made.
    #[serde(default)]
    pub origin: Origin,
    /// Digest of the configuration that such a manager was told last; empty for none.
    #[serde(default)]
    pub configuration: String,
    /// Whether such a manager may start it with something else than `fingerprint` says.
    #[serde(default)]
    pub outdated: bool,
    /// Unexpected ends and failed liveness probes that led to a restart.
    pub restarts: u64,
    /// Seconds between asking it to stop and killing it, should its entry be gone from the document.
    pub stop_timeout_seconds: u32,
    /// Whether it was asked to stop.
    pub stopping: bool,
    /// Whether it was ready when that was last seen to change.
    #[serde(default)]
    pub ready: bool,
    /// Unexpected ends since the last run that lasted: where its recovery stands.
    #[serde(default)]
    pub unexpected_ends: u32,
    /// Start of the machine in which those happened; in another one they count no more.
    #[serde(default)]
    pub boot_id: String,
}

/// Why the store did not take or give something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("agent store: {0}")]
pub struct StoreError(pub String);
