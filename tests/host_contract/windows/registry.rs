//! The registry of a Windows machine: views, types, links.

use std::{
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use windlass::{
    agent::host::{Host, ValueState, windows::WindowsHost},
    model::{RegistryData, RegistryPlace, View},
};

use crate::registry::Ground;

/// This machine, and an empty key on it.
pub fn ground(view: View) -> Ground {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let base = format!(r"HKLM\SOFTWARE\windlass contract {} {count}", std::process::id());
    let ground = Ground { host: Box::new(WindowsHost::new(Path::new(r"C:\windlass"))), base, view };
    ground.host.create_key(&ground.key("")).expect("made");
    ground
}

impl Drop for Ground {
    fn drop(&mut self) {
        let view = if self.view == View::Bits64 { "/reg:64" } else { "/reg:32" };
        let _ = Command::new("reg").args(["delete", &self.base, "/f", view]).output();
    }
}

#[test]
fn each_view_has_values_of_its_own_and_programs_see_them_there() {
    let (wide, narrow) = (ground(View::Bits64), ground(View::Bits32));
    let in_narrow = RegistryPlace::parse(&wide.base, "Line", View::Bits32).expect("place");
    wide.host.set_value(&wide.place("", "Line"), &RegistryData::Dword(64)).expect("set");
    assert_eq!(wide.host.observe_value(&in_narrow), Ok(ValueState::Absent));
    narrow.host.set_value(&narrow.place("", "Line"), &RegistryData::Dword(32)).expect("set");
    let queried = |key: &str| {
        let said = Command::new("reg").args(["query", key, "/v", "Line"]).output().expect("reg");
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    assert!(queried(&wide.base).contains("0x40"));
    let by_path = narrow.base.replace(r"HKLM\SOFTWARE", r"HKLM\SOFTWARE\Wow6432Node");
    assert!(queried(&by_path).contains("0x20"), "{}", queried(&by_path));
}

#[test]
fn a_value_of_another_type_is_told_apart() {
    let ground = ground(View::Bits64);
    let made =
        Command::new("reg").args(["add", &ground.base, "/v", "None", "/t", "REG_NONE", "/d", "ab", "/f"]).output();
    assert!(made.expect("reg").status.success());
    let seen = ground.host.observe_value(&ground.place("", "None"));
    assert!(matches!(seen, Ok(ValueState::Other { kind: 0, .. })), "{seen:?}");
}

#[test]
fn the_control_set_in_use_is_no_foreign_link() {
    let place = RegistryPlace::parse(
        r"HKLM\SYSTEM\CurrentControlSet\Control\ComputerName\ComputerName",
        "ComputerName",
        View::Bits64,
    )
    .expect("place");
    let seen = WindowsHost::new(Path::new(r"C:\windlass")).observe_value(&place);
    assert!(matches!(seen, Ok(ValueState::Holds(RegistryData::String(_)))), "{seen:?}");
}
