//! The agent's own folder on Windows: open to SYSTEM and administrators alone. Does IO.

use std::{
    fs::OpenOptions,
    io::{self, Write as _},
    os::windows::{fs::OpenOptionsExt as _, io::OwnedHandle},
    path::Path,
};

use windows_sys::{
    Wdk::Storage::FileSystem::FILE_OPEN_FOR_BACKUP_INTENT,
    Win32::{
        Foundation::{ERROR_ALREADY_EXISTS, ERROR_DIR_NOT_EMPTY, GENERIC_WRITE},
        Storage::FileSystem::{
            CreateDirectoryW, DELETE, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_LIST_DIRECTORY,
            FILE_READ_ATTRIBUTES, FILE_WRITE_ATTRIBUTES, MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH,
            MoveFileExW, READ_CONTROL, WRITE_DAC, WRITE_OWNER,
        },
    },
};

use super::{
    accounts::Sid,
    guarded,
    handles::{Code, Kind, Opening, last_error, look, open, remove},
    privileges,
    security::{Descriptor, PRIVATE, set_owner},
    strings::wide,
    token,
};
use crate::agent::host::win32::found_folder::{Fate, fate, refused};

/// So often is a folder made anew that is not the agent's: another may be made before the agent's own is.
const TRIES: u32 = 3;

/// Creates a directory (and its parents) that only SYSTEM and administrators can open; one that is there is closed
/// to others, and refused where they may have had a hand in it.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    match path.try_exists()? {
        true => guarded::take_over(path, || create_directory(path, PRIVATE)),
        false => create_directory(path, PRIVATE),
    }
}

/// Creates a directory with this DACL, its parents private; one that is there gets it, once it is known whose it is.
pub(super) fn create_directory(path: &Path, sddl: &str) -> io::Result<()> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
        && !parent.try_exists()?
    {
        create_private_directory(parent)?;
    }
    let descriptor = Descriptor::parse(sddl)?;
    for _ in 0..TRIES {
        if make(path, &descriptor)? || keep(path, &descriptor)? {
            return Ok(());
        }
    }
    Err(io::Error::other("somebody else makes it again and again"))
}

/// Whether it was not there.
fn make(path: &Path, descriptor: &Descriptor) -> io::Result<bool> {
    let (name, attributes) = (wide(path), descriptor.attributes());
    // SAFETY: the name ends with NUL, and it and the attributes outlive the call.
    #[allow(unsafe_code)]
    let done = unsafe { CreateDirectoryW(name.as_ptr(), &attributes) };
    if done != 0 {
        return Ok(true);
    }
    match last_error() {
        ERROR_ALREADY_EXISTS => Ok(false),
        code => Err(failed(code)),
    }
}

/// Looks at what is there, and follows no link. Whether it is the agent's from here on; else it is gone.
fn keep(path: &Path, descriptor: &Descriptor) -> io::Result<bool> {
    let opened = OpenOptions::new()
        .access_mode(READ_CONTROL | FILE_READ_ATTRIBUTES)
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path);
    let handle = match opened {
        Ok(file) => OwnedHandle::from(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let kind = look(&handle).map_err(failed)?.kind;
    let before = Descriptor::of(&handle).map_err(failed)?;
    let owner = before.owner();
    let said = owner.as_ref().map(Sid::as_text);
    match fate(kind == Kind::Directory, kind.word(), said.as_deref(), &token::user()?.as_text()) {
        Ok(Fate::Keep) => close(&handle, &before, descriptor).map(|()| true),
        Ok(Fate::Replace) => match privileges::restoring(|| remove_again(&handle)) {
            Ok(()) => Ok(false),
            Err(ERROR_DIR_NOT_EMPTY) => Err(io::Error::other(refused(&said.unwrap_or_default()))),
            Err(code) => Err(failed(code)),
        },
        Err(why) => Err(io::Error::other(why)),
    }
}

/// Owner first: it can give itself any right.
fn close(handle: &OwnedHandle, before: &Descriptor, after: &Descriptor) -> io::Result<()> {
    let again = |access| open(Some(handle), "", &Opening::of_existing(access));
    let user = token::user()?;
    let owner = token::owner_of_new()?;
    if owner != user && before.owner().as_ref() == Some(&user) {
        again(WRITE_OWNER).and_then(|handle| set_owner(&handle, &owner)).map_err(failed)?;
    }
    if before.is_protected() == after.is_protected() && before.entries() == after.entries() {
        return Ok(());
    }
    let access = READ_CONTROL | WRITE_DAC | FILE_LIST_DIRECTORY | FILE_READ_ATTRIBUTES;
    again(access).and_then(|handle| after.put_access_on(&handle, Kind::Directory)).map_err(failed)
}

/// If nothing lies in it.
fn remove_again(handle: &OwnedHandle) -> Result<(), Code> {
    let access = DELETE | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES;
    // Whatever its owner allows.
    let opening = Opening { options: FILE_OPEN_FOR_BACKUP_INTENT, ..Opening::of_existing(access) };
    open(Some(handle), "", &opening).and_then(|handle| remove(&handle))
}

fn failed(code: Code) -> io::Error {
    io::Error::from_raw_os_error(code.cast_signed())
}

/// Makes creations, renames and removals in a directory durable.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    OpenOptions::new().access_mode(GENERIC_WRITE).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path)?.sync_all()
}

/// Replaces or creates a file that only SYSTEM and administrators can read, as its directory has it: written beside,
/// synced and renamed. Durable when it returns.
pub fn write_private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    replace(&beside, path)
}

/// Renames over what is there, durably.
fn replace(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (wide(from), wide(to));
    // SAFETY: both names end with NUL and outlive the call.
    #[allow(unsafe_code)]
    let done = unsafe { MoveFileExW(from.as_ptr(), to.as_ptr(), MOVEFILE_REPLACE_EXISTING | MOVEFILE_WRITE_THROUGH) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn looked(path: &Path) -> OwnedHandle {
        let mut options = OpenOptions::new();
        let options = options.access_mode(READ_CONTROL | FILE_READ_ATTRIBUTES);
        options.custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(path).expect("there").into()
    }

    #[test]
    fn what_is_no_folder_is_refused() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("private");
        fs::write(&path, "").expect("written");
        let said = create_private_directory(&path).expect_err("a file is in its place").to_string();
        assert!(said.contains("it is a file"), "{said}");
    }

    #[test]
    fn an_empty_folder_can_be_removed_and_made_anew_and_a_full_one_cannot() {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("private");
        fs::create_dir_all(path.join("planted")).expect("made");
        assert_eq!(remove_again(&looked(&path)), Err(ERROR_DIR_NOT_EMPTY));
        fs::remove_dir(path.join("planted")).expect("removed");
        remove_again(&looked(&path)).expect("removed");
        create_private_directory(&path).expect("made");
    }

    #[test]
    fn parents_that_are_made_are_closed_as_well() {
        let folder = tempfile::tempdir().expect("a folder");
        create_private_directory(&folder.path().join("made").join("private")).expect("made");
        let list = |path: &Path| Descriptor::of(&looked(path)).expect("read").entries().expect("a list");
        let (parent, private) = (folder.path().join("made"), folder.path().join("made").join("private"));
        assert_eq!(list(&parent), list(&private));
        assert_ne!(list(&parent), list(folder.path()));
    }

    #[test]
    fn a_private_file_replaces_the_one_before_it() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = parent.path().join("made").join("private");
        create_private_directory(&folder).expect("made");
        create_private_directory(&folder).expect("closed again");
        let file = folder.join("key.pem");
        fs::write(&file, "old").expect("written");
        write_private_file(&file, b"new").expect("replaced");
        sync_directory(&folder).expect("synced");
        assert_eq!(fs::read(&file).expect("there"), b"new");
        assert_eq!(fs::read_dir(&folder).expect("there").count(), 1, "nothing is left beside it");
    }
}
