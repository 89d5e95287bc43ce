//! What a node says of itself: the whole state as of now, never a history. Pure.

use super::Revision;

/// The whole state of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Revision of the document that the agent holds.
    pub held_revision: Option<Revision>,
    /// Revision that it carried out whole, last.
    pub applied_revision: Option<Revision>,
    /// Whether it is still on the way to the held revision.
    pub progressing: bool,
    /// Directories, files, registry values, packages and services, counted.
    pub resources: ResourceCounts,
    /// What could not be brought into, or is out of, its desired state.
    pub failures: Vec<Failure>,
    /// In order of the document.
    pub services: Vec<ServiceReport>,
    /// The machine.
    pub facts: NodeFacts,
    /// Something about the node as a whole.
    pub notice: Option<Notice>,
    /// Whether the machine waits for a restart to finish what was installed (Windows).
    pub reboot_pending: bool,
}

/// The machine that an agent runs on. What moves by itself (uptime, free space) has no place here.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeFacts {
    /// `linux` or `windows`.
    pub os: String,
    /// Such as `Debian GNU/Linux 12 (bookworm)`.
    pub os_version: String,
    /// As Go and Kubernetes name it: `amd64`, `arm64`.
    pub architecture: String,
    /// As the machine calls itself.
    pub hostname: String,
    /// Version of the agent.
    pub agent_version: String,
    /// When the machine started, seconds since 1970.
    pub boot_time: u64,
    /// Edition of Windows, such as `Professional`; empty elsewhere.
    pub edition: String,
    /// Build of Windows with its revision, such as `19045.4651`; empty elsewhere.
    pub build: String,
    /// Active Directory domain that the machine belongs to; empty for none.
    pub domain: String,
    /// Physical memory in bytes; 0 where it is not known.
    pub memory_bytes: u64,
    /// Fixed disks, by name.
    pub disks: Vec<Disk>,
    /// As the machine names it: `Europe/Vienna`, or `W. Europe Standard Time` on Windows.
    pub time_zone: String,
}

/// A fixed disk or volume.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// Such as `C:`.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// Resources of a document, counted. The three last add up to at most `total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceCounts {
    /// In the document.
    pub total: u32,
    /// As they should be.
    pub in_desired_state: u32,
    /// Could not be made so.
    pub failed: u32,
    /// Differ, and are left so as their drift policy is Audit.
    pub drifted: u32,
}

/// One resource that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Such as `file /etc/acme.conf` or `service acme-db`.
    pub resource: String,
    /// CamelCase, listed in docs/reference/reasons.md.
    pub reason: String,
    /// What was tried and what was expected.
    pub message: String,
}

/// One service as it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReport {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub state: ServicePhase,
    /// Whether it is in its desired state: running with its readiness probe passing, or stopped.
    pub ready: bool,
    /// Unexpected ends and failed liveness probes that led to a restart, since the service was made.
    pub restarts: u64,
    /// Why it has failed or is about to be restarted, in CamelCase; empty otherwise.
    pub reason: String,
    /// Why it is not ready; empty where it is.
    pub message: String,
}

/// What a service is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ServicePhase {
    /// Not running, as desired or not yet started.
    Stopped,
    /// Not started, as something that it depends on is not ready.
    Waiting,
    /// Runs, not yet ready for the first time.
    Starting,
    /// Runs.
    Running,
    /// Asked to stop.
    Stopping,
    /// Ended unexpectedly, to be started again after a delay.
    BackingOff,
    /// Ended unexpectedly or cannot be started, and is left so.
    Failed,
    /// Paused.
    Paused,
}

impl ServicePhase {
    /// As on the wire and in status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stopped => "Stopped",
            Self::Waiting => "Waiting",
            Self::Starting => "Starting",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
            Self::BackingOff => "BackingOff",
            Self::Failed => "Failed",
            Self::Paused => "Paused",
        }
    }

    /// Reads what [`ServicePhase::as_str`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Stopped,
            Self::Waiting,
            Self::Starting,
            Self::Running,
            Self::Stopping,
            Self::BackingOff,
            Self::Failed,
            Self::Paused,
        ]
        .into_iter()
        .find(|phase| phase.as_str() == text)
    }
}

/// Something about a node as a whole, such as `StoreDamaged` or `UnsupportedByAgent`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// CamelCase.
    pub reason: String,
    /// For a person.
    pub message: String,
}
