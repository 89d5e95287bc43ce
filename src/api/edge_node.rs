//! The EdgeNode: a machine that is not a Kubernetes node, and what it should be.
//!
//! Every list has maxItems and every string maxLength, or the API server refuses the CEL rules for their
//! cost. No `default` inside list entries: Argo CD would show them as a difference; `validate` fills them in.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{AccessEntry, PackageEntry, RegistryValueEntry, ServiceEntry, SourceEntry, status::EdgeNodeStatus};

/// An EdgeNode is a machine that is not a Kubernetes node, such as a Windows PC in a factory, a shop or a
/// kiosk. Its agent dials the operator, receives what is described here, makes the machine so, keeps it so
/// also without the link, and reports back into the status.
#[derive(CustomResource, KubeSchema, Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[kube(
    group = "edge.windlass.dev",
    version = "v1alpha1",
    kind = "EdgeNode",
    plural = "edgenodes",
    shortname = "en",
    category = "windlass",
    namespaced,
    status = "EdgeNodeStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "An EdgeNode is a machine that is not a Kubernetes node, such as a Windows PC in a factory, a shop or a kiosk. Its agent dials the operator, receives the state described in spec, makes the machine so, keeps it so also without the link, and reports back into status.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("metadata.name must have at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].status", description = "Whether the node is connected, healthy and as desired"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type=='Ready')].reason", description = "Why"),
    printcolumn(name = "Connected", type_ = "string", json_path = ".status.conditions[?(@.type=='Connected')].status", description = "Whether a session is up"),
    printcolumn(name = "Revision", type_ = "string", json_path = ".status.appliedRevision", description = "Revision that the node carried out last"),
    printcolumn(name = "OS", type_ = "string", json_path = ".status.node.osVersion", description = "Operating system", priority = 1),
    printcolumn(name = "Agent", type_ = "string", json_path = ".status.node.agentVersion", description = "Version of the agent", priority = 1),
    printcolumn(name = "Replica", type_ = "string", json_path = ".status.session.replica", description = "Replica of the operator that holds the session", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.files) || self.files.all(f, f.path.startsWith('/')) || self.files.all(f, !f.path.startsWith('/'))")
        .message("files mix paths of Windows and of Linux: a node has one platform"),
    validation = Rule::new("!has(self.directories) || self.directories.all(d, d.path.startsWith('/')) || self.directories.all(d, !d.path.startsWith('/'))")
        .message("directories mix paths of Windows and of Linux: a node has one platform"),
    validation = Rule::new("!has(self.files) || !has(self.directories) || self.files.size() == 0 || self.directories.size() == 0 || self.files[0].path.startsWith('/') == self.directories[0].path.startsWith('/')")
        .message("files and directories are of different platforms: a node has one platform")
)]
pub struct EdgeNodeSpec {
    /// True keeps the connection and the reports and changes nothing on the machine, drift included.
    #[serde(default)]
    pub suspended: bool,

    /// What is done about differences that somebody else made on the machine: Enforce puts them back, Audit
    /// reports them and leaves them. Entries may override it.
    #[serde(default)]
    pub drift: DriftPolicy,

    /// What happens to the machine when this EdgeNode is deleted. Orphan leaves it as it is. Cleanup has the
    /// agent remove what it created, and holds the deletion until that is done or the operator's
    /// clean-up timeout (5 minutes unless set otherwise) has passed since the deletion.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,

    /// Whom the operator takes for this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<IdentityEntry>,

    /// Directories that should exist. Removing an entry removes the directory if the agent created it and it
    /// is empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["path"]))]
    pub directories: Vec<DirectoryEntry>,

    /// Files that should exist with the given contents. Directories that they lie in are made where missing.
    /// Removing an entry removes the file if the agent created it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["path"]))]
    pub files: Vec<FileEntry>,

    /// Values that the registry should hold (Windows). Keys that they lie in are made where missing. Removing an
    /// entry removes the value if the agent created it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key", "name"]))]
    pub registry_values: Vec<RegistryValueEntry>,

    /// Software that should be installed (Windows). Removing an entry removes the software if the agent installed
    /// it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub packages: Vec<PackageEntry>,

    /// Programs that should run as services: Windows services on Windows; on Linux processes that the agent
    /// supervises. They start in the order of their dependencies, each when those it depends on are
    /// ready, and stop in reverse. Stopping or upgrading the agent stops none of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[x_kube(
        validation = Rule::new("self.all(s, !has(s.dependsOn) || s.dependsOn.all(d, d != s.name && self.exists(t, t.name == d)))")
            .message("dependsOn must name other services of this EdgeNode")
    )]
    pub services: Vec<ServiceEntry>,
}

impl EdgeNodeSpec {
    /// Whether nobody is to be let in as this node.
    pub fn is_revoked(&self) -> bool {
        self.identity.is_some_and(|identity| identity.revoked)
    }
}

/// Whom the operator takes for a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct IdentityEntry {
    /// True ends the session within seconds and lets nobody in as this node: neither who holds its certificate, nor
    /// who shows its token. The machine stays as it is, and goes on as its agent last knew. False lets the same
    /// certificate in again; for another machine, delete the EdgeNode and make it anew.
    #[serde(default)]
    pub revoked: bool,
}

/// What is done about drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[schemars(transform = super::undescribed)]
pub enum DriftPolicy {
    /// Put back.
    #[default]
    Enforce,
    /// Report only.
    Audit,
}

/// What happens to the machine when its EdgeNode is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Default)]
#[schemars(transform = super::undescribed)]
pub enum DeletionPolicy {
    /// The machine stays as it is; the agent stops enforcing.
    #[default]
    Orphan,
    /// The agent removes what it created.
    Cleanup,
}

/// A directory that should exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct DirectoryEntry {
    /// Absolute path, such as C:\ProgramData\Acme or /etc/acme. No "..", reserved device names, alternate
    /// streams or UNC paths. On Windows case makes no difference.
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^(/|[A-Za-z]:[\\/]).+$"))]
    pub path: String,

    /// Permission bits in octal, such as "0755" (Linux). Not managed if absent; a new directory gets 0755.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), regex(pattern = "^[0-7]{3,5}$"))]
    pub mode: Option<String>,

    /// Name of the account that owns it: a user of Linux, or a user or group of Windows such as
    /// BUILTIN\Administrators. Not managed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 104))]
    pub owner: Option<String>,

    /// Name of the group that owns it (Linux). Not managed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 104))]
    pub group: Option<String>,

    /// Who may do what with it (Windows). Not managed if absent; a new directory then lets Users read and
    /// execute, and nobody but SYSTEM and the administrators change anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessEntry>,

    /// The file attribute hidden (Windows). Not managed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,

    /// Overrides spec.drift for this directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftPolicy>,
}

/// A file that should have certain contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct FileEntry {
    /// Absolute path, such as C:\ProgramData\Acme\press.yaml or /etc/acme/press.yaml. No "..", reserved
    /// device names, alternate streams or UNC paths. On Windows case makes no difference.
    #[schemars(length(min = 2, max = 1024), regex(pattern = r"^(/|[A-Za-z]:[\\/]).+$"))]
    pub path: String,

    /// Where the contents come from: exactly one of inline, configMapKeyRef, secretKeyRef and artifact.
    pub source: SourceEntry,

    /// Permission bits in octal, such as "0644" (Linux). Defaults to 0644, and to 0600 for contents of
    /// Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 5), regex(pattern = "^[0-7]{3,5}$"))]
    pub mode: Option<String>,

    /// Name of the account that owns it: a user of Linux, or a user or group of Windows such as
    /// BUILTIN\Administrators. Not managed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 104))]
    pub owner: Option<String>,

    /// Name of the group that owns it (Linux). Not managed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 104))]
    pub group: Option<String>,

    /// Who may do what with it (Windows). Not managed if absent; a file with contents of a Secret then grants
    /// nothing beside administrators and SYSTEM, and any other what its directory grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessEntry>,

    /// The file attribute read-only (Windows). Not managed if absent. The agent replaces the file all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_only: Option<bool>,

    /// The file attribute hidden (Windows). Not managed if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hidden: Option<bool>,

    /// Overrides spec.drift for this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftPolicy>,
}
