//! Where a file's contents come from.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Where contents come from: exactly one field is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.inline), has(self.configMapKeyRef), has(self.secretKeyRef), has(self.artifact)].filter(x, x).size() == 1")
        .message("exactly one of inline, configMapKeyRef, secretKeyRef and artifact must be set")
)]
pub struct SourceEntry {
    /// The contents themselves, as text in UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 262_144))]
    pub inline: Option<String>,

    /// A key of a ConfigMap in the EdgeNode's namespace, of data or binaryData.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,

    /// A key of a Secret in the EdgeNode's namespace. Secrets of the types edge.windlass.dev/*,
    /// kubernetes.io/service-account-token and helm.sh/release.v1 are refused. Whoever writes EdgeNodes
    /// in a namespace can thereby read its other Secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,

    /// A download that the node makes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<ArtifactSource>,
}

/// A key of a ConfigMap or Secret in the EdgeNode's namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, KubeSchema, Default)]
pub struct KeyRef {
    /// Name of the object. It may be made later than the EdgeNode: the node is Reconciling for a minute, and
    /// Stalled only then.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key within the object.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A download, checked against its digest before anything sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
pub struct ArtifactSource {
    /// Where to download it, http or https, from the node's point of view.
    #[schemars(length(min = 8, max = 2048), regex(pattern = "^https?://[^\\s]+$"))]
    pub url: String,

    /// SHA-256 of its bytes, 64 hex digits.
    #[schemars(length(min = 64, max = 64), regex(pattern = "^[0-9a-fA-F]{64}$"))]
    pub sha256: String,
}
