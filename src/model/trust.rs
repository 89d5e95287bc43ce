//! What is said under a signature: whom nodes believe, and which document is a node's. Values only, no cryptography:
//! signing and checking are done in the room of that name. Pure.

use std::fmt;

use super::Digest;

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey([u8; 32]);

/// Why bytes are not such a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {found} bytes, expected {expected}")]
pub struct TrustValueError {
    /// What they were taken for.
    what: &'static str,
    /// How many there are.
    found: usize,
    /// How many there should be.
    expected: usize,
}

impl PublicKey {
    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// First 16 hex digits of the key's SHA-256: its name in envelopes and logs.
    pub fn id(&self) -> String {
        Digest::of(&self.0).to_string()[..16].to_owned()
    }
}

impl TryFrom<&[u8]> for PublicKey {
    type Error = TrustValueError;
    fn try_from(bytes: &[u8]) -> Result<Self, TrustValueError> {
        let wrong = |_| TrustValueError { what: "a public key", found: bytes.len(), expected: 32 };
        bytes.try_into().map(Self).map_err(wrong)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.id())
    }
}

/// Random bytes that an agent makes for one connection: whatever names them was said after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce([u8; 16]);

impl Nonce {
    /// Takes bytes of the machine's random generator.
    pub fn new(random: [u8; 16]) -> Self {
        Self(random)
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl TryFrom<&[u8]> for Nonce {
    type Error = TrustValueError;
    fn try_from(bytes: &[u8]) -> Result<Self, TrustValueError> {
        let wrong = |_| TrustValueError { what: "a nonce", found: bytes.len(), expected: 16 };
        bytes.try_into().map(Self).map_err(wrong)
    }
}

/// That a document is what a node should be, said over one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// UID of the EdgeNode.
    pub node_uid: String,
    /// Of the connection's Hello.
    pub nonce: Nonce,
    /// Rises within the connection.
    pub counter: u64,
    /// SHA-256 of the document.
    pub digest: Digest,
    /// Bytes of the document.
    pub size: u64,
}

/// Whom nodes believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// 1 for the first one, then one more each.
    pub serial: u64,
    /// Keys whose signature counts, the oldest first. At least one.
    pub signing_keys: Vec<PublicKey>,
    /// Certificates of the certificate authority, DER.
    pub authorities: Vec<Vec<u8>>,
}
