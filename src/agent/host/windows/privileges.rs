//! Privileges that the agent's account has and that Windows leaves off until a program asks. Does IO.

use std::{
    io,
    os::windows::io::AsRawHandle as _,
    ptr::{null, null_mut},
    sync::OnceLock,
};

use windows_sys::Win32::{
    Foundation::{ERROR_NOT_ALL_ASSIGNED, GetLastError, LUID},
    Security::{
        AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_PRIVILEGE_ENABLED, SE_RESTORE_NAME,
        TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES, TOKEN_QUERY,
    },
};

use super::token;

/// Does something that may need the privilege to restore, which alone lets a file be given to any account. It is
/// switched on once, and stays: it changes nothing for calls that do not ask for it.
pub(super) fn restoring<T>(act: impl FnOnce() -> T) -> T {
    static ONCE: OnceLock<bool> = OnceLock::new();
    ONCE.get_or_init(|| enable(SE_RESTORE_NAME).is_ok());
    act()
}

fn enable(name: *const u16) -> io::Result<()> {
    let token = token::open(TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY)?;
    let mut luid = LUID::default();
    // SAFETY: the name is a constant that ends with NUL; the call fills in the number.
    #[allow(unsafe_code)]
    let done = unsafe { LookupPrivilegeValueW(null(), name, &mut luid) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    let wanted = TOKEN_PRIVILEGES {
        PrivilegeCount: 1,
        Privileges: [LUID_AND_ATTRIBUTES { Luid: luid, Attributes: SE_PRIVILEGE_ENABLED }],
    };
    // SAFETY: the structure holds as many privileges as it says, and outlives the call.
    #[allow(unsafe_code)]
    let (done, error) = unsafe {
        let done = AdjustTokenPrivileges(token.as_raw_handle(), 0, &wanted, 0, null_mut(), null_mut());
        (done, GetLastError())
    };
    match (done, error) {
        (0, error) | (_, error @ ERROR_NOT_ALL_ASSIGNED) => Err(io::Error::from_raw_os_error(error.cast_signed())),
        _ => Ok(()),
    }
}
