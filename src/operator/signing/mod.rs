//! Signs what goes to nodes, with keys that are rotated. [`rotation`] decides what is due, [`keyring`] holds keys and
//! trust bundles, [`secret`] keeps them in a Secret; here is what sessions share. No IO.

pub mod keyring;
pub mod rotation;
pub mod secret;

use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

pub use keyring::{Keyring, KeyringError};
pub use rotation::Rotation;

use crate::{
    model::Statement,
    trust::{Sealed, seal},
    wire::{
        trust::encode_statement,
        trust_v1::{Chain, Envelope},
    },
};

/// Most bundles of one message to a node: what is left goes in the next one.
const BUNDLES_AT_A_TIME: usize = 16;

/// What all sessions sign with, and tell of.
pub struct Signer {
    keyring: RwLock<Arc<Keyring>>,
    rotation: Rotation,
    clock: fn() -> Timestamp,
}

impl Signer {
    /// Signs with the keyring's key of the moment.
    pub fn new(keyring: Keyring, rotation: Rotation, clock: fn() -> Timestamp) -> Self {
        Self { keyring: RwLock::new(Arc::new(keyring)), rotation, clock }
    }

    /// The keyring as of now.
    pub fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on with another one.
    pub fn replace(&self, keyring: Keyring) {
        *self.keyring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
    }

    /// Signs a statement.
    pub fn sign(&self, statement: &Statement) -> Envelope {
        let keyring = self.keyring();
        seal(Sealed::Statement, encode_statement(statement), keyring.signing_key((self.clock)(), &self.rotation))
    }

    /// The latest trust bundle.
    pub fn latest(&self) -> Envelope {
        self.keyring().latest().clone()
    }

    /// The next bundles for a node that has the one of this serial, 0 for none, and the serial that it has then.
    pub fn above(&self, serial: u64) -> Option<(Chain, u64)> {
        let keyring = self.keyring();
        let last = keyring.serial();
        if serial >= last {
            return None;
        }
        if serial == 0 {
            return Some((Chain { bundles: vec![keyring.latest().clone()] }, last));
        }
        let bundles: Vec<Envelope> = keyring.after(serial).iter().take(BUNDLES_AT_A_TIME).cloned().collect();
        let left = keyring.after(serial).len() - bundles.len();
        Some((Chain { bundles }, last - left as u64))
    }
}
