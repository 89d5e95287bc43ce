//! Generated protobuf types and their one conversion to and from [`crate::model`].
//! In: bytes of the tunnel. Out: model values, or what was wrong with the bytes. Pure.

pub mod desired;
pub mod messages;
pub mod trust;

/// Generated types of `proto/windlass/desired/v1`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod desired_v1 {
    include!(concat!(env!("OUT_DIR"), "/windlass.desired.v1.rs"));
}

/// Generated types of `proto/windlass/trust/v1`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod trust_v1 {
    include!(concat!(env!("OUT_DIR"), "/windlass.trust.v1.rs"));
}

/// Generated types of `proto/windlass/tunnel/v1`.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod tunnel_v1 {
    include!(concat!(env!("OUT_DIR"), "/windlass.tunnel.v1.rs"));
}

/// Generated service of `proto/windlass/local/v1`.
#[cfg(feature = "agent")]
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod local_v1 {
    include!(concat!(env!("OUT_DIR"), "/windlass.local.v1.rs"));
}

/// Generated client and server of the gRPC health checking protocol.
#[cfg(feature = "agent")]
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod health_v1 {
    include!(concat!(env!("OUT_DIR"), "/grpc.health.v1.rs"));
}

/// Why bytes or generated types are not a model value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Not protobuf of that message.
    #[error("not a {message}: {source}")]
    Decode {
        /// Name of the message.
        message: &'static str,
        /// What prost says.
        source: prost::DecodeError,
    },
    /// A field that must be there is not, or is out of its range.
    #[error("{field}: {why}")]
    Field {
        /// Path of the field.
        field: String,
        /// What was found and what was expected.
        why: String,
    },
}

impl WireError {
    pub(crate) fn field(field: impl Into<String>, why: impl ToString) -> Self {
        Self::Field { field: field.into(), why: why.to_string() }
    }
}
