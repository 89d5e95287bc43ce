//! Software that an installer puts on a Windows machine, parsed on any platform. Pure.

use std::fmt;

use super::{Artifact, HostPath, PackageName, RegistryPlace};

/// Software that should be installed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Package {
    /// Its key.
    pub name: PackageName,
    /// What installs and removes it.
    pub installer: Installer,
}

/// What installs and removes a package.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Installer {
    /// Windows Installer.
    Msi {
        /// The .msi file.
        artifact: Artifact,
        /// What tells whether the product is installed.
        product_code: ProductCode,
        /// Which version should be installed.
        version: MsiVersion,
        /// Public properties and their values; by name.
        properties: Vec<(String, String)>,
    },
    /// A program of its own.
    Exe {
        /// The .exe file.
        artifact: Artifact,
        /// What it is started with.
        arguments: Vec<String>,
        /// Program and arguments that remove the package; empty: it cannot be removed.
        uninstall: Vec<String>,
        /// What tells whether it is installed.
        detect: Detect,
        /// Exit codes that mean success; sorted, at least one.
        success_codes: Vec<i32>,
    },
}

impl Installer {
    /// The file that the node downloads.
    pub fn artifact(&self) -> &Artifact {
        match self {
            Self::Msi { artifact, .. } | Self::Exe { artifact, .. } => artifact,
        }
    }
}

/// What is there once a package is installed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Detect {
    /// A value of the registry.
    RegistryValue {
        /// Where.
        place: RegistryPlace,
        /// What it holds as text, numbers in decimal; `None`: anything.
        equals: Option<String>,
    },
    /// A file.
    File {
        /// Where.
        path: HostPath,
    },
}

impl Detect {
    /// What all spellings of one detection share.
    pub fn identity(&self) -> String {
        match self {
            Self::File { path } => path.identity(),
            Self::RegistryValue { place, equals } => {
                // No name of a value holds a control character.
                let equals = equals.as_ref().map(|text| format!("\u{1}{text}")).unwrap_or_default();
                place.identity() + &equals
            }
        }
    }
}

/// What Windows Installer knows a product by: `{GUID}` in upper case.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProductCode(String);

impl ProductCode {
    /// Parses `{8-4-4-4-12}` hex digits of either case.
    pub fn parse(text: &str) -> Result<Self, PackageError> {
        let groups: Option<Vec<&str>> =
            text.strip_prefix('{').and_then(|t| t.strip_suffix('}')).map(|t| t.split('-').collect());
        let is_guid = groups.is_some_and(|groups| {
            groups.iter().map(|g| g.len()).eq([8, 4, 4, 4, 12])
                && groups.iter().all(|g| g.bytes().all(|b| b.is_ascii_hexdigit()))
        });
        if is_guid { Ok(Self(text.to_ascii_uppercase())) } else { Err(PackageError::ProductCode(short(text))) }
    }

    /// With its braces.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProductCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ProductCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Version of a product as Windows Installer compares it.
///
/// Source: Windows Installer, "ProductVersion property": a fourth field is passed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MsiVersion {
    major: u8,
    minor: u8,
    build: u16,
}

impl MsiVersion {
    /// Parses one to four numbers with dots between them.
    pub fn parse(text: &str) -> Result<Self, PackageError> {
        let parse = || {
            let fields: Vec<&str> = text.split('.').collect();
            let is_number = |f: &&str| !f.is_empty() && f.bytes().all(|b| b.is_ascii_digit());
            if fields.len() > 4 || !fields.iter().all(is_number) {
                return None;
            }
            let field = |i: usize| fields.get(i).copied().unwrap_or("0");
            field(3).parse::<u32>().ok()?;
            Some(Self { major: field(0).parse().ok()?, minor: field(1).parse().ok()?, build: field(2).parse().ok()? })
        };
        parse().ok_or_else(|| PackageError::Version(short(text)))
    }
}

impl fmt::Display for MsiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.build)
    }
}

/// Why something does not identify a product.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    /// Not a product code.
    #[error("{0:?} is not a product code: expected a GUID in braces, such as {{01234567-89AB-CDEF-0123-456789ABCDEF}}")]
    ProductCode(String),
    /// Not a version.
    #[error("{0:?} is not a version of Windows Installer: expected major.minor.build up to 255.255.65535")]
    Version(String),
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn product_codes_are_guids_in_braces() {
        let code = ProductCode::parse("{01234567-89ab-cdef-0123-456789abcdef}").expect("code");
        assert_eq!(code.as_str(), "{01234567-89AB-CDEF-0123-456789ABCDEF}");
        for text in [
            "",
            "{}",
            "01234567-89AB-CDEF-0123-456789ABCDEF",
            "{01234567-89AB-CDEF-0123-456789ABCDEG}",
            "{0123456789ABCDEF0123456789ABCDEF}",
            "{01234567-89AB-CDEF-0123-456789ABCDEF} /qn",
        ] {
            assert!(ProductCode::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn versions_are_compared_as_windows_installer_does() {
        let version = |text| MsiVersion::parse(text).expect(text);
        assert_eq!(version("2.1"), version("2.1.0.77"));
        assert!(version("2.1.9") < version("2.1.10"));
        assert!(version("2.9.0") < version("10.0.0"));
        assert_eq!(version("02.01.0").to_string(), "2.1.0");
        for text in ["", "2.", "2..1", "256.0.0", "1.256", "1.0.65536", "1.0.0.0.0", "1.0-beta", "+1.0"] {
            assert!(MsiVersion::parse(text).is_err(), "{text}");
        }
    }
}
