//! `windlass-agent status`: asked over a real socket, and written for people.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use tokio_util::sync::CancellationToken;
use windlass::{
    agent::{
        host::machine,
        link::LinkState,
        local::{self, AgentStatus},
        status::{ask, text},
    },
    model::{Failure, NodeFacts, NodeId, Notice, Report, ResourceCounts, Revision, ServicePhase, ServiceReport},
};

fn node() -> Option<NodeId> {
    Some(NodeId { namespace: "plant-a".into(), name: "press-07".into(), uid: "0b".into() })
}

fn well() -> Report {
    Report {
        held_revision: Some(Revision::of(b"a")),
        applied_revision: Some(Revision::of(b"a")),
        resources: ResourceCounts { total: 2, in_desired_state: 2, ..ResourceCounts::default() },
        services: vec![ServiceReport {
            name: "press".into(),
            state: ServicePhase::Running,
            ready: true,
            restarts: 0,
            reason: String::new(),
            message: String::new(),
        }],
        facts: NodeFacts { agent_version: "0.1.0".into(), ..NodeFacts::default() },
        ..Report::default()
    }
}

fn ill() -> Report {
    let mut report = well();
    report.applied_revision = None;
    report.resources = ResourceCounts { total: 3, in_desired_state: 1, failed: 2, drifted: 0 };
    report.failures = vec![Failure {
        resource: "file /a".into(),
        reason: "WrongKind".into(),
        message: "a directory is there".into(),
    }];
    report.services[0].state = ServicePhase::BackingOff;
    report.services[0].ready = false;
    report.services[0].restarts = 3;
    report.services[0].reason = "ServiceCrashing".into();
    report.services[0].message = "exit code 1".into();
    report.notice = Some(Notice { reason: "StoreDamaged".into(), message: "begun anew".into() });
    report
}

#[tokio::test]
async fn the_running_agent_answers_again_and_again() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("agent.sock");
    std::fs::write(&path, b"left of an earlier agent").expect("left");
    let incoming = machine::listen(&path).expect("listen");

    let status = AgentStatus::of(node(), &ill(), &LinkState::Connected { session: 12, since: 100 });
    let answer = status.clone();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(local::serve(incoming, Arc::new(move || answer.clone()), shutdown.clone()));
    for _ in 0..2 {
        let connection = machine::connect(&path).await.expect("connect");
        assert_eq!(ask(connection).await.expect("answer"), status);
    }
    shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(10), serving).await.expect("in time").expect("task").expect("ended");
}

#[test]
fn only_a_connected_agent_with_everything_in_place_is_well() {
    let connected = LinkState::Connected { session: 12, since: 100 };
    let offline = LinkState::Disconnected { since: 100, error: "refused".into(), retry_at: 110 };
    assert!(AgentStatus::of(node(), &well(), &connected).is_well());
    assert!(!AgentStatus::of(node(), &well(), &offline).is_well());
    assert!(!AgentStatus::of(node(), &ill(), &connected).is_well());
    assert!(!AgentStatus::of(node(), &Report::default(), &connected).is_well(), "nothing is held yet");
}

#[test]
fn the_status_reads_well() {
    let now = UNIX_EPOCH + Duration::from_secs(400);
    let status = AgentStatus::of(node(), &well(), &LinkState::Connected { session: 12, since: 100 });
    let expected = "\
Node      plant-a/press-07
Agent     0.1.0
Link      connected for 5 min, session 12
Revision  ca978112ca1bbdca, applied
Resources 2 of 2 in desired state, 0 failed, 0 drifted

Services
  press  Running     ready
";
    assert_eq!(text(&status, now), expected);

    let link = LinkState::Disconnected { since: 390, error: "cannot reach x:443".into(), retry_at: 410 };
    let expected = "\
Node      not enrolled
Agent     0.1.0
Link      disconnected for 10 s: cannot reach x:443
Revision  ca978112ca1bbdca, not applied (applied: none)
Resources 1 of 3 in desired state, 2 failed, 0 drifted
Notice    StoreDamaged: begun anew

Failures
  file /a: WrongKind: a directory is there

Services
  press  BackingOff  not ready, 3 restarts: exit code 1
";
    assert_eq!(text(&AgentStatus::of(None, &ill(), &link), now), expected);
}
