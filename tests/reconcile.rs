//! `reconcile` against an API server that can be made to do what a real one does rarely: conflicts, errors, a watch
//! that lags. It holds one EdgeNode and some ConfigMaps, and counts what is written.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::AtomicI64, atomic::Ordering},
    time::Duration,
};

use http::{Method, Request, Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use serde_json::{Value, json};
use windlass::{
    api::EdgeNode,
    model::{NodeId, Report, Revision},
    operator::{
        accept::Gate,
        authority::Authority,
        decide::Limits,
        directory::{Nodes, reference},
        enroll::SecretRegistrar,
        enrollment,
        gather::{FromCluster, Gatherer},
        metrics::Metrics,
        publish::Publisher,
        reconcile::{Context, reconcile},
        references::{Kind, ObjectKey},
        seen::{Enrolls, Seen, Sight},
        sessions::{Arrival, NodeKey, Sessions},
        signing::{Keyring, Rotation, Signer},
        watch::Change,
    },
    tunnel::{endpoint::Endpoint, keepalive::Heartbeat},
};

/// An API server in memory.
#[derive(Default)]
struct Server {
    objects: HashMap<String, Value>,
    version: u64,
    /// Method and path of every write, with its answer.
    writes: Vec<String>,
    /// Somebody else changes the EdgeNode just before so many of the next status patches.
    conflicts: u32,
    /// Every read of a ConfigMap fails.
    broken: bool,
}

impl Server {
    fn put(&mut self, path: &str, mut object: Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.objects.insert(path.to_owned(), object);
    }

    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let object = path.strip_suffix("/status").unwrap_or(path).to_owned();
        match *method {
            Method::GET if self.broken && path.contains("configmaps") => failure(StatusCode::INTERNAL_SERVER_ERROR),
            Method::GET => match self.objects.get(&object) {
                Some(found) => (StatusCode::OK, found.clone()),
                None => failure(StatusCode::NOT_FOUND),
            },
            Method::PATCH => {
                if path.ends_with("/status") && self.conflicts > 0 {
                    self.conflicts -= 1;
                    let same = self.objects[&object].clone();
                    self.put(&object, same);
                }
                let Some(there) = self.objects.get(&object) else { return failure(StatusCode::NOT_FOUND) };
                let version = &body["metadata"]["resourceVersion"];
                assert!(version.is_string(), "a patch carries the version that it was decided on");
                if *version != there["metadata"]["resourceVersion"] {
                    self.writes.push(format!("409 {path}"));
                    return failure(StatusCode::CONFLICT);
                }
                let mut changed = there.clone();
                merge(&mut changed, body);
                self.put(&object, changed);
                self.writes.push(format!("200 {path}"));
                (StatusCode::OK, self.objects[&object].clone())
            }
            _ => {
                self.writes.push(format!("200 {path}"));
                (StatusCode::CREATED, body.clone())
            }
        }
    }
}

fn failure(code: StatusCode) -> (StatusCode, Value) {
    (code, json!({"kind": "Status", "status": "Failure", "code": code.as_u16(), "message": "no", "reason": "x"}))
}

/// RFC 7386.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.as_object_mut().unwrap().remove(key);
            }
            value => merge(&mut target[key], value),
        }
    }
}

const NODE: &str = "/apis/edge.windlass.dev/v1alpha1/namespaces/a/edgenodes/";
static NOW: AtomicI64 = AtomicI64::new(1_700_000_000);

struct World {
    server: Arc<Mutex<Server>>,
    context: Arc<Context>,
}

impl World {
    fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let server = Arc::new(Mutex::new(Server { version: 10, ..Server::default() }));
        let shared = Arc::clone(&server);
        let service = tower::service_fn(move |request: Request<Body>| {
            let shared = Arc::clone(&shared);
            async move {
                let (parts, body) = request.into_parts();
                let bytes = body.collect_bytes().await.unwrap();
                let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
                let (code, value) = shared.lock().unwrap().answer(&parts.method, parts.uri.path(), &body);
                let body = Body::from(serde_json::to_vec(&value).unwrap());
                Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        let client = kube::Client::new(service, "a");
        let clock = || Timestamp::from_second(NOW.load(Ordering::SeqCst)).unwrap();
        let authority = Arc::new(Authority::read(&Authority::make(clock()).unwrap()).unwrap());
        let nodes = Arc::new(Nodes::new(client.clone()));
        nodes.take(Change::Synced);
        let metrics = Metrics::with(|_| {});
        let url = Endpoint::parse("wss://127.0.0.1:8443").unwrap();
        let rotation = Rotation { period: SignedDuration::ZERO, overlap: SignedDuration::ZERO };
        let signer = Arc::new(Signer::new(Keyring::make(Vec::new(), clock()).unwrap(), rotation, clock));
        let registrar =
            SecretRegistrar::new(client.clone(), Arc::clone(&authority), signer.clone(), nodes.clone(), Arc::default());
        let heartbeat = Heartbeat::from_seconds(10);
        let gate = Gate::new((&authority, signer), &url, nodes.clone(), Arc::new(registrar), heartbeat, clock).unwrap();
        let minute = Duration::from_secs(60);
        let limits = Limits { disconnect_grace: minute, missing_reference_grace: minute, cleanup_timeout: minute };
        let context = Context {
            gatherer: Gatherer::new(Box::new(FromCluster(client.clone())), Arc::clone(&metrics)),
            publisher: Publisher::new(client.clone(), "windlass-0", Arc::clone(&metrics)),
            client,
            nodes,
            seen: Seen::default(),
            references: Mutex::default(),
            sessions: Arc::new(Sessions::default()),
            authority,
            url,
            gate,
            metrics,
            replica: "windlass-0".into(),
            limits,
            started: clock(),
            clock,
            states: Mutex::default(),
        };
        Self { server, context: Arc::new(context) }
    }

    /// Makes an EdgeNode, with its enrollment Secret, or gives it another spec.
    fn node(&self, name: &str, spec: Value) {
        let path = format!("{NODE}{name}");
        let mut server = self.server.lock().unwrap();
        let before = server.objects.get(&path).cloned();
        let generation = before.as_ref().map_or(1, |b| b["metadata"]["generation"].as_i64().unwrap() + 1);
        let mut object = json!({
            "apiVersion": "edge.windlass.dev/v1alpha1", "kind": "EdgeNode",
            "metadata": {"name": name, "namespace": "a", "uid": format!("uid-{name}"), "generation": generation},
            "spec": spec,
        });
        if let Some(status) = before.as_ref().and_then(|b| b.get("status")) {
            object["status"] = status.clone();
        }
        server.put(&path, object);
        drop(server);
        let secret = ObjectKey { kind: Kind::Secret, namespace: "a".into(), name: enrollment::secret_name(name) };
        let fingerprint = enrollment::fingerprint(&self.context.authority, &self.context.url);
        let enrolls = Some(Enrolls { uid: format!("uid-{name}"), fingerprint });
        self.context.seen.applied(secret, Sight { resource_version: "1".into(), enrolls });
        self.watch_shows(name);
    }

    fn config_map(&self, name: &str, value: &str) {
        let mut server = self.server.lock().unwrap();
        let path = format!("/api/v1/namespaces/a/configmaps/{name}");
        server.put(&path, json!({"metadata": {"name": name, "namespace": "a"}, "data": {"k": value}}));
        let version = server.objects[&path]["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
        let key = ObjectKey { kind: Kind::ConfigMap, namespace: "a".into(), name: name.into() };
        self.context.seen.applied(key, Sight { resource_version: version, enrolls: None });
    }

    /// The watch catches up.
    fn watch_shows(&self, name: &str) {
        let object = self.server.lock().unwrap().objects[&format!("{NODE}{name}")].clone();
        self.context.nodes.take(Change::Applied(serde_json::from_value(object).unwrap()));
    }

    fn stored(&self, name: &str) -> Arc<EdgeNode> {
        let key = NodeKey { namespace: "a".into(), name: name.into() };
        self.context.nodes.store().get(&reference(&key)).expect("in the store")
    }

    async fn reconcile(&self, name: &str) -> Result<(), String> {
        let result = reconcile(self.stored(name), Arc::clone(&self.context)).await;
        result.map(|_| ()).map_err(|e| e.to_string())
    }

    /// Writes since the last call, Events left out.
    fn writes(&self) -> Vec<String> {
        let writes = std::mem::take(&mut self.server.lock().unwrap().writes);
        writes.into_iter().filter(|w| !w.contains("/events")).collect()
    }

    fn current(&self, name: &str) -> Value {
        self.server.lock().unwrap().objects[&format!("{NODE}{name}")].clone()
    }
}

fn names(config_map: &str) -> Value {
    json!({"files": [{"path": "/etc/f", "source": {"configMapKeyRef": {"name": config_map, "key": "k"}}}]})
}

fn arrival() -> Arrival {
    Arrival { last_session: 0, status_session: 0, peer: ([192, 0, 2, 7], 50000).into() }
}

fn id(name: &str) -> NodeId {
    NodeId { namespace: "a".into(), name: name.into(), uid: format!("uid-{name}") }
}

#[tokio::test]
async fn a_status_that_was_decided_on_an_old_version_is_decided_again() {
    let world = World::new();
    world.node("n", json!({}));
    world.server.lock().unwrap().conflicts = 2;
    world.reconcile("n").await.expect("reconciled");
    let path = format!("{NODE}n/status");
    assert_eq!(world.writes(), [format!("409 {path}"), format!("409 {path}"), format!("200 {path}")]);
    assert_eq!(world.current("n")["status"]["observedGeneration"], 1);
}

#[tokio::test]
async fn a_watch_that_lags_behind_a_write_causes_no_second_one() {
    let world = World::new();
    world.node("n", json!({}));
    world.reconcile("n").await.expect("reconciled");
    assert_eq!(world.writes().len(), 1);
    world.reconcile("n").await.expect("reconciled");
    assert_eq!(world.writes(), [""; 0], "the store still holds the EdgeNode without a status");
    world.watch_shows("n");
    world.reconcile("n").await.expect("reconciled");
    assert_eq!(world.writes(), [""; 0]);
}

#[tokio::test]
async fn a_change_of_one_config_map_renders_only_the_nodes_that_use_it() {
    let world = World::new();
    world.config_map("x", "1");
    world.config_map("y", "1");
    for (node, config_map) in [("n1", "x"), ("n2", "x"), ("n3", "y")] {
        world.node(node, names(config_map));
        world.reconcile(node).await.expect("reconciled");
    }
    assert_eq!(world.context.metrics.renders(), 3);
    world.config_map("x", "2");
    let x = ObjectKey { kind: Kind::ConfigMap, namespace: "a".into(), name: "x".into() };
    let mut users = world.context.references.lock().unwrap().users(&x);
    users.sort();
    assert_eq!(users.iter().map(|n| n.name.as_str()).collect::<Vec<_>>(), ["n1", "n2"]);
    for node in ["n1", "n2", "n3"] {
        world.watch_shows(node);
        world.reconcile(node).await.expect("reconciled");
    }
    assert_eq!(world.context.metrics.renders(), 5, "n3 was looked at, and not rendered");
}

#[tokio::test]
async fn an_api_server_that_fails_is_asked_again_and_nothing_is_said_of_the_node() {
    let world = World::new();
    world.config_map("x", "1");
    world.server.lock().unwrap().broken = true;
    world.node("n", names("x"));
    world.reconcile("n").await.expect_err("cannot read");
    assert_eq!(world.writes(), [""; 0]);
    world.server.lock().unwrap().broken = false;
    world.reconcile("n").await.expect("reconciled");
    assert!(world.current("n")["status"]["desiredRevision"].is_string());
}

#[tokio::test]
async fn an_invalid_spec_leaves_the_last_valid_document_with_the_session() {
    let world = World::new();
    world.node("n", json!({}));
    let orders = world.context.sessions.open(&id("n"), arrival(), Timestamp::now()).expect("opened").slot;
    world.reconcile("n").await.expect("reconciled");
    let document = orders.borrow().document.clone().expect("delivered");
    world.node("n", json!({"files": [{"path": "/a/../b", "source": {"inline": "x"}}]}));
    world.reconcile("n").await.expect("reconciled");
    assert_eq!(orders.borrow().document.as_ref(), Some(&document));
    let status = &world.current("n")["status"];
    assert_eq!(status["desiredRevision"], document.revision.as_str());
    assert_eq!(status["observedGeneration"], 2);
}

#[tokio::test]
async fn a_deletion_of_an_orphan_empties_no_machine_while_another_finalizer_holds_it() {
    let world = World::new();
    world.node("n", json!({"directories": [{"path": "/srv/acme"}]}));
    let orders = world.context.sessions.open(&id("n"), arrival(), Timestamp::now()).expect("opened").slot;
    world.reconcile("n").await.expect("reconciled");
    let before = orders.borrow().document.clone().expect("delivered");
    {
        let mut server = world.server.lock().unwrap();
        let mut object = server.objects[&format!("{NODE}n")].clone();
        object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        object["metadata"]["finalizers"] = json!(["foregroundDeletion"]);
        server.put(&format!("{NODE}n"), object);
    }
    world.watch_shows("n");
    world.reconcile("n").await.expect("reconciled");
    assert_eq!(orders.borrow().document.as_ref(), Some(&before));
}

#[tokio::test]
async fn a_clean_up_is_delivered_and_lets_go_once_the_agent_says_that_it_is_done() {
    let world = World::new();
    world.node("n", json!({"deletionPolicy": "Cleanup", "directories": [{"path": "/srv/acme"}]}));
    let orders = world.context.sessions.open(&id("n"), arrival(), Timestamp::now()).expect("opened").slot;
    world.reconcile("n").await.expect("reconciled");
    assert_eq!(world.current("n")["metadata"]["finalizers"], json!(["edge.windlass.dev/cleanup"]));
    {
        let mut server = world.server.lock().unwrap();
        let mut object = server.objects[&format!("{NODE}n")].clone();
        object["metadata"]["deletionTimestamp"] = json!(Timestamp::from_second(NOW.load(Ordering::SeqCst)).unwrap());
        server.put(&format!("{NODE}n"), object);
    }
    world.watch_shows("n");
    world.reconcile("n").await.expect("reconciled");
    let document = orders.borrow().document.clone().expect("delivered");
    assert!(document.cleanup);
    assert_eq!(world.current("n")["metadata"]["finalizers"], json!(["edge.windlass.dev/cleanup"]));
    let revision: Option<Revision> = Some(document.revision.clone());
    let report = Report { held_revision: revision.clone(), applied_revision: revision, ..Report::default() };
    world.context.sessions.report(&id("n"), 1, report);
    world.reconcile("n").await.expect("reconciled");
    assert_eq!(world.current("n")["metadata"]["finalizers"], json!([]));
}

#[tokio::test]
async fn a_flapping_node_is_written_a_few_times_and_then_waits() {
    let world = World::new();
    world.node("n", json!({}));
    let _orders = world.context.sessions.open(&id("n"), arrival(), Timestamp::now()).expect("opened").slot;
    for restart in 0..40 {
        let mut report = Report::default();
        report.facts.agent_version = format!("0.1.{restart}");
        world.context.sessions.report(&id("n"), 1, report);
        world.reconcile("n").await.expect("reconciled");
    }
    assert_eq!(world.writes().len(), 6);
}
