//! The agent's end of a launch: starts the launcher, learns who it is, and lets it go on or not.
//! The launcher is this program again (`launch`, see [`super::launcher`]); they speak over its standard input.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream as StdUnixStream},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use super::process_table;
use crate::{
    agent::host::{HostError, ProcessIdentity, Reason},
    model::Service,
};

/// The launcher is ready to become the program.
pub(super) const READY: u8 = b'R';
/// What follows, until the end, is a [`Refusal`] in JSON.
pub(super) const REFUSED: u8 = b'E';
/// The launcher is to become the program.
pub(super) const GO: u8 = b'G';

/// Environment variable with the service's name.
pub(super) const NAME_VARIABLE: &str = "WINDLASS_SERVICE";
/// Environment variable with the path of the service's log.
pub(super) const LOG_VARIABLE: &str = "WINDLASS_SERVICE_LOG";

/// What the launcher becomes. Travels over the pipe, so that nothing but the program's own arguments is ever
/// seen in a list of processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Launch {
    pub(super) command: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    pub(super) working_directory: String,
    pub(super) account: Option<String>,
    /// Whether it ends with the agent.
    pub(super) ends_with_agent: bool,
}

impl Launch {
    /// A service, whose output goes to `log`.
    pub(super) fn of_service(service: &Service, log: &Path) -> Self {
        let mut launch = Self::of(service, &service.command, false);
        // These two are how an agent that lost its store finds what it started.
        launch.env.push((NAME_VARIABLE.to_owned(), service.name.as_str().to_owned()));
        launch.env.push((LOG_VARIABLE.to_owned(), log.display().to_string()));
        launch
    }

    /// A check that runs as its service does.
    pub(super) fn of_check(service: &Service, command: &[String]) -> Self {
        Self::of(service, command, true)
    }

    fn of(service: &Service, command: &[String], ends_with_agent: bool) -> Self {
        let directory = service.working_directory.as_ref().map_or("/", |directory| directory.as_str());
        Self {
            command: command.to_vec(),
            env: service.env.iter().map(|variable| (variable.name.clone(), variable.value.clone())).collect(),
            working_directory: directory.to_owned(),
            account: service.account.clone(),
            ends_with_agent,
        }
    }
}

/// Why the launcher did not become the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refusal {
    pub(super) reason: String,
    pub(super) message: String,
}

impl From<Refusal> for HostError {
    fn from(Refusal { reason, message }: Refusal) -> Self {
        let known = [Reason::UnknownAccount, Reason::PermissionDenied, Reason::NotExecutable];
        let reason = known.into_iter().find(|known| known.as_str() == reason).unwrap_or(Reason::IoError);
        Self { reason, message }
    }
}

/// A launcher that waits to be told to go on. Dropped before it has, it is killed and the program never runs.
pub(super) struct Launcher {
    pub(super) process: ProcessIdentity,
    stream: UnixStream,
    reaper: Option<Arc<Reaper>>,
}

/// Children that were killed and have still to end.
#[derive(Debug, Default)]
pub(super) struct Reaper(Mutex<Vec<Pid>>);

impl Reaper {
    /// Reaps a child that is about to end, now or with a later call of [`Reaper::sweep`].
    pub(super) fn take(&self, pid: Pid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
        self.sweep();
    }

    /// Reaps those that have ended.
    pub(super) fn sweep(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|pid| !is_reaped(*pid));
    }
}

/// Reaps a child that has ended. True as well where there is no such child.
pub(super) fn is_reaped(pid: Pid) -> bool {
    !matches!(waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG), Ok(None))
}

impl Drop for Launcher {
    fn drop(&mut self) {
        if let (Some(reaper), Ok(pid)) = (self.reaper.take(), pid_of(&self.process)) {
            // It may be the program by now, with children of its own: they share its group, once it has made one. As it
            // is not reaped yet, neither id can be another's.
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = kill_process(pid, Signal::KILL);
            reaper.take(pid);
        }
    }
}

impl Launcher {
    /// Starts one. `label` is shown in lists of processes.
    pub(super) async fn start(
        program: &Path,
        label: &str,
        launch: &Launch,
        output: Option<File>,
        boot_id: &str,
        reaper: Arc<Reaper>,
    ) -> Result<Self, HostError> {
        let lost = |error: &dyn std::fmt::Display| HostError {
            reason: Reason::IoError,
            message: format!("start the launcher {} for {label}: {error}", program.display()),
        };
        let (pid, stream) = spawn(program, label, output).map_err(|error| lost(&error))?;
        // Until it is told to go on, the process is a child that nobody else reaps: its id stays its own.
        let Some(stat) = process_table::stat(pid) else { return Err(lost(&"its process is not to be found")) };
        let process = ProcessIdentity { pid, boot_id: boot_id.to_owned(), start_time: stat.start_time };
        let mut launcher = Self { process, stream, reaper: Some(reaper) };
        match launcher.hand_over(launch).await {
            Ok(()) => Ok(launcher),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Lost(error)) => Err(lost(&error)),
        }
    }

    /// Lets it become the program.
    pub(super) async fn go(mut self) -> Result<ProcessIdentity, HostError> {
        let told = self.stream.write_all(&[GO]).await;
        let mut answer = Vec::new();
        // The end of the stream is the moment of exec: the launcher's end closes itself there.
        match told.and(self.stream.read_to_end(&mut answer).await) {
            Ok(0) => {
                self.reaper = None;
                Ok(self.process.clone())
            }
            Ok(_) => Err(refusal(&answer)),
            Err(error) => {
                let message = format!("let the launcher of process {} go on: {error}", self.process.pid);
                Err(HostError { reason: Reason::IoError, message })
            }
        }
    }

    async fn hand_over(&mut self, launch: &Launch) -> Result<(), Failure> {
        let bytes = serde_json::to_vec(launch).map_err(|error| Failure::Lost(error.into()))?;
        self.stream.write_u32(u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge)?).await?;
        self.stream.write_all(&bytes).await?;
        match self.stream.read_u8().await? {
            READY => Ok(()),
            REFUSED => {
                let mut answer = vec![REFUSED];
                self.stream.read_to_end(&mut answer).await?;
                Err(Failure::Refused(refusal(&answer)))
            }
            other => Err(Failure::Lost(io::Error::other(format!("it answered {other}, which is not its protocol")))),
        }
    }
}

enum Failure {
    Refused(HostError),
    Lost(io::Error),
}

impl<E: Into<io::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Lost(error.into())
    }
}

pub(super) fn pid_of(process: &ProcessIdentity) -> Result<Pid, HostError> {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let message = format!("{} is no process id", process.pid);
    pid.ok_or(HostError { reason: Reason::IoError, message })
}

fn refusal(answer: &[u8]) -> HostError {
    let parsed = answer.strip_prefix(&[REFUSED]).and_then(|json| serde_json::from_slice::<Refusal>(json).ok());
    let unread = || HostError { reason: Reason::IoError, message: "the launcher's answer cannot be read".into() };
    parsed.map_or_else(unread, HostError::from)
}

fn spawn(program: &Path, label: &str, output: Option<File>) -> io::Result<(u32, UnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let (out, err) = match output {
        Some(file) => (Stdio::from(file.try_clone()?), Stdio::from(file)),
        None => (Stdio::null(), Stdio::null()),
    };
    let child = Command::new(program)
        .args(["launch", label])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(out)
        .stderr(err)
        .spawn()?;
    Ok((child.id(), UnixStream::from_std(ours)?))
}
