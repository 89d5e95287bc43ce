//! The chain of trust bundles: each is signed by a key of the one before it, so that who believes one can be led to
//! the latest. Pure.

use super::{
    envelope::{Sealed, WrongEnvelope, open, seal},
    key::SigningKey,
};
use crate::{
    model::{Bundle, PublicKey},
    wire::{
        WireError,
        trust::{decode_bundle, encode_bundle},
        trust_v1::Envelope,
    },
};

/// Most retired keys that are remembered: a document is signed anew at each connection, so that an older signer's is
/// not in the store any more.
const MOST_RETIRED: usize = 64;

/// Whom a node believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The bundle that it was led to.
    pub bundle: Bundle,
    /// Keys of bundles before it: what they signed when they counted still counts in the store.
    pub retired: Vec<PublicKey>,
}

/// Why a bundle does not follow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenChain {
    /// Nobody signed it whose signature counts.
    #[error("trust bundle {serial}: {why}")]
    Envelope {
        /// The one that should come next.
        serial: u64,
        /// What is wrong.
        why: WrongEnvelope,
    },
    /// It is no bundle.
    #[error("a trust bundle: {0}")]
    Unreadable(#[from] WireError),
    /// Some are missing between.
    #[error("trust bundle {found} came, expected {expected}")]
    Gap {
        /// The next one.
        expected: u64,
        /// The one that came.
        found: u64,
    },
}

/// Signs a bundle with a key of the one before it.
pub fn sign_bundle(bundle: &Bundle, key: &SigningKey) -> Envelope {
    seal(Sealed::Bundle, encode_bundle(bundle), key)
}

impl Trust {
    /// Begins with a bundle that somebody else vouches for.
    pub fn begin(envelope: &Envelope) -> Result<Self, BrokenChain> {
        Ok(Self { bundle: decode_bundle(&envelope.payload)?, retired: Vec::new() })
    }

    /// Follows the chain; bundles that were followed before are passed over. `None` if nothing is new.
    pub fn follow(&self, chain: &[Envelope]) -> Result<Option<Self>, BrokenChain> {
        let mut trust = None::<Self>;
        for envelope in chain {
            let now = trust.as_ref().unwrap_or(self);
            let expected = now.bundle.serial + 1;
            let claimed = decode_bundle(&envelope.payload)?;
            if claimed.serial < expected {
                continue;
            }
            if claimed.serial > expected {
                return Err(BrokenChain::Gap { expected, found: claimed.serial });
            }
            open(envelope, Sealed::Bundle, &now.bundle.signing_keys)
                .map_err(|why| BrokenChain::Envelope { serial: expected, why })?;
            trust = Some(now.before(claimed));
        }
        Ok(trust)
    }

    fn before(&self, next: Bundle) -> Self {
        let gone = self.bundle.signing_keys.iter().filter(|key| !next.signing_keys.contains(key));
        let mut retired: Vec<PublicKey> = self.retired.iter().chain(gone).copied().collect();
        retired.drain(..retired.len().saturating_sub(MOST_RETIRED));
        Self { bundle: next, retired }
    }

    /// Whether this key's signature counts, or did.
    pub fn has_known(&self, key: &PublicKey) -> bool {
        self.bundle.signing_keys.contains(key) || self.retired.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey::generate().expect("made")
    }

    fn bundle(serial: u64, keys: &[&SigningKey], by: &SigningKey) -> Envelope {
        let signing_keys = keys.iter().map(|key| key.public()).collect();
        sign_bundle(&Bundle { serial, signing_keys, authorities: vec![b"der".to_vec()] }, by)
    }

    #[test]
    fn who_believes_a_bundle_is_led_to_the_latest() {
        let (a, b, c) = (key(), key(), key());
        let chain = [
            bundle(1, &[&a], &a),
            bundle(2, &[&a, &b], &a),
            bundle(3, &[&b], &b),
            bundle(4, &[&b, &c], &b),
            bundle(5, &[&c], &c),
        ];
        for from in 0..chain.len() {
            let trust = Trust::begin(&chain[from]).expect("begun");
            for first in 0..=from + 1 {
                let led = trust.follow(&chain[first.min(chain.len())..]).expect("fits");
                let led = led.unwrap_or_else(|| trust.clone());
                assert_eq!((led.bundle.serial, &led.bundle.signing_keys[..]), (5, &[c.public()][..]));
                assert_eq!(led.has_known(&a.public()), from < 2, "from {from}");
                assert_eq!(led.has_known(&b.public()), (1..4).contains(&from) || from == 0, "from {from}");
            }
        }
    }

    #[test]
    fn a_bundle_that_no_key_before_it_signed_is_refused_and_what_follows_with_it() {
        let (a, b, thief) = (key(), key(), key());
        let trust = Trust::begin(&bundle(1, &[&a], &a)).expect("begun");
        let good = bundle(2, &[&a, &b], &a);
        let forged = || bundle(2, &[&thief], &thief);
        let mut altered = good.clone();
        altered.payload = forged().payload;
        let mut statement = good.clone();
        statement.payload_type = "application/vnd.windlass.statement.v1+protobuf".into();
        for (what, chain) in [
            ("signed by its own", vec![forged()]),
            ("altered", vec![altered]),
            ("of another kind", vec![statement]),
            ("after a gap", vec![bundle(3, &[&a], &a)]),
            ("a forged one among others", vec![good.clone(), bundle(3, &[&thief], &thief)]),
            ("no bundle", vec![Envelope { payload: b"\xff".to_vec().into(), ..good.clone() }]),
            ("without keys", vec![bundle(2, &[], &a)]),
        ] {
            assert!(trust.follow(&chain).is_err(), "{what}");
        }
        assert_eq!(trust.follow(&[bundle(1, &[&thief], &thief)]), Ok(None), "an older one is passed over");
        assert!(trust.follow(&[good]).expect("fits").is_some());
    }

    #[test]
    fn retired_keys_are_remembered_up_to_a_limit() {
        let keys: Vec<SigningKey> = (0..MOST_RETIRED + 3).map(|_| key()).collect();
        let mut trust = Trust::begin(&bundle(1, &[&keys[0]], &keys[0])).expect("begun");
        for (before, next) in keys.iter().zip(&keys[1..]) {
            let serial = trust.bundle.serial + 1;
            trust = trust.follow(&[bundle(serial, &[next], before)]).expect("fits").expect("new");
        }
        assert_eq!(trust.retired.len(), MOST_RETIRED);
        assert!(!trust.has_known(&keys[0].public()) && trust.has_known(&keys[2].public()));
    }
}
