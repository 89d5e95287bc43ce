//! Tells when values of the registry's keys change. Does IO.
//!
//! Source: Win32, RegNotifyChangeKeyValue: it tells once, and of no more than that something has changed.

use std::{
    io,
    os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle},
    ptr::null,
    sync::Arc,
};

use tokio::sync::Notify;
use windows_registry::Key;
use windows_sys::Win32::System::{
    Registry::{
        REG_NOTIFY_CHANGE_LAST_SET, REG_NOTIFY_CHANGE_NAME, REG_NOTIFY_THREAD_AGNOSTIC, RegNotifyChangeKeyValue,
    },
    Threading::CreateEventW,
};

use super::wait::Wait;

/// Keys that are watched by one event until this is dropped.
pub(super) struct Watch {
    _wait: Wait,
    /// Closed after the wait, which they would end: fields are dropped in this order.
    _keys: Vec<Key>,
    _event: OwnedHandle,
}

// SAFETY: handles of keys and events belong to the process, and no thread in particular.
#[allow(unsafe_code)]
unsafe impl Send for Watch {}

impl Watch {
    /// Of keys that were opened with the right to be told of changes.
    pub(super) fn begin(keys: Vec<Key>, told: Arc<Notify>) -> io::Result<Self> {
        // SAFETY: nothing is pointed to.
        #[allow(unsafe_code)]
        let event = unsafe { CreateEventW(null(), 0, 0, null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call succeeded, so the handle is open, and nobody else has it.
        #[allow(unsafe_code)]
        let event = unsafe { OwnedHandle::from_raw_handle(event) };
        let filter = REG_NOTIFY_CHANGE_NAME | REG_NOTIFY_CHANGE_LAST_SET | REG_NOTIFY_THREAD_AGNOSTIC;
        for key in &keys {
            // SAFETY: key and event are open, and stay so as long as this is.
            #[allow(unsafe_code)]
            let error = unsafe { RegNotifyChangeKeyValue(key.as_raw(), 0, filter, event.as_raw_handle(), 1) };
            if error != 0 {
                return Err(io::Error::from_raw_os_error(error.cast_signed()));
            }
        }
        // SAFETY: the event is kept with the wait, and closed after it.
        #[allow(unsafe_code)]
        let wait = unsafe { Wait::begin(event.as_raw_handle(), told) }?;
        Ok(Self { _wait: wait, _keys: keys, _event: event })
    }
}
