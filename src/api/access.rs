//! Who may do what with a file or directory on Windows.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An access control list that is managed whole: what is granted here and nothing else. SYSTEM and the
/// administrators have full control beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct AccessEntry {
    /// Whether what the directory above grants is granted here as well. Defaults to false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherit: Option<bool>,

    /// What single accounts may do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["account"]))]
    pub grants: Vec<GrantEntry>,
}

/// What an account may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantEntry {
    /// Name or SID of a user or group, such as BUILTIN\Users, NT SERVICE\AcmePress or S-1-5-19. Case makes no
    /// difference.
    #[schemars(length(min = 1, max = 104))]
    pub account: String,

    /// What it may do, on a directory with all that lies in it: Read; ReadAndExecute; Modify, which is also to
    /// write and delete; FullControl, which is also to change owner and permissions.
    pub rights: RightsName,
}

/// Rights as the Security tab of Windows names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::undescribed)]
pub enum RightsName {
    /// Read contents and attributes.
    Read,
    /// Also execute.
    ReadAndExecute,
    /// Also write and delete.
    Modify,
    /// Also change owner and permissions.
    FullControl,
}
