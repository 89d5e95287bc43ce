//! An EdgeNode as a person sees it: applies it, reads it, waits for it by a watch.

use futures::StreamExt as _;
use k8s_openapi::{api::core::v1::Secret, api::events::v1::Event, apimachinery::pkg::apis::meta::v1::Condition};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::{Value, json};
use windlass::api::EdgeNode;

use super::{World, in_time, world::as_a_person};

pub struct Node {
    pub name: String,
    namespace: String,
    client: Client,
    api: Api<EdgeNode>,
}

impl Node {
    pub fn new(world: &World, name: &str) -> Self {
        let api = Api::namespaced(world.client.clone(), &world.namespace);
        Self { name: name.to_owned(), namespace: world.namespace.clone(), client: world.client.clone(), api }
    }

    /// Makes the spec this one.
    pub async fn apply(&self, spec: Value) {
        self.try_apply(spec).await.expect("EdgeNode is accepted");
    }

    /// The same where a refusal is expected.
    pub async fn try_apply(&self, spec: Value) -> Result<EdgeNode, kube::Error> {
        let metadata = json!({"name": self.name});
        let object =
            json!({"apiVersion": "edge.windlass.dev/v1alpha1", "kind": "EdgeNode", "metadata": metadata, "spec": spec});
        self.api.patch(&self.name, &as_a_person(), &Patch::Apply(&object)).await
    }

    pub async fn get(&self) -> EdgeNode {
        self.api.get(&self.name).await.expect("EdgeNode")
    }

    pub async fn delete(&self) {
        self.api.delete(&self.name, &DeleteParams::default()).await.expect("EdgeNode");
    }

    /// Waits until the EdgeNode is as asked.
    pub async fn until(&self, what: &str, is: impl Fn(&EdgeNode) -> bool) -> EdgeNode {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut seen = watcher(self.api.clone(), config).default_backoff().applied_objects().boxed();
        in_time(&format!("EdgeNode {} {what}", self.name), async {
            loop {
                match seen.next().await.expect("a watch has no end") {
                    Ok(node) if is(&node) => return node,
                    _ => {}
                }
            }
        })
        .await
    }

    /// Waits until a condition, as of the newest spec, has this status and, unless empty, reason.
    pub async fn until_condition(&self, kind: &str, status: &str, reason: &str) -> EdgeNode {
        let generation = self.get().await.metadata.generation;
        self.until(&format!("has {kind}={status} {reason}"), |node| {
            node.status.as_ref().is_some_and(|status| status.observed_generation == generation)
                && is(node, kind, status, reason)
        })
        .await
    }

    /// Waits until the newest spec is carried out.
    pub async fn until_ready(&self) -> EdgeNode {
        self.until_condition("Ready", "True", "").await
    }

    /// Waits until a revision other than the one in `before` is carried out.
    pub async fn until_newer(&self, before: &EdgeNode) -> EdgeNode {
        let old = revision(before);
        self.until("is ready at a newer revision", |node| revision(node) != old && is(node, "Ready", "True", "")).await
    }

    /// Waits until it is gone.
    pub async fn until_gone(&self) {
        let api = self.api.clone();
        in_time(&format!("EdgeNode {} is gone", self.name), async {
            while api.get_opt(&self.name).await.ok().flatten().is_some() {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        })
        .await;
    }

    /// What the operator wrote for its agent.
    pub async fn enrollment(&self) -> String {
        let name = format!("{}-enrollment", self.name);
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let uid = self.get().await.metadata.uid.expect("UID");
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut seen = watcher(api, config).default_backoff().applied_objects().boxed();
        in_time(&format!("Secret {name} is there"), async {
            loop {
                let Some(Ok(secret)) = seen.next().await else { continue };
                let ours = secret.metadata.owner_references.iter().flatten().any(|owner| owner.uid == uid);
                if let Some(text) = secret.data.unwrap_or_default().remove("enrollment.yaml").filter(|_| ours) {
                    return String::from_utf8(text.0).expect("UTF-8");
                }
            }
        })
        .await
    }

    /// Waits for an Event that speaks of it.
    pub async fn until_event(&self, what: &str, is: impl Fn(&Event) -> bool) -> Event {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let mut seen = watcher(api, watcher::Config::default()).default_backoff().applied_objects().boxed();
        in_time(&format!("there is {what} about {}", self.name), async {
            loop {
                match seen.next().await.expect("a watch has no end") {
                    Ok(event) if self.is_subject(&event) && is(&event) => return event,
                    _ => {}
                }
            }
        })
        .await
    }

    fn is_subject(&self, event: &Event) -> bool {
        event.regarding.as_ref().and_then(|object| object.name.as_ref()) == Some(&self.name)
    }

    /// The Events that speak of it, by `events.k8s.io/v1`.
    pub async fn events(&self) -> Vec<Event> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = api.list(&ListParams::default()).await.expect("Events").items;
        all.into_iter().filter(|event| self.is_subject(event)).collect()
    }
}

/// A condition of a node.
pub fn condition<'a>(node: &'a EdgeNode, kind: &str) -> Option<&'a Condition> {
    node.status.as_ref()?.conditions.iter().find(|condition| condition.type_ == kind)
}

/// Whether a condition has this status and, unless empty, reason.
pub fn is(node: &EdgeNode, kind: &str, status: &str, reason: &str) -> bool {
    condition(node, kind).is_some_and(|found| found.status == status && (reason.is_empty() || found.reason == reason))
}

/// The revision that a node carried out.
pub fn revision(node: &EdgeNode) -> Option<String> {
    node.status.as_ref()?.applied_revision.clone()
}
