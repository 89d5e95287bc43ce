//! Where the agent's log goes: to stderr at a console; as a service, to a file and to the machine's event log.

use std::{
    io::{self, IsTerminal as _},
    path::Path,
    sync::Arc,
};

use clap::ValueEnum;
use tracing::{error, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::ParseError, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use super::{
    events::{EventLayer, EventLog},
    host::machine,
    log_file::LogFile,
};

/// How lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Why nothing can be logged.
#[derive(Debug, thiserror::Error)]
#[error("--log-level {level:?}: {error}")]
pub struct LogLevelError {
    level: String,
    error: ParseError,
}

/// Logs to stderr from now on.
pub fn to_stderr(format: LogFormat, level: &str) -> Result<(), LogLevelError> {
    let filter = filter(level)?;
    let lines = fmt::layer().with_writer(io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Text => Box::new(lines.with_ansi(io::stderr().is_terminal())),
        LogFormat::Json => Box::new(lines.json()),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
    Ok(())
}

/// Logs to `logs/agent.log` in the state directory and to the event log from now on. Where the file cannot be used,
/// the event log says so.
pub fn for_service(
    state_dir: &Path,
    format: LogFormat,
    level: &str,
    events: Option<Arc<dyn EventLog>>,
) -> Result<(), LogLevelError> {
    // A level that cannot be read must not leave the service without a log.
    let (filter, refused) = match filter(level) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new("info"), Some(error)),
    };
    let information = filter.max_level_hint().is_none_or(|most| most >= LevelFilter::INFO);
    let (file, unusable) = match open(state_dir) {
        Ok(file) => (Some(file), None),
        Err(error) => (None, Some(error)),
    };
    let lines = file.map(|file| {
        let lines = fmt::layer().with_ansi(false).with_writer(file);
        let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
            LogFormat::Text => Box::new(lines),
            LogFormat::Json => Box::new(lines.json()),
        };
        lines.with_filter(filter)
    });
    let events = events.map(|log| EventLayer::new(log, information));
    tracing_subscriber::registry().with(lines).with(events).init();
    std::panic::set_hook(Box::new(|panic| error!(%panic, "a part of windlass-agent panicked")));
    if let Some(error) = unusable {
        error!(%error, path = %state_dir.display(), "the log file cannot be used");
    }
    refused.map_or(Ok(()), Err)
}

/// Says why the service ends though nobody asked it to.
pub fn ended(error: &(impl std::fmt::Display + ?Sized)) {
    error!(%error, "windlass-agent ended");
}

fn open(state_dir: &Path) -> io::Result<LogFile> {
    machine::create_private_directory(state_dir)?;
    let folder = state_dir.join("logs");
    machine::create_private_directory(&folder)?;
    LogFile::open(&folder)
}

fn filter(level: &str) -> Result<EnvFilter, LogLevelError> {
    EnvFilter::try_new(level).map_err(|error| LogLevelError { level: level.to_owned(), error })
}
