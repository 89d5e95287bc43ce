//! What services write: one file each, kept within a size without a pipe in between, so that it goes on while
//! no agent runs. Does IO.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use rustix::fs::OFlags;

use super::own::create_private_directory;
use crate::model::ServiceName;

/// A log that is longer becomes the old one, and a new one begins.
const LONGEST: u64 = 10 << 20;

/// A folder of logs: `<service>.log` and the old one, `<service>.log.1`.
#[derive(Debug)]
pub(super) struct ServiceLogs(PathBuf);

impl ServiceLogs {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Opens a service's log to write at its end, wherever that is by then.
    pub(super) fn open(&self, name: &ServiceName) -> io::Result<File> {
        create_private_directory(&self.0)?;
        OpenOptions::new().append(true).create(true).mode(0o600).custom_flags(no_follow()).open(self.path(name, "log"))
    }

    /// Where it is, for messages.
    pub(super) fn path(&self, name: &ServiceName, extension: &str) -> PathBuf {
        self.0.join(format!("{name}.{extension}"))
    }

    /// Begins a log anew that has grown too long. As the service keeps it open, its end is copied and it is cut
    /// to nothing; what is written in between those two is lost.
    pub(super) fn cap(&self, name: &ServiceName) -> io::Result<()> {
        let path = self.path(name, "log");
        let mut log = match OpenOptions::new().read(true).write(true).custom_flags(no_follow()).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let length = log.metadata()?.len();
        if length <= LONGEST {
            return Ok(());
        }
        log.seek(SeekFrom::Start(length - LONGEST))?;
        let partial = self.path(name, "log.partial");
        let mut old = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(no_follow())
            .open(&partial)?;
        io::copy(&mut Read::by_ref(&mut log).take(LONGEST), &mut old)?;
        fs::rename(partial, self.path(name, "log.1"))?;
        log.set_len(0)
    }

    /// Removes them.
    pub(super) fn remove(&self, name: &ServiceName) -> io::Result<()> {
        for extension in ["log", "log.1", "log.partial"] {
            match fs::remove_file(self.path(name, extension)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

fn no_follow() -> i32 {
    i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{io::Write, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_log_is_cut_while_it_is_written_and_its_end_kept() {
        let folder = tempfile::tempdir().expect("folder");
        let logs = ServiceLogs::new(folder.path().join("logs"));
        let name = ServiceName::parse("acme.db").expect("name");
        let mut writer = logs.open(&name).expect("opens");
        writer.write_all(&vec![b'-'; usize::try_from(LONGEST).expect("fits")]).expect("writes");
        logs.cap(&name).expect("caps");
        assert!(!logs.path(&name, "log.1").exists());

        writer.write_all(b"last words").expect("writes");
        logs.cap(&name).expect("caps");
        writer.write_all(b"anew").expect("writes");
        assert_eq!(fs::read(logs.path(&name, "log")).expect("log"), b"anew");
        let old = fs::read(logs.path(&name, "log.1")).expect("old log");
        assert!(old.len() as u64 == LONGEST && old.ends_with(b"last words"));
        for extension in ["log", "log.1"] {
            let mode = fs::metadata(logs.path(&name, extension)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        logs.remove(&name).expect("removes");
        assert_eq!(fs::read_dir(folder.path().join("logs")).expect("folder").count(), 0);
    }
}
