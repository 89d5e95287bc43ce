//! Whom a machine believes: its store is held against it, and keys that rotate while it is away lead it on.

use std::fs;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};
use windlass::{
    agent::store::{DiskStore, KeptDocument, Store as _},
    wire::desired,
};

use crate::parts::{Agent, Link, Operator, World, condition, is_alive, until};

/// What the agent, which does not run, would put in force.
fn kept(agent: &Agent) -> KeptDocument {
    DiskStore::open(agent.state()).expect("the agent's store").desired().expect("readable").expect("a document")
}

fn keep(agent: &Agent, document: &KeptDocument) {
    let store = DiskStore::open(agent.state()).expect("the agent's store");
    store.set_desired(Some(document)).expect("written");
}

#[tokio::test]
async fn a_stored_document_that_is_altered_or_another_nodes_is_not_put_in_force_and_is_fetched_anew() {
    let world = World::new().await;
    let operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = json!({"files": [agent.machine.inline("f", "x")], "services": [agent.machine.service("press")]});
    let node = world.node("press-07", spec).await;
    agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
    let mut other = Agent::prepare(&world, "press-08");
    let theirs = world.node("press-08", json!({"files": [other.machine.inline("g", "y")]})).await;
    other.enroll(&theirs).await;
    node.until_ready().await;
    theirs.until_ready().await;
    let pid = agent.machine.until_started("press", 1).await;
    agent.kill();
    other.kill();
    link.cut();

    let genuine = kept(&agent);
    let mut emptied = desired::decode(&genuine.bytes).expect("a document");
    emptied.files.clear();
    emptied.services.clear();
    let emptied = KeptDocument { bytes: desired::encode(&emptied), ..genuine.clone() };
    let unsigned = KeptDocument { voucher: None, ..emptied.clone() };
    other.machine.remove("g");
    for (reason, document) in [("WrongDigest", &emptied), ("Unsigned", &unsigned), ("NotForThisNode", &kept(&other))] {
        keep(&agent, document);
        agent.start();
        agent.until_status("it is not in force", |status| status["heldRevision"] == Value::Null).await;
        agent.until_disconnected().await;
        let log = agent.log();
        let refusal = log.lines().rfind(|line| line.contains("the stored document is not put in force"));
        assert!(refusal.is_some_and(|line| line.contains(reason)), "{reason}: {refusal:?}");
        agent.kill();
        assert_eq!(agent.machine.read("f").as_deref(), Some("x"), "{reason}: nothing is removed");
        assert!(is_alive(pid), "{reason}: what runs goes on");
        assert_eq!(other.machine.read("g"), None, "{reason}: nothing of another node is done");
    }

    agent.start();
    link.mend();
    let is_applied =
        |status: &Value| status["heldRevision"] != Value::Null && status["appliedRevision"] == status["heldRevision"];
    agent.until_status("it is in force again", is_applied).await;
    agent.kill();
    assert_eq!(kept(&agent).bytes, genuine.bytes);
    assert!(is_alive(pid), "the same process all along");
}

/// An operator with a Secret of signing keys that no other test uses.
async fn operator_of_its_own(world: &World, flags: &[&str]) -> Operator {
    let chart = format!("{}/charts/windlass", env!("CARGO_MANIFEST_DIR"));
    let watch = format!("watch.namespaces={{{}}}", world.namespace);
    let set = ["tunnel.url=wss://127.0.0.1:1", "replicas=0", "crds.install=false", &watch];
    let mut arguments = vec!["install", "own", &chart, "--namespace", &world.namespace];
    set.iter().for_each(|value| arguments.extend(["--set", value]));
    world.cluster.helm(&arguments);
    Operator::of_release(world, &world.namespace, "own-windlass", flags).await
}

/// Serial of the trust bundle that the agent has.
fn serial(agent: &Agent) -> u64 {
    let trust = fs::read(agent.state().join("identity/trust.json")).expect("trust.json");
    serde_json::from_slice::<Value>(&trust).expect("JSON")["serial"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_node_that_was_away_while_signing_keys_rotated_follows_them_and_so_does_one_that_stays() {
    let world = World::new().await;
    let flags = ["--signing-key-rotation-seconds", "1", "--signing-key-overlap-seconds", "1"];
    let operator = operator_of_its_own(&world, &flags).await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = |text: &str| json!({"files": [agent.machine.inline("f", text)]});
    let (one, two, three) = (spec("one"), spec("two"), spec("three"));
    let node = world.node("press-07", one).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    agent.kill();
    let before = serial(&agent);
    let later = format!("serial={} ", before + 4);
    until("the keys rotate", || operator.log().contains(&later).then_some(())).await;
    node.apply(two).await;
    agent.start();
    agent.machine.until_text("f", "two").await;
    assert!(serial(&agent) >= before + 4, "{} {before}", serial(&agent));

    let later = format!("serial={} ", serial(&agent) + 4);
    until("they rotate again", || operator.log().contains(&later).then_some(())).await;
    node.apply(three).await;
    agent.machine.until_text("f", "three").await;
    node.until_ready().await;
    assert!(!agent.log().contains("is refused"), "no document and no bundle");
}

#[tokio::test]
async fn an_operator_that_lost_its_signing_keys_is_not_believed_until_a_machine_is_enrolled_anew() {
    let world = World::new().await;
    let mut operator = operator_of_its_own(&world, &[]).await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = |text: &str| json!({"files": [agent.machine.inline("f", text)]});
    let (one, two) = (spec("one"), spec("two"));
    let node = world.node("press-07", one).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    operator.kill();
    secrets.delete("own-windlass-signing-keys", &DeleteParams::default()).await.expect("deleted");
    operator.start_again().await;
    node.apply(two).await;
    let refused = node.until_condition("Stalled", "True", "UntrustedDocument").await;
    let message = &condition(&refused, "Ready").expect("told").message;
    assert!(message.starts_with("UnknownKey: "), "{message}");
    assert_eq!(agent.machine.read("f").as_deref(), Some("one"));

    let old = node.enrollment().await;
    secrets.delete("press-07-enrollment", &DeleteParams::default()).await.expect("deleted");
    let mut new = old.clone();
    while new == old {
        new = node.enrollment().await;
    }
    agent.kill();
    agent.enroll_with(&new);
    node.until_ready().await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("two"));
}
