//! Watches kinds of objects in all namespaces, or in several, as one sequence of changes.
//! IO: list and watch. Knows nothing of what the objects mean. A watch that breaks is taken up again with backoff.

use std::{collections::HashSet, fmt::Debug};

use futures::{Stream, StreamExt as _, stream::SelectAll};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::NamespaceResourceScope,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use serde::de::DeserializeOwned;

use super::sessions::NodeKey;

/// One thing that a watch says.
#[derive(Debug, Clone, PartialEq)]
pub enum Change<K> {
    /// An object is there, new or changed or only listed again.
    Applied(K),
    /// The object of this namespace and name is gone.
    Gone(NodeKey),
    /// Everything that there is has been said once.
    Synced,
}

/// Watches one kind in the given namespaces, or in all if there are none. `slim` drops what nobody reads, so
/// that it takes no memory. Errors are logged, once a kind of error, and told to `problem`.
pub fn watch<K>(
    client: &Client,
    namespaces: &[String],
    slim: fn(&mut K),
    problem: impl Fn(Option<&watcher::Error>) + Send + 'static,
) -> impl Stream<Item = Change<K>> + Send + 'static
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let apis: Vec<Api<K>> = match namespaces {
        [] => vec![Api::all(client.clone())],
        some => some.iter().map(|namespace| Api::namespaced(client.clone(), namespace)).collect(),
    };
    let mut merge = Merge::new(apis.len());
    let mut streams = SelectAll::new();
    for (scope, api) in apis.into_iter().enumerate() {
        let events = watcher(api, watcher::Config::default()).default_backoff();
        streams.push(events.map(move |event| (scope, event)).boxed());
    }
    streams.flat_map(move |(scope, event)| {
        let changes = match event {
            Ok(event) => {
                if matches!(event, Event::InitDone | Event::Apply(_)) {
                    problem(None);
                }
                merge.take(scope, event.modify(slim))
            }
            Err(error) => {
                problem(Some(&error));
                Vec::new()
            }
        };
        futures::stream::iter(changes)
    })
}

/// Makes one sequence of the watches of several scopes. What a new list does not name is gone.
struct Merge {
    scopes: Vec<Scope>,
    synced: bool,
}

#[derive(Default)]
struct Scope {
    known: HashSet<NodeKey>,
    listed: HashSet<NodeKey>,
    synced: bool,
}

impl Merge {
    fn new(scopes: usize) -> Self {
        Self { scopes: (0..scopes).map(|_| Scope::default()).collect(), synced: false }
    }

    fn take<K: ResourceExt>(&mut self, scope: usize, event: Event<K>) -> Vec<Change<K>> {
        let Some(scope) = self.scopes.get_mut(scope) else { return Vec::new() };
        match event {
            Event::Init => {
                scope.listed.clear();
                Vec::new()
            }
            Event::InitApply(object) => {
                scope.listed.insert(key_of(&object));
                vec![Change::Applied(object)]
            }
            Event::InitDone => {
                let before = std::mem::replace(&mut scope.known, std::mem::take(&mut scope.listed));
                let mut changes: Vec<_> = before.difference(&scope.known).cloned().map(Change::Gone).collect();
                scope.synced = true;
                if !self.synced && self.scopes.iter().all(|s| s.synced) {
                    self.synced = true;
                    changes.push(Change::Synced);
                }
                changes
            }
            Event::Apply(object) => {
                scope.known.insert(key_of(&object));
                vec![Change::Applied(object)]
            }
            Event::Delete(object) => {
                let key = key_of(&object);
                scope.known.remove(&key);
                vec![Change::Gone(key)]
            }
        }
    }
}

/// Namespace and name of an object.
pub fn key_of(object: &impl ResourceExt) -> NodeKey {
    NodeKey { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

/// Drops what every object carries and nobody here reads.
pub fn slim(object: &mut impl ResourceExt) {
    object.managed_fields_mut().clear();
    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
}

/// What a person can do about a watch that does not come about.
pub fn advice(kind: &str, error: &watcher::Error) -> String {
    let status = match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status)) => Some(status),
        watcher::Error::WatchError(status) => Some(status),
        _ => None,
    };
    match status.map(|status| status.code) {
        Some(404) => format!(
            "the API server knows no {kind}; install the CustomResourceDefinitions: windlass-operator crds | kubectl apply -f -"
        ),
        Some(403) => {
            format!("the operator may not list and watch {kind}; give its role these verbs, or narrow --namespaces")
        }
        Some(401) => "the API server does not take the operator's credentials; renew them".to_owned(),
        _ => format!("cannot watch {kind}; trying again"),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    use super::*;

    fn object(namespace: &str, name: &str) -> ConfigMap {
        let metadata =
            ObjectMeta { namespace: Some(namespace.into()), name: Some(name.into()), ..ObjectMeta::default() };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn told(changes: Vec<Change<ConfigMap>>) -> Vec<String> {
        changes
            .into_iter()
            .map(|change| match change {
                Change::Applied(object) => format!("+{}", object.name_any()),
                Change::Gone(key) => format!("-{}", key.name),
                Change::Synced => "synced".into(),
            })
            .collect()
    }

    #[test]
    fn several_namespaces_are_synced_when_the_last_one_is() {
        let mut merge = Merge::new(2);
        assert_eq!(told(merge.take(0, Event::Init)), [""; 0]);
        assert_eq!(told(merge.take(0, Event::InitApply(object("a", "x")))), ["+x"]);
        assert_eq!(told(merge.take(1, Event::Init)), [""; 0]);
        assert_eq!(told(merge.take(0, Event::<ConfigMap>::InitDone)), [""; 0]);
        assert_eq!(told(merge.take(1, Event::InitApply(object("b", "y")))), ["+y"]);
        assert_eq!(told(merge.take(1, Event::<ConfigMap>::InitDone)), ["synced"]);
    }

    #[test]
    fn what_went_while_a_watch_was_broken_is_told_by_the_next_list_of_its_namespace_alone() {
        let mut merge = Merge::new(2);
        for (scope, namespace, name) in [(0, "a", "x"), (0, "a", "gone"), (1, "b", "y")] {
            merge.take(scope, Event::Apply(object(namespace, name)));
        }
        merge.take(0, Event::<ConfigMap>::Init);
        merge.take(0, Event::InitApply(object("a", "x")));
        assert_eq!(told(merge.take(0, Event::<ConfigMap>::InitDone)), ["-gone"]);
        assert_eq!(told(merge.take(1, Event::Delete(object("b", "y")))), ["-y"]);
    }
}
