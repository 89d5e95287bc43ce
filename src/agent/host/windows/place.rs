//! A name in a directory of a Windows machine that is held open: every component of a path is opened by handle, one
//! below the other, and no link is followed. Does IO.

use std::{fs::File, io::Read, os::windows::io::OwnedHandle, thread::sleep, time::Duration};

use windows_sys::{
    Wdk::Storage::FileSystem::FILE_NON_DIRECTORY_FILE,
    Win32::{
        Foundation::{
            ERROR_ACCESS_DENIED, ERROR_DELETE_PENDING, ERROR_DIR_NOT_EMPTY, ERROR_FILE_NOT_FOUND, ERROR_PATH_NOT_FOUND,
            ERROR_SHARING_VIOLATION,
        },
        Storage::FileSystem::{
            DELETE, FILE_ADD_FILE, FILE_READ_ATTRIBUTES, FILE_READ_DATA, FILE_WRITE_ATTRIBUTES, FILE_WRITE_DATA,
            READ_CONTROL, WRITE_DAC, WRITE_OWNER,
        },
    },
};

use super::{
    handles::{Code, Kind, Opening, Seen, code_of, long_name, look, open, remove, rename_over},
    security::Descriptor,
};
use crate::{
    agent::host::{
        HostError, Reason, Removed,
        win32::errors::{reason_of, words_of},
    },
    model::{HostPath, Platform},
};

/// Scanners and indexers open what was just written, for a moment.
const MOMENT: Duration = Duration::from_millis(50);
/// So often is a file that is in use tried again before it is said to be so.
const MOMENTS: u32 = 6;

/// A name in a directory that is held open.
pub(super) struct Place<'p> {
    parent: OwnedHandle,
    name: &'p str,
}

impl<'p> Place<'p> {
    /// Opens the directory that the path lies in; `None` where there is none.
    pub(super) fn find(path: &'p HostPath, trying: &str) -> Result<Option<Self>, HostError> {
        if path.platform() != Platform::Windows {
            let message = format!(r"{trying}: expected a path of this machine, such as C:\ProgramData\Acme");
            return Err(HostError::new(Reason::NotSupportedHere, message));
        }
        let opening = Opening::of_existing(FILE_READ_ATTRIBUTES);
        let mut parent = match open(None, &format!(r"\??\{}", path.root()), &opening) {
            Ok(handle) => handle,
            Err(code) if is_nothing(code) => return Ok(None),
            Err(code) => return Err(failed(trying, code)),
        };
        let mut components = path.components().peekable();
        let mut so_far = path.root().trim_end_matches('\\').to_owned();
        while let Some(name) = components.next() {
            so_far = format!(r"{so_far}\{name}");
            if components.peek().is_none() {
                let place = Self { parent, name };
                if name.contains('~')
                    && let Some((handle, _)) = place.look(FILE_READ_ATTRIBUTES, trying)?
                {
                    expect_long_name(&handle, name, &so_far, trying)?;
                }
                return Ok(Some(place));
            }
            parent = match open(Some(&parent), name, &opening) {
                Ok(handle) => handle,
                Err(code) if is_nothing(code) => return Ok(None),
                Err(code) => return Err(failed(trying, code)),
            };
            expect_long_name(&parent, name, &so_far, trying)?;
            let reason = match look(&parent).map_err(|code| failed(trying, code))?.kind {
                Kind::Directory => continue,
                Kind::File => (Reason::WrongKind, "a file"),
                kind @ (Kind::Link | Kind::ReparsePoint) => (Reason::LinkInPath, kind.word()),
            };
            return Err(HostError::new(reason.0, format!("{trying}: {so_far} is {}, expected a directory", reason.1)));
        }
        Ok(None)
    }

    /// The same, where the directory must be there.
    pub(super) fn expect(path: &'p HostPath, trying: &str) -> Result<Self, HostError> {
        Self::find(path, trying)?
            .ok_or_else(|| HostError::new(Reason::IoError, format!("{trying}: its directory is not there")))
    }

    /// Holds on to what has that name, with these rights; `None` where there is nothing.
    pub(super) fn look(&self, access: u32, trying: &str) -> Result<Option<(OwnedHandle, Seen)>, HostError> {
        match open(Some(&self.parent), self.name, &Opening::of_existing(access | FILE_READ_ATTRIBUTES)) {
            Ok(handle) => {
                let seen = look(&handle).map_err(|code| failed(trying, code))?;
                Ok(Some((handle, seen)))
            }
            Err(code) if is_nothing(code) => Ok(None),
            Err(code) => Err(failed(trying, code)),
        }
    }

    /// The same, where it must be there and a file or directory.
    pub(super) fn pin(&self, access: u32, trying: &str) -> Result<(OwnedHandle, Seen), HostError> {
        match self.look(access, trying)? {
            None => Err(HostError::new(Reason::IoError, format!("{trying}: it is not there"))),
            Some((_, seen)) if matches!(seen.kind, Kind::Link | Kind::ReparsePoint) => {
                let message = format!("{trying}: {} is in its place, expected a file or directory", seen.kind.word());
                Err(HostError::new(Reason::WrongKind, message))
            }
            Some(pinned) => Ok(pinned),
        }
    }

    /// Makes something new of that name.
    pub(super) fn create(&self, opening: &Opening<'_>, trying: &str) -> Result<OwnedHandle, HostError> {
        open(Some(&self.parent), self.name, opening).map_err(|code| failed(trying, code))
    }

    /// Writes a new file of another name in the same directory, with everything that comes to take this one's.
    pub(super) fn write_beside(
        &self,
        interim: &str,
        content: &mut dyn Read,
        security: Option<&Descriptor>,
        trying: &str,
    ) -> Result<File, HostError> {
        let access = FILE_WRITE_DATA | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES | DELETE;
        let access = access | READ_CONTROL | WRITE_DAC | WRITE_OWNER;
        let opening = Opening { security, ..Opening::of_new(access, FILE_NON_DIRECTORY_FILE) };
        let handle = open(Some(&self.parent), interim, &opening).map_err(|code| failed(trying, code))?;
        let mut file = File::from(handle);
        std::io::copy(content, &mut file).map_err(|error| failed_io(trying, &error))?;
        Ok(file)
    }

    /// Lets a file of the same directory take the place of the one that has this name.
    pub(super) fn replace_with(&self, file: &File, trying: &str) -> Result<(), HostError> {
        let outcome = again_in_a_moment(|| rename_over(file, &self.parent, self.name));
        outcome.map_err(|code| self.failed_perhaps_in_use(self.name, code, trying))
    }

    /// Removes the file, link or empty directory of that name in the same directory; there being none is success.
    pub(super) fn remove(&self, name: &str, trying: &str) -> Result<(), HostError> {
        let access = DELETE | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES;
        let outcome = again_in_a_moment(|| {
            open(Some(&self.parent), name, &Opening::of_existing(access)).and_then(|handle| remove(&handle))
        });
        match outcome {
            Ok(()) => Ok(()),
            Err(code) if is_nothing(code) => Ok(()),
            Err(code) => Err(self.failed_perhaps_in_use(name, code, trying)),
        }
    }

    /// Removes the directory of that name.
    pub(super) fn remove_if_empty(&self, trying: &str) -> Result<Removed, HostError> {
        let access = DELETE | FILE_READ_ATTRIBUTES | FILE_WRITE_ATTRIBUTES;
        let outcome = again_in_a_moment(|| {
            open(Some(&self.parent), self.name, &Opening::of_existing(access)).and_then(|handle| remove(&handle))
        });
        match outcome {
            Err(ERROR_DIR_NOT_EMPTY) => Ok(Removed::NotEmpty),
            Err(code) if !is_nothing(code) => Err(self.failed_perhaps_in_use(self.name, code, trying)),
            _ => Ok(Removed::Gone),
        }
    }

    /// The name that it stands for.
    pub(super) fn name(&self) -> &'p str {
        self.name
    }

    /// Makes what happened in the directory durable, where this process may.
    pub(super) fn sync(&self, trying: &str) -> Result<(), HostError> {
        match open(Some(&self.parent), "", &Opening::of_existing(FILE_ADD_FILE)) {
            Ok(handle) => File::from(handle).sync_all().map_err(|error| failed_io(trying, &error)),
            Err(ERROR_ACCESS_DENIED) => Ok(()),
            Err(code) => Err(failed(trying, code)),
        }
    }

    /// Windows says that access is denied also of a program that runs, and in places of a file that is open: asks for
    /// the file alone, which a use of it by others forbids with an error of its own.
    fn failed_perhaps_in_use(&self, name: &str, code: Code, trying: &str) -> HostError {
        if code != ERROR_ACCESS_DENIED {
            return failed(trying, code);
        }
        for access in [DELETE | FILE_WRITE_DATA, DELETE | FILE_READ_DATA] {
            let alone = Opening { share: 0, ..Opening::of_existing(access) };
            if let Err(ERROR_SHARING_VIOLATION) = open(Some(&self.parent), name, &alone) {
                return failed(trying, ERROR_SHARING_VIOLATION);
            }
        }
        failed(trying, code)
    }
}

/// A short name such as `PROGRA~1` stands for another one, under which the same place would be managed twice, and
/// the local policy be got round.
fn expect_long_name(handle: &OwnedHandle, name: &str, path: &str, trying: &str) -> Result<(), HostError> {
    if !name.contains('~') {
        return Ok(());
    }
    let long = long_name(handle).map_err(|code| failed(trying, code))?;
    if long.to_lowercase() == name.to_lowercase() {
        return Ok(());
    }
    let message = format!("{trying}: {path} is a short name, expected the long one, {long}");
    Err(HostError::new(Reason::LinkInPath, message))
}

fn again_in_a_moment(attempt: impl Fn() -> Result<(), Code>) -> Result<(), Code> {
    for _ in 1..MOMENTS {
        match attempt() {
            Err(ERROR_SHARING_VIOLATION | ERROR_DELETE_PENDING) => sleep(MOMENT),
            outcome => return outcome,
        }
    }
    attempt()
}

fn is_nothing(code: Code) -> bool {
    matches!(code, ERROR_FILE_NOT_FOUND | ERROR_PATH_NOT_FOUND)
}

/// In words that name the code.
pub(super) fn failed(trying: &str, code: Code) -> HostError {
    let said = std::io::Error::from_raw_os_error(code.cast_signed());
    let message = match words_of(code) {
        Some(words) => format!("{trying}: {words} (os error {code})"),
        None => format!("{trying}: {said}"),
    };
    HostError::new(reason_of(code), message)
}

/// An error of the standard library, or of what is read.
pub fn failed_io(trying: &str, error: &std::io::Error) -> HostError {
    match error.raw_os_error() {
        Some(_) => failed(trying, code_of(error)),
        None => HostError::new(Reason::IoError, format!("{trying}: {error}")),
    }
}
