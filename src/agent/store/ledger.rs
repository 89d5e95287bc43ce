//! What the store keeps of managed things, and how that is written: in JSON, which later versions go on reading.
//! Pure.

use serde::{Deserialize, Serialize};

use crate::{
    agent::{place::Thing, product::Product},
    model::{
        Detect, HostPath, NameError, PackageError, PackageName, PathError, ProductCode, RegistryPlace,
        RegistryPlaceError, View,
    },
};

/// Something that the agent manages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LedgerEntry {
    /// What, and where as written in the document.
    #[serde(flatten)]
    pub thing: Thing,
    /// Whether the agent made it, or found it.
    pub origin: Origin,
    /// Digest of the entry (contents and attributes) as it was last carried out, in hex; empty for none.
    /// Under Audit an entry that differs from it is a change by the operator and is carried out once, while
    /// a machine that differs from it is drift and is only reported.
    #[serde(default)]
    pub carried_out: String,
}

/// Who made a managed thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Origin {
    /// The agent: removed when its entry goes.
    #[default]
    Created,
    /// Somebody else: left when its entry goes.
    Adopted,
}

/// "X was absent, will create": on recovery an X that matches is owned, any other adopted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JournalEntry {
    /// The entry as it is to be in the ledger.
    pub entry: LedgerEntry,
    /// Whether nothing was there before.
    pub was_absent: bool,
    /// What the file or value is to digest to, in hex; empty for what has no contents, and for removals.
    pub digest: String,
    /// Salt of that digest, in hex; empty for none.
    #[serde(default)]
    pub salt: String,
    /// Whether it is to be removed.
    pub removal: bool,
}

/// A [`Thing`] as it is written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
enum Written {
    Directory {
        path: String,
    },
    File {
        path: String,
    },
    RegistryKey {
        key: String,
        view: WrittenView,
    },
    RegistryValue {
        #[serde(flatten)]
        place: WrittenPlace,
    },
    MsiPackage {
        name: String,
        product_code: String,
    },
    ExePackage {
        name: String,
        detect: WrittenDetect,
        uninstall: Vec<String>,
        success_codes: Vec<i32>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct WrittenPlace {
    key: String,
    value: String,
    view: WrittenView,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum WrittenView {
    #[serde(rename = "64")]
    Bits64,
    #[serde(rename = "32")]
    Bits32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum WrittenDetect {
    RegistryValue {
        #[serde(flatten)]
        place: WrittenPlace,
        equals: Option<String>,
    },
    File {
        path: String,
    },
}

impl From<&Thing> for Written {
    fn from(thing: &Thing) -> Self {
        match thing {
            Thing::Directory(path) => Self::Directory { path: path.to_string() },
            Thing::File(path) => Self::File { path: path.to_string() },
            Thing::Key(key) => Self::RegistryKey { key: key.path(), view: key.view().into() },
            Thing::Value(place) => Self::RegistryValue { place: place.into() },
            Thing::Package(name, Product::Msi(code)) => {
                Self::MsiPackage { name: name.to_string(), product_code: code.to_string() }
            }
            Thing::Package(name, Product::Exe { detect, uninstall, success_codes }) => Self::ExePackage {
                name: name.to_string(),
                detect: detect.into(),
                uninstall: uninstall.clone(),
                success_codes: success_codes.clone(),
            },
        }
    }
}

impl TryFrom<Written> for Thing {
    type Error = Unreadable;

    fn try_from(written: Written) -> Result<Self, Unreadable> {
        Ok(match written {
            Written::Directory { path } => Self::Directory(HostPath::parse(&path)?),
            Written::File { path } => Self::File(HostPath::parse(&path)?),
            Written::RegistryKey { key, view } => Self::Key(RegistryPlace::parse(&key, "", view.into())?.holder()),
            Written::RegistryValue { place } => Self::Value(place.try_into()?),
            Written::MsiPackage { name, product_code } => {
                Self::Package(PackageName::parse(&name)?, Product::Msi(ProductCode::parse(&product_code)?))
            }
            Written::ExePackage { name, detect, uninstall, success_codes } => {
                let detect = detect.try_into()?;
                Self::Package(PackageName::parse(&name)?, Product::Exe { detect, uninstall, success_codes })
            }
        })
    }
}

impl From<&RegistryPlace> for WrittenPlace {
    fn from(place: &RegistryPlace) -> Self {
        Self { key: place.path(), value: place.name().to_owned(), view: place.view().into() }
    }
}

impl TryFrom<WrittenPlace> for RegistryPlace {
    type Error = Unreadable;

    fn try_from(WrittenPlace { key, value, view }: WrittenPlace) -> Result<Self, Unreadable> {
        Ok(Self::parse(&key, &value, view.into())?)
    }
}

impl From<&Detect> for WrittenDetect {
    fn from(detect: &Detect) -> Self {
        match detect {
            Detect::RegistryValue { place, equals } => {
                Self::RegistryValue { place: place.into(), equals: equals.clone() }
            }
            Detect::File { path } => Self::File { path: path.to_string() },
        }
    }
}

impl TryFrom<WrittenDetect> for Detect {
    type Error = Unreadable;

    fn try_from(detect: WrittenDetect) -> Result<Self, Unreadable> {
        Ok(match detect {
            WrittenDetect::RegistryValue { place, equals } => Self::RegistryValue { place: place.try_into()?, equals },
            WrittenDetect::File { path } => Self::File { path: HostPath::parse(&path)? },
        })
    }
}

impl From<View> for WrittenView {
    fn from(view: View) -> Self {
        match view {
            View::Bits64 => Self::Bits64,
            View::Bits32 => Self::Bits32,
        }
    }
}

impl From<WrittenView> for View {
    fn from(view: WrittenView) -> Self {
        match view {
            WrittenView::Bits64 => Self::Bits64,
            WrittenView::Bits32 => Self::Bits32,
        }
    }
}

/// Why what is written names nothing.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error(transparent)]
    Place(#[from] RegistryPlaceError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Product(#[from] PackageError),
}

impl Serialize for Thing {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Written::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Thing {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(Written::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_earlier_versions_wrote_is_read() {
        let file = r#"{"path":"/etc/acme","kind":"File","origin":"Created","carriedOut":"ab"}"#;
        let path = HostPath::parse("/etc/acme").expect("path");
        let expected =
            LedgerEntry { thing: Thing::File(path.clone()), origin: Origin::Created, carried_out: "ab".into() };
        assert_eq!(serde_json::from_str::<LedgerEntry>(file).expect("read"), expected);
        let first = r#"{"entry":{"path":"/etc/acme","kind":"Directory","origin":"Adopted"},"wasAbsent":true,"digest":"","removal":false}"#;
        let journal = serde_json::from_str::<JournalEntry>(first).expect("read");
        let thing = Thing::Directory(path);
        let entry = LedgerEntry { thing, origin: Origin::Adopted, carried_out: String::new() };
        assert_eq!((journal.entry, journal.was_absent, journal.salt.as_str()), (entry, true, ""));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let path = HostPath::parse("C:\\Acme\\x").expect("path");
        let place = RegistryPlace::parse("HKLM\\SOFTWARE\\Acme", "Line", View::Bits32).expect("place");
        let code = ProductCode::parse("{01234567-89AB-CDEF-0123-456789ABCDEF}").expect("code");
        let name = PackageName::parse("acme").expect("name");
        let exe =
            |detect| Product::Exe { detect, uninstall: vec!["u.exe".into(), "/S".into()], success_codes: vec![0] };
        for thing in [
            Thing::Directory(path.clone()),
            Thing::File(path.clone()),
            Thing::Key(place.holder()),
            Thing::Value(place.clone()),
            Thing::Package(name.clone(), Product::Msi(code)),
            Thing::Package(name.clone(), exe(Detect::File { path })),
            Thing::Package(name.clone(), exe(Detect::RegistryValue { place: place.clone(), equals: None })),
            Thing::Package(name, exe(Detect::RegistryValue { place, equals: Some("4".into()) })),
        ] {
            let entry = LedgerEntry { thing, origin: Origin::Created, carried_out: "ab".into() };
            let text = serde_json::to_string(&entry).expect("written");
            assert_eq!(serde_json::from_str::<LedgerEntry>(&text).expect(&text), entry);
        }
    }
}
