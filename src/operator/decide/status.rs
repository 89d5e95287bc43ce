//! Puts a status together, and tells whether two say the same. What moves by itself (restarts, the boot time's
//! jitter, the session's number, messages made of such) says nothing new: it rides along with the next transition.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{
    Conditions, Inputs,
    conditions::{Finding, Question},
};
use crate::{
    api::{EdgeNodeStatus, MAX_SERVICES, NodeStatus, SessionStatus, condition},
    operator::{document::Document, reasons, sessions::SessionView},
};

/// The whole status.
pub(super) fn compose(
    question: &Question<'_>,
    session: Option<&SessionView>,
    Conditions(findings): &Conditions,
) -> EdgeNodeStatus {
    let Question { inputs, before, known, desired, .. } = question;
    let mut services = known.services.clone();
    services.truncate(MAX_SERVICES);
    EdgeNodeStatus {
        observed_generation: inputs.node.metadata.generation,
        conditions: findings.iter().map(|(kind, finding)| written(inputs, kind, finding)).collect(),
        desired_revision: desired.map(str::to_owned),
        applied_revision: known.applied.clone(),
        session: session.map_or_else(
            || before.session.clone(),
            |s| {
                let id = i64::try_from(s.number).unwrap_or(i64::MAX);
                Some(SessionStatus { id, replica: inputs.replica.to_owned() })
            },
        ),
        node: known.node.clone().or_else(|| before.node.clone()),
        resources: known.resources.clone(),
        failures: known.failures.clone(),
        services,
    }
}

/// The status of an EdgeNode that waits for its clean-up.
pub(super) fn cleaning_up(inputs: &Inputs<'_>, before: &EdgeNodeStatus, document: &Document) -> EdgeNodeStatus {
    let mut after = before.clone();
    after.desired_revision = Some(document.revision.to_string());
    after.observed_generation = inputs.node.metadata.generation;
    let message = "the agent removes what it created; the deletion goes on when that is done, or given up";
    for (kind, status) in [(condition::READY, "False"), (condition::RECONCILING, "True"), (condition::STALLED, "False")]
    {
        let finding =
            Finding { status, reason: reasons::CLEANING_UP.into(), message: message.into(), is_volatile: false };
        let condition = written(inputs, kind, &finding);
        match after.conditions.iter_mut().find(|c| c.type_ == kind) {
            Some(there) => *there = condition,
            None => after.conditions.push(condition),
        }
    }
    after
}

fn written(inputs: &Inputs<'_>, kind: &str, finding: &Finding) -> Condition {
    let now = jiff::Timestamp::from_second(inputs.now.as_second()).unwrap_or(inputs.now);
    Condition {
        type_: kind.to_owned(),
        status: finding.status.to_owned(),
        reason: finding.reason.clone(),
        message: cut(&finding.message),
        observed_generation: inputs.node.metadata.generation,
        last_transition_time: Time(now),
    }
}

/// The API takes messages of at most 32768 characters.
fn cut(message: &str) -> String {
    const MOST: usize = 4096;
    if message.chars().count() <= MOST {
        return message.to_owned();
    }
    message.chars().take(MOST - 1).chain(['…']).collect()
}

/// `lastTransitionTime` changes with the status value only.
pub(super) fn keep_transition_times(before: &EdgeNodeStatus, after: &mut EdgeNodeStatus) {
    for condition in &mut after.conditions {
        let told = before.conditions.iter().find(|c| c.type_ == condition.type_ && c.status == condition.status);
        if let Some(told) = told {
            condition.last_transition_time = told.last_transition_time.clone();
        }
    }
}

/// Whether a reader learns nothing new. The messages of `volatile` conditions alone are nothing new.
pub(super) fn says_the_same(before: &EdgeNodeStatus, after: &EdgeNodeStatus, volatile: &[&str]) -> bool {
    essence(before, volatile) == essence(after, volatile)
}

/// Whether two statuses differ at most in what the machine's report moves while it is on its way.
pub(super) fn same_but_for_the_machine(before: &EdgeNodeStatus, after: &EdgeNodeStatus) -> bool {
    let rest = |status: &EdgeNodeStatus| {
        let mut rest = essence(status, &[]);
        let moved = [
            condition::READY,
            condition::RECONCILING,
            condition::CONFIG_APPLIED,
            condition::HEALTHY,
            condition::REBOOT_PENDING,
        ];
        rest.conditions.retain(|c| !moved.contains(&c.type_.as_str()));
        rest.applied_revision = None;
        rest.resources = None;
        rest.failures.clear();
        rest.services.clear();
        rest
    };
    // What said that it was ready or on its way goes on saying so; what was offline or waiting is told anew.
    let ready = super::find(before, condition::READY);
    let holds = ready.is_some_and(|c| {
        c.status == "True"
            || [reasons::PROGRESSING, reasons::SERVICES_NOT_READY, reasons::RESOURCES_FAILED]
                .contains(&c.reason.as_str())
    });
    holds && rest(before) == rest(after)
}

fn essence(status: &EdgeNodeStatus, volatile: &[&str]) -> EdgeNodeStatus {
    let mut essence = status.clone();
    let EdgeNodeStatus {
        observed_generation: _,
        conditions,
        desired_revision: _,
        applied_revision: _,
        session,
        node,
        resources: _,
        failures,
        services,
    } = &mut essence;
    for condition in conditions {
        condition.last_transition_time = Time(jiff::Timestamp::UNIX_EPOCH);
        condition.observed_generation = None;
        if volatile.contains(&condition.type_.as_str()) {
            condition.message.clear();
        }
    }
    if let Some(session) = session {
        session.id = 0;
    }
    if let Some(NodeStatus { boot_time, .. }) = node {
        *boot_time = None;
    }
    for failure in failures {
        failure.message.clear();
    }
    for service in services {
        service.restarts = 0;
    }
    essence
}
