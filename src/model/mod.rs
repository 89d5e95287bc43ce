//! The domain: names, revisions, desired state and reports, as types that cannot be wrong.
//! No IO, no kube, no prost.

mod desired;
mod digest;
mod names;
mod path;
mod report;

pub use desired::{
    Artifact, Attributes, Check, Content, DesiredState, Directory, Drift, EnvVar, File, Mode, Probe, Recovery,
    RecoveryAction, Service, ServiceState, Source, StartMode,
};
pub use digest::{Digest, DigestError, Hasher, Revision, Salt};
pub use names::{NameError, NodeId, ServiceName};
pub use path::{HostPath, PathError, Platform};
pub use report::{Failure, NodeFacts, Notice, Report, ResourceCounts, ServicePhase, ServiceReport};

/// Features of documents that this version's agent carries out; see `DesiredState::required_features`.
///
/// A document names only what it uses beyond the first version, so the list starts empty.
pub const FEATURES: &[&str] = &[];

/// Largest content that travels through the tunnel, in bytes: a ConfigMap or Secret holds at most 1 MiB.
pub const MAX_CONTENT_BYTES: u64 = 1 << 20;
