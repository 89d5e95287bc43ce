//! What lies beside the store's file: the lock, the reserve, and a damaged file that was moved aside. Does IO.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use super::OpenError;

/// Released on a full disk, so that the journal can still be written.
const RESERVE_BYTES: usize = 1 << 20;

/// Held until the file is closed, however the process ends.
pub(super) fn lock(folder: &Path) -> Result<File, OpenError> {
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
pub(super) fn make_reserve(folder: &Path) {
    let path = folder.join("reserve");
    if fs::metadata(&path).is_ok_and(|m| m.len() == RESERVE_BYTES as u64) {
        return;
    }
    let made = File::create(&path).and_then(|mut file| file.write_all(&vec![0; RESERVE_BYTES]));
    if made.is_err() {
        let _ = fs::remove_file(&path);
    }
}

/// For the journal on a full disk.
pub(super) fn release_reserve(folder: &Path) {
    if fs::remove_file(folder.join("reserve")).is_ok() {
        tracing::warn!("the agent's store could not be written; released the reserve");
    }
}

/// Where it lies from then on.
pub(super) fn move_aside(path: &Path) -> io::Result<PathBuf> {
    let aside = path.with_extension("redb.damaged");
    fs::rename(path, &aside)?;
    Ok(aside)
}
