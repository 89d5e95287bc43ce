//! The node's own policy between a document and the machine: what is refused, told, and taken up once it is allowed.

use std::sync::{Arc, Mutex};

use windlass::{
    agent::{
        host::memory::{MemoryHost, MemoryNode},
        policy::{InForce, Policy, file},
        state_loop::ReadPolicy,
        store::Store as _,
    },
    model::{Artifact, DesiredState, Digest, Drift, File, Platform, Report, Source},
};

use crate::node::{DRIFT_PERIOD, Node, document, file as written, path};

/// A policy that somebody changes while the agent runs.
#[derive(Clone)]
struct Changing(Arc<Mutex<Policy>>);

impl Changing {
    fn new(rules: &str) -> Self {
        Self(Arc::new(Mutex::new(with(rules))))
    }

    fn read(&self) -> ReadPolicy {
        let policy = self.0.clone();
        Arc::new(move || policy.lock().expect("lock").clone())
    }

    fn becomes(&self, policy: Policy) {
        *self.0.lock().expect("lock") = policy;
    }
}

fn with(rules: &str) -> Policy {
    let text = format!("apiVersion: edge.windlass.dev/v1alpha1\nkind: LocalPolicy\n{rules}\n");
    let Policy::InForce(built_in) = Policy::built_in(Platform::Posix, "policy.yaml", &[]) else { panic!("rules") };
    Policy::InForce(Box::new(InForce { rules: file::parse(&text).expect("rules"), is_given: true, ..*built_in }))
}

async fn start(policy: &Changing) -> Node {
    let host = Arc::new(MemoryHost::default());
    let mut node = Node::start_under(policy.read(), host, Arc::default(), Arc::default()).await;
    node.supervise().await;
    for bytes in [b"one", b"two"] {
        node.bring(bytes);
    }
    node
}

fn failures(report: &Report) -> Vec<(&str, &str)> {
    report.failures.iter().map(|failure| (failure.resource.as_str(), failure.reason.as_str())).collect()
}

const DENIED: &str = "DeniedByLocalPolicy";

#[tokio::test(start_paused = true)]
async fn what_is_denied_is_told_while_the_rest_goes_on_and_is_taken_up_once_it_is_allowed() {
    let policy = Changing::new("paths: {allow: [/opt]}");
    let mut node = start(&policy).await;
    let files = vec![written("/opt/a", b"one", Drift::Enforce), written("/srv/b", b"two", Drift::Enforce)];
    let revision = node.deliver(&document(files));
    let report = node.until("told", |r| !r.progressing && !r.failures.is_empty()).await;
    assert_eq!(failures(&report), [("file /srv/b", DENIED)]);
    assert!(report.failures[0].message.contains("403") && report.failures[0].message.contains("policy.yaml"));
    assert_eq!((report.resources.in_desired_state, report.resources.failed), (1, 1));
    assert_eq!((node.bytes("/opt/a"), node.bytes("/srv/b")), (Some(b"one".to_vec()), None));
    assert_eq!(report.applied_revision, None);

    policy.becomes(with("paths: {allow: [/opt, /srv]}"));
    node.until_applied(&revision).await;
    assert_eq!(node.bytes("/srv/b"), Some(b"two".to_vec()));
}

#[tokio::test(start_paused = true)]
async fn what_is_in_place_is_denied_as_well_so_that_nothing_is_learnt_of_it() {
    let policy = Changing::new("");
    let mut node = start(&policy).await;
    node.host.put(&path("/etc"), Some(MemoryNode::Directory(Default::default())));
    node.host.put(&path("/etc/shadow"), Some(MemoryNode::File(b"one".to_vec(), Default::default())));
    node.deliver(&document(vec![written("/etc/shadow", b"one", Drift::Audit)]));
    let report = node.until("told", |r| !r.failures.is_empty()).await;
    assert_eq!((failures(&report), report.resources.drifted), (vec![("file /etc/shadow", DENIED)], 0));
    assert_eq!(node.store.ledger(), Ok(Vec::new()), "nor is it adopted");
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_removed_stays_and_is_told_and_an_artifact_that_is_denied_is_not_fetched() {
    let policy = Changing::new("");
    let mut node = start(&policy).await;
    let first = node.deliver(&document(vec![written("/opt/acme/a", b"one", Drift::Enforce)]));
    node.until_applied(&first).await;
    policy.becomes(with("paths: {deny: [/opt/acme]}"));
    let sha256 = Digest::of(b"large");
    let source = Source::Artifact(Artifact { url: "https://x/".into(), sha256 });
    let denied = File { source, ..written("/opt/acme/b", b"", Drift::Enforce) };
    node.deliver(&document(vec![denied]));
    let both = [("file /opt/acme/b", DENIED), ("file /opt/acme/a", DENIED)];
    node.until("both told", |r| both.iter().all(|told| failures(r).contains(told))).await;
    assert_eq!(node.bytes("/opt/acme/a"), Some(b"one".to_vec()));
    assert!(node.artifacts.borrow().is_empty());

    let second = node.deliver(&DesiredState { node_uid: "uid".into(), ..DesiredState::default() });
    policy.becomes(with(""));
    node.until_applied(&second).await;
    assert!(node.host.everything().is_empty(), "the folder that was made for it is gone too");
}

#[tokio::test(start_paused = true)]
async fn while_the_policy_cannot_be_used_nothing_is_changed_and_that_is_told() {
    let policy = Changing::new("");
    let mut node = start(&policy).await;
    let first = node.deliver(&document(vec![written("/opt/a", b"one", Drift::Enforce)]));
    node.until_applied(&first).await;
    policy.becomes(Policy::Unusable("policy.yaml: others may write it".into()));
    let second = node.deliver(&document(vec![written("/opt/a", b"two", Drift::Enforce)]));
    let report = node.until("told", |r| r.notice.is_some()).await;
    let notice = report.notice.clone().expect("a notice");
    assert!(notice.reason == "PolicyUnusable" && notice.message.contains("others may write it"), "{notice:?}");
    tokio::time::sleep(DRIFT_PERIOD * 3).await;
    assert_eq!(node.bytes("/opt/a"), Some(b"one".to_vec()));
    let report = node.report.borrow().clone();
    assert_eq!((&report.applied_revision, report.progressing), (&Some(first), false));
    assert!(node.inputs.borrow().changes_nothing());

    policy.becomes(with(""));
    // What no document named any more was discarded.
    node.bring(b"two");
    node.until_applied(&second).await;
    assert!(node.report.borrow().notice.is_none() && node.bytes("/opt/a") == Some(b"two".to_vec()));
}
