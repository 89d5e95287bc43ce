//! Where Windows has programs keep what they keep. Does IO.

use std::{ffi::OsString, os::windows::ffi::OsStringExt as _, path::PathBuf, ptr::null_mut};

use windows_sys::Win32::{
    System::Com::CoTaskMemFree,
    UI::Shell::{FOLDERID_ProgramData, KF_FLAG_DEFAULT, SHGetKnownFolderPath},
};

/// Where the agent keeps its state unless told otherwise. Asked of Windows, as the environment of a service is not
/// that of a console.
pub fn state_dir() -> PathBuf {
    program_data().unwrap_or_else(|| PathBuf::from(r"C:\ProgramData")).join("windlass")
}

fn program_data() -> Option<PathBuf> {
    let mut path = null_mut();
    // SAFETY: the call fills in the pointer that it is given, with text that ends with NUL where it succeeds.
    #[allow(unsafe_code)]
    let result =
        unsafe { SHGetKnownFolderPath(&FOLDERID_ProgramData, KF_FLAG_DEFAULT.cast_unsigned(), null_mut(), &mut path) };
    let text = (result == 0).then(|| {
        // SAFETY: the text ends with NUL, and is read up to there.
        #[allow(unsafe_code)]
        let text = unsafe { std::slice::from_raw_parts(path, (0..).take_while(|at| *path.add(*at) != 0).count()) };
        PathBuf::from(OsString::from_wide(text))
    });
    // SAFETY: it is the call's to allocate and its caller's to free, whether it succeeds or not.
    #[allow(unsafe_code)]
    unsafe {
        CoTaskMemFree(path.cast());
    }
    text
}
