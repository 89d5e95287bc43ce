//! The machine as it describes itself: system calls and values of the registry. Does IO.

use std::ptr::null_mut;

use windows_registry::{Key, LOCAL_MACHINE};
use windows_sys::Win32::{
    Storage::FileSystem::{GetDiskFreeSpaceExW, GetDriveTypeW, GetLogicalDrives},
    System::{
        SystemInformation::{
            ComputerNamePhysicalDnsHostname, GetComputerNameExW, GlobalMemoryStatusEx, MEMORYSTATUSEX,
        },
        Time::{DYNAMIC_TIME_ZONE_INFORMATION, GetDynamicTimeZoneInformation, TIME_ZONE_ID_INVALID},
    },
};

use super::{domain, process, strings::wide};
use crate::{
    agent::host::win32::versions::{build, os_version},
    model::{Disk, NodeFacts},
};

/// Source: Win32, GetDriveType.
const DRIVE_FIXED: u32 = 3;

pub(super) fn read() -> NodeFacts {
    let version = LOCAL_MACHINE.open(r"SOFTWARE\Microsoft\Windows NT\CurrentVersion").ok();
    let text = |name: &str| version.as_ref().and_then(|key: &Key| key.get_string(name).ok()).unwrap_or_default();
    let number = text("CurrentBuildNumber");
    NodeFacts {
        os: std::env::consts::OS.to_owned(),
        os_version: os_version(&text("ProductName"), &text("DisplayVersion"), &number),
        architecture: architecture(std::env::consts::ARCH).to_owned(),
        hostname: hostname(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_time: boot_time(),
        edition: text("EditionID"),
        build: build(&number, version.as_ref().and_then(|key| key.get_u32("UBR").ok())),
        domain: domain::name().unwrap_or_default(),
        memory_bytes: memory_bytes(),
        disks: disks(),
        time_zone: time_zone(),
    }
}

fn architecture(rust: &'static str) -> &'static str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

fn hostname() -> String {
    let mut text = [0u16; 256];
    let mut length = 256;
    // SAFETY: the buffer has the size that is given, and both outlive the call.
    #[allow(unsafe_code)]
    let done = unsafe { GetComputerNameExW(ComputerNamePhysicalDnsHostname, text.as_mut_ptr(), &mut length) };
    if done == 0 {
        return std::env::var("COMPUTERNAME").unwrap_or_default();
    }
    String::from_utf16_lossy(&text[..(length as usize).min(text.len())])
}

/// The same until the machine starts anew, whatever is done to its clock: it would be a change of the status.
fn boot_time() -> u64 {
    /// Between 1601 and 1970, in seconds.
    const EPOCH: u64 = 11_644_473_600;
    let booted = process::boot_id().ok().and_then(|id| id.parse::<u64>().ok());
    booted.map_or(0, |booted| (booted / 10_000_000).saturating_sub(EPOCH))
}

fn memory_bytes() -> u64 {
    let length = u32::try_from(size_of::<MEMORYSTATUSEX>()).unwrap_or_default();
    let mut status = MEMORYSTATUSEX { dwLength: length, ..MEMORYSTATUSEX::default() };
    // SAFETY: the structure says its size, and outlives the call.
    #[allow(unsafe_code)]
    let done = unsafe { GlobalMemoryStatusEx(&mut status) };
    if done == 0 { 0 } else { status.ullTotalPhys }
}

fn disks() -> Vec<Disk> {
    // SAFETY: it takes nothing.
    #[allow(unsafe_code)]
    let drives = unsafe { GetLogicalDrives() };
    ('A'..='Z').enumerate().filter(|(bit, _)| drives & (1 << bit) != 0).filter_map(|(_, letter)| disk(letter)).collect()
}

/// `None` where it can be taken out, is another machine's, or tells no size.
fn disk(letter: char) -> Option<Disk> {
    let root = wide(format!("{letter}:\\"));
    let mut bytes = 0;
    // SAFETY: the root ends with NUL; it and the number outlive the calls, and what is null is not asked for.
    #[allow(unsafe_code)]
    let done = unsafe {
        GetDriveTypeW(root.as_ptr()) == DRIVE_FIXED
            && GetDiskFreeSpaceExW(root.as_ptr(), null_mut(), &mut bytes, null_mut()) != 0
    };
    done.then(|| Disk { name: format!("{letter}:"), bytes })
}

/// By the name that is the same in every language.
fn time_zone() -> String {
    let mut zone = DYNAMIC_TIME_ZONE_INFORMATION::default();
    // SAFETY: the structure outlives the call.
    #[allow(unsafe_code)]
    let id = unsafe { GetDynamicTimeZoneInformation(&mut zone) };
    if id == TIME_ZONE_ID_INVALID {
        return String::new();
    }
    let length = zone.TimeZoneKeyName.iter().position(|unit| *unit == 0).unwrap_or(zone.TimeZoneKeyName.len());
    String::from_utf16_lossy(&zone.TimeZoneKeyName[..length])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_what_the_machine_says() {
        let facts = read();
        assert!(facts.os_version.contains("Windows") && !facts.build.is_empty(), "{facts:?}");
        assert!(!facts.hostname.is_empty() && facts.boot_time > 1_600_000_000 && facts.memory_bytes > 0, "{facts:?}");
        assert!(facts.disks.iter().any(|disk| disk.name == "C:" && disk.bytes > 0), "{facts:?}");
        assert_eq!(read(), facts, "what moves by itself has no place here");
    }
}
