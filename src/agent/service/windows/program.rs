//! The program of the service: tells the SCM what it does, and hands the SCM's controls to the agent. Does IO.

use std::{
    ffi::OsString,
    sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError},
    thread,
};

use tracing::{info, warn};
use windows_service::{
    define_windows_service,
    service::{ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType},
    service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle},
    service_dispatcher,
};

use super::{configure::configure_self, failed};
use crate::agent::{
    serve::Stops,
    service::{
        NAME, Program,
        phase::{Answer, Control, End, Phase, REPORT_PERIOD, Reported},
        verbs::VerbError,
    },
};

/// A service is one for each process, and the SCM calls back without an argument.
static SERVICE: OnceLock<Life> = OnceLock::new();
static PROGRAM: Mutex<Option<Program>> = Mutex::new(None);

define_windows_service!(service_main, main);

/// Becomes the service's process: blocks until the service has stopped. To be called by the SCM's child alone.
pub fn run(program: Program) -> Result<(), VerbError> {
    *locked(&PROGRAM) = Some(program);
    service_dispatcher::start(NAME, service_main).map_err(failed("run"))
}

fn main(_: Vec<OsString>) {
    let Some(program) = locked(&PROGRAM).take() else { return };
    // It captures nothing: after the first stop the crate frees what it captures, and the SCM may ask again.
    let Ok(handle) = service_control_handler::register(NAME, |control| on_control(&control)) else { return };
    let life = SERVICE.get_or_init(|| Life::new(handle));
    thread::scope(|scope| {
        scope.spawn(|| life.keep_telling());
        life.ended(End::of(|| program(life.stops.clone(), Box::new(|| life.runs()))));
    });
}

fn on_control(control: &ServiceControl) -> ServiceControlHandlerResult {
    let control = match control {
        ServiceControl::Stop => Control::Stop,
        ServiceControl::Shutdown => Control::Shutdown,
        ServiceControl::Preshutdown => Control::Preshutdown,
        ServiceControl::Interrogate => return ServiceControlHandlerResult::NoError,
        _ => return ServiceControlHandlerResult::NotImplemented,
    };
    if let Some(life) = SERVICE.get() {
        life.asked(control);
    }
    ServiceControlHandlerResult::NoError
}

/// What the service is doing, and whom it tells.
struct Life {
    handle: ServiceStatusHandle,
    stops: Stops,
    now: Mutex<Now>,
    changed: Condvar,
}

struct Now {
    phase: Phase,
    checkpoint: u32,
}

impl Life {
    fn new(handle: ServiceStatusHandle) -> Self {
        let now = Mutex::new(Now { phase: Phase::Starting, checkpoint: 0 });
        Self { handle, stops: Stops::default(), now, changed: Condvar::new() }
    }

    /// Everything on this machine is open.
    fn runs(&self) {
        // One that was asked to stop meanwhile stays at that.
        self.change(|phase| (if phase == Phase::Starting { Phase::Running } else { phase }, ()));
        configure_self();
    }

    fn ended(&self, end: End) {
        self.change(|_| (Phase::Stopped(end), ()));
    }

    fn asked(&self, control: Control) {
        match self.change(|phase| phase.after(control)) {
            Answer::StopAgent => {
                info!(?control, "asked to stop; services keep running");
                self.stops.agent.cancel();
            }
            Answer::StopMachine => {
                info!(?control, "the machine goes down");
                self.stops.machine.cancel();
            }
            Answer::Nothing => {}
        }
    }

    /// Goes on to another phase, and tells it.
    fn change<T>(&self, after: impl FnOnce(Phase) -> (Phase, T)) -> T {
        let mut now = locked(&self.now);
        let (phase, value) = after(now.phase);
        if phase != now.phase {
            *now = Now { phase, checkpoint: 0 };
            self.tell(&mut now);
            self.changed.notify_all();
        }
        value
    }

    /// While the service is on the way, a report comes again and again; ends when the service has.
    fn keep_telling(&self) {
        let mut now = locked(&self.now);
        while !matches!(now.phase, Phase::Stopped(_)) {
            if now.phase.reported().is_pending {
                self.tell(&mut now);
                now = self.changed.wait_timeout(now, REPORT_PERIOD).unwrap_or_else(PoisonError::into_inner).0;
            } else {
                now = self.changed.wait(now).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Told in the order of what is told: nobody else tells meanwhile.
    fn tell(&self, now: &mut MutexGuard<'_, Now>) {
        if now.phase.reported().is_pending {
            now.checkpoint += 1;
        }
        if let Err(error) = self.handle.set_service_status(status(now)) {
            warn!(%error, "the service control manager could not be told the state of the service");
        }
    }
}

fn status(now: &Now) -> ServiceStatus {
    let Reported { accepts, wait_hint, is_pending: _ } = now.phase.reported();
    let (current_state, exit_code) = match now.phase {
        Phase::Starting => (ServiceState::StartPending, ServiceExitCode::NO_ERROR),
        Phase::Running => (ServiceState::Running, ServiceExitCode::NO_ERROR),
        Phase::Stopping | Phase::StoppingMachine => (ServiceState::StopPending, ServiceExitCode::NO_ERROR),
        Phase::Stopped(End::Asked) => (ServiceState::Stopped, ServiceExitCode::NO_ERROR),
        Phase::Stopped(End::Failed) => (ServiceState::Stopped, ServiceExitCode::ServiceSpecific(1)),
    };
    let controls_accepted = accepts.iter().map(|control| match control {
        Control::Stop => ServiceControlAccept::STOP,
        Control::Shutdown => ServiceControlAccept::SHUTDOWN,
        Control::Preshutdown => ServiceControlAccept::PRESHUTDOWN,
    });
    ServiceStatus {
        service_type: ServiceType::OWN_PROCESS,
        current_state,
        controls_accepted: controls_accepted.collect(),
        exit_code,
        checkpoint: now.checkpoint,
        wait_hint,
        process_id: None,
    }
}

/// What a panicking thread left is used all the same: it is whole between any two statements.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
