//! Values of the Windows registry.

use std::borrow::Cow;

use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::DriftPolicy;

/// A value that the registry should hold. Its type is that of the field that is set: exactly one of string,
/// expandString, multiString, dword, qword and binary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema, Default)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.string), has(self.expandString), has(self.multiString), has(self.dword), has(self.qword), has(self.binary)].filter(x, x).size() == 1")
        .message("exactly one of string, expandString, multiString, dword, qword and binary must be set")
)]
pub struct RegistryValueEntry {
    /// Key that the value lies in, such as HKLM\SOFTWARE\Acme\Press: below HKLM (HKEY_LOCAL_MACHINE) or HKU
    /// (HKEY_USERS). Case makes no difference. Where 32-bit programs see a key of their own, its path
    /// (HKLM\SOFTWARE\Wow6432Node\…) and view Registry32 name the same place.
    #[schemars(length(min = 5, max = 1024), regex(pattern = r"^[Hh][A-Za-z_]+\\.+$"))]
    pub key: String,

    /// Name of the value; "" is the key's default value. Case makes no difference.
    #[schemars(length(max = 255))]
    pub name: String,

    /// Which programs see it: Registry64 (the default) or Registry32. It makes no difference to keys that all
    /// programs share, such as HKLM\SYSTEM. Where a value is to be set in both views, write the key of
    /// the second entry with Wow6432Node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<RegistryViewName>,

    /// Text (REG_SZ).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub string: Option<String>,

    /// Text with names of variables that programs expand, such as %ProgramData%\Acme (REG_EXPAND_SZ).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8192))]
    pub expand_string: Option<String>,

    /// Lines of text, none of them empty (REG_MULTI_SZ).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 1024)))]
    pub multi_string: Option<Vec<String>>,

    /// Number of 32 bits (REG_DWORD).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 4_294_967_295_i64))]
    pub dword: Option<i64>,

    /// Number of 64 bits (REG_QWORD): an integer up to 2^53 - 1, above which JSON is not exact, or any as text in
    /// decimal or in hexadecimal such as "0xFFFFFFFFFFFFFFFF".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qword: Option<Qword>,

    /// Bytes in base64 (REG_BINARY).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16_384), extend("format" = "byte"))]
    pub binary: Option<String>,

    /// Overrides spec.drift for this value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftPolicy>,
}

/// Which programs see a key at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(transform = super::undescribed)]
pub enum RegistryViewName {
    /// Those of 64 bits.
    Registry64,
    /// Those of 32 bits.
    Registry32,
}

/// A number of 64 bits without sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Qword {
    /// Up to 2^53 - 1.
    Number(i64),
    /// In decimal or hexadecimal.
    Text(String),
}

/// Largest integer that every reader of JSON reads exactly.
const MAX_EXACT: i64 = (1 << 53) - 1;

impl JsonSchema for Qword {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Qword".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "minimum": 0,
            "maximum": MAX_EXACT,
            "maxLength": 20,
            "pattern": "^([0-9]{1,20}|0[xX][0-9a-fA-F]{1,16})$",
        })
    }
}
