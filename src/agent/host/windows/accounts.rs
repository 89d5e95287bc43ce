//! Accounts by name and by SID, as the machine and its domain have them. Does IO.

use std::{
    collections::HashMap,
    io,
    ptr::null_mut,
    sync::{Mutex, PoisonError},
};

use windows_sys::Win32::{
    Foundation::LocalFree,
    Security::{
        Authorization::{ConvertSidToStringSidW, ConvertStringSidToSidW},
        GetLengthSid, LookupAccountNameW, LookupAccountSidW, PSID, SID_NAME_USE, SidTypeDomain,
    },
};

use super::strings::{text, wide};
use crate::agent::host::{HostError, Reason};

/// A security identifier, as its bytes.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Sid(Vec<u8>);

impl Sid {
    /// Copies one.
    ///
    /// # Safety
    ///
    /// It points to a whole SID.
    #[allow(unsafe_code)]
    pub(super) unsafe fn copied(sid: PSID) -> Self {
        // SAFETY: the caller says that it is whole, so it has as many bytes as it says.
        unsafe {
            let length = GetLengthSid(sid);
            Self(std::slice::from_raw_parts(sid.cast::<u8>(), length as usize).to_vec())
        }
    }

    /// For calls; valid as long as this is.
    pub(super) fn as_psid(&self) -> PSID {
        self.0.as_ptr().cast_mut().cast()
    }

    /// Such as `S-1-5-18`.
    pub(super) fn as_text(&self) -> String {
        let mut written = null_mut();
        // SAFETY: the SID is whole and outlives the call, which allocates the text.
        #[allow(unsafe_code)]
        let done = unsafe { ConvertSidToStringSidW(self.as_psid(), &mut written) };
        if done == 0 {
            return String::new();
        }
        // SAFETY: the text ends with NUL; the system allocated it by LocalAlloc, and this alone frees it.
        #[allow(unsafe_code)]
        unsafe {
            let said = text(written);
            LocalFree(written.cast());
            said
        }
    }

    /// From `S-1-…`.
    fn parse(spelled: &str) -> Option<Self> {
        if !spelled.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("S-1-")) {
            return None;
        }
        let spelled = wide(spelled);
        let mut sid: PSID = null_mut();
        // SAFETY: the text ends with NUL and outlives the call, which allocates the SID.
        #[allow(unsafe_code)]
        let done = unsafe { ConvertStringSidToSidW(spelled.as_ptr(), &mut sid) };
        if done == 0 {
            return None;
        }
        // SAFETY: it is whole, as the system made it by LocalAlloc, and this alone frees it.
        #[allow(unsafe_code)]
        unsafe {
            let copied = Self::copied(sid);
            LocalFree(sid);
            Some(copied)
        }
    }
}

impl std::fmt::Debug for Sid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.as_text())
    }
}

/// Names that were looked up already: a domain's answers come over the network. An account without a name is
/// asked for each time, as it may get one.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    names: Mutex<HashMap<Sid, String>>,
    sids: Mutex<HashMap<String, Sid>>,
}

impl Accounts {
    /// `DOMAIN\name`, `BUILTIN\Users`, `Everyone`; its SID where it has no name.
    pub(super) fn name(&self, sid: &Sid) -> String {
        if let Some(name) = held(&self.names).get(sid) {
            return name.clone();
        }
        match look_up_sid(sid) {
            Some(name) => held(&self.names).entry(sid.clone()).or_insert(name).clone(),
            None => sid.as_text(),
        }
    }

    /// By any of its names, or by its SID.
    pub(super) fn sid(&self, spelled: &str) -> Result<Sid, HostError> {
        if let Some(sid) = Sid::parse(spelled) {
            return Ok(sid);
        }
        let key = spelled.to_lowercase();
        if let Some(sid) = held(&self.sids).get(&key) {
            return Ok(sid.clone());
        }
        match look_up_name(spelled) {
            Ok(sid) => Ok(held(&self.sids).entry(key).or_insert(sid).clone()),
            Err(error) => {
                let message =
                    format!("look up the account {spelled:?}: {error}; expected a name or SID of this machine");
                Err(HostError::new(Reason::UnknownAccount, message))
            }
        }
    }

    /// As [`Accounts::name`] spells it; an unknown one stays as it is.
    pub(super) fn spelled(&self, account: &str) -> String {
        self.sid(account).map_or_else(|_| account.to_owned(), |sid| self.name(&sid))
    }
}

fn held<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names are at most 256 units, and domains as well.
const LONGEST: usize = 512;

fn look_up_sid(sid: &Sid) -> Option<String> {
    let (mut name, mut domain) = ([0u16; LONGEST], [0u16; LONGEST]);
    let (mut name_size, mut domain_size) = (LONGEST as u32, LONGEST as u32);
    let mut kind: SID_NAME_USE = 0;
    // SAFETY: both buffers have the sizes that are given; all outlives the call.
    #[allow(unsafe_code)]
    let done = unsafe {
        LookupAccountSidW(
            null_mut(),
            sid.as_psid(),
            name.as_mut_ptr(),
            &mut name_size,
            domain.as_mut_ptr(),
            &mut domain_size,
            &mut kind,
        )
    };
    if done == 0 {
        return None;
    }
    let said = |units: &[u16], length: u32| String::from_utf16_lossy(&units[..(length as usize).min(units.len())]);
    let (name, domain) = (said(&name, name_size), said(&domain, domain_size));
    Some(match (name.is_empty(), domain.is_empty()) {
        (false, false) => format!("{domain}\\{name}"),
        (false, true) => name,
        (true, _) => domain,
    })
}

fn look_up_name(spelled: &str) -> io::Result<Sid> {
    let spelled = wide(spelled);
    // A SID has at most 68 bytes.
    let (mut sid, mut domain) = ([0u32; 17], [0u16; LONGEST]);
    let (mut sid_size, mut domain_size) = (size_of_val(&sid) as u32, LONGEST as u32);
    let mut kind: SID_NAME_USE = 0;
    // SAFETY: both buffers have the sizes that are given; the name ends with NUL; all outlives the call.
    #[allow(unsafe_code)]
    let done = unsafe {
        LookupAccountNameW(
            null_mut(),
            spelled.as_ptr(),
            sid.as_mut_ptr().cast(),
            &mut sid_size,
            domain.as_mut_ptr(),
            &mut domain_size,
            &mut kind,
        )
    };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    if kind == SidTypeDomain {
        return Err(io::Error::other("it is the name of a domain or machine"));
    }
    // SAFETY: the call filled in a whole SID.
    #[allow(unsafe_code)]
    Ok(unsafe { Sid::copied(sid.as_mut_ptr().cast()) })
}
