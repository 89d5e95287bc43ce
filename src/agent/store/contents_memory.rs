//! Contents in memory, for tests and simulations; held against the folder by one suite of behaviours.

use std::{
    collections::{HashMap, HashSet},
    io::{Cursor, Read},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::StoreError;
use crate::{
    agent::{
        contents::Contents,
        host::{HostError, Reason},
    },
    model::{Digest, Salt},
};

/// Contents by digest, in memory.
#[derive(Debug, Default)]
pub struct MemoryContents(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    whole: HashMap<Digest, bytes::Bytes>,
    partial: HashMap<Digest, Vec<u8>>,
}

impl MemoryContents {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents for MemoryContents {
    fn has(&self, digest: &Digest) -> bool {
        self.state().whole.contains_key(digest)
    }

    fn partial_length(&self, digest: &Digest) -> u64 {
        let state = self.state();
        let whole = state.whole.get(digest).map(bytes::Bytes::len);
        whole.or_else(|| state.partial.get(digest).map(Vec::len)).unwrap_or_default() as u64
    }

    fn append(&self, digest: &Digest, offset: u64, bytes: &[u8]) -> Result<(), StoreError> {
        let mut state = self.state();
        let partial = state.partial.entry(*digest).or_default();
        let length = partial.len() as u64;
        if length != offset {
            return Err(StoreError(format!("content {digest}: a range at {offset}, expected one at {length}")));
        }
        partial.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&self, digest: &Digest, salt: Option<&Salt>) -> Result<Result<(), Digest>, StoreError> {
        let mut state = self.state();
        if state.whole.contains_key(digest) {
            return Ok(Ok(()));
        }
        let bytes = state.partial.remove(digest).unwrap_or_default();
        let found = Digest::of_salted(salt, &bytes);
        if found != *digest {
            return Ok(Err(found));
        }
        state.whole.insert(*digest, bytes.into());
        Ok(Ok(()))
    }

    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + Send>, HostError> {
        match self.state().whole.get(digest) {
            Some(bytes) => Ok(Box::new(Cursor::new(bytes.clone()))),
            None => Err(HostError::new(Reason::IoError, format!("content {digest} is not there"))),
        }
    }

    fn retain(&self, keep: &HashSet<Digest>) -> Result<(), StoreError> {
        let mut state = self.state();
        state.whole.retain(|digest, _| keep.contains(digest));
        state.partial.retain(|digest, _| keep.contains(digest));
        Ok(())
    }
}
