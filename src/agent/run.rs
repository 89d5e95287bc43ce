//! The agent: wires link, state loop, supervisor, artifact fetcher and local socket, and ends them together.
//! Everything it works with is given to it; it knows neither paths nor the environment.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    apply::CrashPoint,
    artifact::{self, ArtifactEnds, ArtifactSettings},
    contents::Contents,
    held::{Held, Loaded},
    host::{Host, ServiceControl},
    link::{self, LinkEnds, LinkSettings, LinkState},
    local::{self, AgentStatus, Incoming},
    services::{ServiceInputs, ServiceReports, supervise},
    state_loop::{ReadPolicy, StateEnds, StateLoop},
    store::{Store, StoreError},
};
use crate::model::{NodeId, Report};

/// How the agent runs.
pub struct Settings {
    /// How it is connected.
    pub link: LinkSettings,
    /// How artifacts are downloaded.
    pub artifacts: ArtifactSettings,
    /// How often drift is looked for.
    pub drift_period: Duration,
    /// Reads what the node itself allows, at each look.
    pub policy: ReadPolicy,
    /// Where the link says what it is doing.
    pub link_state: watch::Sender<LinkState>,
    /// Connections of programs on this machine; `None` to answer none.
    pub local: Option<Incoming>,
    /// Which EdgeNode this is by now; asked for each local status.
    pub node: Arc<dyn Fn() -> Option<NodeId> + Send + Sync>,
    /// Told when the machine shuts down: then all services are stopped in order, and the agent ends. It ends sooner
    /// when it is told to.
    pub machine_stops: CancellationToken,
    /// For tests of crashes.
    pub crash: CrashPoint,
}

/// Local answers under way at the end get this long.
const FINISH_ANSWERS: Duration = Duration::from_secs(1);

/// Why the agent ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Its state cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Part of it ended.
    #[error("part of the agent ended: {0}")]
    Task(String),
}

/// Runs until `shutdown`: services go on running then.
pub async fn run(
    settings: Settings,
    host: Arc<dyn Host>,
    services: Arc<dyn ServiceControl>,
    store: Arc<dyn Store>,
    contents: Arc<dyn Contents>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let Settings { link, artifacts, drift_period, policy, link_state, local, node, machine_stops, crash } = settings;
    let features = host.features();
    let (held, refused) = match Held::load(store.as_ref(), features, link.believed().as_ref())? {
        Loaded::Held(held) => (Some(Arc::from(held)), None),
        Loaded::Nothing => (None, None),
        Loaded::Refused(why) => (None, Some(why)),
    };
    let facts = host.facts();

    // Each of these holds one value, the latest: what is told here is state, not history.
    let (desired_in, desired) = watch::channel(held);
    let (refused_in, refused) = watch::channel(refused);
    let (wanted_in, wanted) = watch::channel(Vec::new());
    let (artifacts_in, artifacts_wanted) = watch::channel(Vec::new());
    let (failing_in, failing) = watch::channel(Arc::new(BTreeMap::new()));
    let (report_in, report) = watch::channel(Arc::new(Report { facts: facts.clone(), ..Report::default() }));
    let (inputs_in, inputs) = watch::channel(Arc::new(ServiceInputs::default()));
    let (service_reports_in, service_reports) = watch::channel(Arc::new(ServiceReports::default()));
    let arrived = Arc::new(Notify::new());

    let state_ends = StateEnds {
        desired,
        refused,
        arrived: arrived.clone(),
        failing,
        policy,
        services: service_reports,
        wanted: wanted_in,
        artifacts: artifacts_in,
        inputs: inputs_in,
        report: report_in,
    };
    let crash = Arc::new(crash);
    // What a crash left unsettled is settled before anything else can change what it is judged by.
    let state = StateLoop::open(host, store.clone(), contents.clone(), crash, facts, drift_period, state_ends).await?;

    let mut tasks = JoinSet::new();
    let stops = machine_stops.clone();
    let supervising =
        supervise::run(services, store.clone(), contents.clone(), inputs, service_reports_in, stops, shutdown.clone());
    tasks.spawn(async move { Ok(supervising.await?) });
    let artifact_ends = ArtifactEnds { wanted: artifacts_wanted, arrived: arrived.clone(), failing: failing_in };
    tasks.spawn(infallible(artifact::run(artifacts, contents.clone(), artifact_ends, shutdown.clone())));
    let link_state_now = link_state.subscribe();
    let report_out = report.clone();
    let link_ends = LinkEnds {
        desired: desired_in,
        wanted,
        arrived,
        report: report_out,
        state: link_state,
        refused: refused_in,
        features,
    };
    tasks.spawn(infallible(link::run(link, store, contents, link_ends, shutdown.clone())));
    tasks.spawn(infallible(state.run(shutdown.clone())));
    if let Some(incoming) = local {
        let status = move || AgentStatus::of(node(), &report.borrow(), &link_state_now.borrow());
        let stop = shutdown.clone();
        tasks.spawn(async move {
            let served = local::serve(incoming, Arc::new(status), stop.clone());
            tokio::select! {
                served = served => served.map_err(|e| RunError::Task(format!("local socket: {e}"))),
                // One who asked and does not read does not hold the agent up.
                () = async { stop.cancelled().await; tokio::time::sleep(FINISH_ANSWERS).await } => Ok(()),
            }
        });
    }

    // One that ends before it is told to takes the others with it: whoever started the agent starts it again.
    let mut failed = None;
    while let Some(ended) = tasks.join_next().await {
        let early = !shutdown.is_cancelled() && !machine_stops.is_cancelled();
        match ended {
            Ok(Ok(())) if early => failed = Some(RunError::Task("a task ended before it was told to".to_owned())),
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed = Some(error),
            Err(error) => failed = Some(RunError::Task(format!("a task ended: {error}"))),
        }
        shutdown.cancel();
    }
    failed.map_or(Ok(()), Err)
}

async fn infallible(task: impl Future<Output = ()>) -> Result<(), RunError> {
    task.await;
    Ok(())
}
