//! What the operator says of a node. Written by `operator::publish` alone.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// What is known of the node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct EdgeNodeStatus {
    /// metadata.generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Ready: connected, healthy and as desired. Reconciling: on the way. Stalled: cannot go on without a
    /// person. Enrolled: the node has a valid identity. Connected: a session is up. ConfigApplied: the
    /// desired revision was carried out and nothing failed. Healthy: every service is in its state and its
    /// probes pass. RebootPending (Windows): the machine waits for a restart to finish what was installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// Revision of the state that the node should be in: the first 16 hex digits of a SHA-256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub desired_revision: Option<String>,

    /// Revision that the node carried out whole, last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub applied_revision: Option<String>,

    /// The session that wrote this status last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionStatus>,

    /// The machine, as its agent describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeStatus>,

    /// What the spec names, counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceStatus>,

    /// What is not as it should be, and why: the first 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub failures: Vec<FailureStatus>,

    /// The services: the first 32, those that are not ready before the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub services: Vec<ServiceStatus>,
}

/// A session between an agent and a replica of the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
pub struct SessionStatus {
    /// Number of the session; a later one has a higher number.
    pub id: i64,

    /// Name of the replica that holds it.
    #[schemars(length(max = 253))]
    pub replica: String,
}

/// The machine, as its agent describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Operating system: linux or windows.
    #[schemars(length(max = 1024))]
    pub os: String,

    /// Its name and version.
    #[schemars(length(max = 1024))]
    pub os_version: String,

    /// Name of the machine.
    #[schemars(length(max = 1024))]
    pub hostname: String,

    /// Version of the agent.
    #[schemars(length(max = 1024))]
    pub agent_version: String,

    /// Architecture: amd64 or arm64.
    #[schemars(length(max = 1024))]
    pub architecture: String,

    /// When the machine started, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub boot_time: Option<String>,

    /// Edition of Windows, such as Professional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub edition: Option<String>,

    /// Build of Windows with its revision, such as 19045.4651.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub build: Option<String>,

    /// Active Directory domain that the machine belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub domain: Option<String>,

    /// Physical memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<i64>,

    /// Fixed disks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub disks: Vec<DiskStatus>,

    /// Time zone as the machine names it: Europe/Vienna, or W. Europe Standard Time on Windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub time_zone: Option<String>,
}

/// A fixed disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
pub struct DiskStatus {
    /// Name, such as C:.
    #[schemars(length(max = 1024))]
    pub name: String,

    /// Size.
    pub bytes: i64,
}

/// What the spec names, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct ResourceStatus {
    /// All directories, files, registry values, packages and services.
    pub total: i32,

    /// Those that are as they should be.
    pub in_desired_state: i32,

    /// Those that could not be made so.
    pub failed: i32,

    /// Those that differ and are left so, as their drift policy is Audit.
    pub drifted: i32,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
pub struct FailureStatus {
    /// What, such as "file C:\ProgramData\Acme\press.yaml" or "service AcmePress".
    #[schemars(length(max = 1200))]
    pub resource: String,

    /// Why, in CamelCase.
    #[schemars(length(max = 128))]
    pub reason: String,

    /// What was tried and what was expected.
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// A service as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
pub struct ServiceStatus {
    /// Name of the service.
    #[schemars(length(max = 63))]
    pub name: String,

    /// Stopped, Waiting (for what it depends on), Starting, Running, Stopping, BackingOff, Failed or Paused.
    #[schemars(length(max = 32))]
    pub state: String,

    /// Whether it is in its desired state and its readiness probe passes.
    pub ready: bool,

    /// Restarts after unexpected ends and failed liveness probes, as of the last transition.
    pub restarts: i64,
}

/// Types of conditions. Ready, Reconciling and Stalled follow kstatus.
pub mod condition {
    /// Connected, healthy and as desired: what `kubectl wait` waits for.
    pub const READY: &str = "Ready";
    /// On the way.
    pub const RECONCILING: &str = "Reconciling";
    /// Cannot go on without a person.
    pub const STALLED: &str = "Stalled";
    /// The node has a valid identity bound to this resource's UID.
    pub const ENROLLED: &str = "Enrolled";
    /// A session is up.
    pub const CONNECTED: &str = "Connected";
    /// The desired revision was carried out and nothing failed.
    pub const CONFIG_APPLIED: &str = "ConfigApplied";
    /// Every service is in its state and its probes pass.
    pub const HEALTHY: &str = "Healthy";
    /// The machine waits for a restart (Windows only).
    pub const REBOOT_PENDING: &str = "RebootPending";
}
