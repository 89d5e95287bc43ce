//! `decide` against the specification of the conditions, and the promises that no table can hold.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod decision_table;

use decision_table::{at, cases, document, invalid, missing, offline, ready, report, service, view};
use windlass::{
    api::{CLEANUP_FINALIZER, DeletionPolicy, EdgeNodeStatus},
    model::{Disk, Failure, NodeFacts, Report, Revision, ServicePhase},
    operator::{
        decide::{Finalizer, Rendering, Severity},
        document::Document,
        gather::Unresolved,
        sessions::Link,
    },
};

fn said(status: &EdgeNodeStatus) -> Vec<String> {
    status.conditions.iter().map(|c| format!("{} {}", c.status, c.reason)).collect()
}

#[test]
fn the_conditions_are_what_the_table_says() {
    let mut wrong = Vec::new();
    for case in cases() {
        let decision = case.scene.decide();
        let status = decision.status.clone().unwrap_or_else(|| case.scene.status());
        let found = (
            said(&status),
            decision.status.is_some(),
            decision.events.iter().map(|e| e.reason.as_str()).collect::<Vec<_>>(),
            decision.requeue_after.map(|d| d.as_secs()),
        );
        let expected = (
            case.conditions.into_iter().chain(case.reboot).map(str::to_owned).collect(),
            case.writes,
            case.event.into_iter().collect::<Vec<_>>(),
            case.again,
        );
        if found != expected {
            wrong.push(format!("{}\n  expected {expected:?}\n  found    {found:?}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} cases differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn conditions_always_come_in_the_same_order_and_with_their_generation() {
    for case in cases() {
        let status = case.scene.written().status();
        let kinds: Vec<&str> = status.conditions.iter().map(|c| c.type_.as_str()).collect();
        let mut expected = vec!["Ready", "Reconciling", "Stalled", "Enrolled", "Connected", "ConfigApplied", "Healthy"];
        expected.extend(case.reboot.map(|_| "RebootPending"));
        assert_eq!(kinds, expected, "{}", case.name);
        for condition in &status.conditions {
            assert!(!condition.message.is_empty(), "{}: {}", case.name, condition.type_);
        }
    }
}

#[test]
fn what_was_written_is_not_written_again() {
    for case in cases() {
        let again = case.scene.clone().written().decide();
        assert_eq!(again.status, None, "{}", case.name);
        assert_eq!(again.events, [], "{}", case.name);
    }
}

#[test]
fn the_time_of_a_transition_moves_with_the_status_value_only() {
    let time = |status: &EdgeNodeStatus, kind: &str| {
        status.conditions.iter().find(|c| c.type_ == kind).expect("condition").last_transition_time.0
    };
    let before = ready();
    let after = before.clone().respecified(invalid()).written();
    assert_eq!(time(&after.status(), "Ready"), at(after.now));
    assert_eq!(time(&after.status(), "Connected"), time(&before.status(), "Connected"));
    let other = after.clone().later(10).respecified(missing(Unresolved::SecretNotAllowed("x".into()))).written();
    assert_ne!(said(&other.status()), said(&after.status()));
    assert_eq!(time(&other.status(), "Ready"), at(after.now), "False before and after");
}

#[test]
fn the_last_valid_revision_stays_desired_while_the_spec_is_wrong() {
    let one = Some(document("one").revision.to_string());
    assert_eq!(ready().respecified(invalid()).written().status().desired_revision, one);
    assert_eq!(ready().respecified(missing(Unresolved::KeyNotFound)).written().status().desired_revision, one);
}

#[test]
fn offline_is_told_against_the_new_revision_in_one_write() {
    let status = offline().respecified(Rendering::Document(document("two"))).written().status();
    assert_eq!(status.desired_revision, Some(document("two").revision.to_string()));
    assert_eq!(status.applied_revision, Some(document("one").revision.to_string()));
}

#[test]
fn a_change_of_the_spec_costs_two_writes_and_one_event_whatever_the_agent_reports_on_the_way() {
    let mut scene = ready().respecified(Rendering::Document(document("two")));
    let (mut writes, mut events) = (0, 0);
    let way = [
        None,
        Some(Report { held_revision: Some(document("two").revision.clone()), progressing: true, ..report("one") }),
        Some(Report {
            services: vec![service("press", ServicePhase::Stopping, false)],
            progressing: true,
            ..report("two")
        }),
        Some(Report {
            services: vec![service("press", ServicePhase::Stopped, false)],
            progressing: true,
            ..report("two")
        }),
        Some(Report { services: vec![service("press", ServicePhase::Starting, false)], ..report("two") }),
        Some(report("two")),
        Some(report("two")),
    ];
    for step in way {
        if let Some(report) = step {
            scene = scene.reports(report);
        }
        let decision = scene.decide();
        writes += usize::from(decision.status.is_some());
        events += decision.events.len();
        scene = scene.written().later(1);
    }
    assert_eq!((writes, events), (2, 1));
}

#[test]
fn a_reason_is_told_once_a_minute() {
    let failing =
        || ready().reports(Report { services: vec![service("press", ServicePhase::Failed, false)], ..report("one") });
    let mut scene = failing().written();
    scene = scene.later(5).reports(report("one")).written();
    scene = scene.later(5).reports(failing().session.unwrap().report.as_deref().unwrap().clone());
    assert_eq!(scene.decide().events, []);
    assert!(scene.decide().status.is_some());
    let later = scene.later(60).decide();
    assert_eq!(later.events[0].severity, Severity::Warning);
}

#[test]
fn failures_and_services_are_cut_to_what_a_status_shows_those_not_ready_first() {
    let failure = |i: usize| Failure { resource: format!("file /{i}"), reason: "X".into(), message: "x".into() };
    let mut services: Vec<_> = (0..40).map(|i| service(&format!("s{i}"), ServicePhase::Running, true)).collect();
    services[39].ready = false;
    let mut report = Report { failures: (0..30).map(failure).collect(), services, ..report("one") };
    report.resources.failed = 30;
    let status = ready().reports(report).written().status();
    assert_eq!((status.failures.len(), status.services.len()), (10, 32));
    assert_eq!(status.services[0].name, "s39");
}

#[test]
fn of_services_that_are_not_ready_the_one_that_others_wait_for_is_named() {
    let named = |services: [(&str, ServicePhase); 3]| {
        let services = services.map(|(name, state)| service(name, state, false)).into();
        let status = ready().reports(Report { services, ..report("one") }).written().later(61).written().status();
        status.conditions.iter().find(|condition| condition.type_ == "Healthy").unwrap().message.clone()
    };
    let (waits, starts) = (ServicePhase::Waiting, ServicePhase::Starting);
    assert_eq!(named([("app", waits), ("db", starts), ("queue", ServicePhase::Failed)]), "queue is Failed");
    assert_eq!(named([("app", waits), ("db", starts), ("queue", starts)]), "db is Starting");
    assert_eq!(named([("app", waits), ("db", waits), ("queue", waits)]), "app is Waiting");
}

#[test]
fn the_status_describes_the_machine_and_is_written_when_that_changes() {
    let facts = NodeFacts {
        edition: "Professional".into(),
        memory_bytes: 8 << 30,
        disks: vec![Disk { name: "C:".into(), bytes: 1 << 38 }],
        ..report("one").facts
    };
    let described = ready().reports(Report { facts: facts.clone(), ..report("one") }).written();
    let node = described.status().node.expect("described");
    assert_eq!((node.edition.as_deref(), node.memory_bytes, node.domain), (Some("Professional"), Some(8 << 30), None));
    assert_eq!((node.disks[0].name.as_str(), node.disks[0].bytes), ("C:", 1 << 38));
    let joined = NodeFacts { domain: "plant.example".into(), ..facts };
    assert!(described.reports(Report { facts: joined, ..report("one") }).decide().status.is_some());
}

#[test]
fn a_finalizer_is_there_only_while_the_policy_asks_for_it() {
    let with = |policy, finalizers: &[&str]| {
        ready()
            .with(|s| {
                s.node.spec.deletion_policy = policy;
                s.node.metadata.finalizers = Some(finalizers.iter().map(|f| (*f).to_owned()).collect());
            })
            .decide()
            .finalizer
    };
    assert_eq!(with(DeletionPolicy::Orphan, &[]), Finalizer::Keep);
    assert_eq!(with(DeletionPolicy::Cleanup, &["other"]), Finalizer::Add);
    assert_eq!(with(DeletionPolicy::Cleanup, &[CLEANUP_FINALIZER]), Finalizer::Keep);
    assert_eq!(with(DeletionPolicy::Orphan, &[CLEANUP_FINALIZER]), Finalizer::Remove);
}

#[test]
fn a_deletion_waits_for_the_clean_up_and_for_nothing_else() {
    let cleaned = Revision::of(b"empty");
    let report = Report { applied_revision: Some(cleaned.clone()), held_revision: Some(cleaned), ..report("one") };
    let deleted = |policy| ready().deleted(policy);
    let cleaning = deleted(DeletionPolicy::Cleanup);
    assert_eq!(cleaning.decide().finalizer, Finalizer::Keep);
    assert_eq!(cleaning.clone().reports(report.clone()).decide().finalizer, Finalizer::Remove, "done");
    let busy = Report { progressing: true, ..report };
    assert_eq!(cleaning.clone().reports(busy).decide().finalizer, Finalizer::Keep, "not quite done");
    assert_eq!(deleted(DeletionPolicy::Orphan).decide().finalizer, Finalizer::Remove, "orphaned meanwhile");
    let never = decision_table::new().written().deleted(DeletionPolicy::Cleanup);
    assert_eq!(never.decide().finalizer, Finalizer::Remove, "never enrolled");
    let offline = offline().deleted(DeletionPolicy::Cleanup);
    assert_eq!(offline.decide().finalizer, Finalizer::Keep, "it may return");
    let given_up = offline.later(300).decide();
    assert_eq!(given_up.finalizer, Finalizer::Remove, "the time is up");
    assert_eq!(given_up.events[0].reason, "CleanupTimedOut");
}

#[test]
fn a_reconnect_to_the_same_replica_is_written_along_with_the_next_change_only() {
    let back = ready().with(|s| s.session = view(9, Link::Up(at(s.now)), Some(report("one"))));
    assert_eq!(back.decide().status, None);
    let changed = back.respecified(Rendering::Document(Document::new(b"two".to_vec(), [].into(), false))).written();
    assert_eq!(changed.status().session.map(|s| s.id), Some(9));
}
