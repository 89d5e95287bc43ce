//! Messages over a secure WebSocket: dial, accept, keepalive, backoff.
//! Knows how bytes travel and who is at the other end; nothing of what the messages mean.

pub mod accept;
pub mod additional_ca;
pub mod backoff;
pub mod channel;
pub mod dial;
pub mod endpoint;
pub mod keepalive;
pub mod limits;
pub mod line;
pub mod proxy;
pub mod tls;
pub mod witness;

/// Path of the tunnel: a WebSocket of an agent that shows its certificate.
pub const TUNNEL_PATH: &str = "/v1/tunnel";
/// Path of the enrollment: a WebSocket of an agent that has no certificate yet.
pub const ENROLL_PATH: &str = "/v1/enroll";
/// WebSocket subprotocol of the tunnel.
pub const TUNNEL_SUBPROTOCOL: &str = "windlass.v1";
/// WebSocket subprotocol of the enrollment.
pub const ENROLL_SUBPROTOCOL: &str = "windlass.enroll.v1";
/// WebSocket subprotocol of either path, for what comes through somebody else's TLS: its binary messages carry a TLS
/// connection with windlass's own certificates, in which the road begins anew.
pub const INNER_SUBPROTOCOL: &str = "windlass.inner.v1";
/// Trust domain of every node's SPIFFE URI. Fixed: what tells two installations apart is their authority's
/// key, which every connection proves; a name derived from it would change with every rotation.
pub const TRUST_DOMAIN: &str = "windlass";
/// Header of a refused upgrade: why, in CamelCase.
pub const REASON_HEADER: &str = "windlass-reason";
/// Header of a refused upgrade: why, for a person.
pub const MESSAGE_HEADER: &str = "windlass-message";
