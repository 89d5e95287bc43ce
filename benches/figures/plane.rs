//! The parts that the figures are taken from: a real control plane and the real operator process.

use std::{path::PathBuf, process::Stdio, time::Duration};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::{
    api::core::v1::Namespace, apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, CustomResourceExt as _,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{conditions, wait::await_condition},
};
use tokio::process::Command;
use windlass::api::EdgeNode;

use crate::child::Child;

/// A control plane, and a client with all rights.
pub struct Plane {
    process: Child,
    dir: tempfile::TempDir,
    /// Path of its kubeconfig.
    pub kubeconfig: PathBuf,
    /// With all rights.
    pub client: Client,
}

impl Plane {
    /// Starts one, with the CRD and these namespaces.
    pub async fn start(namespaces: &[&str]) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/hack/control-plane"));
        command.args(["run", "--stdin", "--audit", "--dir"]).arg(dir.path().join("plane"));
        let process = Child::start(command, Duration::from_secs(1800)).await?;
        let kubeconfig: PathBuf = process
            .ready
            .split_whitespace()
            .find_map(|word| word.strip_prefix("kubeconfig="))
            .context("kubeconfig of the control plane")?
            .into();
        let config =
            Config::from_custom_kubeconfig(Kubeconfig::read_from(&kubeconfig)?, &KubeConfigOptions::default()).await?;
        let client = Client::try_from(config)?;
        let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
        crds.create(&PostParams::default(), &EdgeNode::crd()).await?;
        let established = await_condition(crds, EdgeNode::crd_name(), conditions::is_crd_established());
        tokio::time::timeout(Duration::from_secs(30), established).await.context("CRD not established in 30 s")??;
        let all: Api<Namespace> = Api::all(client.clone());
        for name in namespaces {
            let namespace = serde_json::from_value(serde_json::json!({"metadata": {"name": name}}))?;
            all.create(&PostParams::default(), &namespace).await?;
        }
        Ok(Self { process, dir, kubeconfig, client })
    }

    /// How many requests that change something in `namespace` came since the line `from` of the audit log, and
    /// how many lines there are.
    pub fn writes(&self, namespace: &str, from: usize) -> Result<(usize, usize)> {
        let log = std::fs::read_to_string(self.dir.path().join("plane/audit.log")).context("read the audit log")?;
        let mut lines = 0;
        let mut writes = 0;
        for line in log.lines() {
            lines += 1;
            if lines <= from {
                continue;
            }
            let event: serde_json::Value = serde_json::from_str(line).context("an event of the audit log")?;
            let changes = ["create", "update", "patch", "delete"].contains(&event["verb"].as_str().unwrap_or_default());
            if changes && event["objectRef"]["namespace"] == namespace {
                writes += 1;
            }
        }
        Ok((writes, lines))
    }

    /// Ends it.
    pub async fn end(mut self) -> Result<()> {
        self.process.end().await
    }
}

/// The real operator as a process of its own.
pub struct Operator {
    process: tokio::process::Child,
    admin: String,
    _dir: tempfile::TempDir,
}

impl Operator {
    /// Starts it for one namespace and waits until it serves.
    pub async fn start(plane: &Plane, namespace: &str) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let ready = dir.path().join("ready");
        // The port must be known before the start, as it is part of the URL that agents dial.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let log = std::fs::File::create(dir.path().join("log"))?;
        let mut process = Command::new(env!("CARGO_BIN_EXE_windlass-operator"))
            .arg("run")
            .args(["--tunnel-listen", &format!("127.0.0.1:{port}")])
            .args(["--tunnel-url", &format!("wss://127.0.0.1:{port}")])
            .args(["--admin-listen", "127.0.0.1:0", "--namespaces", namespace, "--operator-namespace", namespace])
            .arg("--ready-file")
            .arg(&ready)
            .arg("--kubeconfig")
            .arg(&plane.kubeconfig)
            .stderr(log)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        while !ready.exists() {
            if let Some(status) = process.try_wait()? {
                let log = std::fs::read_to_string(dir.path().join("log"))?;
                bail!("the operator ended with {status}:\n{log}");
            }
            if tokio::time::Instant::now() > deadline {
                bail!("the operator was not ready in 60 s:\n{}", std::fs::read_to_string(dir.path().join("log"))?);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let addresses = std::fs::read_to_string(&ready)?;
        let admin =
            addresses.lines().find_map(|line| line.strip_prefix("admin=")).context("admin= in the ready file")?;
        Ok(Self { process, admin: admin.to_owned(), _dir: dir })
    }

    /// Waits until that many sessions are up.
    pub async fn until_connected(&self, sessions: usize) -> Result<()> {
        let url = format!("http://{}/metrics", self.admin);
        let wait = async {
            loop {
                let metrics = reqwest::get(&url).await?.text().await?;
                let up = metrics.lines().find_map(|line| line.strip_prefix("windlass_sessions "));
                if up.and_then(|n| n.parse::<usize>().ok()).context("windlass_sessions in the metrics")? >= sessions {
                    return anyhow::Ok(());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(300), wait).await;
        waited.with_context(|| format!("{sessions} sessions were not up in 300 s"))?
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id().unwrap_or_default()
    }

    /// Ends it.
    pub async fn end(mut self) -> Result<()> {
        self.process.kill().await?;
        Ok(())
    }
}
