//! Runs a check's program as the account that its service runs as, by the token of the service's own process: so no
//! password is needed, whatever the account. Does IO.

use std::{
    collections::BTreeMap,
    io,
    os::windows::io::{FromRawHandle as _, OwnedHandle},
    path::Path,
    ptr::null_mut,
};

use windows_sys::Win32::{
    Foundation::HANDLE,
    Security::{
        DuplicateTokenEx, SecurityImpersonation, TOKEN_ASSIGN_PRIMARY, TOKEN_DUPLICATE, TOKEN_QUERY, TokenPrimary,
    },
    System::{
        Environment::{CreateEnvironmentBlock, DestroyEnvironmentBlock},
        Threading::{CREATE_NO_WINDOW, OpenProcessToken},
    },
};

use super::{
    super::process::Process,
    spawn::{Spawn, Spawned},
};
use crate::model::Service;

/// Starts it; it ends when what is returned is dropped.
pub(super) fn start(process: &Process, service: &Service, command: &[String]) -> io::Result<Spawned> {
    let token = token_of(process)?;
    let mut environment = environment_of(&token)?;
    for variable in &service.env {
        environment.retain(|name, _| !name.eq_ignore_ascii_case(&variable.name));
        environment.insert(variable.name.clone(), variable.value.clone());
    }
    let directory = service.working_directory.as_ref().map(|directory| Path::new(directory.as_str()));
    let (output, token, flags) = (None, Some(&token), CREATE_NO_WINDOW);
    Spawn { command, environment: &environment, directory, output, token, flags }.spawn()
}

fn token_of(process: &Process) -> io::Result<OwnedHandle> {
    let access = TOKEN_DUPLICATE | TOKEN_QUERY | TOKEN_ASSIGN_PRIMARY;
    let (mut found, mut made): (HANDLE, HANDLE) = (null_mut(), null_mut());
    // SAFETY: the process is open; the call fills in the handle.
    #[allow(unsafe_code)]
    let opened = unsafe { OpenProcessToken(process.raw(), access, &mut found) };
    if opened == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open, and from here on owned by this alone.
    #[allow(unsafe_code)]
    let found = unsafe { OwnedHandle::from_raw_handle(found) };
    // SAFETY: the token is open with the right to duplicate it; the call fills in the handle.
    #[allow(unsafe_code)]
    let duplicated = unsafe {
        use std::os::windows::io::AsRawHandle as _;
        DuplicateTokenEx(
            found.as_raw_handle(),
            access,
            std::ptr::null(),
            SecurityImpersonation,
            TokenPrimary,
            &mut made,
        )
    };
    if duplicated == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle is open, and from here on owned by this alone.
    #[allow(unsafe_code)]
    let made = unsafe { OwnedHandle::from_raw_handle(made) };
    Ok(made)
}

/// The account's own, as Windows makes it.
fn environment_of(token: &OwnedHandle) -> io::Result<BTreeMap<String, String>> {
    use std::os::windows::io::AsRawHandle as _;
    let mut block = null_mut();
    // SAFETY: the token is open; the call makes the block.
    #[allow(unsafe_code)]
    let done = unsafe { CreateEnvironmentBlock(&mut block, token.as_raw_handle(), 0) };
    if done == 0 {
        return Err(io::Error::last_os_error());
    }
    let mut environment = BTreeMap::new();
    let mut next = block.cast::<u16>().cast_const();
    loop {
        // SAFETY: the block is texts that end with NUL, one after the other, until an empty one.
        #[allow(unsafe_code)]
        let text = unsafe { super::super::strings::text(next) };
        if text.is_empty() {
            break;
        }
        // SAFETY: behind the text and its NUL the block goes on.
        #[allow(unsafe_code)]
        let behind = unsafe { next.add(text.encode_utf16().count() + 1) };
        next = behind;
        // Names of drives' directories begin with '='.
        if let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) {
            environment.insert(name.to_owned(), value.to_owned());
        }
    }
    // SAFETY: the system made the block, and this alone ends it.
    #[allow(unsafe_code)]
    let _ = unsafe { DestroyEnvironmentBlock(block) };
    Ok(environment)
}
