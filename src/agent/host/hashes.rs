//! Digests of files that were read already, so that looking for drift reads only what has changed.
//! In memory only. Knows a file by volume, number, size and times, as either platform has them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use crate::model::{Digest, HostPath, Salt};

/// Digests by path.
#[derive(Debug, Default)]
pub(super) struct Hashes(Mutex<HashMap<HostPath, (Snapshot, Digest)>>);

/// What changes whenever the bytes of a file do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// Device or volume.
    pub(super) volume: u64,
    /// Names the file on its volume for as long as it is there.
    pub(super) file: u128,
    /// In bytes.
    pub(super) size: i64,
    /// When its bytes were written, in a unit of the platform's.
    pub(super) modified: i128,
    /// When anything of it was changed, in that unit; programs do not set it.
    pub(super) changed: i128,
    /// `changed`; `None` where the filesystem does not keep it.
    pub(super) changed_at: Option<SystemTime>,
    /// With which the digest was made.
    pub(super) salt: Option<Salt>,
}

/// More paths than a document names; beyond it, begin anew.
const MOST: usize = 4096;

/// A file that changed this recently may change again without its times telling: clocks of filesystems are
/// coarse.
const COARSE: Duration = Duration::from_secs(2);

impl Snapshot {
    fn is_old(&self) -> bool {
        let age = self.changed_at.and_then(|changed| SystemTime::now().duration_since(changed).ok());
        age.is_some_and(|age| age > COARSE)
    }
}

impl Hashes {
    pub(super) fn get(&self, path: &HostPath, snapshot: &Snapshot) -> Option<Digest> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(path).filter(|(known, _)| known == snapshot).map(|(_, digest)| *digest)
    }

    pub(super) fn keep(&self, path: &HostPath, snapshot: Snapshot, digest: Digest) {
        if !snapshot.is_old() {
            return;
        }
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.len() >= MOST {
            held.clear();
        }
        held.insert(path.clone(), (snapshot, digest));
    }
}
