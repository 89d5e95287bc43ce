//! What is asked of the running parts from beside: health, metrics, the agent's own status.

use serde_json::json;

use crate::parts::{Agent, World};

#[tokio::test]
async fn the_operator_answers_livez_readyz_and_metrics() {
    let world = World::new().await;
    let operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({})).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    assert_eq!(operator.get("/livez").await.0, 200);
    assert_eq!(operator.get("/readyz").await.0, 200);
    assert_eq!(operator.get("/nothing").await.0, 404);
    let (status, text) = operator.get("/metrics").await;
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "OpenMetrics ends so:\n{text}");
    assert!(
        text.lines().any(|line| line.starts_with("windlass_") && line.contains("session") && line.ends_with(" 1")),
        "{text}"
    );
    assert!(!text.contains("press-07"), "no label names a node");
}

#[tokio::test]
async fn the_agents_status_says_how_it_is() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    agent.machine.write("taken/inside", "");
    let good = json!({"files": [agent.machine.inline("f", "x")], "services": [agent.machine.service("press")]});
    let bad = json!({"files": [agent.machine.inline("taken", "x")]});
    let node = world.node("press-07", good).await;
    agent.enroll(&node).await;
    let ready = node.until_ready().await;
    let revision = ready.status.unwrap().applied_revision.unwrap();

    let output = agent.status(&[]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(&revision) && text.contains("press"), "{text}");
    let status = agent.until_status("its revision", |status| status["appliedRevision"] == revision.as_str()).await;
    assert_eq!(status["services"][0]["name"], "press", "{status}");

    node.apply(bad).await;
    node.until_condition("ConfigApplied", "False", "ResourcesFailed").await;
    assert_eq!(agent.status(&[]).status.code(), Some(1));
    agent.kill();
    let output = agent.status(&[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(!output.stderr.is_empty());
}

#[tokio::test]
async fn a_second_agent_on_the_same_state_is_refused() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({})).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_windlass-agent"))
        .args(["run", "--state-dir"])
        .arg(agent.state())
        .output()
        .unwrap();
    assert!(!second.status.success());
    let text = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(text.contains("another") || text.contains("lock") || text.contains("running"), "{text}");
}
