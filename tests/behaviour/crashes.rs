//! kill -9 of the agent at every step of an apply, of the operator during a push, and faults of the API server.

use serde_json::json;

use crate::parts::{Agent, Link, World, is, text_of, until};

/// The agent ends itself at the n-th journal step of the change, for every n that there is.
#[tokio::test]
async fn an_agent_killed_at_any_step_of_an_apply_leaves_every_file_old_or_new_and_goes_on() {
    let world = World::new().await;
    let _operator = world.operator_with(&["--disconnect-grace-seconds", "60"]).await;
    let mut agent = Agent::prepare(&world, "press-07");
    let long = |letter: &str| letter.repeat(200_000);
    world.config_map("long", json!({"old": long("o"), "new": long("n")})).await;
    agent.machine.write("adopted", "by a person");
    let spec = |age: &str| {
        let source = json!({"configMapKeyRef": {"name": "long", "key": age}});
        json!({
            "directories": [{"path": agent.machine.path(&format!("d-{age}"))}],
            "files": [
                {"path": agent.machine.path("changed"), "source": source},
                agent.machine.inline("adopted", age),
                agent.machine.inline(&format!("d-{age}/only"), age),
            ],
        })
    };
    let specs = [spec("old"), spec("new")];
    let node = world.node("press-07", specs[1].clone()).await;
    agent.enroll(&node).await;
    let new = node.until_ready().await.status.unwrap().applied_revision;
    node.apply(specs[0].clone()).await;
    let old = node.until_ready().await.status.unwrap().applied_revision;
    let mut step = 0;
    loop {
        step += 1;
        let (age, other, revision) = if step % 2 == 1 { ("new", "old", &new) } else { ("old", "new", &old) };
        agent.kill();
        node.apply(specs[step % 2].clone()).await;
        agent.set_environment("WINDLASS_TEST_CRASH_AT", Some(&step.to_string()));
        agent.start();
        let crashed = until(&format!("the agent crashes at step {step} or is done"), || {
            agent.has_ended().then_some(true).or_else(|| (agent.applied() == *revision).then_some(false))
        })
        .await;
        let text = agent.machine.read("changed").expect("it is never away");
        assert!(text == long("o") || text == long("n"), "step {step}: {} bytes, mixed", text.len());
        let text = agent.machine.read("adopted").expect("it is never away");
        assert!(["old", "new"].contains(&text.as_str()), "step {step}: {text}");
        agent.set_environment("WINDLASS_TEST_CRASH_AT", None);
        agent.kill();
        agent.start();
        agent.until_status("it is done", |status| status["appliedRevision"].as_str() == revision.as_deref()).await;
        assert!(agent.machine.read("changed") == Some(long(&age[..1])), "step {step}");
        assert_eq!(agent.machine.read("adopted").as_deref(), Some(age), "step {step}");
        assert_eq!(agent.machine.read(&format!("d-{age}/only")).as_deref(), Some(age), "step {step}");
        assert!(!agent.machine.exists(&format!("d-{other}")), "step {step}: what was created is still owned");
        if !crashed {
            break;
        }
    }
    node.apply(json!({})).await;
    node.until_ready().await;
    assert!(agent.machine.exists("adopted") && !agent.machine.exists("changed"), "who made what was never forgotten");
    assert!(step > 9, "the change has at least three actions of three steps, crashed at {} only", step - 1);
}

#[tokio::test]
async fn an_operator_killed_during_a_push_loses_nothing() {
    let world = World::new().await;
    let mut operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let mut agent = Agent::prepare(&world, "press-07");
    let large = text_of(400 * 1024);
    world.config_map("large", json!({"text": large})).await;
    let source = json!({"configMapKeyRef": {"name": "large", "key": "text"}});
    let spec =
        json!({"files": [{"path": agent.machine.path("large"), "source": source}, agent.machine.inline("f", "x")]});
    let node = world.node("press-07", json!({})).await;
    agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
    node.until_ready().await;
    let from = link.bytes_to_agent();
    link.throttle(1_000);
    node.apply(spec).await;
    until("the push is under way", || (link.bytes_to_agent() > from + 100_000).then_some(())).await;
    operator.kill();
    link.throttle(0);
    operator.start_again().await;
    node.until_ready().await;
    assert_eq!(agent.machine.read("large").as_deref(), Some(large.as_str()));
}

#[tokio::test]
async fn a_restart_of_the_operator_loses_nothing_and_sigterm_ends_it_with_0() {
    let world = World::new().await;
    let mut operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec =
        |text: &str| json!({"files": [agent.machine.inline("f", text)], "services": [agent.machine.service("press")]});
    let (one, two) = (spec("one"), spec("two"));
    let node = world.node("press-07", one).await;
    agent.enroll(&node).await;
    let before = node.until_ready().await;
    assert_eq!(operator.drain().await, Some(0));
    node.apply(two).await;
    operator.start_again().await;
    let after = node.until_newer(&before).await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("two"));
    assert_eq!(agent.machine.pids("press").len(), 1);
    let transition = |node: &windlass::api::EdgeNode| {
        crate::parts::condition(node, "Connected").unwrap().last_transition_time.clone()
    };
    assert_eq!(transition(&before), transition(&after), "the restart was no transition of Connected");
}

#[tokio::test]
async fn a_restart_of_the_api_server_is_survived() {
    let world = World::alone().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = |text: &str| json!({"files": [agent.machine.inline("f", text)]});
    let (one, two) = (spec("one"), spec("two"));
    let node = world.node("press-07", one).await;
    agent.enroll(&node).await;
    let before = node.until_ready().await;
    world.cluster.command("stop-apiserver");
    agent.machine.write("f", "wrong");
    agent.machine.until_text("f", "one").await;
    world.cluster.command("start-apiserver");
    node.apply(two).await;
    node.until_newer(&before).await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("two"));

    // 410 Gone: what the operator watched from is forgotten.
    let before = node.get().await;
    world.config_map("press", json!({"text": "three"})).await;
    world.cluster.command("compact");
    let source = json!({"configMapKeyRef": {"name": "press", "key": "text"}});
    node.apply(json!({"files": [{"path": agent.machine.path("f"), "source": source}]})).await;
    let before = node.until_newer(&before).await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("three"));
    world.config_map("press", json!({"text": "four"})).await;
    node.until_newer(&before).await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("four"));
    assert!(is(&node.get().await, "Connected", "True", ""));
}
