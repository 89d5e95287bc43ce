//! What is to be sent to one agent: whom it is to believe, the latest document, signed for its connection, and ranges
//! of contents that it asked for. In: documents and requests. Out: the next message. No IO.

use std::{collections::VecDeque, sync::Arc};

use super::{document::Document, signing::Signer};
use crate::{
    model::{Digest, Nonce, Revision, Statement},
    tunnel::limits::{MAX_CHUNK_BYTES, MAX_OUTSTANDING_WANTS},
    wire::{
        trust_v1::{Chain, Envelope},
        tunnel_v1::{Chunk, Desired, OperatorMessage, Want, operator_message},
    },
};

/// What is to be sent to one agent: trust bundles, the latest document, and ranges that it asked for. No IO.
pub(super) struct Delivery {
    pen: Pen,
    held: Option<Revision>,
    current: Option<Arc<Document>>,
    previous: Option<Arc<Document>>,
    announced: bool,
    wants: VecDeque<Range>,
}

struct Range {
    digest: Digest,
    offset: u64,
    length: u32,
}

impl Delivery {
    pub fn new(held: Option<Revision>, pen: Pen) -> Self {
        Self { pen, held, current: None, previous: None, announced: true, wants: VecDeque::new() }
    }

    /// A document is to be delivered. The one before it is served until the agent holds this one.
    pub fn order(&mut self, document: Arc<Document>) {
        if self.current.as_ref().is_none_or(|current| current.digest != document.digest) {
            self.previous = self.current.replace(document);
            self.announced = false;
        }
    }

    /// The agent says what it holds.
    pub fn holds(&mut self, revision: Option<Revision>) {
        self.held = revision;
        if self.current.as_ref().is_some_and(|current| Some(&current.revision) == self.held.as_ref()) {
            self.previous = None;
        }
    }

    pub fn want(&mut self, want: Want) -> Result<(), String> {
        let Want { digest, offset, length } = want;
        let digest = Digest::try_from(&digest[..]).map_err(|error| format!("Want: {error}"))?;
        if length == 0 || length > MAX_CHUNK_BYTES {
            return Err(format!("Want: {length} bytes, expected 1 to {MAX_CHUNK_BYTES}"));
        }
        if self.wants.len() >= MAX_OUTSTANDING_WANTS as usize {
            return Err(format!("Want: more than {MAX_OUTSTANDING_WANTS} unanswered"));
        }
        self.wants.push_back(Range { digest, offset, length });
        Ok(())
    }

    /// The next message: who is believed, then a new document, then ranges of an old one.
    pub fn next(&mut self) -> Option<OperatorMessage> {
        if let Some(chain) = self.pen.news() {
            return Some(operator_message::Body::Trust(chain).into());
        }
        if !self.announced
            && let Some(document) = &self.current
        {
            self.announced = true;
            let inline =
                self.held.as_ref() != Some(&document.revision) && document.bytes.len() <= MAX_CHUNK_BYTES as usize;
            let desired = Desired {
                revision: document.revision.to_string(),
                digest: document.digest.as_bytes().to_vec().into(),
                size: document.bytes.len() as u64,
                document: inline.then(|| document.bytes.clone()),
                envelope: Some(self.pen.sign(document)),
            };
            return Some(operator_message::Body::Desired(desired).into());
        }
        let Range { digest, offset, length } = self.wants.pop_front()?;
        let named = [&self.current, &self.previous].into_iter().flatten();
        let data = named.into_iter().find_map(|document| document.range(&digest, offset, length));
        let chunk = Chunk {
            digest: digest.as_bytes().to_vec().into(),
            offset,
            gone: data.is_none(),
            data: data.unwrap_or_default(),
        };
        Some(operator_message::Body::Chunk(chunk).into())
    }
}

/// Signs for one session.
pub(super) struct Pen {
    pub signer: Arc<Signer>,
    pub node_uid: String,
    pub nonce: Nonce,
    /// Of what was signed last.
    pub counter: u64,
    /// Serial of the trust bundle that the agent has by now, 0 for none.
    pub trust_serial: u64,
}

impl Pen {
    fn sign(&mut self, document: &Document) -> Envelope {
        self.counter += 1;
        self.signer.sign(&Statement {
            node_uid: self.node_uid.clone(),
            nonce: self.nonce,
            counter: self.counter,
            digest: document.digest,
            size: document.bytes.len() as u64,
        })
    }

    /// Trust bundles that the agent does not have yet.
    fn news(&mut self) -> Option<Chain> {
        let (chain, serial) = self.signer.above(self.trust_serial)?;
        self.trust_serial = serial;
        Some(chain)
    }
}

#[cfg(test)]
mod tests {
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
            Pen {
                signer: Arc::clone(&signer),
                node_uid: "u".into(),
                nonce: Nonce::new([1; 16]),
                counter: 0,
                trust_serial,
            },
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
}
