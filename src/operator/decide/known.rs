//! What is known of a machine: from its latest report, or else from what its status says.

use crate::{
    api::{
        DiskStatus, EdgeNodeStatus, FailureStatus, MAX_FAILURES, MAX_SERVICES, NodeStatus, ResourceStatus,
        ServiceStatus, condition,
    },
    model::{NodeFacts, Notice, Report, ServicePhase, ServiceReport},
    operator::reasons,
};

/// What is known of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Whether it comes from a report.
    pub is_fresh: bool,
    /// Revision that the agent holds.
    pub held: Option<String>,
    /// Revision that it carried out whole.
    pub applied: Option<String>,
    pub progressing: bool,
    pub resources: Option<ResourceStatus>,
    pub failures: Vec<FailureStatus>,
    /// How many directories and files failed: services are health, not configuration.
    pub config_failed: usize,
    /// The first refusal of the node's own policy, or else the first failure of what is no service.
    pub config_failure: Option<FailureStatus>,
    /// All of them, not ready ones first.
    pub services: Vec<ServiceStatus>,
    /// Why a service is not ready, of those that are not: one that others wait for rather than one that waits.
    pub unready: Option<String>,
    pub node: Option<NodeStatus>,
    pub notice: Option<Notice>,
    /// Whether the machine waits for a restart; `None` where machines do not tell.
    pub reboot_pending: Option<bool>,
    in_transition: bool,
    in_trouble: bool,
}

impl Known {
    pub fn reported(report: &Report) -> Self {
        let Report {
            held_revision,
            applied_revision,
            progressing,
            resources,
            failures,
            services,
            facts,
            notice,
            reboot_pending,
        } = report;
        let mut failures: Vec<FailureStatus> = failures
            .iter()
            .map(|f| FailureStatus {
                resource: f.resource.clone(),
                reason: f.reason.clone(),
                message: f.message.clone(),
            })
            .collect();
        let config_failure = config_failure(&failures);
        failures.truncate(MAX_FAILURES);
        let config_failed =
            config_failed(resources.failed as usize, services.iter().filter(|s| is_trouble(s.state)).count());
        Self {
            is_fresh: true,
            config_failed,
            config_failure,
            held: held_revision.as_ref().map(ToString::to_string),
            applied: applied_revision.as_ref().map(ToString::to_string),
            progressing: *progressing,
            in_trouble: resources.failed > 0
                || services.iter().any(|s| is_trouble(s.state))
                || notice.as_ref().is_some_and(|notice| is_refusal(&notice.reason)),
            in_transition: services.iter().any(|s| is_transition(s.state)),
            resources: Some(ResourceStatus {
                total: count(resources.total),
                in_desired_state: count(resources.in_desired_state),
                failed: count(resources.failed),
                drifted: count(resources.drifted),
            }),
            failures,
            unready: services.iter().filter(|s| !s.ready).min_by_key(|s| distance_from_cause(s.state)).map(why),
            services: services_of(services),
            node: facts_of(facts),
            notice: notice.clone(),
            reboot_pending: (facts.os == "windows").then_some(*reboot_pending),
        }
    }

    pub fn remembered(before: &EdgeNodeStatus) -> Self {
        let warned = super::find(before, condition::READY).filter(|c| is_warning(&c.reason));
        let failed = before.resources.as_ref().map_or(0, |r| usize::try_from(r.failed).unwrap_or_default());
        let is_trouble = |s: &&ServiceStatus| ServicePhase::parse(&s.state).is_some_and(is_trouble);
        Self {
            is_fresh: false,
            config_failed: config_failed(failed, before.services.iter().filter(is_trouble).count()),
            config_failure: config_failure(&before.failures),
            held: before.desired_revision.clone(),
            applied: before.applied_revision.clone(),
            progressing: false,
            resources: before.resources.clone(),
            failures: before.failures.clone(),
            services: before.services.clone(),
            unready: before.services.iter().find(|s| !s.ready).map(|s| format!("{} is {}", s.name, s.state)),
            node: before.node.clone(),
            notice: warned.map(|c| Notice { reason: c.reason.clone(), message: c.message.clone() }),
            reboot_pending: super::status_of(before, condition::REBOOT_PENDING).map(|status| status == "True"),
            in_transition: false,
            in_trouble: false,
        }
    }

    /// Whether the machine has come to rest in the desired revision.
    pub fn is_settled(&self, desired: Option<&str>) -> bool {
        self.held.as_deref() == desired
            && self.applied.as_deref() == desired
            && !self.progressing
            && !self.in_transition
    }

    /// Whether something went wrong that is to be told at once.
    pub fn is_in_trouble(&self) -> bool {
        self.in_trouble
    }

    /// What is wrong with the node as a whole though it may well be in its desired state.
    pub fn warning(&self) -> Option<&Notice> {
        self.notice.as_ref().filter(|notice| is_warning(&notice.reason))
    }

    /// Why the agent takes no desired state at all.
    pub fn refusal(&self) -> Option<&Notice> {
        self.notice.as_ref().filter(|notice| is_refusal(&notice.reason))
    }
}

fn is_warning(reason: &str) -> bool {
    [reasons::STORE_DAMAGED, reasons::STORE_UNWRITABLE, reasons::POLICY_UNUSABLE].contains(&reason)
}

fn config_failed(failed: usize, services: usize) -> usize {
    failed.saturating_sub(services)
}

fn config_failure(failures: &[FailureStatus]) -> Option<FailureStatus> {
    let denied = failures.iter().find(|f| f.reason == reasons::DENIED_BY_LOCAL_POLICY);
    let is_config = |f: &&FailureStatus| !f.resource.starts_with("service ") && f.reason != reasons::DRIFTED;
    denied.or(failures.iter().find(is_config)).cloned()
}

fn is_refusal(reason: &str) -> bool {
    [reasons::UNSUPPORTED_BY_AGENT, reasons::UNTRUSTED_DOCUMENT].contains(&reason)
}

fn is_transition(state: ServicePhase) -> bool {
    matches!(state, ServicePhase::Starting | ServicePhase::Stopping | ServicePhase::Waiting)
}

fn is_trouble(state: ServicePhase) -> bool {
    matches!(state, ServicePhase::BackingOff | ServicePhase::Failed)
}

/// How far from the cause of what is wrong: what failed, what is neither, what waits for others.
fn distance_from_cause(state: ServicePhase) -> u8 {
    match state {
        state if is_trouble(state) => 0,
        ServicePhase::Waiting => 2,
        _ => 1,
    }
}

fn count(n: u32) -> i32 {
    i32::try_from(n).unwrap_or(i32::MAX)
}

fn why(service: &ServiceReport) -> String {
    let ServiceReport { name, state, message, .. } = service;
    match message.as_str() {
        "" => format!("{name} is {}", state.as_str()),
        message => format!("{name} is {}: {message}", state.as_str()),
    }
}

fn services_of(services: &[ServiceReport]) -> Vec<ServiceStatus> {
    let (ready, unready): (Vec<_>, Vec<_>) = services.iter().partition(|s| s.ready);
    unready
        .into_iter()
        .chain(ready)
        .take(MAX_SERVICES)
        .map(|s| ServiceStatus {
            name: s.name.clone(),
            state: s.state.as_str().to_owned(),
            ready: s.ready,
            restarts: i64::try_from(s.restarts).unwrap_or(i64::MAX),
        })
        .collect()
}

fn facts_of(facts: &NodeFacts) -> Option<NodeStatus> {
    if *facts == NodeFacts::default() {
        return None;
    }
    let NodeFacts {
        os,
        os_version,
        architecture,
        hostname,
        agent_version,
        boot_time,
        edition,
        build,
        domain,
        memory_bytes,
        disks,
        time_zone,
    } = facts;
    let told = |text: &String| (!text.is_empty()).then(|| text.clone());
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let booted = i64::try_from(*boot_time).ok().filter(|s| *s > 0).and_then(|s| jiff::Timestamp::from_second(s).ok());
    Some(NodeStatus {
        os: os.clone(),
        os_version: os_version.clone(),
        hostname: hostname.clone(),
        agent_version: agent_version.clone(),
        architecture: architecture.clone(),
        boot_time: booted.map(|at| at.to_string()),
        edition: told(edition),
        build: told(build),
        domain: told(domain),
        memory_bytes: (*memory_bytes > 0).then(|| size(*memory_bytes)),
        disks: disks.iter().map(|disk| DiskStatus { name: disk.name.clone(), bytes: size(disk.bytes) }).collect(),
        time_zone: told(time_zone),
    })
}
