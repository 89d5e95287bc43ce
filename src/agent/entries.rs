//! The directories and files of a document in one form, in the order in which they are carried out. Pure.

use crate::{
    agent::store::EntryKind,
    model::{Attributes, DesiredState, Digest, Drift, HostPath, Mode, Platform, Source},
};

/// A directory or file that should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: HostPath,
    /// `HostPath::identity` of it.
    pub identity: String,
    /// What.
    pub wanted: Wanted,
    /// Whose, with the default of secret files filled in.
    pub attributes: Attributes,
    /// What to do about drift.
    pub drift: Drift,
    /// Digest of all of this but the drift policy, in hex: what is carried out.
    pub wish: String,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A directory.
    Directory,
    /// A file with the bytes from there.
    File(Source),
}

impl Entry {
    /// As a ledger names it.
    pub fn kind(&self) -> EntryKind {
        match self.wanted {
            Wanted::Directory => EntryKind::Directory,
            Wanted::File(_) => EntryKind::File,
        }
    }

    /// As people read it in failures.
    pub fn name(&self) -> String {
        name(self.kind(), self.path.as_str())
    }
}

/// As people read it in failures.
pub fn name(kind: EntryKind, path: &str) -> String {
    match kind {
        EntryKind::Directory => format!("directory {path}"),
        EntryKind::File => format!("file {path}"),
    }
}

/// Directories before files, each from the root downwards.
pub fn entries(desired: &DesiredState) -> Vec<Entry> {
    let mut directories: Vec<Entry> =
        desired.directories.iter().map(|d| entry(&d.path, Wanted::Directory, d.attributes.clone(), d.drift)).collect();
    directories.sort_by_cached_key(|e| (e.path.components().count(), e.identity.clone()));
    let files = desired.files.iter().map(|file| {
        let mut attributes = file.attributes.clone();
        if attributes.mode.is_none() && file.path.platform() == Platform::Posix {
            attributes.mode = Mode::new(if file.source.is_secret() { 0o600 } else { 0o644 });
        }
        entry(&file.path, Wanted::File(file.source.clone()), attributes, file.drift)
    });
    directories.extend(files);
    directories
}

fn entry(path: &HostPath, wanted: Wanted, attributes: Attributes, drift: Drift) -> Entry {
    let Attributes { mode, owner, group, access, read_only, hidden } = &attributes;
    let bytes = match &wanted {
        Wanted::Directory => "directory".to_owned(),
        Wanted::File(source) => source.digest().to_string(),
    };
    let mut text = format!("{bytes}\n{:?}\n{owner:?}\n{group:?}", mode.map(Mode::bits));
    // Only where they are used: what was carried out by an earlier version keeps its digest.
    if (access, read_only, hidden) != (&None, &None, &None) {
        text += &format!("\n{access:?}\n{read_only:?}\n{hidden:?}");
    }
    let wish = Digest::of(text.as_bytes()).to_string();
    Entry { path: path.clone(), identity: path.identity(), wanted, attributes, drift, wish }
}
