//! Names of nodes and services, parsed once. Pure.

use std::fmt;

use super::path::is_device;

/// Which EdgeNode an agent is: namespace and name for people, UID against mix-ups after a re-creation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct NodeId {
    /// Namespace of the EdgeNode.
    pub namespace: String,
    /// Name of the EdgeNode.
    pub name: String,
    /// `metadata.uid` of the EdgeNode.
    pub uid: String,
}

impl NodeId {
    /// `spiffe://<trust domain>/ns/<namespace>/edgenode/<name>/<uid>`, as the node's certificate names it.
    pub fn spiffe_uri(&self, trust_domain: &str) -> String {
        format!("spiffe://{trust_domain}/ns/{}/edgenode/{}/{}", self.namespace, self.name, self.uid)
    }

    /// Reads what [`NodeId::spiffe_uri`] wrote.
    pub fn from_spiffe_uri(uri: &str) -> Result<Self, NameError> {
        let invalid = || NameError::Spiffe(uri.chars().take(300).collect());
        let path = uri.strip_prefix("spiffe://").ok_or_else(invalid)?;
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            [_, "ns", namespace, "edgenode", name, uid] if ![namespace, name, uid].contains(&"") => {
                Ok(Self { namespace: namespace.into(), name: name.into(), uid: uid.into() })
            }
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Name of a service on a node: 1 to 63 letters, digits, `-`, `_`, `.`, beginning with a letter or digit. Files are
/// named by it, hence none that Windows takes for a device, such as `nul.x`, or for another, as `acme.` is `acme`.
///
/// Windows compares service names without regard to case, hence [`ServiceName::identity`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceName(String);

impl ServiceName {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(NameError::Service(short(text))) }
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What two spellings of one service share.
    pub fn identity(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Name of a package on a node, of the same form as a service's.
///
/// Logs of installers are named by it: two names that differ by case alone are one, hence
/// [`PackageName::identity`].
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PackageName(String);

impl PackageName {
    /// Parses a name.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if is_name(text) { Ok(Self(text.to_owned())) } else { Err(NameError::Package(short(text))) }
    }

    /// The name as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What two spellings of one package share.
    pub fn identity(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

fn is_name(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let all = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    first && all && text.len() <= 63 && !text.ends_with('.') && !is_device(text)
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Why something is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not the name of a service.
    #[error(
        "{0:?} is not a service name: expected 1 to 63 letters, digits, '-', '_', '.', beginning with a letter or digit, ending with no dot, and no device of Windows such as con or nul.x"
    )]
    Service(String),
    /// Not the name of a package.
    #[error(
        "{0:?} is not a package name: expected 1 to 63 letters, digits, '-', '_', '.', beginning with a letter or digit, ending with no dot, and no device of Windows such as con or nul.x"
    )]
    Package(String),
    /// Not the identity of a node.
    #[error("{0:?} does not name a node: expected spiffe://<trust domain>/ns/<namespace>/edgenode/<name>/<uid>")]
    Spiffe(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_reads_back_from_its_spiffe_uri() {
        let node = NodeId { namespace: "plant-a".into(), name: "press-07".into(), uid: "0b-1".into() };
        let uri = node.spiffe_uri("windlass");
        assert_eq!(uri, "spiffe://windlass/ns/plant-a/edgenode/press-07/0b-1");
        assert_eq!(NodeId::from_spiffe_uri(&uri), Ok(node));
    }

    #[test]
    fn other_uris_name_no_node() {
        for uri in [
            "",
            "spiffe://w/ns/a/edgenode/b",
            "spiffe://w/ns/a/edgenode/b/",
            "https://w/ns/a/edgenode/b/c",
            "spiffe://w/ns/a/edgenode/b/c/d",
        ] {
            assert!(NodeId::from_spiffe_uri(uri).is_err(), "{uri}");
        }
    }

    #[test]
    fn names_of_services_and_packages_are_checked() {
        for name in ["AcmePress", "a", "acme.db-2_x", "console", "com10", "x.nul", &"a".repeat(63)] {
            assert!(ServiceName::parse(name).is_ok() && PackageName::parse(name).is_ok(), "{name}");
        }
        for name in ["", "-a", ".a", "a b", "a/b", "ä", &"a".repeat(64)] {
            assert!(ServiceName::parse(name).is_err() && PackageName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_windows_takes_for_a_device_or_for_another_name_is_no_name() {
        for name in ["con", "NUL", "nul.x", "Aux.log.1", "prn", "com1", "com9.x", "lpt0", "LPT9", "acme.", "acme.."] {
            assert!(ServiceName::parse(name).is_err() && PackageName::parse(name).is_err(), "{name}");
        }
    }
}
