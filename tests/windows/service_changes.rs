//! Services when something of theirs changes: a file that they name, or who manages them.

use std::fs;

use serde_json::{Value, json};

use crate::{
    machine::{Machine, given, inline},
    parts::{Artifacts, World, until},
    services::{assert_in_order, entry, ready, service, status, times},
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
async fn services_that_were_there_before_are_taken_up_and_stay_with_their_configuration() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    for (name, slow) in [("same", ""), ("other", " --start-takes-milliseconds 1")] {
        let command = format!(r"C:\windlass-test-service.exe service {name} --log C:\order.txt{slow}");
        let display_name = format!("Their {name}");
        machine.run(&["sc", "create", name, "binPath=", &command, "start=", "auto", "DisplayName=", &display_name]);
        machine.run(&["sc", "start", name]);
    }
    until("both run", || (times(&machine, "same running") + times(&machine, "other running") == 2).then_some(())).await;

    let env = json!([{"name": "LINE", "value": "seven"}]);
    let services = [
        service("same", json!({"displayName": "Our same", "startMode": "Manual"}), &[]),
        service("other", json!({"displayName": "Our other", "startMode": "Manual", "env": env}), &[]),
    ];
    let node = ready(&world, &mut machine, json!({"services": services})).await;
    let adopted = node.get().await;
    let kept = |machine: &Machine, name: &str| {
        let key = format!(r"HKLM\SYSTEM\CurrentControlSet\Services\{name}");
        ["DisplayName", "Start", "Environment", "ImagePath"].map(|of| machine.registry(&key, of).unwrap_or_default())
    };
    let expected = |name: &str, environment: &str| {
        let command = format!(r"C:\windlass-test-service.exe service {name} --log C:\order.txt");
        [format!("Our {name}"), "0x3".to_owned(), environment.to_owned(), command]
    };
    assert_eq!(kept(&machine, "same"), expected("same", ""));
    assert_eq!(kept(&machine, "other"), expected("other", "LINE=seven"));

    node.apply(json!({})).await;
    node.until_newer(&adopted).await;
    assert_eq!(kept(&machine, "same"), expected("same", ""));
    assert_eq!(kept(&machine, "other"), expected("other", "LINE=seven"));
    for name in ["same", "other"] {
        assert_eq!(machine.service_state(name).as_deref(), Some("RUNNING"), "{name}");
    }
    assert_eq!(times(&machine, "same running"), 1, "it ran as its entry says");
    assert_eq!((times(&machine, "other stopped"), times(&machine, "other running")), (1, 2));
}
