//! `windlass-agent`: makes this machine what its EdgeNode says. Thin: parses arguments and calls [`windlass::agent`].

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::{Context, anyhow};
use clap::{Args, Parser, Subcommand, ValueEnum};
use windlass::{
    agent::{
        apply::CrashPoint,
        host::machine,
        link::Unenrolled,
        logging::{self, LogFormat},
        policy,
        proxies::{Proxies, ProxyUrl, Way},
        serve::{MachineSettings, Stops, policy_of, serve},
        service::{self, Install, verbs::VerbError},
        status::{ask, text},
    },
    tunnel::additional_ca::AdditionalCa,
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
    /// Runs the agent until it is asked to stop. Stopping it stops no service.
    #[command(args_override_self = true)]
    Run(Run),
    /// Shows what the running agent is doing.
    ///
    /// Exits with 0 if it is connected and everything is in its desired state, 1 if not, and 3 if no agent
    /// answers.
    #[command(args_override_self = true)]
    Status(Status),
    /// Shows what the cloud may do on this machine, or checks a file that says so.
    ///
    /// Exits with 1 where the file cannot be used, or is no policy.
    Policy(PolicyArgs),
    /// Installs the agent as a service that starts with the machine, and starts it.
    ///
    /// Run as administrator. Like the other verbs of the service it exits with 0, or with the Win32 code that it
    /// met, as sc.exe does: 5 access denied, 1056 it runs already, 1060 it is not installed, 1062 it does not
    /// run, 1072 it is being removed, 1073 it is installed already.
    #[command(hide = !service::AVAILABLE)]
    Install(InstallArgs),
    /// Stops and removes the service; what the agent keeps stays. Exits as install does.
    #[command(hide = !service::AVAILABLE)]
    Uninstall(UninstallArgs),
    /// Starts the service and waits until it runs. Exits as install does.
    #[command(hide = !service::AVAILABLE)]
    Start,
    /// Stops the service, and no other, and waits until it has ended. Exits as install does.
    #[command(hide = !service::AVAILABLE)]
    Stop,
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
    #[arg(long, env = "WINDLASS_STATE_DIR", value_name = "DIR", default_value_os_t = machine::state_dir())]
    state_dir: PathBuf,
}

#[derive(Args)]
struct PolicyPlace {
    /// What the machine's administrator lets the cloud do here; without the file, as built in
    /// [default: /etc/windlass/policy.yaml, on Windows policy.yaml in the state directory].
    #[arg(long, env = "WINDLASS_POLICY", value_name = "FILE")]
    policy: Option<PathBuf>,
}

#[derive(Args)]
struct PolicyArgs {
    #[command(subcommand)]
    verb: Option<PolicyVerb>,
    #[command(flatten)]
    place: PolicyPlace,
    #[command(flatten)]
    state_dir: StateDir,
}

#[derive(Subcommand)]
enum PolicyVerb {
    /// Prints a policy with comments.
    Example,
    /// Says whether a file is a policy, wherever it lies.
    Check {
        /// Which.
        file: PathBuf,
    },
}

#[derive(Args)]
struct Run {
    /// As the service control manager's child.
    #[arg(long, hide = true)]
    service: bool,
    #[command(flatten)]
    state_dir: StateDir,
    /// Enrollment file (enrollment.yaml of the Secret NAME-enrollment). Needed until this machine has an
    /// identity; one with a new token replaces the identity.
    #[arg(long, env = "WINDLASS_ENROLLMENT", value_name = "FILE")]
    enrollment: Option<PathBuf>,
    #[command(flatten)]
    policy: PolicyPlace,
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
    /// HTTP proxy on the way to the operator, as http://HOST:PORT or http://USER:PASSWORD@HOST:PORT; empty for none.
    /// Default: as HTTPS_PROXY, ALL_PROXY and NO_PROXY say.
    #[arg(long, env = "WINDLASS_PROXY", hide_env_values = true, value_name = "URL", value_parser = ProxyUrl::parse)]
    proxy: Option<ProxyUrl>,
    /// PEM certificates of authorities of proxies and load balancers that end TLS on the way to the operator. What
    /// is said through them is encrypted for the operator once more.
    #[arg(long, env = "WINDLASS_ADDITIONAL_CA", value_name = "FILE")]
    additional_ca: Option<PathBuf>,
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

#[derive(Args)]
struct InstallArgs {
    #[command(flatten)]
    state_dir: StateDir,
    /// Enrollment file (enrollment.yaml of the Secret NAME-enrollment). It is copied: delete it afterwards.
    #[arg(long, value_name = "FILE")]
    enrollment: Option<PathBuf>,
    /// Leaves the service stopped until the machine's next start.
    #[arg(long)]
    no_start: bool,
}

#[derive(Args)]
struct UninstallArgs {
    #[command(flatten)]
    state_dir: StateDir,
    /// Also removes what the agent keeps: its identity, state, contents and logs.
    #[arg(long)]
    purge: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Output {
    Text,
    Json,
}

/// No agent answers, as LSB has it for the status of a program that does not run.
const NOT_RUNNING: u8 = 3;

fn main() -> ExitCode {
    let arguments = service::parameters::with_parameters(std::env::args_os().collect(), service::parameters);
    let done = match Cli::parse_from(arguments).verb {
        Verb::Run(args) if args.service => service::run(Box::new(|stops, ready| run_service(args, stops, ready))),
        Verb::Run(args) => return exit(run_at_console(args).map(|()| ExitCode::SUCCESS)),
        Verb::Status(args) => return exit(show_status(&args)),
        Verb::Policy(args) => return exit(show_policy(args)),
        Verb::Install(args) => service::install(&Install {
            names_state_dir: args.state_dir.state_dir != machine::state_dir(),
            state_dir: args.state_dir.state_dir,
            enrollment: args.enrollment,
            start: !args.no_start,
        }),
        Verb::Uninstall(args) => service::uninstall(&args.state_dir.state_dir, args.purge),
        Verb::Start => service::start(),
        Verb::Stop => service::stop(),
        Verb::Launch { label: _ } => return machine::launch(),
    };
    done.map_or_else(|error| exit_like_sc(&error), |()| ExitCode::SUCCESS)
}

fn exit(ended: anyhow::Result<ExitCode>) -> ExitCode {
    ended.unwrap_or_else(|error| {
        eprintln!("windlass-agent: {error:#}");
        ExitCode::FAILURE
    })
}

/// An `ExitCode` holds eight bits only.
fn exit_like_sc(error: &VerbError) -> ! {
    eprintln!("windlass-agent: {error}");
    std::process::exit(error.exit_code().cast_signed())
}

fn run_at_console(args: Run) -> anyhow::Result<()> {
    logging::to_stderr(args.log_format, &args.log_level)?;
    let stops = Stops::default();
    let stop = stops.agent.clone();
    let stopping = async move {
        machine::stop_requested().await.context("listen for signals")?;
        tracing::info!("asked to stop; services keep running");
        stop.cancel();
        anyhow::Ok(())
    };
    let enrollment = args.enrollment.clone();
    run_agent(async move {
        let running = serve(settings(args, enrollment, Unenrolled::Fails), stops, || {});
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => ended?,
            stopped = stopping => {
                stopped?;
                running.await?;
            }
        }
        Ok(())
    })
}

fn run_service(args: Run, stops: Stops, ready: Box<dyn FnOnce() + Send>) -> Result<(), String> {
    let state_dir = args.state_dir.state_dir.clone();
    let logged = logging::for_service(&state_dir, args.log_format, &args.log_level, service::event_log());
    let ended = logged.map_err(anyhow::Error::from).and_then(|()| {
        service::take_enrollment(&state_dir);
        let enrollment = args.enrollment.clone().unwrap_or_else(|| service::enrollment_path(&state_dir));
        let settings = settings(args, Some(enrollment), Unenrolled::Waits);
        run_agent(async { Ok(serve(settings, stops, ready).await?) })
    });
    ended.map_err(|error| {
        let why = format!("{error:#}");
        logging::ended(&why);
        why
    })
}

fn run_agent(serving: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    rustls::crypto::ring::default_provider()
        .install_default()
        .map_err(|_| anyhow!("another cryptography provider is installed already"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(8).build()?;
    let ended = runtime.block_on(serving);
    // A download's last write may still be under way; it is not waited for longer than this.
    runtime.shutdown_timeout(Duration::from_secs(5));
    ended
}

fn settings(args: Run, enrollment: Option<PathBuf>, unenrolled: Unenrolled) -> MachineSettings {
    MachineSettings {
        state_dir: args.state_dir.state_dir,
        enrollment,
        policy: args.policy.policy,
        unenrolled,
        drift_period: Duration::from_secs(args.drift_period_seconds),
        max_artifact_bytes: args.max_artifact_bytes,
        way: Way {
            proxies: args.proxy.as_ref().map_or_else(Proxies::from_env, Proxies::always),
            additional_ca: args.additional_ca.map(AdditionalCa::at),
        },
        crash: crash_point(),
    }
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

fn show_policy(PolicyArgs { verb, place, state_dir }: PolicyArgs) -> anyhow::Result<ExitCode> {
    match verb {
        None => {
            let policy = policy_of(&state_dir.state_dir, place.policy, None).read();
            print!("{}", policy.text().map_err(|why| anyhow!("{why}; the agent changes nothing"))?);
        }
        Some(PolicyVerb::Example) => print!("{}", policy::file::EXAMPLE),
        Some(PolicyVerb::Check { file }) => {
            let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            policy::file::parse(&text).map_err(|why| anyhow!("{}: {why}", file.display()))?;
            println!("{} is well-formed", file.display());
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask_agent(state_dir: &Path) -> anyhow::Result<windlass::agent::local::AgentStatus> {
    let socket = state_dir.join("agent.sock");
    let connection = machine::connect(&socket).await.with_context(|| {
        format!("connect to {}; expected a running agent with this state directory", socket.display())
    })?;
    Ok(ask(connection).await?)
}
