//! Which Event a transition is worth: one at most, the weightiest, and each reason once a minute.

use jiff::{SignedDuration, Timestamp};

use super::Memory;
use crate::{
    api::{EdgeNodeStatus, condition},
    operator::reasons,
};

/// Type of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// For the record.
    Normal,
    /// For somebody to look at.
    Warning,
}

/// An Event to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    /// Its type.
    pub severity: Severity,
    /// CamelCase.
    pub reason: String,
    /// For a person, at most 1024 bytes.
    pub note: String,
}

/// Longest note that the API takes, in bytes.
const MAX_NOTE: usize = 1024;
/// One Event of a reason in this time.
const INTERVAL: SignedDuration = SignedDuration::from_secs(60);

/// The Event of a transition.
pub(super) fn tell(
    before: &EdgeNodeStatus,
    after: &EdgeNodeStatus,
    memory: &mut Memory,
    now: Timestamp,
) -> Vec<Telling> {
    let weightiest = weigh(before, after).into_iter().next();
    let told = weightiest.and_then(|(severity, reason, note)| one(memory, severity, &reason, &note, now));
    told.into_iter().collect()
}

/// One Event, unless its reason was told less than a minute ago.
pub(super) fn one(
    memory: &mut Memory,
    severity: Severity,
    reason: &str,
    note: &str,
    now: Timestamp,
) -> Option<Telling> {
    memory.told.retain(|(_, at)| now.duration_since(*at) < INTERVAL);
    if memory.told.iter().any(|(told, _)| told == reason) {
        return None;
    }
    memory.told.push((reason.to_owned(), now));
    let mut end = note.len().min(MAX_NOTE);
    while !note.is_char_boundary(end) {
        end -= 1;
    }
    Some(Telling { severity, reason: reason.to_owned(), note: note[..end].to_owned() })
}

/// What changed that is worth an Event, the weightiest first.
fn weigh(before: &EdgeNodeStatus, after: &EdgeNodeStatus) -> Vec<(Severity, String, String)> {
    let mut found = Vec::new();
    let mut changed = |kind: &str, worth: &dyn Fn(&str, &str, &str) -> Option<Severity>| {
        let Some(new) = super::find(after, kind) else { return };
        let (old_status, old_reason) =
            super::find(before, kind).map_or(("", ""), |c| (c.status.as_str(), c.reason.as_str()));
        if (old_status, old_reason) == (&new.status, &new.reason) {
            return;
        }
        if let Some(severity) = worth(old_status, &new.status, &new.reason) {
            found.push((severity, new.reason.clone(), new.message.clone()));
        }
    };
    changed(condition::STALLED, &|_, new, _| (new == "True").then_some(Severity::Warning));
    changed(condition::ENROLLED, &|old, new, _| (new == "True" && old != "True").then_some(Severity::Normal));
    changed(condition::CONNECTED, &|old, new, reason| match (old, new) {
        (_, "True") if reason == reasons::DUPLICATE_IDENTITY => Some(Severity::Warning),
        ("True", "False") => Some(Severity::Warning),
        ("False", "True") => Some(Severity::Normal),
        _ => None,
    });
    changed(condition::READY, &|_, new, reason| match (new, reason) {
        (_, reasons::STORE_DAMAGED | reasons::STORE_UNWRITABLE | reasons::POLICY_UNUSABLE) => Some(Severity::Warning),
        ("True", _) => None,
        (_, reasons::RESOURCES_FAILED | reasons::SERVICES_NOT_READY | reasons::DRIFTED) => Some(Severity::Warning),
        _ => None,
    });
    changed(condition::REBOOT_PENDING, &|old, new, _| match (old, new) {
        (_, "True") => Some(Severity::Warning),
        ("True", _) => Some(Severity::Normal),
        _ => None,
    });
    changed(condition::READY, &|_, new, reason| {
        let is_warned_of =
            [reasons::STORE_DAMAGED, reasons::STORE_UNWRITABLE, reasons::POLICY_UNUSABLE].contains(&reason);
        (new == "True" && !is_warned_of).then_some(Severity::Normal)
    });
    found
}
