//! Contents in a folder, by digest: `<hex>` once whole and durable, `<hex>.partial` while it comes.
//! Knows nothing of where they come from. Does IO.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use super::StoreError;
use crate::{
    agent::{
        contents::Contents,
        host::{HostError, machine},
    },
    model::{Digest, Hasher, Salt},
};

/// A content-addressed folder that only the agent's own user can open.
#[derive(Debug)]
pub struct ContentsFolder(PathBuf);

impl ContentsFolder {
    /// Opens the folder, creating it where it is absent.
    pub fn open(folder: PathBuf) -> Result<Self, StoreError> {
        machine::create_private_directory(&folder).map_err(|e| failed("create", &folder, &e))?;
        Ok(Self(folder))
    }

    /// Discards all: after damage of the store, nothing on this disk is believed.
    pub fn discard(&self) -> Result<(), StoreError> {
        self.retain(&HashSet::new())
    }

    fn whole(&self, digest: &Digest) -> PathBuf {
        self.0.join(digest.to_string())
    }

    fn partial(&self, digest: &Digest) -> PathBuf {
        self.0.join(format!("{digest}.partial"))
    }
}

impl Contents for ContentsFolder {
    fn has(&self, digest: &Digest) -> bool {
        self.whole(digest).is_file()
    }

    fn partial_length(&self, digest: &Digest) -> u64 {
        let length = |path| fs::metadata(path).ok().map(|m| m.len());
        length(self.whole(digest)).or_else(|| length(self.partial(digest))).unwrap_or_default()
    }

    fn append(&self, digest: &Digest, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.partial(digest);
        let fail = |e: std::io::Error| failed("write", &path, &e);
        let mut file = OpenOptions::new().append(true).create(true).open(&path).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        if length != offset {
            return Err(StoreError(format!("content {digest}: a range at {offset}, expected one at {length}")));
        }
        file.write_all(bytes).map_err(|e| {
            // A part of the range may have been written: the next one is to follow the last whole one.
            let _ = file.set_len(length);
            fail(e)
        })
    }

    fn finish(&self, digest: &Digest, salt: Option<&Salt>) -> Result<Result<(), Digest>, StoreError> {
        if self.has(digest) {
            return Ok(Ok(()));
        }
        let path = self.partial(digest);
        let fail = |e: std::io::Error| failed("finish", &path, &e);
        let file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(fail)?;
        let found = digest_of(&file, salt).map_err(fail)?;
        if found != *digest {
            fs::remove_file(&path).map_err(fail)?;
            return Ok(Err(found));
        }
        file.sync_all().map_err(fail)?;
        fs::rename(&path, self.whole(digest)).map_err(fail)?;
        machine::sync_directory(&self.0).map_err(fail)?;
        Ok(Ok(()))
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, HostError> {
        let path = self.whole(digest);
        let file = File::open(&path).map_err(|e| machine::failed_io(&format!("open {}", path.display()), &e))?;
        Ok(Box::new(file))
    }

    fn retain(&self, keep: &HashSet<Digest>) -> Result<(), StoreError> {
        let fail = |e: std::io::Error| failed("list", &self.0, &e);
        for entry in fs::read_dir(&self.0).map_err(fail)? {
            let path = entry.map_err(fail)?.path();
            let stem = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let digest = Digest::from_hex(stem.strip_suffix(".partial").unwrap_or(stem));
            if digest.is_ok_and(|digest| keep.contains(&digest)) {
                continue;
            }
            match fs::remove_file(&path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed("remove", &path, &e)),
                _ => {}
            }
        }
        Ok(())
    }
}

fn digest_of(mut file: &File, salt: Option<&Salt>) -> std::io::Result<Digest> {
    let mut hasher = Hasher::new(salt);
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            n => hasher.update(&buffer[..n]),
        }
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError(format!("{what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::store::MemoryContents;

    fn each_kind(behaviour: impl Fn(&dyn Contents)) {
        behaviour(&MemoryContents::default());
        let folder = tempfile::tempdir().expect("folder");
        behaviour(&ContentsFolder::open(folder.path().join("contents")).expect("open"));
    }

    fn read(contents: &dyn Contents, digest: &Digest) -> Vec<u8> {
        let mut bytes = Vec::new();
        contents.open(digest).expect("there").read_to_end(&mut bytes).expect("readable");
        bytes
    }

    #[test]
    fn a_content_that_comes_in_ranges_is_whole_once_finished() {
        each_kind(|contents| {
            let digest = Digest::of(b"hello world");
            contents.append(&digest, 0, b"hello ").expect("first");
            assert!(!contents.has(&digest));
            assert_eq!(contents.partial_length(&digest), 6);
            assert!(contents.append(&digest, 3, b"x").is_err(), "a range at a wrong offset");
            contents.append(&digest, 6, b"world").expect("second");
            assert_eq!(contents.finish(&digest, None), Ok(Ok(())));
            assert!(contents.has(&digest));
            assert_eq!(contents.partial_length(&digest), 11);
            assert_eq!(read(contents, &digest), b"hello world");
            assert_eq!(contents.finish(&digest, None), Ok(Ok(())), "again");
        });
    }

    #[test]
    fn wrong_bytes_are_discarded_and_never_seen() {
        each_kind(|contents| {
            let digest = Digest::of(b"right");
            contents.append(&digest, 0, b"wrong").expect("append");
            assert_eq!(contents.finish(&digest, None), Ok(Err(Digest::of(b"wrong"))));
            assert!(!contents.has(&digest) && contents.open(&digest).is_err());
            assert_eq!(contents.partial_length(&digest), 0);
        });
    }

    #[test]
    fn an_empty_and_a_salted_content_are_checked_too() {
        each_kind(|contents| {
            assert_eq!(contents.finish(&Digest::of(b""), None), Ok(Ok(())));
            assert_eq!(read(contents, &Digest::of(b"")), b"");
            let salt = Salt::new([3; 32]);
            let digest = Digest::of_salted(Some(&salt), b"1234");
            contents.append(&digest, 0, b"1234").expect("append");
            assert_eq!(contents.finish(&digest, Some(&salt)), Ok(Ok(())));
        });
    }

    #[test]
    fn only_what_is_kept_stays() {
        each_kind(|contents| {
            let digests = [b"a", b"b", b"c"].map(|bytes| {
                let digest = Digest::of(bytes);
                contents.append(&digest, 0, bytes).expect("append");
                digest
            });
            assert_eq!(contents.finish(&digests[0], None), Ok(Ok(())));
            assert_eq!(contents.finish(&digests[1], None), Ok(Ok(())));
            contents.retain(&[digests[0]].into()).expect("retain");
            assert_eq!(digests.map(|d| contents.has(&d)), [true, false, false]);
            assert_eq!(contents.partial_length(&digests[2]), 0);
        });
    }
}
