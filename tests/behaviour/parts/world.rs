//! What one test has: a namespace of its own in a control plane, a folder, and what it starts in them.
//! When the test fails, it prints what a person would look at.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::SystemTime,
};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::{
    Api, Client,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ControlPlane, Node, Operator, process::end_all_in, tail};

pub struct World {
    pub cluster: Arc<ControlPlane>,
    pub client: Client,
    pub namespace: String,
    folder: TempDir,
}

impl World {
    /// In the control plane that the tests share.
    pub async fn new() -> Self {
        Self::within(ControlPlane::shared()).await
    }

    /// In a control plane of its own.
    pub async fn alone() -> Self {
        Self::within(ControlPlane::own()).await
    }

    async fn within(cluster: Arc<ControlPlane>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = cluster.client().await;
        let folder = tempfile::Builder::new().prefix("windlass-behaviour.").tempdir().expect("temporary folder");
        // Agents that run as another user pass through it.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("own folder");
        let namespace = unused_name();
        let object = Namespace { metadata: named(&namespace), ..Namespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &object).await.expect("namespace");
        Self { cluster, client, namespace, folder }
    }

    /// Starts an operator that looks after this namespace.
    pub async fn operator(&self) -> Operator {
        Operator::start(self, &[]).await
    }

    /// The same with more flags.
    pub async fn operator_with(&self, flags: &[&str]) -> Operator {
        Operator::start(self, flags).await
    }

    /// Applies an EdgeNode as a person does.
    pub async fn node(&self, name: &str, spec: Value) -> Node {
        let node = Node::new(self, name);
        node.apply(spec).await;
        node
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes or changes a ConfigMap.
    pub async fn config_map(&self, name: &str, data: Value) {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data});
        let api: Api<ConfigMap> = Api::namespaced(self.client.clone(), &self.namespace);
        api.patch(name, &as_a_person(), &Patch::Apply(&object)).await.expect("ConfigMap");
    }

    /// Makes or changes a Secret; `data` is text.
    pub async fn secret(&self, name: &str, kind: &str, data: Value) {
        let metadata = json!({"name": name});
        let object =
            json!({"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata, "stringData": data});
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        api.patch(name, &as_a_person(), &Patch::Apply(&object)).await.expect("Secret");
    }
}

/// Server-side apply as kubectl does it.
pub fn as_a_person() -> PatchParams {
    PatchParams::apply("person").force()
}

fn named(name: &str) -> ObjectMeta {
    ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() }
}

/// A name that tells in a list of namespaces which test it belongs to.
fn unused_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("test").rsplit("::").next().unwrap_or("test").replace('_', "-");
    let test = test.get(..36).unwrap_or(&test).trim_matches('-');
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_millis() % 100_000_000;
    format!("{test}-{now}-{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.explain();
        }
        end_all_in(self.folder.path());
        if std::env::var_os("WINDLASS_KUBECONFIG").is_some() {
            self.cluster.kubectl(&["delete", "namespace", &self.namespace, "--wait=false"]);
        }
    }
}

impl World {
    fn explain(&self) {
        let timeout = "--request-timeout=5s";
        for what in [["edgenodes", "yaml"], ["configmaps,secrets,events", "wide"]] {
            let output =
                self.cluster.kubectl(&["get", what[0], "--namespace", &self.namespace, "--output", what[1], timeout]);
            println!("---- kubectl get {} ----\n{}", what[0], String::from_utf8_lossy(&output.stdout));
        }
        let mut logs = Vec::new();
        find_logs(self.folder.path(), &mut logs);
        for log in logs {
            let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
            println!("---- {} ----\n{}", log.display(), tail(&text, 120));
        }
    }
}

fn find_logs(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Links are not followed: a Wine prefix has one that leads to the root.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find_logs(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "log") {
            found.push(path);
        }
    }
}
