//! Files and folders that nobody but the agent's user and root may have a hand in. Does IO.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use rustix::{
    fs::{Mode, OFlags, fchmod, open},
    process::geteuid,
};

/// Where everyone may write, and nobody may remove or rename what is another's.
const STICKY: u32 = 0o1000;
const OTHERS_WRITE: u32 = 0o022;

/// Reads a file that others can neither write nor put another in the place of; `None` where there is none. What is
/// wrong is an error, and so is a link.
pub fn read_guarded(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let flags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(io::Error::other("it is a link, expected a file"));
        }
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no file"));
    }
    expect_own(path, &metadata, 0)?;
    let folder = path.parent().unwrap_or(Path::new("/")).canonicalize()?;
    for (above, may_be) in folder.ancestors().zip([0].into_iter().chain(std::iter::repeat(STICKY))) {
        expect_own(above, &fs::symlink_metadata(above)?, may_be)?;
    }
    if metadata.len() > max_bytes {
        return Err(io::Error::other(format!("it is larger than {max_bytes} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Closes a folder that was there before to others. One that is another's is refused, and so is one that others could
/// write and that holds what is another's: they could have put it there for the agent to find.
pub(super) fn take_over(folder: &Path) -> io::Result<()> {
    let handle = open(folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let metadata = File::from(handle.try_clone()?).metadata()?;
    expect_owner(folder, &metadata)?;
    fchmod(&handle, Mode::RWXU)?;
    if metadata.mode() & OTHERS_WRITE != 0 {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            expect_owner(&entry.path(), &entry.metadata()?)?;
        }
    }
    Ok(())
}

fn expect_own(path: &Path, metadata: &Metadata, may_be: u32) -> io::Result<()> {
    expect_owner(path, metadata)?;
    let mode = metadata.mode();
    if mode & OTHERS_WRITE != 0 && mode & may_be == 0 {
        let mode = mode & 0o7777;
        return Err(io::Error::other(format!(
            "others may write {} (mode {mode:04o}); expected it to be writable by its owner alone",
            path.display()
        )));
    }
    Ok(())
}

fn expect_owner(path: &Path, metadata: &Metadata) -> io::Result<()> {
    let (owner, own) = (metadata.uid(), geteuid().as_raw());
    if [0, own].contains(&owner) {
        return Ok(());
    }
    let expected = if own == 0 { "root".to_owned() } else { format!("root or the agent's user {own}") };
    Err(io::Error::other(format!("{} belongs to the user {owner}, expected {expected}", path.display())))
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("mode");
    }

    #[test]
    fn a_file_that_others_may_write_or_replace_is_not_read() {
        let parent = tempfile::tempdir().expect("a folder");
        let (folder, file) = (parent.path().join("etc"), parent.path().join("etc/policy.yaml"));
        let read = || read_guarded(&file, 8);
        assert_eq!(read().expect("no folder"), None);
        fs::create_dir(&folder).expect("made");
        assert_eq!(read().expect("no file"), None);
        fs::write(&file, "rules").expect("written");
        set_mode(&file, 0o644);
        assert_eq!(read().expect("read").as_deref(), Some(&b"rules"[..]));
        for (path, mode, usual) in [
            (&file, 0o664, 0o644),
            (&file, 0o646, 0o644),
            (&folder, 0o775, 0o755),
            (&folder, 0o757, 0o755),
            (&folder, 0o1777, 0o755),
            (&parent.path().to_owned(), 0o777, 0o755),
        ] {
            set_mode(path, mode);
            let error = read().expect_err("open to others").to_string();
            assert!(error.contains(&format!("{mode:04o}")) && error.contains("others may write"), "{error}");
            set_mode(path, usual);
        }
        set_mode(parent.path(), 0o1777);
        assert!(read().is_ok(), "as in /tmp, where nobody replaces what is another's");
        fs::write(&file, "too many rules").expect("written");
        assert!(read().expect_err("large").to_string().contains("larger than 8"));
        fs::rename(&file, folder.join("real")).expect("renamed");
        std::os::unix::fs::symlink(folder.join("real"), &file).expect("linked");
        assert!(read().expect_err("a link").to_string().contains("link"));
    }

    #[test]
    fn what_is_another_users_is_neither_read_nor_taken_over() {
        if !geteuid().is_root() {
            return;
        }
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("state");
        fs::create_dir(&folder).expect("made");
        let file = folder.join("agent.redb");
        fs::write(&file, "planted").expect("written");
        let give = |path: &Path, uid| std::os::unix::fs::chown(path, Some(uid), None).expect("root may");
        let mode = || fs::metadata(&folder).expect("there").mode() & 0o7777;

        give(&file, 65_534);
        assert!(read_guarded(&file, 9).expect_err("another's").to_string().contains("65534"));
        set_mode(&folder, 0o755);
        assert!(take_over(&folder).is_ok(), "nobody else could put it there");
        set_mode(&folder, 0o777);
        let error = take_over(&folder).expect_err("planted").to_string();
        assert!(error.contains("agent.redb") && error.contains("65534"), "{error}");
        assert_eq!(mode(), 0o700, "closed before it is looked into");
        give(&file, 0);
        set_mode(&folder, 0o777);
        assert!(take_over(&folder).is_ok() && mode() == 0o700);
        give(&folder, 65_534);
        assert!(take_over(&folder).expect_err("another's").to_string().contains("belongs to the user 65534"));
    }
}
