//! Text as Win32 takes and gives it: UTF-16 that ends with NUL. Pure.

use std::{ffi::OsStr, os::windows::ffi::OsStrExt as _};

/// For a call; a NUL within ends it, as it would there.
pub(super) fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}
