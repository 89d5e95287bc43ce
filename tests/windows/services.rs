//! Services through the Service Control Manager: order, readiness, pause, crash, change, prune, adoption.

use serde_json::{Value, json};
use windlass::api::{EdgeNode, ServiceStatus};

use crate::{
    machine::{Machine, free_port, inline},
    parts::{Node, World, until},
};

const ORDER: &str = r"C:\order.txt";

/// A real service of the SCM that writes what happens to it into one file with the others.
pub fn service(name: &str, more: Value, arguments: &[&str]) -> Value {
    let mut command = vec![r"C:\windlass-test-service.exe", "service", name, "--log", ORDER];
    command.extend(arguments);
    let mut entry = json!({"name": name, "command": command, "account": "LocalSystem", "stopTimeoutSeconds": 10});
    for (key, value) in more.as_object().expect("an object") {
        entry[key] = value.clone();
    }
    entry
}

/// Lines of the file that the services write.
pub fn order(machine: &Machine) -> Vec<String> {
    machine.read(ORDER).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn status<'n>(node: &'n EdgeNode, name: &str) -> Option<&'n ServiceStatus> {
    node.status.as_ref()?.services.iter().find(|service| service.name == name)
}

async fn until_line(machine: &Machine, line: &str) {
    until(&format!("the services say {line:?}"), || order(machine).iter().any(|said| said == line).then_some(())).await;
}

async fn ready(world: &World, machine: &mut Machine, spec: Value) -> Node {
    let node = world.node("press-07", spec).await;
    machine.enroll(&node).await;
    node.until_ready().await;
    node
}

#[tokio::test]
async fn three_services_start_when_the_one_before_is_ready_and_stop_in_reverse() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let port = free_port();
    let probe = json!({"readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1}});
    let slow = ["--port", &port.to_string(), "--ready-after-milliseconds", "1500"];
    let services = [
        service("app", json!({"dependsOn": ["server"]}), &[]),
        service("server", json!({"dependsOn": ["db"]}), &["--start-takes-milliseconds", "500"]),
        service("db", probe, &slow),
    ];
    let node = ready(&world, &mut machine, json!({"services": services})).await;
    let said = order(&machine);
    let at = |line: &str| said.iter().position(|said| said == line).unwrap_or_else(|| panic!("{line}: {said:?}"));
    assert!(at("db running") < at("db ready"), "{said:?}");
    assert!(at("db ready") < at("server starting"), "not merely running: {said:?}");
    assert!(at("server running") < at("app running"), "{said:?}");
    for name in ["db", "server", "app"] {
        assert_eq!(machine.service_state(name).as_deref(), Some("RUNNING"), "{name}");
    }

    let before = node.get().await;
    node.apply(json!({})).await;
    node.until_newer(&before).await;
    let said = order(&machine);
    let at = |line: &str| said.iter().position(|said| said == line).unwrap_or_else(|| panic!("{line}: {said:?}"));
    assert!(at("app stopped") < at("server stopping"), "{said:?}");
    assert!(at("server stopped") < at("db stopping"), "{said:?}");
    for name in ["db", "server", "app"] {
        assert_eq!(machine.service_state(name), None, "{name} is gone from the SCM");
    }
}

#[tokio::test]
async fn a_service_is_paused_and_continued() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let node = ready(&world, &mut machine, json!({"services": [service("press", json!({}), &[])]})).await;
    let before = node.get().await;
    node.apply(json!({"services": [service("press", json!({"state": "Paused"}), &[])]})).await;
    let paused = node.until_newer(&before).await;
    assert_eq!(status(&paused, "press").unwrap().state, "Paused");
    assert_eq!(machine.service_state("press").as_deref(), Some("PAUSED"));
    node.apply(json!({"services": [service("press", json!({}), &[])]})).await;
    node.until_newer(&paused).await;
    assert_eq!(order(&machine), ["press running", "press ready", "press paused", "press continued"]);
}

#[tokio::test]
async fn a_crash_is_seen_counted_and_followed_by_a_restart() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let port = free_port();
    let spec = json!({"services": [
        service("press", json!({"recovery": {"actions": [{"restart": {"delaySeconds": 1}}]}}), &["--port", &port.to_string()]),
        service("other", json!({}), &[]),
    ]});
    let node = ready(&world, &mut machine, spec).await;
    until_line(&machine, "press ready").await;
    let _ = reqwest::get(format!("http://127.0.0.1:{port}/crash")).await;
    until_line(&machine, "press crashes").await;
    let again = node
        .until("has press running again", |node| {
            status(node, "press").is_some_and(|press| press.restarts == 1 && press.ready)
        })
        .await;
    assert_eq!(status(&again, "other").unwrap().restarts, 0);
    assert_eq!(order(&machine).iter().filter(|line| *line == "press running").count(), 2);
    assert_eq!(machine.service_state("press").as_deref(), Some("RUNNING"));
}

#[tokio::test]
async fn a_changed_file_restarts_the_service_that_names_it() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let file = r"C:\Acme\line.txt";
    let spec = |text: &str| {
        let press = service("press", json!({"restartOnChange": [{"file": file}]}), &["--show", file]);
        json!({"files": [inline(file, text)], "services": [press, service("other", json!({}), &[])]})
    };
    let node = ready(&world, &mut machine, spec("line 7")).await;
    let before = node.get().await;
    node.apply(spec("line 8")).await;
    let after = node.until_newer(&before).await;
    let said = order(&machine);
    assert!(said.contains(&"press running line 7".to_owned()), "{said:?}");
    assert!(said.contains(&"press running line 8".to_owned()), "{said:?}");
    assert_eq!(said.iter().filter(|line| line.starts_with("other running")).count(), 1, "{said:?}");
    assert_eq!(status(&after, "press").unwrap().restarts, 0, "a change is no crash");
}

#[tokio::test]
async fn services_outlive_the_agent_and_come_back_after_a_reboot_without_a_network() {
    let world = World::new().await;
    let mut operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let spec = json!({"services": [service("db", json!({}), &[]), service("app", json!({"dependsOn": ["db"]}), &[])]});
    let node = ready(&world, &mut machine, spec).await;
    machine.kill();
    machine.start();
    machine.until_status("it is connected", |status| status["link"]["state"] == "Connected").await;
    node.until_ready().await;
    assert_eq!(order(&machine).iter().filter(|line| line.ends_with("running")).count(), 2, "none was started twice");

    operator.kill();
    machine.reboot();
    machine.start();
    until("both run again", || {
        (order(&machine).iter().filter(|line| line.ends_with("running")).count() == 4).then_some(())
    })
    .await;
    let said = order(&machine);
    assert_eq!(said.iter().rfind(|line| line.ends_with("running")).unwrap(), "app running", "{said:?}");
    operator.start_again().await;
    node.until_ready().await;
}
