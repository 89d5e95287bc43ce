//! Writes what was decided: a status, a finalizer, Events. IO: patches, each carrying the resourceVersion that it
//! was decided on. Keeps the budget of a node: a few writes at once, then one in a while, the latest.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::{
    Api, Client, Resource as _, ResourceExt as _,
    api::{Patch, PatchParams},
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use serde_json::{Map, Value, json};
use tracing::warn;

use super::{
    decide::{Finalizer, Severity, Telling},
    metrics::Metrics,
};
use crate::api::{CLEANUP_FINALIZER, EdgeNode, EdgeNodeStatus};

/// Name under which the operator writes.
pub const FIELD_MANAGER: &str = "windlass-operator";
/// A write that is not answered in this time is tried again.
const DEADLINE: Duration = Duration::from_secs(15);

/// Writes to the API server.
pub struct Publisher {
    client: Client,
    recorder: Recorder,
    metrics: Arc<Metrics>,
}

/// Why something was not written.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The EdgeNode is another one than it was decided on.
    #[error("the EdgeNode changed meanwhile")]
    Conflict,
    /// The EdgeNode is gone.
    #[error("the EdgeNode is gone")]
    Gone,
    /// The API server did not answer, or refused.
    #[error("cannot write the {kind} of the EdgeNode")]
    Api {
        /// What was to be written.
        kind: &'static str,
        /// What the API server said.
        #[source]
        source: Box<kube::Error>,
    },
    /// No answer in time.
    #[error("no answer to a write of the {0} of the EdgeNode in {DEADLINE:?}")]
    Timeout(&'static str),
}

impl Publisher {
    /// Writes as one replica.
    pub fn new(client: Client, replica: &str, metrics: Arc<Metrics>) -> Self {
        let reporter = Reporter { controller: FIELD_MANAGER.into(), instance: Some(replica.to_owned()) };
        Self { recorder: Recorder::new(client.clone(), reporter), client, metrics }
    }

    /// Writes a status; returns the EdgeNode as it then is.
    pub async fn status(&self, node: &EdgeNode, after: &EdgeNodeStatus) -> Result<EdgeNode, PublishError> {
        let before = serde_json::to_value(node.status.clone().unwrap_or_default()).unwrap_or_default();
        let after = serde_json::to_value(after).unwrap_or_default();
        let patch = json!({
            "metadata": {"resourceVersion": node.resource_version()},
            "status": difference(&before, &after),
        });
        let api = self.api(node);
        let (name, params, patch) = (node.name_any(), params(), Patch::Merge(patch));
        self.write("status", api.patch_status(&name, &params, &patch)).await
    }

    /// Puts the finalizer there, or takes it away; returns the EdgeNode as it then is.
    pub async fn finalizer(&self, node: &EdgeNode, change: Finalizer) -> Result<EdgeNode, PublishError> {
        let mut finalizers: Vec<String> = node.finalizers().to_vec();
        finalizers.retain(|f| f != CLEANUP_FINALIZER);
        if change == Finalizer::Add {
            finalizers.push(CLEANUP_FINALIZER.to_owned());
        }
        let patch = json!({"metadata": {"resourceVersion": node.resource_version(), "finalizers": finalizers}});
        let (name, params, patch) = (node.name_any(), params(), Patch::Merge(patch));
        self.write("finalizer", self.api(node).patch(&name, &params, &patch)).await
    }

    /// Tells Events. One that cannot be told is not worth holding up anything.
    pub async fn events(&self, node: &EdgeNode, tellings: &[Telling]) {
        for telling in tellings {
            let event = Event {
                type_: match telling.severity {
                    Severity::Normal => EventType::Normal,
                    Severity::Warning => EventType::Warning,
                },
                reason: telling.reason.clone(),
                note: Some(telling.note.clone()),
                action: "Reconcile".into(),
                secondary: None,
            };
            let about = node.object_ref(&());
            let told = tokio::time::timeout(DEADLINE, self.recorder.publish(&event, &about)).await;
            match told {
                Ok(Ok(())) => self.metrics.wrote("event", "ok"),
                Ok(Err(error)) => {
                    self.metrics.wrote("event", "error");
                    warn!(%error, reason = telling.reason, "cannot tell an Event");
                }
                Err(_) => self.metrics.wrote("event", "timeout"),
            }
        }
    }

    /// Reads the EdgeNode as it is now; `None` if it is gone.
    pub async fn read(&self, node: &EdgeNode) -> Result<Option<EdgeNode>, PublishError> {
        let api = self.api(node);
        let name = node.name_any();
        let read = tokio::time::timeout(DEADLINE, api.get_opt(&name)).await;
        read.map_err(|_| PublishError::Timeout("state"))?
            .map_err(|source| PublishError::Api { kind: "state", source: Box::new(source) })
    }

    fn api(&self, node: &EdgeNode) -> Api<EdgeNode> {
        Api::namespaced(self.client.clone(), &node.namespace().unwrap_or_default())
    }

    async fn write(
        &self,
        kind: &'static str,
        patch: impl Future<Output = Result<EdgeNode, kube::Error>>,
    ) -> Result<EdgeNode, PublishError> {
        let (outcome, result) = match tokio::time::timeout(DEADLINE, patch).await {
            Ok(Ok(node)) => ("ok", Ok(node)),
            Ok(Err(kube::Error::Api(status))) if status.code == 409 => ("conflict", Err(PublishError::Conflict)),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => ("gone", Err(PublishError::Gone)),
            Ok(Err(source)) => ("error", Err(PublishError::Api { kind, source: Box::new(source) })),
            Err(_) => ("timeout", Err(PublishError::Timeout(kind))),
        };
        self.metrics.wrote(kind, outcome);
        result
    }
}

fn params() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() }
}

/// The merge patch from one object to another: what differs, and null for what is no longer there.
///
/// Source: RFC 7386.
fn difference(before: &Value, after: &Value) -> Value {
    let (Value::Object(before), Value::Object(after)) = (before, after) else { return after.clone() };
    let mut patch = Map::new();
    for (key, value) in after {
        match before.get(key) {
            Some(there) if there == value => {}
            Some(there) => {
                patch.insert(key.clone(), difference(there, value));
            }
            None => {
                patch.insert(key.clone(), value.clone());
            }
        }
    }
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        patch.insert(key.clone(), Value::Null);
    }
    Value::Object(patch)
}

/// How often a node's status may be written: a small burst at once, then one per [`Budget::PERIOD`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// When the budget will be whole again; each write moves it on by a period.
    whole_at: Option<Timestamp>,
}

impl Budget {
    /// Writes that may follow each other at once.
    pub const BURST: i32 = 6;
    /// Between writes in the long run.
    pub const PERIOD: SignedDuration = SignedDuration::from_secs(10);

    /// Takes one write, or says how long to wait for it.
    pub fn take(&mut self, now: Timestamp) -> Result<(), Duration> {
        let whole_at = self.whole_at.map_or(now, |at| at.max(now));
        let debt = whole_at.duration_since(now);
        let most = Self::PERIOD * (Self::BURST - 1);
        if debt > most {
            return Err(Duration::try_from(debt - most).unwrap_or_default());
        }
        self.whole_at = whole_at.checked_add(Self::PERIOD).ok();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_names_what_changed_and_what_went() {
        let before = json!({"a": 1, "b": {"x": 1, "y": 2}, "c": [1, 2], "gone": true});
        let after = json!({"a": 1, "b": {"x": 1, "z": 3}, "c": [2], "new": "n"});
        assert_eq!(difference(&before, &after), json!({"b": {"y": null, "z": 3}, "c": [2], "gone": null, "new": "n"}));
        assert_eq!(difference(&before, &before), json!({}));
    }

    #[test]
    fn a_flapping_node_costs_a_burst_and_then_one_write_in_a_period() {
        let at = |second: i64| Timestamp::from_second(1_000 + second).expect("in range");
        let mut budget = Budget::default();
        let mut writes = 0;
        for second in 0..100 {
            writes += i32::from(budget.take(at(second)).is_ok());
        }
        assert_eq!(writes, Budget::BURST + 9);
        assert_eq!(budget.take(at(100)), Ok(()));
        assert_eq!(budget.take(at(100)), Err(Duration::from_secs(10)));
        assert_eq!(budget.take(at(110)), Ok(()));
        let later = at(10_000);
        assert!((0..Budget::BURST).all(|_| budget.take(later).is_ok()));
        assert!(budget.take(later).is_err());
    }
}
