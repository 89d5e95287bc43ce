//! What the service keeps in the registry: settings that it reads, and its source in the event log. Does IO.

use std::{io, path::Path};

use windows_registry::LOCAL_MACHINE;
use windows_sys::Win32::Foundation::ERROR_FILE_NOT_FOUND;

use super::failed_io;
use crate::agent::service::{
    NAME,
    parameters::{ENROLLMENT_FILE, KEY},
    verbs::VerbError,
};

/// Source: Win32, "Event Sources".
const APPLICATION_LOG: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";
/// EVENTLOG_ERROR_TYPE, EVENTLOG_WARNING_TYPE and EVENTLOG_INFORMATION_TYPE.
const TYPES: u32 = 7;

/// A setting of the service, where there is one.
pub fn parameters(name: &str) -> Option<String> {
    let key = LOCAL_MACHINE.open(KEY).ok()?;
    key.get_string(name).ok().or_else(|| key.get_u64(name).ok().map(|number| number.to_string()))
}

/// The installer's file was taken.
pub(super) fn forget_enrollment_file() -> io::Result<()> {
    let key = LOCAL_MACHINE.options().read().write().open(KEY).map_err(win32)?;
    key.remove_value(ENROLLMENT_FILE).map_err(win32)
}

/// Settings go with the state that they are about.
pub(super) fn remove_parameters() -> Result<(), VerbError> {
    absent_is_well(LOCAL_MACHINE.remove_tree(KEY)).map_err(failed_io(format!(r"remove HKLM\{KEY}")))
}

/// The texts of the events lie in the program.
pub(super) fn add_event_source(program: &Path) -> Result<(), VerbError> {
    let add = || {
        let key = LOCAL_MACHINE.create(format!(r"{APPLICATION_LOG}\{NAME}"))?;
        key.set_expand_string("EventMessageFile", program.to_string_lossy())?;
        key.set_u32("TypesSupported", TYPES)
    };
    add().map_err(|error| failed_io(format!("add the event source {NAME}"))(win32(error)))
}

/// Events that are there are shown without their texts from then on.
pub(super) fn remove_event_source() -> Result<(), VerbError> {
    let removed = LOCAL_MACHINE.remove_tree(format!(r"{APPLICATION_LOG}\{NAME}"));
    absent_is_well(removed).map_err(failed_io(format!("remove the event source {NAME}")))
}

fn absent_is_well(removed: windows_registry::Result<()>) -> io::Result<()> {
    match removed.map_err(win32) {
        Err(error) if error.raw_os_error() == Some(ERROR_FILE_NOT_FOUND.cast_signed()) => Ok(()),
        other => other,
    }
}

/// The crate hands the Win32 code on within an HRESULT. Source: Win32, "HRESULT_FROM_WIN32 macro".
fn win32(error: impl Into<io::Error>) -> io::Error {
    let error = error.into();
    error.raw_os_error().map_or(error, |result| io::Error::from_raw_os_error(result & 0xFFFF))
}
