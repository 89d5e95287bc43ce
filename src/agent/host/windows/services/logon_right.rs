//! The right of an account to log on as a service. Does IO.
//! Source: Win32, LsaAddAccountRights, and "Account Rights Constants".

use std::ptr::null_mut;

use windows_sys::Win32::Security::Authentication::Identity::{
    LSA_HANDLE, LSA_OBJECT_ATTRIBUTES, LSA_UNICODE_STRING, LsaAddAccountRights, LsaClose, LsaNtStatusToWinError,
    LsaOpenPolicy, POLICY_CREATE_ACCOUNT, POLICY_LOOKUP_NAMES,
};

use super::super::{
    accounts::{Accounts, Sid},
    strings::wide,
};
use crate::{
    agent::{host::HostError, scm::codes::error},
    model::ServiceName,
};

/// Of an account as the SCM names it.
pub(super) fn sid_of(account: &str) -> Result<Sid, HostError> {
    let spelled = match account {
        // The SCM's own name for it, which is no account's.
        "LocalSystem" => "S-1-5-18".to_owned(),
        // By names that differ with the language of Windows.
        r"NT AUTHORITY\LocalService" => "S-1-5-19".to_owned(),
        r"NT AUTHORITY\NetworkService" => "S-1-5-20".to_owned(),
        _ => match account.strip_prefix(r".\") {
            // Others know this machine by its name only.
            Some(name) => format!(r"{}\{name}", std::env::var("COMPUTERNAME").unwrap_or_default()),
            None => account.to_owned(),
        },
    };
    Accounts::default().sid(&spelled)
}

/// Lets the account of a service log on as one; that it may already is success.
pub(super) fn grant(account: &str, name: &ServiceName) -> Result<(), HostError> {
    let sid = sid_of(account)?;
    let tried = format!("let {account} log on as a service, for {name}");
    let mut right = wide("SeServiceLogonRight");
    let units = u16::try_from(right.len() - 1).unwrap_or_default();
    let right = LSA_UNICODE_STRING { Length: units * 2, MaximumLength: units * 2 + 2, Buffer: right.as_mut_ptr() };
    let policy = Policy::open().map_err(|code| error(&tried, code))?;
    // SAFETY: the policy is open; the SID and the one right outlive the call.
    #[allow(unsafe_code)]
    let status = unsafe { LsaAddAccountRights(policy.0, sid.as_psid(), &right, 1) };
    win32(status).map_err(|code| error(&tried, code))
}

/// The machine's policy on accounts.
struct Policy(LSA_HANDLE);

impl Policy {
    fn open() -> Result<Self, u32> {
        let attributes = LSA_OBJECT_ATTRIBUTES::default();
        let access = u32::try_from(POLICY_CREATE_ACCOUNT | POLICY_LOOKUP_NAMES).unwrap_or_default();
        let mut handle = LSA_HANDLE::default();
        // SAFETY: null stands for this machine; the attributes, all zero as documented, outlive the call.
        #[allow(unsafe_code)]
        let status = unsafe { LsaOpenPolicy(null_mut::<LSA_UNICODE_STRING>(), &attributes, access, &mut handle) };
        win32(status).map(|()| Self(handle))
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        // SAFETY: the handle is open, and this alone closes it.
        #[allow(unsafe_code)]
        let _ = unsafe { LsaClose(self.0) };
    }
}

fn win32(status: i32) -> Result<(), u32> {
    // SAFETY: it takes a number and cannot fail.
    #[allow(unsafe_code)]
    let code = unsafe { LsaNtStatusToWinError(status) };
    if code == 0 { Ok(()) } else { Err(code) }
}
