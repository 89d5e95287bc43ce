//! What a node should be: the document that crosses the tunnel, as values. Pure.
//!
//! Made by the operator's `validate` from an EdgeNode, and by the agent from the document's bytes.
//! Every default is filled in here already: nothing below decides what an absent field means.

use super::{Digest, HostPath, Package, RegistryValue, Salt, ServiceName};

/// Everything one node should be. Lists are sorted by key (path or name).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DesiredState {
    /// UID of the EdgeNode that it is for.
    pub node_uid: String,
    /// Features that an agent must have; sorted.
    pub required_features: Vec<String>,
    /// Keep connection and reports, change nothing.
    pub suspended: bool,
    /// By path.
    pub directories: Vec<Directory>,
    /// By path.
    pub files: Vec<File>,
    /// By name.
    pub services: Vec<Service>,
    /// By identity of their places.
    pub registry_values: Vec<RegistryValue>,
    /// By name.
    pub packages: Vec<Package>,
}

/// What is done about a difference that somebody else made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Drift {
    /// Put back.
    #[default]
    Enforce,
    /// Report only.
    Audit,
}

/// POSIX permission bits, 0 to 0o7777.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mode(u16);

impl Mode {
    /// `None` above 0o7777.
    pub fn new(bits: u32) -> Option<Self> {
        u16::try_from(bits).ok().filter(|bits| *bits <= 0o7777).map(Self)
    }

    /// The bits.
    pub fn bits(self) -> u32 {
        self.0.into()
    }
}

/// Who may do what with a directory or file; what is `None` is not managed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Attributes {
    /// Permission bits.
    pub mode: Option<Mode>,
    /// Name of the owning user.
    pub owner: Option<String>,
    /// Name of the owning group.
    pub group: Option<String>,
    /// Who may do what (Windows).
    pub access: Option<Access>,
    /// The file attribute read-only (Windows).
    pub read_only: Option<bool>,
    /// The file attribute hidden (Windows).
    pub hidden: Option<bool>,
}

/// The entries of an access control list that is managed whole.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Access {
    /// Whether what the directory above grants is granted here as well.
    pub inherit: bool,
    /// By account.
    pub grants: Vec<Grant>,
}

/// What one account may do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Grant {
    /// Name or SID of a user or group.
    pub account: String,
    /// What it may do.
    pub rights: Rights,
}

/// Rights as the Security tab of Windows names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rights {
    /// Read contents, attributes and permissions.
    Read,
    /// Also execute, and pass through directories.
    ReadAndExecute,
    /// Also write and delete.
    Modify,
    /// Also change permissions and owner.
    FullControl,
}

/// A directory that should exist; what lies in it is not its business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Where.
    pub path: HostPath,
    /// Whose.
    pub attributes: Attributes,
    /// What to do about drift.
    pub drift: Drift,
}

/// A file that should have these contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where.
    pub path: HostPath,
    /// What.
    pub source: Source,
    /// Whose. Without a mode: 0644, or 0600 for contents of Secrets.
    pub attributes: Attributes,
    /// What to do about drift.
    pub drift: Drift,
}

/// Where a file's bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// From the operator, through the tunnel.
    Content(Content),
    /// Downloaded by the node itself.
    Artifact(Artifact),
}

impl Source {
    /// What the bytes must digest to.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Content(content) => content.digest,
            Self::Artifact(artifact) => artifact.sha256,
        }
    }

    /// The salt of that digest, where the bytes come from a Secret.
    pub fn salt(&self) -> Option<&Salt> {
        match self {
            Self::Content(content) => content.salt.as_ref(),
            Self::Artifact(_) => None,
        }
    }

    /// Whether the bytes come from a Secret.
    pub fn is_secret(&self) -> bool {
        self.salt().is_some()
    }
}

/// Bytes that the operator holds, by digest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Content {
    /// SHA-256(salt ‖ bytes).
    pub digest: Digest,
    /// Present for contents of Secrets.
    pub salt: Option<Salt>,
    /// In bytes, at most [`super::MAX_CONTENT_BYTES`].
    pub size: u64,
}

/// Bytes at a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Artifact {
    /// `http` or `https`.
    pub url: String,
    /// SHA-256 of the bytes.
    pub sha256: Digest,
}

/// A long-running program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// Its key.
    pub name: ServiceName,
    /// For people; empty: the name.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// Program (absolute path) and arguments; at least one.
    pub command: Vec<String>,
    /// By name.
    pub env: Vec<EnvVar>,
    /// `None`: the root directory.
    pub working_directory: Option<HostPath>,
    /// Account that it runs as; `None`: the agent's own (Linux), LocalService (Windows).
    pub account: Option<String>,
    /// When it starts by itself.
    pub start_mode: StartMode,
    /// What it should be doing.
    pub state: ServiceState,
    /// Services that are ready before it starts; it stops before they do. Sorted, no cycles.
    pub depends_on: Vec<ServiceName>,
    /// Files whose change restarts it. Sorted; each is in [`DesiredState::files`].
    pub restart_on_change: Vec<HostPath>,
    /// Between asking it to stop and killing it, 1 to 3600.
    pub stop_timeout_seconds: u32,
    /// What follows an unexpected end.
    pub recovery: Recovery,
    /// When it counts as ready; `None`: while it runs.
    pub readiness_probe: Option<Probe>,
    /// When it is to be restarted though it runs; `None`: never.
    pub liveness_probe: Option<Probe>,
    /// Whether the program is none that speaks with the Service Control Manager, so that another does (Windows).
    pub wrap: bool,
    /// Password of the account, from a Secret, fetched as contents of files are (Windows).
    pub password: Option<Content>,
}

/// One variable of a service's environment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EnvVar {
    /// Without `=`.
    pub name: String,
    /// As it is, nothing is expanded.
    pub value: String,
}

/// When a service starts by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StartMode {
    /// At the machine's start.
    #[default]
    Automatic,
    /// Some time after the machine's start.
    DelayedAutomatic,
    /// By the agent only.
    Manual,
    /// Never.
    Disabled,
}

/// What a service should be doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ServiceState {
    /// Running.
    #[default]
    Running,
    /// Not running.
    Stopped,
    /// Paused (Windows only).
    Paused,
}

/// What follows each unexpected end: the first action after the first, and so on; the last repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// At least one.
    pub actions: Vec<RecoveryAction>,
    /// A run that lasts this long sets the count of ends back to none.
    pub reset_after_seconds: u32,
}

/// One step of a [`Recovery`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryAction {
    /// Start it again after this many seconds.
    Restart {
        /// 0 to 86400.
        delay_seconds: u32,
    },
    /// Leave it stopped, and say so.
    None,
}

/// A check that is run again and again, with the kubelet's semantics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// What is tried.
    pub check: Check,
    /// After the start, before the first try.
    pub initial_delay_seconds: u32,
    /// Between tries, at least 1.
    pub period_seconds: u32,
    /// Of one try, at least 1.
    pub timeout_seconds: u32,
    /// Successes in a row that make it pass, at least 1.
    pub success_threshold: u32,
    /// Failures in a row that make it fail, at least 1.
    pub failure_threshold: u32,
}

/// What a probe tries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Check {
    /// A GET that answers 200 to 399.
    HttpGet {
        /// Name or address; 127.0.0.1 unless told.
        host: String,
        /// 1 to 65535.
        port: u16,
        /// With its leading slash.
        path: String,
        /// HTTPS without a check of the certificate.
        tls: bool,
        /// Name and value.
        headers: Vec<(String, String)>,
    },
    /// A port that accepts.
    TcpSocket {
        /// Name or address; 127.0.0.1 unless told.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// A program that ends with 0.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// `grpc.health.v1.Health/Check` that answers SERVING, at 127.0.0.1 without TLS.
    Grpc {
        /// 1 to 65535.
        port: u16,
        /// Name of the service asked for, may be empty.
        service: String,
    },
}
