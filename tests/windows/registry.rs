//! Values of the registry: every kind, drift, prune.

use std::fs;

use serde_json::json;

use crate::{
    machine::Machine,
    parts::{World, until},
};

const KEY: &str = r"HKLM\SOFTWARE\Acme\Press";

#[tokio::test]
async fn values_of_every_kind_are_written_kept_and_removed() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let values = json!({"registryValues": [
        {"key": KEY, "name": "Line", "dword": 7},
        {"key": KEY, "name": "Big", "qword": 5_000_000_000_i64},
        {"key": KEY, "name": "Name", "string": "Größe 日本"},
        {"key": KEY, "name": "Path", "expandString": "%A%"},
        {"key": KEY, "name": "Several", "multiString": ["a", "b"]},
        {"key": KEY, "name": "Raw", "binary": "AQID"},
        {"key": r"HKLM\SOFTWARE\Acme\Press", "name": "Narrow", "view": "Registry32", "dword": 32},
    ]});
    let node = world.node("press-07", values).await;
    machine.enroll(&node).await;
    let ready = node.until_ready().await;
    let exported = exported(&machine, KEY);
    for held in [
        r#""Line"=dword:00000007"#,
        r#""Big"=hex(b):00,f2,05,2a,01,00,00,00"#,
        r#""Name"="Größe 日本""#,
        r#""Path"=hex(2):25,00,41,00,25,00,00,00"#,
        r#""Several"=hex(7):61,00,00,00,62,00,00,00,00,00"#,
        r#""Raw"=hex:01,02,03"#,
    ] {
        assert!(exported.lines().any(|line| line == held), "{held} in {exported}");
    }
    let held = |name: &str| machine.registry(KEY, name);
    assert_eq!(machine.registry(r"HKLM\SOFTWARE\Wow6432Node\Acme\Press", "Narrow").as_deref(), Some("0x20"));

    let set = machine.run(&["reg", "add", KEY, "/v", "Line", "/t", "REG_DWORD", "/d", "8", "/f"]);
    assert!(set.status.success(), "{set:?}");
    until("the drift is put back", || (held("Line")? == "0x7").then_some(())).await;

    machine.run(&["reg", "add", r"HKLM\SOFTWARE\Acme", "/v", "Theirs", "/d", "x", "/f"]);
    node.apply(json!({})).await;
    node.until_newer(&ready).await;
    assert_eq!(held("Line"), None);
    assert_eq!(machine.registry(r"HKLM\SOFTWARE\Acme", "Theirs").as_deref(), Some("x"), "a key that holds more stays");
}

/// What `reg export` writes: all types, and every letter.
fn exported(machine: &Machine, key: &str) -> String {
    const FILE: &str = r"C:\exported.reg";
    let done = machine.run(&["reg", "export", key, FILE, "/y"]);
    assert!(done.status.success(), "{done:?}");
    let bytes = fs::read(machine.outside(FILE)).expect("exported");
    let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    String::from_utf16_lossy(&units)
}
