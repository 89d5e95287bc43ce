//! DSSE envelopes with Ed25519 signatures: bytes and what they are, signed together. Pure.
//! Source: DSSE 1.0 (secure-systems-lab/dsse, protocol.md).

use super::key::{SigningKey, is_signed_by};
use crate::{
    model::PublicKey,
    wire::trust_v1::{Envelope, Signature},
};

/// What is in an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealed {
    /// A [`crate::model::Statement`].
    Statement,
    /// A [`crate::model::Bundle`].
    Bundle,
}

impl Sealed {
    fn payload_type(self) -> &'static str {
        match self {
            Self::Statement => "application/vnd.windlass.statement.v1+protobuf",
            Self::Bundle => "application/vnd.windlass.trust-bundle.v1+protobuf",
        }
    }
}

/// Most signatures of an envelope that are looked at.
const MOST_SIGNATURES: usize = 4;

/// Why what is in an envelope does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrongEnvelope {
    /// It holds something else.
    #[error("it holds {0:?}")]
    Type(String),
    /// Nobody signed it who is known.
    #[error("it is signed by the key {0}, expected one of {1}")]
    UnknownKey(String, String),
    /// The signature is not of what it holds.
    #[error("the signature of the key {0} does not fit")]
    Signature(String),
}

/// Signs.
pub fn seal(kind: Sealed, payload: Vec<u8>, key: &SigningKey) -> Envelope {
    let sig = key.sign(&authenticated(kind.payload_type(), &payload)).into();
    Envelope {
        payload: payload.into(),
        payload_type: kind.payload_type().to_owned(),
        signatures: vec![Signature { sig, keyid: key.public().id() }],
    }
}

/// What is in an envelope that one of these keys signed, and which.
pub fn open<'e>(
    envelope: &'e Envelope,
    kind: Sealed,
    keys: &[PublicKey],
) -> Result<(PublicKey, &'e [u8]), WrongEnvelope> {
    if envelope.payload_type != kind.payload_type() {
        return Err(WrongEnvelope::Type(envelope.payload_type.chars().take(80).collect()));
    }
    let signed = authenticated(&envelope.payload_type, &envelope.payload);
    let mut named = None;
    for Signature { sig, keyid } in envelope.signatures.iter().take(MOST_SIGNATURES) {
        // The id is a hint: only the signature says who it was.
        for key in keys.iter().filter(|key| keyid.is_empty() || key.id() == *keyid) {
            if is_signed_by(key, &signed, sig) {
                return Ok((*key, &envelope.payload));
            }
            named = Some(key.id());
        }
    }
    Err(match named {
        Some(id) => WrongEnvelope::Signature(id),
        None => {
            let ids = envelope.signatures.iter().take(MOST_SIGNATURES).map(|s| s.keyid.chars().take(16).collect());
            let known = keys.iter().map(PublicKey::id).collect::<Vec<_>>().join(", ");
            WrongEnvelope::UnknownKey(ids.collect::<Vec<String>>().join(", "), known)
        }
    })
}

/// PAE: what is signed.
fn authenticated(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_as_the_protocol_says() {
        assert_eq!(
            authenticated("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn only_what_a_known_key_signed_as_that_kind_is_taken_out() {
        let (key, other) = (SigningKey::generate().expect("made"), SigningKey::generate().expect("made"));
        let keys = [other.public(), key.public()];
        let whole = seal(Sealed::Statement, b"payload".to_vec(), &key);
        let open = |envelope: &Envelope, keys: &[PublicKey]| {
            open(envelope, Sealed::Statement, keys).map(|(signer, payload)| (signer, payload.to_vec()))
        };
        let taken = Ok((key.public(), b"payload".to_vec()));
        assert_eq!(open(&whole, &keys), taken);
        let changed = |change: &dyn Fn(&mut Envelope)| {
            let mut envelope = whole.clone();
            change(&mut envelope);
            envelope
        };
        let id = key.public().id();
        let unknown = |id: &str| {
            let known = format!("{}, {}", keys[0].id(), keys[1].id());
            Err(WrongEnvelope::UnknownKey(id.to_owned(), known))
        };
        let does_not_fit = || Err(WrongEnvelope::Signature(id.clone()));
        for (what, envelope, expected) in [
            ("another payload", changed(&|e| e.payload = b"Payload".to_vec().into()), does_not_fit()),
            ("a signature of something else", changed(&|e| e.signatures[0].sig = vec![0; 64].into()), does_not_fit()),
            ("half a signature", changed(&|e| e.signatures[0].sig.truncate(32)), does_not_fit()),
            ("no hint", changed(&|e| e.signatures[0].keyid.clear()), taken.clone()),
            ("a wrong hint", changed(&|e| e.signatures[0].keyid = "00".into()), unknown("00")),
            ("no signature", changed(&|e| e.signatures.clear()), unknown("")),
            (
                "a foreign one before it",
                changed(&|e| e.signatures.insert(0, Signature { sig: vec![].into(), keyid: "00".into() })),
                taken.clone(),
            ),
        ] {
            assert_eq!(open(&envelope, &keys), expected, "{what}");
        }
        assert_eq!(open(&whole, &keys[..1]), Err(WrongEnvelope::UnknownKey(id.clone(), keys[0].id())));
        let bundle = seal(Sealed::Bundle, b"payload".to_vec(), &key);
        assert!(matches!(open(&bundle, &keys), Err(WrongEnvelope::Type(_))), "signed as something else");
        let renamed = Envelope { payload_type: whole.payload_type.clone(), ..bundle };
        assert_eq!(open(&renamed, &keys), does_not_fit(), "what it is, is signed too");
    }
}
