//! The agent as a service, through the Service Control Manager and the registry of this machine. Does IO and blocks.

mod configure;
mod event_log;
mod intake;
mod manage;
mod program;
mod registry;

pub use intake::take_enrollment;
pub use manage::{install, start, stop, uninstall};
pub use program::run;
pub use registry::parameters;

use std::{io, sync::Arc};

use windows_service::Error;

use super::{NAME, verbs::VerbError};
use crate::agent::events::EventLog;

/// Whether this program can be a service of this machine by its own verbs.
pub const AVAILABLE: bool = true;

/// The machine's event log, if it can be reached.
pub fn event_log() -> Option<Arc<dyn EventLog>> {
    let log = event_log::WindowsEventLog::open().ok()?;
    Some(Arc::new(log))
}

/// The Win32 code of an error and what the system says of it.
fn code_of(error: &Error) -> (u32, String) {
    match error {
        Error::Winapi(error) => code_of_io(error),
        other => (windows_sys::Win32::Foundation::ERROR_INVALID_PARAMETER, other.to_string()),
    }
}

fn code_of_io(error: &io::Error) -> (u32, String) {
    let code = error.raw_os_error().map_or(windows_sys::Win32::Foundation::ERROR_GEN_FAILURE, i32::cast_unsigned);
    let said = error.to_string();
    // The code is told beside it.
    (code, said.split(" (os error").next().unwrap_or_default().to_owned())
}

/// For `map_err`: what was tried with the service.
fn failed(what: &'static str) -> impl Fn(Error) -> VerbError {
    move |error| {
        let (code, said) = code_of(&error);
        VerbError::new(format!("{what} the service {NAME}"), code, said)
    }
}

/// For `map_err`: what was tried.
fn failed_io(what: String) -> impl Fn(io::Error) -> VerbError {
    move |error| {
        let (code, said) = code_of_io(&error);
        VerbError::new(what.clone(), code, said)
    }
}
