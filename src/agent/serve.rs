//! Wires the agent for this machine: its store, host, services, link and local socket in one state directory. Called
//! by the program on a console and by the service. Everything that it works with is given.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    apply::CrashPoint,
    artifact::ArtifactSettings,
    contents::Contents,
    host::{Host, machine},
    identity::{IdentityError, IdentityFolder},
    link::{LinkSettings, LinkStartError, LinkState, Unenrolled},
    policy::load::PolicyFile,
    proxies::Way,
    run::{RunError, Settings, run},
    scm::wrapped::HOST,
    store::{ContentsFolder, DiskStore, OpenError, Store, StoreError},
};
use crate::{model::Revision, trust};

/// Where and how the agent runs on this machine.
pub struct MachineSettings {
    /// Its identity, state and contents.
    pub state_dir: PathBuf,
    /// `enrollment.yaml`, if there is to be one.
    pub enrollment: Option<PathBuf>,
    /// What the machine's administrator allows; without it, where this machine has such.
    pub policy: Option<PathBuf>,
    /// What it does while it cannot enroll.
    pub unenrolled: Unenrolled,
    /// How often drift is looked for.
    pub drift_period: Duration,
    /// Largest artifact that is downloaded, in bytes.
    pub max_artifact_bytes: u64,
    /// How the operator is reached.
    pub way: Way,
    /// For tests of crashes.
    pub crash: CrashPoint,
}

/// What whoever runs the agent may ask of it.
#[derive(Debug, Clone, Default)]
pub struct Stops {
    /// To end. Services go on running.
    pub agent: CancellationToken,
    /// The machine goes down: to stop the services that it looks after, in reverse order, and then to end.
    pub machine: CancellationToken,
}

/// Why the agent cannot run, or does not any more.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its store or the contents it fetched.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its identity or enrollment file.
    #[error(transparent)]
    Link(#[from] LinkStartError),
    /// Its identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The socket or pipe for programs on this machine.
    #[error("listen on {path}: {error}; expected no other agent with this state directory")]
    Listen {
        /// Where.
        path: String,
        /// What the machine says.
        error: io::Error,
    },
    /// The machine's services.
    #[error("reach the services of this machine: {0}")]
    Services(io::Error),
    /// While it ran.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Runs until one of `stops`. `ready` is called once everything on this machine is open and before any network.
pub async fn serve(settings: MachineSettings, stops: Stops, ready: impl FnOnce()) -> Result<(), ServeError> {
    let MachineSettings { state_dir, enrollment, policy, unenrolled, drift_period, max_artifact_bytes, way, crash } =
        settings;
    let store = DiskStore::open(&state_dir)?;
    let contents = ContentsFolder::open(state_dir.join("contents"))?;
    if store.damage().is_some() && store.applied()?.is_none() {
        contents.discard()?;
    }
    let identity = IdentityFolder::open(state_dir.join("identity"))?;
    let node = move || identity.load().ok().flatten().map(|identity| identity.node);
    let revision = store.desired()?.map(|kept| Revision::of(&kept.bytes).to_string());
    info!(
        version = env!("CARGO_PKG_VERSION"), state_dir = %state_dir.display(),
        node = node().map(|node| node.to_string()), revision, "windlass-agent starts"
    );
    let policy = policy_of(&state_dir, policy, enrollment.as_deref());
    let (clock, random) = (SystemTime::now, rand::random);
    let link = LinkSettings::prepare(&state_dir, enrollment, unenrolled, way, clock, random, trust::fresh_nonce)?;
    let socket = state_dir.join("agent.sock");
    let listened = |error| ServeError::Listen { path: socket.display().to_string(), error };
    let local = machine::listen(&socket).map_err(listened)?;
    let services = Arc::new(machine::services(&state_dir).map_err(ServeError::Services)?);
    let settings = Settings {
        link,
        artifacts: ArtifactSettings { max_bytes: max_artifact_bytes, random: rand::random },
        drift_period,
        policy: Arc::new(move || policy.read()),
        link_state: LinkState::channel(),
        local: Some(local),
        node: Arc::new(node),
        machine_stops: stops.machine,
        crash,
    };
    let host: Arc<dyn Host> = Arc::new(machine::host(&state_dir));
    let store: Arc<dyn Store> = Arc::new(store);
    let contents: Arc<dyn Contents> = Arc::new(contents);
    ready();
    run(settings, host, services, store, contents, stops.agent).await?;
    info!("stopped");
    Ok(())
}

/// The policy's file, with what no policy gives away: what the agent keeps, what it is run with, and itself.
pub fn policy_of(state_dir: &Path, file: Option<PathBuf>, enrollment: Option<&Path>) -> PolicyFile {
    let program = std::env::current_exe().ok();
    let beside = program.as_ref().map(|program| program.with_file_name(HOST));
    let own = [Some(state_dir), enrollment, program.as_deref(), beside.as_deref()];
    let file = file.unwrap_or_else(|| machine::policy_file(state_dir));
    PolicyFile::new(&file, &own.into_iter().flatten().collect::<Vec<_>>())
}
