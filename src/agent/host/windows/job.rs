//! Programs and all that they start, held together so that they can be ended together. Does IO.
//!
//! Source: Win32, "Job Objects" and JOBOBJECT_BASIC_LIMIT_INFORMATION.

use std::{
    io,
    os::windows::io::{AsHandle, AsRawHandle as _, FromRawHandle as _, OwnedHandle},
    ptr::null,
};

use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT, JOB_OBJECT_LIMIT_BREAKAWAY_OK,
    JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation,
    SetInformationJobObject, TerminateJobObject,
};

/// What is in it, and what that starts.
pub(super) struct Job(OwnedHandle);

impl Job {
    /// All in it ends when this is dropped, and with this program.
    pub(super) fn that_ends_with_this() -> io::Result<Self> {
        Self::of(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)
    }

    /// All in it goes on without this program, and may start what is not in it if it asks for that.
    pub(super) fn that_goes_on() -> io::Result<Self> {
        Self::of(JOB_OBJECT_LIMIT_BREAKAWAY_OK)
    }

    fn of(limit: JOB_OBJECT_LIMIT) -> io::Result<Self> {
        // SAFETY: without attributes and name; the handle is owned by what is returned.
        #[allow(unsafe_code)]
        let handle = unsafe { CreateJobObjectW(null(), null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the handle is open, and from here on owned by this alone.
        #[allow(unsafe_code)]
        let job = unsafe { OwnedHandle::from_raw_handle(handle) };
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = limit;
        let size = u32::try_from(size_of_val(&limits)).unwrap_or_default();
        // SAFETY: the handle is open; the limits are of the size that is said and outlive the call.
        #[allow(unsafe_code)]
        let done = unsafe {
            SetInformationJobObject(
                job.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size,
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(job)) }
    }

    /// Takes a process in; what it has started before stays outside.
    pub(super) fn take(&self, process: &impl AsHandle) -> io::Result<()> {
        // SAFETY: both handles are open.
        #[allow(unsafe_code)]
        let done = unsafe { AssignProcessToJobObject(self.0.as_raw_handle(), process.as_handle().as_raw_handle()) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Ends all in it.
    pub(super) fn end(&self) {
        // SAFETY: the handle is open.
        #[allow(unsafe_code)]
        let _ = unsafe { TerminateJobObject(self.0.as_raw_handle(), 1) };
    }
}
