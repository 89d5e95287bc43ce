//! The document of one node as it is delivered: bytes, revision, and the contents that it names.
//! Pure. Made by `render`; a session serves ranges of it and of nothing else.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use crate::model::{Digest, Revision};

/// What one node is to receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// First 16 hex digits of `digest`.
    pub revision: Revision,
    /// SHA-256 of `bytes`.
    pub digest: Digest,
    /// The encoded desired state.
    pub bytes: Bytes,
    /// Contents that it names, by digest. Bytes that several nodes use are in memory once.
    pub contents: BTreeMap<Digest, Bytes>,
    /// Whether this empties the node because its EdgeNode is being deleted.
    pub cleanup: bool,
}

impl Document {
    /// Takes encoded bytes and what they name.
    pub fn new(bytes: Vec<u8>, contents: BTreeMap<Digest, Bytes>, cleanup: bool) -> Arc<Self> {
        let digest = Digest::of(&bytes);
        Arc::new(Self { revision: Revision::from(&digest), digest, bytes: bytes.into(), contents, cleanup })
    }

    /// A range of the document or of a content that it names: at most `length` bytes from `offset`.
    /// `None` if it names no such content.
    pub fn range(&self, digest: &Digest, offset: u64, length: u32) -> Option<Bytes> {
        let bytes = if *digest == self.digest { &self.bytes } else { self.contents.get(digest)? };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let end = start.saturating_add(length as usize).min(bytes.len());
        Some(bytes.slice(start..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_cut_to_what_is_there() {
        let content = Bytes::from_static(b"hello");
        let digest = Digest::of(&content);
        let document = Document::new(b"doc".to_vec(), [(digest, content)].into(), false);
        assert_eq!(document.range(&digest, 1, 3), Some(Bytes::from_static(b"ell")));
        assert_eq!(document.range(&digest, 4, 100), Some(Bytes::from_static(b"o")));
        assert_eq!(document.range(&digest, u64::MAX, 100), Some(Bytes::new()));
        assert_eq!(document.range(&document.digest, 0, 100), Some(Bytes::from_static(b"doc")));
        assert_eq!(document.range(&Digest::of(b"other"), 0, 100), None);
    }
}
