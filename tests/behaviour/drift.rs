//! What somebody else changes on the machine: put back, or only told.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;
use windlass::api::EdgeNode;

use crate::parts::{Agent, World, is, until};

fn drifted(node: &EdgeNode) -> i32 {
    node.status.as_ref().and_then(|status| status.resources.as_ref()).map_or(0, |counts| counts.drifted)
}

#[tokio::test]
async fn a_changed_a_removed_and_a_reopened_file_are_put_back() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world
        .node(
            "press-07",
            json!({
                "directories": [{"path": agent.machine.path("d")}],
                "files": [agent.machine.inline("f", "right")],
            }),
        )
        .await;
    agent.enroll(&node).await;
    node.until_ready().await;

    agent.machine.write("f", "wrong");
    agent.machine.until_text("f", "right").await;
    agent.machine.remove("f");
    agent.machine.until_text("f", "right").await;
    fs::set_permissions(agent.machine.path("f"), fs::Permissions::from_mode(0o777)).unwrap();
    until("the mode is back", || (agent.machine.mode("f") == 0o644).then_some(())).await;
    fs::remove_dir(agent.machine.path("d")).unwrap();
    until("the directory is back", || agent.machine.exists("d").then_some(())).await;
}

#[tokio::test]
async fn under_audit_drift_is_told_and_left_until_somebody_puts_it_back() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({"drift": "Audit", "files": [agent.machine.inline("f", "right")]})).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("right"), "the first time is no drift");

    agent.machine.write("f", "wrong");
    let seen = node.until("tells the drift", |node| drifted(node) == 1).await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("wrong"));
    assert_eq!(seen.status.unwrap().resources.unwrap().in_desired_state, 0);

    agent.machine.write("f", "right");
    node.until("tells no drift", |node| drifted(node) == 0).await;
}

#[tokio::test]
async fn a_new_revision_is_applied_also_under_audit() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = |text: &str| json!({"drift": "Audit", "files": [agent.machine.inline("f", text)]});
    let (one, two) = (spec("one"), spec("two"));
    let node = world.node("press-07", one).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    node.apply(two).await;
    node.until_ready().await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("two"));
}

#[tokio::test]
async fn an_entry_may_override_the_nodes_drift_policy() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let mut enforced = agent.machine.inline("enforced", "right");
    enforced["drift"] = json!("Enforce");
    let node = world
        .node("press-07", json!({"drift": "Audit", "files": [enforced, agent.machine.inline("audited", "right")]}))
        .await;
    agent.enroll(&node).await;
    node.until_ready().await;
    agent.machine.write("audited", "wrong");
    agent.machine.write("enforced", "wrong");
    agent.machine.until_text("enforced", "right").await;
    let seen = node.until("tells the drift", |node| drifted(node) == 1).await;
    assert_eq!(agent.machine.read("audited").as_deref(), Some("wrong"));
    assert!(is(&seen, "Connected", "True", ""));
}
