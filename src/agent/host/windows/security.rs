//! Security descriptors: made from their text, read from and set on files and directories by handle. Does IO.
//!
//! Source: Win32, "Security Descriptor String Format"; "File Security and Access Rights".

use std::{
    ffi::c_void,
    io,
    os::windows::io::{AsRawHandle as _, OwnedHandle},
    ptr::null_mut,
};

use windows_sys::Win32::{
    Foundation::LocalFree,
    Security::{
        ACCESS_ALLOWED_ACE, ACE_HEADER, ACL,
        Authorization::{
            ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1, SE_FILE_OBJECT,
            SetSecurityInfo,
        },
        DACL_SECURITY_INFORMATION, GROUP_SECURITY_INFORMATION, GetAce, GetSecurityDescriptorControl,
        GetSecurityDescriptorDacl, GetSecurityDescriptorGroup, GetSecurityDescriptorOwner, INHERITED_ACE,
        OBJECT_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION,
        PSECURITY_DESCRIPTOR, PSID, SE_DACL_AUTO_INHERIT_REQ, SE_DACL_AUTO_INHERITED, SE_DACL_PROTECTED,
        SECURITY_ATTRIBUTES, SECURITY_DESCRIPTOR, SetKernelObjectSecurity, SetSecurityDescriptorControl,
        UNPROTECTED_DACL_SECURITY_INFORMATION,
    },
};

use super::{
    accounts::Sid,
    handles::{Code, Kind, code_of, last_error},
    privileges,
    strings::wide,
};

/// SYSTEM and administrators, and nobody else, whatever the directory above grants.
pub(super) const PRIVATE: &str = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";

/// For what programs of the machine are to read and only administrators may change: below `C:\` any user may
/// otherwise replace a program that SYSTEM runs.
pub(super) const FOR_ALL_TO_READ: &str = "D:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)(A;OICI;0x1200a9;;;BU)";

/// A security descriptor that the system allocated.
pub(super) struct Descriptor(PSECURITY_DESCRIPTOR);

/// One entry of an access control list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AccessEntry {
    /// Whether it allows.
    pub(super) allows: bool,
    /// Whether it denies; else it does something else.
    pub(super) denies: bool,
    /// Came from the directory above.
    pub(super) inherited: bool,
    /// Whether things of either kind below inherit it, and whether it counts here.
    pub(super) flags: u8,
    /// Rights.
    pub(super) mask: u32,
    /// Whom.
    pub(super) sid: Sid,
}

impl Descriptor {
    /// Parses SDDL.
    pub(super) fn parse(sddl: &str) -> io::Result<Self> {
        let text = wide(sddl);
        let mut descriptor: PSECURITY_DESCRIPTOR = null_mut();
        // SAFETY: the text ends with NUL and outlives the call, which fills in the pointer it is given.
        #[allow(unsafe_code)]
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                null_mut(),
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(descriptor)) }
    }

    /// Reads owner, group and DACL through a handle with the right to.
    pub(super) fn of(handle: &OwnedHandle) -> Result<Self, Code> {
        let mut descriptor: PSECURITY_DESCRIPTOR = null_mut();
        // SAFETY: the handle is open, and the call allocates the descriptor that it points the last argument to.
        #[allow(unsafe_code)]
        let error = unsafe {
            GetSecurityInfo(
                handle.as_raw_handle(),
                SE_FILE_OBJECT,
                OWNER_SECURITY_INFORMATION | GROUP_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                &mut descriptor,
            )
        };
        if error == 0 { Ok(Self(descriptor)) } else { Err(error) }
    }

    /// For calls that create something; valid as long as this is.
    pub(super) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: u32::try_from(size_of::<SECURITY_ATTRIBUTES>()).unwrap_or_default(),
            lpSecurityDescriptor: self.0,
            bInheritHandle: 0,
        }
    }

    /// For calls of NT; valid as long as this is.
    pub(super) fn as_ptr(&self) -> *const SECURITY_DESCRIPTOR {
        self.0.cast()
    }

    /// Its DACL, which lies within it; null where all is open to everyone.
    pub(super) fn dacl(&self) -> io::Result<*mut ACL> {
        let (mut present, mut defaulted, mut dacl) = (0, 0, null_mut());
        // SAFETY: the descriptor is whole, as the system made it; the call fills in the three that it is given.
        #[allow(unsafe_code)]
        let done = unsafe { GetSecurityDescriptorDacl(self.0, &mut present, &mut dacl, &mut defaulted) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(dacl) }
    }

    /// Whose it is.
    pub(super) fn owner(&self) -> Option<Sid> {
        self.principal(GetSecurityDescriptorOwner)
    }

    /// Its primary group, which Windows itself does nothing with.
    pub(super) fn group(&self) -> Option<Sid> {
        self.principal(GetSecurityDescriptorGroup)
    }

    fn principal(
        &self,
        ask: unsafe extern "system" fn(PSECURITY_DESCRIPTOR, *mut PSID, *mut i32) -> i32,
    ) -> Option<Sid> {
        let (mut sid, mut defaulted): (PSID, _) = (null_mut(), 0);
        // SAFETY: the descriptor is whole; the call points the second to what lies in it, or to nothing.
        #[allow(unsafe_code)]
        let done = unsafe { ask(self.0, &mut sid, &mut defaulted) };
        // SAFETY: it is a whole SID within the descriptor, which is there until the copy is made.
        #[allow(unsafe_code)]
        (done != 0 && !sid.is_null()).then(|| unsafe { Sid::copied(sid) })
    }

    /// Whether the DACL takes nothing from the directory above.
    pub(super) fn is_protected(&self) -> bool {
        self.control() & SE_DACL_PROTECTED != 0
    }

    fn control(&self) -> u16 {
        let (mut control, mut revision) = (0, 0);
        // SAFETY: the descriptor is whole; the call fills in the two that it is given.
        #[allow(unsafe_code)]
        let done = unsafe { GetSecurityDescriptorControl(self.0, &mut control, &mut revision) };
        if done == 0 { 0 } else { control }
    }

    /// The entries of its DACL, in order; `None` where there is none, and all is open to everyone.
    pub(super) fn entries(&self) -> Option<Vec<AccessEntry>> {
        let dacl = self.dacl().ok().filter(|dacl| !dacl.is_null())?;
        // SAFETY: the DACL lies in the descriptor.
        #[allow(unsafe_code)]
        let count = unsafe { (*dacl).AceCount };
        (0..count.into()).map(|index| entry(dacl, index)).collect()
    }

    /// Puts owner, group and DACL on something else, entries that were inherited as such. Without an owner, as on a
    /// volume that keeps none, it stays whose it is.
    pub(super) fn copy_to(&self, handle: &OwnedHandle) -> Result<(), Code> {
        if self.control() & SE_DACL_AUTO_INHERITED != 0 {
            // Without it the system would forget which entries were inherited.
            // SAFETY: the descriptor is whole, and nobody else uses it.
            #[allow(unsafe_code)]
            let _ = unsafe { SetSecurityDescriptorControl(self.0, SE_DACL_AUTO_INHERIT_REQ, SE_DACL_AUTO_INHERIT_REQ) };
        }
        self.put(DACL_SECURITY_INFORMATION, handle)?;
        if self.owner().is_none() {
            return Ok(());
        }
        privileges::restoring(|| {
            self.put(OWNER_SECURITY_INFORMATION, handle)?;
            // Windows itself does nothing with it.
            let _ = self.put(GROUP_SECURITY_INFORMATION, handle);
            Ok(())
        })
    }

    /// As it is, whatever lies above or below.
    fn put(&self, what: OBJECT_SECURITY_INFORMATION, handle: &OwnedHandle) -> Result<(), Code> {
        // SAFETY: the handle is open and the descriptor whole.
        #[allow(unsafe_code)]
        let done = unsafe { SetKernelObjectSecurity(handle.as_raw_handle(), what, self.0) };
        if done == 0 { Err(last_error()) } else { Ok(()) }
    }

    /// Puts the DACL on something else, which then inherits from the directory above unless this one is protected;
    /// what lies below inherits from it.
    pub(super) fn put_access_on(&self, handle: &OwnedHandle, kind: Kind) -> Result<(), Code> {
        if self.is_protected() && kind == Kind::File {
            // Nothing above or below has a part in it.
            return self.put(DACL_SECURITY_INFORMATION, handle);
        }
        let inheritance = if self.is_protected() {
            PROTECTED_DACL_SECURITY_INFORMATION
        } else {
            UNPROTECTED_DACL_SECURITY_INFORMATION
        };
        let dacl = self.dacl().map_err(|error| code_of(&error))?;
        // SAFETY: the handle is open; the DACL lies in this descriptor, which outlives the call.
        #[allow(unsafe_code)]
        let error = unsafe {
            SetSecurityInfo(
                handle.as_raw_handle(),
                SE_FILE_OBJECT,
                DACL_SECURITY_INFORMATION | inheritance,
                null_mut(),
                null_mut(),
                dacl,
                null_mut(),
            )
        };
        if error == 0 { Ok(()) } else { Err(error) }
    }
}

/// Gives something to an account. Beyond what this process owns itself, it needs the privilege to restore.
pub(super) fn set_owner(handle: &OwnedHandle, owner: &Sid) -> Result<(), Code> {
    // SAFETY: the handle is open; the SID outlives the call.
    #[allow(unsafe_code)]
    let error = unsafe {
        SetSecurityInfo(
            handle.as_raw_handle(),
            SE_FILE_OBJECT,
            OWNER_SECURITY_INFORMATION,
            owner.as_psid(),
            null_mut(),
            null_mut(),
            null_mut(),
        )
    };
    if error == 0 { Ok(()) } else { Err(error) }
}

/// Source: Win32, "ACE_HEADER": 0 allows, and its SID begins where `SidStart` is.
fn entry(dacl: *mut ACL, index: u32) -> Option<AccessEntry> {
    let mut ace: *mut c_void = null_mut();
    // SAFETY: the DACL is whole and the index below its count; the call points to what lies in it.
    #[allow(unsafe_code)]
    let done = unsafe { GetAce(dacl, index, &mut ace) };
    if done == 0 {
        return None;
    }
    // SAFETY: every entry begins with its header.
    #[allow(unsafe_code)]
    let header = unsafe { *ace.cast::<ACE_HEADER>() };
    // Beyond those that allow (0) or deny (1), entries have other shapes.
    let (mask, sid) = if header.AceType > 1 {
        (0, Sid::default())
    } else {
        let ace = ace.cast::<ACCESS_ALLOWED_ACE>();
        // SAFETY: entries of these two types have this shape, and a whole SID at its end.
        #[allow(unsafe_code)]
        unsafe {
            ((*ace).Mask, Sid::copied((&raw mut (*ace).SidStart).cast()))
        }
    };
    let inherited = u32::from(header.AceFlags) & INHERITED_ACE != 0;
    Some(AccessEntry {
        allows: header.AceType == 0,
        denies: header.AceType == 1,
        inherited,
        flags: header.AceFlags & 0x0f,
        mask,
        sid,
    })
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the system allocated it by LocalAlloc, and this alone frees it.
        #[allow(unsafe_code)]
        let _ = unsafe { LocalFree(self.0.cast::<c_void>()) };
    }
}
