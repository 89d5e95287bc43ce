//! The signing keys and the chain of trust bundles that leads to them: made, taken a step further, and as the data of
//! a Secret. No IO.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use k8s_openapi::ByteString;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::Rotation;
use crate::{
    model::{Bundle, PublicKey},
    trust::{BrokenChain, KeyError, SigningKey, Trust, sign_bundle},
    wire::trust_v1::{Chain, Envelope},
};

const KEYS: &str = "keys.json";
const BUNDLES: &str = "bundles.pb";
/// Bundles that are kept: at two a rotation, and four rotations a year, a node may be away for eight years.
const MOST_BUNDLES: usize = 64;

/// Signing keys, and whom nodes believe.
#[derive(Debug, Clone)]
pub struct Keyring {
    /// The oldest first, never empty.
    keys: Vec<Key>,
    /// By serial, never empty.
    chain: Vec<Envelope>,
    latest: Bundle,
}

#[derive(Debug, Clone)]
struct Key {
    announced: Timestamp,
    key: Arc<SigningKey>,
}

#[derive(Serialize, Deserialize)]
struct KeyEntry {
    /// RFC 3339.
    announced: String,
    pkcs8: String,
}

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The Secret's data are not what was written.
    #[error("key {0} of the signing keys' Secret: {1}")]
    Damaged(&'static str, String),
    /// No key can be made.
    #[error("making a signing key: {0}")]
    Key(#[from] KeyError),
}

impl Keyring {
    /// Makes one with a first key and a first bundle.
    pub fn make(authorities: Vec<Vec<u8>>, now: Timestamp) -> Result<Self, KeyringError> {
        let key = Arc::new(SigningKey::generate()?);
        let latest = Bundle { serial: 1, signing_keys: vec![key.public()], authorities };
        let chain = vec![sign_bundle(&latest, &key)];
        Ok(Self { keys: vec![Key { announced: now, key }], chain, latest })
    }

    /// The keyring after what is due; `None` if nothing is. What nodes are to believe changes with the authorities as
    /// well.
    pub fn step(
        &self,
        authorities: &[Vec<u8>],
        now: Timestamp,
        rotation: &Rotation,
    ) -> Result<Option<Self>, KeyringError> {
        let standing = rotation.standing(&self.announced(), now);
        let mut keys = self.keys[standing.first..].to_vec();
        if standing.announce {
            keys.push(Key { announced: now, key: Arc::new(SigningKey::generate()?) });
        }
        let latest = Bundle {
            serial: self.latest.serial + 1,
            signing_keys: keys.iter().map(|key| key.key.public()).collect(),
            authorities: authorities.to_vec(),
        };
        if latest.signing_keys == self.latest.signing_keys && latest.authorities == self.latest.authorities {
            return Ok(None);
        }
        let mut chain = self.chain.clone();
        chain.push(sign_bundle(&latest, &self.keys[standing.signing].key));
        chain.drain(..chain.len().saturating_sub(MOST_BUNDLES));
        Ok(Some(Self { keys, chain, latest }))
    }

    /// When the next step is due.
    pub fn next_step(&self, now: Timestamp, rotation: &Rotation) -> Option<Timestamp> {
        rotation.standing(&self.announced(), now).next
    }

    /// The key that signs at this time.
    pub fn signing_key(&self, now: Timestamp, rotation: &Rotation) -> &SigningKey {
        &self.keys[rotation.standing(&self.announced(), now).signing].key
    }

    /// Serial of the latest bundle.
    pub fn serial(&self) -> u64 {
        self.latest.serial
    }

    /// The keys that count, the oldest first.
    pub fn public_keys(&self) -> &[PublicKey] {
        &self.latest.signing_keys
    }

    /// The latest bundle.
    pub fn latest(&self) -> &Envelope {
        &self.chain[self.chain.len() - 1]
    }

    /// The bundles above this serial, as far as they are kept.
    pub fn after(&self, serial: u64) -> &[Envelope] {
        let above = usize::try_from(self.latest.serial.saturating_sub(serial)).unwrap_or(usize::MAX);
        &self.chain[self.chain.len().saturating_sub(above)..]
    }

    fn announced(&self) -> Vec<Timestamp> {
        self.keys.iter().map(|key| key.announced).collect()
    }

    /// As a Secret's data.
    pub fn data(&self) -> BTreeMap<String, ByteString> {
        let entry =
            |key: &Key| KeyEntry { announced: key.announced.to_string(), pkcs8: STANDARD.encode(key.key.pkcs8()) };
        let entries: Vec<KeyEntry> = self.keys.iter().map(entry).collect();
        let chain = Chain { bundles: self.chain.clone() }.encode_to_vec();
        [(KEYS, serde_json::to_vec(&entries).unwrap_or_default()), (BUNDLES, chain)]
            .into_iter()
            .map(|(name, bytes)| (name.to_owned(), ByteString(bytes)))
            .collect()
    }

    /// Reads what [`Keyring::data`] wrote, and checks that the bundles lead to the keys.
    pub fn read(data: &BTreeMap<String, ByteString>) -> Result<Self, KeyringError> {
        let damaged = |name, why: &dyn ToString| KeyringError::Damaged(name, why.to_string());
        let bytes = |name| data.get(name).map(|b| &b.0[..]).ok_or_else(|| damaged(name, &"is missing"));
        let entries: Vec<KeyEntry> = serde_json::from_slice(bytes(KEYS)?).map_err(|e| damaged(KEYS, &e))?;
        let key = |entry: &KeyEntry| {
            let pkcs8 = STANDARD.decode(&entry.pkcs8).map_err(|e| damaged(KEYS, &e))?;
            let key = SigningKey::from_pkcs8(&pkcs8).map_err(|e| damaged(KEYS, &e))?;
            let announced = entry.announced.parse().map_err(|e: jiff::Error| damaged(KEYS, &e))?;
            Ok(Key { announced, key: Arc::new(key) })
        };
        let keys = entries.iter().map(key).collect::<Result<Vec<_>, KeyringError>>()?;
        let chain = Chain::decode(bytes(BUNDLES)?).map_err(|e| damaged(BUNDLES, &e))?.bundles;
        let first = chain.first().ok_or_else(|| damaged(BUNDLES, &"holds none"))?;
        let broken = |e: BrokenChain| damaged(BUNDLES, &e);
        let trust = Trust::begin(first).map_err(broken)?;
        let led = trust.follow(&chain).map_err(broken)?;
        let latest = led.unwrap_or(trust).bundle;
        if !keys.iter().map(|key| key.key.public()).eq(latest.signing_keys.iter().copied()) {
            return Err(damaged(KEYS, &format!("are not those of the latest bundle in {BUNDLES}")));
        }
        Ok(Self { keys, chain, latest })
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const ROTATION: Rotation =
        Rotation { period: SignedDuration::from_secs(100), overlap: SignedDuration::from_secs(10) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).expect("in range")
    }

    fn authorities(der: &[u8]) -> Vec<Vec<u8>> {
        vec![der.to_vec()]
    }

    /// Every step until then.
    fn run(mut keyring: Keyring, until: i64, mut each: impl FnMut(i64, &Keyring)) -> Keyring {
        for second in 0..until {
            if let Some(next) = keyring.step(&authorities(b"ca"), at(second), &ROTATION).expect("made") {
                keyring = next;
            }
            each(second, &keyring);
        }
        keyring
    }

    #[test]
    fn nodes_that_were_away_for_any_time_are_led_to_the_latest_bundle_and_know_who_signs() {
        let first = Keyring::make(authorities(b"ca"), at(0)).expect("made");
        let mut nodes = vec![Trust::begin(first.latest()).expect("begun")];
        let last = run(first, 1000, |second, keyring| {
            if second % 5 != 0 {
                return;
            }
            // Each has been away since it began.
            let signer = keyring.signing_key(at(second), &ROTATION).public();
            for node in &nodes {
                let led = node.follow(keyring.after(node.bundle.serial)).expect("fits");
                assert!(led.as_ref().unwrap_or(node).bundle.signing_keys.contains(&signer), "at {second}");
            }
            if nodes.last().is_none_or(|node| node.bundle.serial != keyring.serial()) {
                nodes.push(Trust::begin(keyring.latest()).expect("begun"));
            }
        });
        assert_eq!(last.serial(), 19, "two bundles for each of nine rotations");
    }

    #[test]
    fn a_step_is_taken_when_it_is_due_and_not_before() {
        let keyring = Keyring::make(authorities(b"ca"), at(0)).expect("made");
        let step = |keyring: &Keyring, der: &[u8], second| {
            keyring.step(&authorities(der), at(second), &ROTATION).expect("made")
        };
        assert!(step(&keyring, b"ca", 99).is_none());
        assert_eq!(keyring.next_step(at(99), &ROTATION), Some(at(100)));
        let announced = step(&keyring, b"ca", 100).expect("due");
        assert_eq!((announced.serial(), announced.public_keys().len()), (2, 2));
        assert!(step(&announced, b"ca", 100).is_none(), "once");
        let other_authority = step(&keyring, b"another", 1).expect("due");
        assert_eq!(other_authority.public_keys(), keyring.public_keys());
    }

    #[test]
    fn the_chain_has_a_limit() {
        let first = Keyring::make(authorities(b"ca"), at(0)).expect("made");
        let keyring = run(first.clone(), 100 * 40, |_, _| {});
        assert_eq!(keyring.after(0).len(), MOST_BUNDLES);
        assert_eq!(keyring.after(keyring.serial() - 1).len(), 1);
        assert!(keyring.after(keyring.serial()).is_empty());
        let away_for_too_long = Trust::begin(first.latest()).expect("begun");
        assert!(matches!(away_for_too_long.follow(keyring.after(1)), Err(BrokenChain::Gap { expected: 2, .. })));
    }

    #[test]
    fn what_is_written_is_read_and_damage_is_told_by_its_key() {
        let keyring = run(Keyring::make(authorities(b"ca"), at(0)).expect("made"), 105, |_, _| {});
        let read = Keyring::read(&keyring.data()).expect("read");
        assert_eq!(read.data(), keyring.data());
        for (name, bytes) in [
            (KEYS, b"x".to_vec()),
            (KEYS, b"[]".to_vec()),
            (BUNDLES, b"\xff".to_vec()),
            (BUNDLES, Vec::new()),
            (BUNDLES, Keyring::make(vec![], at(0)).expect("made").data()[BUNDLES].0.clone()),
        ] {
            let mut data = keyring.data();
            data.insert(name.to_owned(), ByteString(bytes));
            assert!(matches!(Keyring::read(&data), Err(KeyringError::Damaged(..))), "{name}");
            data.remove(name);
            let error = Keyring::read(&data).expect_err("missing").to_string();
            assert!(error.contains(name) && error.contains("is missing"), "{error}");
        }
    }
}
