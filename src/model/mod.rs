//! The domain: names, revisions, desired state and reports, as types that cannot be wrong.
//! No IO, no kube, no prost.

mod desired;
mod digest;
pub mod features;
mod names;
mod package;
mod path;
mod registry;
mod report;
mod trust;

pub use desired::{
    Access, Artifact, Attributes, Check, Content, DesiredState, Directory, Drift, EnvVar, File, Grant, Mode, Probe,
    Recovery, RecoveryAction, Rights, Service, ServiceState, Source, StartMode,
};
pub use digest::{Digest, DigestError, Hasher, Revision, Salt};
pub use names::{NameError, NodeId, PackageName, ServiceName};
pub use package::{Detect, Installer, MsiVersion, Package, PackageError, ProductCode};
pub use path::{HostPath, PathError, Platform};
pub use registry::{Hive, RegistryData, RegistryKey, RegistryPlace, RegistryPlaceError, RegistryValue, View};
pub use report::{Disk, Failure, NodeFacts, Notice, Report, ResourceCounts, ServicePhase, ServiceReport};
pub use trust::{Bundle, Nonce, PublicKey, Statement, TrustValueError};

/// Largest content that travels through the tunnel, in bytes: a ConfigMap or Secret holds at most 1 MiB.
pub const MAX_CONTENT_BYTES: u64 = 1 << 20;
