//! The agent's own folder on Linux: open to nobody else. Does IO.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt as _},
    path::Path,
};

use super::guarded;

/// Creates a directory (and its parents) that only the agent's user can open; one that is there is closed to
/// others, and refused where they may have had a hand in it.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    guarded::take_over(path)
}

/// Makes creations, renames and removals in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Replaces or creates a file that only the agent's user can read: written beside, synced and renamed. Durable when
/// it returns.
pub fn write_private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Secrets at rest: here the folder's mode alone protects them.
pub fn protect(secret: &[u8]) -> io::Result<Vec<u8>> {
    Ok(secret.to_vec())
}

/// What [`protect`] made.
pub fn unprotect(protected: &[u8]) -> io::Result<Vec<u8>> {
    Ok(protected.to_vec())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_is_private_can_be_read_by_nobody_else() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("private");
        DirBuilder::new().mode(0o755).create(&folder).expect("made");
        create_private_directory(&folder).expect("closed");
        let file = folder.join("key.pem");
        fs::write(&file, "old").expect("written");
        write_private_file(&file, b"new").expect("replaced");
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
        assert_eq!(fs::read(&file).expect("there"), b"new");
        assert_eq!(fs::read_dir(&folder).expect("there").count(), 1, "nothing is left beside it");
    }
}
