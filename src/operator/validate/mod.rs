//! Turns an EdgeNode's spec into what the model can say, with every default filled in, or tells what is wrong
//! with it, field by field. Pure. Knows nothing of the objects that the spec refers to: `gather` reads them
//! and `render` puts their contents in.

mod accounts;
mod packages;
mod paths;
mod probes;
mod registry;
mod services;

use std::{fmt, ops::RangeInclusive};

use super::references::Reference;
use crate::{
    api::{DriftPolicy, EdgeNodeSpec},
    model::{Artifact, Attributes, Directory, Drift, HostPath, Package, Platform, RegistryValue, Service},
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
    /// By identity of their places.
    pub registry_values: Vec<RegistryValue>,
    /// By name.
    pub packages: Vec<Package>,
    /// By name.
    pub services: Vec<ValidService>,
}

/// A service whose password is still to be put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidService {
    /// Without its password.
    pub service: Service,
    /// Where the password of its account comes from.
    pub password: Option<Reference>,
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
    /// Two services or packages, or two variables of one, have one name.
    DuplicateName,
    /// Two entries name one value of the registry.
    DuplicateRegistryValue,
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
    /// An account that a service cannot run as, or one with a password that it cannot have.
    InvalidAccount,
    /// A value of the registry without exactly one kind of data, or at a place that is none.
    InvalidRegistryValue,
    /// A package that Windows Installer does not know, or that cannot be detected.
    InvalidPackage,
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
    pub const ALL: [Self; 19] = [
        Self::DependencyCycle,
        Self::UnknownServiceReference,
        Self::UnknownFileReference,
        Self::DuplicatePath,
        Self::DuplicateName,
        Self::DuplicateRegistryValue,
        Self::InvalidPath,
        Self::PathConflict,
        Self::MixedPlatforms,
        Self::NotSupported,
        Self::InvalidMode,
        Self::InvalidAccount,
        Self::InvalidRegistryValue,
        Self::InvalidPackage,
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
            Self::DuplicateRegistryValue => "DuplicateRegistryValue",
            Self::InvalidPath => "InvalidPath",
            Self::PathConflict => "PathConflict",
            Self::MixedPlatforms => "MixedPlatforms",
            Self::NotSupported => "NotSupported",
            Self::InvalidMode => "InvalidMode",
            Self::InvalidAccount => "InvalidAccount",
            Self::InvalidRegistryValue => "InvalidRegistryValue",
            Self::InvalidPackage => "InvalidPackage",
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
    let EdgeNodeSpec {
        suspended,
        drift,
        deletion_policy: _,
        identity: _,
        directories,
        files,
        registry_values,
        packages,
        services,
    } = spec;
    let mut check = Check::default();
    let drift = drift_of(None, *drift);
    let directories = paths::directories(&mut check, directories, drift);
    let files = paths::files(&mut check, files, drift);
    paths::no_conflicts(&mut check);
    let registry_values = registry::registry_values(&mut check, registry_values, drift);
    let packages = packages::packages(&mut check, packages);
    let services = services::services(&mut check, services);
    if check.errors.is_empty() {
        Ok(Valid { suspended: *suspended, directories, files, registry_values, packages, services })
    } else {
        Err(check.errors)
    }
}

/// What is found on the way through a spec.
#[derive(Default)]
struct Check {
    errors: Vec<Invalid>,
    /// The first path of the spec, or what only one platform has: all others are of that platform.
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
                    "is a path of {}, but {first_field} is of {}; a node has one platform",
                    name_of(platform),
                    name_of(*first)
                );
                self.error(field, InvalidReason::MixedPlatforms, message);
            }
        }
    }

    /// Whether a list that only Windows has may be read, where it is `present`; on a node of Linux it is told.
    fn is_for_windows(&mut self, field: &str, present: bool) -> bool {
        if present && self.is_posix() {
            let message = "is for Windows, and the paths of this EdgeNode are of Linux; remove it";
            self.error(field, InvalidReason::NotSupported, message);
            return false;
        }
        if present && self.first.is_none() {
            self.first = Some((field.to_owned(), Platform::Windows));
        }
        true
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

fn own_drift(own: Option<DriftPolicy>, general: Drift) -> Drift {
    own.map_or(general, |own| drift_of(Some(own), DriftPolicy::Enforce))
}

fn drift_of(own: Option<DriftPolicy>, general: DriftPolicy) -> Drift {
    match own.unwrap_or(general) {
        DriftPolicy::Enforce => Drift::Enforce,
        DriftPolicy::Audit => Drift::Audit,
    }
}

#[cfg(test)]
mod tests;
