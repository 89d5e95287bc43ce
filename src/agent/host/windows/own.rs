//! The agent's own folder on Windows: open to SYSTEM and administrators alone. Does IO.

use std::{
    ffi::c_void,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::windows::fs::OpenOptionsExt as _,
    path::Path,
    ptr::{null, null_mut},
};

use windows_sys::Win32::{
    Foundation::{ERROR_ALREADY_EXISTS, GENERIC_WRITE, LocalFree},
    Security::{
        ACL,
        Authorization::{
            ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1, SE_FILE_OBJECT,
            SetNamedSecurityInfoW,
        },
        DACL_SECURITY_INFORMATION, GetSecurityDescriptorDacl, PROTECTED_DACL_SECURITY_INFORMATION,
        PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES,
    },
    Storage::FileSystem::{
        CreateDirectoryW, FILE_FLAG_BACKUP_SEMANTICS, MOVEFILE_REPLACE_EXISTING, MOVEFILE_WRITE_THROUGH, MoveFileExW,
    },
};

use super::strings::wide;

/// A protected DACL, inherited by what lies below: SYSTEM and administrators, and nobody else.
///
/// Source: Win32, "Security Descriptor String Format".
const PRIVATE: &str = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

/// A security descriptor made from its text.
pub(super) struct Descriptor(PSECURITY_DESCRIPTOR);

impl Descriptor {
    /// Parses SDDL.
    pub(super) fn parse(sddl: &str) -> io::Result<Self> {
        let text = wide(sddl);
        let mut descriptor: PSECURITY_DESCRIPTOR = null_mut();
        // SAFETY: the text ends with NUL and outlives the call, which fills in the pointer it is given.
        #[allow(unsafe_code)]
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                null_mut(),
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(descriptor)) }
    }

    /// For calls that create something; valid as long as this is.
    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or_default(),
            lpSecurityDescriptor: self.0,
            bInheritHandle: 0,
        }
    }

    /// Its DACL, which lies within it.
    fn dacl(&self) -> io::Result<*mut ACL> {
        let (mut present, mut defaulted, mut dacl) = (0, 0, null_mut());
        // SAFETY: the descriptor is whole, as the system made it; the call fills in the three that it is given.
        #[allow(unsafe_code)]
        let done = unsafe { GetSecurityDescriptorDacl(self.0, &mut present, &mut dacl, &mut defaulted) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(dacl) }
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the system allocated it by LocalAlloc, and this alone frees it.
        #[allow(unsafe_code)]
        let _ = unsafe { LocalFree(self.0.cast::<c_void>()) };
    }
}

/// Creates a directory (and its parents) that only SYSTEM and administrators can open; one that is there is closed
/// to others.
pub fn create_private_directory(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let descriptor = Descriptor::parse(PRIVATE)?;
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
