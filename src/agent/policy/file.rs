//! `policy.yaml`: what the machine's administrator writes. Text in, rules out, and back. Pure.
//! What is left out is as in the built-in policy, and what is not known is an error.

use serde::{Deserialize, Serialize};

use super::location::Location;
use crate::model::{Digest, ProductCode};

/// Of the file's first two fields.
const API_VERSION: &str = "edge.windlass.dev/v1alpha1";
const KIND: &str = "LocalPolicy";

/// A policy with comments for whoever writes one.
pub const EXAMPLE: &str = include_str!("example.yaml");

/// The rules of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rules {
    api_version: String,
    kind: String,
    /// Kinds of resources that may be managed at all.
    #[serde(default = "KindOfResource::all")]
    pub kinds: Vec<KindOfResource>,
    /// Directories and files.
    #[serde(default)]
    pub paths: Places<Path>,
    /// Whether files may have the bits that make programs run as their owner or group (Linux).
    #[serde(default)]
    pub set_id_files: bool,
    /// Values of the registry.
    #[serde(default)]
    pub registry_values: Places<Key>,
    /// Services.
    #[serde(default)]
    pub services: Services,
    /// Packages.
    #[serde(default)]
    pub packages: Packages,
}

/// A kind of resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KindOfResource {
    /// `spec.directories`.
    Directories,
    /// `spec.files`.
    Files,
    /// `spec.registryValues`.
    RegistryValues,
    /// `spec.services`.
    Services,
    /// `spec.packages`.
    Packages,
}

impl KindOfResource {
    fn all() -> Vec<Self> {
        vec![Self::Directories, Self::Files, Self::RegistryValues, Self::Services, Self::Packages]
    }
}

/// Where something may be done, and where not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[serde(bound(serialize = "L: Serialize + Clone", deserialize = "L: Deserialize<'de>"))]
pub struct Places<L> {
    /// `None`: everywhere that is not denied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<L>>,
    /// Counts more than what is allowed.
    #[serde(default = "Vec::new")]
    pub deny: Vec<L>,
}

impl<L> Default for Places<L> {
    fn default() -> Self {
        Self { allow: None, deny: Vec::new() }
    }
}

/// Of services.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Services {
    /// Names; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Pattern>>,
    /// Names; counts more than what is allowed.
    #[serde(default)]
    pub deny: Vec<Pattern>,
    /// What they may run as; `None`: as built in. One of an administrator must be named whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<Vec<Pattern>>,
    /// What they, and programs of their probes, may run.
    #[serde(default)]
    pub programs: Places<Path>,
    /// Names of services that may be taken over though the agent did not make them (Windows).
    #[serde(default)]
    pub adopt: Vec<Pattern>,
}

/// Of packages.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Packages {
    /// All of them: whoever writes the EdgeNode is administrator of this machine then.
    #[serde(default)]
    pub any: bool,
    /// These.
    #[serde(default)]
    pub allow: Vec<AllowedPackage>,
}

/// What is given must fit; what is not given is for names, codes and digests anything, for the rest nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AllowedPackage {
    /// As the EdgeNode names it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Pattern>,
    /// Of an MSI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub product_code: Option<String>,
    /// Of the installer's bytes: this alone says what runs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sha256: Vec<String>,
    /// Names of properties that an MSI may be given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub properties: Vec<String>,
    /// What an installer that is a program is started with, word by word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// What removes such a package: program and arguments, word by word.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub uninstall: Vec<String>,
}

/// A name, or with a `*` at its end all that begin so. Case makes no difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pattern(String);

impl Pattern {
    /// What it begins with, where it is not a whole name.
    pub fn beginning(&self) -> Option<&str> {
        self.0.strip_suffix('*')
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for this name.
    pub fn fits(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.to_lowercase(), name.to_lowercase());
        match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        }
    }
}

impl TryFrom<String> for Pattern {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.find('*') {
            _ if text.is_empty() => Err("a name is empty".to_owned()),
            Some(at) if at + 1 < text.len() => Err(format!("{text:?}: a * is taken at the end alone")),
            _ => Ok(Self(text)),
        }
    }
}

impl From<Pattern> for String {
    fn from(pattern: Pattern) -> Self {
        pattern.0
    }
}

macro_rules! places {
    ($($(#[$doc:meta])* $name:ident: $parse:path;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub Location);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                $parse(&text).map(Self)
            }
        }

        impl From<$name> for String {
            fn from(place: $name) -> Self {
                place.0.to_string()
            }
        }

        impl AsRef<Location> for $name {
            fn as_ref(&self) -> &Location {
                &self.0
            }
        }
    )*};
}

places! {
    /// A folder or file.
    Path: Location::path;
    /// A key of the registry.
    Key: Location::key;
}

impl Default for Rules {
    /// As built in.
    fn default() -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            kinds: KindOfResource::all(),
            paths: Places::default(),
            set_id_files: false,
            registry_values: Places::default(),
            services: Services::default(),
            packages: Packages::default(),
        }
    }
}

/// Reads the file's text; says what is wrong with it.
pub fn parse(text: &str) -> Result<Rules, String> {
    let rules: Rules = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    if (rules.api_version.as_str(), rules.kind.as_str()) != (API_VERSION, KIND) {
        return Err(format!("it is not of apiVersion {API_VERSION} and kind {KIND}"));
    }
    for package in &rules.packages.allow {
        let AllowedPackage { name, product_code, sha256, properties: _, arguments: _, uninstall: _ } = package;
        if name.is_none() && product_code.is_none() && sha256.is_empty() {
            return Err("packages.allow: an entry names none of name, productCode and sha256".to_owned());
        }
        if let Some(code) = product_code {
            ProductCode::parse(code).map_err(|error| format!("packages.allow: {error}"))?;
        }
        for digest in sha256 {
            Digest::from_hex(digest).map_err(|error| format!("packages.allow: sha256: {error}"))?;
        }
    }
    Ok(rules)
}

/// As a file.
pub fn text(rules: &Rules) -> String {
    serde_saphyr::to_string(rules).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "apiVersion: edge.windlass.dev/v1alpha1\nkind: LocalPolicy\n";

    #[test]
    fn a_file_without_rules_is_the_built_in_policy_and_is_written_as_it_is_read() {
        assert_eq!(parse(HEAD), Ok(Rules::default()));
        let rules = parse(EXAMPLE).expect("the example");
        assert_eq!(parse(&text(&rules)), Ok(rules));
    }

    #[test]
    fn what_is_not_known_or_not_well_formed_is_an_error_that_says_where() {
        for (rest, told) in [
            ("pathes: {}\n", "pathes"),
            ("paths: {alow: [/opt]}\n", "alow"),
            ("paths: {allow: [opt]}\n", "absolute"),
            ("paths: {allow: [/opt/../etc]}\n", ".."),
            (r"paths: {deny: ['\\server\share']}", "UNC"),
            ("registryValues: {allow: ['HKCU\\Software']}\n", "HKCU"),
            ("kinds: [everything]\n", "everything"),
            ("services: {adopt: ['A*b']}\n", "at the end"),
            ("packages: {allow: [{}]}\n", "none of name"),
            ("packages: {allow: [{sha256: [abc]}]}\n", "sha256"),
            ("packages: {allow: [{productCode: x}]}\n", "product code"),
            ("paths: {}\npaths: {}\n", "paths"),
        ] {
            let error = parse(&format!("{HEAD}{rest}")).expect_err(rest);
            assert!(error.contains(told), "{rest}: {error}");
        }
        for text in ["", "kind: LocalPolicy\n", "apiVersion: v2\nkind: LocalPolicy\n", "- a\n", "{"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse(&HEAD.replace("LocalPolicy", "Enrollment")).expect_err("kind").contains("kind LocalPolicy"));
    }

    #[test]
    fn a_star_stands_for_every_end_of_a_name() {
        let fits = |pattern: &str, name: &str| Pattern::try_from(pattern.to_owned()).expect(pattern).fits(name);
        assert!(fits("Acme*", "acmePress") && fits("*", "x") && fits("acme", "ACME"));
        assert!(!fits("Acme*", "Acm") && !fits("acme", "acme2"));
    }
}
