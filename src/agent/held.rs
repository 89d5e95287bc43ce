//! The document that is in force on this node, as read from the link or from the store.
//! Pure but for [`Held::load`], which asks the store.

use prost::Message as _;
use tracing::{error, warn};

use super::{
    store::{Store, StoreError},
    trust::Believed,
};
use crate::{
    model::{DesiredState, Digest, Revision},
    wire::{WireError, desired, desired_v1},
};

/// A document and what names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its revision.
    pub revision: Revision,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// What it says. Where it requires a feature that this agent lacks, the lists may be empty:
    /// see [`Held::lacking`].
    pub document: DesiredState,
    lacking: Vec<String>,
}

impl Held {
    /// Reads a document's bytes, on a machine with these features.
    pub fn decode(bytes: &[u8], features: &[&str]) -> Result<Self, WireError> {
        let digest = Digest::of(bytes);
        let document = match desired::decode(bytes) {
            Ok(document) => document,
            // What cannot be read may be what an unknown feature stands for: then that is what is said.
            Err(error) => match desired_v1::DesiredState::decode(bytes) {
                Ok(raw) if !lacking(&raw.required_features, features).is_empty() => DesiredState {
                    node_uid: raw.node_uid,
                    required_features: raw.required_features,
                    suspended: raw.suspended,
                    ..DesiredState::default()
                },
                _ => return Err(error),
            },
        };
        let lacking = lacking(&document.required_features, features);
        Ok(Self { revision: Revision::from(&digest), digest, document, lacking })
    }

    /// Features that the document requires and this agent lacks; with any, nothing of it may be carried out.
    pub fn lacking(&self) -> &[String] {
        &self.lacking
    }

    /// The document in the store. One that cannot be read (a newer agent may have kept it) is none: the operator sends
    /// it again. An agent that was given keys takes only what one of them vouches for, as long as it was given none
    /// (it was enrolled by a version of before), whatever is there.
    pub fn load(store: &dyn Store, features: &[&str], believed: Option<&Believed>) -> Result<Loaded, StoreError> {
        let Some(kept) = store.desired()? else { return Ok(Loaded::Nothing) };
        if let Some(Err(untrusted)) = believed.map(|believed| believed.check(&kept)) {
            let (reason, why) = (untrusted.reason(), untrusted.to_string());
            error!(reason, error = why, "the stored document is not put in force; waiting for the operator's");
            return Ok(Loaded::Refused(format!("the stored document is not put in force: {reason}: {why}")));
        }
        match Self::decode(&kept.bytes, features) {
            Ok(held) => Ok(Loaded::Held(Box::new(held))),
            Err(error) => {
                warn!(%error, "the stored document cannot be read; waiting for the operator's");
                Ok(Loaded::Nothing)
            }
        }
    }
}

/// What came of loading a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loaded {
    /// There is none.
    Nothing,
    /// To be put in force.
    Held(Box<Held>),
    /// Not to be put in force, and why, for a person.
    Refused(String),
}

impl Loaded {
    /// The document to be put in force.
    pub fn held(self) -> Option<Held> {
        if let Self::Held(held) = self { Some(*held) } else { None }
    }
}

fn lacking(required: &[String], features: &[&str]) -> Vec<String> {
    required.iter().filter(|feature| !features.contains(&feature.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::store::{KeptDocument, MemoryStore, Voucher},
        model::{Bundle, Nonce, Statement},
        trust::{Sealed, SigningKey, Trust, seal},
        wire::trust::encode_statement,
    };

    fn encoded(node_uid: &str) -> Vec<u8> {
        desired::encode(&DesiredState { node_uid: node_uid.to_owned(), ..DesiredState::default() })
    }

    #[test]
    fn what_nobody_vouches_for_is_loaded_only_by_an_agent_that_was_given_no_keys() {
        let key = SigningKey::generate().expect("made");
        let bundle = Bundle { serial: 1, signing_keys: vec![key.public()], authorities: vec![] };
        let believed = Believed { node_uid: "u".into(), trust: Trust { bundle, retired: vec![] } };
        let voucher = |node_uid: &str, bytes: &[u8]| {
            let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
            let statement =
                Statement { node_uid: node_uid.into(), nonce: Nonce::new([1; 16]), counter: 1, digest, size };
            let envelope = seal(Sealed::Statement, encode_statement(&statement), &key);
            Some(Voucher { envelope, signer: key.public() })
        };
        for (what, bytes, voucher, fault) in [
            ("its own", encoded("u"), voucher("u", &encoded("u")), None),
            ("nobody vouches", encoded("u"), None, Some("Unsigned")),
            ("altered", encoded("x"), voucher("u", &encoded("u")), Some("WrongDigest")),
            ("another node's", encoded("v"), voucher("v", &encoded("v")), Some("NotForThisNode")),
        ] {
            let store = MemoryStore::default();
            store.set_desired(Some(&KeptDocument { bytes, voucher })).expect("kept");
            let load = |believed| Held::load(&store, &[], believed).expect("readable");
            assert!(matches!(load(None), Loaded::Held(_)), "{what}");
            match (load(Some(&believed)), fault) {
                (Loaded::Held(_), None) => {}
                (Loaded::Refused(why), Some(fault)) => assert!(why.contains(fault), "{what}: {why}"),
                (loaded, _) => panic!("{what}: {loaded:?}"),
            }
        }
        assert_eq!(Held::load(&MemoryStore::default(), &[], Some(&believed)), Ok(Loaded::Nothing));
    }

    #[test]
    fn a_document_of_a_later_version_is_held_as_unsupported_and_not_misread() {
        let mut raw = desired_v1::DesiredState {
            node_uid: "u".into(),
            files: vec![desired_v1::File { path: "/a".into(), ..Default::default() }],
            ..Default::default()
        };
        assert!(Held::decode(&raw.encode_to_vec(), &[]).is_err(), "a file without a source");
        raw.required_features = vec!["files-from-the-moon".into(), "wrap".into()];
        let held = Held::decode(&raw.encode_to_vec(), &["wrap"]).expect("held");
        assert_eq!(held.lacking(), ["files-from-the-moon"]);
        assert_eq!((held.document.node_uid.as_str(), held.document.files.len()), ("u", 0));
        assert_eq!(held.revision, Revision::of(&raw.encode_to_vec()));
    }
}
