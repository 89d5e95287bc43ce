//! The document that is in force on this machine: loaded from the store at the start, replaced by the link.

use super::store::{Store, StoreError};
use crate::{
    model::{DesiredState, Digest, Revision},
    wire,
};

/// A desired document with its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// First digits of the digest.
    pub revision: Revision,
    /// SHA-256 of the document's bytes.
    pub digest: Digest,
    /// What the bytes say.
    pub document: DesiredState,
}

impl Held {
    /// Reads a document.
    pub fn decode(bytes: &[u8]) -> Result<Self, wire::WireError> {
        let digest = Digest::of(bytes);
        Ok(Self { revision: Revision::from(&digest), digest, document: wire::desired::decode(bytes)? })
    }

    /// The document in the store, if any. One that cannot be read (a newer agent may have kept it) is none:
    /// the operator sends it again.
    pub fn load(store: &dyn Store) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = store.desired()? else { return Ok(None) };
        match Self::decode(&bytes) {
            Ok(held) => Ok(Some(held)),
            Err(error) => {
                tracing::warn!(%error, "the stored document cannot be read; waiting for the operator's");
                Ok(None)
            }
        }
    }
}
