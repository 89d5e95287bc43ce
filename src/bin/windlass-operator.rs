//! `windlass-operator`: serves EdgeNodes. Thin: parses arguments and calls [`windlass::operator`].

use std::{io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use windlass::operator::{run::run, settings::Settings};

/// Makes machines that are not Kubernetes nodes be what their EdgeNodes say.
#[derive(Parser)]
#[command(name = "windlass-operator", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve EdgeNodes until SIGTERM or SIGINT.
    Run {
        #[command(flatten)]
        settings: Box<Settings>,

        /// How log lines are written to stderr.
        #[arg(long, env = "WINDLASS_LOG_FORMAT", default_value = "text", value_enum)]
        log_format: LogFormat,

        /// Least level of what is logged: error, warn, info, debug or trace; also by module, such as
        /// info,windlass::operator=debug.
        #[arg(long, env = "WINDLASS_LOG_LEVEL", default_value = "info", value_name = "LEVEL", value_parser = log_level)]
        log_level: String,
    },
    /// Print the CustomResourceDefinitions as YAML, for kubectl apply -f -.
    Crds,
    /// Print the reference of the EdgeNode in Markdown.
    #[command(hide = true)]
    Reference,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Crds => windlass::api::crds_yaml().map(|yaml| print(&yaml)).map_err(Into::into),
        Verb::Reference => {
            print(&windlass::api::edge_node_reference());
            Ok(())
        }
        Verb::Run { settings, log_format, log_level } => {
            log(log_format, &log_level);
            serve(*settings)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whoever reads it may stop early, such as head.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn log_level(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|e| e.to_string())
}

fn log(format: LogFormat, level: &str) {
    // What kube says of reconciles and failed requests, our own lines say with the node and what to do.
    let quiet = if level.contains("kube") { "" } else { ",kube_runtime=warn,kube_client::client::builder=off" };
    let level = EnvFilter::new(format!("{level}{quiet}"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(level).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

fn serve(settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        let shutdown = CancellationToken::new();
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let running = run(settings, shutdown.clone());
        tokio::pin!(running);
        tokio::select! {
            result = &mut running => return result,
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        shutdown.cancel();
        running.await
    });
    // Tasks that outlive the drain's deadline are not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}
