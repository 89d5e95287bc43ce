//! A machine, a store and a state loop in memory, and the loops around it as far as a test plays them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use windlass::{
    agent::{
        apply::CrashPoint,
        contents::Contents,
        held::Held,
        host::{
            Host, Ownership,
            memory::{MemoryHost, MemoryNode},
        },
        policy::Policy,
        retry::Trouble,
        services::{ServiceInputs, ServiceReports},
        state_loop::{ReadPolicy, StateEnds, StateLoop},
        store::{KeptDocument, MemoryContents, MemoryStore, Store},
    },
    model::{Artifact, Attributes, Content, DesiredState, Digest, Drift, File, HostPath, Report, Revision, Source},
    wire,
};

/// As the state loop is told.
pub const DRIFT_PERIOD: Duration = Duration::from_secs(60);

/// A machine, a store, and the state loop between them.
pub struct Node {
    pub host: Arc<MemoryHost>,
    pub store: Arc<MemoryStore>,
    pub contents: Arc<MemoryContents>,
    pub desired: watch::Sender<Option<Arc<Held>>>,
    pub refused: watch::Sender<Option<String>>,
    pub arrived: Arc<Notify>,
    pub failing: watch::Sender<Arc<BTreeMap<Digest, Trouble>>>,
    pub services: watch::Sender<Arc<ServiceReports>>,
    pub wanted: watch::Receiver<Vec<Content>>,
    pub artifacts: watch::Receiver<Vec<Artifact>>,
    pub inputs: watch::Receiver<Arc<ServiceInputs>>,
    pub report: watch::Receiver<Arc<Report>>,
    pub shutdown: CancellationToken,
    pub running: JoinHandle<()>,
}

impl Node {
    pub async fn start() -> Self {
        Self::start_with(Arc::default(), Arc::default(), Arc::default()).await
    }

    pub async fn start_with(host: Arc<MemoryHost>, store: Arc<MemoryStore>, contents: Arc<MemoryContents>) -> Self {
        Self::start_under(Arc::new(|| Policy::Unrestricted), host, store, contents).await
    }

    /// On a machine with this policy.
    pub async fn start_under(
        policy: ReadPolicy,
        host: Arc<MemoryHost>,
        store: Arc<MemoryStore>,
        contents: Arc<MemoryContents>,
    ) -> Self {
        let held = Held::load(store.as_ref(), host.features(), None).expect("store").held().map(Arc::new);
        let (desired, desired_out) = watch::channel(held);
        let (refused, refused_out) = watch::channel(None);
        let (failing, failing_out) = watch::channel(Arc::default());
        let (services, services_out) = watch::channel(Arc::new(ServiceReports::default()));
        let (wanted_in, wanted) = watch::channel(Vec::new());
        let (artifacts_in, artifacts) = watch::channel(Vec::new());
        let (inputs_in, inputs) = watch::channel(Arc::new(ServiceInputs::default()));
        let (report_in, report) = watch::channel(Arc::new(Report::default()));
        let arrived = Arc::new(Notify::new());
        let ends = StateEnds {
            desired: desired_out,
            refused: refused_out,
            arrived: arrived.clone(),
            failing: failing_out,
            policy,
            services: services_out,
            wanted: wanted_in,
            artifacts: artifacts_in,
            inputs: inputs_in,
            report: report_in,
        };
        let facts = host.facts();
        let crash = Arc::new(CrashPoint::default());
        let state = StateLoop::open(host.clone(), store.clone(), contents.clone(), crash, facts, DRIFT_PERIOD, ends);
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(state.await.expect("open").run(shutdown.clone()));
        Self {
            host,
            store,
            contents,
            desired,
            refused,
            arrived,
            failing,
            services,
            wanted,
            artifacts,
            inputs,
            report,
            shutdown,
            running,
        }
    }

    /// As the link does it: into the store, then into force.
    pub fn deliver(&self, document: &DesiredState) -> Revision {
        let bytes = wire::desired::encode(document);
        let kept = KeptDocument { bytes: bytes.clone(), voucher: None };
        self.store.set_desired(Some(&kept)).expect("store");
        let held = Held::decode(&bytes, self.host.features()).expect("document");
        let revision = held.revision.clone();
        self.desired.send_replace(Some(Arc::new(held)));
        revision
    }

    pub fn bring(&self, bytes: &[u8]) {
        let digest = Digest::of(bytes);
        self.contents.append(&digest, 0, bytes).expect("append");
        assert_eq!(self.contents.finish(&digest, None), Ok(Ok(())));
        self.arrived.notify_one();
    }

    /// As the supervisor does it where there is nothing to supervise.
    pub async fn supervise(&mut self) {
        let mut inputs = self.inputs.clone();
        let services = self.services.clone();
        tokio::spawn(async move {
            loop {
                let answers = inputs.borrow_and_update().number;
                services.send_replace(Arc::new(ServiceReports {
                    answers,
                    carried_out: true,
                    ..ServiceReports::default()
                }));
                if inputs.changed().await.is_err() {
                    return;
                }
            }
        });
    }

    pub async fn until(&mut self, what: &str, is: impl Fn(&Report) -> bool) -> Arc<Report> {
        let waited = timeout(Duration::from_secs(600), self.report.wait_for(|report| is(report))).await;
        if let Ok(report) = waited {
            return report.expect("running").clone();
        }
        drop(waited);
        panic!("never {what}: {:?}", self.report.borrow());
    }

    pub async fn until_applied(&mut self, revision: &Revision) -> Arc<Report> {
        self.until("applied", |r| r.applied_revision.as_ref() == Some(revision) && !r.progressing).await
    }

    pub fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        match self.host.everything().get(path) {
            Some(MemoryNode::File(bytes, _)) => Some(bytes.clone()),
            _ => None,
        }
    }

    pub async fn stop(self) -> (Arc<MemoryHost>, Arc<MemoryStore>, Arc<MemoryContents>) {
        self.shutdown.cancel();
        self.running.await.expect("ended");
        (self.host, self.store, self.contents)
    }
}

pub fn path(text: &str) -> HostPath {
    HostPath::parse(text).expect("path")
}

pub fn file(at: &str, bytes: &[u8], drift: Drift) -> File {
    let source = Source::Content(Content { digest: Digest::of(bytes), salt: None, size: bytes.len() as u64 });
    File { path: path(at), source, attributes: Attributes::default(), drift }
}

pub fn document(files: Vec<File>) -> DesiredState {
    DesiredState { node_uid: "uid".into(), files, ..DesiredState::default() }
}

pub fn by_somebody(bytes: &[u8]) -> Option<MemoryNode> {
    Some(MemoryNode::File(
        bytes.to_vec(),
        Ownership { mode: 0o644, owner: "bob".into(), group: "bob".into(), ..Ownership::default() },
    ))
}
