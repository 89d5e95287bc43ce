//! Text as Win32 takes and gives it: UTF-16 that ends with NUL.

use std::{ffi::OsStr, os::windows::ffi::OsStrExt as _};

/// For a call; a NUL within ends it, as it would there.
pub(super) fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

/// Texts one after the other, each with its NUL, and another NUL at the end.
pub(super) fn wide_list<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<u16> {
    let mut list: Vec<u16> = texts.into_iter().flat_map(wide).collect();
    // No text at all is two of them.
    list.extend(if list.is_empty() { [0, 0].as_slice() } else { [0].as_slice() });
    list
}

/// Reads a text; empty for a null pointer.
///
/// # Safety
/// The pointer is null, or to UTF-16 that ends with NUL.
#[allow(unsafe_code)]
pub(super) unsafe fn text(pointer: *const u16) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: it ends with NUL, and each unit before that is readable.
    let units = (0..).map(|index| unsafe { *pointer.add(index) }).take_while(|unit| *unit != 0);
    let units: Vec<u16> = units.collect();
    String::from_utf16_lossy(&units)
}
