//! The fleet simulator: real tunnels, real agent logic, machines in memory.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams, WatchParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use windlass::api::EdgeNode;

/// How many nodes are created or enrolled at a time.
const AT_ONCE: usize = 32;
/// A change costs up to two status patches, and one per 10 s is always allowed.
const BETWEEN_CHANGES: Duration = Duration::from_secs(20);
/// Name of the node whose agent is the real binary.
const REAL: &str = "real";

/// A spec of ordinary size: a directory, three small files and a service. `change` is written into a file.
pub fn spec(change: usize) -> Value {
    json!({
        "directories": [{"path": "/opt/acme"}],
        "files": [
            {"path": "/opt/acme/press", "source": {"inline": "#!/bin/sh\nexec sleep infinity\n"}, "mode": "0755"},
            {"path": "/opt/acme/press.yaml", "source": {"inline": format!("line: 7\nchange: {change}\n")}},
            {"path": "/opt/acme/units.yaml", "source": {"inline": "length: mm\nforce: kN\n"}},
        ],
        "services": [{
            "name": "acme-press",
            "displayName": "Acme press controller",
            "command": ["/opt/acme/press", "--config", "/opt/acme/press.yaml"],
            "restartOnChange": [{"file": "/opt/acme/units.yaml"}],
        }],
    })
}

/// EdgeNodes of one namespace and their agents.
pub struct Fleet {
    client: Client,
    namespace: String,
    dir: tempfile::TempDir,
    agents: BTreeMap<usize, super::agent::Agent>,
}

impl Fleet {
    /// Of no nodes.
    pub fn new(client: Client, namespace: &str) -> Result<Self> {
        Ok(Self { client, namespace: namespace.to_owned(), dir: tempfile::tempdir()?, agents: BTreeMap::new() })
    }

    fn nodes(&self) -> Api<EdgeNode> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates the EdgeNodes from `from` up to `to`, and waits until each may enroll.
    pub async fn create(&self, from: usize, to: usize) -> Result<()> {
        futures::stream::iter(from..to)
            .map(|i| async move {
                let node: EdgeNode = serde_json::from_value(json!({
                    "apiVersion": "edge.windlass.dev/v1alpha1", "kind": "EdgeNode",
                    "metadata": {"name": name(i)}, "spec": spec(0),
                }))?;
                self.nodes().create(&PostParams::default(), &node).await?;
                anyhow::Ok(())
            })
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        futures::stream::iter(from..to)
            .map(|i| self.enrollment(i))
            .buffer_unordered(AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(())
    }

    /// Fetches the enrollment file of a node as soon as there is one.
    async fn enrollment(&self, i: usize) -> Result<PathBuf> {
        self.enrollment_of(&name(i)).await
    }

    async fn enrollment_of(&self, name: &str) -> Result<PathBuf> {
        let path = self.dir.path().join(format!("{name}.yaml"));
        if path.exists() {
            return Ok(path);
        }
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        let secret_name = format!("{name}-enrollment");
        let secret = tokio::time::timeout(Duration::from_secs(300), async {
            loop {
                if let Some(secret) = secrets.get_opt(&secret_name).await? {
                    return anyhow::Ok(secret);
                }
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        })
        .await
        .with_context(|| format!("no Secret {secret_name} in 300 s"))??;
        let data = secret.data.context("data of the Secret")?;
        std::fs::write(&path, &data.get("enrollment.yaml").context("enrollment.yaml in the Secret")?.0)?;
        Ok(path)
    }

    /// Starts the agents from `from` up to `to`, as many at a time as R0 does, and waits until each node is Ready.
    pub async fn connect(&mut self, from: usize, to: usize) -> Result<()> {
        for i in from..to {
            let enrollment = self.enrollment(i).await?;
            let state = self.dir.path().join(name(i));
            self.agents.entry(i).or_insert_with(|| super::agent::Agent::new(state, enrollment));
        }
        futures::stream::iter(self.agents.range_mut(from..to))
            .map(|(_, agent)| agent.connect())
            .buffer_unordered(super::r0::CONNECTING_AT_ONCE)
            .try_collect::<Vec<_>>()
            .await?;
        self.until_all(to, "connected and Ready", |node| condition(node, "Ready") == Some("True")).await
    }

    /// Ends all agents; the machines keep what they have.
    pub async fn disconnect(&mut self) {
        futures::future::join_all(self.agents.values_mut().map(super::agent::Agent::stop)).await;
    }

    /// Makes a node for the real agent on this machine, below `dir`, and returns its enrollment file.
    pub async fn real_node(&self, dir: &Path) -> Result<PathBuf> {
        let at = |name: &str| dir.join("machine").join(name).display().to_string();
        let node: EdgeNode = serde_json::from_value(json!({
            "apiVersion": "edge.windlass.dev/v1alpha1", "kind": "EdgeNode", "metadata": {"name": REAL},
            "spec": {"deletionPolicy": "Cleanup", "files": [
                {"path": at("press.yaml"), "source": {"inline": "line: 7\n"}},
                {"path": at("units.yaml"), "source": {"inline": "length: mm\n"}},
            ], "services": [{"name": "press", "command": ["/bin/sleep", "infinity"]}]},
        }))?;
        self.nodes().create(&PostParams::default(), &node).await?;
        self.enrollment_of(REAL).await
    }

    /// Waits for the node of [`Fleet::real_node`].
    pub async fn until_real_node_is_ready(&self) -> Result<()> {
        self.until_all(1, "Ready, the real one", |node| {
            node.metadata.name.as_deref() == Some(REAL) && condition(node, "Ready") == Some("True")
        })
        .await
    }

    /// Deletes it, and with it what its agent made.
    pub async fn delete_real_node(&self) -> Result<()> {
        self.nodes().delete(REAL, &Default::default()).await?;
        let gone = await_condition(self.nodes(), REAL, |node: Option<&EdgeNode>| node.is_none());
        tokio::time::timeout(Duration::from_secs(60), gone).await.context("clean-up of the real node")??;
        Ok(())
    }

    /// Waits until the first `count` nodes are so.
    pub async fn until_all(&self, count: usize, what: &str, is_so: impl Fn(&EdgeNode) -> bool) -> Result<()> {
        let wait = async {
            loop {
                let all = self.nodes().list(&Default::default()).await?;
                let so = all.items.iter().filter(|node| is_so(node)).count();
                if so >= count {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(900), wait)
            .await
            .with_context(|| format!("{count} nodes were not {what} in 900 s"))?
    }

    /// Changes one node after the other and takes the time from the patch of its spec until its status says that
    /// the change was carried out. A node is left alone between its changes until the operator's limit of status
    /// patches for one node does not count any more. All of it must take less than 290 s, the longest of a watch.
    pub async fn change(&self, among: usize, changes: usize) -> Result<Vec<Duration>> {
        let nodes = self.nodes();
        let mut times = Vec::new();
        // One watch for all changes, as K0 has it: what a new one costs at its beginning is not the operator's.
        let version = nodes.list(&ListParams::default().limit(1)).await?.metadata.resource_version.unwrap_or_default();
        let mut watch = nodes.watch(&WatchParams::default().timeout(290), &version).await?.boxed();
        let mut pace = tokio::time::interval(BETWEEN_CHANGES / u32::try_from(among)?);
        for change in 1..=changes {
            pace.tick().await;
            let name = name(change * 7919 % among);
            let begun = std::time::Instant::now();
            let patch = json!({"spec": spec(change)});
            let changed = nodes.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await?;
            let generation = changed.metadata.generation;
            super::k0::until(&mut watch, |node| {
                node.metadata.name.as_ref() == Some(&name)
                    && node.status.as_ref().is_some_and(|status| {
                        status.observed_generation == generation
                            && status.applied_revision == status.desired_revision
                            && condition(node, "Ready") == Some("True")
                    })
            })
            .await
            .with_context(|| format!("change {change} of {name}"))?;
            times.push(begun.elapsed());
        }
        Ok(times)
    }

    /// Bytes of a node as the API server returns it, after all is settled.
    pub async fn size_of_a_node(&self) -> Result<(usize, usize)> {
        let node = self.nodes().get(&name(0)).await?;
        Ok((serde_json::to_vec(&node.spec)?.len(), serde_json::to_vec(&node)?.len()))
    }
}

fn name(i: usize) -> String {
    format!("node-{i:05}")
}

fn condition<'a>(node: &'a EdgeNode, kind: &str) -> Option<&'a str> {
    let status = node.status.as_ref()?;
    status.conditions.iter().find(|c| c.type_ == kind).map(|c| c.status.as_str())
}
