//! Where something is that the agent manages, and what lies there. Pure: says nothing of what is really there.
//! The ledger, the journal, plans and retries name everything by its place's identity.

use std::fmt;

use crate::model::{HostPath, Platform};

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the file system.
    Path(HostPath),
}

impl Place {
    /// What all spellings of one place share; no two kinds of places share any.
    pub fn identity(&self) -> String {
        match self {
            Self::Path(path) => path.identity(),
        }
    }

    /// What holds it and must be there before it; `None` where that is always there.
    pub fn parent(&self) -> Option<Self> {
        match self {
            Self::Path(path) => path.parent().map(Self::Path),
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
            Self::Path(_) => '\\',
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

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.fmt(f),
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
}

/// What a [`Thing`] is, wherever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File,
}

impl Thing {
    /// Where.
    pub fn place(&self) -> Place {
        match self {
            Self::Directory(path) | Self::File(path) => Place::Path(path.clone()),
        }
    }

    /// What.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Directory(_) => Kind::Directory,
            Self::File(_) => Kind::File,
        }
    }
}

/// As people read it in failures.
impl fmt::Display for Thing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "directory {path}"),
            Self::File(path) => write!(f, "file {path}"),
        }
    }
}

impl Kind {
    /// As in "expected a file".
    pub fn expected(self) -> &'static str {
        match self {
            Self::Directory => "a directory",
            Self::File => "a file",
        }
    }
}
