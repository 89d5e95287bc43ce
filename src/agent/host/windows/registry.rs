//! Keys and values of the registry, in the view that their place says. No link of the registry's is followed but
//! those that Windows itself has. Does IO.

use std::{mem::offset_of, ptr::null_mut, sync::Arc};

use tokio::sync::Notify;
use windows_registry::{Key, LOCAL_MACHINE, Type, USERS};
use windows_sys::{
    Wdk::System::Registry::{KeyNameInformation, NtDeleteKey, NtQueryKey},
    Win32::{
        Foundation::{ERROR_FILE_NOT_FOUND, ERROR_INVALID_PARAMETER, ERROR_KEY_DELETED, RtlNtStatusToDosError},
        Storage::FileSystem::DELETE,
        System::Registry::{
            KEY_CREATE_SUB_KEY, KEY_ENUMERATE_SUB_KEYS, KEY_NOTIFY, KEY_QUERY_VALUE, KEY_SET_VALUE, KEY_WOW64_32KEY,
            KEY_WOW64_64KEY, REG_CREATED_NEW_KEY, REG_OPTION_NON_VOLATILE, RegCreateKeyExW,
        },
    },
};

use super::{
    handles::{Code, code_of},
    place::failed,
    strings::wide,
    watch::Watch,
};
use crate::{
    agent::host::{
        HostError, Reason, Removed, ValueState,
        win32::{
            registry_data::{decode, encode},
            registry_key::is_named,
        },
    },
    model::{Hive, RegistryData, RegistryKey, RegistryPlace, View},
};

pub(super) fn observe_value(place: &RegistryPlace) -> Result<ValueState, HostError> {
    let trying = format!("look at {place}");
    let Some(key) = find(&place.holder(), KEY_QUERY_VALUE, &trying)? else { return Ok(ValueState::Absent) };
    match win32(key.get_value(place.name())) {
        Ok(value) => Ok(decode(value.ty().into(), &value)),
        Err(error) if is_nothing(error) => Ok(ValueState::Absent),
        Err(error) => Err(failed(&trying, error)),
    }
}

pub(super) fn observe_key(key: &RegistryKey) -> Result<bool, HostError> {
    find(key, KEY_QUERY_VALUE, &format!("look at {key}")).map(|found| found.is_some())
}

pub(super) fn create_key(key: &RegistryKey) -> Result<(), HostError> {
    let trying = format!("create the key {key}");
    let Some(parent) = key.parent() else {
        return Err(match key.hive() {
            Hive::LocalMachine => failed(&trying, ERROR_INVALID_PARAMETER),
            Hive::Users => {
                let message = format!("{trying}: the registry of that account is loaded only while it is signed in");
                HostError::new(Reason::IoError, message)
            }
        });
    };
    let holder = expect(&parent, KEY_CREATE_SUB_KEY, &trying)?;
    let name = wide(key.key().rsplit('\\').next().unwrap_or_default());
    let (mut made, mut how) = (null_mut(), 0);
    // SAFETY: the key is open, and the name ends with NUL; the call fills in the last two.
    #[allow(unsafe_code)]
    let error = unsafe {
        RegCreateKeyExW(
            holder.as_raw(),
            name.as_ptr(),
            0,
            null_mut(),
            REG_OPTION_NON_VOLATILE,
            KEY_QUERY_VALUE | view(key.view()),
            null_mut(),
            &mut made,
            &mut how,
        )
    };
    if error != 0 {
        return Err(failed(&trying, error));
    }
    // SAFETY: the call succeeded, so the key is open, and nobody else has it.
    #[allow(unsafe_code)]
    drop(unsafe { Key::from_raw(made) });
    if how == REG_CREATED_NEW_KEY {
        return Ok(());
    }
    Err(HostError::new(Reason::WrongKind, format!("{trying}: it is there, expected nothing")))
}

pub(super) fn set_value(place: &RegistryPlace, data: &RegistryData) -> Result<(), HostError> {
    let trying = format!("set {place}");
    let key = expect(&place.holder(), KEY_SET_VALUE, &trying)?;
    let (kind, mut bytes) = encode(data);
    // The address of what is empty has to be one, too.
    bytes.reserve(1);
    win32(key.set_bytes(place.name(), Type::from(kind), &bytes)).map_err(|code| failed(&trying, code))
}

pub(super) fn remove_value(place: &RegistryPlace) -> Result<(), HostError> {
    let trying = format!("remove {place}");
    let Some(key) = find(&place.holder(), KEY_SET_VALUE, &trying)? else { return Ok(()) };
    match win32(key.remove_value(place.name())) {
        Err(error) if !is_nothing(error) => Err(failed(&trying, error)),
        _ => Ok(()),
    }
}

pub(super) fn remove_key(key: &RegistryKey) -> Result<Removed, HostError> {
    let trying = format!("remove the key {key}");
    let access = DELETE | KEY_QUERY_VALUE | KEY_ENUMERATE_SUB_KEYS;
    let Some(found) = find(key, access, &trying)? else { return Ok(Removed::Gone) };
    let mut keys = win32(found.keys()).map_err(|code| failed(&trying, code))?;
    let mut values = win32(found.values()).map_err(|code| failed(&trying, code))?;
    if keys.next().is_some() || values.next().is_some() {
        return Ok(Removed::NotEmpty);
    }
    // SAFETY: the key is open, for deletion too.
    #[allow(unsafe_code)]
    let status = unsafe { NtDeleteKey(found.as_raw()) };
    if status < 0 { Err(failed(&trying, code_of_status(status))) } else { Ok(Removed::Gone) }
}

/// Tells of changes in those of the keys that are there.
pub(super) fn watch(keys: &[RegistryKey], told: Arc<Notify>) -> Option<Watch> {
    let open = |key| find(key, KEY_NOTIFY, "watch").ok().flatten();
    let keys: Vec<Key> = keys.iter().filter_map(open).collect();
    if keys.is_empty() {
        return None;
    }
    let watch = Watch::begin(keys, told);
    watch.inspect_err(|error| tracing::warn!(%error, "changes of the registry are seen by and by only")).ok()
}

/// Opens a key; `None` where there is none.
fn find(key: &RegistryKey, access: u32, trying: &str) -> Result<Option<Key>, HostError> {
    let hive = match key.hive() {
        Hive::LocalMachine => LOCAL_MACHINE,
        Hive::Users => USERS,
    };
    let opened = match win32(hive.options().access(access | view(key.view())).open(key.key())) {
        Ok(opened) => opened,
        Err(error) if is_nothing(error) => return Ok(None),
        Err(error) => return Err(failed(trying, error)),
    };
    let kernel = kernel_name(&opened).map_err(|error| failed(trying, error))?;
    if is_named(key, &kernel) {
        return Ok(Some(opened));
    }
    let message = format!("{trying}: a link leads from {key} to {kernel}, expected a key of its own");
    Err(HostError::new(Reason::LinkInPath, message))
}

fn expect(key: &RegistryKey, access: u32, trying: &str) -> Result<Key, HostError> {
    find(key, access, trying)?
        .ok_or_else(|| HostError::new(Reason::IoError, format!("{trying}: its key {key} is not there")))
}

/// Source: WDK, "KEY_NAME_INFORMATION".
fn kernel_name(key: &Key) -> Result<String, Code> {
    #[repr(C)]
    struct KeyName {
        length: u32,
        name: [u16; 4096],
    }
    let mut said = KeyName { length: 0, name: [0; 4096] };
    let size = u32::try_from(size_of::<KeyName>()).unwrap_or_default();
    let mut written = 0;
    // SAFETY: the key is open; the structure has the size that is given, and outlives the call.
    #[allow(unsafe_code)]
    let status = unsafe { NtQueryKey(key.as_raw(), KeyNameInformation, (&raw mut said).cast(), size, &mut written) };
    if status < 0 {
        return Err(code_of_status(status));
    }
    const { assert!(offset_of!(KeyName, name) == 4) };
    let length = (said.length as usize / 2).min(said.name.len());
    Ok(String::from_utf16_lossy(&said.name[..length]))
}

fn view(view: View) -> u32 {
    match view {
        View::Bits64 => KEY_WOW64_64KEY,
        View::Bits32 => KEY_WOW64_32KEY,
    }
}

fn is_nothing(code: Code) -> bool {
    matches!(code, ERROR_FILE_NOT_FOUND | ERROR_KEY_DELETED)
}

/// The crate hands the Win32 code on within an HRESULT. Source: Win32, "HRESULT_FROM_WIN32 macro".
fn win32<T>(result: windows_registry::Result<T>) -> Result<T, Code> {
    result.map_err(|error| code_of(&error.into()) & 0xffff)
}

fn code_of_status(status: i32) -> Code {
    // SAFETY: it takes a number and gives one.
    #[allow(unsafe_code)]
    unsafe {
        RtlNtStatusToDosError(status)
    }
}

#[cfg(test)]
mod tests {
    use windows_sys::Win32::System::Registry::{
        KEY_ALL_ACCESS, KEY_CREATE_LINK, REG_LINK, REG_OPTION_CREATE_LINK, RegSetValueExW,
    };

    use super::*;

    /// As anyone may make one who may write to the key.
    fn link(base: &Key, name: &str, target: &str) -> Key {
        let (name, mut made) = (wide(name), null_mut());
        // SAFETY: the key is open, and the name ends with NUL; the call fills in the handle.
        #[allow(unsafe_code)]
        let error = unsafe {
            RegCreateKeyExW(
                base.as_raw(),
                name.as_ptr(),
                0,
                null_mut(),
                REG_OPTION_CREATE_LINK,
                KEY_ALL_ACCESS | KEY_CREATE_LINK,
                null_mut(),
                &mut made,
                null_mut(),
            )
        };
        assert_eq!(error, 0);
        let target: Vec<u8> = target.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let value = wide("SymbolicLinkValue");
        // SAFETY: the key is open; the name ends with NUL, and the bytes are as many as is said.
        #[allow(unsafe_code)]
        let (error, made) = unsafe {
            let size = u32::try_from(target.len()).expect("short");
            (RegSetValueExW(made, value.as_ptr(), 0, REG_LINK, target.as_ptr(), size), Key::from_raw(made))
        };
        assert_eq!(error, 0);
        made
    }

    #[test]
    fn a_link_is_not_followed() {
        let name = format!("windlass link {}", std::process::id());
        let base = LOCAL_MACHINE.create(format!(r"SOFTWARE\{name}")).expect("made");
        let target = base.create("target").expect("made");
        target.set_u32("Line", 1).expect("set");
        let made = link(&base, "link", &format!(r"\Registry\Machine\SOFTWARE\{name}\target"));
        assert_eq!(base.open("link").and_then(|key| key.get_u32("Line")), Ok(1), "others are led there");

        let place = |key: &str| {
            RegistryPlace::parse(&format!(r"HKLM\SOFTWARE\{name}\{key}"), "Line", View::Bits64).expect("place")
        };
        assert_eq!(observe_value(&place("target")), Ok(ValueState::Holds(RegistryData::Dword(1))));
        let refused = [
            observe_value(&place("link")).map(drop),
            set_value(&place("link"), &RegistryData::Dword(2)),
            remove_value(&place("link")),
            create_key(&place(r"link\below").holder()),
            remove_key(&place("link").holder()).map(drop),
        ];
        for outcome in refused {
            assert_eq!(outcome.expect_err("refused").reason, Reason::LinkInPath);
        }
        assert_eq!(target.get_u32("Line"), Ok(1));
        // SAFETY: the key is open, for all that there is.
        #[allow(unsafe_code)]
        let status = unsafe { NtDeleteKey(made.as_raw()) };
        assert_eq!(status, 0);
        LOCAL_MACHINE.remove_tree(format!(r"SOFTWARE\{name}")).expect("removed");
    }

    #[tokio::test]
    async fn a_change_is_told_until_nobody_listens() {
        let name = format!("windlass watch {}", std::process::id());
        let base = LOCAL_MACHINE.create(format!(r"SOFTWARE\{name}")).expect("made");
        let key = |below: &str| {
            RegistryPlace::parse(&format!(r"HKLM\SOFTWARE\{name}{below}"), "", View::Bits64).expect("place").holder()
        };
        let told = Arc::new(Notify::new());
        for round in 0..3 {
            let kept = watch(&[key(r"\none"), key("")], told.clone()).expect("watched");
            base.set_u32("Line", round).expect("set");
            tokio::time::timeout(std::time::Duration::from_secs(30), told.notified()).await.expect("told");
            drop(kept);
        }
        assert!(watch(&[key(r"\none")], told.clone()).is_none());
        base.set_u32("Line", 9).expect("set");
        assert_eq!(Arc::strong_count(&told), 1);
        LOCAL_MACHINE.remove_tree(format!(r"SOFTWARE\{name}")).expect("removed");
    }
}
