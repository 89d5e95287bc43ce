//! Keys that sign, and what is drawn from the machine's random generator: new keys and nonces.

use std::fmt;

use ring::{
    rand::{SecureRandom as _, SystemRandom},
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};

use crate::model::{Nonce, PublicKey};

/// A key that signs.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    pkcs8: Vec<u8>,
    public: PublicKey,
}

/// Why there is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The machine gives no random bytes.
    #[error("the machine's random generator gives nothing")]
    Random,
    /// Bytes that hold no key.
    #[error("not an Ed25519 key as PKCS #8: {0}")]
    Pkcs8(String),
}

impl SigningKey {
    /// A new one.
    pub fn generate() -> Result<Self, KeyError> {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyError::Random)?;
        Self::from_pkcs8(pkcs8.as_ref())
    }

    /// Reads one (RFC 8410, with its public key).
    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, KeyError> {
        let wrong = |why: String| KeyError::Pkcs8(why);
        let pair = Ed25519KeyPair::from_pkcs8(bytes).map_err(|e| wrong(e.to_string()))?;
        let public = PublicKey::try_from(pair.public_key().as_ref()).map_err(|e| wrong(e.to_string()))?;
        Ok(Self { pair, pkcs8: bytes.to_vec(), public })
    }

    /// For [`SigningKey::from_pkcs8`].
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// What it is known by.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.id())
    }
}

pub(super) fn is_signed_by(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, key.as_bytes()).verify(message, signature).is_ok()
}

/// A nonce for one connection.
pub fn fresh_nonce() -> Result<Nonce, KeyError> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::Random)?;
    Ok(Nonce::new(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_after_it_was_kept() {
        let key = SigningKey::generate().expect("made");
        let read = SigningKey::from_pkcs8(key.pkcs8()).expect("read");
        assert_eq!(read.public(), key.public());
        assert!(is_signed_by(&key.public(), b"x", &read.sign(b"x")));
        assert!(!is_signed_by(&key.public(), b"y", &read.sign(b"x")));
        assert!(SigningKey::from_pkcs8(b"rubbish").is_err());
    }

    #[test]
    fn no_two_nonces_are_the_same() {
        assert_ne!(fresh_nonce(), fresh_nonce());
    }
}
