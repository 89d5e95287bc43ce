//! Reads the ConfigMaps and Secrets that a node names, each version once for all nodes that use it.
//! In: references, and from the metadata watch which version is there. Out: bytes, or why there are none.
//! IO: GETs, only where the version in memory is not the current one. Knows nothing of documents.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client};

use super::{
    metrics::Metrics,
    pool::Pool,
    references::{Kind, ObjectKey, Reference},
    seen::{Seen, is_current},
};
use crate::model::{Digest, MAX_CONTENT_BYTES};

/// Bytes of one key, and their SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    /// The bytes.
    pub bytes: Bytes,
    /// Without salt.
    pub digest: Digest,
}

/// What each reference led to.
pub type Gathered = BTreeMap<Reference, Result<Shared, Unresolved>>;

/// Why a reference leads to no bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// There is no such object, yet.
    #[error("it does not exist; create it")]
    ObjectNotFound,
    /// The object has no such key, yet.
    #[error("it has no such key; add it, or name one of its keys")]
    KeyNotFound,
    /// A Secret of a type that no node may read.
    #[error("it is of type {0}, which no node may read; use a Secret of another type, such as Opaque")]
    SecretNotAllowed(String),
    /// More than [`MAX_CONTENT_BYTES`].
    #[error("it holds {0} bytes; expected at most {MAX_CONTENT_BYTES}")]
    TooLarge(u64),
    /// The operator may not read it.
    #[error("the operator may not read it: {0}; widen its role, or use an object that it may read")]
    Forbidden(String),
}

/// An object as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// `metadata.resourceVersion`.
    pub resource_version: String,
    /// Type of a Secret.
    pub secret_type: Option<String>,
    /// data and binaryData.
    pub entries: BTreeMap<String, Bytes>,
}

/// Reads one object; `None` where there is none.
pub trait Read: Send + Sync {
    /// A GET.
    fn read<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<Object>, kube::Error>>;
}

/// The objects that nodes use.
pub struct Gatherer {
    reader: Box<dyn Read>,
    objects: Mutex<HashMap<ObjectKey, Arc<Slot>>>,
    /// Shared with rendering, for contents that stand in specs.
    pub pool: Pool,
    metrics: Arc<Metrics>,
}

/// One object. Locked while it is read, so that a thousand nodes wait for one GET.
type Slot = tokio::sync::Mutex<Option<Held>>;

struct Held {
    resource_version: String,
    entries: Result<BTreeMap<String, Shared>, Unresolved>,
}

impl Gatherer {
    /// Reads through `reader`.
    pub fn new(reader: Box<dyn Read>, metrics: Arc<Metrics>) -> Self {
        Self { reader, objects: Mutex::default(), pool: Pool::default(), metrics }
    }

    /// Resolves references of one namespace. Errors are those of the API server that may pass by themselves.
    pub async fn gather(
        &self,
        seen: &Seen,
        namespace: &str,
        references: &BTreeSet<Reference>,
    ) -> Result<Gathered, kube::Error> {
        let mut gathered = Gathered::new();
        for reference in references {
            let found = self.resolve(seen, &reference.object(namespace), &reference.key).await?;
            gathered.insert(reference.clone(), found);
        }
        Ok(gathered)
    }

    /// Forgets objects that nobody uses any more.
    pub fn forget(&self, unused: &[ObjectKey]) {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        for key in unused {
            objects.remove(key);
        }
        drop(objects);
        if !unused.is_empty() {
            self.pool.sweep();
        }
    }

    async fn resolve(
        &self,
        seen: &Seen,
        key: &ObjectKey,
        entry: &str,
    ) -> Result<Result<Shared, Unresolved>, kube::Error> {
        let Some(sight) = seen.get(key) else { return Ok(Err(Unresolved::ObjectNotFound)) };
        let slot =
            Arc::clone(self.objects.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default());
        let mut held = slot.lock().await;
        if !held.as_ref().is_some_and(|held| is_current(&held.resource_version, &sight.resource_version)) {
            *held = self.read(key).await?;
        }
        Ok(match held.as_ref().map(|held| &held.entries) {
            None => Err(Unresolved::ObjectNotFound),
            Some(Err(why)) => Err(why.clone()),
            Some(Ok(entries)) => match entries.get(entry) {
                None => Err(Unresolved::KeyNotFound),
                Some(shared) if shared.bytes.len() as u64 > MAX_CONTENT_BYTES => {
                    Err(Unresolved::TooLarge(shared.bytes.len() as u64))
                }
                Some(shared) => Ok(shared.clone()),
            },
        })
    }

    async fn read(&self, key: &ObjectKey) -> Result<Option<Held>, kube::Error> {
        self.metrics.fetched(key.kind);
        let object = match self.reader.read(key).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(None),
            // Not held as of a version: a widened role shows in no watch, so the next look reads again.
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let entries = Err(Unresolved::Forbidden(status.message));
                return Ok(Some(Held { resource_version: String::new(), entries }));
            }
            Err(error) => return Err(error),
        };
        let Object { resource_version, secret_type, entries } = object;
        let entries = match secret_type.filter(|t| is_refused(t)) {
            Some(refused) => Err(Unresolved::SecretNotAllowed(refused)),
            None => Ok(entries.into_iter().map(|(name, bytes)| (name, self.share(key.kind, bytes))).collect()),
        };
        Ok(Some(Held { resource_version, entries }))
    }

    fn share(&self, kind: Kind, bytes: Bytes) -> Shared {
        let digest = Digest::of(&bytes);
        let bytes = match kind {
            Kind::ConfigMap => self.pool.intern(digest, bytes),
            Kind::Secret => bytes,
        };
        Shared { bytes, digest }
    }
}

/// Secrets that are keys to the cluster or to windlass itself.
fn is_refused(secret_type: &str) -> bool {
    secret_type.starts_with("edge.windlass.dev/")
        || matches!(secret_type, "kubernetes.io/service-account-token" | "helm.sh/release.v1")
}

/// Reads from an API server.
pub struct FromCluster(pub Client);

impl Read for FromCluster {
    fn read<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<Object>, kube::Error>> {
        Box::pin(async move {
            let client = self.0.clone();
            Ok(match key.kind {
                Kind::ConfigMap => {
                    Api::<ConfigMap>::namespaced(client, &key.namespace).get_opt(&key.name).await?.map(of_config_map)
                }
                Kind::Secret => {
                    Api::<Secret>::namespaced(client, &key.namespace).get_opt(&key.name).await?.map(of_secret)
                }
            })
        })
    }
}

fn of_config_map(object: ConfigMap) -> Object {
    let text = object.data.into_iter().flatten().map(|(key, value)| (key, Bytes::from(value)));
    let binary = object.binary_data.into_iter().flatten().map(|(key, value)| (key, Bytes::from(value.0)));
    Object {
        resource_version: object.metadata.resource_version.unwrap_or_default(),
        secret_type: None,
        entries: text.chain(binary).collect(),
    }
}

fn of_secret(object: Secret) -> Object {
    Object {
        resource_version: object.metadata.resource_version.unwrap_or_default(),
        secret_type: object.type_,
        entries: object.data.into_iter().flatten().map(|(key, value)| (key, Bytes::from(value.0))).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::operator::seen::Sight;

    #[derive(Default)]
    struct Cluster {
        objects: HashMap<ObjectKey, Object>,
        reads: Arc<AtomicUsize>,
    }

    impl Read for Cluster {
        fn read<'a>(&'a self, key: &'a ObjectKey) -> BoxFuture<'a, Result<Option<Object>, kube::Error>> {
            self.reads.fetch_add(1, Ordering::SeqCst);
            let found = self.objects.get(key).cloned();
            Box::pin(async move { Ok(found) })
        }
    }

    fn key(kind: Kind, name: &str) -> ObjectKey {
        ObjectKey { kind, namespace: "a".into(), name: name.into() }
    }

    fn reference(kind: Kind, name: &str, key: &str) -> Reference {
        Reference { kind, name: name.into(), key: key.into() }
    }

    fn object(version: &str, secret_type: Option<&str>, entries: &[(&str, &str)]) -> Object {
        let entries = entries.iter().map(|(k, v)| ((*k).to_owned(), Bytes::from((*v).to_owned()))).collect();
        Object { resource_version: version.into(), secret_type: secret_type.map(Into::into), entries }
    }

    fn gatherer(objects: Vec<(ObjectKey, Object)>) -> (Gatherer, Seen, Arc<AtomicUsize>) {
        let seen = Seen::default();
        for (key, object) in &objects {
            seen.applied(key.clone(), Sight::new(Some(object.resource_version.clone()), None));
        }
        let cluster = Cluster { objects: objects.into_iter().collect(), ..Cluster::default() };
        let reads = Arc::clone(&cluster.reads);
        (Gatherer::new(Box::new(cluster), Arc::default()), seen, reads)
    }

    #[tokio::test]
    async fn each_reference_leads_to_bytes_or_a_reason() {
        let (gatherer, seen, _) = gatherer(vec![
            (key(Kind::ConfigMap, "c"), object("1", None, &[("k", "v")])),
            (key(Kind::Secret, "s"), object("1", Some("Opaque"), &[("k", "v")])),
            (key(Kind::Secret, "own"), object("1", Some("edge.windlass.dev/authority"), &[("k", "v")])),
            (key(Kind::Secret, "token"), object("1", Some("kubernetes.io/service-account-token"), &[("k", "v")])),
            (key(Kind::Secret, "helm"), object("1", Some("helm.sh/release.v1"), &[("k", "v")])),
        ]);
        let refused = |t: &str| Err(Unresolved::SecretNotAllowed(t.into()));
        let bytes = || Ok(Shared { bytes: Bytes::from_static(b"v"), digest: Digest::of(b"v") });
        for (reference, expected) in [
            (reference(Kind::ConfigMap, "c", "k"), bytes()),
            (reference(Kind::Secret, "s", "k"), bytes()),
            (reference(Kind::ConfigMap, "c", "other"), Err(Unresolved::KeyNotFound)),
            (reference(Kind::ConfigMap, "s", "k"), Err(Unresolved::ObjectNotFound)),
            (reference(Kind::Secret, "own", "k"), refused("edge.windlass.dev/authority")),
            (reference(Kind::Secret, "token", "k"), refused("kubernetes.io/service-account-token")),
            (reference(Kind::Secret, "helm", "k"), refused("helm.sh/release.v1")),
        ] {
            let found = gatherer.gather(&seen, "a", &[reference.clone()].into()).await.expect("no error");
            assert_eq!(found[&reference], expected, "{reference:?}");
        }
    }

    #[tokio::test]
    async fn a_thousand_users_of_a_config_map_read_it_once_and_share_its_bytes() {
        let (gatherer, seen, reads) = gatherer(vec![(key(Kind::ConfigMap, "c"), object("5", None, &[("k", "v")]))]);
        let wanted: BTreeSet<_> = [reference(Kind::ConfigMap, "c", "k")].into();
        let all = futures::future::join_all((0..1000).map(|_| gatherer.gather(&seen, "a", &wanted))).await;
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        let places: BTreeSet<_> = all
            .iter()
            .flat_map(|g| g.as_ref().expect("no error").values())
            .map(|found| found.as_ref().expect("bytes").bytes.as_ptr())
            .collect();
        assert_eq!(places.len(), 1);
    }

    #[tokio::test]
    async fn an_object_is_read_again_when_a_newer_version_was_seen() {
        let config_map = key(Kind::ConfigMap, "c");
        let (gatherer, seen, reads) = gatherer(vec![(config_map.clone(), object("5", None, &[("k", "v")]))]);
        let wanted: BTreeSet<_> = [reference(Kind::ConfigMap, "c", "k")].into();
        gatherer.gather(&seen, "a", &wanted).await.expect("no error");
        seen.applied(config_map.clone(), Sight::new(Some("4".into()), None));
        gatherer.gather(&seen, "a", &wanted).await.expect("no error");
        assert_eq!(reads.load(Ordering::SeqCst), 1, "what was read is newer than what the watch shows");
        seen.applied(config_map.clone(), Sight::new(Some("6".into()), None));
        gatherer.gather(&seen, "a", &wanted).await.expect("no error");
        assert_eq!(reads.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn the_bytes_of_a_secret_go_with_its_last_user() {
        let secret = key(Kind::Secret, "s");
        let (gatherer, seen, _) = gatherer(vec![(secret.clone(), object("5", Some("Opaque"), &[("k", "v")]))]);
        gatherer.gather(&seen, "a", &[reference(Kind::Secret, "s", "k")].into()).await.expect("no error");
        assert_eq!(gatherer.objects.lock().expect("lock").len(), 1);
        gatherer.forget(&[secret]);
        assert_eq!(gatherer.objects.lock().expect("lock").len(), 0);
        assert_eq!(gatherer.pool.sweep(), 0);
    }
}
