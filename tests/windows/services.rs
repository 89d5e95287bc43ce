//! Services through the Service Control Manager: order, readiness, pause, crash, life beyond the agent.

use serde_json::{Value, json};
use windlass::api::{EdgeNode, ServiceStatus};

use crate::{
    machine::Machine,
    parts::{Artifacts, Node, World, until},
};

const ORDER: &str = r"C:\order.txt";

/// A real service of the SCM that writes what happens to it into one file with the others.
pub fn service(name: &str, more: Value, arguments: &[&str]) -> Value {
    entry(r"C:\windlass-test-service.exe", "service", name, more, arguments)
}

/// A copy of the test program as a service, or, in the role `program`, as one that is none.
pub fn entry(program: &str, role: &str, name: &str, more: Value, arguments: &[&str]) -> Value {
    let command = [&[program, role, name, "--log", ORDER], arguments].concat();
    let mut entry = json!({"name": name, "command": command, "account": "LocalSystem", "stopTimeoutSeconds": 10});
    entry.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    entry
}

/// What the services said, in that order: lines of the file that they write.
pub fn order(machine: &Machine) -> Vec<String> {
    machine.read(ORDER).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// How often a line was said.
pub fn times(machine: &Machine, line: &str) -> usize {
    order(machine).iter().filter(|said| *said == line).count()
}

/// Asserts that these lines were said one after the other, whatever was said between them.
pub fn assert_in_order(machine: &Machine, lines: &[&str]) {
    let said = order(machine);
    let mut rest = said.iter();
    for line in lines {
        assert!(rest.any(|said| said == line), "{line:?} in its place of {lines:?}: {said:?}");
    }
}

pub fn status<'n>(node: &'n EdgeNode, name: &str) -> Option<&'n ServiceStatus> {
    node.status.as_ref()?.services.iter().find(|service| service.name == name)
}

/// Enrolls the machine as a node and waits until it is as the spec says.
pub async fn ready(world: &World, machine: &mut Machine, spec: Value) -> Node {
    let node = world.node("press-07", spec).await;
    machine.enroll(&node).await;
    node.until_ready().await;
    node
}

#[tokio::test]
async fn services_start_when_the_one_before_is_ready_and_stop_in_reverse() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let health = Artifacts::start();
    let mut machine = Machine::new(&world, "press-07");
    let probe = json!({"readinessProbe": {"httpGet": {"port": health.port(), "path": "/db"}, "periodSeconds": 1}});
    let services = [
        service("app", json!({"dependsOn": ["server"]}), &[]),
        service("server", json!({"dependsOn": ["db"]}), &["--start-takes-milliseconds", "500"]),
        service("db", probe, &[]),
    ];
    let node = world.node("press-07", json!({"services": services})).await;
    machine.enroll(&node).await;
    node.until("shows db as it runs and is not ready", |node| {
        status(node, "db").is_some_and(|db| db.state == "Starting" && !db.ready)
            && status(node, "server").is_some_and(|server| server.state == "Waiting")
    })
    .await;
    until("db runs", || (times(&machine, "db running") == 1).then_some(())).await;
    assert!(order(&machine).iter().all(|line| line.starts_with("db ")), "{:?}", order(&machine));
    health.put("db", b"ok");
    let ready = node.until_ready().await;
    assert_in_order(&machine, &["db running", "server starting", "server running", "app running"]);
    for name in ["db", "server", "app"] {
        assert_eq!(machine.service_state(name).as_deref(), Some("RUNNING"), "{name}");
    }

    node.apply(json!({})).await;
    node.until_newer(&ready).await;
    assert_in_order(&machine, &["app stopped", "server stopping", "server stopped", "db stopping", "db stopped"]);
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
    assert_eq!(times(&machine, "press running"), 1);
    assert_in_order(&machine, &["press paused", "press continued"]);
}

#[tokio::test]
async fn a_crash_is_seen_counted_and_followed_by_a_restart() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let quick = json!({"recovery": {"actions": [{"restart": {"delaySeconds": 1}}]}});
    let spec = json!({"services": [service("press", quick, &[]), service("other", json!({}), &[])]});
    let node = ready(&world, &mut machine, spec).await;
    machine.crash("service press");
    let again = node
        .until("has press running again", |node| {
            status(node, "press").is_some_and(|press| press.restarts == 1 && press.ready)
        })
        .await;
    assert_eq!(status(&again, "other").unwrap().restarts, 0);
    assert_eq!((times(&machine, "press running"), times(&machine, "other running")), (2, 1));
    assert_eq!(machine.service_state("press").as_deref(), Some("RUNNING"));
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
    assert_eq!((times(&machine, "db running"), times(&machine, "app running")), (1, 1), "none was started twice");

    operator.kill();
    machine.reboot();
    machine.start();
    until("both run again", || (times(&machine, "app running") == 2).then_some(())).await;
    assert_in_order(&machine, &["db running", "app running", "db running", "app running"]);
    operator.start_again().await;
    node.until_ready().await;
}
