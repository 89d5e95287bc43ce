//! The agent's own folder on Windows: open to SYSTEM and administrators alone. Does IO.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::windows::fs::OpenOptionsExt as _,
    path::Path,
    ptr::{null, null_mut},
};

use windows_sys::Win32::{
    Foundation::{ERROR_ALREADY_EXISTS, GENERIC_WRITE},
    Security::{
        Authorization::{SE_FILE_OBJECT, SetNamedSecurityInfoW},
        DACL_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION,
    },
    Storage::FileSystem::{
        CreateDirectoryW, FILE_FLAG_BACKUP_SEMANTICS, MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH, MoveFileExW,
    },
};

use super::{
    guarded,
    security::{Descriptor, PRIVATE},
    strings::wide,
};

/// Creates a directory (and its parents) that only SYSTEM and administrators can open; one that is there is closed
/// to others, and refused where they may have had a hand in it.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    match path.try_exists()? {
        true => guarded::take_over(path, || create_directory(path, PRIVATE)),
        false => create_directory(path, PRIVATE),
    }
}

/// Creates a directory (and its parents) with this DACL; one that is there gets it.
pub(super) fn create_directory(path: &Path, sddl: &str) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let descriptor = Descriptor::parse(sddl)?;
    let name = wide(path);
    let attributes = descriptor.attributes();
    // SAFETY: the name ends with NUL, and it and the attributes outlive the call.
    #[allow(unsafe_code)]
    let done = unsafe { CreateDirectoryW(name.as_ptr(), &attributes) };
    if done != 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() != i32::try_from(ERROR_ALREADY_EXISTS).ok() {
        return Err(error);
    }
    // SAFETY: the name ends with NUL; the DACL lies in the descriptor, which outlives the call.
    #[allow(unsafe_code)]
    let error = unsafe {
        SetNamedSecurityInfoW(
            name.as_ptr(),
            SE_FILE_OBJECT,
            DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
            null_mut(),
            null_mut(),
            descriptor.dacl()?,
            null(),
        )
    };
    match error {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.cast_signed())),
    }
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
    use super::*;

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
