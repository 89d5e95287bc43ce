//! SHA-256 digests, salted where the content is secret, and the revision of a document. Pure.

use std::fmt;

use sha2::{Digest as _, Sha256};

/// SHA-256 of some bytes, or of a salt followed by them. 32 bytes, shown as 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of public bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_salted(None, bytes)
    }

    /// SHA-256(salt ‖ bytes); without salt, plain SHA-256.
    pub fn of_salted(salt: Option<&Salt>, bytes: &[u8]) -> Self {
        let mut hasher = Hasher::new(salt);
        hasher.update(bytes);
        hasher.finish()
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Parses 64 hex digits of either case.
    pub fn from_hex(text: &str) -> Result<Self, DigestError> {
        let invalid = || DigestError::Hex(text.chars().take(80).collect());
        if text.len() != 64 || !text.is_ascii() {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| invalid())?;
        }
        Ok(Self(bytes))
    }
}

/// Digests bytes that come in pieces.
#[derive(Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Starts with the salt, if any.
    pub fn new(salt: Option<&Salt>) -> Self {
        let mut sha = Sha256::new();
        if let Some(Salt(salt)) = salt {
            sha.update(salt);
        }
        Self(sha)
    }

    /// Takes the next piece.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all pieces.
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl TryFrom<&[u8]> for Digest {
    type Error = DigestError;
    fn try_from(bytes: &[u8]) -> Result<Self, DigestError> {
        bytes.try_into().map(Self).map_err(|_| DigestError::Length(bytes.len()))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Makes the digest of a secret content unguessable: 32 bytes that only operator and node know. Never shown.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Salt([u8; 32]);

impl Salt {
    /// Takes the bytes as they are.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Salt {
    type Error = DigestError;
    fn try_from(bytes: &[u8]) -> Result<Self, DigestError> {
        bytes.try_into().map(Self).map_err(|_| DigestError::Length(bytes.len()))
    }
}

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(…)")
    }
}

/// Names one desired state: the first 16 hex digits of the SHA-256 of the document's bytes.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Revision(String);

impl Revision {
    /// The revision of an encoded document.
    pub fn of(document: &[u8]) -> Self {
        Self::from(&Digest::of(document))
    }

    /// The 16 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Parses 16 lower-case hex digits.
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let valid = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        valid.then(|| Self(text.to_owned())).ok_or_else(|| DigestError::Revision(text.chars().take(40).collect()))
    }
}

impl From<&Digest> for Revision {
    fn from(digest: &Digest) -> Self {
        let mut hex = digest.to_string();
        hex.truncate(16);
        Self(hex)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Revision({})", self.0)
    }
}

/// Why something is not a digest, salt or revision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// Not 64 hex digits.
    #[error("{0:?} is not a SHA-256 of 64 hex digits")]
    Hex(String),
    /// Not 32 bytes.
    #[error("{0} bytes, expected 32")]
    Length(usize),
    /// Not 16 lower-case hex digits.
    #[error("{0:?} is not a revision of 16 lower-case hex digits")]
    Revision(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_reads_back_from_its_hex() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(Digest::from_hex(&digest.to_string().to_uppercase()), Ok(digest));
        assert!(Digest::from_hex("ba78").is_err());
        assert!(Digest::from_hex(&"é".repeat(32)).is_err());
    }

    #[test]
    fn a_salt_changes_the_digest_and_is_not_shown() {
        let salt = Salt::new([7; 32]);
        assert_ne!(Digest::of_salted(Some(&salt), b"1234"), Digest::of(b"1234"));
        assert_eq!(format!("{salt:?}"), "Salt(…)");
    }

    #[test]
    fn a_revision_is_the_first_16_digits() {
        assert_eq!(Revision::of(b"abc").as_str(), "ba7816bf8f01cfea");
        assert_eq!(Revision::parse("ba7816bf8f01cfea"), Ok(Revision::of(b"abc")));
        assert!(Revision::parse("BA7816BF8F01CFEA").is_err());
    }
}
