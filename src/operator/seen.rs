//! What the metadata watches show of ConfigMaps and Secrets: that they exist, in which version, and for which
//! node a Secret of windlass's own enrolls. In: changes of metadata. Out: answers, and what really changed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{PoisonError, RwLock},
};

use super::{
    enrollment::{FINGERPRINT_ANNOTATION, UID_ANNOTATION},
    references::ObjectKey,
};

/// What is known of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Of an enrollment Secret.
    pub enrolls: Option<Enrolls>,
}

/// What the annotations of an enrollment Secret say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolls {
    /// UID of the EdgeNode that it is for.
    pub uid: String,
    /// What its contents depend on, see [`super::enrollment::fingerprint`].
    pub fingerprint: String,
}

impl Sight {
    /// Takes what matters of an object's metadata.
    pub fn new(resource_version: Option<String>, annotations: Option<&BTreeMap<String, String>>) -> Self {
        let annotation = |name| annotations.and_then(|all| all.get(name).cloned());
        let enrolls = annotation(UID_ANNOTATION)
            .map(|uid| Enrolls { uid, fingerprint: annotation(FINGERPRINT_ANNOTATION).unwrap_or_default() });
        Self { resource_version: resource_version.unwrap_or_default(), enrolls }
    }
}

/// The objects that exist.
#[derive(Debug, Default)]
pub struct Seen(RwLock<HashMap<ObjectKey, Sight>>);

impl Seen {
    /// Notes an object; true if it is new or another version.
    pub fn applied(&self, key: ObjectKey, sight: Sight) -> bool {
        let mut objects = self.0.write().unwrap_or_else(PoisonError::into_inner);
        objects.insert(key, sight.clone()).is_none_or(|before| before != sight)
    }

    /// Notes that an object is gone; true if it was there.
    pub fn gone(&self, key: &ObjectKey) -> bool {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(key).is_some()
    }

    /// What is known of an object; `None` if it does not exist.
    pub fn get(&self, key: &ObjectKey) -> Option<Sight> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }
}

/// Whether the first of two versions of one object is the second or a later one. Versions that are no numbers
/// are only equal or not.
///
/// Source: KEP-5504, resourceVersions of one resource are comparable as numbers.
pub fn is_current(version: &str, seen: &str) -> bool {
    match (version.parse::<u64>(), seen.parse::<u64>()) {
        (Ok(version), Ok(seen)) => version >= seen,
        _ => version == seen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::references::Kind;

    #[test]
    fn an_object_that_is_listed_again_is_no_change() {
        let key = ObjectKey { kind: Kind::Secret, namespace: "a".into(), name: "s".into() };
        let sight = |version: &str| Sight::new(Some(version.into()), None);
        let seen = Seen::default();
        assert!(seen.applied(key.clone(), sight("1")));
        assert!(!seen.applied(key.clone(), sight("1")));
        assert!(seen.applied(key.clone(), sight("2")));
        assert!(seen.gone(&key));
        assert!(!seen.gone(&key));
    }

    #[test]
    fn versions_compare_as_numbers() {
        assert!(is_current("10", "9"));
        assert!(is_current("9", "9"));
        assert!(!is_current("9", "10"));
        assert!(!is_current("b", "a"));
    }
}
