//! Says how the node stands: counts, failures, services, revisions. Pure.
//! In: how a pass ended and what the services do. Out: the report, and whether the document is carried out.

use std::collections::BTreeSet;

use super::{
    converge::Outcome,
    entries::{Entry, Wanted},
    held::Held,
    host::HostError,
    plan::Standing,
    policy::Policy,
    services::{ServiceInputs, ServiceReports},
};
use crate::model::{
    DesiredState, Failure, HostPath, NodeFacts, Notice, Report, ResourceCounts, Revision, ServiceReport,
};

/// All that a report depends on.
#[derive(Debug, Clone, Copy)]
pub struct Known<'k> {
    /// The document in force.
    pub held: Option<&'k Held>,
    /// How the last pass over that very document ended; `None` before the first.
    pub outcome: Option<&'k Outcome>,
    /// What the supervisor was told for that document.
    pub inputs: &'k ServiceInputs,
    /// What it said last.
    pub services: &'k ServiceReports,
    /// Files in use that services are about to let go, as of the end of that pass.
    pub to_come: &'k BTreeSet<HostPath>,
    /// Carried out whole, last.
    pub applied: Option<&'k Revision>,
    /// The machine.
    pub facts: &'k NodeFacts,
    /// Why a document is not in force that came or was kept.
    pub refused: Option<&'k str>,
    /// What the node itself allows.
    pub policy: &'k Policy,
    /// What the store was found to have lost.
    pub damage: Option<&'k str>,
    /// Why nothing can be journaled at present.
    pub unwritable: Option<&'k str>,
}

/// Most failures in a report.
const MOST_FAILURES: usize = 64;

impl Known<'_> {
    /// Whether everything was carried out, and the services have it.
    pub fn is_carried_out(&self) -> bool {
        let Some(held) = self.held else { return false };
        let is_done = |standing: &Standing| matches!(standing, Standing::InPlace | Standing::Drifted(_));
        let all = self.outcome.is_some_and(|outcome| outcome.finished && self.standings(outcome).all(is_done));
        all && self.are_services_told() && !self.changes_nothing(held)
    }

    fn changes_nothing(&self, held: &Held) -> bool {
        held.document.suspended || !held.lacking().is_empty() || self.policy.unusable().is_some()
    }

    fn are_services_told(&self) -> bool {
        self.services.answers == self.inputs.number && self.services.carried_out
    }

    fn is_progressing(&self, held: &Held) -> bool {
        if self.changes_nothing(held) {
            return false;
        }
        let Some(outcome) = self.outcome else { return true };
        if !outcome.finished || self.standings(outcome).any(|s| *s == Standing::Pending) {
            return true;
        }
        // Services may wait for a file that failed: that is not on the way.
        !self.standings(outcome).any(|s| matches!(s, Standing::Failed(_))) && !self.are_services_told()
    }

    /// Of entries and of what is left over.
    fn standings<'o>(&self, outcome: &'o Outcome) -> impl Iterator<Item = &'o Standing> {
        self.of_entries(outcome).map(|(_, standing)| standing).chain(outcome.plan.leftovers.iter().map(|(_, s)| s))
    }

    /// A file that is in use fails only where nobody is about to let it go.
    fn of_entries<'o>(&self, outcome: &'o Outcome) -> impl Iterator<Item = (&'o Entry, &'o Standing)> {
        static TO_COME: Standing = Standing::Pending;
        let in_use: BTreeSet<&HostPath> = outcome.files_in_use().filter(|path| self.to_come.contains(*path)).collect();
        outcome.entries.iter().zip(&outcome.plan.standings).map(move |(entry, standing)| match &entry.wanted {
            Wanted::File(path, ..) if in_use.contains(path) => (entry, &TO_COME),
            _ => (entry, standing),
        })
    }
}

/// Says it.
pub fn report(known: &Known<'_>) -> Report {
    let Known {
        held,
        outcome,
        inputs: _,
        services,
        to_come: _,
        applied,
        facts,
        refused: _,
        policy: _,
        damage: _,
        unwritable: _,
    } = known;
    let Some(held) = held else {
        return Report { facts: (*facts).clone(), notice: notice(known), ..Report::default() };
    };
    let named = services_of(&held.document, services);
    let mut failures = Vec::new();
    let mut resources = ResourceCounts { total: total(&held.document), ..ResourceCounts::default() };
    if let Some(outcome) = outcome {
        for (entry, standing) in known.of_entries(outcome) {
            match standing {
                Standing::InPlace => resources.in_desired_state += 1,
                Standing::Pending => {}
                Standing::Drifted(_) => resources.drifted += 1,
                Standing::Failed(_) => resources.failed += 1,
            }
            failures.extend(failure(entry.thing().to_string(), standing));
        }
        failures
            .extend(outcome.plan.leftovers.iter().filter_map(|(thing, standing)| failure(thing.to_string(), standing)));
    }
    for service in &named {
        if service.reason.is_empty() {
            resources.in_desired_state += u32::from(service.ready);
            continue;
        }
        resources.failed += 1;
        failures.push(Failure {
            resource: format!("service {}", service.name),
            reason: service.reason.clone(),
            message: service.message.clone(),
        });
    }
    for (name, HostError { reason, message }) in &services.leftovers {
        let (resource, reason) = (format!("service {name}"), reason.as_str().to_owned());
        failures.push(Failure { resource, reason, message: message.clone() });
    }
    failures.truncate(MOST_FAILURES);
    Report {
        held_revision: Some(held.revision.clone()),
        applied_revision: applied.cloned(),
        progressing: known.is_progressing(held),
        resources,
        failures,
        services: named,
        facts: (*facts).clone(),
        notice: notice(known),
        reboot_pending: outcome.is_some_and(|outcome| outcome.restart_pending),
    }
}

/// Reports of services that the document names; of others, the supervisor may still speak for a moment.
fn services_of(document: &DesiredState, reports: &ServiceReports) -> Vec<ServiceReport> {
    let named = document.services.iter();
    named.filter_map(|s| reports.services.iter().find(|r| r.name == s.name.as_str()).cloned()).collect()
}

fn failure(resource: String, standing: &Standing) -> Option<Failure> {
    match standing {
        Standing::InPlace | Standing::Pending => None,
        Standing::Drifted(how) => {
            let message = format!("{resource} {how}");
            Some(Failure { resource, reason: "Drifted".to_owned(), message })
        }
        Standing::Failed(trouble) => {
            Some(Failure { resource, reason: trouble.reason.to_owned(), message: trouble.message.clone() })
        }
    }
}

/// The one that keeps most from working comes first.
fn notice(known: &Known<'_>) -> Option<Notice> {
    let say = |reason: &str, message: String| Some(Notice { reason: reason.to_owned(), message });
    if let Some(why) = known.refused {
        return say("UntrustedDocument", why.to_owned());
    }
    let lacking = known.held.map_or(&[][..], Held::lacking);
    if !lacking.is_empty() {
        let features = lacking.join(", ");
        return say(
            "UnsupportedByAgent",
            format!(
                "the desired state requires {features}, which this agent lacks on this machine; nothing is changed"
            ),
        );
    }
    if let Some(why) = known.unwritable {
        return say("StoreUnwritable", format!("nothing can be journaled, so nothing is changed: {why}"));
    }
    if let Some(why) = known.policy.unusable() {
        return say("PolicyUnusable", format!("the local policy cannot be used, so nothing is changed: {why}"));
    }
    if let Some(what) = known.damage {
        return say("StoreDamaged", what.to_owned());
    }
    if known.held.is_some_and(|held| held.document.suspended) {
        return say("Suspended", "spec.suspended is true; nothing is changed".to_owned());
    }
    None
}

fn total(document: &DesiredState) -> u32 {
    let DesiredState { directories, files, services, registry_values, packages, .. } = document;
    let count = directories.len() + files.len() + services.len() + registry_values.len() + packages.len();
    u32::try_from(count).unwrap_or(u32::MAX)
}
