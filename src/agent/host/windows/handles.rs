//! Files and directories by handle: opened below another handle, looked at, renamed and removed through it. Follows
//! no reparse point, and takes names as they are, of any length in all. Errors are Win32 codes. Does IO.

use std::{
    ffi::c_void,
    fs::File,
    io,
    mem::{offset_of, size_of},
    os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle},
    ptr::{null, null_mut},
};

use windows_sys::{
    Wdk::{
        Foundation::OBJECT_ATTRIBUTES,
        Storage::FileSystem::{
            FILE_CREATE, FILE_DISPOSITION_DELETE, FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE,
            FILE_DISPOSITION_INFORMATION, FILE_DISPOSITION_INFORMATION_EX, FILE_DISPOSITION_POSIX_SEMANTICS,
            FILE_INFORMATION_CLASS, FILE_OPEN, FILE_OPEN_REPARSE_POINT, FILE_RENAME_IGNORE_READONLY_ATTRIBUTE,
            FILE_RENAME_INFORMATION, FILE_RENAME_POSIX_SEMANTICS, FILE_RENAME_REPLACE_IF_EXISTS,
            FILE_SYNCHRONOUS_IO_NONALERT, FileDispositionInformation, FileDispositionInformationEx,
            FileRenameInformation, FileRenameInformationEx, NTCREATEFILE_CREATE_DISPOSITION,
            NTCREATEFILE_CREATE_OPTIONS, NtCreateFile, NtSetInformationFile,
        },
    },
    Win32::{
        Foundation::{
            ERROR_DELETE_PENDING, HANDLE, NTSTATUS, OBJ_CASE_INSENSITIVE, RtlNtStatusToDosError, STATUS_DELETE_PENDING,
            STATUS_INVALID_DEVICE_REQUEST, STATUS_INVALID_INFO_CLASS, STATUS_INVALID_PARAMETER, STATUS_NOT_IMPLEMENTED,
            STATUS_NOT_SUPPORTED, UNICODE_STRING,
        },
        Storage::FileSystem::{
            FILE_ATTRIBUTE_DIRECTORY, FILE_ATTRIBUTE_NORMAL, FILE_ATTRIBUTE_REPARSE_POINT, FILE_ATTRIBUTE_TAG_INFO,
            FILE_BASIC_INFO, FILE_ID_INFO, FILE_INFO_BY_HANDLE_CLASS, FILE_NAME_NORMALIZED, FILE_SHARE_DELETE,
            FILE_SHARE_MODE, FILE_SHARE_READ, FILE_SHARE_WRITE, FILE_STANDARD_INFO, FileAttributeTagInfo,
            FileBasicInfo, FileIdInfo, FileStandardInfo, GetFileInformationByHandleEx, GetFinalPathNameByHandleW,
            SYNCHRONIZE, SetFileInformationByHandle, VOLUME_NAME_NONE,
        },
        System::IO::IO_STATUS_BLOCK,
    },
};

use super::security::Descriptor;

/// A Win32 error code.
pub(super) type Code = u32;

/// Others may do with a file what they like while it is held.
pub(super) const SHARE_ALL: FILE_SHARE_MODE = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;

/// How something is opened.
pub(super) struct Opening<'o> {
    /// Rights asked for, beside waiting for its IO.
    pub(super) access: u32,
    /// What others may do meanwhile.
    pub(super) share: FILE_SHARE_MODE,
    /// [`FILE_OPEN`] or [`FILE_CREATE`].
    pub(super) disposition: NTCREATEFILE_CREATE_DISPOSITION,
    /// Whether it must be, or is made, a directory or a file.
    pub(super) options: NTCREATEFILE_CREATE_OPTIONS,
    /// Of what is made; `None`: as its directory has it.
    pub(super) security: Option<&'o Descriptor>,
}

impl Opening<'_> {
    /// What is there, with these rights.
    pub(super) fn of_existing(access: u32) -> Self {
        Self { access, share: SHARE_ALL, disposition: FILE_OPEN, options: 0, security: None }
    }

    /// Something new, of this kind.
    pub(super) fn of_new(access: u32, options: NTCREATEFILE_CREATE_OPTIONS) -> Self {
        Self { access, share: FILE_SHARE_READ | FILE_SHARE_DELETE, disposition: FILE_CREATE, options, security: None }
    }
}

/// Opens a name in a directory, or without one an NT path. An empty name opens the same file or directory again.
pub(super) fn open(parent: Option<&OwnedHandle>, name: &str, how: &Opening<'_>) -> Result<OwnedHandle, Code> {
    let mut text: Vec<u16> = name.encode_utf16().collect();
    let length =
        u16::try_from(text.len() * 2).map_err(|_| windows_sys::Win32::Foundation::ERROR_FILENAME_EXCED_RANGE)?;
    let name = UNICODE_STRING { Length: length, MaximumLength: length, Buffer: text.as_mut_ptr() };
    let object = OBJECT_ATTRIBUTES {
        Length: size_of_u32::<OBJECT_ATTRIBUTES>(),
        RootDirectory: parent.map_or(null_mut(), |handle| handle.as_raw_handle()),
        ObjectName: &name,
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: how.security.map_or(null(), Descriptor::as_ptr),
        SecurityQualityOfService: null(),
    };
    let mut handle: HANDLE = null_mut();
    let mut done = IO_STATUS_BLOCK::default();
    // SAFETY: all that the arguments point to outlives the call, which fills in the handle and the status block.
    #[allow(unsafe_code)]
    let status = unsafe {
        NtCreateFile(
            &mut handle,
            how.access | SYNCHRONIZE,
            &object,
            &mut done,
            null(),
            FILE_ATTRIBUTE_NORMAL,
            how.share,
            how.disposition,
            how.options | FILE_OPEN_REPARSE_POINT | FILE_SYNCHRONOUS_IO_NONALERT,
            null(),
            0,
        )
    };
    check(status)?;
    // SAFETY: the call succeeded, so the handle is open, and nobody else has it.
    #[allow(unsafe_code)]
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// What kind of thing a handle is open to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
    /// A symbolic link, a junction or a mount point.
    Link,
    /// Something whose contents a filter driver makes, such as a placeholder of a file that lies elsewhere.
    ReparsePoint,
}

impl Kind {
    /// For people.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Directory => "a directory",
            Self::File => "a file",
            Self::Link => "a link",
            Self::ReparsePoint => "a reparse point",
        }
    }
}

/// What a handle is open to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    pub(super) kind: Kind,
    pub(super) attributes: u32,
    pub(super) size: i64,
    /// In units of 100 ns since 1601, as is the next; 0 where the filesystem keeps none.
    pub(super) modified: i64,
    pub(super) changed: i64,
    /// Volume and number on it, where the filesystem has such.
    pub(super) id: Option<(u64, u128)>,
}

/// Looks at what a handle is open to; it needs the right to read attributes.
pub(super) fn look(handle: &OwnedHandle) -> Result<Seen, Code> {
    let basic: FILE_BASIC_INFO = ask(handle, FileBasicInfo)?;
    let standard: FILE_STANDARD_INFO = ask(handle, FileStandardInfo)?;
    let id = ask::<FILE_ID_INFO>(handle, FileIdInfo).ok();
    let kind = if basic.FileAttributes & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        // Source: Win32, "Reparse Point Tags": bit 29 marks what stands for another name.
        match ask::<FILE_ATTRIBUTE_TAG_INFO>(handle, FileAttributeTagInfo) {
            Ok(tag) if tag.ReparseTag & 0x2000_0000 == 0 => Kind::ReparsePoint,
            _ => Kind::Link,
        }
    } else if basic.FileAttributes & FILE_ATTRIBUTE_DIRECTORY != 0 {
        Kind::Directory
    } else {
        Kind::File
    };
    Ok(Seen {
        kind,
        attributes: basic.FileAttributes,
        size: standard.EndOfFile,
        modified: basic.LastWriteTime,
        changed: basic.ChangeTime,
        id: id.map(|id| (id.VolumeSerialNumber, u128::from_le_bytes(id.FileId.Identifier))),
    })
}

/// The last component of its path as the volume has it, where that is not a short name that stands for it.
pub(super) fn long_name(handle: &OwnedHandle) -> Result<String, Code> {
    let mut text = vec![0u16; 32 << 10];
    let size = u32::try_from(text.len()).unwrap_or_default();
    // SAFETY: the buffer has the size that is given, and outlives the call.
    #[allow(unsafe_code)]
    let length = unsafe {
        GetFinalPathNameByHandleW(
            handle.as_raw_handle(),
            text.as_mut_ptr(),
            size,
            FILE_NAME_NORMALIZED | VOLUME_NAME_NONE,
        )
    };
    if length == 0 || length >= size {
        return Err(last_error());
    }
    text.truncate(length as usize);
    let path = String::from_utf16_lossy(&text);
    Ok(path.rsplit('\\').next().unwrap_or_default().to_owned())
}

/// Gives a file, open for deletion, that name in that directory, in place of a file that has it, also where that one
/// is read-only; where the volume can, also where it is open to programs that share its deletion.
pub(super) fn rename_over(file: &File, parent: &OwnedHandle, name: &str) -> Result<(), Code> {
    let text: Vec<u16> = name.encode_utf16().collect();
    let length = text.len() * 2;
    let at = offset_of!(FILE_RENAME_INFORMATION, FileName);
    // Of u64, so that it is aligned as the structure is.
    let mut buffer = vec![0u64; (at + length).max(size_of::<FILE_RENAME_INFORMATION>()).div_ceil(8)];
    let info = buffer.as_mut_ptr().cast::<FILE_RENAME_INFORMATION>();
    // SAFETY: the buffer is aligned for the structure and large enough for it and the name that ends it.
    #[allow(unsafe_code)]
    unsafe {
        (*info).RootDirectory = parent.as_raw_handle();
        (*info).FileNameLength = u32::try_from(length).unwrap_or_default();
        let place = info.cast::<u8>().add(at).cast::<u16>();
        std::ptr::copy_nonoverlapping(text.as_ptr(), place, text.len());
        (*info).Anonymous.Flags =
            FILE_RENAME_REPLACE_IF_EXISTS | FILE_RENAME_POSIX_SEMANTICS | FILE_RENAME_IGNORE_READONLY_ATTRIBUTE;
    }
    let size = u32::try_from(at + length).unwrap_or_default();
    let size = size.max(size_of_u32::<FILE_RENAME_INFORMATION>());
    match set(file.as_raw_handle(), info.cast(), size, FileRenameInformationEx) {
        Err(status) if is_unknown(status) => {}
        outcome => return outcome.map_err(code),
    }
    let readonly_is_gone = clear_read_only(parent, name);
    // SAFETY: as above.
    #[allow(unsafe_code)]
    unsafe {
        (*info).Anonymous.Flags = 0;
        (*info).Anonymous.ReplaceIfExists = true;
    }
    let outcome = set(file.as_raw_handle(), info.cast(), size, FileRenameInformation).map_err(code);
    if let (Err(_), Some(attributes)) = (&outcome, readonly_is_gone) {
        let _ = open(Some(parent), name, &Opening::of_existing(WRITE_ATTRIBUTES))
            .and_then(|handle| set_attributes(&handle, attributes));
    }
    outcome
}

const WRITE_ATTRIBUTES: u32 = windows_sys::Win32::Storage::FileSystem::FILE_WRITE_ATTRIBUTES
    | windows_sys::Win32::Storage::FileSystem::FILE_READ_ATTRIBUTES;
const READ_ONLY: u32 = windows_sys::Win32::Storage::FileSystem::FILE_ATTRIBUTE_READONLY;

/// Makes a file writable; answers with the attributes that it had if it was not.
fn clear_read_only(parent: &OwnedHandle, name: &str) -> Option<u32> {
    let handle = open(Some(parent), name, &Opening::of_existing(WRITE_ATTRIBUTES)).ok()?;
    let attributes = look(&handle).ok()?.attributes;
    if attributes & READ_ONLY == 0 {
        return None;
    }
    set_attributes(&handle, attributes & !READ_ONLY).ok().map(|()| attributes)
}

/// Removes what the handle, open for deletion and for attributes, is open to, also where it is read-only. It is gone
/// at once where the volume can, else once the last program closes it.
pub(super) fn remove(handle: &OwnedHandle) -> Result<(), Code> {
    let flags = FILE_DISPOSITION_DELETE | FILE_DISPOSITION_POSIX_SEMANTICS | FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE;
    let info = FILE_DISPOSITION_INFORMATION_EX { Flags: flags };
    let size = size_of_u32::<FILE_DISPOSITION_INFORMATION_EX>();
    match set(handle.as_raw_handle(), (&raw const info).cast(), size, FileDispositionInformationEx) {
        Err(status) if is_unknown(status) => {}
        outcome => return outcome.map_err(code),
    }
    let attributes = look(handle)?.attributes;
    if attributes & READ_ONLY != 0 {
        set_attributes(handle, attributes & !READ_ONLY)?;
    }
    let info = FILE_DISPOSITION_INFORMATION { DeleteFile: true };
    let size = size_of_u32::<FILE_DISPOSITION_INFORMATION>();
    set(handle.as_raw_handle(), (&raw const info).cast(), size, FileDispositionInformation).map_err(code)
}

/// Sets file attributes; the times stay.
pub(super) fn set_attributes(handle: &OwnedHandle, attributes: u32) -> Result<(), Code> {
    // None at all would mean that they stay as they are.
    let attributes = if attributes == 0 { FILE_ATTRIBUTE_NORMAL } else { attributes };
    let info = FILE_BASIC_INFO { FileAttributes: attributes, ..FILE_BASIC_INFO::default() };
    // SAFETY: the structure is the one that this class takes, and outlives the call.
    #[allow(unsafe_code)]
    let done = unsafe {
        SetFileInformationByHandle(
            handle.as_raw_handle(),
            FileBasicInfo,
            (&raw const info).cast(),
            size_of_u32::<FILE_BASIC_INFO>(),
        )
    };
    if done == 0 { Err(last_error()) } else { Ok(()) }
}

fn ask<T: Default>(handle: &OwnedHandle, class: FILE_INFO_BY_HANDLE_CLASS) -> Result<T, Code> {
    let mut answer = T::default();
    // SAFETY: the structure is the one that this class fills in, of the size that is given.
    #[allow(unsafe_code)]
    let done = unsafe {
        GetFileInformationByHandleEx(handle.as_raw_handle(), class, (&raw mut answer).cast(), size_of_u32::<T>())
    };
    if done == 0 { Err(last_error()) } else { Ok(answer) }
}

fn set(handle: HANDLE, info: *const c_void, size: u32, class: FILE_INFORMATION_CLASS) -> Result<(), NTSTATUS> {
    let mut done = IO_STATUS_BLOCK::default();
    // SAFETY: the callers pass the structure of that class, of that size.
    #[allow(unsafe_code)]
    let status = unsafe { NtSetInformationFile(handle, &mut done, info, size, class) };
    if status >= 0 { Ok(()) } else { Err(status) }
}

/// The system or the volume is too old for that class.
fn is_unknown(status: NTSTATUS) -> bool {
    matches!(
        status,
        STATUS_INVALID_INFO_CLASS
            | STATUS_NOT_IMPLEMENTED
            | STATUS_NOT_SUPPORTED
            | STATUS_INVALID_PARAMETER
            | STATUS_INVALID_DEVICE_REQUEST
    )
}

fn check(status: NTSTATUS) -> Result<(), Code> {
    if status >= 0 { Ok(()) } else { Err(code(status)) }
}

fn code(status: NTSTATUS) -> Code {
    if status == STATUS_DELETE_PENDING {
        // Which Windows' own table takes for a lack of permission.
        return ERROR_DELETE_PENDING;
    }
    // SAFETY: it takes a number and gives one.
    #[allow(unsafe_code)]
    unsafe {
        RtlNtStatusToDosError(status)
    }
}

/// Of the call before.
pub(super) fn last_error() -> Code {
    code_of(&io::Error::last_os_error())
}

/// Of an error of the standard library.
pub(super) fn code_of(error: &io::Error) -> Code {
    error.raw_os_error().map_or(u32::MAX, i32::cast_unsigned)
}

fn size_of_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or_default()
}
