//! Statements and trust bundles ↔ the bytes that are signed. Pure.

use prost::Message as _;

use super::{WireError, trust_v1 as pb};
use crate::model::{Bundle, Digest, Nonce, PublicKey, Statement};

/// Most keys, and most certificates, of a bundle: a rotation has two or three at a time.
const MOST_ENTRIES: usize = 16;
/// Longest certificate, in bytes.
const MAX_CERTIFICATE_BYTES: usize = 8 << 10;

/// Bytes of a statement.
pub fn encode_statement(statement: &Statement) -> Vec<u8> {
    let Statement { node_uid, nonce, counter, digest, size } = statement;
    pb::Statement {
        node_uid: node_uid.clone(),
        nonce: nonce.as_bytes().to_vec().into(),
        counter: *counter,
        digest: digest.as_bytes().to_vec().into(),
        size: *size,
    }
    .encode_to_vec()
}

/// Reads a statement.
pub fn decode_statement(bytes: &[u8]) -> Result<Statement, WireError> {
    let pb::Statement { node_uid, nonce, counter, digest, size } =
        pb::Statement::decode(bytes).map_err(|source| WireError::Decode { message: "Statement", source })?;
    Ok(Statement {
        node_uid,
        nonce: Nonce::try_from(&nonce[..]).map_err(|e| WireError::field("nonce", e))?,
        counter,
        digest: Digest::try_from(&digest[..]).map_err(|e| WireError::field("digest", e))?,
        size,
    })
}

/// Bytes of a bundle.
pub fn encode_bundle(bundle: &Bundle) -> Vec<u8> {
    let Bundle { serial, signing_keys, authorities } = bundle;
    pb::Bundle {
        serial: *serial,
        signing_keys: signing_keys.iter().map(|key| key.as_bytes().to_vec().into()).collect(),
        authorities: authorities.iter().map(|der| der.clone().into()).collect(),
    }
    .encode_to_vec()
}

/// Reads a bundle.
pub fn decode_bundle(bytes: &[u8]) -> Result<Bundle, WireError> {
    let pb::Bundle { serial, signing_keys, authorities } =
        pb::Bundle::decode(bytes).map_err(|source| WireError::Decode { message: "Bundle", source })?;
    if serial == 0 {
        return Err(WireError::field("serial", "0, expected 1 or more"));
    }
    if signing_keys.is_empty() || signing_keys.len() > MOST_ENTRIES {
        return Err(WireError::field(
            "signing_keys",
            format!("{} of them, expected 1 to {MOST_ENTRIES}", signing_keys.len()),
        ));
    }
    if authorities.len() > MOST_ENTRIES || authorities.iter().any(|der| der.len() > MAX_CERTIFICATE_BYTES) {
        return Err(WireError::field("authorities", format!("more or longer than expected: {}", authorities.len())));
    }
    let key = |bytes: bytes::Bytes| PublicKey::try_from(&bytes[..]).map_err(|e| WireError::field("signing_keys", e));
    Ok(Bundle {
        serial,
        signing_keys: signing_keys.into_iter().map(key).collect::<Result<_, _>>()?,
        authorities: authorities.into_iter().map(|der| der.to_vec()).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle() -> Bundle {
        let keys = [[1; 32], [2; 32]].map(|bytes| PublicKey::try_from(&bytes[..]).expect("of 32 bytes"));
        Bundle { serial: 3, signing_keys: keys.to_vec(), authorities: vec![vec![0x30]] }
    }

    #[test]
    fn statements_and_bundles_survive_the_wire() {
        let statement = Statement {
            node_uid: "u".into(),
            nonce: Nonce::new([7; 16]),
            counter: 2,
            digest: Digest::of(b"document"),
            size: 8,
        };
        assert_eq!(decode_statement(&encode_statement(&statement)), Ok(statement));
        assert_eq!(decode_bundle(&encode_bundle(&bundle())), Ok(bundle()));
    }

    #[test]
    fn what_is_no_bundle_is_refused() {
        let one = bundle().signing_keys[0];
        for wrong in [
            Bundle { serial: 0, ..bundle() },
            Bundle { signing_keys: vec![], ..bundle() },
            Bundle { signing_keys: vec![one; MOST_ENTRIES + 1], ..bundle() },
            Bundle { authorities: vec![vec![]; MOST_ENTRIES + 1], ..bundle() },
            Bundle { authorities: vec![vec![0; MAX_CERTIFICATE_BYTES + 1]], ..bundle() },
        ] {
            assert!(decode_bundle(&encode_bundle(&wrong)).is_err(), "{wrong:?}");
        }
        assert!(decode_bundle(b"\xff").is_err());
        assert!(decode_statement(&encode_bundle(&bundle())).is_err());
    }
}
