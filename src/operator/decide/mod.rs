//! Decides what the status of a node says, which Events are told, and when to look again.
//! Pure: an EdgeNode, what was rendered for it, what its session knows, and now. tests/decide.rs holds the table
//! that specifies the conditions. Knows nothing of how a status is written or a document delivered.

mod conditions;
mod events;
mod known;
mod status;

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt as _;

pub use conditions::Finding;
pub use events::{Severity, Telling};

use self::{conditions::Conditions, known::Known};
use super::{
    document::Document,
    reasons,
    render::Missing,
    sessions::{Link, SessionView},
    validate::Invalid,
};
use crate::{
    api::{CLEANUP_FINALIZER, DeletionPolicy, EdgeNode, EdgeNodeStatus, condition},
    model::Report,
};

/// What became of a node's spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendering {
    /// A document that the node is to receive.
    Document(Arc<Document>),
    /// The spec is wrong.
    Invalid(Vec<Invalid>),
    /// The spec refers to contents that cannot be had.
    Missing(Vec<Missing>),
}

/// What became of a node's enrollment Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Enrollment {
    /// It is there, under this name.
    Written(String),
    /// A Secret of another owner has its name; a message for a person.
    Conflict(String),
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// From the end of a session until the node counts as offline.
    pub disconnect_grace: Duration,
    /// From a reference that leads nowhere until the node counts as stalled.
    pub missing_reference_grace: Duration,
    /// From the deletion of an EdgeNode until its clean-up is given up.
    pub cleanup_timeout: Duration,
}

/// A session is given this long for its first report before the status speaks of it without one.
const REPORT_WAIT: Duration = Duration::from_secs(5);
/// A change on the machine is given this long before the status speaks of its middle.
const SETTLE_WAIT: Duration = Duration::from_secs(10);
/// And this long before services that are still not ready count as a fault.
const SETTLE_DEADLINE: Duration = Duration::from_secs(60);
/// Two machines with one identity are told for this long after the one that was turned away came last: it comes
/// again after five minutes, and a little more.
const RIVAL_REMEMBERED: Duration = Duration::from_secs(900);

/// What a decision remembers for the next one on the same node. Losing it costs waiting anew, nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// Since when references lead nowhere, and in which generation.
    pub missing_since: Option<(Timestamp, i64)>,
    /// Since when the machine is on its way to the desired state.
    pub unsettled_since: Option<Timestamp>,
    /// Reasons of Events of the last minute.
    pub told: Vec<(String, Timestamp)>,
}

/// What a decision is made on.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// As last read, or as last written.
    pub node: &'a EdgeNode,
    /// Of the node's current spec; the clean-up where it is being deleted.
    pub rendering: &'a Rendering,
    /// Its enrollment Secret.
    pub enrollment: &'a Enrollment,
    /// Its sessions with this process, if it had any.
    pub session: Option<&'a SessionView>,
    /// Name of this replica of the operator.
    pub replica: &'a str,
    /// What the decision before this one remembered.
    pub memory: &'a Memory,
    /// Now.
    pub now: Timestamp,
    /// When this process began to let everybody in who comes: before then nobody's absence counts.
    pub counts_from: Timestamp,
    /// How long things may take.
    pub limits: Limits,
}

/// What to do about the finalizer of a clean-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finalizer {
    /// As it is.
    Keep,
    /// The deletion policy asks for one.
    Add,
    /// The policy asks for none, or the deletion may go on.
    Remove,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// What the status is to be; `None` where it says the same already.
    pub status: Option<EdgeNodeStatus>,
    /// Events to tell once the status is written.
    pub events: Vec<Telling>,
    /// When to look again though nothing changes.
    pub requeue_after: Option<Duration>,
    /// What to do about the finalizer.
    pub finalizer: Finalizer,
    /// For the next decision.
    pub memory: Memory,
}

/// Whether, and since when, the node can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// No agent has ever had an identity of it.
    NeverEnrolled,
    /// It is connected, or was so short a time ago that it counts as connected.
    Online,
    /// It is not connected.
    Offline,
    /// Nobody is let in as this node.
    Revoked,
}

/// Decides.
pub fn decide(inputs: &Inputs<'_>) -> Decision {
    let has_finalizer = inputs.node.finalizers().iter().any(|f| f == CLEANUP_FINALIZER);
    if inputs.node.metadata.deletion_timestamp.is_some() {
        return deletion(inputs, has_finalizer);
    }
    let finalizer = match (inputs.node.spec.deletion_policy, has_finalizer) {
        (DeletionPolicy::Cleanup, false) => Finalizer::Add,
        (DeletionPolicy::Orphan, true) => Finalizer::Remove,
        (DeletionPolicy::Cleanup, true) | (DeletionPolicy::Orphan, false) => Finalizer::Keep,
    };
    let mut again = Again::default();
    let mut memory = inputs.memory.clone();
    let session = own_session(inputs);
    if is_fenced(inputs, session) {
        return Decision { status: None, events: Vec::new(), requeue_after: None, finalizer, memory };
    }

    let before = inputs.node.status.clone().unwrap_or_default();
    let (reach, session) = reach(inputs, session, &before, &mut again);
    let desired = match inputs.rendering {
        Rendering::Document(document) => Some(document.revision.to_string()),
        Rendering::Invalid(_) | Rendering::Missing(_) => before.desired_revision.clone(),
    };
    let known = match session.and_then(|s| s.report.as_deref()) {
        Some(report) => Known::reported(report),
        None => Known::remembered(&before),
    };
    let unsettled = reach == Reach::Online && known.is_fresh && !known.is_settled(desired.as_deref());
    let moved = before.desired_revision != desired;
    memory.unsettled_since = unsettled
        .then(|| inputs.memory.unsettled_since.filter(|_| !moved).unwrap_or(inputs.now))
        .filter(|_| !inputs.node.spec.suspended);
    let settling = match memory.unsettled_since {
        Some(since) if !known.is_in_trouble() => again.until(since, SETTLE_WAIT, inputs.now),
        _ => false,
    };
    let in_time = memory.unsettled_since.is_some_and(|since| again.until(since, SETTLE_DEADLINE, inputs.now));
    let stalled_for_reference = stalled_for_reference(inputs, &before, &mut memory, &mut again);
    let rivals = session.filter(|_| reach == Reach::Online).and_then(|session| {
        let rival = session.rival?;
        again.until(rival.at, RIVAL_REMEMBERED, inputs.now).then_some((session.peer, rival.peer))
    });

    let question = conditions::Question {
        inputs,
        before: &before,
        reach,
        desired: desired.as_deref(),
        known: &known,
        unsettled,
        settling,
        in_time,
        stalled_for_reference,
        rivals,
    };
    let answer = conditions::answer(&question);
    let mut after = status::compose(&question, session, &answer);
    // A change on the machine that is young, in a node of which nothing else changed, is left untold: when it
    // is over, the status says so in one write.
    if settling && !moved && status::same_but_for_the_machine(&before, &after) {
        after = before.clone();
    }
    finish(inputs, before, after, &answer.volatile(), Next { finalizer, memory, again })
}

/// What a decision says beside the status.
struct Next {
    finalizer: Finalizer,
    memory: Memory,
    again: Again,
}

fn finish(
    inputs: &Inputs<'_>,
    before: EdgeNodeStatus,
    mut after: EdgeNodeStatus,
    volatile: &[&str],
    Next { finalizer, mut memory, again }: Next,
) -> Decision {
    status::keep_transition_times(&before, &mut after);
    let status = (!status::says_the_same(&before, &after, volatile)).then_some(after);
    let events = match &status {
        Some(after) => events::tell(&before, after, &mut memory, inputs.now),
        None => Vec::new(),
    };
    Decision { status, events, requeue_after: again.after(inputs.now), finalizer, memory }
}

/// An EdgeNode that is being deleted: nothing holds it but a clean-up that can still happen.
fn deletion(inputs: &Inputs<'_>, has_finalizer: bool) -> Decision {
    let mut again = Again::default();
    let mut memory = inputs.memory.clone();
    let before = inputs.node.status.clone().unwrap_or_default();
    let session = own_session(inputs);
    let nothing = |finalizer, events, memory| Decision { status: None, events, requeue_after: None, finalizer, memory };
    if !has_finalizer {
        return nothing(Finalizer::Keep, Vec::new(), memory);
    }
    let Rendering::Document(document) = inputs.rendering else {
        return nothing(Finalizer::Remove, Vec::new(), memory);
    };
    let never_enrolled = session.is_none() && status_of(&before, condition::ENROLLED) != Some("True");
    let is_done = |report: &Report| report.applied_revision.as_ref() == Some(&document.revision) && !report.progressing;
    let cleaned = session.and_then(|s| s.report.as_deref()).is_some_and(is_done);
    let is_let_go = inputs.node.spec.deletion_policy == DeletionPolicy::Orphan || inputs.node.spec.is_revoked();
    if is_let_go || never_enrolled || cleaned {
        return nothing(Finalizer::Remove, Vec::new(), memory);
    }
    let since = inputs.node.metadata.deletion_timestamp.as_ref().map_or(inputs.now, |t| t.0);
    if !again.until(since, inputs.limits.cleanup_timeout, inputs.now) {
        let note = "the node did not report in time that it removed what the agent created; what is left is left";
        let told = events::one(&mut memory, Severity::Warning, reasons::CLEANUP_TIMED_OUT, note, inputs.now);
        return nothing(Finalizer::Remove, told.into_iter().collect(), memory);
    }
    let after = status::cleaning_up(inputs, &before, document);
    finish(inputs, before, after, &[], Next { finalizer: Finalizer::Keep, memory, again })
}

/// The session, if its certificate names this very EdgeNode and not one that had its name before.
fn own_session<'a>(inputs: &Inputs<'a>) -> Option<&'a SessionView> {
    inputs.session.filter(|session| inputs.node.metadata.uid.as_deref() == Some(&session.uid))
}

/// Whether another replica holds a later session of the node: then that one writes.
fn is_fenced(inputs: &Inputs<'_>, session: Option<&SessionView>) -> bool {
    let written = inputs.node.status.as_ref().and_then(|status| status.session.as_ref());
    match (written, session) {
        (Some(written), Some(session)) => {
            written.replica != inputs.replica && u64::try_from(written.id).is_ok_and(|id| id > session.number)
        }
        _ => false,
    }
}

/// Offline is told after a grace, so that neither a blip nor a restart of the operator is a transition; and a
/// session that has not reported yet is waited for a moment, so that both are told at once.
fn reach<'a>(
    inputs: &Inputs<'a>,
    session: Option<&'a SessionView>,
    before: &EdgeNodeStatus,
    again: &mut Again,
) -> (Reach, Option<&'a SessionView>) {
    let was_connected = status_of(before, condition::CONNECTED) == Some("True");
    let was_enrolled = status_of(before, condition::ENROLLED) == Some("True");
    if inputs.node.spec.is_revoked() {
        return (Reach::Revoked, session);
    }
    let absent = if was_enrolled { Reach::Offline } else { Reach::NeverEnrolled };
    match session {
        None => {
            let blip = was_connected && again.until(inputs.counts_from, inputs.limits.disconnect_grace, inputs.now);
            (if blip { Reach::Online } else { absent }, None)
        }
        Some(session) => match session.link {
            Link::Up(since) => {
                let waits = !session.has_reported && !was_connected && again.until(since, REPORT_WAIT, inputs.now);
                if waits { (absent, None) } else { (Reach::Online, Some(session)) }
            }
            Link::Down(since) => {
                let since = since.max(inputs.counts_from);
                let blip = was_connected && again.until(since, inputs.limits.disconnect_grace, inputs.now);
                (if blip { Reach::Online } else { Reach::Offline }, Some(session))
            }
        },
    }
}

/// A reference that does not exist yet is given a while, as things are applied in any order.
fn stalled_for_reference(inputs: &Inputs<'_>, before: &EdgeNodeStatus, memory: &mut Memory, again: &mut Again) -> bool {
    let Rendering::Missing(missing) = inputs.rendering else {
        memory.missing_since = None;
        return false;
    };
    let generation = inputs.node.metadata.generation.unwrap_or_default();
    let told_already = before.observed_generation == Some(generation)
        && find(before, condition::STALLED)
            .is_some_and(|c| c.status == "True" && c.reason == reasons::REFERENCE_NOT_FOUND);
    let since = memory.missing_since.filter(|(_, of)| *of == generation).map_or(inputs.now, |(since, _)| since);
    memory.missing_since = Some((since, generation));
    let cannot_come = missing.iter().any(|m| !conditions::may_come(&m.why));
    cannot_come || told_already || !again.until(since, inputs.limits.missing_reference_grace, inputs.now)
}

/// The moments at which something is to be looked at again.
#[derive(Debug, Default)]
struct Again(Option<Timestamp>);

impl Again {
    /// Whether `since + wait` is still to come; if so, it is a moment to look again.
    fn until(&mut self, since: Timestamp, wait: Duration, now: Timestamp) -> bool {
        let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
        let end = since.checked_add(wait).unwrap_or(Timestamp::MAX);
        if now >= end {
            return false;
        }
        self.0 = Some(self.0.map_or(end, |other| other.min(end)));
        true
    }

    fn after(&self, now: Timestamp) -> Option<Duration> {
        // A moment later than the end, so that rounding does not wake up just before it.
        let wait = |end: Timestamp| Duration::try_from(end.duration_since(now)).unwrap_or_default();
        self.0.map(|end| wait(end) + Duration::from_millis(10))
    }
}

fn find<'a>(
    status: &'a EdgeNodeStatus,
    kind: &str,
) -> Option<&'a k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> {
    status.conditions.iter().find(|c| c.type_ == kind)
}

fn status_of<'a>(status: &'a EdgeNodeStatus, kind: &str) -> Option<&'a str> {
    find(status, kind).map(|c| c.status.as_str())
}
