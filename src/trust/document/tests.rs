//! Each thing that a document must fit, wrong by itself.

use super::*;
use crate::{
    model::Bundle,
    trust::{SigningKey, seal},
    wire::trust::encode_statement,
};

const DOCUMENT: &[u8] = b"what a node should be";

fn nonce(n: u8) -> Nonce {
    Nonce::new([n; 16])
}

fn statement() -> Statement {
    Statement {
        node_uid: "uid".into(),
        nonce: nonce(1),
        counter: 5,
        digest: Digest::of(DOCUMENT),
        size: DOCUMENT.len() as u64,
    }
}

fn sealed(statement: &Statement, key: &SigningKey) -> Envelope {
    seal(Sealed::Statement, encode_statement(statement), key)
}

fn key() -> SigningKey {
    SigningKey::generate().expect("made")
}

#[test]
fn a_document_that_comes_must_fit_in_everything() {
    let (key, thief) = (key(), key());
    let said = |change: &dyn Fn(&mut Statement)| {
        let mut statement = statement();
        change(&mut statement);
        Some(sealed(&statement, &key))
    };
    let altered = |change: &dyn Fn(&mut Envelope)| {
        let mut envelope = sealed(&statement(), &key);
        change(&mut envelope);
        Some(envelope)
    };
    for (reason, envelope) in [
        ("", said(&|_| {})),
        ("", said(&|s| s.counter = 500)),
        ("Unsigned", None),
        ("Unsigned", altered(&|e| e.signatures.clear())),
        ("UnknownKey", Some(sealed(&statement(), &thief))),
        ("WrongSignature", altered(&|e| e.payload = sealed(&statement(), &thief).payload.slice(1..))),
        ("WrongSignature", altered(&|e| e.payload_type.push('x'))),
        ("NotAStatement", Some(seal(Sealed::Statement, b"\xff".to_vec(), &key))),
        ("NotForThisNode", said(&|s| s.node_uid = "another".into())),
        ("NotFresh", said(&|s| s.nonce = nonce(2))),
        ("OutOfOrder", said(&|s| s.counter = 4)),
        ("OutOfOrder", said(&|s| s.counter = 1)),
        ("OutOfOrder", said(&|s| s.counter = 0)),
        ("WrongDigest", said(&|s| s.digest = Digest::of(b"another"))),
        ("WrongDigest", said(&|s| s.size += 1)),
    ] {
        let asked = Asked { keys: &[key.public()], node_uid: "uid", nonce: &nonce(1), last: 4 };
        let verified = verify_received(envelope.as_ref(), (&Digest::of(DOCUMENT), DOCUMENT.len() as u64), asked);
        let found = verified.as_ref().err().map(Untrusted::reason).unwrap_or_default();
        assert_eq!(found, reason, "{envelope:?}");
        assert!(verified.is_err() || verified.is_ok_and(|verified| verified.signer == key.public()));
    }
}

#[test]
fn a_document_that_was_kept_must_fit_in_everything_but_freshness() {
    let (old, now, thief) = (key(), key(), key());
    let trust = Trust {
        bundle: Bundle { serial: 3, signing_keys: vec![now.public()], authorities: vec![] },
        retired: vec![old.public()],
    };
    let of = |change: &dyn Fn(&mut Statement), key: &SigningKey| {
        let mut statement = statement();
        change(&mut statement);
        Some((sealed(&statement, key), key.public()))
    };
    for (reason, vouched, document) in [
        ("", of(&|_| {}, &now), DOCUMENT),
        ("", of(&|_| {}, &old), DOCUMENT),
        ("", of(&|s| (s.nonce, s.counter) = (nonce(9), 0), &now), DOCUMENT),
        ("Unsigned", None, DOCUMENT),
        ("UnknownKey", of(&|_| {}, &thief), DOCUMENT),
        ("UnknownKey", Some((sealed(&statement(), &thief), now.public())), DOCUMENT),
        ("UnknownKey", Some((sealed(&statement(), &old), now.public())), DOCUMENT),
        ("NotForThisNode", of(&|s| s.node_uid = "another".into(), &now), DOCUMENT),
        ("WrongDigest", of(&|_| {}, &now), b"what a node should ber"),
        ("WrongDigest", of(&|_| {}, &now), b""),
    ] {
        let vouched = vouched.as_ref().map(|(envelope, signer)| (envelope, *signer));
        let verified = verify_stored(vouched, document, &trust, "uid");
        assert_eq!(verified.err().as_ref().map(Untrusted::reason).unwrap_or_default(), reason, "{vouched:?}");
    }
    let mut broken = sealed(&statement(), &now);
    broken.signatures[0].sig = vec![1; 64].into();
    let verified = verify_stored(Some((&broken, now.public())), DOCUMENT, &trust, "uid");
    assert!(matches!(verified, Err(Untrusted::WrongSignature(_))), "{verified:?}");
}
