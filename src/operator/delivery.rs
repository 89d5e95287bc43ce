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
mod tests;
