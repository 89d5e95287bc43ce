//! Programs that run as services on a node.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{KeyRef, ProbeEntry};

/// A program that should run as a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntry {
    /// Name of the service on the machine: letters, digits, "-", "_" and ".", the last no dot, and none that
    /// Windows keeps for a device, such as con or nul.x. On Windows case makes no difference.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Za-z0-9]([-._A-Za-z0-9]*[-_A-Za-z0-9])?$"))]
    pub name: String,

    /// Name for people, as the Services console shows it. If absent, a new service gets its name, and one that is
    /// there keeps what it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub display_name: Option<String>,

    /// What the service does, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,

    /// Program, by its absolute path, and its arguments. No shell is involved and nothing is expanded. A
    /// service whose program or arguments name a managed file waits for that file.
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,

    /// Variables of the environment, beside those that the account gets from the machine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub env: Vec<EnvEntry>,

    /// Absolute path of the directory that the program starts in. Defaults to the root directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^(/|[A-Za-z]:[\\/]).+$"))]
    pub working_directory: Option<String>,

    /// When the service starts by itself. Automatic (the default) and DelayedAutomatic: with the machine.
    /// Manual: when the agent brings it to its state. Disabled: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_mode: Option<ServiceStartMode>,

    /// What the service should be doing: Running (the default), Stopped, or Paused (Windows).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<DesiredServiceState>,

    /// Account that the service runs as. Defaults on Windows to NT AUTHORITY\LocalService, on Linux to the
    /// agent's own. On Windows: LocalSystem, NT AUTHORITY\LocalService, NT AUTHORITY\NetworkService, NT
    /// SERVICE\ and the service's name, a group-managed account such as PLANT\press$, or a named account
    /// such as PLANT\press or .\press.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 104))]
    pub account: Option<String>,

    /// Key of a Secret in the EdgeNode's namespace that holds the account's password, in UTF-8 and without a line
    /// break at its end (Windows). A named account such as PLANT\press or .\press needs it; those of the
    /// machine, NT SERVICE\… and accounts that end in $ have none. Types of Secrets that are refused for
    /// files are refused here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<KeyRef>,

    /// True runs a program as a service that is none: that does not speak with the Service Control Manager
    /// (Windows). A small program of windlass does so for it, ends it with CTRL_BREAK, and writes its output
    /// to files. It cannot be paused. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrap: Option<bool>,

    /// Names of services of this EdgeNode that are ready before this one starts. They stop after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub depends_on: Vec<String>,

    /// Files of this EdgeNode; a change of the contents of one restarts the service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["file"]))]
    pub restart_on_change: Vec<FileReference>,

    /// How long the service may take to stop before it is killed, in seconds. Defaults to 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub stop_timeout_seconds: Option<i32>,

    /// What follows when the service ends unexpectedly. Defaults to restarts after 1, 5 and then 30
    /// seconds each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryEntry>,

    /// Decides when the service is ready. Without one it is ready while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<ProbeEntry>,

    /// Decides when the service is to be restarted though it runs. Without one, never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub liveness_probe: Option<ProbeEntry>,
}

/// A variable of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
pub struct EnvEntry {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[A-Za-z_][-._A-Za-z0-9]*$"))]
    pub name: String,

    /// Its value; nothing is expanded.
    #[serde(default)]
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// When a service starts by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::undescribed)]
pub enum ServiceStartMode {
    /// With the machine.
    Automatic,
    /// Some time after the machine.
    DelayedAutomatic,
    /// By the agent only.
    Manual,
    /// Never.
    Disabled,
}

/// What a service should be doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::undescribed)]
pub enum DesiredServiceState {
    /// Running.
    Running,
    /// Not running.
    Stopped,
    /// Paused (Windows).
    Paused,
}

/// A file of the same EdgeNode.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
pub struct FileReference {
    /// Path of an entry of spec.files.
    #[schemars(length(min = 2, max = 1024))]
    pub file: String,
}

/// What follows when a service ends unexpectedly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct RecoveryEntry {
    /// The first follows the first unexpected end, and so on; the last one repeats.
    #[schemars(length(min = 1, max = 16))]
    pub actions: Vec<RecoveryActionEntry>,

    /// A run that lasts this long, in seconds, begins the list of actions anew. Defaults to 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 31_536_000))]
    pub reset_after_seconds: Option<i32>,
}

/// One action of a recovery: exactly one field is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[x_kube(
    validation = Rule::new("has(self.restart) != has(self.none)").message("exactly one of restart and none must be set")
)]
pub struct RecoveryActionEntry {
    /// Start the service again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<RestartAction>,

    /// Leave the service stopped, and report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoAction>,
}

/// Start the service again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct RestartAction {
    /// After this many seconds. Defaults to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86_400))]
    pub delay_seconds: Option<i32>,
}

/// Leave the service stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
pub struct NoAction {}
