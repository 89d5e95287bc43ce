//! Tells when values of the registry's keys change. Does IO; the system's thread pool waits.
//!
//! Source: Win32, RegNotifyChangeKeyValue: it tells once, and of no more than that something has changed.

use std::{
    io,
    os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle},
    ptr::{null, null_mut},
    sync::Arc,
};

use tokio::sync::Notify;
use windows_registry::Key;
use windows_sys::Win32::{
    Foundation::{HANDLE, INVALID_HANDLE_VALUE},
    System::{
        Registry::{
            REG_NOTIFY_CHANGE_LAST_SET, REG_NOTIFY_CHANGE_NAME, REG_NOTIFY_THREAD_AGNOSTIC, RegNotifyChangeKeyValue,
        },
        Threading::{CreateEventW, INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEONLYONCE},
    },
};

/// Keys that are watched by one event until this is dropped.
pub(super) struct Watch {
    wait: usize,
    /// Closed after the wait, which they would end.
    _keys: Vec<Key>,
    _event: OwnedHandle,
    /// The callback has its address.
    _told: Arc<Notify>,
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
        let (mut wait, context): (HANDLE, _) = (null_mut(), Arc::as_ptr(&told).cast());
        // SAFETY: the event outlives the wait, and the context the callback, as the drop of this sees to both.
        #[allow(unsafe_code)]
        let done = unsafe {
            let (event, once) = (event.as_raw_handle(), WT_EXECUTEONLYONCE);
            RegisterWaitForSingleObject(&mut wait, event, Some(tell), context, INFINITE, once)
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { wait: wait as usize, _keys: keys, _event: event, _told: told })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // SAFETY: the wait was registered and is unregistered once, here; this returns when no callback runs.
        #[allow(unsafe_code)]
        let _ = unsafe { UnregisterWaitEx(self.wait as HANDLE, INVALID_HANDLE_VALUE) };
    }
}

#[allow(unsafe_code)]
unsafe extern "system" fn tell(context: *mut core::ffi::c_void, _: bool) {
    // SAFETY: `Watch` keeps what this points to until the wait is unregistered.
    let told = unsafe { &*context.cast::<Notify>() };
    told.notify_one();
}
