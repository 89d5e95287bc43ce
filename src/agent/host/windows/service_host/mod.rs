//! `windlass-service-host`: a service of Windows that stands in for a program which is none. Started by the SCM with
//! the service's name and the file that says what to run. Does IO. Runs the program in a job and a process group of its
//! own, asks it to stop by CTRL_BREAK, and ends as it ends. Knows nothing of the agent.

mod output;

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        OnceLock,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use windows_service::{
    define_windows_service,
    service::{ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType},
    service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle},
    service_dispatcher,
};
use windows_sys::Win32::System::{
    Console::{AllocConsole, CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent},
    Threading::CREATE_NEW_PROCESS_GROUP,
};

use super::services::spawn::{Spawn, Spawned};
use crate::agent::scm::wrapped::{OUTPUT, Wrapped};

/// How soon the SCM hears again while the program stops.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// What an ended job gets to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(5);
/// Started by hand: no error of the SCM's.
const NOT_BY_HAND: &str =
    "windlass-service-host: this is started by the Service Control Manager, for a service with wrap: true";

/// A service is one for each process, and the SCM calls back without an argument.
static ASKED: OnceLock<Sender<Happened>> = OnceLock::new();

define_windows_service!(service_main, serve);

/// The program's main.
pub fn service_host() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    match service_dispatcher::start(name, service_main) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{NOT_BY_HAND} ({error})");
            ExitCode::FAILURE
        }
    }
}

enum Happened {
    AskedToStop,
    Ended,
}

fn serve(_: Vec<OsString>) {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(name), Some(file)) = (arguments.next(), arguments.next()) else { return };
    let (tell, told) = channel();
    let _ = ASKED.set(tell.clone());
    // It captures nothing: after the first stop the crate frees what it captures, and the SCM may ask again.
    let Ok(status) = service_control_handler::register(&name, on_control) else { return };
    let mut host = Host { status, checkpoint: 0 };
    host.say(ServiceState::StartPending, Duration::from_secs(30));
    let exit = match start(&PathBuf::from(file), tell) {
        Ok(Started { spawned, stop_within, output }) => {
            host.say(ServiceState::Running, Duration::ZERO);
            let exit = host.follow(&spawned, &told, stop_within);
            // What it started ends with it, and so lets go of its output.
            spawned.end();
            let _ = output.recv_timeout(GONE_WITHIN);
            exit
        }
        Err(error) => ServiceExitCode::Win32(error.raw_os_error().map_or(1, i32::cast_unsigned)),
    };
    host.stopped(exit);
}

fn on_control(control: ServiceControl) -> ServiceControlHandlerResult {
    match control {
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        ServiceControl::Stop | ServiceControl::Shutdown => {
            if let Some(asked) = ASKED.get() {
                let _ = asked.send(Happened::AskedToStop);
            }
            ServiceControlHandlerResult::NoError
        }
        _ => ServiceControlHandlerResult::NotImplemented,
    }
}

struct Started {
    spawned: Spawned,
    stop_within: Duration,
    /// Hangs up once all of its output is kept.
    output: Receiver<()>,
}

/// Starts the program, and tells of its end.
fn start(file: &Path, tell: Sender<Happened>) -> io::Result<Started> {
    let wrapped: Wrapped = serde_json::from_slice(&fs::read(file)?)?;
    let folder = file.parent().unwrap_or(Path::new("."));
    let program = wrapped.command.first().map(PathBuf::from).unwrap_or_default();
    let of_program = program.parent().filter(|directory| directory.is_dir()).map(Path::to_owned);
    let directory = wrapped.working_directory.as_ref().map(PathBuf::from).or(of_program);
    // A program asked to stop by its console needs one. A service has none; that there is one already is no error.
    // SAFETY: it takes nothing.
    #[allow(unsafe_code)]
    let _ = unsafe { AllocConsole() };
    let output = output::Output::open(&folder.join(OUTPUT))?;
    let environment = wrapped.environment(std::env::vars());
    let spawned = Spawn {
        command: &wrapped.command,
        environment: &environment,
        directory: directory.as_deref(),
        output: Some(output.writer()),
        token: None,
        flags: CREATE_NEW_PROCESS_GROUP,
    }
    .spawn()?;
    let output = output.keep();
    let process = spawned.process.try_clone()?;
    thread::spawn(move || {
        // A wait that failed is no end.
        while !process.ends_within(Duration::MAX) {
            thread::sleep(TELL_EVERY);
        }
        let _ = tell.send(Happened::Ended);
    });
    Ok(Started { spawned, stop_within: Duration::from_secs(wrapped.stop_timeout_seconds.into()), output })
}

struct Host {
    status: ServiceStatusHandle,
    checkpoint: u32,
}

impl Host {
    /// Until the program has ended, by itself or as asked.
    fn follow(&mut self, spawned: &Spawned, told: &Receiver<Happened>, stop_within: Duration) -> ServiceExitCode {
        match told.recv() {
            Ok(Happened::Ended) | Err(_) => match spawned.process.exit_code().unwrap_or_default() {
                0 => ServiceExitCode::NO_ERROR,
                code => ServiceExitCode::ServiceSpecific(code),
            },
            Ok(Happened::AskedToStop) => {
                self.stop(spawned, told, stop_within);
                ServiceExitCode::NO_ERROR
            }
        }
    }

    fn stop(&mut self, spawned: &Spawned, told: &Receiver<Happened>, stop_within: Duration) {
        self.say(ServiceState::StopPending, TELL_EVERY * 3);
        // SAFETY: it takes numbers; the group's is that of its first process.
        #[allow(unsafe_code)]
        let asked = unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, spawned.pid) };
        // Without a way to ask there is nothing to wait for.
        let deadline = Instant::now() + if asked == 0 { Duration::ZERO } else { stop_within };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match told.recv_timeout(left.min(TELL_EVERY)) {
                Ok(Happened::Ended) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Happened::AskedToStop) | Err(RecvTimeoutError::Timeout) => {}
            }
            if left.is_zero() {
                spawned.end();
                spawned.process.ends_within(GONE_WITHIN);
                return;
            }
            self.say(ServiceState::StopPending, TELL_EVERY * 3);
        }
    }

    fn say(&mut self, state: ServiceState, wait_hint: Duration) {
        let accepts = ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN;
        let is_running = state == ServiceState::Running;
        self.checkpoint = if is_running { 0 } else { self.checkpoint + 1 };
        let accepts = if is_running { accepts } else { ServiceControlAccept::empty() };
        self.set(state, accepts, ServiceExitCode::NO_ERROR, wait_hint);
    }

    fn stopped(&mut self, exit: ServiceExitCode) {
        self.checkpoint = 0;
        self.set(ServiceState::Stopped, ServiceControlAccept::empty(), exit, Duration::ZERO);
    }

    fn set(&self, state: ServiceState, accepts: ServiceControlAccept, exit: ServiceExitCode, wait_hint: Duration) {
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted: accepts,
            exit_code: exit,
            checkpoint: self.checkpoint,
            wait_hint,
            process_id: None,
        };
        // There is nobody else to tell.
        let _ = self.status.set_service_status(status);
    }
}
