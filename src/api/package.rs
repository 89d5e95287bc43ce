//! Software that an installer puts on a Windows machine.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{ArtifactSource, RegistryViewName};

/// Software that should be installed: exactly one of msi and exe is set. One package is installed at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.msi) != has(self.exe)").message("exactly one of msi and exe must be set")
)]
pub struct PackageEntry {
    /// Name of the package in reports and logs: letters, digits, "-", "_" and ".", the last no dot, and none
    /// that Windows keeps for a device, such as con or nul.x.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Za-z0-9]([-._A-Za-z0-9]*[-_A-Za-z0-9])?$"))]
    pub name: String,

    /// A package of Windows Installer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub msi: Option<MsiPackage>,

    /// An installer that is a program of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exe: Option<ExePackage>,
}

/// A package of Windows Installer. It is installed where its product is not there in the version, and always
/// silently and with REBOOT=ReallySuppress: a restart that it asks for shows as the condition RebootPending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct MsiPackage {
    /// The .msi file; the node downloads it when it installs.
    pub artifact: ArtifactSource,

    /// The ProductCode of the .msi, a GUID in braces: what tells whether it is installed.
    #[schemars(
        length(min = 38, max = 38),
        regex(pattern = r"^\{[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\}$")
    )]
    pub product_code: String,

    /// The ProductVersion of the .msi, such as 2.1.0. Windows Installer passes over a fourth number.
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]+(\.[0-9]+){0,3}$"))]
    pub version: String,

    /// Public properties that are set when it is installed. They show in its logs: no place for secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub properties: Vec<PropertyEntry>,
}

/// A public property of Windows Installer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct PropertyEntry {
    /// Its name, in upper case, such as INSTALLDIR. Not those by which the agent says what is to be done: ACTION,
    /// ADVERTISE, REBOOT, REBOOTPROMPT, REINSTALL, REINSTALLMODE and REMOVE.
    #[schemars(length(min = 1, max = 72), regex(pattern = "^[A-Z_][A-Z0-9_.]*$"))]
    pub name: String,

    /// Its value, as it is.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// An installer that is a program of its own. It runs where the package is not detected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct ExePackage {
    /// The installer; the node downloads it when it installs.
    pub artifact: ArtifactSource,

    /// What it is started with. It has to be what makes it silent: nobody sees its windows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub arguments: Vec<String>,

    /// Program, by its absolute path, and arguments that remove the package silently when its entry is removed.
    /// Without it the package stays then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 4096)))]
    pub uninstall_command: Vec<String>,

    /// What is there once the package is installed.
    pub detect: DetectEntry,

    /// Exit codes of the installer that mean success. Defaults to 0. 3010 and 1641 always do, and show as the
    /// condition RebootPending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "set"))]
    pub success_exit_codes: Vec<i32>,
}

/// What is there once a package is installed: exactly one of registryValue and file is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.registryValue) != has(self.file)").message("exactly one of registryValue and file must be set")
)]
pub struct DetectEntry {
    /// A value of the registry, such as the DisplayVersion that the installer leaves in the Uninstall key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry_value: Option<DetectRegistryValue>,

    /// Absolute path of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 4, max = 1024), regex(pattern = r"^[A-Za-z]:[\\/].+$"))]
    pub file: Option<String>,
}

/// A value of the registry that tells whether a package is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
pub struct DetectRegistryValue {
    /// Key that the value lies in, below HKLM or HKU, as in spec.registryValues.
    #[schemars(length(min = 5, max = 1024), regex(pattern = r"^[Hh][A-Za-z_]+\\.+$"))]
    pub key: String,

    /// Name of the value. Defaults to the key's default value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 255))]
    pub name: Option<String>,

    /// Which programs see it: Registry64 (the default) or Registry32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<RegistryViewName>,

    /// Text that it has to hold, numbers in decimal; without it, the value only has to be there. A package whose
    /// version stands here is upgraded when that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub equals: Option<String>,
}
