//! One agent: real link and logic, a machine in memory; and the figures of the real binary.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use tokio::{process::Command, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use windlass::{
    agent::{
        apply::CrashPoint,
        artifact::ArtifactSettings,
        contents::Contents,
        host::{Host, ServiceControl, memory::MemoryHost, memory_services::MemoryServices},
        link::{LinkSettings, LinkState, Unenrolled},
        policy::Policy,
        proxies::{Proxies, Way},
        run::{Settings, run},
        store::{MemoryContents, MemoryStore, Store},
    },
    model::NodeFacts,
    trust::fresh_nonce,
};

use crate::{fleet::Fleet, meter, report::Row};

/// A simulated machine, which outlives its agent's connections.
pub struct Agent {
    state_dir: PathBuf,
    enrollment: PathBuf,
    host: Arc<dyn Host>,
    services: Arc<dyn ServiceControl>,
    store: Arc<dyn Store>,
    contents: Arc<dyn Contents>,
    running: Option<(JoinHandle<()>, CancellationToken)>,
}

impl Agent {
    /// A new machine; the agent's identity lies in `state_dir`.
    pub fn new(state_dir: PathBuf, enrollment: PathBuf) -> Self {
        let facts = NodeFacts {
            os: "linux".into(),
            os_version: "Simulated 1".into(),
            architecture: "amd64".into(),
            hostname: state_dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            agent_version: env!("CARGO_PKG_VERSION").into(),
            boot_time: 1_700_000_000,
            ..NodeFacts::default()
        };
        Self {
            state_dir,
            enrollment,
            host: Arc::new(MemoryHost::new(facts)),
            services: Arc::new(MemoryServices::default()),
            store: Arc::new(MemoryStore::default()),
            contents: Arc::new(MemoryContents::default()),
            running: None,
        }
    }

    /// Starts the agent and waits until it is welcomed.
    pub async fn connect(&mut self) -> Result<()> {
        std::fs::create_dir_all(&self.state_dir)?;
        let link = LinkSettings::prepare(
            &self.state_dir,
            Some(self.enrollment.clone()),
            Unenrolled::Fails,
            Way { proxies: Proxies::of("", ""), additional_ca: None },
            SystemTime::now,
            rand::random,
            fresh_nonce,
        )?;
        let settings = Settings {
            link,
            artifacts: ArtifactSettings { max_bytes: 0, random: rand::random },
            drift_period: Duration::from_secs(3600),
            policy: Arc::new(|| Policy::Unrestricted),
            link_state: LinkState::channel(),
            local: None,
            node: Arc::new(|| None),
            machine_stops: CancellationToken::new(),
            crash: CrashPoint::default(),
        };
        let mut link_state = settings.link_state.subscribe();
        let shutdown = CancellationToken::new();
        let (host, services) = (Arc::clone(&self.host), Arc::clone(&self.services));
        let (store, contents) = (Arc::clone(&self.store), Arc::clone(&self.contents));
        let stop = shutdown.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = run(settings, host, services, store, contents, stop).await {
                eprintln!("bench: a simulated agent ended: {error}");
            }
        });
        self.running = Some((task, shutdown));
        let welcomed = link_state.wait_for(|state| matches!(state, LinkState::Connected { .. }));
        tokio::time::timeout(Duration::from_secs(300), welcomed).await.context("not welcomed in 300 s")??;
        Ok(())
    }

    /// Ends the agent's process, so to speak.
    pub async fn stop(&mut self) {
        if let Some((task, shutdown)) = self.running.take() {
            shutdown.cancel();
            let _ = task.await;
        }
    }
}

/// Idle memory and size of the real agent, on this machine, for a node of the fleet's spec.
pub async fn idle_figures(fleet: &Fleet, idle: Duration) -> Result<Vec<Row>> {
    let binary = Path::new(env!("CARGO_BIN_EXE_windlass-agent"));
    let dir = tempfile::tempdir()?;
    let enrollment = fleet.real_node(dir.path()).await?;
    // The fleet's service has no account, and so runs as the agent does.
    let policy = dir.path().join("policy.yaml");
    let rules = "apiVersion: edge.windlass.dev/v1alpha1\nkind: LocalPolicy\nservices: {accounts: ['*', root]}\n";
    std::fs::write(&policy, rules)?;
    let process = Command::new(binary)
        .arg("run")
        .arg("--policy")
        .arg(policy)
        .arg("--state-dir")
        .arg(dir.path().join("state"))
        .arg("--enrollment")
        .arg(enrollment)
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(dir.path().join("log"))?)
        .kill_on_drop(true)
        .spawn()?;
    let waited = fleet.until_real_node_is_ready().await;
    if waited.is_err() {
        eprintln!("{}", std::fs::read_to_string(dir.path().join("log"))?);
    }
    waited?;
    tokio::time::sleep(idle).await;
    let resident = meter::sample(process.id().context("the agent ended")?)?.resident;
    fleet.delete_real_node().await?;
    let size = std::fs::metadata(binary)?.len();
    let row = |figure: &str, bytes: u64, goal| Row {
        figure: figure.to_owned(),
        value: bytes as f64 / (1 << 20) as f64,
        unit: "MiB",
        baseline: None,
        goal: Some(goal),
    };
    Ok(vec![row("agent: resident memory, idle", resident, 9.0), row("agent: size of the binary", size, 12.0)])
}
