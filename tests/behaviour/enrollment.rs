//! Who may be which node: tokens, keys, authorities and names, and what is said to those who may not.

use std::fs;

use serde_json::{Value, json};

use crate::parts::{Agent, Link, Operator, World, is, until};

/// The value of a line `key: value` of an enrollment.
fn value<'a>(enrollment: &'a str, key: &str) -> &'a str {
    let line = enrollment.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("the enrollment has a line {key}")).trim().trim_matches(['"', '\''])
}

#[tokio::test]
async fn an_enrollment_that_was_used_is_refused_to_another_machine() {
    let world = World::new().await;
    let operator = world.operator().await;
    let (mut agent, mut thief) = (Agent::prepare(&world, "press-07"), Agent::prepare(&world, "thief"));
    let node = world.node("press-07", json!({})).await;
    let enrollment = node.enrollment().await;
    agent.enroll_with(&enrollment);
    node.until_ready().await;
    thief.enroll_with(&enrollment);
    refused(&operator, &thief, "TokenUsed").await;
    assert!(is(&node.get().await, "Connected", "True", ""));
}

async fn refused(operator: &Operator, agent: &Agent, words: &str) {
    for (who, log) in [
        ("the agent", Box::new(|| agent.log()) as Box<dyn Fn() -> String>),
        ("the operator", Box::new(|| operator.log())),
    ] {
        until(&format!("{who} logs why it is refused: {words:?}"), || {
            log().lines().any(|line| line.contains("refused") && line.contains(words)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_token_that_was_never_given_is_refused() {
    let world = World::new().await;
    let operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({})).await;
    let enrollment = node.enrollment().await;
    let token = value(&enrollment, "token").to_owned();
    let other: String = token.chars().rev().collect();
    agent.enroll_with(&enrollment.replace(&token, &other));
    refused(&operator, &agent, "UnknownToken").await;
    assert!(is(&node.get().await, "Enrolled", "False", ""));
}

#[tokio::test]
async fn the_token_of_another_node_is_refused() {
    let world = World::new().await;
    let operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let mine = world.node("press-07", json!({})).await.enrollment().await;
    let other = world.node("press-08", json!({})).await;
    let other_token = other.enrollment().await;
    agent.enroll_with(&mine.replace(value(&mine, "token"), value(&other_token, "token")));
    refused(&operator, &agent, "UnknownToken").await;
    assert!(is(&other.get().await, "Enrolled", "False", ""));
}

#[tokio::test]
async fn an_operator_of_another_authority_is_not_believed() {
    let world = World::new().await;
    let operator = world.operator().await;
    let chart = format!("{}/charts/windlass", env!("CARGO_MANIFEST_DIR"));
    let namespace = world.namespace.clone();
    let watch = format!("watch.namespaces={{{namespace}}}");
    world.cluster.helm(&[
        "install",
        "second",
        &chart,
        "--namespace",
        &namespace,
        "--set",
        "tunnel.url=wss://127.0.0.1:1",
        "--set",
        "replicas=0",
        "--set",
        "crds.install=false",
        "--set",
        &watch,
    ]);
    let node = world.node("press-07", json!({})).await;
    let enrollment = node.enrollment().await;
    drop(operator);
    // The same address, another authority: the agent must see it before it shows its token.
    let second = Operator::of_release(&world, &namespace, "second-windlass", &[]).await;
    let link = Link::to(second.tunnel);
    let url = value(&enrollment, "url").to_owned();
    let mut agent = Agent::prepare(&world, "press-07");
    agent.enroll_with(&link.lead(&enrollment, &url));
    agent.until_log("invalid peer certificate").await;
    until("the operator logs the refusal", || second.log().contains("UnknownCA").then_some(())).await;
    assert!(!is(&node.get().await, "Enrolled", "True", ""));
}

#[tokio::test]
async fn a_release_limited_to_one_namespace_serves_it() {
    let world = World::new().await;
    let chart = format!("{}/charts/windlass", env!("CARGO_MANIFEST_DIR"));
    let watch = format!("watch.namespaces={{{}}}", world.namespace);
    world.cluster.helm(&[
        "install",
        "narrow",
        &chart,
        "--namespace",
        &world.namespace,
        "--set",
        "tunnel.url=wss://127.0.0.1:1",
        "--set",
        "replicas=0",
        "--set",
        "crds.install=false",
        "--set",
        &watch,
    ]);
    let _operator = Operator::of_release(&world, &world.namespace, "narrow-windlass", &[]).await;
    let mut agent = Agent::prepare(&world, "press-07");
    world.config_map("press", json!({"text": "x"})).await;
    let source = json!({"configMapKeyRef": {"name": "press", "key": "text"}});
    let spec = json!({"deletionPolicy": "Cleanup", "files": [{"path": agent.machine.path("f"), "source": source}]});
    let node = world.node("press-07", spec).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    node.delete().await;
    node.until_gone().await;
}

/// Makes the agent's folder what it is after a crash between its request and the operator's answer.
fn forget_the_answer(agent: &Agent) {
    let identity = agent.state().join("identity");
    let node: Value = serde_json::from_str(&fs::read_to_string(identity.join("node.json")).unwrap()).unwrap();
    fs::create_dir_all(identity.join("next")).unwrap();
    fs::rename(identity.join("key.pem"), identity.join("next/key.pem")).unwrap();
    fs::write(identity.join("next/token.sha256"), node["tokenSha256"].as_str().unwrap()).unwrap();
    fs::remove_file(identity.join("certificate.pem")).unwrap();
    fs::remove_file(identity.join("node.json")).unwrap();
}

#[tokio::test]
async fn a_token_may_be_shown_again_by_the_key_that_showed_it_until_its_certificate_connects_and_by_no_other() {
    let world = World::new().await;
    let operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let (mut agent, mut thief) = (Agent::prepare(&world, "press-07"), Agent::prepare(&world, "thief"));
    let node = world.node("press-07", json!({})).await;
    let enrollment = node.enrollment().await;
    link.allow_only(1); // to enroll, but not to connect with what came of it
    agent.enroll_with(&link.lead(&enrollment, &operator.url()));
    agent.until_log("enrolled").await;
    agent.kill();
    forget_the_answer(&agent);
    assert!(is(&node.get().await, "Enrolled", "False", ""));

    thief.enroll_with(&enrollment);
    refused(&operator, &thief, "TokenBound").await;
    link.mend();
    agent.start();
    node.until_ready().await;
}

#[tokio::test]
async fn the_key_is_for_the_agent_alone() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({})).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    let mode = |name: &str| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(agent.state().join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!([mode(""), mode("identity/key.pem"), mode("agent.sock")], [0o700, 0o600, 0o600]);
    let token = value(&node.enrollment().await, "token").to_owned();
    assert!(!agent.log().contains(&token), "the token is in the agent's log");
}

#[tokio::test]
async fn a_secret_of_a_person_in_the_enrollments_place_is_left_alone_and_told() {
    let world = World::new().await;
    let _operator = world.operator().await;
    world.secret("press-07-enrollment", "Opaque", json!({"mine": "precious"})).await;
    let node = world.node("press-07", json!({})).await;
    node.until_condition("Enrolled", "False", "EnrollmentSecretConflict").await;
    let namespace = world.namespace.as_str();
    let path = "jsonpath={.data}";
    let data =
        world.cluster.kubectl_ok(&["get", "secret", "press-07-enrollment", "--namespace", namespace, "--output", path]);
    assert!(data.contains("mine") && !data.contains("enrollment.yaml"), "{data}");
}
