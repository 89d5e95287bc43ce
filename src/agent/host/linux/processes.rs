//! Services of a Linux machine: processes in sessions of their own, started by a launcher so that none ever
//! runs unrecorded, and watched by pidfd whoever started them. Does IO.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, pidfd_send_signal, waitid,
    },
};
use tokio::{io::unix::AsyncFd, time::timeout};

use super::{
    launch::{LOG_VARIABLE, Launch, Launcher, NAME_VARIABLE, Reaper, is_reaped, pid_of},
    process_table,
    service_logs::ServiceLogs,
};
use crate::{
    agent::host::{Exit, HostError, Journal, ProcessIdentity, Reason, ServiceControl},
    model::{Service, ServiceName},
};

/// A launcher only looks up an account: whatever takes longer is stuck.
const LAUNCH_WITHIN: Duration = Duration::from_secs(30);
/// How long killed processes are waited for.
const KILL_WITHIN: Duration = Duration::from_secs(5);
/// Between looks at a process that cannot be waited for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Processes of this machine.
#[derive(Debug)]
pub struct LinuxServices {
    launcher: PathBuf,
    logs: ServiceLogs,
    boot_id: String,
    reaper: Arc<Reaper>,
}

impl LinuxServices {
    /// `launcher` is a program that has the agent's verb `launch`, and `logs` the folder for what services write.
    pub fn new(launcher: PathBuf, logs: PathBuf) -> io::Result<Self> {
        let (logs, boot_id) = (ServiceLogs::new(std::path::absolute(logs)?), process_table::boot_id()?);
        Ok(Self { launcher, logs, boot_id, reaper: Arc::default() })
    }

    /// This very program is the launcher, even after its file was replaced by an upgrade.
    pub fn launched_by_this_program(logs: PathBuf) -> io::Result<Self> {
        Self::new(PathBuf::from("/proc/self/exe"), logs)
    }

    async fn launch(&self, service: &Service, journal: Journal<'_>) -> Result<ProcessIdentity, HostError> {
        let name = &service.name;
        let output = self.logs.open(name).map_err(|error| HostError {
            reason: Reason::IoError,
            message: format!("open the log {} of {name}: {error}", self.logs.path(name, "log").display()),
        })?;
        let launch = Launch::of_service(service, &self.logs.path(name, "log"));
        let launcher = self.start_launcher(name.as_str(), &launch, Some(output)).await?;
        journal(&launcher.process)?;
        launcher.go().await
    }

    async fn start_launcher(&self, label: &str, launch: &Launch, output: Option<File>) -> Result<Launcher, HostError> {
        self.reaper.sweep();
        Launcher::start(&self.launcher, label, launch, output, &self.boot_id, self.reaper.clone()).await
    }
}

#[async_trait]
impl ServiceControl for LinuxServices {
    fn boot_id(&self) -> String {
        self.boot_id.clone()
    }

    fn survivors(&self) -> Result<Vec<(ServiceName, ProcessIdentity)>, HostError> {
        let carried = process_table::leaders_carrying(NAME_VARIABLE, LOG_VARIABLE).map_err(|error| HostError {
            reason: Reason::IoError,
            message: format!("look for services that run: {error}"),
        })?;
        let mut found: BTreeMap<ServiceName, ProcessIdentity> = BTreeMap::new();
        for (pid, start_time, name, log) in carried {
            let Ok(name) = ServiceName::parse(&name) else { continue };
            let process = ProcessIdentity { pid, boot_id: self.boot_id.clone(), start_time };
            let is_first = found.get(&name).is_none_or(|other| start_time < other.start_time);
            if self.logs.path(&name, "log") == Path::new(&log) && is_first {
                found.insert(name, process);
            }
        }
        Ok(found.into_iter().collect())
    }

    async fn delete(&self, name: &ServiceName) -> Result<(), HostError> {
        self.logs.remove(name).map_err(|error| HostError {
            reason: Reason::IoError,
            message: format!("remove the logs of the service {name}: {error}"),
        })
    }

    async fn start(&self, service: &Service, journal: Journal<'_>) -> Result<ProcessIdentity, HostError> {
        let too_long = |_| HostError {
            reason: Reason::IoError,
            message: format!("launch {}: not done within {} s", service.name, LAUNCH_WITHIN.as_secs()),
        };
        timeout(LAUNCH_WITHIN, self.launch(service, journal)).await.map_err(too_long)?
    }

    fn is_running(&self, process: &ProcessIdentity) -> bool {
        process_table::is_that(process, &self.boot_id).is_some_and(|stat| stat.runs)
    }

    async fn ended(&self, _: &ServiceName, process: &ProcessIdentity) -> Exit {
        let Ok(pid) = pid_of(process) else { return Exit::Unknown };
        let watched = pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from).and_then(watch);
        // Looked at after the pidfd was opened: from here on it is this process or none.
        if process_table::is_that(process, &self.boot_id).is_none() {
            return Exit::Unknown;
        }
        let readable = match &watched {
            Ok(pidfd) => pidfd.readable().await.is_ok(),
            Err(_) => false,
        };
        if !readable {
            while self.is_running(process) {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        // Not reaped yet: until `kill` has ended what it left, its id stays its own.
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal(signal),
                (None, None) => Exit::Unknown,
            },
            // Started by an earlier agent, it is somebody else's child now.
            Ok(None) | Err(_) => Exit::Unknown,
        }
    }

    fn request_stop(&self, _: &ServiceName, process: &ProcessIdentity) -> Result<(), HostError> {
        if process_table::is_that(process, &self.boot_id).is_none() {
            return Ok(());
        }
        let pid = pid_of(process)?;
        // One that was stopped by SIGSTOP could not follow otherwise.
        for signal in [Signal::TERM, Signal::CONT] {
            match kill_process_group(pid, signal) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(not_signalled("SIGTERM", process, error)),
            }
        }
        Ok(())
    }

    fn kill(&self, _: &ServiceName, process: &ProcessIdentity) -> Result<(), HostError> {
        let pid = pid_of(process)?;
        let deadline = Instant::now() + KILL_WITHIN;
        loop {
            let left = process_table::belonging_to(process, &self.boot_id).map_err(|error| HostError {
                reason: Reason::IoError,
                message: format!("look for what is left of process {}: {error}", process.pid),
            })?;
            if left.is_empty() {
                if process_table::is_that(process, &self.boot_id).is_some() {
                    is_reaped(pid);
                }
                return Ok(());
            }
            if Instant::now() >= deadline {
                let left: Vec<String> = left.iter().map(u32::to_string).collect();
                let left = left.join(", ");
                let message = format!("kill what is left of process {}: {left} do not end", process.pid);
                return Err(HostError { reason: Reason::IoError, message });
            }
            end_all(process, &left, deadline)?;
        }
    }

    async fn check(&self, service: &Service, command: &[String]) -> Result<Exit, HostError> {
        let launch = Launch::of_check(service, command);
        let label = format!("{}-probe", service.name);
        let launcher = self.start_launcher(&label, &launch, None).await?;
        let guard = CutOff { control: self, process: launcher.process.clone() };
        let process = launcher.go().await?;
        let exit = self.ended(&service.name, &process).await;
        drop(guard);
        Ok(exit)
    }

    fn tend(&self, name: &ServiceName) {
        self.reaper.sweep();
        if let Err(error) = self.logs.cap(name) {
            tracing::warn!(service = %name, %error, "its log could not be cut");
        }
    }
}

/// Ends a check and what it started, however it was left.
struct CutOff<'a> {
    control: &'a LinuxServices,
    process: ProcessIdentity,
}

impl Drop for CutOff<'_> {
    fn drop(&mut self) {
        let Ok(pid) = pid_of(&self.process) else { return };
        if process_table::is_that(&self.process, &self.control.boot_id).is_none() {
            return;
        }
        // A child, running or not reaped, so the group's id is its own.
        let _ = kill_process_group(pid, Signal::KILL);
        self.control.reaper.take(pid);
    }
}

fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is open and owned, and it moves into what watches it, which alone closes it.
    #[allow(unsafe_code)]
    let watched = unsafe { AsyncFd::register(pidfd) };
    Ok(watched?)
}

/// Kills these and waits for them. Those that they start meanwhile are found by looking again.
fn end_all(process: &ProcessIdentity, pids: &[u32], deadline: Instant) -> Result<(), HostError> {
    let mut watched: Vec<OwnedFd> = Vec::new();
    for pid in pids {
        let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) else { continue };
        let signalled = pidfd_open(pid, PidfdFlags::empty()).and_then(|pidfd| {
            pidfd_send_signal(&pidfd, Signal::KILL)?;
            watched.push(pidfd);
            Ok(())
        });
        match signalled {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(error) => return Err(not_signalled("SIGKILL", process, error)),
        }
    }
    for pidfd in &watched {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs().try_into().unwrap_or(1), tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(not_signalled("poll", process, error)),
        }
    }
    Ok(())
}

fn not_signalled(what: &str, process: &ProcessIdentity, error: Errno) -> HostError {
    let reason = if error == Errno::PERM { Reason::PermissionDenied } else { Reason::IoError };
    HostError { reason, message: format!("{what} to the group of process {}: {error}", process.pid) }
}
