//! Digests of files that were read already, so that looking for drift reads only what has changed.
//! In memory only. Knows a file by device, inode, size and times.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustix::fs::Stat;

use crate::model::{Digest, HostPath, Salt};

/// Digests by path.
#[derive(Debug, Default)]
pub(super) struct Hashes(Mutex<HashMap<HostPath, (Snapshot, Digest)>>);

/// What changes whenever the bytes of a file do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    device: u64,
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
    salt: Option<Salt>,
}

/// More paths than a document names; beyond it, begin anew.
const MOST: usize = 4096;

/// A file that changed this recently may change again without its times telling: clocks of filesystems are
/// coarse.
const COARSE: Duration = Duration::from_secs(2);

impl Snapshot {
    pub(super) fn of(stat: &Stat, salt: Option<&Salt>) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
            salt: salt.copied(),
        }
    }

    fn is_old(&self) -> bool {
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(self.changed.0.max(0).unsigned_abs());
        SystemTime::now().duration_since(changed).is_ok_and(|age| age > COARSE)
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
