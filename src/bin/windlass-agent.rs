//! `windlass-agent`: makes this machine what its EdgeNode says. Thin: parses arguments and calls [`windlass::agent`].

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tokio_util::sync::CancellationToken;
use tracing::info;
use windlass::agent::{
    apply::CrashPoint,
    artifact::ArtifactSettings,
    contents::Contents,
    host::{Host, machine},
    identity::IdentityFolder,
    link::{LinkSettings, LinkState},
    proxies::Proxies,
    run::{Settings, run},
    status::{ask, text},
    store::{ContentsFolder, DiskStore, Store},
};

/// Makes this machine what its EdgeNode says, keeps it so with or without a network, and reports.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Runs the agent until SIGTERM. Stopping it stops no service.
    Run(Run),
    /// Shows what the running agent is doing.
    ///
    /// Exits with 0 if it is connected and everything is in its desired state, 1 if not, and 3 if no agent
    /// answers.
    Status(Status),
    /// Becomes the program of a service, told by the agent over standard input.
    #[command(hide = true)]
    Launch {
        /// For lists of processes.
        label: String,
    },
}

#[derive(Args)]
struct StateDir {
    /// Where the agent keeps its identity, its state and the contents it fetched.
    #[arg(long, env = "WINDLASS_STATE_DIR", value_name = "DIR", default_value = machine::STATE_DIR)]
    state_dir: PathBuf,
}

#[derive(Args)]
struct Run {
    #[command(flatten)]
    state_dir: StateDir,
    /// Enrollment file (enrollment.yaml of the Secret NAME-enrollment). Needed until this machine has an
    /// identity; one with a new token replaces the identity.
    #[arg(long, env = "WINDLASS_ENROLLMENT", value_name = "FILE")]
    enrollment: Option<PathBuf>,
    /// How often the machine is looked at for changes that others made, in seconds.
    #[arg(
        long,
        env = "WINDLASS_DRIFT_PERIOD_SECONDS",
        value_name = "SECONDS",
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=86400)
    )]
    drift_period_seconds: u64,
    /// Largest artifact that is downloaded, in bytes.
    #[arg(
        long,
        env = "WINDLASS_MAX_ARTIFACT_BYTES",
        value_name = "BYTES",
        default_value_t = 4 << 30,
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    max_artifact_bytes: u64,
    /// How log lines are written to stderr.
    #[arg(long, env = "WINDLASS_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// What is logged: error, warn, info, debug, trace, or directives such as info,windlass=debug.
    #[arg(long, env = "WINDLASS_LOG_LEVEL", value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

#[derive(Args)]
struct Status {
    #[command(flatten)]
    state_dir: StateDir,
    /// How the status is written.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// No agent answers, as LSB has it for the status of a program that does not run.
const NOT_RUNNING: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match cli.verb {
        Verb::Run(args) => run_agent(args).map(|()| ExitCode::SUCCESS),
        Verb::Status(args) => show_status(&args),
        Verb::Launch { label: _ } => Ok(machine::launch()),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("windlass-agent: {error:#}");
        ExitCode::FAILURE
    })
}

fn run_agent(args: Run) -> anyhow::Result<()> {
    start_logging(args.log_format, &args.log_level)?;
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("another cryptography provider is installed already"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build()?;
    let ended = runtime.block_on(serve(args));
    // A download's last write may still be under way; it is not waited for longer than this.
    runtime.shutdown_timeout(Duration::from_secs(5));
    ended
}

async fn serve(args: Run) -> anyhow::Result<()> {
    let state_dir = args.state_dir.state_dir;
    let store = DiskStore::open(&state_dir)?;
    let contents = ContentsFolder::open(state_dir.join("contents"))?;
    if store.damage().is_some() && store.applied()?.is_none() {
        contents.discard()?;
    }
    let host = machine::MachineHost::default();
    let link = LinkSettings::prepare(&state_dir, args.enrollment, Proxies::from_env(), SystemTime::now, rand::random)?;
    let socket = state_dir.join("agent.sock");
    let local = machine::listen(&socket).with_context(|| format!("listen on {}", socket.display()))?;
    let identity = IdentityFolder::open(state_dir.join("identity"))?;
    let settings = Settings {
        link,
        artifacts: ArtifactSettings { max_bytes: args.max_artifact_bytes, random: rand::random },
        drift_period: Duration::from_secs(args.drift_period_seconds),
        link_state: LinkState::channel(),
        local: Some(local),
        node: Arc::new(move || identity.load().ok().flatten().map(|identity| identity.node)),
        crash: crash_point(),
    };
    info!(version = env!("CARGO_PKG_VERSION"), state_dir = %state_dir.display(), "windlass-agent starts");

    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let stopping = async move {
        machine::stop_requested().await?;
        info!("asked to stop; services keep running");
        stop.cancel();
        std::io::Result::Ok(())
    };
    let host: Arc<dyn Host> = Arc::new(host);
    let store: Arc<dyn Store> = Arc::new(store);
    let contents: Arc<dyn Contents> = Arc::new(contents);
    let services = Arc::new(machine::services(&state_dir)?);
    let running = run(settings, host, services, store, contents, shutdown);
    tokio::pin!(running);
    tokio::select! {
        ended = &mut running => ended?,
        stopped = stopping => {
            stopped.context("listen for signals")?;
            running.await?;
        }
    }
    info!("stopped");
    Ok(())
}

/// Tests iterate over the journal steps of an apply; releases have no such door.
#[cfg(debug_assertions)]
fn crash_point() -> CrashPoint {
    let step = std::env::var("WINDLASS_TEST_CRASH_AT").ok().and_then(|step| step.parse().ok());
    CrashPoint::at(step.unwrap_or(0))
}

#[cfg(not(debug_assertions))]
fn crash_point() -> CrashPoint {
    CrashPoint::default()
}

fn show_status(args: &Status) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let status = match runtime.block_on(ask_agent(&args.state_dir.state_dir)) {
        Ok(status) => status,
        Err(error) => {
            eprintln!("windlass-agent: {error:#}");
            return Ok(ExitCode::from(NOT_RUNNING));
        }
    };
    match args.output {
        Output::Json => println!("{}", serde_json::to_string_pretty(&status)?),
        Output::Text => print!("{}", text(&status, SystemTime::now())),
    }
    Ok(if status.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn ask_agent(state_dir: &Path) -> anyhow::Result<windlass::agent::local::AgentStatus> {
    let socket = state_dir.join("agent.sock");
    let connection = machine::connect(&socket).await.with_context(|| {
        format!("connect to {}; expected a running agent with this state directory", socket.display())
    })?;
    Ok(ask(connection).await?)
}

fn start_logging(format: LogFormat, level: &str) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(level).with_context(|| format!("--log-level {level:?}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
