//! What a document wants of the machine, but for services, in one form and in the order in which it is carried
//! out. Pure.

use super::place::{Kind, Place, Thing};
use crate::model::{Access, Attributes, DesiredState, Digest, Drift, File, HostPath, Mode, Platform, Source};

/// Something that should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub place: Place,
    /// `Place::identity` of it.
    pub identity: String,
    /// What.
    pub wanted: Wanted,
    /// What to do about drift.
    pub drift: Drift,
    /// Digest of all of this but the drift policy, in hex: what is carried out.
    pub wish: String,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A directory.
    Directory(HostPath, Attributes),
    /// A file with the bytes from there, with the default of secret files filled in.
    File(HostPath, Source, Attributes),
}

impl Entry {
    /// As a ledger names it.
    pub fn thing(&self) -> Thing {
        match &self.wanted {
            Wanted::Directory(path, _) => Thing::Directory(path.clone()),
            Wanted::File(path, ..) => Thing::File(path.clone()),
        }
    }

    /// What it is.
    pub fn kind(&self) -> Kind {
        self.thing().kind()
    }

    /// Digest of the bytes without which it cannot be made.
    pub fn content(&self) -> Option<Digest> {
        match &self.wanted {
            Wanted::File(_, source, _) => Some(source.digest()),
            Wanted::Directory(..) => None,
        }
    }
}

/// Directories before files, each from the root downwards.
pub fn entries(desired: &DesiredState) -> Vec<Entry> {
    let mut entries: Vec<Entry> = desired
        .directories
        .iter()
        .map(|d| entry(Wanted::Directory(d.path.clone(), d.attributes.clone()), d.drift))
        .collect();
    entries.sort_by_cached_key(|e| (e.place.depth(), e.identity.clone()));
    entries.extend(desired.files.iter().map(file));
    entries
}

fn file(file: &File) -> Entry {
    let mut attributes = file.attributes.clone();
    match file.path.platform() {
        Platform::Posix if attributes.mode.is_none() => {
            attributes.mode = Mode::new(if file.source.is_secret() { 0o600 } else { 0o644 });
        }
        // For those alone whom no list keeps out: SYSTEM and administrators.
        Platform::Windows if attributes.access.is_none() && file.source.is_secret() => {
            attributes.access = Some(Access::default());
        }
        _ => {}
    }
    entry(Wanted::File(file.path.clone(), file.source.clone(), attributes), file.drift)
}

fn entry(wanted: Wanted, drift: Drift) -> Entry {
    let (place, text) = match &wanted {
        Wanted::Directory(path, attributes) => (path, with_attributes("directory", attributes)),
        Wanted::File(path, source, attributes) => (path, with_attributes(&source.digest().to_string(), attributes)),
    };
    let place = Place::from(place.clone());
    let wish = Digest::of(text.as_bytes()).to_string();
    Entry { identity: place.identity(), place, wanted, drift, wish }
}

fn with_attributes(bytes: &str, attributes: &Attributes) -> String {
    let Attributes { mode, owner, group, access, read_only, hidden } = attributes;
    let mut text = format!("{bytes}\n{:?}\n{owner:?}\n{group:?}", mode.map(Mode::bits));
    // Only where they are used: what was carried out by an earlier version keeps its digest.
    if (access, read_only, hidden) != (&None, &None, &None) {
        text += &format!("\n{access:?}\n{read_only:?}\n{hidden:?}");
    }
    text
}
