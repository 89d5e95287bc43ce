//! Services when something of theirs changes: a file that they name, or who manages them.

use std::fs;

use serde_json::{Value, json};

use crate::{
    machine::{Machine, given, inline},
    parts::{Artifacts, World, until},
    services::{assert_in_order, entry, order, ready, service, status, times},
};

#[tokio::test]
async fn a_changed_file_restarts_the_service_that_names_it_and_a_running_program_is_stopped_to_be_replaced() {
    const CONFIGURATION: &str = r"C:\Acme\line.txt";
    const PROGRAM: &str = r"C:\Acme\press.exe";
    let world = World::new().await;
    let _operator = world.operator().await;
    let store = Artifacts::start();
    let mut machine = Machine::new(&world, "press-07");
    let program = fs::read(given("WINDLASS_WINDOWS_DIST").join("windlass-test-service.exe")).unwrap();
    let spec = |line: &str, version: &[u8]| {
        // What follows the last section of a program does not matter to it.
        let (url, sha256) = store.put("press.exe", &[program.as_slice(), version].concat());
        let names = json!({"restartOnChange": [{"file": CONFIGURATION}]});
        let press = entry(PROGRAM, "service", "press", names, &["--show", CONFIGURATION]);
        json!({
            "files": [
                inline(CONFIGURATION, line),
                {"path": PROGRAM, "source": {"artifact": {"url": url, "sha256": sha256}}},
            ],
            "services": [press, service("other", json!({}), &[])],
        })
    };
    let node = ready(&world, &mut machine, spec("line 7", b"1")).await;
    let before = node.get().await;
    node.apply(spec("line 8", b"1")).await;
    let changed = node.until_newer(&before).await;
    assert_in_order(&machine, &["press running line 7", "press stopped", "press running line 8"]);

    node.apply(spec("line 8", b"2")).await;
    let replaced = node.until_newer(&changed).await;
    assert_eq!(fs::read(machine.outside(PROGRAM)).unwrap().last(), Some(&b'2'));
    assert_in_order(&machine, &["press running line 8", "press stopping", "press stopped", "press running line 8"]);
    assert_eq!(times(&machine, "press stopped"), 2);
    assert_eq!(times(&machine, "other running"), 1);
    assert_eq!(status(&replaced, "press").unwrap().restarts, 0, "a change is no crash");
}

#[tokio::test]
async fn a_service_that_was_there_before_is_taken_up_and_stays_with_its_configuration() {
    const KEY: &str = r"HKLM\SYSTEM\CurrentControlSet\Services\press";
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let before = r"C:\windlass-test-service.exe service press --log C:\order.txt --start-takes-milliseconds 1";
    machine.run(&["sc", "create", "press", "binPath=", before, "start=", "auto", "DisplayName=", "Theirs"]);
    machine.run(&["sc", "start", "press"]);
    until("it runs", || (times(&machine, "press running") == 1).then_some(())).await;

    let more = json!({"displayName": "Ours", "startMode": "Manual", "env": [{"name": "LINE", "value": "seven"}]});
    let node = ready(&world, &mut machine, json!({"services": [service("press", more, &[])]})).await;
    assert_eq!(times(&machine, "press running"), 2, "with another command: {:?}", order(&machine));
    let configured = |machine: &Machine| {
        let held = ["DisplayName", "Start", "Environment"].map(|name| machine.registry(KEY, name).unwrap_or_default());
        let command = machine.registry(KEY, "ImagePath").unwrap_or_default();
        assert!(command.ends_with(r"press --log C:\order.txt"), "{command}");
        assert_eq!(held, ["Ours", "0x3", r"LINE=seven"]);
    };
    configured(&machine);

    let adopted = node.get().await;
    node.apply(json!({})).await;
    node.until_newer(&adopted).await;
    configured(&machine);
    assert_eq!(machine.service_state("press").as_deref(), Some("RUNNING"));
    assert_eq!((times(&machine, "press running"), times(&machine, "press stopped")), (2, 1));
}
