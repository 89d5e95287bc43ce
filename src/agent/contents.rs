//! Contents that the agent holds, by digest: fetched in ranges, whole only once their digest is right.

use std::{collections::HashSet, io::Read};

use super::{host::HostError, store::StoreError};
use crate::model::{Digest, Salt};

/// A content-addressed folder, or memory. Calls block.
pub trait Contents: Send + Sync + 'static {
    /// Whether it is there, whole.
    fn has(&self, digest: &Digest) -> bool;

    /// How many bytes of it have come, 0 to its size; the offset to go on from.
    fn partial_length(&self, digest: &Digest) -> u64;

    /// Adds a range at the offset that [`Contents::partial_length`] says; any other offset is an error.
    fn append(&self, digest: &Digest, offset: u64, bytes: &[u8]) -> Result<(), StoreError>;

    /// Checks SHA-256(salt ‖ bytes) of what has come and makes it whole, durably. On a mismatch, discards it
    /// and returns what it digested to.
    fn finish(&self, digest: &Digest, salt: Option<&Salt>) -> Result<Result<(), Digest>, StoreError>;

    /// Reads it. What is wrong is said as the machine says it of any file: a virus scanner may block this one.
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, HostError>;

    /// Discards all but these.
    fn retain(&self, keep: &HashSet<Digest>) -> Result<(), StoreError>;
}
