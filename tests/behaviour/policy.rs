//! What the machine's administrator does not allow, the cloud does not get: through the real operator and agent.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::json;
use windlass::api::EdgeNode;

use crate::parts::{Agent, World, condition, is, is_alive, until};

/// Of the failure of a resource; empty where it has not failed.
fn reason(node: &EdgeNode, resource: &str) -> String {
    let failures = node.status.iter().flat_map(|status| &status.failures);
    failures.filter(|failure| failure.resource == resource).map(|failure| failure.reason.clone()).collect()
}

fn is_denied(node: &EdgeNode, resource: &str) -> bool {
    reason(node, resource) == "DeniedByLocalPolicy"
        && is(node, "ConfigApplied", "False", "DeniedByLocalPolicy")
        && is(node, "Stalled", "True", "DeniedByLocalPolicy")
        && is(node, "Ready", "False", "DeniedByLocalPolicy")
}

#[tokio::test]
async fn a_file_and_a_service_that_are_denied_are_told_while_the_others_go_on_and_come_once_they_are_allowed() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let rules = |more: &str| format!("services: {{accounts: ['*', root], deny: [{more}]}}");
    agent.allow(&rules("oven"));
    let denied = format!("/etc/windlass-behaviour-{}", world.namespace);
    let files = json!([agent.machine.inline("allowed", "x"), {"path": denied, "source": {"inline": "x"}}]);
    let services = json!([agent.machine.service("oven"), agent.machine.service("press")]);
    let node = world.node("press-07", json!({"files": files, "services": services})).await;
    agent.enroll(&node).await;
    agent.machine.until_started("press", 1).await;
    let resource = format!("file {denied}");
    let told = node.until("says what is denied", |node| is_denied(node, &resource) && is_denied(node, "service oven"));
    let told = told.await;
    let message = &condition(&told, "ConfigApplied").unwrap().message;
    assert!(message.contains("403") && message.contains("/etc is the system's"), "{message}");
    assert!(message.contains("paths.allow") && message.contains(agent.policy().to_str().unwrap()), "{message}");
    assert_eq!(agent.machine.read("allowed").as_deref(), Some("x"));
    assert!(!fs::exists(&denied).unwrap() && agent.machine.pids("oven").is_empty());
    node.until_event("a warning", |event| event.reason.as_deref() == Some("DeniedByLocalPolicy")).await;

    // An administrator allows it; the agent runs on.
    agent.allow(&format!("paths: {{allow: [/, '{denied}']}}\n{}", rules("")));
    node.until_ready().await;
    assert_eq!(fs::read_to_string(&denied).unwrap(), "x");
    node.apply(json!({})).await;
    node.until_ready().await;
    assert!(!fs::exists(&denied).unwrap());
}

#[tokio::test]
async fn what_may_not_be_pruned_stays_and_is_told() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = json!({"files": [agent.machine.inline("f", "x")], "services": [agent.machine.service("press")]});
    let node = world.node("press-07", spec).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    let pid = agent.machine.until_started("press", 1).await;
    agent.allow(&format!("paths: {{deny: ['{}']}}\nservices: {{deny: [press]}}", agent.machine.folder().display()));
    node.apply(json!({})).await;
    let resource = format!("file {}", agent.machine.path("f"));
    node.until("says that both stay", |node| is_denied(node, &resource) && is_denied(node, "service press")).await;
    assert!(agent.machine.exists("f") && is_alive(pid));

    agent.allow("services: {accounts: ['*', root]}");
    node.until_ready().await;
    assert!(!agent.machine.exists("f"));
}

#[tokio::test]
async fn a_policy_that_others_may_write_leaves_everything_as_it_is_until_it_is_mended() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec =
        |text: &str| json!({"files": [agent.machine.inline("f", text)], "services": [agent.machine.service("press")]});
    let (before, after) = (spec("before"), spec("after"));
    let node = world.node("press-07", before).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    let pid = agent.machine.until_started("press", 1).await;
    fs::set_permissions(agent.policy(), fs::Permissions::from_mode(0o666)).unwrap();
    node.until("says that it is in force no more", |node| is(node, "Ready", "True", "PolicyUnusable")).await;
    node.apply(after).await;
    let told = node.until("says so", |node| is(node, "Stalled", "True", "PolicyUnusable")).await;
    let message = &condition(&told, "ConfigApplied").unwrap().message;
    assert!(message.contains("others may write") && message.contains("0666"), "{message}");
    assert!(is(&told, "Healthy", "True", ""), "what runs is looked after");

    // Also by an agent that starts like this.
    agent.kill();
    agent.start();
    agent.until_status("it changes nothing", |status| status["notice"]["reason"] == "PolicyUnusable").await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("before"));
    assert!(is_alive(pid) && agent.machine.pids("press").len() == 1);
    agent.close_policy();
    node.until_ready().await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("after"));
}

#[tokio::test]
async fn the_cloud_writes_neither_the_policy_nor_what_the_agent_keeps_whatever_the_policy_says() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let (policy, state) = (agent.policy(), agent.state().to_owned());
    let program = env!("CARGO_BIN_EXE_windlass-agent");
    agent.allow(&format!("paths: {{allow: [/, '{}', '{}', '{program}']}}", policy.display(), state.display()));
    let inside = state.join("contents/x").display().to_string();
    let holder = policy.parent().unwrap().display().to_string();
    let inline = |path: &str| json!({"path": path, "source": {"inline": "x"}});
    let spec = json!({
        "directories": [{"path": holder, "mode": "0777"}],
        "files": [inline(policy.to_str().unwrap()), inline(program), inline(&inside), agent.machine.inline("f", "x")],
        "services": [{"name": "windlass-agent", "command": ["/bin/true"], "account": "nobody"}],
    });
    let node = world.node("press-07", spec).await;
    agent.enroll(&node).await;
    let all = [
        format!("directory {holder}"),
        format!("file {}", policy.display()),
        format!("file {program}"),
        format!("file {inside}"),
        "service windlass-agent".to_owned(),
    ];
    let told = node.until("denies all", |node| all.iter().all(|resource| is_denied(node, resource))).await;
    let failures = told.status.unwrap().failures;
    assert!(failures.iter().all(|failure| failure.message.contains("no policy gives that away")), "{failures:?}");
    assert_eq!(agent.machine.read("f").as_deref(), Some("x"));
    assert!(fs::read_to_string(&policy).unwrap().contains("LocalPolicy") && !fs::exists(&inside).unwrap());
}

#[tokio::test]
async fn a_state_folder_that_somebody_else_made_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let state = agent.state().to_owned();
    let planted = state.join("agent.redb");
    fs::create_dir(&state).unwrap();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).unwrap();
    fs::write(&planted, "planted").unwrap();
    for theirs in [&planted, &state] {
        std::os::unix::fs::chown(theirs, Some(65_534), None).unwrap();
        agent.start();
        until("the agent has ended", || agent.has_ended().then_some(())).await;
        let log = agent.log();
        assert!(log.contains(&format!("{} belongs to the user 65534", theirs.display())), "{log}");
        std::os::unix::fs::chown(&planted, Some(0), None).unwrap();
    }
    assert_eq!(fs::read_to_string(planted).unwrap(), "planted");
}

#[tokio::test]
async fn without_a_policy_a_service_does_not_run_as_root() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    fs::remove_file(agent.policy()).unwrap();
    let mut as_nobody = agent.machine.service("oven");
    as_nobody["account"] = "nobody".into();
    let services = json!([as_nobody, agent.machine.service("press")]);
    let node = world.node("press-07", json!({"services": services})).await;
    agent.enroll(&node).await;
    agent.machine.until_started("oven", 1).await;
    let told = node.until("denies the other", |node| is_denied(node, "service press")).await;
    let message = &condition(&told, "ConfigApplied").unwrap().message;
    assert!(message.contains("it runs as root") && message.contains("services.accounts"), "{message}");
    assert!(agent.machine.pids("press").is_empty());
}
