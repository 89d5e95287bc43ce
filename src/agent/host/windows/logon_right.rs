//! The right of an account to log on as a service. Does IO.
//! Source: Win32, LsaAddAccountRights, and "Account Rights Constants".

use std::ptr::{null, null_mut};

use windows_sys::Win32::Security::{
    Authentication::Identity::{
        LSA_HANDLE, LSA_OBJECT_ATTRIBUTES, LSA_UNICODE_STRING, LsaAddAccountRights, LsaClose, LsaNtStatusToWinError,
        LsaOpenPolicy, POLICY_CREATE_ACCOUNT, POLICY_LOOKUP_NAMES,
    },
    LookupAccountNameW, PSID,
};

use super::{scm::last_code, strings::wide};

/// Largest SID, and longest name of a domain.
const SID_BYTES: u32 = 68;
const DOMAIN_UNITS: u32 = 256;

/// A security identifier, in words of 8 bytes, so that it is aligned.
pub(super) struct Sid([u64; 9]);

impl Sid {
    /// Of an account as the SCM names it.
    pub(super) fn of(account: &str) -> Result<Self, u32> {
        // Of this machine: the call knows that by the machine's name only.
        let machine = std::env::var("COMPUTERNAME").unwrap_or_default();
        let account = match account.strip_prefix(".\\") {
            Some(name) => format!("{machine}\\{name}"),
            None => account.to_owned(),
        };
        let name = wide(&account);
        let (mut sid, mut domain) = (Self([0; 9]), [0u16; DOMAIN_UNITS as usize]);
        let (mut sid_bytes, mut domain_units, mut kind) = (SID_BYTES, DOMAIN_UNITS, 0);
        // SAFETY: the name ends with NUL, and the buffers are as large as is said.
        #[allow(unsafe_code)]
        let done = unsafe {
            LookupAccountNameW(
                null(),
                name.as_ptr(),
                sid.as_ptr(),
                &mut sid_bytes,
                domain.as_mut_ptr(),
                &mut domain_units,
                &mut kind,
            )
        };
        if done == 0 { Err(last_code()) } else { Ok(sid) }
    }

    pub(super) fn as_ptr(&mut self) -> PSID {
        self.0.as_mut_ptr().cast()
    }
}

/// Lets an account log on as a service; that it may already is success.
pub(super) fn grant_logon_as_service(account: &str) -> Result<(), u32> {
    let mut sid = Sid::of(account)?;
    let mut right = wide("SeServiceLogonRight");
    let units = u16::try_from(right.len() - 1).unwrap_or_default();
    let right = LSA_UNICODE_STRING { Length: units * 2, MaximumLength: units * 2 + 2, Buffer: right.as_mut_ptr() };
    let policy = Policy::open()?;
    // SAFETY: the policy is open; the SID and the one right outlive the call.
    #[allow(unsafe_code)]
    let status = unsafe { LsaAddAccountRights(policy.0, sid.as_ptr(), &right, 1) };
    win32(status)
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
