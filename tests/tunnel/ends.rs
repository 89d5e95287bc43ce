//! An operator's end and agents' ends, made for tests.

use std::{
    collections::HashMap,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use windlass::{
    agent::{
        contents::Contents,
        held::Held,
        link::{self, LinkEnds, LinkSettings, LinkState, Unenrolled},
        proxies::{Proxies, Way},
        store::{MemoryContents, MemoryStore},
    },
    model::{Content, DesiredState, Digest, Directory as Folder, HostPath, NodeId, Report},
    operator::{
        accept::{self, Directory, Found, Gate},
        authority::{Authority, CheckedRequest},
        document::Document,
        enroll::Registrar,
        sessions::{NodeKey, Sessions},
        signing::{Keyring, Rotation, Signer},
    },
    trust::fresh_nonce,
    tunnel::{endpoint::Endpoint, keepalive::Heartbeat},
    wire::{
        desired,
        tunnel_v1::{
            EnrollRequest, EnrollResponse,
            enroll_response::{Enrolled, Refused, Result as Outcome},
        },
    },
};

/// EdgeNodes and tokens in memory.
#[derive(Default)]
pub struct World {
    pub nodes: Mutex<HashMap<NodeKey, String>>,
    pub synced: Mutex<bool>,
    pub connected: Mutex<Vec<NodeId>>,
}

impl World {
    pub fn with(nodes: &[(&str, &str)]) -> Arc<Self> {
        let world = Self::default();
        *world.synced.lock().unwrap() = true;
        for (name, uid) in nodes {
            world.nodes.lock().unwrap().insert(key(name), (*uid).to_owned());
        }
        Arc::new(world)
    }
}

pub fn key(name: &str) -> NodeKey {
    NodeKey { namespace: "plant-a".to_owned(), name: name.to_owned() }
}

pub fn node(name: &str, uid: &str) -> NodeId {
    NodeId { namespace: "plant-a".to_owned(), name: name.to_owned(), uid: uid.to_owned() }
}

impl Directory for World {
    fn find(&self, key: &NodeKey) -> Found {
        if !*self.synced.lock().unwrap() {
            return Found::NotSynced;
        }
        match self.nodes.lock().unwrap().get(key) {
            Some(uid) => Found::Known { uid: uid.clone(), session: None, enrolled: false, revoked: false },
            None => Found::Absent,
        }
    }

    fn confirm_gone<'a>(&'a self, node: &'a NodeId) -> BoxFuture<'a, bool> {
        Box::pin(async move { self.nodes.lock().unwrap().get(&NodeKey::from(node)) != Some(&node.uid) })
    }
}

/// Certifies whoever shows the token `token-of-<name>`.
pub struct Tokens {
    pub authority: Arc<Authority>,
    pub signer: Arc<Signer>,
    pub world: Arc<World>,
}

impl Registrar for Tokens {
    fn enroll(&self, request: EnrollRequest, _: SocketAddr) -> BoxFuture<'_, EnrollResponse> {
        Box::pin(async move {
            let uid = self.world.nodes.lock().unwrap().get(&key(&request.name)).cloned();
            let result = match uid {
                Some(uid) if request.token == format!("token-of-{}", request.name) => {
                    let checked = CheckedRequest::check(&request.certificate_request).expect("a valid request");
                    let certificate = self.authority.node(&checked, &node(&request.name, &uid)).expect("signed");
                    let trust = Some(self.signer.latest());
                    Outcome::Enrolled(Enrolled { certificate: certificate.to_vec().into(), uid, trust })
                }
                _ => Outcome::Refused(Refused {
                    reason: "UnknownToken".into(),
                    message: "not known".into(),
                    retry: false,
                }),
            };
            EnrollResponse { result: Some(result) }
        })
    }

    fn connected<'a>(&'a self, node: &'a NodeId) -> BoxFuture<'a, bool> {
        self.world.connected.lock().unwrap().push(node.clone());
        Box::pin(async { true })
    }
}

pub fn authority() -> Arc<Authority> {
    let made = Authority::make(Timestamp::now()).expect("made");
    Arc::new(Authority::read(&made).expect("read"))
}

pub const ROTATION: Rotation = Rotation { period: SignedDuration::from_hours(1), overlap: SignedDuration::ZERO };

/// Signs with a first key, on behalf of that authority.
pub fn signer(authority: &Authority) -> Arc<Signer> {
    let keyring = Keyring::make(vec![authority.certificate().to_vec()], Timestamp::now()).expect("made");
    Arc::new(Signer::new(keyring, ROTATION, Timestamp::now))
}

/// An operator that listens on loopback.
pub struct Operator {
    pub address: SocketAddr,
    pub authority: Arc<Authority>,
    pub signer: Arc<Signer>,
    pub gate: Arc<Gate>,
    pub sessions: Arc<Sessions>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Operator {
    pub async fn start(world: &Arc<World>) -> Self {
        let authority = authority();
        let signer = signer(&authority);
        Self::start_with(world, authority, signer, "127.0.0.1:0").await
    }

    pub async fn start_with(world: &Arc<World>, authority: Arc<Authority>, signer: Arc<Signer>, listen: &str) -> Self {
        let listener = TcpListener::bind(listen).await.expect("bound");
        let address = listener.local_addr().expect("bound");
        let gate = signed_gate(world, (&authority, &signer), 1);
        let (sessions, shutdown) = (Arc::new(Sessions::default()), CancellationToken::new());
        let serving = accept::serve(listener, Arc::clone(&gate), Arc::clone(&sessions), shutdown.clone());
        Self { address, authority, signer, gate, sessions, shutdown, task: tokio::spawn(serving) }
    }

    /// Ends it as SIGTERM does.
    pub async fn stop(self) {
        self.shutdown.cancel();
        within(self.task).await.expect("no panic");
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&format!("wss://{}", self.address)).expect("valid")
    }
}

pub fn gate(world: &Arc<World>, authority: &Arc<Authority>, heartbeat_seconds: u32) -> Arc<Gate> {
    signed_gate(world, (authority, &signer(authority)), heartbeat_seconds)
}

fn signed_gate(
    world: &Arc<World>,
    (authority, signer): (&Arc<Authority>, &Arc<Signer>),
    heartbeat_seconds: u32,
) -> Arc<Gate> {
    let url = Endpoint::parse("wss://127.0.0.1:1").expect("valid");
    let tokens = Tokens { authority: Arc::clone(authority), signer: Arc::clone(signer), world: Arc::clone(world) };
    let registrar = Arc::new(tokens);
    let heartbeat = Heartbeat::from_seconds(heartbeat_seconds);
    let trusted = (&**authority, Arc::clone(signer));
    Gate::new(trusted, &url, Arc::clone(world) as _, registrar, heartbeat, Timestamp::now).expect("a gate")
}

/// An agent's link, its store and its folder, which outlive it.
pub struct Agent {
    pub folder: Arc<TempDir>,
    pub store: Arc<MemoryStore>,
    pub contents: Arc<MemoryContents>,
    pub desired: watch::Receiver<Option<Arc<Held>>>,
    pub wanted: watch::Sender<Vec<Content>>,
    pub arrived: Arc<Notify>,
    pub report: watch::Sender<Arc<Report>>,
    pub state: watch::Receiver<LinkState>,
    pub refused: watch::Receiver<Option<String>>,
    shutdown: CancellationToken,
    task: Option<JoinHandle<()>>,
}

/// What an agent keeps when it ends.
pub struct Remains {
    pub folder: Arc<TempDir>,
    pub store: Arc<MemoryStore>,
    pub contents: Arc<MemoryContents>,
}

impl Remains {
    pub fn new() -> Self {
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        Self { folder, store: Arc::default(), contents: Arc::default() }
    }
}

/// Writes an enrollment file and returns its path.
pub fn enrollment(folder: &TempDir, endpoint: &Endpoint, authority: &Authority, name: &str, token: &str) -> PathBuf {
    let path = folder.path().join("enrollment.yaml");
    let file = serde_json::json!({
        "apiVersion": "edge.windlass.dev/v1alpha1", "kind": "Enrollment", "url": endpoint.to_string(),
        "node": {"namespace": "plant-a", "name": name}, "token": token, "certificateAuthority": authority.pem(),
    });
    std::fs::write(&path, serde_saphyr::to_string(&file).expect("YAML")).expect("written");
    path
}

impl Agent {
    /// A new one, with the token of its node.
    pub fn start(operator: &Operator, name: &str) -> Self {
        let remains = Remains::new();
        enrollment(&remains.folder, &operator.endpoint(), &operator.authority, name, &format!("token-of-{name}"));
        Self::start_again(remains)
    }

    pub fn start_again(remains: Remains) -> Self {
        Self::start_behind(remains, Way { proxies: Proxies::of("", ""), additional_ca: None })
    }

    pub fn start_behind(Remains { folder, store, contents }: Remains, way: Way) -> Self {
        let file = Some(folder.path().join("enrollment.yaml"));
        let (clock, random) = (SystemTime::now, || 0.01);
        let unenrolled = Unenrolled::Fails;
        let settings =
            LinkSettings::prepare(folder.path(), file, unenrolled, way, clock, random, fresh_nonce).expect("ready");
        let loaded = Held::load(&*store, &[], settings.believed().as_ref()).expect("readable");
        let (desired_ends, desired) = watch::channel(loaded.held().map(Arc::new));
        let (refused_ends, refused) = watch::channel(None);
        let (wanted, wanted_ends) = watch::channel(Vec::new());
        let (report, report_ends) = watch::channel(Arc::new(Report::default()));
        let (state_ends, state) = watch::channel(LinkState::Connecting { url: String::new() });
        let (arrived, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
        let ends = LinkEnds {
            desired: desired_ends,
            wanted: wanted_ends,
            arrived: Arc::clone(&arrived),
            report: report_ends,
            state: state_ends,
            refused: refused_ends,
            features: &[],
        };
        let running = link::run(settings, Arc::clone(&store) as _, Arc::clone(&contents) as _, ends, shutdown.clone());
        let task = Some(tokio::spawn(running));
        Self { folder, store, contents, desired, wanted, arrived, report, state, refused, shutdown, task }
    }

    /// Ends it as SIGTERM does.
    pub async fn stop(mut self) -> Remains {
        self.shutdown.cancel();
        within(self.task.take().expect("running")).await.expect("no panic");
        Remains {
            folder: Arc::clone(&self.folder),
            store: Arc::clone(&self.store),
            contents: Arc::clone(&self.contents),
        }
    }

    /// Waits until the link's state is as told.
    pub async fn is(&mut self, wanted: impl FnMut(&LinkState) -> bool) -> LinkState {
        within(self.state.wait_for(wanted)).await.expect("the link runs").clone()
    }

    pub async fn connected(&mut self) -> u64 {
        match self.is(|state| matches!(state, LinkState::Connected { .. })).await {
            LinkState::Connected { session, .. } => session,
            other => unreachable!("{other:?}"),
        }
    }

    /// Waits until it is told of a failure that contains this.
    pub async fn fails(&mut self, told: &str) {
        self.is(|state| matches!(state, LinkState::Disconnected { error, .. } if error.contains(told))).await;
    }

    /// Waits for a document and says what it holds then.
    pub async fn holds(&mut self, document: &Document) {
        let held = |held: &Option<Arc<Held>>| held.as_ref().is_some_and(|held| held.digest == document.digest);
        within(self.desired.wait_for(held)).await.expect("the link runs");
        self.report
            .send_replace(Arc::new(Report { held_revision: Some(document.revision.clone()), ..Report::default() }));
    }

    /// Waits until a content is there whole.
    pub async fn has(&self, content: &Content) {
        within(async {
            while !self.contents.has(&content.digest) {
                self.arrived.notified().await;
            }
        })
        .await;
    }
}

/// A document for a node, of `directories` directories, with these contents.
pub fn document(uid: &str, directories: usize, contents: &[Vec<u8>]) -> Arc<Document> {
    let state = DesiredState {
        node_uid: uid.to_owned(),
        directories: (0..directories)
            .map(|n| Folder {
                path: HostPath::parse(&format!("/srv/acme/{n:06}-{}", "x".repeat(80))).expect("valid"),
                attributes: Default::default(),
                drift: Default::default(),
            })
            .collect(),
        ..DesiredState::default()
    };
    let contents = contents.iter().map(|bytes| (Digest::of(bytes), bytes.clone().into())).collect();
    Document::new(desired::encode(&state), contents, false)
}

pub fn content(bytes: &[u8]) -> Content {
    Content { digest: Digest::of(bytes), salt: None, size: bytes.len() as u64 }
}

/// Waits, and gives up where a test would hang.
pub async fn within<F: Future>(future: F) -> F::Output {
    timeout(Duration::from_secs(120), future).await.expect("in time")
}

/// Waits until a condition on the operator's sessions holds.
pub async fn sessions_become(sessions: &Sessions, mut wanted: impl FnMut() -> bool) {
    within(async {
        while !wanted() {
            sessions.changes().await;
        }
    })
    .await;
}
