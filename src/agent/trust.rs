//! Whom this agent believes, as `trust.json` beside its identity: the trust bundle that it was led to, and the keys of
//! those before it. A document in the store is held against it. No IO but for reading that one file.

use std::{fs, io, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    model::{Bundle, PublicKey},
    trust::{Trust, Untrusted, verify_stored},
};

use super::store::KeptDocument;

/// What an agent that was given keys knows of itself and of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Believed {
    /// UID of the EdgeNode that it is.
    pub node_uid: String,
    /// Whose signature counts.
    pub trust: Trust,
}

impl Believed {
    /// Checks a document of the store.
    pub fn check(&self, kept: &KeptDocument) -> Result<(), Untrusted> {
        let vouched = kept.voucher.as_ref().map(|voucher| (&voucher.envelope, voucher.signer));
        verify_stored(vouched, &kept.bytes, &self.trust, &self.node_uid)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TrustFile {
    serial: u64,
    /// In base64, as all below.
    signing_keys: Vec<String>,
    retired_keys: Vec<String>,
    authorities: Vec<String>,
}

/// The file's text. `null` for an agent that was given no keys.
pub(super) fn encode(trust: Option<&Trust>) -> Vec<u8> {
    let file = trust.map(|Trust { bundle: Bundle { serial, signing_keys, authorities }, retired }| {
        let keys = |keys: &[PublicKey]| keys.iter().map(|key| STANDARD.encode(key.as_bytes())).collect();
        TrustFile {
            serial: *serial,
            signing_keys: keys(signing_keys),
            retired_keys: keys(retired),
            authorities: authorities.iter().map(|der| STANDARD.encode(der)).collect(),
        }
    });
    serde_json::to_vec_pretty(&file).unwrap_or_default()
}

/// Reads the file. None for an agent that was given no keys.
pub(super) fn read(path: &Path) -> io::Result<Option<Trust>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let Some(file) = serde_json::from_slice::<Option<TrustFile>>(&text)? else { return Ok(None) };
    let bytes = |text: &String| STANDARD.decode(text).map_err(io::Error::other);
    let key = |text: &String| PublicKey::try_from(&bytes(text)?[..]).map_err(io::Error::other);
    let bundle = Bundle {
        serial: file.serial,
        signing_keys: file.signing_keys.iter().map(key).collect::<io::Result<_>>()?,
        authorities: file.authorities.iter().map(bytes).collect::<io::Result<_>>()?,
    };
    Ok(Some(Trust { bundle, retired: file.retired_keys.iter().map(key).collect::<io::Result<_>>()? }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::SigningKey;

    #[test]
    fn what_is_written_is_read() {
        let key = || SigningKey::generate().expect("made").public();
        let bundle = Bundle { serial: 7, signing_keys: vec![key(), key()], authorities: vec![b"der".to_vec()] };
        let trust = Trust { bundle, retired: vec![key()] };
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("trust.json");
        assert_eq!(read(&path).expect("absent"), None);
        for trust in [Some(trust), None] {
            fs::write(&path, encode(trust.as_ref())).expect("written");
            assert_eq!(read(&path).expect("readable"), trust);
        }
        fs::write(&path, b"{}").expect("written");
        assert!(read(&path).is_err());
    }
}
