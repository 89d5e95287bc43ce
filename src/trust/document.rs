//! Whether a document is this node's, by who signed it for what. On receipt all of it must fit; on loading from the
//! store everything but freshness. Pure.

use super::{
    bundle::Trust,
    envelope::{Sealed, WrongEnvelope, open},
};
use crate::{
    model::{Digest, Nonce, PublicKey, Statement},
    wire::{WireError, trust::decode_statement, trust_v1::Envelope},
};

/// Why a document is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Untrusted {
    /// Nobody signed it.
    #[error("it is not signed; this node has been given keys, and takes nothing without")]
    Unsigned,
    /// Somebody signed it whose signature does not count here.
    #[error("{0}")]
    UnknownKey(WrongEnvelope),
    /// The signature does not fit.
    #[error("{0}")]
    WrongSignature(WrongEnvelope),
    /// What is signed is no statement about a document.
    #[error("what is signed cannot be read: {0}")]
    NotAStatement(WireError),
    /// It is another node's.
    #[error("it is for the EdgeNode with the UID {found:?}, expected {expected:?}")]
    NotForThisNode {
        /// Whose.
        found: String,
        /// Of this node.
        expected: String,
    },
    /// It was said over another connection.
    #[error("it was signed for another connection of this node")]
    NotFresh,
    /// Something newer was said over this connection.
    #[error("it is number {found} of this connection, expected one above {last}")]
    OutOfOrder {
        /// Its number.
        found: u64,
        /// The number of what was taken last.
        last: u64,
    },
    /// The statement is about another document.
    #[error("what is signed is the document {signed}, expected {found}")]
    WrongDigest {
        /// The one that the statement is about.
        signed: Digest,
        /// The one that came.
        found: Digest,
    },
}

impl Untrusted {
    /// CamelCase, as in docs/reference/reasons.md.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unsigned => "Unsigned",
            Self::UnknownKey(_) => "UnknownKey",
            Self::WrongSignature(_) => "WrongSignature",
            Self::NotAStatement(_) => "NotAStatement",
            Self::NotForThisNode { .. } => "NotForThisNode",
            Self::NotFresh => "NotFresh",
            Self::OutOfOrder { .. } => "OutOfOrder",
            Self::WrongDigest { .. } => "WrongDigest",
        }
    }
}

impl From<WrongEnvelope> for Untrusted {
    fn from(wrong: WrongEnvelope) -> Self {
        match wrong {
            WrongEnvelope::UnknownKey(..) => Self::UnknownKey(wrong),
            WrongEnvelope::Type(_) | WrongEnvelope::Signature(_) => Self::WrongSignature(wrong),
        }
    }
}

/// What a node asks of a document that comes.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Keys whose signature counts now.
    pub keys: &'a [PublicKey],
    /// UID of the node.
    pub node_uid: &'a str,
    /// That it said Hello with on this connection.
    pub nonce: &'a Nonce,
    /// Number of what was taken last on this connection, 0 for nothing.
    pub last: u64,
}

/// A document that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Who signed it.
    pub signer: PublicKey,
    /// Its number on this connection.
    pub counter: u64,
}

/// Checks a document that comes, by its digest and size.
pub fn verify_received(
    envelope: Option<&Envelope>,
    (digest, size): (&Digest, u64),
    asked: Asked<'_>,
) -> Result<Verified, Untrusted> {
    let (signer, statement) = statement(envelope, asked.keys)?;
    is_of_node(&statement, asked.node_uid)?;
    if statement.nonce != *asked.nonce {
        return Err(Untrusted::NotFresh);
    }
    if statement.counter <= asked.last {
        return Err(Untrusted::OutOfOrder { found: statement.counter, last: asked.last });
    }
    is_about(&statement, digest, size)?;
    Ok(Verified { signer, counter: statement.counter })
}

/// Checks a document that was kept, with the envelope and the signer that were kept with it.
pub fn verify_stored(
    vouched: Option<(&Envelope, PublicKey)>,
    document: &[u8],
    trust: &Trust,
    node_uid: &str,
) -> Result<(), Untrusted> {
    let (envelope, signer) = vouched.ok_or(Untrusted::Unsigned)?;
    if !trust.has_known(&signer) {
        let known = trust.bundle.signing_keys.iter().chain(&trust.retired).map(PublicKey::id).collect::<Vec<_>>();
        return Err(Untrusted::UnknownKey(WrongEnvelope::UnknownKey(signer.id(), known.join(", "))));
    }
    let (_, statement) = statement(Some(envelope), &[signer])?;
    is_of_node(&statement, node_uid)?;
    is_about(&statement, &Digest::of(document), document.len() as u64)
}

fn statement(envelope: Option<&Envelope>, keys: &[PublicKey]) -> Result<(PublicKey, Statement), Untrusted> {
    let envelope = envelope.filter(|envelope| !envelope.signatures.is_empty()).ok_or(Untrusted::Unsigned)?;
    let (signer, payload) = open(envelope, Sealed::Statement, keys)?;
    Ok((signer, decode_statement(payload).map_err(Untrusted::NotAStatement)?))
}

fn is_of_node(statement: &Statement, node_uid: &str) -> Result<(), Untrusted> {
    if statement.node_uid == node_uid {
        return Ok(());
    }
    let found = statement.node_uid.chars().take(64).collect();
    Err(Untrusted::NotForThisNode { found, expected: node_uid.to_owned() })
}

fn is_about(statement: &Statement, digest: &Digest, size: u64) -> Result<(), Untrusted> {
    if statement.digest == *digest && statement.size == size {
        return Ok(());
    }
    Err(Untrusted::WrongDigest { signed: statement.digest, found: *digest })
}

#[cfg(test)]
mod tests;
