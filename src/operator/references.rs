//! Which nodes use which ConfigMaps and Secrets, so that a change of one concerns only those that use it.
//! Pure. In: what each node's spec names. Out: the nodes to look at again, and the objects nobody uses any more.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fmt,
};

use super::sessions::NodeKey;
use crate::api::{EdgeNodeSpec, KeyRef};

/// Kind of an object that holds contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `v1/ConfigMap`.
    ConfigMap,
    /// `v1/Secret`.
    Secret,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        })
    }
}

/// One ConfigMap or Secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectKey {
    /// Which of the two.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// A key of an object, as a spec names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    /// Which kind of object.
    pub kind: Kind,
    /// Name of the object, in the EdgeNode's namespace.
    pub name: String,
    /// Key within it.
    pub key: String,
}

impl Reference {
    /// A reference as the spec writes it.
    pub fn new(kind: Kind, reference: &KeyRef) -> Self {
        Self { kind, name: reference.name.clone(), key: reference.key.clone() }
    }

    /// The object that holds the key.
    pub fn object(&self, namespace: &str) -> ObjectKey {
        ObjectKey { kind: self.kind, namespace: namespace.to_owned(), name: self.name.clone() }
    }
}

/// The objects that a spec names.
pub fn objects_of(namespace: &str, spec: &EdgeNodeSpec) -> BTreeSet<ObjectKey> {
    let object = |kind, name: &String| ObjectKey { kind, namespace: namespace.to_owned(), name: name.clone() };
    let of_files = spec.files.iter().flat_map(|file| {
        let config_map = file.source.config_map_key_ref.iter().map(|r| object(Kind::ConfigMap, &r.name));
        let secret = file.source.secret_key_ref.iter().map(|r| object(Kind::Secret, &r.name));
        config_map.chain(secret)
    });
    let passwords = spec.services.iter().flat_map(|service| &service.password_secret_ref);
    of_files.chain(passwords.map(|r| object(Kind::Secret, &r.name))).collect()
}

/// The index, both ways.
#[derive(Debug, Default)]
pub struct References {
    by_node: HashMap<NodeKey, BTreeSet<ObjectKey>>,
    by_object: HashMap<ObjectKey, HashSet<NodeKey>>,
}

impl References {
    /// Notes what a node uses now; returns the objects that nobody uses any more.
    pub fn set(&mut self, node: &NodeKey, objects: BTreeSet<ObjectKey>) -> Vec<ObjectKey> {
        let before = self.by_node.remove(node).unwrap_or_default();
        for object in objects.difference(&before) {
            self.by_object.entry(object.clone()).or_default().insert(node.clone());
        }
        let mut unused = Vec::new();
        for object in before.difference(&objects) {
            if let Some(users) = self.by_object.get_mut(object) {
                users.remove(node);
                if users.is_empty() {
                    self.by_object.remove(object);
                    unused.push(object.clone());
                }
            }
        }
        if !objects.is_empty() {
            self.by_node.insert(node.clone(), objects);
        }
        unused
    }

    /// The nodes that use an object.
    pub fn users(&self, object: &ObjectKey) -> Vec<NodeKey> {
        self.by_object.get(object).map(|users| users.iter().cloned().collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeKey {
        NodeKey { namespace: "a".into(), name: name.into() }
    }

    fn object(name: &str) -> ObjectKey {
        ObjectKey { kind: Kind::ConfigMap, namespace: "a".into(), name: name.into() }
    }

    #[test]
    fn a_change_of_an_object_concerns_those_that_use_it() {
        let mut index = References::default();
        index.set(&node("n1"), [object("x"), object("y")].into());
        index.set(&node("n2"), [object("y")].into());
        assert_eq!(index.users(&object("x")), [node("n1")]);
        assert_eq!(index.users(&object("y")).len(), 2);
        assert_eq!(index.users(&object("z")), []);
    }

    #[test]
    fn an_object_is_unused_once_its_last_user_is_gone() {
        let mut index = References::default();
        index.set(&node("n1"), [object("x"), object("y")].into());
        index.set(&node("n2"), [object("y")].into());
        assert_eq!(index.set(&node("n1"), [object("x")].into()), []);
        assert_eq!(index.set(&node("n2"), [].into()), [object("y")]);
        assert_eq!(index.users(&object("y")), []);
    }
    #[test]
    fn files_and_passwords_name_objects() {
        let spec: EdgeNodeSpec = serde_saphyr::from_str(
            r"
files:
- {path: 'C:\a', source: {configMapKeyRef: {name: c, key: k}}}
- {path: 'C:\b', source: {secretKeyRef: {name: s, key: k}}}
services:
- {name: a, command: ['C:\a.exe'], account: '.\a', passwordSecretRef: {name: p, key: k}}
",
        )
        .expect("spec");
        let named: Vec<String> = objects_of("n", &spec).iter().map(ToString::to_string).collect();
        assert_eq!(named, ["ConfigMap c", "Secret p", "Secret s"]);
    }
}
