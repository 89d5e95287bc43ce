//! How what was seen of a directory or file differs from what its entry says. Pure.

use std::fmt;

use super::{
    entries::{Entry, Wanted},
    host::{Ownership, PathState},
};
use crate::model::{Access, Attributes, Mode};

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
    /// Something of another kind.
    Kind(&'static str),
}

impl Difference {
    /// Compares.
    pub fn between(entry: &Entry, seen: &PathState) -> Self {
        match (seen, &entry.wanted) {
            (PathState::Absent, _) => Self::Missing,
            (PathState::Directory(ownership), Wanted::Directory(_, wanted)) => attributes(wanted, ownership),
            (PathState::File { digest, ownership }, Wanted::File(_, source, wanted)) if *digest == source.digest() => {
                attributes(wanted, ownership)
            }
            (PathState::File { .. }, Wanted::File(..)) => Self::Contents,
            (PathState::Directory(_), Wanted::File(..)) => Self::Kind("a directory"),
            (PathState::File { .. }, Wanted::Directory(..)) => Self::Kind("a file"),
            (PathState::Other(kind), _) => Self::Kind(kind),
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
            Self::Kind(kind) => write!(f, "is {kind}; left so under Audit"),
        }
    }
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
