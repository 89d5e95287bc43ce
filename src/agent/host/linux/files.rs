//! Directories and files of a Linux machine. Every component of a path is opened by handle, one below the
//! other, and no link is followed. Does IO; knows nothing of documents or of what is owned.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsRawFd, OwnedFd},
    time::{Duration, UNIX_EPOCH},
};

use rustix::{
    fs::{self as sys, AtFlags, CWD, FileType, Mode as Bits, OFlags, Stat},
    io::Errno,
};

use super::{
    accounts::{self, Accounts},
    facts,
};
use crate::{
    agent::{
        host::{
            Host, HostError, Ownership, PathState, Reason, Removed, digest_of,
            hashes::{Hashes, Snapshot},
            interim_name,
        },
        policy::RunsAs,
    },
    model::{Attributes, HostPath, NodeFacts, Platform, Salt, Service},
};

/// Directories and files of this machine.
#[derive(Debug, Default)]
pub struct LinuxHost {
    hashes: Hashes,
    accounts: Accounts,
}

impl Host for LinuxHost {
    fn facts(&self) -> NodeFacts {
        facts::read()
    }

    fn features(&self) -> &'static [&'static str] {
        &[]
    }

    fn runs_as(&self, service: &Service) -> RunsAs {
        accounts::runs_as(service.account.as_deref())
    }

    fn observe(&self, path: &HostPath, salt: Option<&Salt>) -> Result<PathState, HostError> {
        let trying = format!("look at {path}");
        let Some(place) = Place::find(path, &trying)? else { return Ok(PathState::Absent) };
        let Some(stat) = place.stat(&trying)? else { return Ok(PathState::Absent) };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(PathState::Directory(self.ownership(&stat))),
            FileType::RegularFile => self.observe_file(path, &place, salt, &trying),
            other => Ok(PathState::Other(word(other))),
        }
    }

    fn create_directory(&self, path: &HostPath, attributes: &Attributes) -> Result<(), HostError> {
        let trying = format!("create the directory {path}");
        let (owner, group) = self.accounts.ids(attributes)?;
        let place = Place::expect(path, &trying)?;
        let mode = Bits::from_raw_mode(attributes.mode.map_or(0o755, |mode| mode.bits()));
        sys::mkdirat(&place.parent, place.name, mode).map_err(|e| failed(&trying, e))?;
        let handle = place.pin(&trying)?;
        // The process's mask may have narrowed the mode.
        change(&handle, Some(mode), owner, group).map_err(|e| failed(&trying, e))?;
        place.sync(&trying)
    }

    fn write_file(
        &self,
        path: &HostPath,
        content: &mut dyn Read,
        attributes: &Attributes,
        secret: bool,
    ) -> Result<(), HostError> {
        let trying = format!("write {path}");
        let (owner, group) = self.accounts.ids(attributes)?;
        let place = Place::expect(path, &trying)?;
        let before = place.stat(&trying)?;
        if let Some(stat) = &before {
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind != FileType::RegularFile {
                let message = format!("{trying}: {} is in its place, expected a file or nothing", word(kind));
                return Err(HostError::new(Reason::WrongKind, message));
            }
        }
        let mode = match (attributes.mode, &before) {
            (Some(mode), _) => mode.bits(),
            (None, _) if secret => 0o600,
            (None, Some(stat)) => stat.st_mode & 0o777,
            (None, None) => 0o644,
        };
        let interim = interim_name(path);
        place.remove(&interim, &trying)?;
        let written = write_beside(&place, &interim, content, &trying).and_then(|file| {
            if let Some(stat) = &before {
                // What is not asked for stays as it was, as far as an agent that is not root may do so.
                let _ = sys::fchown(
                    &file,
                    Some(sys::Uid::from_raw(stat.st_uid)).filter(|_| owner.is_none()),
                    Some(sys::Gid::from_raw(stat.st_gid)).filter(|_| group.is_none()),
                );
            }
            if owner.is_some() || group.is_some() {
                sys::fchown(&file, owner, group).map_err(|e| failed(&trying, e))?;
            }
            sys::fchmod(&file, Bits::from_raw_mode(mode)).map_err(|e| failed(&trying, e))?;
            sys::fsync(&file).map_err(|e| failed(&trying, e))?;
            sys::renameat(&place.parent, interim.as_str(), &place.parent, place.name).map_err(|e| failed(&trying, e))
        });
        if written.is_err() {
            let _ = place.remove(&interim, &trying);
        }
        written?;
        place.sync(&trying)
    }

    fn discard_interrupted(&self, path: &HostPath) -> Result<(), HostError> {
        let trying = format!("clear away what an interrupted write of {path} left");
        let Some(place) = Place::find(path, &trying)? else { return Ok(()) };
        place.remove(&interim_name(path), &trying)
    }

    fn set_attributes(&self, path: &HostPath, attributes: &Attributes) -> Result<(), HostError> {
        let trying = format!("set mode, owner and group of {path}");
        let (owner, group) = self.accounts.ids(attributes)?;
        let handle = Place::expect(path, &trying)?.pin(&trying)?;
        let stat = sys::fstat(&handle).map_err(|e| failed(&trying, e))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink > 1 {
            let message = format!("{trying}: it has {} names, of which another may lie elsewhere", stat.st_nlink);
            return Err(HostError::new(Reason::LinkInPath, message));
        }
        let mode = attributes.mode.map(|mode| Bits::from_raw_mode(mode.bits()));
        change(&handle, mode, owner, group).map_err(|e| failed(&trying, e))
    }

    fn remove_file(&self, path: &HostPath) -> Result<(), HostError> {
        let trying = format!("remove the file {path}");
        let Some(place) = Place::find(path, &trying)? else { return Ok(()) };
        place.remove(&interim_name(path), &trying)?;
        if let Some(stat) = place.stat(&trying)? {
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Directory {
                let message = format!("{trying}: {} is in its place, expected a file", word(kind));
                return Err(HostError::new(Reason::WrongKind, message));
            }
        }
        place.remove(place.name, &trying)?;
        place.sync(&trying)
    }

    fn remove_directory(&self, path: &HostPath) -> Result<Removed, HostError> {
        let trying = format!("remove the directory {path}");
        let Some(place) = Place::find(path, &trying)? else { return Ok(Removed::Gone) };
        match sys::unlinkat(&place.parent, place.name, AtFlags::REMOVEDIR) {
            Ok(()) => place.sync(&trying).map(|()| Removed::Gone),
            Err(Errno::NOENT) => Ok(Removed::Gone),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(Removed::NotEmpty),
            Err(e) => Err(failed(&trying, e)),
        }
    }
}

impl LinuxHost {
    fn observe_file(
        &self,
        path: &HostPath,
        place: &Place<'_>,
        salt: Option<&Salt>,
        trying: &str,
    ) -> Result<PathState, HostError> {
        // Not blocking, as a pipe may have taken the file's place in the meantime.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let handle = match sys::openat(&place.parent, place.name, flags, Bits::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT) => return Ok(PathState::Absent),
            Err(e) => return Err(failed(trying, e)),
        };
        let stat = sys::fstat(&handle).map_err(|e| failed(trying, e))?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind != FileType::RegularFile {
            return Ok(PathState::Other(word(kind)));
        }
        let snapshot = snapshot(&stat, salt);
        let digest = match self.hashes.get(path, &snapshot) {
            Some(digest) => digest,
            None => {
                let digest = digest_of(File::from(handle), salt).map_err(|e| failed_io(trying, &e))?;
                self.hashes.keep(path, snapshot, digest);
                digest
            }
        };
        Ok(PathState::File { digest, ownership: self.ownership(&stat) })
    }

    fn ownership(&self, stat: &Stat) -> Ownership {
        Ownership {
            mode: stat.st_mode & 0o7777,
            owner: self.accounts.user_name(stat.st_uid),
            group: self.accounts.group_name(stat.st_gid),
            ..Ownership::default()
        }
    }
}

/// A name in a directory that is held open.
struct Place<'p> {
    parent: OwnedFd,
    name: &'p str,
}

impl<'p> Place<'p> {
    /// Opens the directory that the path lies in; `None` where there is none.
    fn find(path: &'p HostPath, trying: &str) -> Result<Option<Self>, HostError> {
        if path.platform() != Platform::Posix {
            let message = format!("{trying}: expected a path of this machine, such as /etc/acme");
            return Err(HostError::new(Reason::NotSupportedHere, message));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut parent = sys::openat(CWD, "/", flags, Bits::empty()).map_err(|e| failed(trying, e))?;
        let mut components = path.components().peekable();
        let mut so_far = String::new();
        while let Some(name) = components.next() {
            if components.peek().is_none() {
                return Ok(Some(Self { parent, name }));
            }
            so_far = format!("{so_far}/{name}");
            parent = match sys::openat(&parent, name, flags, Bits::empty()) {
                Ok(handle) => handle,
                Err(Errno::NOENT) => return Ok(None),
                Err(Errno::NOTDIR | Errno::LOOP) => return Err(not_a_directory(&parent, name, &so_far, trying)),
                Err(e) => return Err(failed(trying, e)),
            };
        }
        Ok(None)
    }

    /// The same, where the directory must be there.
    fn expect(path: &'p HostPath, trying: &str) -> Result<Self, HostError> {
        Self::find(path, trying)?
            .ok_or_else(|| HostError::new(Reason::IoError, format!("{trying}: its directory is not there")))
    }

    fn stat(&self, trying: &str) -> Result<Option<Stat>, HostError> {
        match sys::statat(&self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(failed(trying, e)),
        }
    }

    /// Holds on to the file or directory of that name, whatever takes its place later.
    fn pin(&self, trying: &str) -> Result<OwnedFd, HostError> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = sys::openat(&self.parent, self.name, flags, Bits::empty()).map_err(|e| failed(trying, e))?;
        let stat = sys::fstat(&handle).map_err(|e| failed(trying, e))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory | FileType::RegularFile => Ok(handle),
            other => {
                let message = format!("{trying}: {} is in its place, expected a file or directory", word(other));
                Err(HostError::new(Reason::WrongKind, message))
            }
        }
    }

    fn remove(&self, name: &str, trying: &str) -> Result<(), HostError> {
        match sys::unlinkat(&self.parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(failed(trying, e)),
        }
    }

    /// Makes what happened in the directory durable. One that may be entered but not read cannot be synced.
    fn sync(&self, trying: &str) -> Result<(), HostError> {
        match sys::openat(&self.parent, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Bits::empty()) {
            Ok(handle) => sys::fsync(handle).map_err(|e| failed(trying, e)),
            Err(Errno::ACCESS) => Ok(()),
            Err(e) => Err(failed(trying, e)),
        }
    }
}

fn not_a_directory(parent: &OwnedFd, name: &str, path: &str, trying: &str) -> HostError {
    let kind = sys::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode));
    match kind {
        Ok(FileType::Symlink) => {
            HostError::new(Reason::LinkInPath, format!("{trying}: {path} is a link, expected a directory"))
        }
        Ok(kind) => {
            HostError::new(Reason::WrongKind, format!("{trying}: {path} is {}, expected a directory", word(kind)))
        }
        Err(e) => failed(trying, e),
    }
}

fn write_beside(place: &Place<'_>, interim: &str, content: &mut dyn Read, trying: &str) -> Result<File, HostError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let handle = sys::openat(&place.parent, interim, flags, Bits::from_raw_mode(0o600));
    let mut file = File::from(handle.map_err(|e| failed(trying, e))?);
    io::copy(content, &mut file).and_then(|_| file.flush()).map_err(|e| failed_io(trying, &e))?;
    Ok(file)
}

/// Through the handle, not the path: nothing else can take its place in between. Owner first, as a change of
/// owner takes the set-user-ID bit away.
fn change(handle: &OwnedFd, mode: Option<Bits>, owner: Option<sys::Uid>, group: Option<sys::Gid>) -> Result<(), Errno> {
    if owner.is_some() || group.is_some() {
        sys::chownat(handle, "", owner, group, AtFlags::EMPTY_PATH)?;
    }
    match mode {
        Some(mode) => sys::chmodat(CWD, format!("/proc/self/fd/{}", handle.as_raw_fd()), mode, AtFlags::empty()),
        None => Ok(()),
    }
}

fn snapshot(stat: &Stat, salt: Option<&Salt>) -> Snapshot {
    let nanoseconds = |seconds: i64, more: u64| i128::from(seconds) * 1_000_000_000 + i128::from(more);
    Snapshot {
        volume: stat.st_dev,
        file: stat.st_ino.into(),
        size: stat.st_size,
        modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        changed: nanoseconds(stat.st_ctime, stat.st_ctime_nsec),
        changed_at: Some(UNIX_EPOCH + Duration::from_secs(stat.st_ctime.max(0).unsigned_abs())),
        salt: salt.copied(),
    }
}

fn word(kind: FileType) -> &'static str {
    match kind {
        FileType::Directory => "a directory",
        FileType::RegularFile => "a file",
        FileType::Symlink => "a link",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        _ => "something unknown",
    }
}

fn failed(trying: &str, errno: Errno) -> HostError {
    failed_io(trying, &errno.into())
}

/// An error of the standard library, with the reason that it stands for.
pub fn failed_io(trying: &str, error: &io::Error) -> HostError {
    let reason = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::ACCESS | Errno::PERM) => Reason::PermissionDenied,
        Some(Errno::NOTDIR | Errno::ISDIR | Errno::EXIST) => Reason::WrongKind,
        Some(Errno::LOOP) => Reason::LinkInPath,
        Some(Errno::BUSY | Errno::TXTBSY) => Reason::InUse,
        Some(Errno::NOSPC | Errno::DQUOT) => Reason::DiskFull,
        Some(Errno::ROFS) => Reason::ReadOnlyFilesystem,
        _ => Reason::IoError,
    };
    HostError::new(reason, format!("{trying}: {error}"))
}
