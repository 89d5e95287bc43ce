//! Services of a Windows machine, through the Service Control Manager. Does IO.
//! Who starts what again is decided above; here each call does one thing and says what came of it.

mod check;
mod kept;
mod logon_right;
mod scm;
pub(super) mod spawn;
mod wrap;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    select,
    task::spawn_blocking,
    time::{Instant, sleep, timeout},
};
use windows_service::service::{Service as ScmService, ServiceAccess};
use windows_sys::Win32::System::Services::{
    SERVICE_ACCEPT_PAUSE_CONTINUE, SERVICE_PAUSED, SERVICE_RUNNING, SERVICE_START_PENDING, SERVICE_STOP_PENDING,
    SERVICE_STOPPED,
};

use self::{
    scm::{Status, code_of},
    wrap::Wraps,
};
use super::process::{self, Process};
use crate::{
    agent::{
        host::{Configured, Credentials, Exit, HostError, Journal, ProcessIdentity, Reason, Running, ServiceControl},
        scm::{
            codes::{
                ALREADY_RUNNING, CANNOT_ACCEPT_CONTROL, DEPENDENT_SERVICES_RUNNING, MARKED_FOR_DELETE, NOT_ACTIVE,
                PROCESS_ABORTED, Stopped, error,
            },
            configuration::{Changes, Configuration},
            waiting::{Next, Wait},
        },
    },
    model::{Service, ServiceName},
};

/// How long the SCM gets to notice that a process ended.
const NOTICE_WITHIN: Duration = Duration::from_secs(10);
/// How long an ended process, or a deleted service, is waited for.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// Between looks at what comes with no event.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Between looks whether a service says that it stopped though its process goes on.
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// Services of this machine.
#[derive(Debug, Clone)]
pub struct WindowsServices {
    boot_id: String,
    wraps: Arc<Wraps>,
}

impl WindowsServices {
    /// For an agent that keeps its state there. `host` is the program that stands in for those that are no services.
    pub fn new(state_dir: &Path, host: PathBuf) -> io::Result<Self> {
        Ok(Self { boot_id: process::boot_id()?, wraps: Arc::new(Wraps::new(state_dir, host)?) })
    }

    fn identity(&self, pid: u32) -> io::Result<ProcessIdentity> {
        let start_time = Process::open(pid, false)?.start_time()?;
        Ok(ProcessIdentity { pid, boot_id: self.boot_id.clone(), start_time })
    }

    fn is_that_running(&self, process: &ProcessIdentity) -> bool {
        let opened = Process::open_that(process, &self.boot_id, false);
        opened.ok().flatten().is_some_and(|process| process.is_running())
    }

    /// The process of a service that has one. After a crash, Wine goes on naming one that is gone.
    fn runs(&self, status: &Status) -> Option<ProcessIdentity> {
        let identity = (status.state != SERVICE_STOPPED && status.pid != 0).then(|| self.identity(status.pid));
        identity.and_then(Result::ok).filter(|process| self.is_that_running(process))
    }

    fn status(&self, name: &ServiceName, tried: &str) -> Result<Status, HostError> {
        let opened = scm::open_known(name, ServiceAccess::QUERY_STATUS);
        opened.and_then(|service| scm::status(&service)).map_err(|code| error(tried, code))
    }

    /// Waits until a service that runs is in this state.
    async fn come_to(&self, name: &ServiceName, state: u32, tried: &str) -> Result<Status, HostError> {
        let (began, mut wait) = (Instant::now(), Wait::default());
        loop {
            let (this, of, what) = (self.clone(), name.clone(), tried.to_owned());
            let (status, process) = blocking(move || {
                let status = this.status(&of, &what)?;
                Ok((status, this.runs(&status)))
            })
            .await?;
            match (status.state, process) {
                (SERVICE_STOPPED, _) => return Err(status.stopped.not_started(tried)),
                (now, Some(_)) if now == state => return Ok(status),
                // It is there before its process is.
                (SERVICE_START_PENDING, None) if began.elapsed() < NOTICE_WITHIN => {}
                (_, None) => return Err(Stopped { code: PROCESS_ABORTED, specific: 0 }.not_started(tried)),
                (_, Some(_)) => {}
            }
            let hint = Duration::from_millis(status.wait_hint.into());
            match wait.look(status.checkpoint, hint, began.elapsed()) {
                Next::LookAfter(delay) => sleep(delay).await,
                Next::GiveUp => {
                    let waited = began.elapsed().as_secs();
                    let message = format!("{tried}: it does not get there and gives no sign, after {waited} s");
                    return Err(HostError::new(Reason::TimedOut, message));
                }
            }
        }
    }

    /// Whether what its process is started with was another.
    fn configure_now(&self, service: &Service, password: Option<&str>, anew: bool) -> Result<bool, HostError> {
        let (name, tried) = (&service.name, format!("configure the service {}", service.name));
        let coded = |code| error(&tried, code);
        let line =
            if service.wrap { Some(self.wraps.command_line(name).map_err(|e| failed(&tried, &e))?) } else { None };
        let wanted = Configuration::of(service, line)?;
        let found = scm::open(name, kept::access()).map_err(coded)?;
        let is_there = found.is_some();
        if !is_there {
            grant(name, &wanted)?;
        }
        let opened = match found {
            Some(opened) => opened,
            None => kept::create(name, &wanted, password).map_err(coded)?,
        };
        let is = kept::read(&opened, name, &wanted).map_err(coded)?;
        let changes = Changes::between(&is, &wanted, anew && is_there);
        if is_there && changes.account.is_some() {
            grant(name, &wanted)?;
        }
        if changes != Changes::default() {
            kept::change(&opened, name, &changes, password).map_err(coded)?;
        }
        drop(opened);
        let told = service.wrap && self.wraps.tell(service).map_err(|problem| failed(&tried, &problem))?;
        if changes.command_line.is_some() {
            // What cannot be removed now is the next time.
            let _ = self.wraps.clear();
        }
        Ok(is_there && (told || changes.reach_its_process()))
    }

    /// Tells the SCM to start it; that it runs is success.
    async fn tell_to_start(&self, name: &ServiceName, tried: &str) -> Result<(), HostError> {
        let began = Instant::now();
        loop {
            let (this, of, what) = (self.clone(), name.clone(), tried.to_owned());
            let told = blocking(move || {
                let access = ServiceAccess::START | ServiceAccess::QUERY_STATUS;
                let service = scm::open_known(&of, access).map_err(|code| error(&what, code))?;
                match service.start::<&str>(&[]).map_err(|error| code_of(&error)) {
                    Ok(()) => Ok(true),
                    Err(ALREADY_RUNNING) => {
                        let status = scm::status(&service).map_err(|code| error(&what, code))?;
                        Ok(status.state != SERVICE_STOP_PENDING && this.runs(&status).is_some())
                    }
                    Err(code) => Err(error(&what, code)),
                }
            })
            .await?;
            // It is still on its way down, or the SCM has not noticed its end.
            if told {
                return Ok(());
            }
            if began.elapsed() >= NOTICE_WITHIN {
                return Err(error(tried, ALREADY_RUNNING));
            }
            sleep(LOOK_EVERY).await;
        }
    }
}

#[async_trait]
impl ServiceControl for WindowsServices {
    fn boot_id(&self) -> String {
        self.boot_id.clone()
    }

    /// None: the SCM runs no service twice, so one that the store has lost is taken up when it is to be started.
    fn survivors(&self) -> Result<Vec<(ServiceName, ProcessIdentity)>, HostError> {
        Ok(Vec::new())
    }

    fn is_managed(&self) -> bool {
        true
    }

    fn machine_started_ago(&self) -> Duration {
        process::machine_started_ago()
    }

    async fn exists(&self, name: &ServiceName) -> Result<bool, HostError> {
        let name = name.clone();
        blocking(move || {
            let opened = scm::open(&name, ServiceAccess::QUERY_STATUS);
            opened.map(|service| service.is_some()).map_err(|code| error(&format!("look for the service {name}"), code))
        })
        .await
    }

    fn running(&self, name: &ServiceName) -> Result<Option<Running>, HostError> {
        let tried = format!("look whether the service {name} runs");
        let Some(service) = scm::open(name, ServiceAccess::QUERY_STATUS).map_err(|code| error(&tried, code))? else {
            return Ok(None);
        };
        let status = scm::status(&service).map_err(|code| error(&tried, code))?;
        // One that is about to start is waited for when it is to be started.
        let process = self.runs(&status).filter(|_| status.state != SERVICE_START_PENDING);
        Ok(process.map(|process| Running { process, paused: status.state == SERVICE_PAUSED }))
    }

    async fn configure(&self, service: &Service, credentials: &Credentials) -> Result<Configured, HostError> {
        let (this, service, anew) = (self.clone(), service.clone(), credentials.anew);
        let password = credentials.password.clone();
        blocking(move || {
            let changed = this.configure_now(&service, password.as_ref().map(|password| password.as_str()), anew)?;
            Ok(Configured { changed, running: this.running(&service.name)? })
        })
        .await
    }

    async fn delete(&self, name: &ServiceName) -> Result<(), HostError> {
        let (name, tried) = (name.clone(), format!("delete the service {name}"));
        let deadline = Instant::now() + GONE_WITHIN;
        loop {
            let (this, of, what) = (self.clone(), name.clone(), tried.clone());
            let gone = blocking(move || {
                let opened = scm::open(&of, ServiceAccess::DELETE).map_err(|code| error(&what, code))?;
                let Some(service) = opened else {
                    return this.wraps.forget(&of).map(|()| true).map_err(|problem| failed(&what, &problem));
                };
                match service.delete().map_err(|error| code_of(&error)) {
                    Ok(()) | Err(MARKED_FOR_DELETE) => Ok(false),
                    Err(code) => Err(error(&what, code)),
                }
            })
            .await?;
            if gone {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(error(&tried, MARKED_FOR_DELETE));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The SCM never runs a service twice. So it is journaled once it runs: should the agent end before that, it finds
    /// the service running when it comes back.
    async fn start(&self, service: &Service, journal: Journal<'_>) -> Result<ProcessIdentity, HostError> {
        let (name, tried) = (&service.name, format!("start the service {}", service.name));
        self.tell_to_start(name, &tried).await?;
        let status = match self.come_to(name, SERVICE_RUNNING, &tried).await {
            // It hangs, and would for ever.
            Err(error) if error.reason == Reason::TimedOut => {
                let (this, name, what) = (self.clone(), name.clone(), tried.clone());
                let ended = blocking(move || match this.runs(&this.status(&name, &what)?) {
                    Some(process) => this.kill(&name, &process),
                    None => Ok(()),
                });
                ended.await?;
                return Err(error);
            }
            other => other?,
        };
        let process = self.identity(status.pid).map_err(|error| {
            HostError::new(Reason::IoError, format!("{tried}: look at its process {}: {error}", status.pid))
        })?;
        journal(&process)?;
        Ok(process)
    }

    fn is_running(&self, process: &ProcessIdentity) -> bool {
        self.is_that_running(process)
    }

    async fn ended(&self, name: &ServiceName, process: &ProcessIdentity) -> Exit {
        let Ok(Some(opened)) = Process::open_that(process, &self.boot_id, false) else { return Exit::Unknown };
        let says_stopped = async {
            loop {
                sleep(STATUS_EVERY).await;
                let (this, of) = (self.clone(), name.clone());
                let status = blocking(move || this.status(&of, "look")).await;
                if status.is_ok_and(|status| status.state == SERVICE_STOPPED) {
                    return;
                }
            }
        };
        tokio::pin!(says_stopped);
        select! {
            ended = opened.ended() => if ended.is_err() {
                // Not to be waited for: the SCM says it alone.
                says_stopped.await;
            },
            () = &mut says_stopped => {
                // Its process may have a last word to say; what is left of it is ended afterwards.
                let _ = timeout(GONE_WITHIN, opened.ended()).await;
            }
        }
        let (this, of) = (self.clone(), name.clone());
        let status = blocking(move || this.status(&of, "look")).await;
        let stopped = match status {
            Ok(status) if status.state == SERVICE_STOPPED => status.stopped,
            _ => Stopped { code: PROCESS_ABORTED, specific: 0 },
        };
        match stopped.exit_code(opened.exit_code()) {
            Some(code) => Exit::Code(code.cast_signed()),
            None => Exit::Unknown,
        }
    }

    fn request_stop(&self, name: &ServiceName, process: &ProcessIdentity) -> Result<(), HostError> {
        if !self.is_that_running(process) {
            return Ok(());
        }
        let tried = format!("stop the service {name}");
        let access = ServiceAccess::STOP | ServiceAccess::QUERY_STATUS | scm::ENUMERATE_DEPENDENTS;
        let service = scm::open_known(name, access).map_err(|code| error(&tried, code))?;
        match service.stop().map_err(|error| code_of(&error)) {
            Ok(_) | Err(NOT_ACTIVE) => Ok(()),
            Err(CANNOT_ACCEPT_CONTROL) if is_stopping(&service) => Ok(()),
            Err(DEPENDENT_SERVICES_RUNNING) => {
                let names = scm::running_dependents(&service).unwrap_or_default().join(", ");
                let message = format!("{tried}: {names} run and depend on it (error 1051)");
                Err(HostError::new(Reason::DependentServicesRunning, message))
            }
            Err(code) => Err(error(&tried, code)),
        }
    }

    /// That process alone: the SCM knows nothing of what a service starts, which often is not its own.
    fn kill(&self, name: &ServiceName, process: &ProcessIdentity) -> Result<(), HostError> {
        let tried = format!("end the process {} of the service {name}", process.pid);
        let failed = |problem| failed(&tried, &problem);
        if !self.is_that_running(process) {
            return Ok(());
        }
        if let Ok(status) = self.status(name, &tried)
            && status.pid == process.pid
            && status.is_shared
        {
            let message = format!("{tried}: other services run in it, so it is left");
            return Err(HostError::new(Reason::Refused, message));
        }
        let Some(opened) = Process::open_that(process, &self.boot_id, true).map_err(failed)? else { return Ok(()) };
        opened.terminate().map_err(failed)?;
        if opened.ends_within(GONE_WITHIN) {
            return Ok(());
        }
        Err(HostError::new(Reason::TimedOut, format!("{tried}: it does not end")))
    }

    async fn pause(&self, name: &ServiceName, process: &ProcessIdentity, paused: bool) -> Result<(), HostError> {
        let (wanted, verb) = if paused { (SERVICE_PAUSED, "pause") } else { (SERVICE_RUNNING, "continue") };
        let tried = format!("{verb} the service {name}");
        if !self.is_that_running(process) {
            return Err(error(&tried, NOT_ACTIVE));
        }
        let (of, what) = (name.clone(), tried.clone());
        blocking(move || {
            let access = ServiceAccess::PAUSE_CONTINUE | ServiceAccess::QUERY_STATUS;
            let service = scm::open_known(&of, access).map_err(|code| error(&what, code))?;
            let status = scm::status(&service).map_err(|code| error(&what, code))?;
            if status.state == wanted {
                return Ok(());
            }
            if status.accepts & SERVICE_ACCEPT_PAUSE_CONTINUE == 0 {
                return Err(HostError::new(Reason::Refused, format!("{what}: it does not accept being paused")));
            }
            let told = if paused { service.pause() } else { service.resume() };
            told.map(drop).map_err(|problem| error(&what, code_of(&problem)))
        })
        .await?;
        self.come_to(name, wanted, &tried).await.map(drop)
    }

    async fn check(&self, service: &Service, command: &[String]) -> Result<Exit, HostError> {
        let tried = format!("run {} as {} does", command.join(" "), service.name);
        let (this, of, words, what) = (self.clone(), service.clone(), command.to_vec(), tried.clone());
        let spawned = blocking(move || {
            let Some(Running { process, .. }) = this.running(&of.name)? else { return Err(error(&what, NOT_ACTIVE)) };
            let opened = Process::open_that(&process, &this.boot_id, false).map_err(|e| failed(&what, &e))?;
            let opened = opened.ok_or_else(|| error(&what, NOT_ACTIVE))?;
            check::start(&opened, &of, &words).map_err(|problem| failed(&what, &problem))
        })
        .await?;
        spawned.process.ended().await.map_err(|problem| failed(&tried, &problem))?;
        Ok(spawned.process.exit_code().map_or(Exit::Unknown, |code| Exit::Code(code.cast_signed())))
    }

    fn tend(&self, _: &ServiceName) {}
}

fn grant(name: &ServiceName, wanted: &Configuration) -> Result<(), HostError> {
    let account = wanted.account.scm_name();
    if !wanted.account.needs_logon_right() {
        return Ok(());
    }
    logon_right::grant(account, name)
}

fn failed(tried: &str, problem: &io::Error) -> HostError {
    match problem.raw_os_error() {
        Some(code) => error(tried, code.cast_unsigned()),
        None => HostError::new(Reason::IoError, format!("{tried}: {problem}")),
    }
}

fn is_stopping(service: &ScmService) -> bool {
    scm::status(service).is_ok_and(|status| status.state == SERVICE_STOP_PENDING || status.state == SERVICE_STOPPED)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    let panicked = |problem: tokio::task::JoinError| HostError::new(Reason::IoError, problem.to_string());
    spawn_blocking(work).await.map_err(panicked)?
}
