//! Public contents by digest, so that bytes which many nodes use are in memory once. Holds nothing alive on its
//! own for long: what nobody else uses is dropped as the pool grows. Contents of Secrets never come here.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;

use crate::model::Digest;

/// The pool.
#[derive(Debug, Default)]
pub struct Pool(Mutex<Shelf>);

#[derive(Debug, Default)]
struct Shelf {
    contents: HashMap<Digest, Bytes>,
    sweep_at: usize,
}

/// Fewer contents than this are not worth a sweep.
const SWEEP_AT_LEAST: usize = 64;

impl Pool {
    /// The bytes of that digest that are in memory already, or these.
    pub fn intern(&self, digest: Digest, bytes: Bytes) -> Bytes {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.contents.len() >= shelf.sweep_at.max(SWEEP_AT_LEAST) {
            shelf.contents.retain(|_, bytes| !bytes.is_unique());
            shelf.sweep_at = 2 * shelf.contents.len();
        }
        shelf.contents.entry(digest).or_insert(bytes).clone()
    }

    /// Drops what nobody uses; returns how many contents are left.
    pub fn sweep(&self) -> usize {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.contents.retain(|_, bytes| !bytes.is_unique());
        shelf.contents.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_contents_are_in_memory_once_and_only_while_used() {
        let pool = Pool::default();
        let digest = Digest::of(b"hello");
        let first = pool.intern(digest, Bytes::from(b"hello".to_vec()));
        let second = pool.intern(digest, Bytes::from(b"hello".to_vec()));
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert_eq!(pool.sweep(), 1);
        drop((first, second));
        assert_eq!(pool.sweep(), 0);
    }
}
