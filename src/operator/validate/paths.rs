//! The part of `validate` that reads directories and files.

use std::collections::HashMap;

use super::{Check, InvalidReason as Reason, ValidFile, ValidSource, accounts, own_drift};
use crate::{
    api::{AccessEntry, ArtifactSource, DirectoryEntry, FileEntry, SourceEntry},
    model::{Artifact, Attributes, Digest, Directory, Drift, HostPath, Mode},
    operator::references::{Kind, Reference},
};

pub(super) fn directories(check: &mut Check, entries: &[DirectoryEntry], drift: Drift) -> Vec<Directory> {
    let mut directories: Vec<Directory> = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let DirectoryEntry { path, mode, owner, group, access, hidden, drift: own } = entry;
        let field = format!("spec.directories[{i}]");
        let path = managed_path(check, &format!("{field}.path"), path, false);
        let whose = Whose { mode, owner, group, access, read_only: None, hidden: *hidden };
        let attributes = attributes(check, &field, &whose);
        if let Some(path) = path {
            directories.push(Directory { path, attributes, drift: own_drift(*own, drift) });
        }
    }
    directories.sort_by(|a, b| a.path.cmp(&b.path));
    directories
}

pub(super) fn files(check: &mut Check, entries: &[FileEntry], drift: Drift) -> Vec<ValidFile> {
    let mut files: Vec<ValidFile> = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        let FileEntry { path, source, mode, owner, group, access, read_only, hidden, drift: own } = entry;
        let field = format!("spec.files[{i}]");
        let path = managed_path(check, &format!("{field}.path"), path, true);
        let source = self::source(check, &format!("{field}.source"), source);
        let whose = Whose { mode, owner, group, access, read_only: *read_only, hidden: *hidden };
        let attributes = attributes(check, &field, &whose);
        if let (Some(path), Some(source)) = (path, source) {
            files.push(ValidFile { path, source, attributes, drift: own_drift(*own, drift) });
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// Two entries for one path, and entries below a path that is to be a file.
pub(super) fn no_conflicts(check: &mut Check) {
    let paths = std::mem::take(&mut check.paths);
    let mut first: HashMap<String, (&str, bool)> = HashMap::new();
    for (field, path, is_file) in &paths {
        if let Some((other, _)) = first.get(&path.identity()) {
            let message = format!("{path} is named by {other} already; remove one of them");
            check.error(field, Reason::DuplicatePath, message);
        } else {
            first.insert(path.identity(), (field, *is_file));
        }
    }
    for (field, path, _) in &paths {
        let mut above = path.parent();
        while let Some(directory) = above {
            if let Some((other, true)) = first.get(&directory.identity()) {
                let message = format!("{path} lies below {directory}, which {other} makes a file; change one of them");
                check.error(field, Reason::PathConflict, message);
            }
            above = directory.parent();
        }
    }
    check.paths = paths;
}

fn managed_path(check: &mut Check, field: &str, text: &str, is_file: bool) -> Option<HostPath> {
    let path = check.path(field, text, Reason::InvalidPath)?;
    check.paths.push((field.to_owned(), path.clone(), is_file));
    Some(path)
}

/// What an entry says of who may do what.
struct Whose<'a> {
    mode: &'a Option<String>,
    owner: &'a Option<String>,
    group: &'a Option<String>,
    access: &'a Option<AccessEntry>,
    read_only: Option<bool>,
    hidden: Option<bool>,
}

fn attributes(check: &mut Check, field: &str, whose: &Whose<'_>) -> Attributes {
    let Whose { mode, owner, group, access, read_only, hidden } = *whose;
    let on_linux = [("mode", mode.is_some()), ("group", group.is_some())];
    let on_windows = [("access", access.is_some()), ("readOnly", read_only.is_some()), ("hidden", hidden.is_some())];
    let (foreign, theirs, own) = match check.is_windows() {
        true => (&on_linux[..], "Linux", "Windows"),
        false => (&on_windows[..], "Windows", "Linux"),
    };
    for (name, _) in foreign.iter().filter(|(_, present)| *present) {
        let message = format!("is for {theirs}, and the paths of this EdgeNode are of {own}; remove it");
        check.error(format!("{field}.{name}"), Reason::NotSupported, message);
    }
    let mode = mode.as_deref().and_then(|text| {
        let bits = u32::from_str_radix(text, 8).ok().and_then(Mode::new);
        if bits.is_none() {
            let message = format!("is {text:?}; expected permission bits in octal up to \"7777\", such as \"0644\"");
            check.error(format!("{field}.mode"), Reason::InvalidMode, message);
        }
        bits
    });
    let access = access.as_ref().map(|entry| accounts::access(check, &format!("{field}.access"), entry));
    Attributes { mode, owner: owner.clone(), group: group.clone(), access, read_only, hidden }
}

fn source(check: &mut Check, field: &str, entry: &SourceEntry) -> Option<ValidSource> {
    match entry {
        SourceEntry { inline: Some(text), config_map_key_ref: None, secret_key_ref: None, artifact: None } => {
            Some(ValidSource::Inline(text.clone()))
        }
        SourceEntry { inline: None, config_map_key_ref: Some(r), secret_key_ref: None, artifact: None } => {
            Some(ValidSource::Object(Reference::new(Kind::ConfigMap, r)))
        }
        SourceEntry { inline: None, config_map_key_ref: None, secret_key_ref: Some(r), artifact: None } => {
            Some(ValidSource::Object(Reference::new(Kind::Secret, r)))
        }
        SourceEntry { inline: None, config_map_key_ref: None, secret_key_ref: None, artifact: Some(artifact) } => {
            self::artifact(check, &format!("{field}.artifact"), artifact).map(ValidSource::Artifact)
        }
        _ => {
            let message = "set exactly one of inline, configMapKeyRef, secretKeyRef and artifact";
            check.error(field, Reason::InvalidSource, message);
            None
        }
    }
}

pub(super) fn artifact(check: &mut Check, field: &str, entry: &ArtifactSource) -> Option<Artifact> {
    let ArtifactSource { url, sha256 } = entry;
    let parsed: Option<http::Uri> = url.parse().ok();
    let usable = parsed
        .is_some_and(|u| matches!(u.scheme_str(), Some("http" | "https")) && u.host().is_some_and(|h| !h.is_empty()));
    if !usable {
        let message = "is no URL that can be downloaded; expected http://… or https://… with a host";
        check.error(format!("{field}.url"), Reason::InvalidSource, message);
    }
    let digest = Digest::from_hex(sha256);
    if let Err(error) = &digest {
        check.error(format!("{field}.sha256"), Reason::InvalidSource, error.to_string());
    }
    usable.then(|| digest.ok().map(|sha256| Artifact { url: url.clone(), sha256 })).flatten()
}
