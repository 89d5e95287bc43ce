//! The doors of the Service Control Manager: services opened, asked how they are, and told. Does IO and blocks.
//! Errors are the system's codes; what they mean is in `agent::scm::codes`.

use std::{
    ops::Deref,
    sync::{Mutex, MutexGuard, PoisonError},
};

use windows_service::{
    service::{Service, ServiceAccess},
    service_manager::{ServiceManager, ServiceManagerAccess},
};
use windows_sys::Win32::{
    Foundation::{ERROR_MORE_DATA, GetLastError},
    System::Services::{
        CloseServiceHandle, ENUM_SERVICE_STATUSW, EnumDependentServicesW, QueryServiceStatusEx, SC_HANDLE,
        SC_STATUS_PROCESS_INFO, SERVICE_ACTIVE, SERVICE_ENUMERATE_DEPENDENTS, SERVICE_STATUS_PROCESS,
        SERVICE_WIN32_SHARE_PROCESS,
    },
};

use crate::{
    agent::scm::codes::{DOES_NOT_EXIST, Stopped},
    model::ServiceName,
};

/// The crate has no name for it.
pub(super) const ENUMERATE_DEPENDENTS: ServiceAccess = ServiceAccess::from_bits_retain(SERVICE_ENUMERATE_DEPENDENTS);

/// The system's code of an error, where it has one.
pub(super) fn code_of(error: &windows_service::Error) -> u32 {
    match error {
        windows_service::Error::Winapi(error) => error.raw_os_error().map_or(0, i32::cast_unsigned),
        // "The parameter is incorrect": a NUL in a text, or a value that is none.
        _ => 87,
    }
}

/// Of the call that failed last on this thread.
pub(super) fn last_code() -> u32 {
    // SAFETY: it takes nothing and cannot fail.
    #[allow(unsafe_code)]
    unsafe {
        GetLastError()
    }
}

/// A service that is open.
pub(super) struct Opened {
    service: Service,
    /// Only while it is closed.
    turn: Option<Turn>,
}

impl Drop for Opened {
    fn drop(&mut self) {
        // Fields end in their order: the service is closed before the turn is over.
        self.turn = Some(turn());
    }
}

impl Deref for Opened {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

/// One thread at a time opens and closes services: under Wine's SCM, handles of several threads are lost now and then
/// (error 6), and with them services that cannot be removed. Not held while a service is told to start or stop, which
/// may take 30 s. Not to be taken twice.
pub(super) type Turn = MutexGuard<'static, ()>;

pub(super) fn turn() -> Turn {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `None` where there is no such service.
pub(super) fn open(name: &ServiceName, access: ServiceAccess) -> Result<Option<Opened>, u32> {
    let _turn = turn();
    let manager = ServiceManager::local_computer(None::<&str>, ServiceManagerAccess::CONNECT);
    match manager.and_then(|manager| manager.open_service(name.as_str(), access)) {
        Ok(service) => Ok(Some(Opened { service, turn: None })),
        Err(error) if code_of(&error) == DOES_NOT_EXIST => Ok(None),
        Err(error) => Err(code_of(&error)),
    }
}

/// As [`open`], but its absence is error 1060.
pub(super) fn open_known(name: &ServiceName, access: ServiceAccess) -> Result<Opened, u32> {
    open(name, access)?.ok_or(DOES_NOT_EXIST)
}

/// How a service is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Status {
    /// `SERVICE_RUNNING` and so on.
    pub(super) state: u32,
    /// 0 where there is none.
    pub(super) pid: u32,
    /// `SERVICE_ACCEPT_STOP` and so on.
    pub(super) accepts: u32,
    pub(super) checkpoint: u32,
    pub(super) wait_hint: u32,
    /// How it went, once it is stopped.
    pub(super) stopped: Stopped,
    /// Whether other services run in its process.
    pub(super) is_shared: bool,
}

/// Also the process of a service that is about to start or paused, which the crate leaves out.
pub(super) fn status(service: &Service) -> Result<Status, u32> {
    let mut status = SERVICE_STATUS_PROCESS::default();
    let (size, mut needed) = (u32::try_from(size_of::<SERVICE_STATUS_PROCESS>()).unwrap_or_default(), 0);
    // SAFETY: the handle is open, and the system writes at most `size` bytes of plain numbers.
    #[allow(unsafe_code)]
    let done = unsafe {
        QueryServiceStatusEx(service.raw_handle(), SC_STATUS_PROCESS_INFO, (&raw mut status).cast(), size, &mut needed)
    };
    if done == 0 {
        return Err(last_code());
    }
    Ok(Status {
        state: status.dwCurrentState,
        pid: status.dwProcessId,
        accepts: status.dwControlsAccepted,
        checkpoint: status.dwCheckPoint,
        wait_hint: status.dwWaitHint,
        stopped: Stopped { code: status.dwWin32ExitCode, specific: status.dwServiceSpecificExitCode },
        is_shared: status.dwServiceType & SERVICE_WIN32_SHARE_PROCESS != 0,
    })
}

/// Names of the services that depend on it and run.
pub(super) fn running_dependents(service: &Service) -> Result<Vec<String>, u32> {
    // The records first, then the texts that they point to; large enough for any, in whole records for alignment.
    let mut buffer = vec![ENUM_SERVICE_STATUSW::default(); 1024];
    let size = u32::try_from(size_of_val(buffer.as_slice())).unwrap_or_default();
    let (mut needed, mut count) = (0, 0);
    // SAFETY: the handle is open, and the system writes at most `size` bytes to the buffer.
    #[allow(unsafe_code)]
    let done = unsafe {
        EnumDependentServicesW(service.raw_handle(), SERVICE_ACTIVE, buffer.as_mut_ptr(), size, &mut needed, &mut count)
    };
    if done == 0 && last_code() != ERROR_MORE_DATA {
        return Err(last_code());
    }
    let found = buffer.iter().take(usize::try_from(count).unwrap_or_default());
    // SAFETY: each of the first `count` records points to a text in the buffer that ends with NUL.
    #[allow(unsafe_code)]
    let name = |record: &ENUM_SERVICE_STATUSW| unsafe { super::super::strings::text(record.lpServiceName) };
    Ok(found.map(name).collect())
}

/// A handle of the SCM that the crate has no type for.
pub(super) struct Handle(pub(super) SC_HANDLE);

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and this alone closes it.
        #[allow(unsafe_code)]
        let _ = unsafe { CloseServiceHandle(self.0) };
    }
}
