//! What goes to an agent, in which order, and that it gets nothing of another's.

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{
    operator::signing::{Keyring, Rotation},
    trust::{Asked, Trust, verify_received},
};

/// The pen of a session whose agent has this bundle.
fn pen(trust_serial: u64) -> (Pen, Arc<Signer>) {
    let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).expect("in range");
    let second = SignedDuration::from_secs(1);
    let rotation = Rotation { period: second, overlap: second };
    let keyring = Keyring::make(vec![], at(0)).expect("made");
    let signer = Arc::new(Signer::new(keyring, rotation, || Timestamp::UNIX_EPOCH));
    (
        Pen { signer: Arc::clone(&signer), node_uid: "u".into(), nonce: Nonce::new([1; 16]), counter: 0, trust_serial },
        signer,
    )
}

fn trust(delivery: &mut Delivery) -> Vec<Envelope> {
    match delivery.next().and_then(|message| message.body) {
        Some(operator_message::Body::Trust(chain)) => chain.bundles,
        other => panic!("expected Trust, got {other:?}"),
    }
}

fn document(text: &str, contents: &[&'static [u8]]) -> Arc<Document> {
    let contents = contents.iter().map(|c| (Digest::of(c), bytes::Bytes::from_static(c))).collect();
    Document::new(text.as_bytes().to_vec(), contents, false)
}

fn want(digest: &Digest, offset: u64, length: u32) -> Want {
    Want { digest: digest.as_bytes().to_vec().into(), offset, length }
}

fn desired(delivery: &mut Delivery) -> Desired {
    match delivery.next().and_then(|message| message.body) {
        Some(operator_message::Body::Desired(desired)) => desired,
        other => panic!("expected Desired, got {other:?}"),
    }
}

fn chunk(delivery: &mut Delivery) -> Chunk {
    match delivery.next().and_then(|message| message.body) {
        Some(operator_message::Body::Chunk(chunk)) => chunk,
        other => panic!("expected Chunk, got {other:?}"),
    }
}

#[test]
fn a_small_document_rides_along_unless_it_is_held_or_large() {
    let small = document("small", &[]);
    let large = document(&"x".repeat(100_000), &[]);
    for (document, held, inline) in [
        (&small, None, true),
        (&small, Some(small.revision.clone()), false),
        (&small, Some(large.revision.clone()), true),
        (&large, None, false),
    ] {
        let mut delivery = Delivery::new(held, pen(1).0);
        delivery.order(Arc::clone(document));
        let desired = desired(&mut delivery);
        assert_eq!((desired.document.is_some(), desired.size), (inline, document.bytes.len() as u64));
        assert!(delivery.next().is_none(), "said once");
    }
}

#[test]
fn only_the_latest_document_is_sent_and_it_goes_before_ranges() {
    let mut delivery = Delivery::new(None, pen(1).0);
    let (first, second) = (document("1", &[b"one"]), document("2", &[b"two"]));
    delivery.order(Arc::clone(&first));
    desired(&mut delivery);
    delivery.want(want(&Digest::of(b"one"), 0, 10)).expect("allowed");
    delivery.order(document("not sent", &[]));
    delivery.order(Arc::clone(&second));
    assert_eq!(desired(&mut delivery).revision, second.revision.to_string());
    chunk(&mut delivery);
    assert!(delivery.next().is_none());
}

#[test]
fn an_agent_gets_what_its_documents_name_and_nothing_else() {
    let mut delivery = Delivery::new(None, pen(1).0);
    delivery.order(document("1", &[b"one"]));
    delivery.order(document("2", &[b"two"]));
    let current = delivery.current.clone().expect("set");
    desired(&mut delivery);
    let ask = |delivery: &mut Delivery, content: &[u8]| {
        delivery.want(want(&Digest::of(content), 0, 10)).expect("allowed");
        let chunk = chunk(delivery);
        (!chunk.gone).then(|| chunk.data.to_vec())
    };
    assert_eq!(ask(&mut delivery, b"two"), Some(b"two".to_vec()));
    assert_eq!(ask(&mut delivery, b"one"), Some(b"one".to_vec()), "of the document before");
    assert_eq!(ask(&mut delivery, b"another node's"), None);
    delivery.holds(Some(current.revision.clone()));
    assert_eq!(ask(&mut delivery, b"one"), None, "the agent holds the newer one");
}

#[test]
fn an_agent_that_asks_for_too_much_breaks_the_protocol() {
    let digest = Digest::of(b"x");
    let mut delivery = Delivery::new(None, pen(1).0);
    assert!(delivery.want(want(&digest, 0, 0)).is_err());
    assert!(delivery.want(want(&digest, 0, MAX_CHUNK_BYTES + 1)).is_err());
    assert!(delivery.want(Want { digest: b"short".to_vec().into(), offset: 0, length: 1 }).is_err());
    for _ in 0..MAX_OUTSTANDING_WANTS {
        delivery.want(want(&digest, u64::MAX, MAX_CHUNK_BYTES)).expect("allowed");
    }
    assert!(delivery.want(want(&digest, 0, 1)).is_err());
}

#[test]
fn every_document_is_signed_for_this_node_connection_and_place_in_it() {
    let (pen, signer) = pen(1);
    let mut delivery = Delivery::new(None, pen);
    let trust = Trust::begin(&signer.latest()).expect("a bundle");
    let keys = &trust.bundle.signing_keys;
    for last in 0..3 {
        let document = document(&last.to_string(), &[]);
        delivery.order(Arc::clone(&document));
        let desired = desired(&mut delivery);
        let asked = Asked { keys, node_uid: "u", nonce: &Nonce::new([1; 16]), last };
        let of = (&document.digest, document.bytes.len() as u64);
        let verified = verify_received(desired.envelope.as_ref(), of, asked).expect("fits");
        assert_eq!(verified.counter, last + 1);
    }
}

#[test]
fn trust_bundles_go_before_documents_whenever_there_are_new_ones() {
    let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).expect("in range");
    let (pen, signer) = pen(0);
    let second = SignedDuration::from_secs(1);
    let rotation = Rotation { period: second, overlap: second };
    let rotate = |seconds: std::ops::Range<i64>| {
        for now in seconds {
            let next = signer.keyring().step(&[], at(now), &rotation).expect("made");
            next.into_iter().for_each(|next| signer.replace(next));
        }
    };
    let mut delivery = Delivery::new(None, pen);
    delivery.order(document("1", &[]));
    let first = trust(&mut delivery);
    assert_eq!(first.len(), 1, "one that has none gets the latest");
    desired(&mut delivery);
    assert!(delivery.next().is_none(), "said once");

    rotate(1..30);
    let mut node = Trust::begin(&first[0]).expect("a bundle");
    delivery.order(document("2", &[]));
    let mut messages = 0;
    while node.bundle.serial < signer.keyring().serial() {
        node = node.follow(&trust(&mut delivery)).expect("fits").expect("new");
        messages += 1;
    }
    assert_eq!(messages, 2, "in messages of a bounded size");
    desired(&mut delivery);
    rotate(30..32);
    assert!(!trust(&mut delivery).is_empty(), "also while nothing else is to be sent");
    assert!(delivery.next().is_none());
}
