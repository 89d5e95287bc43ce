//! Values of the registry: every kind, drift, prune.

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
        {"key": KEY, "name": "Path", "expandString": r"%SystemRoot%\x"},
        {"key": KEY, "name": "Several", "multiString": ["a", "b"]},
        {"key": KEY, "name": "Raw", "binary": "AQID"},
        {"key": r"HKLM\SOFTWARE\Acme\Press", "name": "Narrow", "view": "Registry32", "dword": 32},
    ]});
    let node = world.node("press-07", values).await;
    machine.enroll(&node).await;
    let ready = node.until_ready().await;
    let held = |name: &str| machine.registry(KEY, name);
    assert_eq!(held("Line").as_deref(), Some("0x7"));
    assert_eq!(held("Big").as_deref(), Some("0x12a05f200"));
    assert_eq!(held("Name").as_deref(), Some("Größe 日本"));
    assert_eq!(held("Path").as_deref(), Some(r"%SystemRoot%\x"));
    assert_eq!(held("Several").as_deref(), Some(r"a\0b"));
    assert_eq!(held("Raw").as_deref(), Some("010203"));
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
