//! Tells when an object of the system is signalled, by the system's own thread pool. Does IO.
//! Source: Win32, RegisterWaitForSingleObject.

use std::{io, ptr::null_mut, sync::Arc};

use tokio::sync::Notify;
use windows_sys::Win32::{
    Foundation::{HANDLE, INVALID_HANDLE_VALUE},
    System::Threading::{INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEONLYONCE},
};

/// A wait that ends when this is dropped.
pub(super) struct Wait {
    handle: usize,
    /// The callback has its address.
    _told: Arc<Notify>,
}

impl Wait {
    /// Tells once.
    ///
    /// # Safety
    ///
    /// The object stays open until this is dropped.
    #[allow(unsafe_code)]
    pub(super) unsafe fn begin(object: HANDLE, told: Arc<Notify>) -> io::Result<Self> {
        let mut wait: HANDLE = null_mut();
        let context = Arc::as_ptr(&told).cast();
        // SAFETY: the caller keeps the object; the context is kept by this, whose end waits for a callback that runs.
        let done = unsafe {
            RegisterWaitForSingleObject(&mut wait, object, Some(tell), context, INFINITE, WT_EXECUTEONLYONCE)
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Self { handle: wait as usize, _told: told }) }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        // SAFETY: the wait was registered and is unregistered once, here; this returns when no callback runs.
        #[allow(unsafe_code)]
        let _ = unsafe { UnregisterWaitEx(self.handle as HANDLE, INVALID_HANDLE_VALUE) };
    }
}

#[allow(unsafe_code)]
unsafe extern "system" fn tell(context: *mut core::ffi::c_void, _: bool) {
    // SAFETY: `Wait` keeps what this points to until the wait is unregistered.
    let told = unsafe { &*context.cast::<Notify>() };
    told.notify_one();
}
