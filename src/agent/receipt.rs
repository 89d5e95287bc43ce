//! What the documents of one session are held against: whom this agent believes, the nonce of its Hello, and how far
//! the operator has counted. In: trust bundles and Desired messages. Out: who vouches for a document, or why nobody
//! does. Writes trust bundles, before anything that is signed by their keys counts.

use tracing::{info, warn};

use super::{
    identity::{IdentityError, IdentityFolder},
    store::Voucher,
};
use crate::{
    model::{Digest, Nonce},
    trust::{Asked, BrokenChain, Trust, Untrusted, verify_received},
    wire::{trust_v1::Chain, tunnel_v1::Desired},
};

/// One session's.
pub struct Receipt<'a> {
    folder: &'a IdentityFolder,
    node_uid: &'a str,
    nonce: Nonce,
    trust: Option<Trust>,
    /// Number of the document that was taken last.
    last: u64,
    /// Why the trust bundles that came do not count.
    broken: Option<BrokenChain>,
}

impl<'a> Receipt<'a> {
    /// Of a session that is begun with this nonce. An agent that believes nobody yet takes the first bundle that the
    /// operator shows, which TLS vouches for.
    pub fn begin(folder: &'a IdentityFolder, node_uid: &'a str, nonce: Nonce) -> Self {
        let trust = folder.trust();
        Self { folder, node_uid, nonce, trust, last: 0, broken: None }
    }

    /// Of the connection.
    pub fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// Of the bundle that this agent was led to, 0 for none.
    pub fn serial(&self) -> u64 {
        self.trust.as_ref().map_or(0, |trust| trust.bundle.serial)
    }

    /// Follows trust bundles. Those that do not fit change nothing.
    pub fn follow(&mut self, chain: &Chain) -> Result<(), IdentityError> {
        let (led, is_first) = match (&self.trust, chain.bundles.last()) {
            (Some(trust), _) => (trust.follow(&chain.bundles), false),
            (None, Some(latest)) => (Trust::begin(latest).map(Some), true),
            (None, None) => return Ok(()),
        };
        match led {
            Ok(Some(trust)) => {
                self.folder.keep_trust(&trust)?;
                let keys: Vec<String> = trust.bundle.signing_keys.iter().map(|key| key.id()).collect();
                let (serial, keys) = (trust.bundle.serial, keys.join(" "));
                if is_first {
                    info!(serial, keys, "the first trust bundle was taken from the operator's session");
                } else {
                    info!(serial, keys, "trust bundle followed");
                }
                (self.trust, self.broken) = (Some(trust), None);
            }
            Ok(None) => {}
            Err(why) => {
                warn!(error = %why, serial = self.serial(), "a trust bundle is refused; the one before it stays");
                self.broken = Some(why);
            }
        }
        Ok(())
    }

    /// Who vouches for a document; nobody has to as long as this agent was given no keys.
    pub fn check(&mut self, desired: &Desired, digest: &Digest) -> Result<Option<Voucher>, Untrusted> {
        let Some(trust) = &self.trust else { return Ok(None) };
        let asked =
            Asked { keys: &trust.bundle.signing_keys, node_uid: self.node_uid, nonce: &self.nonce, last: self.last };
        let envelope = desired.envelope.as_ref();
        let verified = verify_received(envelope, (digest, desired.size), asked)?;
        self.last = verified.counter;
        Ok(envelope.map(|envelope| Voucher { envelope: envelope.clone(), signer: verified.signer }))
    }

    /// What a person is told of a refusal.
    pub fn explain(&self, untrusted: &Untrusted) -> String {
        let broken = self.broken.as_ref().map(|why| format!("; and the operator's trust bundles do not follow: {why}"));
        format!("{}: {untrusted}{}", untrusted.reason(), broken.unwrap_or_default())
    }
}
