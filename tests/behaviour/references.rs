//! ConfigMaps and Secrets that are absent, forbidden or lack a key, and specs that only the operator can judge.

use serde_json::json;

use crate::parts::{Agent, World, condition, is};

#[tokio::test]
async fn an_absent_config_map_is_awaited_for_a_while_then_a_person_is_asked_and_its_coming_heals() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let source = json!({"configMapKeyRef": {"name": "late", "key": "text"}});
    let node = world.node("press-07", json!({"files": [{"path": agent.machine.path("f"), "source": source}]})).await;
    agent.enroll(&node).await;

    let early = node.until_condition("Reconciling", "True", "ReferenceNotFound").await;
    assert!(!is(&early, "Stalled", "True", ""), "{:?}", condition(&early, "Stalled"));
    let stalled = node.until_condition("Stalled", "True", "ReferenceNotFound").await;
    let message = &condition(&stalled, "Stalled").unwrap().message;
    assert!(message.contains("ConfigMap") && message.contains("late"), "{message}");
    assert!(!is(&stalled, "Reconciling", "True", ""));

    world.config_map("late", json!({"text": "here"})).await;
    let ready = node.until_ready().await;
    assert!(!is(&ready, "Stalled", "True", ""));
    assert_eq!(agent.machine.read("f").as_deref(), Some("here"));
}

#[tokio::test]
async fn a_key_that_a_config_map_lacks_is_named_and_its_coming_heals() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    world.config_map("press", json!({"other": "x"})).await;
    let source = json!({"configMapKeyRef": {"name": "press", "key": "wanted"}});
    let node = world.node("press-07", json!({"files": [{"path": agent.machine.path("f"), "source": source}]})).await;
    agent.enroll(&node).await;
    let stalled = node.until_condition("Stalled", "True", "").await;
    let message = &condition(&stalled, "Stalled").unwrap().message;
    assert!(message.contains("press") && message.contains("wanted"), "{message}");

    world.config_map("press", json!({"other": "x", "wanted": "y"})).await;
    node.until_ready().await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("y"));
}

#[tokio::test]
async fn secrets_of_refused_types_are_not_delivered() {
    let world = World::new().await;
    let _operator = world.operator().await;
    for (name, kind, extra) in [
        ("release", "helm.sh/release.v1", json!({"release": "x"})),
        ("own", "edge.windlass.dev/authority", json!({"release": "x"})),
    ] {
        world.secret(name, kind, extra).await;
        let source = json!({"secretKeyRef": {"name": name, "key": "release"}});
        let node = world.node(name, json!({"files": [{"path": "/tmp/windlass-never", "source": source}]})).await;
        let stalled = node.until_condition("Stalled", "True", "SecretNotAllowed").await;
        let message = &condition(&stalled, "Stalled").unwrap().message;
        assert!(message.contains(name) && message.contains(kind), "{message}");
    }
}

#[tokio::test]
async fn the_enrollment_of_another_node_is_not_delivered() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let victim = world.node("victim", json!({})).await;
    victim.enrollment().await;
    let source = json!({"secretKeyRef": {"name": "victim-enrollment", "key": "enrollment.yaml"}});
    let thief = world.node("thief", json!({"files": [{"path": "/tmp/windlass-never", "source": source}]})).await;
    thief.until_condition("Stalled", "True", "SecretNotAllowed").await;
}

#[tokio::test]
async fn a_spec_that_makes_no_sense_is_refused_with_the_field_and_the_last_good_one_stays_in_force() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let machine = &agent.machine;
    let good = json!({"files": [machine.inline("f", "good")]});
    let service = |name: &str, more: serde_json::Value| {
        let mut service = machine.service(name);
        service.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        service
    };
    let cycle =
        json!({"services": [service("a", json!({"dependsOn": ["b"]})), service("b", json!({"dependsOn": ["a"]}))]});
    let stranger = json!({"services": [service("a", json!({"restartOnChange": [{"file": machine.path("nobody")}]}))]});
    let dots = json!({"files": [machine.inline("x/../f", "bad")]});
    let node = world.node("press-07", good.clone()).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    let dot_path = agent.machine.path("x/../f");
    for (bad, words) in
        [(cycle, ["dependsOn", "a"]), (stranger, ["restartOnChange", "nobody"]), (dots, ["files", dot_path.as_str()])]
    {
        node.apply(bad).await;
        let stalled = node.until_condition("Stalled", "True", "").await;
        let message = &condition(&stalled, "Stalled").unwrap().message;
        assert!(words.iter().all(|word| message.contains(word)), "{message} is expected to name {words:?}");
        assert!(!is(&stalled, "Ready", "True", ""), "{:?}", condition(&stalled, "Ready"));
    }
    agent.machine.write("f", "drifted");
    agent.machine.until_text("f", "good").await;

    node.apply(good).await;
    let ready = node.until_ready().await;
    assert!(!is(&ready, "Stalled", "True", ""));
}

#[tokio::test]
async fn paths_that_differ_by_case_alone_are_one_file_on_windows() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let file = |path: &str| json!({"path": path, "source": {"inline": "x"}});
    let node = world.node("press-08", json!({"files": [file("C:\\Acme\\a.txt"), file("c:\\ACME\\A.TXT")]})).await;
    let stalled = node.until_condition("Stalled", "True", "").await;
    let message = &condition(&stalled, "Stalled").unwrap().message;
    assert!(message.contains("files[1]") || message.contains("A.TXT"), "{message}");
}
