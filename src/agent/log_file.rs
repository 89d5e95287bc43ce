//! The agent's own log as files: one that grows, and a few old ones, so that all of them stay within a size. Does IO.
//! For a service, which nobody listens to; a crate for this brings a calendar and compression along.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

/// A log of this many bytes becomes an old one, and a new one begins.
const LONGEST: u64 = 10 << 20;
/// So many old ones are kept: `agent.log.1` is the youngest.
const OLD: u32 = 4;

/// `<folder>/agent.log` and the old ones beside it.
#[derive(Debug)]
pub struct LogFile {
    log: Mutex<Log>,
}

#[derive(Debug)]
struct Log {
    path: PathBuf,
    longest: u64,
    file: File,
    written: u64,
}

impl LogFile {
    /// Goes on with the log in this folder, which exists.
    pub fn open(folder: &Path) -> io::Result<Self> {
        Self::with_longest(folder, LONGEST)
    }

    fn with_longest(folder: &Path, longest: u64) -> io::Result<Self> {
        let path = folder.join("agent.log");
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        let written = file.metadata()?.len();
        Ok(Self { log: Mutex::new(Log { path, longest, file, written }) })
    }
}

impl Log {
    /// Begins anew. Where that cannot be done (somebody holds an old one open), the log goes on as it is.
    fn turn(&mut self) -> io::Result<()> {
        let old = |number: u32| self.path.with_extension(format!("log.{number}"));
        for number in (1..OLD).rev() {
            match fs::rename(old(number), old(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, old(1))?;
        self.file = OpenOptions::new().append(true).create(true).open(&self.path)?;
        self.written = 0;
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        // What a panicking thread left is whole: a line is written in one call.
        Line(self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes one line, which is never divided between two files.
pub struct Line<'a>(MutexGuard<'a, Log>);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let log = &mut *self.0;
        if log.written > 0 && log.written + bytes.len() as u64 > log.longest && log.turn().is_err() {
            // Tried again when as much has been written once more; meanwhile the log is longer than it should be.
            log.written = 0;
        }
        log.file.write_all(bytes)?;
        log.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(folder: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(folder)
            .expect("a folder")
            .map(|entry| {
                let path = entry.expect("an entry").path();
                let name = path.file_name().expect("a name").to_string_lossy().into_owned();
                (name, fs::read_to_string(path).expect("text"))
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_log_that_has_grown_becomes_an_old_one_and_the_oldest_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = LogFile::with_longest(folder.path(), 10).expect("opened");
        for number in 0..7 {
            log.make_writer().write_all(format!("line {number}\n").as_bytes()).expect("written");
        }
        let names: Vec<_> = lines(folder.path()).into_iter().map(|(name, text)| format!("{name} {text}")).collect();
        assert_eq!(
            names,
            [
                "agent.log line 6\n",
                "agent.log.1 line 5\n",
                "agent.log.2 line 4\n",
                "agent.log.3 line 3\n",
                "agent.log.4 line 2\n"
            ]
        );
    }

    #[test]
    fn a_log_goes_on_after_a_restart_and_its_length_counts() {
        let folder = tempfile::tempdir().expect("a folder");
        for number in 0..3 {
            let log = LogFile::with_longest(folder.path(), 14).expect("opened");
            log.make_writer().write_all(format!("line {number}\n").as_bytes()).expect("written");
        }
        let expected = [("agent.log", "line 2\n"), ("agent.log.1", "line 0\nline 1\n")];
        assert_eq!(lines(folder.path()), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_log_that_cannot_be_put_aside_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = LogFile::with_longest(folder.path(), 10).expect("opened");
        fs::write(folder.path().join("agent.log.3"), "old").expect("written");
        fs::create_dir_all(folder.path().join("agent.log.4").join("in the way")).expect("made");
        for number in 0..3 {
            log.make_writer().write_all(format!("line {number}\n").as_bytes()).expect("written");
        }
        let text = fs::read_to_string(folder.path().join("agent.log")).expect("there");
        assert_eq!(text, "line 0\nline 1\nline 2\n");
    }
}
