//! The road once: from an applied EdgeNode to a condition, and from a change to the next.

use serde_json::{Value, json};

use crate::parts::{Agent, Artifacts, World, condition, is};

#[tokio::test]
async fn a_node_becomes_ready_once_its_agent_has_made_the_machine_so() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let machine = &agent.machine;
    world.config_map("press", json!({"press.conf": "line=7\n"})).await;
    world.secret("pin", "Opaque", json!({"pin": "1234"})).await;
    let spec = json!({
        "directories": [{"path": machine.path("data"), "mode": "0750"}],
        "files": [
            {"path": machine.path("etc/press.conf"), "source": {"configMapKeyRef": {"name": "press", "key": "press.conf"}}},
            {"path": machine.path("etc/pin"), "source": {"secretKeyRef": {"name": "pin", "key": "pin"}}},
            {"path": machine.path("etc/motd"), "source": {"inline": "hello\n"}, "mode": "0640"},
        ],
        "services": [machine.service("press")],
    });
    let node = world.node("press-07", spec).await;

    let waiting = node.until_condition("Ready", "False", "AwaitingEnrollment").await;
    assert!(is(&waiting, "Enrolled", "False", "AwaitingEnrollment"), "{:?}", condition(&waiting, "Enrolled"));
    agent.enroll(&node).await;
    let ready = node.until_ready().await;

    let machine = &agent.machine;
    assert_eq!(machine.read("etc/press.conf").as_deref(), Some("line=7\n"));
    assert_eq!(machine.read("etc/pin").as_deref(), Some("1234"));
    assert_eq!(machine.read("etc/motd").as_deref(), Some("hello\n"));
    assert_eq!([machine.mode("data"), machine.mode("etc/pin"), machine.mode("etc/motd")], [0o750, 0o600, 0o640]);
    machine.until_started("press", 1).await;

    for kind in ["Ready", "Enrolled", "Connected", "ConfigApplied", "Healthy"] {
        assert!(is(&ready, kind, "True", ""), "{kind}: {:?}", condition(&ready, kind));
    }
    for kind in ["Reconciling", "Stalled"] {
        assert!(!is(&ready, kind, "True", ""), "{kind}: {:?}", condition(&ready, kind));
    }
    let status = ready.status.unwrap();
    assert_eq!(status.observed_generation, Some(1));
    assert_eq!(status.applied_revision, status.desired_revision);
    assert_eq!(status.applied_revision.unwrap().len(), 16);
    let resources = status.resources.unwrap();
    assert_eq!((resources.total, resources.in_desired_state, resources.failed, resources.drifted), (5, 5, 0, 0));
    assert_eq!(status.failures, []);
    let service = &status.services[0];
    assert_eq!((service.name.as_str(), service.state.as_str(), service.ready), ("press", "Running", true));
    let facts = status.node.unwrap();
    assert_eq!((facts.os.as_str(), facts.agent_version.as_str()), ("linux", env!("CARGO_PKG_VERSION")));
    assert!(!facts.hostname.is_empty() && !facts.os_version.is_empty() && facts.boot_time.is_some(), "{facts:?}");
    assert_eq!(status.session.unwrap().replica, "windlass-0");
}

#[tokio::test]
async fn the_columns_show_a_ready_node() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let node = world.node("press-07", json!({})).await;
    let mut agent = Agent::prepare(&world, "press-07");
    agent.enroll(&node).await;
    let ready = node.until_ready().await;

    let table = world.cluster.kubectl_ok(&["get", "en", "--no-headers", "--namespace", &world.namespace]);
    let columns: Vec<&str> = table.split_whitespace().collect();
    let reason = &condition(&ready, "Ready").unwrap().reason;
    let revision = ready.status.as_ref().unwrap().applied_revision.clone().unwrap();
    assert_eq!(columns[..5], ["press-07", "True", reason, "True", &revision]);
    let name = "edgenode/press-07";
    let wait = ["wait", "--for=condition=Ready", "--timeout=10s", "--namespace", &world.namespace, name];
    world.cluster.kubectl_ok(&wait);
    let text = world.cluster.kubectl_ok(&["describe", "en", "press-07", "--namespace", &world.namespace]);
    assert!(text.contains("Connected") && text.contains("Events:"), "{text}");
}

#[tokio::test]
async fn a_changed_config_map_arrives() {
    let source = json!({"configMapKeyRef": {"name": "press", "key": "text"}});
    changed_object_arrives(source, async |world, text| world.config_map("press", json!({"text": text})).await).await;
}

#[tokio::test]
async fn a_changed_secret_arrives() {
    let source = json!({"secretKeyRef": {"name": "press", "key": "text"}});
    changed_object_arrives(source, async |world, text| world.secret("press", "Opaque", json!({"text": text})).await)
        .await;
}

async fn changed_object_arrives(source: Value, set: impl AsyncFn(&World, &str)) {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    set(&world, "one").await;
    let node = world.node("press-07", json!({"files": [{"path": agent.machine.path("f"), "source": source}]})).await;
    agent.enroll(&node).await;
    let first = node.until_ready().await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("one"));

    set(&world, "two").await;
    let second = node.until_newer(&first).await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("two"));
    assert_eq!(second.metadata.generation, first.metadata.generation, "nobody touched the EdgeNode");
}

#[tokio::test]
async fn a_changed_artifact_arrives() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let store = Artifacts::start();
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = |(url, sha256): (String, String)| json!({"files": [{"path": agent.machine.path("press.bin"), "mode": "0755", "source": {"artifact": {"url": url, "sha256": sha256}}}]});
    let (one, two) = (spec(store.put("one", b"first")), spec(store.put("two", b"second")));
    let node = world.node("press-07", one).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    assert_eq!(agent.machine.read("press.bin").as_deref(), Some("first"));
    assert_eq!(agent.machine.mode("press.bin"), 0o755);

    node.apply(two).await;
    node.until_ready().await;
    assert_eq!(agent.machine.read("press.bin").as_deref(), Some("second"));
}

#[tokio::test]
async fn binary_data_of_a_config_map_arrives_unchanged() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let bytes: Vec<u8> = (0..=255).collect();
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &bytes);
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "icon"}, "binaryData": {"icon": encoded}});
    let apply = ["apply", "--namespace", &world.namespace, "--filename", "-"];
    assert!(world.cluster.kubectl_with_input(&apply, &object.to_string()).status.success());
    let mut agent = Agent::prepare(&world, "press-07");
    let source = json!({"configMapKeyRef": {"name": "icon", "key": "icon"}});
    let node = world.node("press-07", json!({"files": [{"path": agent.machine.path("icon"), "source": source}]})).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    assert_eq!(std::fs::read(agent.machine.path("icon")).unwrap(), bytes);
}

#[tokio::test]
async fn a_change_of_one_object_touches_only_the_nodes_that_use_it() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let (mut one, mut two) = (Agent::prepare(&world, "one"), Agent::prepare(&world, "two"));
    let spec = |agent: &Agent, name: &str| {
        let source = json!({"configMapKeyRef": {"name": name, "key": "text"}});
        json!({"files": [{"path": agent.machine.path("f"), "source": source}]})
    };
    world.config_map("a", json!({"text": "a1"})).await;
    world.config_map("b", json!({"text": "b1"})).await;
    let (first, second) = (world.node("one", spec(&one, "a")).await, world.node("two", spec(&two, "b")).await);
    one.enroll(&first).await;
    two.enroll(&second).await;
    let (before, untouched) = (first.until_ready().await, second.until_ready().await);

    world.config_map("a", json!({"text": "a2"})).await;
    first.until_newer(&before).await;
    assert_eq!(one.machine.read("f").as_deref(), Some("a2"));
    assert_eq!(second.get().await.metadata.resource_version, untouched.metadata.resource_version);
}

#[tokio::test]
async fn names_and_contents_in_unicode_arrive_as_they_are() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let (folder, name, text) = ("Ablage für Öle", "Ablage für Öle/配置 № 7 🙂.txt", "Größe: 七\n— ½ µm 🛠\n");
    let mut service = agent.machine.service("press");
    service["displayName"] = json!("Пресс №7");
    service["env"] = json!([{"name": "GREETING", "value": "grüß dich, 世界"}]);
    let greeting = agent.machine.path("greeting");
    service["command"][2] = json!(format!("printf %s \"$GREETING\" > '{greeting}'; exec sleep 300"));
    let spec = json!({
        "directories": [{"path": agent.machine.path(folder)}],
        "files": [agent.machine.inline(name, text)],
        "services": [service],
    });
    let node = world.node("press-07", spec).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    assert_eq!(agent.machine.read(name).as_deref(), Some(text));
    agent.machine.until_text("greeting", "grüß dich, 世界").await;
}

#[tokio::test]
async fn two_hundred_files_in_one_node_arrive() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let files: Vec<Value> = (0..200)
        .map(|number| agent.machine.inline(&format!("d{}/f{number}", number % 7), &format!("text {number}")))
        .collect();
    let node = world.node("press-07", json!({"files": files})).await;
    agent.enroll(&node).await;
    let ready = node.until_ready().await;
    assert_eq!(ready.status.unwrap().resources.unwrap().in_desired_state, 200);
    for number in 0..200 {
        let name = format!("d{}/f{number}", number % 7);
        assert_eq!(agent.machine.read(&name), Some(format!("text {number}")));
    }
}

#[tokio::test]
async fn a_suspended_node_reports_and_changes_nothing_until_it_is_resumed() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec =
        |suspended: bool, text: &str| json!({"suspended": suspended, "files": [agent.machine.inline("f", text)]});
    let (one, two, resumed) = (spec(false, "one"), spec(true, "two"), spec(false, "two"));
    let node = world.node("press-07", one).await;
    agent.enroll(&node).await;
    node.until_ready().await;

    node.apply(two).await;
    let generation = node.get().await.metadata.generation;
    let suspended = node
        .until("shows that it is suspended", |node| {
            node.status.as_ref().unwrap().observed_generation == generation && is(node, "Ready", "Unknown", "Suspended")
        })
        .await;
    assert!(is(&suspended, "Connected", "True", ""));
    agent
        .until_status("it holds the new revision", |status| {
            status["heldRevision"].as_str() == suspended.status.as_ref().unwrap().desired_revision.as_deref()
        })
        .await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("one"));

    node.apply(resumed).await;
    node.until_ready().await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("two"));
}
