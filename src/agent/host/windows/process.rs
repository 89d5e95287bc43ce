//! Processes by identity: whether one still runs, when it ends, how it ended, and its end by force. Does IO.

use std::{
    io,
    os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle},
    ptr::null_mut,
    sync::Arc,
    time::Duration,
};

use tokio::sync::Notify;
use windows_sys::{
    Wdk::System::SystemInformation::{NtQuerySystemInformation, SystemTimeOfDayInformation},
    Win32::{
        Foundation::{FILETIME, HANDLE, WAIT_OBJECT_0},
        System::SystemInformation::GetTickCount64,
        System::Threading::{
            GetExitCodeProcess, GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_SYNCHRONIZE,
            PROCESS_TERMINATE, TerminateProcess, WaitForSingleObject,
        },
    },
};

use super::wait::Wait;
use crate::agent::host::{ProcessIdentity, win32::waits::milliseconds};

/// Changes with every start of the machine, and with nothing else: not with the clock.
///
/// The system moves its boot time along when the clock is set, and keeps by how much.
pub(super) fn boot_id() -> io::Result<String> {
    #[repr(C)]
    #[derive(Default)]
    struct TimeOfDay {
        boot_time: i64,
        current_time: i64,
        time_zone_bias: i64,
        time_zone_id: u32,
        reserved: u32,
        boot_time_bias: i64,
        sleep_time_bias: i64,
    }
    let mut times = TimeOfDay::default();
    let size = u32::try_from(size_of::<TimeOfDay>()).unwrap_or_default();
    // SAFETY: the system writes at most `size` bytes to `times`, which is that large and of plain numbers.
    #[allow(unsafe_code)]
    let status =
        unsafe { NtQuerySystemInformation(SystemTimeOfDayInformation, (&raw mut times).cast(), size, null_mut()) };
    if status < 0 {
        return Err(io::Error::other(format!("ask for the time of the machine's start: status {status:#x}")));
    }
    Ok((times.boot_time - times.boot_time_bias).to_string())
}

/// Time since the machine's start.
pub(super) fn machine_started_ago() -> Duration {
    // SAFETY: it takes nothing and cannot fail.
    #[allow(unsafe_code)]
    let milliseconds = unsafe { GetTickCount64() };
    Duration::from_millis(milliseconds)
}

/// A process that is held open, so that its id stays its own.
pub(super) struct Process(OwnedHandle);

impl From<OwnedHandle> for Process {
    fn from(handle: OwnedHandle) -> Self {
        Self(handle)
    }
}

impl Process {
    /// With the right to end it, where `to_end`.
    pub(super) fn open(pid: u32, to_end: bool) -> io::Result<Self> {
        let end = if to_end { PROCESS_TERMINATE } else { 0 };
        let access = PROCESS_QUERY_LIMITED_INFORMATION | PROCESS_SYNCHRONIZE | end;
        // SAFETY: it takes numbers only.
        #[allow(unsafe_code)]
        let handle = unsafe { OpenProcess(access, 0, pid) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is open, and from here on owned by this alone.
        #[allow(unsafe_code)]
        let owned = unsafe { OwnedHandle::from_raw_handle(handle) };
        Ok(Self(owned))
    }

    /// The process that is meant, if it is still there: it may have ended.
    pub(super) fn open_that(process: &ProcessIdentity, boot_id: &str, to_end: bool) -> io::Result<Option<Self>> {
        if process.boot_id != boot_id {
            return Ok(None);
        }
        match Self::open(process.pid, to_end) {
            Ok(opened) => Ok(Some(opened).filter(|opened| opened.start_time().ok() == Some(process.start_time))),
            // Of no process that runs: "invalid parameter".
            Err(error) if error.raw_os_error() == Some(87) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn raw(&self) -> HANDLE {
        self.0.as_raw_handle()
    }

    /// Another handle of it.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        self.0.try_clone().map(Self)
    }

    /// In units of 100 ns since 1601.
    pub(super) fn start_time(&self) -> io::Result<u64> {
        let mut times = [FILETIME::default(); 4];
        let [created, exited, kernel, user] = &mut times;
        // SAFETY: the handle is open, and the four times outlive the call.
        #[allow(unsafe_code)]
        let done = unsafe { GetProcessTimes(self.raw(), created, exited, kernel, user) };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(u64::from(times[0].dwHighDateTime) << 32 | u64::from(times[0].dwLowDateTime))
    }

    pub(super) fn is_running(&self) -> bool {
        !self.ends_within(Duration::ZERO)
    }

    /// Blocks that long at most; for `Duration::MAX`, until it has ended.
    pub(super) fn ends_within(&self, limit: Duration) -> bool {
        let limit = milliseconds(limit);
        // SAFETY: the handle is open, with the right to wait for it.
        #[allow(unsafe_code)]
        let waited = unsafe { WaitForSingleObject(self.raw(), limit) };
        waited == WAIT_OBJECT_0
    }

    /// Of one that has ended.
    pub(super) fn exit_code(&self) -> Option<u32> {
        let mut code = 0;
        // SAFETY: the handle is open, and the number outlives the call.
        #[allow(unsafe_code)]
        let done = unsafe { GetExitCodeProcess(self.raw(), &mut code) };
        (done != 0 && !self.is_running()).then_some(code)
    }

    /// Ends it, as a crash does.
    pub(super) fn terminate(&self) -> io::Result<()> {
        // SAFETY: the handle is open, with the right to end it.
        #[allow(unsafe_code)]
        let done = unsafe { TerminateProcess(self.raw(), 1) };
        if done == 0 && self.is_running() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Completes when it has ended; no thread waits meanwhile but the system's own.
    pub(super) async fn ended(&self) -> io::Result<()> {
        let told = Arc::new(Notify::new());
        // SAFETY: this process is held open while the wait is there.
        #[allow(unsafe_code)]
        let _wait = unsafe { Wait::begin(self.raw(), told.clone()) }?;
        told.notified().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_itself_and_no_other() {
        let boot_id = boot_id().expect("boot id");
        assert_eq!(self::boot_id().expect("boot id"), boot_id);
        let pid = std::process::id();
        let start_time = Process::open(pid, false).expect("opens").start_time().expect("known");
        let this = ProcessIdentity { pid, boot_id: boot_id.clone(), start_time };
        let opened = |process: &ProcessIdentity| Process::open_that(process, &boot_id, false).expect("opens");
        assert!(opened(&this).is_some_and(|process| process.is_running() && process.exit_code().is_none()));
        assert!(opened(&ProcessIdentity { start_time: start_time + 1, ..this.clone() }).is_none());
        assert!(opened(&ProcessIdentity { boot_id: "another start".into(), ..this }).is_none());
    }

    #[tokio::test]
    async fn an_end_is_told_with_its_code() {
        let mut child = std::process::Command::new("cmd").args(["/c", "exit 7"]).spawn().expect("spawns");
        let process = Process::open(child.id(), true).expect("opens");
        process.ended().await.expect("told");
        assert_eq!(process.exit_code(), Some(7));
        child.wait().expect("ended");
        process.ended().await.expect("told at once");
    }
}
