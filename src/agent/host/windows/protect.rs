//! Secrets at rest, by DPAPI under the machine's key: a copy of the disk's files alone does not show them. Whoever may
//! run programs on the machine is kept out by the folder's ACL. Keys in the TPM (CNG) are to come. Does IO.

use std::{ffi::c_void, io, ptr::null_mut};

use windows_sys::Win32::{
    Foundation::LocalFree,
    Security::Cryptography::{
        CRYPT_INTEGER_BLOB, CRYPTPROTECT_LOCAL_MACHINE, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData, CryptUnprotectData,
    },
};

/// The machine's key and not the account's, so that an administrator at a console can run the agent as well.
const FLAGS: u32 = CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN;

/// Encrypts for this machine.
pub fn protect(secret: &[u8]) -> io::Result<Vec<u8>> {
    let input = blob(secret)?;
    let mut output = empty();
    // SAFETY: the input points to the secret, which outlives the call and is only read; the call fills in the output.
    #[allow(unsafe_code)]
    let done = unsafe { CryptProtectData(&input, null_mut(), null_mut(), null_mut(), null_mut(), FLAGS, &mut output) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(taken(output)) }
}

/// Decrypts what [`protect`] made on this machine.
pub fn unprotect(protected: &[u8]) -> io::Result<Vec<u8>> {
    let input = blob(protected)?;
    let mut output = empty();
    // SAFETY: the input points to what is protected, which outlives the call and is only read; the call fills in the
    // output.
    #[allow(unsafe_code)]
    let done =
        unsafe { CryptUnprotectData(&input, null_mut(), null_mut(), null_mut(), null_mut(), FLAGS, &mut output) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(taken(output)) }
}

fn blob(bytes: &[u8]) -> io::Result<CRYPT_INTEGER_BLOB> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok(CRYPT_INTEGER_BLOB { cbData: length, pbData: bytes.as_ptr().cast_mut() })
}

fn empty() -> CRYPT_INTEGER_BLOB {
    CRYPT_INTEGER_BLOB { cbData: 0, pbData: null_mut() }
}

/// Copies what the system allocated, clears it and frees it.
fn taken(output: CRYPT_INTEGER_BLOB) -> Vec<u8> {
    if output.pbData.is_null() {
        return Vec::new();
    }
    // SAFETY: the call that filled it in succeeded: it points to so many bytes, which nobody else knows of.
    #[allow(unsafe_code)]
    let bytes = unsafe { std::slice::from_raw_parts_mut(output.pbData, output.cbData as usize) };
    let copy = bytes.to_vec();
    bytes.fill(0);
    // SAFETY: the system allocated it by LocalAlloc for its caller to free, and it is not used any more.
    #[allow(unsafe_code)]
    let _ = unsafe { LocalFree(output.pbData.cast::<c_void>()) };
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_protected_does_not_show_and_comes_back() {
        let secret = b"-----BEGIN PRIVATE KEY-----";
        let protected = protect(secret).expect("encrypted");
        assert!(!protected.windows(5).any(|part| part == b"BEGIN"));
        assert_eq!(unprotect(&protected).expect("decrypted"), secret);
        assert!(unprotect(secret).is_err(), "what was not encrypted");
    }
}
