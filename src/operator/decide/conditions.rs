//! The conditions of a node: what each says, and why. The order of the cases is their precedence.

use std::net::SocketAddr;

use super::{Enrollment, Inputs, Known, Reach, Rendering};
use crate::{
    api::{EdgeNodeStatus, condition},
    operator::{gather::Unresolved, reasons, render::Missing},
};

/// What one condition says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// `True`, `False` or `Unknown`.
    pub status: &'static str,
    /// CamelCase.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Whether the message may change by itself: then that alone is no reason to write.
    pub is_volatile: bool,
}

impl Finding {
    fn new(status: &'static str, reason: &str, message: impl Into<String>) -> Self {
        Self { status, reason: reason.into(), message: message.into(), is_volatile: false }
    }

    fn volatile(self) -> Self {
        Self { is_volatile: true, ..self }
    }

    fn with_status(&self, status: &'static str) -> Self {
        Self { status, ..self.clone() }
    }
}

/// All conditions, in the order in which the status shows them.
#[derive(Debug, Clone)]
pub(super) struct Conditions(pub Vec<(&'static str, Finding)>);

impl Conditions {
    /// Types of those whose message may change by itself.
    pub fn volatile(&self) -> Vec<&'static str> {
        self.0.iter().filter(|(_, finding)| finding.is_volatile).map(|(kind, _)| *kind).collect()
    }
}

/// What the conditions are found from.
pub(super) struct Question<'a> {
    pub inputs: &'a Inputs<'a>,
    pub before: &'a EdgeNodeStatus,
    pub reach: Reach,
    pub desired: Option<&'a str>,
    pub known: &'a Known,
    /// The machine is on its way.
    pub unsettled: bool,
    /// It has been so for a moment only.
    pub settling: bool,
    /// It has been so for no longer than a change may take.
    pub in_time: bool,
    pub stalled_for_reference: bool,
    /// Two machines with this node's identity: who is connected, and who was turned away.
    pub rivals: Option<(SocketAddr, SocketAddr)>,
}

pub(super) fn answer(question: &Question<'_>) -> Conditions {
    let enrolled = enrolled(question);
    let connected = connected(question);
    let spec = spec_fault(question);
    let healthy = healthy(question);
    let config = config_applied(question, spec.as_ref(), &healthy);
    let stalled = stalled(question, spec.as_ref(), &enrolled, &config);
    let ready = ready(question, spec.as_ref(), &enrolled, &config, &healthy);
    let reconciling = reconciling(question, &stalled, &enrolled, &config, &healthy);
    let mut all = vec![
        (condition::READY, ready),
        (condition::RECONCILING, reconciling),
        (condition::STALLED, stalled),
        (condition::ENROLLED, enrolled),
        (condition::CONNECTED, connected),
        (condition::CONFIG_APPLIED, config),
        (condition::HEALTHY, healthy),
    ];
    all.extend(question.known.reboot_pending.map(|pending| (condition::REBOOT_PENDING, reboot_pending(pending))));
    Conditions(all)
}

/// For whoever plans restarts: it says nothing of the desired state, and counts in no other condition.
fn reboot_pending(is_pending: bool) -> Finding {
    match is_pending {
        true => Finding::new(
            "True",
            reasons::REBOOT_REQUIRED,
            "the machine waits for a restart to finish what was installed; restart it when that suits",
        ),
        false => Finding::new("False", reasons::NO_REBOOT_REQUIRED, "the machine waits for no restart"),
    }
}

fn revoked(status: &'static str) -> Finding {
    Finding::new(status, reasons::IDENTITY_REVOKED, "spec.identity.revoked: nobody is let in as this node")
}

fn enrolled(question: &Question<'_>) -> Finding {
    match (question.reach, question.inputs.enrollment) {
        (Reach::Revoked, _) => revoked("False"),
        (Reach::Online | Reach::Offline, _) => {
            Finding::new("True", reasons::ENROLLED, "an agent holds an identity of this EdgeNode")
        }
        (Reach::NeverEnrolled, Enrollment::Conflict(message)) => {
            Finding::new("False", reasons::ENROLLMENT_SECRET_CONFLICT, message)
        }
        (Reach::NeverEnrolled, Enrollment::Written(secret)) => Finding::new(
            "False",
            reasons::AWAITING_ENROLLMENT,
            format!("no agent has enrolled yet; start one with enrollment.yaml of Secret {secret}"),
        ),
    }
}

fn connected(question: &Question<'_>) -> Finding {
    match question.reach {
        Reach::Online => match question.rivals {
            None => Finding::new("True", reasons::SESSION_UP, "a session is up"),
            Some((peer, rival)) => {
                let message = format!(
                    "two machines hold this node's identity: {peer} is connected, {rival} was turned away; enroll one \
                     of the two anew, and if neither is known, revoke the identity"
                );
                Finding::new("True", reasons::DUPLICATE_IDENTITY, message).volatile()
            }
        },
        Reach::Revoked => revoked("False"),
        Reach::NeverEnrolled => Finding::new("False", reasons::AWAITING_ENROLLMENT, "no agent has enrolled yet"),
        Reach::Offline => {
            Finding::new("False", reasons::NODE_OFFLINE, "no session is up; it is taken up again by itself")
        }
    }
}

/// Whether a reference that leads nowhere may lead somewhere soon, by itself.
pub(super) fn may_come(why: &Unresolved) -> bool {
    matches!(why, Unresolved::ObjectNotFound | Unresolved::KeyNotFound)
}

/// What is wrong with the spec itself, with what it refers to, or with this agent for it.
fn spec_fault(question: &Question<'_>) -> Option<Finding> {
    match question.inputs.rendering {
        Rendering::Invalid(errors) => {
            let reason = errors.first().map_or("InvalidValue", |e| e.reason.as_str());
            Some(Finding::new("False", reason, listed(errors)))
        }
        Rendering::Missing(missing) => {
            let worst = missing.iter().find(|m| !may_come(&m.why)).or(missing.first());
            let reason = worst.map_or(reasons::REFERENCE_NOT_FOUND, |m| reason_of(&m.why));
            let first = worst.into_iter().chain(missing.iter().filter(|m| Some(*m) != worst));
            let listed = listed(&first.cloned().collect::<Vec<Missing>>());
            Some(Finding::new("False", reason, listed))
        }
        Rendering::Document(_) => {
            question.known.refusal().map(|refusal| Finding::new("False", &refusal.reason, &refusal.message))
        }
    }
}

fn reason_of(why: &Unresolved) -> &'static str {
    match why {
        Unresolved::ObjectNotFound | Unresolved::KeyNotFound => reasons::REFERENCE_NOT_FOUND,
        Unresolved::SecretNotAllowed(_) => reasons::SECRET_NOT_ALLOWED,
        Unresolved::TooLarge(_) => reasons::CONTENT_TOO_LARGE,
        Unresolved::Forbidden(_) => reasons::REFERENCE_FORBIDDEN,
    }
}

/// The first three, and how many more there are.
fn listed<T: ToString>(items: &[T]) -> String {
    const SHOWN: usize = 3;
    let mut text = items.iter().take(SHOWN).map(T::to_string).collect::<Vec<_>>().join("; ");
    if items.len() > SHOWN {
        text += &format!("; and {} more", items.len() - SHOWN);
    }
    text
}

fn config_applied(question: &Question<'_>, spec: Option<&Finding>, healthy: &Finding) -> Finding {
    let Question { known, desired, reach, .. } = question;
    if question.inputs.node.spec.suspended {
        return Finding::new("Unknown", reasons::SUSPENDED, "spec.suspended: nothing is changed on the machine");
    }
    if let Some(spec) = spec {
        return spec.clone();
    }
    if *reach == Reach::NeverEnrolled {
        return Finding::new("False", reasons::AWAITING_ENROLLMENT, "no agent has enrolled yet");
    }
    let resources = known.resources.clone().unwrap_or_default();
    let is_here = known.held.as_deref() == *desired;
    if let Some(denied) = known.config_failure.as_ref().filter(|f| f.reason == reasons::DENIED_BY_LOCAL_POLICY)
        && is_here
    {
        return Finding::new("False", reasons::DENIED_BY_LOCAL_POLICY, &denied.message).volatile();
    }
    if is_here && known.config_failed > 0 {
        let why = known.config_failure.as_ref().map(|f| format!(": {}: {}: {}", f.resource, f.reason, f.message));
        let message = format!("{} of {} failed{}", known.config_failed, resources.total, why.unwrap_or_default());
        return Finding::new("False", reasons::RESOURCES_FAILED, message).volatile();
    }
    if known.applied.as_deref() != *desired {
        let is_held_up = known.held.as_deref() == *desired && healthy.reason == reasons::SERVICES_NOT_READY;
        let (reason, message) = match reach {
            Reach::Offline => (reasons::NODE_OFFLINE, "the node is given it when it returns"),
            Reach::Revoked => (reasons::IDENTITY_REVOKED, "spec.identity.revoked: the node is given nothing"),
            _ => match known.warning() {
                Some(notice) if notice.reason == reasons::STORE_UNWRITABLE => {
                    (reasons::STORE_UNWRITABLE, notice.message.as_str())
                }
                Some(notice) if notice.reason == reasons::POLICY_UNUSABLE => {
                    (reasons::POLICY_UNUSABLE, notice.message.as_str())
                }
                // A service that cannot be started for the first time keeps it from being carried out.
                _ if is_held_up => (reasons::SERVICES_NOT_READY, healthy.message.as_str()),
                _ => (reasons::PROGRESSING, "it is on its way"),
            },
        };
        let finding = Finding::new("False", reason, format!("revision {} is not applied: {message}", name(*desired)));
        return if is_held_up { finding.volatile() } else { finding };
    }
    if resources.drifted > 0 {
        let drifted = known.failures.iter().find(|f| f.reason == reasons::DRIFTED);
        let why = drifted.map(|f| format!(": {}", f.message));
        let message = format!("{} differ, by drift policy Audit{}", resources.drifted, why.unwrap_or_default());
        return Finding::new("False", reasons::DRIFTED, message).volatile();
    }
    Finding::new("True", reasons::APPLIED, format!("revision {} is applied", name(*desired)))
}

fn name(revision: Option<&str>) -> &str {
    revision.unwrap_or("of no document")
}

fn healthy(question: &Question<'_>) -> Finding {
    let Question { known, reach, before, .. } = question;
    match reach {
        Reach::NeverEnrolled => {
            return Finding::new("Unknown", reasons::AWAITING_ENROLLMENT, "no agent has enrolled yet");
        }
        Reach::Offline => {
            return Finding::new("Unknown", reasons::NODE_OFFLINE, "the node cannot tell while it is offline");
        }
        Reach::Revoked => return revoked("Unknown"),
        Reach::Online => {}
    }
    let told = super::find(before, condition::HEALTHY).filter(|c| c.status != "Unknown");
    if question.settling || !known.is_fresh {
        if let Some(told) = told {
            let status = if told.status == "True" { "True" } else { "False" };
            return Finding::new(status, &told.reason, &told.message).volatile();
        }
        let (reason, message) = match known.is_fresh {
            true => (reasons::PROGRESSING, "services are on the way to their states"),
            false => (reasons::AWAITING_REPORT, "the agent has not reported yet"),
        };
        return Finding::new("Unknown", reason, message);
    }
    match (&known.unready, known.services.len()) {
        (Some(why), _) if question.in_time && !known.is_in_trouble() => {
            Finding::new("False", reasons::PROGRESSING, why.clone()).volatile()
        }
        (Some(why), _) => Finding::new("False", reasons::SERVICES_NOT_READY, why.clone()).volatile(),
        (None, 0) => Finding::new("True", reasons::NO_SERVICES, "there are no services"),
        (None, _) => Finding::new("True", reasons::SERVICES_READY, "every service is in its state").volatile(),
    }
}

fn stalled(question: &Question<'_>, spec: Option<&Finding>, enrolled: &Finding, config: &Finding) -> Finding {
    if question.reach == Reach::Revoked {
        return revoked("True");
    }
    match (question.inputs.rendering, spec) {
        (Rendering::Missing(_), Some(_)) if !question.stalled_for_reference => {}
        (_, Some(spec)) => return spec.with_status("True"),
        (_, None) => {}
    }
    if enrolled.reason == reasons::ENROLLMENT_SECRET_CONFLICT {
        return enrolled.with_status("True");
    }
    if [reasons::DENIED_BY_LOCAL_POLICY, reasons::POLICY_UNUSABLE].contains(&config.reason.as_str()) {
        return config.with_status("True");
    }
    Finding::new("False", reasons::NO_OBSTACLE, "nothing waits for a person")
}

fn ready(
    question: &Question<'_>,
    spec: Option<&Finding>,
    enrolled: &Finding,
    config: &Finding,
    healthy: &Finding,
) -> Finding {
    if question.reach == Reach::Revoked {
        return revoked("False");
    }
    if question.inputs.node.spec.suspended {
        return config.clone();
    }
    if let Some(spec) = spec {
        return spec.clone();
    }
    match question.reach {
        Reach::NeverEnrolled => return enrolled.clone(),
        Reach::Offline => {
            let applied = if config.status == "True" { "it has the desired revision" } else { &config.message };
            return Finding::new("Unknown", reasons::NODE_OFFLINE, format!("the node is offline; {applied}"));
        }
        Reach::Online | Reach::Revoked => {}
    }
    if config.status != "True" {
        return config.clone();
    }
    if question.unsettled && healthy.status == "True" {
        return Finding::new("False", reasons::PROGRESSING, "services are on the way to their states");
    }
    if healthy.status != "True" {
        return healthy.clone();
    }
    match question.known.warning() {
        Some(notice) => Finding::new("True", &notice.reason, &notice.message).volatile(),
        None => Finding::new("True", reasons::READY, format!("revision {} is in force", name(question.desired))),
    }
}

fn reconciling(
    question: &Question<'_>,
    stalled: &Finding,
    enrolled: &Finding,
    config: &Finding,
    healthy: &Finding,
) -> Finding {
    if stalled.status == "True" || question.inputs.node.spec.suspended {
        let why = if stalled.status == "True" { stalled } else { config };
        return why.with_status("False");
    }
    if question.reach == Reach::NeverEnrolled {
        return enrolled.with_status("True");
    }
    if config.status == "False" && config.reason != reasons::DRIFTED {
        return config.with_status("True");
    }
    if question.unsettled && (question.in_time || healthy.status == "True") {
        return Finding::new("True", reasons::PROGRESSING, "services are on the way to their states");
    }
    match (config.status, healthy.reason.as_str()) {
        ("False", _) => config.clone(),
        (_, reasons::AWAITING_REPORT) => healthy.with_status("True"),
        (_, reasons::SERVICES_NOT_READY) => healthy.with_status("False"),
        _ => Finding::new("False", reasons::UP_TO_DATE, "there is nothing to do"),
    }
}
