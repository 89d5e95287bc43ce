//! The road from `kubectl apply` to a condition, and what happens without a link.

use serde_json::json;

use crate::{
    machine::{Machine, inline},
    parts::{World, condition},
};

#[tokio::test]
async fn a_windows_machine_becomes_ready_and_tells_what_it_is() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let spec = json!({
        "directories": [{"path": r"C:\ProgramData\Acme"}],
        "files": [inline(r"C:\Acme\Größe\日本.txt", "Grüß Gott\r\n")],
    });
    let node = world.node("press-07", spec).await;
    machine.enroll(&node).await;
    let ready = node.until_ready().await;
    assert_eq!(machine.read(r"C:\Acme\Größe\日本.txt").as_deref(), Some("Grüß Gott\r\n"));
    assert!(machine.exists(r"C:\ProgramData\Acme"));
    let facts = ready.status.clone().unwrap().node.unwrap();
    assert_eq!(facts.os, "windows");
    assert!(condition(&ready, "Healthy").is_some());
    machine.until_status("it is connected", |status| status["link"]["state"] == "Connected").await;
}

#[tokio::test]
async fn drift_is_put_back_without_a_link_and_after_a_reboot() {
    let world = World::new().await;
    let mut operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let path = r"C:\Acme\press.yaml";
    let node = world.node("press-07", json!({"files": [inline(path, "line: 7\n")]})).await;
    machine.enroll(&node).await;
    node.until_ready().await;

    operator.kill();
    machine.write(path, "line: 8\n");
    crate::parts::until("the drift is put back", || (machine.read(path)? == "line: 7\n").then_some(())).await;
    machine.reboot();
    machine.write(path, "line: 9\n");
    machine.start();
    crate::parts::until("the drift is put back", || (machine.read(path)? == "line: 7\n").then_some(())).await;

    operator.start_again().await;
    node.until_ready().await;
}

#[tokio::test]
async fn what_the_agent_made_goes_with_its_entry_and_what_it_found_stays() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    machine.write(r"C:\Acme\Found.txt", "theirs");
    let both = [inline(r"C:\Acme\made.txt", "ours"), inline(r"C:\ACME\found.txt", "ours")];
    let node = world.node("press-07", json!({"files": both})).await;
    machine.enroll(&node).await;
    let ready = node.until_ready().await;
    assert_eq!(machine.read(r"C:\Acme\Found.txt").as_deref(), Some("ours"), "one file, whatever the case");

    node.apply(json!({})).await;
    node.until_newer(&ready).await;
    assert!(!machine.exists(r"C:\Acme\made.txt"));
    assert_eq!(machine.read(r"C:\Acme\Found.txt").as_deref(), Some("ours"));
}

#[tokio::test]
async fn an_agent_killed_at_any_step_of_a_change_leaves_the_old_or_the_new() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let spec = |text: &str| json!({"files": [inline(r"C:\Acme\a.txt", text), inline(r"C:\Acme\b.txt", text)]});
    let node = world.node("press-07", spec("old 0")).await;
    machine.enroll(&node).await;
    node.until_ready().await;
    let mut old = "old 0".to_owned();
    for step in 1..=6 {
        machine.kill();
        machine.set_environment("WINDLASS_TEST_CRASH_AT", Some(&step.to_string()));
        machine.start();
        let new = format!("new {step}");
        node.apply(spec(&new)).await;
        machine.agent_ended().await;
        for path in [r"C:\Acme\a.txt", r"C:\Acme\b.txt"] {
            let text = machine.read(path).unwrap();
            assert!(text == old || text == new, "step {step}: {path} holds {text:?}");
        }
        machine.set_environment("WINDLASS_TEST_CRASH_AT", None);
        machine.start();
        node.until("is ready with the change", |node| {
            crate::parts::is(node, "Ready", "True", "")
                && machine.read(r"C:\Acme\b.txt").as_deref() == Some(new.as_str())
        })
        .await;
        old = new;
    }
}
