//! Who is believed, and for what: Ed25519 keys, DSSE envelopes, statements about documents, and the chain of bundles
//! that hands trust from one key to the next. Pure but for drawing random bytes. Knows nothing of files, Secrets or
//! sessions.

mod bundle;
mod document;
mod envelope;
mod key;

pub use bundle::{BrokenChain, Trust, sign_bundle};
pub use document::{Asked, Untrusted, Verified, verify_received, verify_stored};
pub use envelope::{Sealed, WrongEnvelope, open, seal};
pub use key::{KeyError, SigningKey, fresh_nonce};
