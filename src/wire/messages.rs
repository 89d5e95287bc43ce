//! Messages of the tunnel ↔ model: reports and facts. Pure.

use super::{WireError, tunnel_v1 as pb};
use crate::model::{Disk, Failure, NodeFacts, Notice, Report, ResourceCounts, Revision, ServicePhase, ServiceReport};

/// At most this many failures and services of a report are read: a peer cannot make the operator hold more.
const MAX_ENTRIES: usize = 64;
/// Longest text of a report, in characters.
const MAX_TEXT: usize = 1024;

/// An empty revision is none.
pub fn revision(field: &str, text: &str) -> Result<Option<Revision>, WireError> {
    if text.is_empty() {
        return Ok(None);
    }
    Revision::parse(text).map(Some).map_err(|e| WireError::field(field, e))
}

impl From<&Report> for pb::Report {
    fn from(report: &Report) -> Self {
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
        let (notice_reason, notice_message) = notice.clone().map(|n| (n.reason, n.message)).unwrap_or_default();
        Self {
            held_revision: held_revision.as_ref().map(ToString::to_string).unwrap_or_default(),
            applied_revision: applied_revision.as_ref().map(ToString::to_string).unwrap_or_default(),
            progressing: *progressing,
            resources: Some(pb::ResourceCounts {
                total: resources.total,
                in_desired_state: resources.in_desired_state,
                failed: resources.failed,
                drifted: resources.drifted,
            }),
            failures: failures
                .iter()
                .take(MAX_ENTRIES)
                .map(|f| pb::Failure {
                    resource: f.resource.clone(),
                    reason: f.reason.clone(),
                    message: f.message.clone(),
                })
                .collect(),
            services: services
                .iter()
                .take(MAX_ENTRIES)
                .map(|s| pb::ServiceStatus {
                    name: s.name.clone(),
                    state: s.state.as_str().to_owned(),
                    ready: s.ready,
                    restarts: s.restarts,
                    message: s.message.clone(),
                    reason: s.reason.clone(),
                })
                .collect(),
            facts: Some(facts.into()),
            notice_reason,
            notice_message,
            reboot_pending: *reboot_pending,
        }
    }
}

impl TryFrom<pb::Report> for Report {
    type Error = WireError;

    fn try_from(report: pb::Report) -> Result<Self, WireError> {
        let resources = report.resources.unwrap_or_default();
        let services = report
            .services
            .into_iter()
            .take(MAX_ENTRIES)
            .map(|s| {
                let state = ServicePhase::parse(&s.state)
                    .ok_or_else(|| WireError::field("services.state", format!("unknown state {:?}", cut(s.state))))?;
                Ok(ServiceReport {
                    name: cut(s.name),
                    state,
                    ready: s.ready,
                    restarts: s.restarts,
                    reason: if s.reason.is_empty() { s.reason } else { reason(s.reason) },
                    message: cut(s.message),
                })
            })
            .collect::<Result<_, WireError>>()?;
        Ok(Self {
            held_revision: revision("held_revision", &report.held_revision)?,
            applied_revision: revision("applied_revision", &report.applied_revision)?,
            progressing: report.progressing,
            resources: ResourceCounts {
                total: resources.total,
                in_desired_state: resources.in_desired_state,
                failed: resources.failed,
                drifted: resources.drifted,
            },
            failures: report
                .failures
                .into_iter()
                .take(MAX_ENTRIES)
                .map(|f| Failure { resource: cut(f.resource), reason: reason(f.reason), message: cut(f.message) })
                .collect(),
            services,
            facts: report.facts.unwrap_or_default().into(),
            notice: (!report.notice_reason.is_empty())
                .then(|| Notice { reason: reason(report.notice_reason), message: cut(report.notice_message) }),
            reboot_pending: report.reboot_pending,
        })
    }
}

impl From<&NodeFacts> for pb::NodeFacts {
    fn from(facts: &NodeFacts) -> Self {
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
        } = facts.clone();
        Self {
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
            disks: disks.into_iter().take(MAX_ENTRIES).map(|Disk { name, bytes }| pb::Disk { name, bytes }).collect(),
            time_zone,
        }
    }
}

impl From<pb::NodeFacts> for NodeFacts {
    fn from(facts: pb::NodeFacts) -> Self {
        let pb::NodeFacts {
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
        Self {
            os: cut(os),
            os_version: cut(os_version),
            architecture: cut(architecture),
            hostname: cut(hostname),
            agent_version: cut(agent_version),
            boot_time,
            edition: cut(edition),
            build: cut(build),
            domain: cut(domain),
            memory_bytes,
            disks: disks.into_iter().take(MAX_ENTRIES).map(|d| Disk { name: cut(d.name), bytes: d.bytes }).collect(),
            time_zone: cut(time_zone),
        }
    }
}

fn cut(text: String) -> String {
    if text.chars().nth(MAX_TEXT).is_none() { text } else { text.chars().take(MAX_TEXT).collect() }
}

/// A condition's reason must be CamelCase of ASCII letters and digits, or the API server refuses the status.
fn reason(text: String) -> String {
    let valid = text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if valid { text } else { "Unspecified".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            held_revision: Some(Revision::of(b"a")),
            applied_revision: None,
            progressing: true,
            resources: ResourceCounts { total: 3, in_desired_state: 1, failed: 1, drifted: 1 },
            failures: vec![Failure { resource: "file /a".into(), reason: "NotWritable".into(), message: "ü".into() }],
            services: vec![ServiceReport {
                name: "db".into(),
                state: ServicePhase::BackingOff,
                ready: false,
                restarts: 3,
                reason: "ServiceCrashing".into(),
                message: "exit code 1".into(),
            }],
            facts: NodeFacts {
                os: "windows".into(),
                os_version: "Windows 10".into(),
                architecture: "amd64".into(),
                hostname: "press-07".into(),
                agent_version: "0.1.0".into(),
                boot_time: 7,
                edition: "Professional".into(),
                build: "19045.4651".into(),
                domain: "plant.example".into(),
                memory_bytes: 8 << 30,
                disks: vec![Disk { name: "C:".into(), bytes: 1 << 38 }],
                time_zone: "W. Europe Standard Time".into(),
            },
            notice: Some(Notice { reason: "StoreDamaged".into(), message: "m".into() }),
            reboot_pending: true,
        }
    }

    #[test]
    fn a_report_survives_the_wire() {
        assert_eq!(Report::try_from(pb::Report::from(&report())), Ok(report()));
        assert_eq!(Report::try_from(pb::Report::from(&Report::default())), Ok(Report::default()));
    }

    #[test]
    fn a_hostile_report_is_cut_to_size() {
        let mut hostile = pb::Report::from(&report());
        hostile.failures =
            vec![
                pb::Failure { resource: "x".repeat(5000), reason: "no reason!".into(), message: "y".repeat(5000) };
                500
            ];
        let read = Report::try_from(hostile).expect("cut");
        assert_eq!(read.failures.len(), MAX_ENTRIES);
        assert_eq!(read.failures[0].resource.len(), MAX_TEXT);
        assert_eq!(read.failures[0].reason, "Unspecified");
    }
}
