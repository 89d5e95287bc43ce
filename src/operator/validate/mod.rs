//! Turns an EdgeNode's spec into what the model can say, with every default filled in, or tells what is wrong
//! with it, field by field. Pure. Knows nothing of the objects that the spec refers to: `gather` reads them
//! and `render` puts their contents in.

mod paths;
mod probes;
mod services;

use std::{fmt, ops::RangeInclusive};

use super::references::Reference;
use crate::{
    api::{DriftPolicy, EdgeNodeSpec},
    model::{Artifact, Attributes, Directory, Drift, HostPath, Platform, Service},
};

/// A spec that can be rendered. Lists are sorted by key (path or name).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Valid {
    /// Keep connection and reports, change nothing.
    pub suspended: bool,
    /// By path.
    pub directories: Vec<Directory>,
    /// By path.
    pub files: Vec<ValidFile>,
    /// By name.
    pub services: Vec<Service>,
}

/// A file whose contents are still to be put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidFile {
    /// Where.
    pub path: HostPath,
    /// Where its contents come from.
    pub source: ValidSource,
    /// Whose.
    pub attributes: Attributes,
    /// What to do about drift.
    pub drift: Drift,
}

/// Where a file's contents come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValidSource {
    /// The spec.
    Inline(String),
    /// A ConfigMap or Secret.
    Object(Reference),
    /// A download that the node makes.
    Artifact(Artifact),
}

/// One thing that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {message}")]
pub struct Invalid {
    /// Path of the field, such as `spec.services[2].dependsOn`.
    pub field: String,
    /// Reason of the conditions.
    pub reason: InvalidReason,
    /// What is wrong and how to mend it.
    pub message: String,
}

/// Reasons of conditions that an invalid spec leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvalidReason {
    /// Services wait for each other in a circle.
    DependencyCycle,
    /// `dependsOn` names no other service of the EdgeNode.
    UnknownServiceReference,
    /// `restartOnChange` names no file of the EdgeNode.
    UnknownFileReference,
    /// Two entries name one path.
    DuplicatePath,
    /// Two services, or two variables of one, have one name.
    DuplicateName,
    /// A path that cannot be managed.
    InvalidPath,
    /// Something lies below a path that is to be a file.
    PathConflict,
    /// Paths of Windows and of Linux in one spec.
    MixedPlatforms,
    /// Something that the node's platform does not have.
    NotSupported,
    /// Permission bits out of range.
    InvalidMode,
    /// A source without exactly one origin, or with a malformed one.
    InvalidSource,
    /// A service's or variable's name.
    InvalidName,
    /// A program that is not given by an absolute path.
    InvalidCommand,
    /// A probe that cannot be carried out.
    InvalidProbe,
    /// A value out of its range.
    InvalidValue,
}

impl InvalidReason {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::DependencyCycle,
        Self::UnknownServiceReference,
        Self::UnknownFileReference,
        Self::DuplicatePath,
        Self::DuplicateName,
        Self::InvalidPath,
        Self::PathConflict,
        Self::MixedPlatforms,
        Self::NotSupported,
        Self::InvalidMode,
        Self::InvalidSource,
        Self::InvalidName,
        Self::InvalidCommand,
        Self::InvalidProbe,
        Self::InvalidValue,
    ];

    /// As conditions show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::DependencyCycle => "DependencyCycle",
            Self::UnknownServiceReference => "UnknownServiceReference",
            Self::UnknownFileReference => "UnknownFileReference",
            Self::DuplicatePath => "DuplicatePath",
            Self::DuplicateName => "DuplicateName",
            Self::InvalidPath => "InvalidPath",
            Self::PathConflict => "PathConflict",
            Self::MixedPlatforms => "MixedPlatforms",
            Self::NotSupported => "NotSupported",
            Self::InvalidMode => "InvalidMode",
            Self::InvalidSource => "InvalidSource",
            Self::InvalidName => "InvalidName",
            Self::InvalidCommand => "InvalidCommand",
            Self::InvalidProbe => "InvalidProbe",
            Self::InvalidValue => "InvalidValue",
        }
    }
}

impl fmt::Display for InvalidReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Reads a spec. Every error is found, not the first one alone; they come in order of the fields.
pub fn validate(spec: &EdgeNodeSpec) -> Result<Valid, Vec<Invalid>> {
    let EdgeNodeSpec { suspended, drift, deletion_policy: _, directories, files, services } = spec;
    let mut check = Check::default();
    let drift = drift_of(None, *drift);
    let directories = paths::directories(&mut check, directories, drift);
    let files = paths::files(&mut check, files, drift);
    paths::no_conflicts(&mut check);
    let services = services::services(&mut check, services);
    if check.errors.is_empty() {
        Ok(Valid { suspended: *suspended, directories, files, services })
    } else {
        Err(check.errors)
    }
}

/// What is found on the way through a spec.
#[derive(Default)]
struct Check {
    errors: Vec<Invalid>,
    /// The first path of the spec: all others are of its platform.
    first: Option<(String, Platform)>,
    /// Every path that was read: its field, itself, and whether it is a file's.
    paths: Vec<(String, HostPath, bool)>,
}

impl Check {
    fn error(&mut self, field: impl Into<String>, reason: InvalidReason, message: impl Into<String>) {
        self.errors.push(Invalid { field: field.into(), reason, message: message.into() });
    }

    /// Reads a path and holds it against the platform of the paths before it.
    fn path(&mut self, field: &str, text: &str, reason: InvalidReason) -> Option<HostPath> {
        match HostPath::parse(text) {
            Ok(path) => {
                self.platform(field, path.platform());
                Some(path)
            }
            Err(error) => {
                self.error(field, reason, error.to_string());
                None
            }
        }
    }

    fn platform(&mut self, field: &str, platform: Platform) {
        match &self.first {
            None => self.first = Some((field.to_owned(), platform)),
            Some((_, first)) if *first == platform => {}
            Some((first_field, first)) => {
                let message = format!(
                    "is a path of {}, but {first_field} is one of {}; a node has one platform",
                    name_of(platform),
                    name_of(*first)
                );
                self.error(field, InvalidReason::MixedPlatforms, message);
            }
        }
    }

    fn is_windows(&self) -> bool {
        matches!(self.first, Some((_, Platform::Windows)))
    }

    fn is_posix(&self) -> bool {
        matches!(self.first, Some((_, Platform::Posix)))
    }

    /// A number, or its default, within a range.
    fn number(&mut self, field: &str, value: Option<i32>, default: u32, range: RangeInclusive<u32>) -> u32 {
        let Some(value) = value else { return default };
        match u32::try_from(value).ok().filter(|v| range.contains(v)) {
            Some(value) => value,
            None => {
                let message = format!("is {value}; expected {} to {}", range.start(), range.end());
                self.error(field, InvalidReason::InvalidValue, message);
                default
            }
        }
    }
}

fn name_of(platform: Platform) -> &'static str {
    match platform {
        Platform::Posix => "Linux",
        Platform::Windows => "Windows",
    }
}

fn drift_of(own: Option<DriftPolicy>, general: DriftPolicy) -> Drift {
    match own.unwrap_or(general) {
        DriftPolicy::Enforce => Drift::Enforce,
        DriftPolicy::Audit => Drift::Audit,
    }
}

#[cfg(test)]
mod tests;
