//! A service of the service control manager.

use std::{
    ffi::OsString,
    sync::{OnceLock, mpsc},
    thread,
    time::Duration,
};

use windows_service::{
    define_windows_service,
    service::{ServiceControl, ServiceControlAccept, ServiceExitCode, ServiceState, ServiceStatus, ServiceType},
    service_control_handler::{self, ServiceControlHandlerResult, ServiceStatusHandle},
    service_dispatcher,
};

use super::settings::{STEP, Settings};

static SETTINGS: OnceLock<Settings> = OnceLock::new();
static STOPPED: OnceLock<()> = OnceLock::new();

pub fn serve(settings: Settings) {
    let name = SETTINGS.get_or_init(|| settings).name.clone();
    service_dispatcher::start(name, service_main).expect("the service control manager");
    // Wine comes back when the control to stop was handed over.
    STOPPED.wait();
}

define_windows_service!(service_main, run_service);

fn run_service(_: Vec<OsString>) {
    let settings = SETTINGS.get().expect("set by main");
    let (controls, control) = mpsc::channel();
    // The handler and its end of the channel are gone once it was asked to stop.
    let _kept = controls.clone();
    let handler = move |event| match event {
        ServiceControl::Interrogate => ServiceControlHandlerResult::NoError,
        _ => match controls.send(event) {
            Ok(()) => ServiceControlHandlerResult::NoError,
            Err(_) => ServiceControlHandlerResult::NotImplemented,
        },
    };
    let handle = service_control_handler::register(&settings.name, handler).expect("a handler of controls");
    Service { settings, handle }.live(&control);
    STOPPED.set(()).expect("it stops once");
}

struct Service {
    settings: &'static Settings,
    handle: ServiceStatusHandle,
}

impl Service {
    fn live(&self, control: &mpsc::Receiver<ServiceControl>) {
        let settings = self.settings;
        if settings.start_takes_milliseconds > 0 {
            settings.tell("starting");
            self.take(settings.start_takes_milliseconds, ServiceState::StartPending);
        }
        if let Some(code) = settings.fails_with {
            return self.report(ServiceState::Stopped, ServiceExitCode::ServiceSpecific(code), 0);
        }
        settings.work();
        self.be(ServiceState::Running);
        loop {
            match control.recv().expect("one end is kept") {
                ServiceControl::Pause => {
                    settings.tell("paused");
                    self.be(ServiceState::Paused);
                }
                ServiceControl::Continue => {
                    settings.tell("continued");
                    self.be(ServiceState::Running);
                }
                _ if settings.refuses_stop => settings.tell("refuses to stop"),
                _ => break,
            }
        }
        settings.tell("stopping");
        self.take(settings.stop_takes_milliseconds, ServiceState::StopPending);
        settings.tell("stopped");
        self.be(ServiceState::Stopped);
    }

    fn be(&self, state: ServiceState) {
        self.report(state, ServiceExitCode::NO_ERROR, 0);
    }

    /// Is on its way for so long, and says so with a checkpoint for each step.
    fn take(&self, milliseconds: u64, state: ServiceState) {
        let mut left = Duration::from_millis(milliseconds);
        for checkpoint in 1.. {
            self.report(state, ServiceExitCode::NO_ERROR, checkpoint);
            if left.is_zero() {
                break;
            }
            thread::sleep(left.min(STEP));
            left = left.saturating_sub(STEP);
        }
    }

    fn report(&self, state: ServiceState, exit_code: ServiceExitCode, checkpoint: u32) {
        let mut accepted = ServiceControlAccept::STOP | ServiceControlAccept::SHUTDOWN;
        if !self.settings.refuses_pause {
            accepted |= ServiceControlAccept::PAUSE_CONTINUE;
        }
        let lives = matches!(state, ServiceState::Running | ServiceState::Paused);
        let status = ServiceStatus {
            service_type: ServiceType::OWN_PROCESS,
            current_state: state,
            controls_accepted: if lives { accepted } else { ServiceControlAccept::empty() },
            exit_code,
            checkpoint,
            wait_hint: if checkpoint > 0 { 20 * STEP } else { Duration::ZERO },
            process_id: None,
        };
        self.handle.set_service_status(status).expect("the service control manager takes a status");
    }
}
