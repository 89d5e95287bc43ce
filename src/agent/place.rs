//! Where something is that the agent manages, and what lies there. Pure: says nothing of what is really there.
//! The ledger, the journal, plans and retries name everything by its place's identity.

use std::fmt;

use super::product::Product;
use crate::model::{HostPath, PackageName, Platform, RegistryKey, RegistryPlace};

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file system.
    Path(HostPath),
    /// A key of the registry, which holds as a directory does.
    Key(RegistryKey),
    /// A value of the registry.
    Value(RegistryPlace),
    /// Wherever an installer puts it. Its name is for people: it is one place with all that is found alike.
    Package(PackageName, Product),
}

impl Place {
    /// What all spellings of one place share; no two kinds of places share any.
    pub fn identity(&self) -> String {
        match self {
            Self::Path(path) => path.identity(),
            Self::Key(key) => key.identity(),
            Self::Value(place) => place.identity(),
            // No path begins so, nor does a key, which begins with its hive.
            Self::Package(_, product) => format!("package {}", product.identity()),
        }
    }

    /// What holds it and must be there before it; `None` where that is always there.
    pub fn parent(&self) -> Option<Self> {
        match self {
            Self::Path(path) => path.parent().map(Self::Path),
            Self::Key(key) => key.parent().map(Self::Key),
            Self::Value(place) => Some(Self::Key(place.holder())),
            Self::Package(..) => None,
        }
    }

    /// All that holds it, innermost first.
    pub fn above(&self) -> impl Iterator<Item = Self> {
        std::iter::successors(self.parent(), Self::parent)
    }

    /// Whether it lies anywhere below `other`.
    pub fn is_below(&self, other: &Self) -> bool {
        self.identity().starts_with(&other.identity_below())
    }

    /// What the identity of everything below it begins with.
    pub fn identity_below(&self) -> String {
        let separator = match self {
            Self::Path(path) if path.platform() == Platform::Posix => '/',
            Self::Path(_) | Self::Key(_) => '\\',
            // Nothing lies below, and no name holds a NUL.
            Self::Value(_) | Self::Package(..) => '\0',
        };
        self.identity() + separator.encode_utf8(&mut [0; 4])
    }

    /// How many others hold it.
    pub fn depth(&self) -> usize {
        self.above().count()
    }
}

impl From<HostPath> for Place {
    fn from(path: HostPath) -> Self {
        Self::Path(path)
    }
}

impl From<&HostPath> for Place {
    fn from(path: &HostPath) -> Self {
        Self::Path(path.clone())
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
            Self::Key(key) => key.fmt(f),
            Self::Value(place) => place.fmt(f),
            Self::Package(name, _) => name.fmt(f),
        }
    }
}

/// What lies, or is to lie, at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A directory.
    Directory(HostPath),
    /// A file.
    File(HostPath),
    /// A key of the registry.
    Key(RegistryKey),
    /// A value of the registry.
    Value(RegistryPlace),
    /// A package, and what it is known by.
    Package(PackageName, Product),
}

/// What a [`Thing`] is, wherever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A key of the registry.
    Key,
    /// A value of the registry.
    Value,
    /// A package.
    Package,
}

impl Thing {
    /// Where.
    pub fn place(&self) -> Place {
        match self {
            Self::Directory(path) | Self::File(path) => Place::Path(path.clone()),
            Self::Key(key) => Place::Key(key.clone()),
            Self::Value(place) => Place::Value(place.clone()),
            Self::Package(name, product) => Place::Package(name.clone(), product.clone()),
        }
    }

    /// What.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Directory(_) => Kind::Directory,
            Self::File(_) => Kind::File,
            Self::Key(_) => Kind::Key,
            Self::Value(_) => Kind::Value,
            Self::Package(..) => Kind::Package,
        }
    }
}

/// As people read it in failures.
impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "directory {path}"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Key(key) => write!(f, "registry key {key}"),
            Self::Value(place) => write!(f, "registry value {place}"),
            Self::Package(name, _) => write!(f, "package {name}"),
        }
    }
}

impl Kind {
    /// As in "expected a file".
    pub fn expected(self) -> &'static str {
        match self {
            Self::Directory => "a directory",
            Self::File => "a file",
            Self::Key => "a registry key",
            Self::Value => "a registry value",
            Self::Package => "a package",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Detect, ProductCode, View};

    fn path(text: &str) -> Place {
        HostPath::parse(text).expect(text).into()
    }

    fn value(key: &str, name: &str) -> Place {
        Place::Value(RegistryPlace::parse(key, name, View::Bits64).expect(key))
    }

    fn package(name: &str, equals: Option<&str>) -> Place {
        let place = RegistryPlace::parse(r"HKLM\SOFTWARE\Acme", "Version", View::Bits64).expect("place");
        let detect = Detect::RegistryValue { place, equals: equals.map(str::to_owned) };
        let product = Product::Exe { detect, uninstall: vec![], success_codes: vec![0] };
        Place::Package(PackageName::parse(name).expect(name), product)
    }

    #[test]
    fn what_holds_a_place_is_known_from_its_identity() {
        let key = value(r"HKLM\SOFTWARE\Acme", "x").parent().expect("a key");
        for (place, holder, is_below) in [
            (path("/a/b"), path("/a"), true),
            (path("/ab"), path("/a"), false),
            (path(r"C:\A\b"), path(r"c:\a"), true),
            (value(r"HKLM\SOFTWARE\Acme", "x"), key.clone(), true),
            (value(r"HKLM\SOFTWARE\Acme", ""), key.clone(), true),
            (value(r"HKLM\SOFTWARE\ACME\Press", "x"), key.clone(), true),
            (value(r"HKLM\SOFTWARE\Acme2", "x"), key.clone(), false),
            (key.clone(), key.clone(), false),
            (key.clone(), key.parent().expect("SOFTWARE"), true),
            (value(r"HKLM\SOFTWARE\Acme", r"x\y"), value(r"HKLM\SOFTWARE\Acme", "x"), false),
            (value(r"HKLM\SOFTWARE\Acme", "x"), value(r"HKLM\SOFTWARE\Acme", ""), false),
            (package("a", Some("1.0")), package("a", Some("1")), false),
            (package("a", Some("1")), package("a", None), false),
        ] {
            assert_eq!(place.is_below(&holder), is_below, "{place} below {holder}");
            assert_eq!(place.above().any(|above| above.identity() == holder.identity()), is_below, "{place}");
        }
        assert_eq!(value(r"HKLM\SOFTWARE\Acme", "x").depth(), 2);
        assert_eq!(package("a", None).identity(), package("b", None).identity());
    }

    #[test]
    fn people_read_what_it_is_and_where() {
        let place = RegistryPlace::parse(r"hklm\Software\Acme", "Line", View::Bits64).expect("place");
        let code = ProductCode::parse("{01234567-89ab-cdef-0123-456789abcdef}").expect("code");
        assert_eq!(Thing::Key(place.holder()).to_string(), r"registry key HKLM\Software\Acme");
        assert_eq!(Thing::Value(place).to_string(), r"registry value HKLM\Software\Acme\Line");
        let name = PackageName::parse("acme-runtime").expect("name");
        let runtime = Thing::Package(name, Product::Msi(code));
        assert_eq!(runtime.to_string(), "package acme-runtime");
    }
}
