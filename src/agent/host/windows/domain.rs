//! The Active Directory domain that the machine belongs to. Does IO.
//!
//! Source: Win32, LsaQueryInformationPolicy: a machine without a domain has no SID of one.

use std::{ptr::null, slice::from_raw_parts};

use windows_sys::Win32::Security::Authentication::Identity::{
    LSA_HANDLE, LSA_OBJECT_ATTRIBUTES, LSA_UNICODE_STRING, LsaClose, LsaFreeMemory, LsaOpenPolicy,
    LsaQueryInformationPolicy, POLICY_DNS_DOMAIN_INFO, POLICY_VIEW_LOCAL_INFORMATION, PolicyDnsDomainInformation,
};

/// Such as `plant-a.example.com`; `None` outside any domain.
pub(super) fn name() -> Option<String> {
    let attributes = LSA_OBJECT_ATTRIBUTES::default();
    let mut policy = LSA_HANDLE::default();
    // SAFETY: null stands for this machine; the attributes, all zero as documented, outlive the call.
    #[allow(unsafe_code)]
    let status =
        unsafe { LsaOpenPolicy(null(), &attributes, POLICY_VIEW_LOCAL_INFORMATION.cast_unsigned(), &mut policy) };
    if status < 0 {
        return None;
    }
    let mut answer = std::ptr::null_mut();
    // SAFETY: the policy is open, and closed once, here; the call points the answer to what it allocates.
    #[allow(unsafe_code)]
    let status = unsafe {
        let status = LsaQueryInformationPolicy(policy, PolicyDnsDomainInformation, &mut answer);
        LsaClose(policy);
        status
    };
    if status < 0 || answer.is_null() {
        return None;
    }
    // SAFETY: the answer is the structure of that class, and freed once it was read.
    #[allow(unsafe_code)]
    let name = unsafe {
        let info = &*answer.cast::<POLICY_DNS_DOMAIN_INFO>();
        let name = (!info.Sid.is_null()).then(|| text(&info.DnsDomainName)).filter(|name| !name.is_empty());
        let name = name.or_else(|| (!info.Sid.is_null()).then(|| text(&info.Name)));
        LsaFreeMemory(answer);
        name
    };
    name.filter(|name| !name.is_empty())
}

/// # Safety
///
/// It points to as much text as it says.
#[allow(unsafe_code)]
unsafe fn text(text: &LSA_UNICODE_STRING) -> String {
    if text.Buffer.is_null() {
        return String::new();
    }
    // SAFETY: the caller says so.
    String::from_utf16_lossy(unsafe { from_raw_parts(text.Buffer, usize::from(text.Length / 2)) })
}
