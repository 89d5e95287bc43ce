//! Services through the Service Control Manager.

use serde_json::{Value, json};
use windlass::api::{EdgeNode, ServiceStatus};

use crate::{
    machine::Machine,
    parts::{Node, World},
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

async fn ready(world: &World, machine: &mut Machine, spec: Value) -> Node {
    let node = world.node("press-07", spec).await;
    machine.enroll(&node).await;
    node.until_ready().await;
    node
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
    let said = order(&machine);
    assert_eq!(said.iter().filter(|line| *line == "press running").count(), 1, "{said:?}");
    assert_eq!(said[said.len() - 2..], ["press paused", "press continued"]);
}
