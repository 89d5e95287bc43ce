//! One node, from its spec and its session to what is delivered and published. In: an EdgeNode of the store.
//! IO through [`super::gather`], [`super::publish`] and the enrollment Secret. All that is decided is decided in
//! [`super::validate`], [`super::render`] and [`super::decide`].

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use kube::{Client, ResourceExt as _, runtime::controller::Action};
use tracing::{debug, info, warn};

use super::{
    accept::{Directory as _, Gate},
    authority::Authority,
    decide::{Decision, Enrollment, Finalizer, Inputs, Limits, Memory, Rendering, decide},
    directory::{Nodes, reference},
    enrollment::{self, EnrollmentError},
    gather::{Gatherer, Unresolved},
    metrics::Metrics,
    publish::{Budget, PublishError, Publisher},
    references::{Kind, ObjectKey, References, objects_of},
    render,
    seen::{Seen, is_current},
    sessions::{NodeKey, Sessions},
    validate::validate,
    watch::key_of,
};
use crate::{
    api::{CLEANUP_FINALIZER, DeletionPolicy, EdgeNode},
    model::{Digest, NodeId},
    tunnel::endpoint::Endpoint,
};

/// What all reconciles share.
pub struct Context {
    /// For the enrollment Secrets.
    pub client: Client,
    /// The EdgeNodes.
    pub nodes: Arc<Nodes>,
    /// The ConfigMaps and Secrets that exist.
    pub seen: Seen,
    /// Which node uses which of them.
    pub references: Mutex<References>,
    /// Their contents.
    pub gatherer: Gatherer,
    /// Who is connected.
    pub sessions: Arc<Sessions>,
    /// Whom agents trust, and the key of the salts.
    pub authority: Arc<Authority>,
    /// Where agents reach the operator.
    pub url: Endpoint,
    /// Whom it turned away, and when.
    pub gate: Arc<Gate>,
    /// Writes.
    pub publisher: Publisher,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Name of this replica.
    pub replica: String,
    /// How long things may take.
    pub limits: Limits,
    /// When this process started.
    pub started: Timestamp,
    /// The time.
    pub clock: fn() -> Timestamp,
    /// What is remembered of each node.
    pub states: Mutex<HashMap<NodeKey, State>>,
}

/// What is remembered of a node between two reconciles. Losing it costs work, nothing else.
#[derive(Debug, Clone, Default)]
pub struct State {
    memory: Memory,
    budget: Budget,
    rendered: Option<(Digest, Rendering)>,
    /// The EdgeNode as it was written last: the watch may not have shown it yet.
    written: Option<Arc<EdgeNode>>,
    /// Reconciles in a row that failed.
    failures: u32,
}

/// Why a reconcile is to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// A ConfigMap or Secret could not be read.
    #[error("cannot read what the EdgeNode refers to")]
    Gather(#[source] Box<kube::Error>),
    /// The enrollment Secret could not be written.
    #[error(transparent)]
    Enrollment(EnrollmentError),
    /// A write failed.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The API server gave an EdgeNode without a UID.
    #[error("the EdgeNode has no UID")]
    Unnamed,
}

/// How often a decision is made anew as the EdgeNode changed under it, before a pause.
const TRIES: usize = 5;
/// A role that was widened shows in no watch: what was forbidden is tried again after this long.
const FORBIDDEN_RETRY: Duration = Duration::from_secs(60);
/// Longest time for which absence does not count, as agents are still being turned away.
const MAX_RAMP: SignedDuration = SignedDuration::from_mins(10);

/// Brings one node a step on.
pub async fn reconcile(node: Arc<EdgeNode>, context: Arc<Context>) -> Result<Action, ReconcileError> {
    let key = key_of(&*node);
    let begun = (context.clock)();
    let result = one(&key, node, &context).await;
    let seconds = (context.clock)().duration_since(begun).as_secs_f64();
    context.metrics.reconciled(if result.is_ok() { "ok" } else { "error" }, seconds);
    context.remember(&key, |state| state.failures = if result.is_ok() { 0 } else { state.failures.saturating_add(1) });
    if context.nodes.store().get(&reference(&key)).is_none() {
        // It went while this was under way.
        context.forget(&key);
    }
    result
}

/// When to try again after an error: after 1, 2, 4, … at most 64 seconds.
pub fn retry(node: Arc<EdgeNode>, error: &ReconcileError, context: Arc<Context>) -> Action {
    let key = key_of(&*node);
    let failures = context.remember(&key, |state| state.failures);
    let wait = Duration::from_secs(1 << failures.saturating_sub(1).min(6));
    warn!(node = %NodeName(&key), error = %Chain(error), retry_after = ?wait, "cannot reconcile");
    Action::requeue(wait)
}

async fn one(key: &NodeKey, node: Arc<EdgeNode>, context: &Context) -> Result<Action, ReconcileError> {
    let before = context.remember(key, |state| {
        // Once the watch has caught up, one copy is enough.
        state.written.take_if(|written| !is_later(written, &node));
        state.clone()
    });
    let mut node = before.written.unwrap_or(node);
    let id = NodeId {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        uid: node.uid().ok_or(ReconcileError::Unnamed)?,
    };
    let rendering = rendering(&id, key, &node, before.rendered, context).await?;
    let enrollment = enrollment(&id, &node, context).await?;
    deliver(&id, key, &rendering, node.spec.is_revoked(), context).await;

    for _ in 0..TRIES {
        let state = context.remember(key, |state| state.clone());
        let session = context.sessions.view(key);
        let decision = decide(&Inputs {
            node: &node,
            rendering: &rendering,
            enrollment: &enrollment,
            session: session.as_ref(),
            replica: &context.replica,
            memory: &state.memory,
            now: (context.clock)(),
            counts_from: context.counts_from(),
            limits: context.limits,
        });
        match carry_out(key, &node, decision, context).await {
            Ok(requeue) => {
                let forbidden = matches!(&rendering, Rendering::Missing(missing) if is_forbidden(missing));
                let requeue = requeue.into_iter().chain(forbidden.then_some(FORBIDDEN_RETRY)).min();
                return Ok(requeue.map_or_else(Action::await_change, Action::requeue));
            }
            Err(PublishError::Conflict) => match context.publisher.read(&node).await? {
                // A new spec goes through everything; what is in the store now, or soon, triggers that.
                Some(fresh) if fresh.metadata.generation != node.metadata.generation => break,
                Some(fresh) if fresh.uid().as_ref() == Some(&id.uid) => node = Arc::new(fresh),
                Some(_) | None => return Ok(Action::await_change()),
            },
            Err(PublishError::Gone) => return Ok(Action::await_change()),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Action::requeue(Duration::from_secs(1)))
}

/// Writes what was decided; returns when to look again.
async fn carry_out(
    key: &NodeKey,
    node: &Arc<EdgeNode>,
    decision: Decision,
    context: &Context,
) -> Result<Option<Duration>, PublishError> {
    let Decision { status, events, requeue_after, finalizer, memory } = decision;
    let mut node = Arc::clone(node);
    if finalizer != Finalizer::Keep {
        context.publisher.events(&node, &events).await;
        node = Arc::new(context.publisher.finalizer(&node, finalizer).await?);
        info!(node = %NodeName(key), change = ?finalizer, "finalizer changed");
        context.remember(key, |state| state.written = Some(Arc::clone(&node)));
        if finalizer == Finalizer::Remove && node.metadata.deletion_timestamp.is_some() {
            return Ok(None);
        }
    }
    let Some(status) = status else {
        context.remember(key, |state| state.memory = memory);
        return Ok(requeue_after);
    };
    let now = (context.clock)();
    if let Err(wait) = context.remember(key, |state| state.budget.take(now)) {
        // The Events of a status that is not written are not told either: what was told stays as it was.
        context.remember(key, |state| state.memory = Memory { told: state.memory.told.clone(), ..memory });
        return Ok(Some(requeue_after.map_or(wait, |after| after.min(wait))));
    }
    let written = Arc::new(context.publisher.status(&node, &status).await?);
    debug!(node = %NodeName(key), version = written.resource_version(), "status written");
    if finalizer == Finalizer::Keep {
        context.publisher.events(&written, &events).await;
    }
    context.remember(key, |state| {
        state.memory = memory;
        state.written = Some(written);
    });
    Ok(requeue_after)
}

/// What becomes of the spec: as it was, if neither the spec nor anything that it names has changed.
async fn rendering(
    id: &NodeId,
    key: &NodeKey,
    node: &EdgeNode,
    before: Option<(Digest, Rendering)>,
    context: &Context,
) -> Result<Rendering, ReconcileError> {
    if is_to_be_cleaned_up(node) {
        return Ok(Rendering::Document(render::cleanup(id)));
    }
    let objects = objects_of(&key.namespace, &node.spec);
    let of = fingerprint(node, &objects, &context.seen);
    let unused = context.references.lock().unwrap_or_else(PoisonError::into_inner).set(key, objects);
    context.gatherer.forget(&unused);
    if let Some((_, rendering)) = before.filter(|(before, _)| *before == of) {
        return Ok(rendering);
    }
    let (outcome, rendering) = match validate(&node.spec) {
        Err(errors) => ("invalid", Rendering::Invalid(errors)),
        Ok(valid) => {
            let gathered = context
                .gatherer
                .gather(&context.seen, &key.namespace, &render::needs(&valid))
                .await
                .map_err(|error| ReconcileError::Gather(Box::new(error)))?;
            match render::render(id, valid, &gathered, context.authority.content_key(), &context.gatherer.pool) {
                Ok(document) => ("document", Rendering::Document(document)),
                Err(missing) => ("missing", Rendering::Missing(missing)),
            }
        }
    };
    context.metrics.rendered(outcome);
    let keep = !matches!(&rendering, Rendering::Missing(missing) if is_forbidden(missing));
    context.remember(key, |state| state.rendered = keep.then(|| (of, rendering.clone())));
    match &rendering {
        Rendering::Document(document) => info!(node = %id, revision = %document.revision, "rendered"),
        Rendering::Invalid(errors) => info!(node = %id, faults = errors.len(), "spec is invalid"),
        Rendering::Missing(missing) => info!(node = %id, missing = missing.len(), "references lead nowhere"),
    }
    Ok(rendering)
}

/// A deletion alone empties no machine: other finalizers may hold an EdgeNode whose policy is Orphan, or whose
/// clean-up somebody has called off by removing its finalizer.
fn is_to_be_cleaned_up(node: &EdgeNode) -> bool {
    node.metadata.deletion_timestamp.is_some()
        && node.spec.deletion_policy == DeletionPolicy::Cleanup
        && node.finalizers().iter().any(|f| f == CLEANUP_FINALIZER)
}

fn is_forbidden(missing: &[render::Missing]) -> bool {
    missing.iter().any(|m| matches!(m.why, Unresolved::Forbidden(_)))
}

/// What a rendering depends on.
fn fingerprint(node: &EdgeNode, objects: &BTreeSet<ObjectKey>, seen: &Seen) -> Digest {
    let mut text = format!("{}\n{}\n", node.uid().unwrap_or_default(), node.metadata.generation.unwrap_or_default());
    for object in objects {
        let version = seen.get(object).map(|sight| sight.resource_version);
        text += &format!("{object} {version:?}\n");
    }
    Digest::of(text.as_bytes())
}

/// Sees to it that the agent's administrator finds what enrolls it.
async fn enrollment(id: &NodeId, node: &EdgeNode, context: &Context) -> Result<Enrollment, ReconcileError> {
    let name = enrollment::secret_name(&id.name);
    let secret = ObjectKey { kind: Kind::Secret, namespace: id.namespace.clone(), name: name.clone() };
    let current = enrollment::fingerprint(&context.authority, &context.url);
    let enrolls = context.seen.get(&secret).and_then(|sight| sight.enrolls);
    let is_there = enrolls.is_some_and(|e| e.uid == id.uid && e.fingerprint == current);
    if is_there || node.metadata.deletion_timestamp.is_some() {
        return Ok(Enrollment::Written(name));
    }
    let ensured = enrollment::ensure(context.client.clone(), &context.authority, node, &context.url).await;
    context.metrics.wrote("enrollment", if ensured.is_ok() { "ok" } else { "error" });
    match ensured {
        Ok(()) => Ok(Enrollment::Written(name)),
        Err(conflict @ EnrollmentError::Conflict(_)) => Ok(Enrollment::Conflict(conflict.to_string())),
        Err(error) => Err(ReconcileError::Enrollment(error)),
    }
}

/// Hands the document to the node's session, or ends one whose identity is revoked. A session of an EdgeNode that had this name before is let go.
async fn deliver(id: &NodeId, key: &NodeKey, rendering: &Rendering, is_revoked: bool, context: &Context) {
    let Some(session) = context.sessions.view(key) else { return };
    if session.uid != id.uid {
        let before = NodeId { uid: session.uid, ..id.clone() };
        if context.nodes.confirm_gone(&before).await {
            context.sessions.release(key);
        }
        return;
    }
    if is_revoked {
        context.sessions.revoke(key);
    } else if let Rendering::Document(document) = rendering {
        context.sessions.deliver(key, document);
    }
}

/// Whether what was written is later than what the watch showed.
fn is_later(written: &EdgeNode, seen: &EdgeNode) -> bool {
    let version = |node: &EdgeNode| node.resource_version().unwrap_or_default();
    let (written_version, seen_version) = (version(written), version(seen));
    written.uid() == seen.uid() && written_version != seen_version && is_current(&written_version, &seen_version)
}

impl Context {
    /// Forgets a node that is gone, and lets its agent go.
    pub fn forget(&self, key: &NodeKey) {
        self.sessions.release(key);
        self.states.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        let unused = self.references.lock().unwrap_or_else(PoisonError::into_inner).set(key, BTreeSet::new());
        self.gatherer.forget(&unused);
    }

    fn remember<T>(&self, key: &NodeKey, with: impl FnOnce(&mut State) -> T) -> T {
        with(self.states.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default())
    }

    fn counts_from(&self) -> Timestamp {
        let latest = self.started.checked_add(MAX_RAMP).unwrap_or(self.started);
        self.gate.last_refusal().map_or(self.started, |refusal| refusal.clamp(self.started, latest))
    }
}

/// `namespace/name` in logs.
struct NodeName<'a>(&'a NodeKey);

impl std::fmt::Display for NodeName<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.0.namespace, self.0.name)
    }
}

/// An error with its causes.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
