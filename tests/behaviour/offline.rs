//! Nodes without a link: what is said of them, what they do by themselves, and how they catch up.

use serde_json::json;

use crate::parts::{Agent, Link, World, condition, is, is_alive, signal, until};
use rustix::process::Signal;

#[tokio::test]
async fn an_offline_node_is_unknown_and_not_failed() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({"services": [agent.machine.service("press")]})).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    agent.kill();
    let offline = node.until_condition("Connected", "False", "").await;
    assert!(is(&offline, "Ready", "Unknown", "NodeOffline"), "{:?}", condition(&offline, "Ready"));
    assert!(is(&offline, "Healthy", "Unknown", ""), "{:?}", condition(&offline, "Healthy"));
    assert!(is(&offline, "ConfigApplied", "True", ""), "{:?}", condition(&offline, "ConfigApplied"));
    assert!(is(&offline, "Enrolled", "True", ""));
    assert!(!is(&offline, "Stalled", "True", ""));
}

#[tokio::test]
async fn a_node_changed_while_it_is_offline_catches_up_when_it_returns() {
    let world = World::new().await;
    let operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = |text: &str| json!({"files": [agent.machine.inline("f", text)]});
    let (one, two, three) = (spec("one"), spec("two"), spec("three"));
    let node = world.node("press-07", one).await;
    agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
    node.until_ready().await;
    link.cut();
    node.until_condition("Connected", "False", "").await;
    node.apply(two).await;
    node.apply(three).await;
    let behind = node.until_condition("ConfigApplied", "False", "").await;
    assert!(is(&behind, "Ready", "Unknown", "NodeOffline"), "{:?}", condition(&behind, "Ready"));
    assert_eq!(agent.machine.read("f").as_deref(), Some("one"));
    link.mend();
    node.until_ready().await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("three"));
}

#[tokio::test]
async fn without_a_link_the_agent_keeps_the_machine_as_it_should_be() {
    let world = World::new().await;
    let operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let mut agent = Agent::prepare(&world, "press-07");
    let mut press = agent.machine.service("press");
    press["recovery"] = json!({"actions": [{"restart": {"delaySeconds": 0}}]});
    let node = world.node("press-07", json!({"files": [agent.machine.inline("f", "x")], "services": [press]})).await;
    agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
    node.until_ready().await;
    let pid = agent.machine.until_started("press", 1).await;
    link.cut();
    agent.machine.write("f", "wrong");
    agent.machine.until_text("f", "x").await;
    signal(pid, Signal::KILL);
    agent.machine.until_started("press", 2).await;
}

#[tokio::test]
async fn a_machine_that_boots_offline_brings_everything_up_from_the_agents_store() {
    let world = World::new().await;
    let operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let mut agent = Agent::prepare(&world, "press-07");
    world.secret("pin", "Opaque", json!({"pin": "1234"})).await;
    let source = json!({"secretKeyRef": {"name": "pin", "key": "pin"}});
    let spec = json!({
        "files": [agent.machine.inline("f", "x"), {"path": agent.machine.path("pin"), "source": source}],
        "services": [agent.machine.service("press")],
    });
    let node = world.node("press-07", spec).await;
    agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
    node.until_ready().await;
    let pid = agent.machine.until_started("press", 1).await;
    agent.kill();
    link.cut();
    signal(pid, Signal::KILL);
    until("it is gone", || (!is_alive(pid)).then_some(())).await;
    agent.machine.remove("f");
    agent.machine.remove("pin");
    std::fs::remove_file(agent.enrollment()).unwrap();

    agent.start();
    agent.machine.until_text("f", "x").await;
    agent.machine.until_text("pin", "1234").await;
    agent.machine.until_started("press", 2).await;
    agent.until_disconnected().await;
    link.mend();
    node.until_ready().await;
}
