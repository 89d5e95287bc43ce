//! What a document wants of the machine, but for services, in one form and in the order in which it is carried
//! out. Pure.

use std::collections::BTreeSet;

use super::{
    place::{Kind, Place, Thing},
    product::Product,
};
use crate::model::{
    Access, Attributes, DesiredState, Digest, Drift, File, Hasher, HostPath, Installer, Mode, PackageName, Platform,
    RegistryData, RegistryPlace, Source,
};

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
    /// A value of the registry.
    Value(RegistryPlace, RegistryData),
    /// A package.
    Package(PackageName, Installer),
}

impl Entry {
    /// As a ledger names it.
    pub fn thing(&self) -> Thing {
        match &self.wanted {
            Wanted::Directory(path, _) => Thing::Directory(path.clone()),
            Wanted::File(path, ..) => Thing::File(path.clone()),
            Wanted::Value(place, _) => Thing::Value(place.clone()),
            Wanted::Package(name, installer) => Thing::Package(name.clone(), Product::from(installer)),
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
            Wanted::Package(_, installer) => Some(installer.artifact().sha256),
            Wanted::Directory(..) | Wanted::Value(..) => None,
        }
    }
}

/// Directories from the root downwards, files, values of the registry, packages.
///
/// Packages come last: what an installer reads (an answer file, a licence, a value of the registry) is there when
/// it runs, and what it overwrites of that is put back afterwards.
pub fn entries(desired: &DesiredState) -> Vec<Entry> {
    let DesiredState { directories, files, registry_values, packages, .. } = desired;
    let directory = |path: &HostPath, attributes: &Attributes| Wanted::Directory(path.clone(), attributes.clone());
    let mut entries: Vec<Entry> =
        directories.iter().map(|d| entry(directory(&d.path, &d.attributes), d.drift)).collect();
    entries.sort_by_cached_key(|e| (e.place.depth(), e.identity.clone()));
    entries.extend(files.iter().map(file));
    entries.extend(registry_values.iter().map(|v| entry(Wanted::Value(v.place.clone(), v.data.clone()), v.drift)));
    let package = |name: &PackageName, installer: &Installer| Wanted::Package(name.clone(), installer.clone());
    entries.extend(packages.iter().map(|p| entry(package(&p.name, &p.installer), Drift::Enforce)));
    // The operator lets none be named twice: two that want different things of one place would never come to rest.
    let mut named = BTreeSet::new();
    entries.retain(|entry| named.insert(entry.identity.clone()));
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
        Wanted::Directory(path, attributes) => (Place::Path(path.clone()), with_attributes("directory", attributes)),
        Wanted::File(path, source, attributes) => {
            (Place::Path(path.clone()), with_attributes(&source.digest().to_string(), attributes))
        }
        Wanted::Value(place, data) => (Place::Value(place.clone()), format!("value\n{}", digest_of(data))),
        Wanted::Package(name, installer) => {
            (Place::Package(name.clone(), Product::from(installer)), format!("package\n{installer:?}"))
        }
    };
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

/// Digest of a value's type and data.
pub fn digest_of(data: &RegistryData) -> Digest {
    let mut hasher = Hasher::new(None);
    let mut take = |kind: &str, bytes: &[u8]| {
        hasher.update(format!("{kind} {} ", bytes.len()).as_bytes());
        hasher.update(bytes);
    };
    match data {
        RegistryData::String(text) => take("string", text.as_bytes()),
        RegistryData::ExpandString(text) => take("expand", text.as_bytes()),
        RegistryData::MultiString(texts) => {
            take("multi", &[]);
            texts.iter().for_each(|text| take("string", text.as_bytes()));
        }
        RegistryData::Dword(number) => take("dword", &number.to_le_bytes()),
        RegistryData::Qword(number) => take("qword", &number.to_le_bytes()),
        RegistryData::Binary(bytes) => take("binary", bytes),
    }
    hasher.finish()
}
