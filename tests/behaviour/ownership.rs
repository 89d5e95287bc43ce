//! What the agent removes, and what it leaves: it owns what it created and no more.

use serde_json::json;

use crate::parts::{Agent, Node, World, until};

async fn ready(world: &World, agent: &mut Agent, spec: serde_json::Value) -> Node {
    let node = world.node("press-07", spec).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    node
}

#[tokio::test]
async fn what_the_agent_created_goes_with_its_entry() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let keep = agent.machine.inline("keep", "x");
    let spec = json!({
        "directories": [{"path": agent.machine.path("d")}],
        "files": [keep, agent.machine.inline("d/f", "y")],
        "services": [agent.machine.service("press")],
    });
    let node = ready(&world, &mut agent, spec).await;
    agent.machine.until_started("press", 1).await;
    let pid = agent.machine.pids("press")[0];

    node.apply(json!({"files": [keep]})).await;
    let after = node.until_ready().await;
    assert!(!agent.machine.exists("d/f") && !agent.machine.exists("d"));
    assert_eq!(agent.machine.read("keep").as_deref(), Some("x"));
    until("the service is gone", || (!crate::parts::is_alive(pid)).then_some(())).await;
    node.until("shows no service", |node| node.status.as_ref().unwrap().services.is_empty()).await;
    assert_eq!(after.status.unwrap().resources.unwrap().total, 1);
}

#[tokio::test]
async fn what_was_there_before_is_adopted_and_stays_when_its_entry_goes() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    agent.machine.write("mine", "by a person");
    agent.machine.write("folder/by-a-person", "");
    let spec = json!({
        "directories": [{"path": agent.machine.path("folder")}],
        "files": [agent.machine.inline("mine", "by windlass")],
    });
    let node = ready(&world, &mut agent, spec).await;
    assert_eq!(agent.machine.read("mine").as_deref(), Some("by windlass"));

    node.apply(json!({})).await;
    node.until_ready().await;
    assert_eq!(agent.machine.read("mine").as_deref(), Some("by windlass"));
    assert!(agent.machine.exists("folder/by-a-person"));
}

#[tokio::test]
async fn a_directory_that_somebody_put_something_in_stays_when_its_entry_goes() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = json!({"directories": [{"path": agent.machine.path("d")}]});
    let node = ready(&world, &mut agent, spec).await;
    agent.machine.write("d/by-a-person", "");
    node.apply(json!({})).await;
    node.until_ready().await;
    assert!(agent.machine.exists("d/by-a-person"));
}

#[tokio::test]
async fn ownership_survives_a_kill_of_the_agent() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    agent.machine.write("adopted", "by a person");
    let files = json!([agent.machine.inline("adopted", "x"), agent.machine.inline("created", "y")]);
    let node = ready(&world, &mut agent, json!({"files": files})).await;
    agent.kill();
    node.apply(json!({})).await;
    agent.start();
    node.until_ready().await;
    assert!(agent.machine.exists("adopted") && !agent.machine.exists("created"));
}

#[tokio::test]
async fn a_damaged_store_is_told_and_nothing_is_pruned_on_its_word() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let both = json!({"files": [agent.machine.inline("f", "x"), agent.machine.inline("g", "y")]});
    let one = json!({"files": [agent.machine.inline("f", "x")]});
    let node = ready(&world, &mut agent, both).await;
    agent.kill();
    let store = agent.state().join("agent.redb");
    let length = std::fs::metadata(&store).unwrap().len() as usize;
    std::fs::write(&store, vec![0xA5; length]).unwrap();
    node.apply(one).await;
    agent.start();
    agent.until_log("StoreDamaged").await;
    let generation = node.get().await.metadata.generation;
    node.until("answers the new spec", |node| {
        let status = node.status.as_ref().unwrap();
        status.observed_generation == generation && status.applied_revision == status.desired_revision
    })
    .await;
    assert_eq!(agent.machine.read("g").as_deref(), Some("y"), "nothing is pruned that may not be ours");
}
