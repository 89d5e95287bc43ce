//! Files and folders that nobody but SYSTEM, administrators and the agent's own user may have a hand in. Does IO.
//!
//! Source: Win32, "File Access Rights Constants"; "Well-known SIDs".

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    os::windows::{
        fs::{MetadataExt as _, OpenOptionsExt as _},
        io::OwnedHandle,
    },
    path::Path,
};

use windows_sys::Win32::{
    Foundation::{GENERIC_ALL, GENERIC_READ, GENERIC_WRITE},
    Security::INHERIT_ONLY_ACE,
    Storage::FileSystem::{
        DELETE, FILE_APPEND_DATA, FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_REPARSE_POINT, FILE_DELETE_CHILD,
        FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_WRITE_DATA, READ_CONTROL, WRITE_DAC,
        WRITE_OWNER,
    },
};

use super::{accounts::Sid, security::Descriptor, token};

/// SYSTEM, administrators, and the installer of Windows.
const TRUSTED: [&str; 3] =
    ["S-1-5-18", "S-1-5-32-544", "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464"];

/// With these rights on a folder, what lies in it can be replaced.
const REPLACE: u32 = DELETE | FILE_DELETE_CHILD | WRITE_DAC | WRITE_OWNER | GENERIC_ALL;
/// With these as well, it can be written, or something be put there.
const WRITE: u32 = REPLACE | FILE_WRITE_DATA | FILE_APPEND_DATA | GENERIC_WRITE;

/// Reads a file that others can neither write nor put another in the place of; `None` where there is none. What is
/// wrong is an error, and so is a link.
pub fn read_guarded(path: &Path, max_bytes: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match open(path, GENERIC_READ) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let metadata = file.metadata()?;
    if metadata.file_attributes() & (FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT) != 0 {
        return Err(io::Error::other("it is a directory or link, expected a file"));
    }
    let own = token::user()?;
    expect_closed(path, &descriptor(&file)?, &own, WRITE)?;
    for (above, rights) in path.ancestors().skip(1).zip([WRITE].into_iter().chain(std::iter::repeat(REPLACE))) {
        expect_closed(above, &descriptor(&open(above, READ_CONTROL)?)?, &own, rights)?;
    }
    if metadata.len() > max_bytes {
        return Err(io::Error::other(format!("it is larger than {max_bytes} bytes")));
    }
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// Closes a folder that was there before to others, by `close`, which looks whose it is. One that others could write and
/// that holds what is another's is refused: they could have put it there for the agent to find.
pub(super) fn take_over(folder: &Path, close: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let own = token::user()?;
    let before = descriptor(&open(folder, READ_CONTROL)?)?;
    let was_open = expect_closed(folder, &before, &own, WRITE).is_err();
    close()?;
    if was_open {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            expect_owner(&path, &descriptor(&open(&path, READ_CONTROL)?)?, &own)?;
        }
    }
    Ok(())
}

fn open(path: &Path, access: u32) -> io::Result<File> {
    let flags = FILE_FLAG_OPEN_REPARSE_POINT | FILE_FLAG_BACKUP_SEMANTICS;
    OpenOptions::new().access_mode(access).custom_flags(flags).open(path)
}

fn descriptor(file: &File) -> io::Result<Descriptor> {
    let handle = OwnedHandle::from(file.try_clone()?);
    Descriptor::of(&handle).map_err(|code| io::Error::from_raw_os_error(code.cast_signed()))
}

fn is_trusted(sid: &Sid, own: &Sid) -> bool {
    sid == own || TRUSTED.contains(&sid.as_text().as_str())
}

fn expect_owner(path: &Path, security: &Descriptor, own: &Sid) -> io::Result<()> {
    match security.owner() {
        Some(owner) if is_trusted(&owner, own) => Ok(()),
        owner => {
            let owner = owner.map(|owner| owner.as_text()).unwrap_or_default();
            let expected = "expected SYSTEM or Administrators";
            Err(io::Error::other(format!("{} belongs to {owner}, {expected}", path.display())))
        }
    }
}

fn expect_closed(path: &Path, security: &Descriptor, own: &Sid, rights: u32) -> io::Result<()> {
    expect_owner(path, security, own)?;
    let open_to = |who: &str| {
        let expected = "expected SYSTEM and Administrators alone";
        Err(io::Error::other(format!("{who} may write {}, {expected}", path.display())))
    };
    let Some(entries) = security.entries() else { return open_to("everyone") };
    let other = entries.iter().find(|entry| {
        let counts = !entry.denies && u32::from(entry.flags) & INHERIT_ONLY_ACE == 0;
        // What is of another shape may grant anything.
        counts && !is_trusted(&entry.sid, own) && (!entry.allows || entry.mask & rights != 0)
    });
    other.map_or(Ok(()), |entry| open_to(&entry.sid.as_text()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_closed_to_others_is_read_and_a_folder_of_ones_own_is_taken_over() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("policy.yaml");
        assert_eq!(read_guarded(&folder.path().join("none").join("policy.yaml"), 8).expect("no folder"), None);
        super::super::own::create_private_directory(folder.path()).expect("closed");
        fs::write(&file, "rules").expect("written");
        let (own, of_file) = (token::user().expect("own"), descriptor(&open(&file, READ_CONTROL).expect("open")));
        expect_owner(&file, &of_file.expect("descriptor"), &own).expect("own");
        assert!(read_guarded(folder.path(), 8).expect_err("a folder").to_string().contains("expected a file"));
    }

    #[test]
    fn what_others_may_write_is_told_by_its_list() {
        let own = token::user().expect("own");
        let path = Path::new(r"C:\x");
        let closed = |list: &str, rights| {
            let security = Descriptor::parse(&format!("O:BA{list}")).expect(list);
            expect_closed(path, &security, &own, rights).map_err(|error| error.to_string())
        };
        assert_eq!(closed("D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;0x1200a9;;;BU)", WRITE), Ok(()));
        assert_eq!(closed("D:(A;OICIIO;FA;;;BU)", WRITE), Ok(()), "for what lies below alone");
        assert_eq!(closed("D:(A;;0x6;;;BU)", REPLACE), Ok(()), "as of C:\\ProgramData");
        for (list, rights) in
            [("D:(A;;0x6;;;BU)", WRITE), ("D:(A;;0x40;;;WD)", REPLACE), ("D:(A;;WD;;;AU)", REPLACE), ("", WRITE)]
        {
            assert!(closed(list, rights).is_err(), "{list}");
        }
        let others = Descriptor::parse("O:BUD:P(A;;FA;;;SY)").expect("descriptor");
        assert!(expect_closed(path, &others, &own, WRITE).expect_err("owner").to_string().contains("S-1-5-32-545"));
    }
}
