//! What becomes of the machine when its EdgeNode is deleted.

use serde_json::json;

use crate::parts::{Agent, Link, World, is_alive, until};

const FINALIZER: &str = "edge.windlass.dev/cleanup";

#[tokio::test]
async fn orphan_deletes_at_once_and_leaves_the_machine_as_it_is() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = json!({"files": [agent.machine.inline("f", "x")], "services": [agent.machine.service("press")]});
    let node = world.node("press-07", spec).await;
    agent.enroll(&node).await;
    let ready = node.until_ready().await;
    assert_eq!(ready.metadata.finalizers, None);
    let pid = agent.machine.until_started("press", 1).await;

    node.delete().await;
    node.until_gone().await;
    agent.until_released().await;
    agent.machine.write("f", "mine again");
    agent.until_log("released").await;
    assert!(is_alive(pid));
    agent.kill();
    agent.start();
    agent.until_released().await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("mine again"), "nothing is enforced any more");
    assert_eq!(agent.machine.pids("press").len(), 1);
}

#[tokio::test]
async fn a_node_orphaned_while_it_is_offline_is_released_when_it_returns() {
    let world = World::new().await;
    let operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({"files": [agent.machine.inline("f", "x")]})).await;
    agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
    node.until_ready().await;
    link.cut();
    node.until_condition("Connected", "False", "").await;
    node.delete().await;
    node.until_gone().await;
    agent.machine.write("f", "wrong");
    agent.machine.until_text("f", "x").await;
    link.mend();
    agent.until_released().await;
    assert!(agent.machine.exists("f"));
}

#[tokio::test]
async fn cleanup_removes_what_the_agent_created_and_then_the_node_is_gone() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    agent.machine.write("adopted", "by a person");
    let spec = json!({
        "deletionPolicy": "Cleanup",
        "directories": [{"path": agent.machine.path("d")}],
        "files": [agent.machine.inline("d/f", "x"), agent.machine.inline("adopted", "y")],
        "services": [agent.machine.service("press")],
    });
    let node = world.node("press-07", spec).await;
    agent.enroll(&node).await;
    let ready = node.until_ready().await;
    assert_eq!(ready.metadata.finalizers.as_deref(), Some(&[FINALIZER.to_owned()][..]));
    let pid = agent.machine.until_started("press", 1).await;

    node.delete().await;
    node.until_gone().await;
    assert!(!agent.machine.exists("d") && agent.machine.exists("adopted"));
    until("the service is gone", || (!is_alive(pid)).then_some(())).await;
    agent.until_released().await;
}

#[tokio::test]
async fn the_finalizer_is_there_only_while_the_policy_is_cleanup() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let node = world.node("press-07", json!({"deletionPolicy": "Cleanup"})).await;
    node.until("has the finalizer", |node| node.metadata.finalizers.iter().flatten().any(|name| name == FINALIZER))
        .await;
    node.apply(json!({"deletionPolicy": "Orphan"})).await;
    node.until("has no finalizer", |node| node.metadata.finalizers.iter().flatten().next().is_none()).await;
}

#[tokio::test]
async fn an_offline_node_holds_its_deletion_no_longer_than_the_timeout() {
    let world = World::new().await;
    let _operator = world.operator_with(&["--cleanup-timeout-seconds", "3"]).await;
    let mut agent = Agent::prepare(&world, "press-07");
    let node =
        world.node("press-07", json!({"deletionPolicy": "Cleanup", "files": [agent.machine.inline("f", "x")]})).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    agent.kill();
    node.delete().await;
    let deleting = node.get().await;
    assert!(deleting.metadata.deletion_timestamp.is_some(), "the node waits for its clean-up");
    node.until_gone().await;
    assert!(agent.machine.exists("f"));
}

#[tokio::test]
async fn an_offline_node_that_returns_in_time_is_cleaned_up() {
    let world = World::new().await;
    let operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let mut agent = Agent::prepare(&world, "press-07");
    let node =
        world.node("press-07", json!({"deletionPolicy": "Cleanup", "files": [agent.machine.inline("f", "x")]})).await;
    agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
    node.until_ready().await;
    link.cut();
    node.until_condition("Connected", "False", "").await;
    node.delete().await;
    assert!(agent.machine.exists("f"));
    link.mend();
    node.until_gone().await;
    assert!(!agent.machine.exists("f"));
}

#[tokio::test]
async fn a_node_of_the_same_name_is_another_node() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut old = Agent::prepare(&world, "old");
    let spec = json!({"files": [old.machine.inline("f", "x")]});
    let node = world.node("press-07", spec).await;
    old.enroll(&node).await;
    node.until_ready().await;
    node.delete().await;
    node.until_gone().await;
    old.until_released().await;

    let mut new = Agent::prepare(&world, "new");
    let again = world.node("press-07", json!({"files": [new.machine.inline("f", "y")]})).await;
    new.enroll(&again).await;
    again.until_ready().await;
    assert_eq!(new.machine.read("f").as_deref(), Some("y"));
    assert_eq!(old.machine.read("f").as_deref(), Some("x"));
}
