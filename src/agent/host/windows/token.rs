//! Whom this process acts for. Does IO.
//!
//! Source: Win32, "TOKEN_INFORMATION_CLASS"; "Owner of a New Object".

use std::{
    ffi::c_void,
    io,
    os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle},
    ptr::null_mut,
};

use windows_sys::Win32::{
    Foundation::HANDLE,
    Security::{
        GetTokenInformation, PSID, TOKEN_ACCESS_MASK, TOKEN_INFORMATION_CLASS, TOKEN_QUERY, TokenOwner, TokenUser,
    },
    System::Threading::{GetCurrentProcess, OpenProcessToken},
};

use super::accounts::Sid;

/// This process' token, with these rights.
pub(super) fn open(access: TOKEN_ACCESS_MASK) -> io::Result<OwnedHandle> {
    let mut token: HANDLE = null_mut();
    // SAFETY: the handle of the own process needs no closing; the call fills in the other one.
    #[allow(unsafe_code)]
    let done = unsafe { OpenProcessToken(GetCurrentProcess(), access, &mut token) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so the handle is open, and nobody else has it.
    #[allow(unsafe_code)]
    Ok(unsafe { OwnedHandle::from_raw_handle(token) })
}

/// The account that it runs as.
pub(super) fn user() -> io::Result<Sid> {
    first_sid(TokenUser)
}

/// Who owns what it makes: Administrators where it has their rights, else its account.
pub(super) fn owner_of_new() -> io::Result<Sid> {
    first_sid(TokenOwner)
}

/// TOKEN_USER and TOKEN_OWNER both begin with a pointer to a SID, which lies behind.
fn first_sid(class: TOKEN_INFORMATION_CLASS) -> io::Result<Sid> {
    let token = open(TOKEN_QUERY)?;
    // Of pointers, so that it is aligned as the structures are; a SID has at most 68 bytes.
    let mut answer = [null_mut::<c_void>(); 32];
    let (size, mut length) = (u32::try_from(size_of_val(&answer)).unwrap_or_default(), 0);
    // SAFETY: the token is open; the buffer has the size that is given and outlives the call.
    #[allow(unsafe_code)]
    let done =
        unsafe { GetTokenInformation(token.as_raw_handle(), class, answer.as_mut_ptr().cast(), size, &mut length) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    let sid: PSID = answer[0];
    // SAFETY: the call pointed it to a whole SID within the buffer.
    #[allow(unsafe_code)]
    Ok(unsafe { Sid::copied(sid) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_acts_for_somebody() {
        for sid in [user().expect("known"), owner_of_new().expect("known")] {
            assert!(sid.as_text().starts_with("S-1-5-"), "{sid:?}");
        }
    }
}
