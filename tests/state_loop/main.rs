//! The state loop over a machine and a store in memory: what it asks for, what it does, and what it says.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod node;
mod policy;
mod windows;

use std::{sync::Arc, time::Duration};

use node::{DRIFT_PERIOD, Node, by_somebody, document, file, path};
use tokio::time::timeout;
use windlass::{
    agent::{
        host::{
            Ownership,
            memory::{MemoryHost, MemoryNode},
        },
        retry::Trouble,
        services::ServiceReports,
        store::{MemoryStore, Store},
    },
    model::{Artifact, Digest, Drift, Source},
};

#[tokio::test(start_paused = true)]
async fn contents_are_asked_for_and_the_document_is_applied_once_they_have_come() {
    let mut node = Node::start().await;
    node.supervise().await;
    let revision = node.deliver(&document(vec![file("/a/b", b"one", Drift::Enforce)]));
    let mut wanted = node.wanted.clone();
    wanted.wait_for(|wanted| wanted.iter().any(|c| c.digest == Digest::of(b"one"))).await.expect("asked for");
    let report = node.until("on the way", |r| r.progressing).await;
    assert_eq!(report.held_revision, Some(revision.clone()));
    assert_eq!(report.applied_revision, None);

    node.bring(b"one");
    let report = node.until_applied(&revision).await;
    assert_eq!((report.resources.total, report.resources.in_desired_state), (1, 1));
    assert_eq!(node.bytes("/a/b"), Some(b"one".to_vec()));
    assert!(node.wanted.borrow().is_empty());
    assert_eq!(node.store.applied(), Ok(Some(revision.to_string())));
}

#[tokio::test(start_paused = true)]
async fn a_quick_change_costs_one_report() {
    let mut node = Node::start().await;
    node.supervise().await;
    for bytes in [b"one", b"two"] {
        node.bring(bytes);
    }
    let first = node.deliver(&document(vec![file("/a", b"one", Drift::Enforce)]));
    node.until_applied(&first).await;
    let mut reports = node.report.clone();
    reports.mark_unchanged();
    // The pass over the first document has discarded what that one does not name.
    node.bring(b"two");
    let second = node.deliver(&document(vec![file("/a", b"two", Drift::Enforce)]));
    reports.changed().await.expect("running");
    let report = reports.borrow_and_update().clone();
    assert_eq!((&report.applied_revision, report.progressing), (&Some(second), false));
    // Nothing else is said, however long one listens.
    assert!(timeout(DRIFT_PERIOD * 10, reports.changed()).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn services_that_have_not_answered_yet_keep_a_revision_from_being_applied() {
    let mut node = Node::start().await;
    let revision = node.deliver(&document(vec![]));
    let mut inputs = node.inputs.clone();
    let number = inputs.wait_for(|inputs| inputs.known).await.expect("told").number;
    let answer = |answers, carried_out| Arc::new(ServiceReports { answers, carried_out, ..ServiceReports::default() });
    node.services.send_replace(answer(number - 1, true));
    let report = node.until("on the way", |r| r.progressing).await;
    assert_eq!(report.applied_revision, None, "an answer to earlier inputs");
    node.services.send_replace(answer(number, false));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(node.report.borrow().applied_revision, None, "not carried out yet");
    node.services.send_replace(answer(number, true));
    node.until_applied(&revision).await;
}

#[tokio::test(start_paused = true)]
async fn drift_is_put_back_or_under_audit_only_told() {
    let mut node = Node::start().await;
    node.supervise().await;
    node.bring(b"one");
    let files = vec![file("/audited", b"one", Drift::Audit), file("/enforced", b"one", Drift::Enforce)];
    let revision = node.deliver(&document(files));
    node.until_applied(&revision).await;

    node.host.put(&path("/audited"), by_somebody(b"other"));
    node.host.put(&path("/enforced"), by_somebody(b"other"));
    let report = node.until("drifted", |r| r.resources.drifted == 1).await;
    assert_eq!(report.failures.len(), 1);
    assert_eq!(
        (report.failures[0].resource.as_str(), report.failures[0].reason.as_str()),
        ("file /audited", "Drifted")
    );
    assert_eq!(report.applied_revision, Some(revision));
    assert!(!report.progressing);
    assert_eq!(node.bytes("/enforced"), Some(b"one".to_vec()));
    assert_eq!(node.bytes("/audited"), Some(b"other".to_vec()));

    // A change by the operator is carried out, under Audit as well.
    node.bring(b"two");
    let revision = node.deliver(&document(vec![file("/audited", b"two", Drift::Audit)]));
    let report = node.until_applied(&revision).await;
    assert_eq!((report.resources.drifted, node.bytes("/audited")), (0, Some(b"two".to_vec())));
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_a_network_is_brought_up_from_the_store() {
    let mut node = Node::start().await;
    node.supervise().await;
    node.bring(b"one");
    let revision = node.deliver(&document(vec![file("/a", b"one", Drift::Enforce)]));
    node.until_applied(&revision).await;
    let (_, store, contents) = node.stop().await;

    // The disk with the files is a new one; the store is there.
    let mut node = Node::start_with(Arc::default(), store, contents).await;
    node.supervise().await;
    node.until("in desired state", |r| r.resources.in_desired_state == 1).await;
    assert_eq!(node.bytes("/a"), Some(b"one".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn suspended_nothing_is_changed_and_it_is_said() {
    let mut node = Node::start().await;
    node.supervise().await;
    node.bring(b"one");
    let mut suspended = document(vec![file("/a", b"one", Drift::Enforce)]);
    suspended.suspended = true;
    node.deliver(&suspended);
    let report = node.until("suspended", |r| r.notice.is_some()).await;
    assert_eq!(report.notice.as_ref().map(|n| n.reason.as_str()), Some("Suspended"));
    assert!(!report.progressing && report.applied_revision.is_none());
    tokio::time::sleep(DRIFT_PERIOD * 2).await;
    assert_eq!(node.bytes("/a"), None);
    assert!(node.inputs.borrow().suspended);

    suspended.suspended = false;
    let revision = node.deliver(&suspended);
    let report = node.until_applied(&revision).await;
    assert_eq!(report.notice, None);
}

#[tokio::test(start_paused = true)]
async fn a_document_that_requires_what_this_agent_lacks_changes_nothing() {
    let mut node = Node::start().await;
    node.supervise().await;
    node.bring(b"one");
    let mut newer = document(vec![file("/a", b"one", Drift::Enforce)]);
    newer.required_features = vec!["files-from-the-moon".into()];
    let revision = node.deliver(&newer);
    let report = node.until("refused", |r| r.notice.is_some()).await;
    assert_eq!(report.held_revision, Some(revision));
    let notice = report.notice.clone().expect("notice");
    assert_eq!(notice.reason, "UnsupportedByAgent");
    assert!(notice.message.contains("files-from-the-moon"), "{notice:?}");
    tokio::time::sleep(DRIFT_PERIOD * 2).await;
    assert_eq!(node.bytes("/a"), None);
    assert!(!node.inputs.borrow().known, "no service is started or stopped");
}

#[tokio::test(start_paused = true)]
async fn a_document_that_was_refused_is_reported_until_one_is_believed_and_what_is_in_force_goes_on() {
    let mut node = Node::start().await;
    node.supervise().await;
    node.bring(b"one");
    let revision = node.deliver(&document(vec![file("/a", b"one", Drift::Enforce)]));
    node.until_applied(&revision).await;
    node.refused.send_replace(Some("NotFresh: of yesterday".into()));
    let report = node.until("told", |r| r.notice.is_some()).await;
    let notice = report.notice.clone().expect("notice");
    assert_eq!((notice.reason.as_str(), notice.message.as_str()), ("UntrustedDocument", "NotFresh: of yesterday"));
    assert_eq!(report.applied_revision.as_ref(), Some(&revision));
    node.host.put(&path("/a"), by_somebody(b"other"));
    tokio::time::sleep(DRIFT_PERIOD * 2).await;
    assert_eq!(node.bytes("/a"), Some(b"one".to_vec()), "drift is still put back");
    node.refused.send_replace(None);
    node.until("over", |r| r.notice.is_none()).await;
}

#[tokio::test(start_paused = true)]
async fn a_released_machine_is_left_as_it_is_and_what_was_owned_is_forgotten() {
    let mut node = Node::start().await;
    node.supervise().await;
    node.bring(b"one");
    let revision = node.deliver(&document(vec![file("/a", b"one", Drift::Enforce)]));
    node.until_applied(&revision).await;
    node.store.set_released(true).expect("store");
    node.store.set_desired(None).expect("store");
    node.desired.send_replace(None);
    node.until("released", |r| r.held_revision.is_none()).await;
    node.host.put(&path("/a"), by_somebody(b"other"));
    tokio::time::sleep(DRIFT_PERIOD * 2).await;
    assert_eq!(node.bytes("/a"), Some(b"other".to_vec()), "nothing is enforced");
    assert_eq!(node.store.ledger(), Ok(vec![]));
    assert!(!node.inputs.borrow().known, "services are left alone");
}

#[tokio::test(start_paused = true)]
async fn an_artifact_that_cannot_be_had_fails_its_file_and_no_other() {
    let mut node = Node::start().await;
    node.supervise().await;
    node.bring(b"one");
    let sha256 = Digest::of(b"program");
    let mut program = file("/program", b"", Drift::Enforce);
    program.source = Source::Artifact(Artifact { url: "https://x/program".into(), sha256 });
    let revision = node.deliver(&document(vec![file("/a", b"one", Drift::Enforce), program]));
    node.artifacts.clone().wait_for(|wanted| wanted.iter().any(|a| a.sha256 == sha256)).await.expect("asked for");
    node.failing.send_replace(Arc::new([(sha256, Trouble::new("DigestMismatch", "other bytes"))].into()));
    let report = node.until("failed", |r| r.resources.failed == 1).await;
    assert_eq!((report.failures[0].reason.as_str(), report.resources.in_desired_state), ("DigestMismatch", 1));
    assert!(!report.progressing && report.applied_revision.is_none());

    node.failing.send_replace(Arc::default());
    node.bring(b"program");
    let report = node.until_applied(&revision).await;
    assert!(report.failures.is_empty());
    assert!(node.artifacts.borrow().is_empty(), "what is in place is not downloaded again");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_the_way_is_told_until_it_is_mended() {
    let mut node = Node::start().await;
    node.supervise().await;
    node.bring(b"one");
    node.host.put(&path("/a"), Some(MemoryNode::Directory(Ownership::default())));
    let revision =
        node.deliver(&document(vec![file("/a", b"one", Drift::Enforce), file("/b", b"one", Drift::Enforce)]));
    let report = node.until("failed", |r| r.resources.failed == 1).await;
    assert_eq!((report.failures[0].reason.as_str(), report.resources.in_desired_state), ("WrongKind", 1));
    node.host.put(&path("/a"), None);
    // Well before drift is looked for next.
    let started = tokio::time::Instant::now();
    node.until_applied(&revision).await;
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn after_a_damaged_store_nothing_present_is_pruned_and_audit_overwrites_nothing() {
    let host = Arc::new(MemoryHost::default());
    host.put(&path("/audited"), by_somebody(b"other"));
    host.put(&path("/enforced"), by_somebody(b"other"));
    let store = Arc::new(MemoryStore::damaged("a bit fell over"));
    let mut node = Node::start_with(host, store, Arc::default()).await;
    node.supervise().await;
    node.bring(b"one");
    let files = vec![file("/audited", b"one", Drift::Audit), file("/enforced", b"one", Drift::Enforce)];
    let revision = node.deliver(&document(files));
    let report = node.until_applied(&revision).await;
    assert_eq!(report.notice.as_ref().map(|n| n.reason.as_str()), Some("StoreDamaged"));
    assert_eq!(node.bytes("/enforced"), Some(b"one".to_vec()));
    assert_eq!(node.bytes("/audited"), Some(b"other".to_vec()));
    let revision = node.deliver(&document(vec![]));
    node.until_applied(&revision).await;
    assert!(node.bytes("/enforced").is_some() && node.bytes("/audited").is_some(), "adopted, not pruned");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_journaled_is_not_done_and_it_is_said_until_there_is_room() {
    let mut node = Node::start().await;
    node.supervise().await;
    node.bring(b"one");
    let revision = node.deliver(&document(vec![file("/a", b"one", Drift::Enforce)]));
    node.until_applied(&revision).await;
    node.store.set_full(true);
    node.host.put(&path("/a"), by_somebody(b"other"));
    let report = node.until("told", |r| r.notice.is_some()).await;
    assert_eq!(report.notice.as_ref().map(|n| n.reason.as_str()), Some("StoreUnwritable"));
    assert_eq!(node.bytes("/a"), Some(b"other".to_vec()));
    node.store.set_full(false);
    node.until("well again", |r| r.notice.is_none()).await;
    assert_eq!(node.bytes("/a"), Some(b"one".to_vec()));
}
