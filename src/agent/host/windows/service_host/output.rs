//! What a program writes, kept in a file of bounded size and the one before it. Does IO.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, PipeReader, Read as _, Write as _},
    os::windows::io::OwnedHandle,
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, channel},
    thread,
};

/// A file that is as large becomes the old one.
const MOST_BYTES: u64 = 10 << 20;

/// A pipe from the program, and where what comes through it goes.
pub(super) struct Output {
    writer: File,
    reader: PipeReader,
    log: Log,
}

impl Output {
    /// In this folder, which is there.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { writer: File::from(OwnedHandle::from(writer)), reader, log: Log::open(folder, MOST_BYTES)? })
    }

    /// For the program.
    pub(super) fn writer(&self) -> &File {
        &self.writer
    }

    /// Keeps all that comes, until the program and all that it started have closed their end; then the other end of
    /// what is returned hangs up.
    pub(super) fn keep(self) -> Receiver<()> {
        let (kept, all) = channel::<()>();
        let Self { writer, mut reader, mut log } = self;
        drop(writer);
        thread::spawn(move || {
            let mut bytes = [0; 8192];
            while let Ok(count) = reader.read(&mut bytes)
                && count > 0
            {
                // A full disk must not hold the program up.
                let _ = log.write(&bytes[..count]);
            }
            drop(kept);
        });
        all
    }
}

struct Log {
    path: PathBuf,
    old: PathBuf,
    file: File,
    size: u64,
    most: u64,
}

impl Log {
    fn open(folder: &Path, most: u64) -> io::Result<Self> {
        let path = folder.join("output.log");
        let file = OpenOptions::new().create(true).append(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { old: folder.join("output.old.log"), path, file, size, most })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.size >= self.most {
            fs::rename(&self.path, &self.old)?;
            self.file = OpenOptions::new().create(true).append(true).open(&self.path)?;
            self.size = 0;
        }
        self.file.write_all(bytes)?;
        self.size += bytes.len() as u64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_becomes_the_old_one() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in ["1111", "2222", "3333", "4444", "5555"] {
            // Opened again, as after a restart.
            Log::open(folder.path(), 8).expect("opens").write(text.as_bytes()).expect("written");
        }
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("there");
        assert_eq!((read("output.old.log"), read("output.log")), ("33334444".into(), "5555".into()));
    }
}
