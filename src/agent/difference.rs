//! How what was seen of a thing differs from what its entry says. Pure.

use std::fmt;

use super::{
    entries::{Entry, Wanted},
    host::Ownership,
    observe::State,
};
use crate::model::{Access, Attributes, Installer, Mode, MsiVersion, RegistryData};

/// How what is there differs from what should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Not at all.
    None,
    /// Nothing is there.
    Missing,
    /// A file with other bytes.
    Contents,
    /// Mode, owner or group; says which.
    Attributes(String),
    /// A value with other data; says how.
    Data(String),
    /// A package in another version; says which.
    Version(String),
    /// Something of another kind.
    Kind(&'static str),
}

impl Difference {
    /// Compares.
    pub fn between(entry: &Entry, seen: &State) -> Self {
        match (seen, &entry.wanted) {
            (State::Absent, _) => Self::Missing,
            (State::Directory(ownership), Wanted::Directory(_, wanted)) => attributes(wanted, ownership),
            (State::File { digest, ownership }, Wanted::File(_, source, wanted)) if *digest == source.digest() => {
                attributes(wanted, ownership)
            }
            (State::File { .. }, Wanted::File(..)) => Self::Contents,
            (State::Value(data), Wanted::Value(_, wanted)) if data == wanted => Self::None,
            (State::Value(data), Wanted::Value(_, wanted)) if type_of(data) == type_of(wanted) => {
                Self::Data(format!("holds another {}", type_of(data)))
            }
            (State::Value(data), Wanted::Value(_, wanted)) => {
                Self::Data(format!("is a {}, expected a {}", type_of(data), type_of(wanted)))
            }
            (State::OtherValue { kind, bytes }, Wanted::Value(_, wanted)) => {
                Self::Data(format!("is {}, expected a {}", other_type(*kind, *bytes), type_of(wanted)))
            }
            (State::Package { version }, Wanted::Package(_, installer)) => version_of(*version, installer),
            (State::Directory(_), _) => Self::Kind("a directory"),
            (State::File { .. }, _) => Self::Kind("a file"),
            (State::Other(kind), _) => Self::Kind(kind),
            // What lies in the registry or was installed is looked for in places of its own.
            (State::Key, _) => Self::Kind("a registry key"),
            (State::Value(_) | State::OtherValue { .. }, _) => Self::Kind("a registry value"),
            (State::Package { .. }, _) => Self::Kind("a package"),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("is as it should be"),
            Self::Missing => f.write_str("is missing; left so under Audit"),
            Self::Contents => f.write_str("has other contents; left so under Audit"),
            Self::Attributes(which) => write!(f, "has {which}; left so under Audit"),
            Self::Data(how) => write!(f, "{how}; left so under Audit"),
            Self::Version(which) => write!(f, "is installed in {which}"),
            Self::Kind(kind) => write!(f, "is {kind}; left so under Audit"),
        }
    }
}

/// A version that is not told is taken for the one that is wanted.
pub(super) fn version_of(version: Option<MsiVersion>, installer: &Installer) -> Difference {
    match (version, installer) {
        (Some(found), Installer::Msi { version, .. }) if found != *version => {
            Difference::Version(format!("version {found} instead of {version}"))
        }
        _ => Difference::None,
    }
}

fn type_of(data: &RegistryData) -> &'static str {
    match data {
        RegistryData::String(_) => "REG_SZ",
        RegistryData::ExpandString(_) => "REG_EXPAND_SZ",
        RegistryData::MultiString(_) => "REG_MULTI_SZ",
        RegistryData::Dword(_) => "REG_DWORD",
        RegistryData::Qword(_) => "REG_QWORD",
        RegistryData::Binary(_) => "REG_BINARY",
    }
}

/// Source: Win32, "Registry Value Types", with the numbers of winnt.h.
fn other_type(kind: u32, bytes: usize) -> String {
    let name = match kind {
        0 => "REG_NONE",
        1 => "REG_SZ",
        2 => "REG_EXPAND_SZ",
        3 => "REG_BINARY",
        4 => "REG_DWORD",
        5 => "REG_DWORD_BIG_ENDIAN",
        6 => "REG_LINK",
        7 => "REG_MULTI_SZ",
        8 => "REG_RESOURCE_LIST",
        9 => "REG_FULL_RESOURCE_DESCRIPTOR",
        10 => "REG_RESOURCE_REQUIREMENTS_LIST",
        11 => "REG_QWORD",
        _ => return format!("of the unknown type {kind} with {bytes} bytes"),
    };
    format!("a {name} of {bytes} bytes")
}

fn attributes(attributes: &Attributes, ownership: &Ownership) -> Difference {
    let Attributes { mode, owner, group, access, read_only, hidden } = attributes;
    let mut which = Vec::new();
    if let Some(mode) = mode.map(Mode::bits).filter(|mode| *mode != ownership.mode) {
        which.push(format!("mode {:04o} instead of {mode:04o}", ownership.mode));
    }
    if let Some(owner) = owner.as_ref().filter(|owner| **owner != ownership.owner) {
        which.push(format!("owner {} instead of {owner}", ownership.owner));
    }
    if let Some(group) = group.as_ref().filter(|group| **group != ownership.group) {
        which.push(format!("group {} instead of {group}", ownership.group));
    }
    let for_nobody_else = access.as_ref() == Some(&Access::default()) && ownership.closed;
    if access.is_some() && *access != ownership.access && !for_nobody_else {
        which.push("other access entries".to_owned());
    }
    for (wanted, is, name) in [(read_only, ownership.read_only, "read-only"), (hidden, ownership.hidden, "hidden")] {
        if wanted.is_some_and(|wanted| wanted != is) {
            which.push(format!("the attribute {name} {}", if is { "set" } else { "not set" }));
        }
    }
    if which.is_empty() { Difference::None } else { Difference::Attributes(which.join(", ")) }
}
