//! The Windows Event Log as the door for entries. Does IO.

use std::{
    io,
    ptr::{null, null_mut},
};

use windows_sys::Win32::{
    Foundation::HANDLE,
    System::EventLog::{
        DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
        REPORT_EVENT_TYPE, RegisterEventSourceW, ReportEventW,
    },
};

use crate::agent::{
    events::{Entry, EventLog, Severity},
    service::NAME,
};

/// The agent's source in the Application log.
pub struct WindowsEventLog(HANDLE);

// SAFETY: Win32 lets any thread report through a handle to an event log, also several at a time.
#[allow(unsafe_code)]
unsafe impl Send for WindowsEventLog {}
// SAFETY: as above; nothing but the handle is shared.
#[allow(unsafe_code)]
unsafe impl Sync for WindowsEventLog {}

impl WindowsEventLog {
    /// Opens it. A source that is not registered works as well, without the texts.
    pub fn open() -> io::Result<Self> {
        let name = wide(NAME);
        // SAFETY: the name ends with NUL and outlives the call.
        #[allow(unsafe_code)]
        let handle = unsafe { RegisterEventSourceW(null(), name.as_ptr()) };
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(handle)) }
    }
}

impl EventLog for WindowsEventLog {
    fn report(&self, entry: &Entry) {
        let kind = kind(entry.kind.severity);
        let texts = entry.strings.each_ref().map(|text| wide(text));
        let pointers = texts.each_ref().map(|text| text.as_ptr());
        let count = u16::try_from(pointers.len()).unwrap_or_default();
        // SAFETY: the handle is open for as long as this lives; the strings end with NUL, are as many as is said,
        // and outlive the call; there is no user and no data.
        #[allow(unsafe_code)]
        let _ = unsafe {
            ReportEventW(self.0, kind, 0, entry.kind.message_id(), null_mut(), count, 0, pointers.as_ptr(), null())
        };
    }
}

impl Drop for WindowsEventLog {
    fn drop(&mut self) {
        // SAFETY: this alone closes the handle.
        #[allow(unsafe_code)]
        let _ = unsafe { DeregisterEventSource(self.0) };
    }
}

fn kind(severity: Severity) -> REPORT_EVENT_TYPE {
    match severity {
        Severity::Information => EVENTLOG_INFORMATION_TYPE,
        Severity::Warning => EVENTLOG_WARNING_TYPE,
        Severity::Error => EVENTLOG_ERROR_TYPE,
    }
}

fn wide(text: &str) -> Vec<u16> {
    text.encode_utf16().chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: Win32, "ReportEventW function": the type of an event beside the severity in its id.
    #[test]
    fn the_type_of_an_event_is_that_of_its_severity() {
        assert_eq!([Severity::Error, Severity::Warning, Severity::Information].map(kind), [1, 2, 4]);
        assert_eq!(wide("a\u{e9}"), [0x61, 0xe9, 0]);
    }
}
