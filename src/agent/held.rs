//! The document that is in force on this node, as read from the link or from the store.
//! Pure but for [`Held::load`], which asks the store.

use prost::Message as _;

use super::store::{Store, StoreError};
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

    /// The document in the store, if any. One that cannot be read (a newer agent may have kept it) is none:
    /// the operator sends it again.
    pub fn load(store: &dyn Store, features: &[&str]) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = store.desired()? else { return Ok(None) };
        match Self::decode(&bytes, features) {
            Ok(held) => Ok(Some(held)),
            Err(error) => {
                tracing::warn!(%error, "the stored document cannot be read; waiting for the operator's");
                Ok(None)
            }
        }
    }
}

fn lacking(required: &[String], features: &[&str]) -> Vec<String> {
    required.iter().filter(|feature| !features.contains(&feature.as_str())).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
