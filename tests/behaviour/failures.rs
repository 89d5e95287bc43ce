//! What goes wrong with one resource: it is told, the others go on, and it heals.

use std::{fs, os::unix::fs::PermissionsExt as _};

use k8s_openapi::api::events::v1::Event;
use serde_json::json;
use windlass::api::EdgeNode;

use crate::parts::{Agent, Artifacts, Fault, World, is};

fn failure(node: &EdgeNode, resource: &str) -> Option<(String, String)> {
    let failures = &node.status.as_ref()?.failures;
    let found = failures.iter().find(|failure| failure.resource.contains(resource))?;
    Some((found.reason.clone(), found.message.clone()))
}

#[tokio::test]
async fn a_directory_where_a_file_should_be_is_told_the_others_are_applied_and_it_heals() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    agent.machine.write("taken/inside", "not ours");
    let spec = json!({"files": [agent.machine.inline("taken", "x"), agent.machine.inline("other", "y")]});
    let node = world.node("press-07", spec).await;
    agent.enroll(&node).await;

    let failed = node.until("tells the failure", |node| failure(node, "taken").is_some()).await;
    let (reason, message) = failure(&failed, "taken").unwrap();
    assert_eq!(reason, "WrongKind", "{message}");
    assert!(is(&failed, "Ready", "False", "") && is(&failed, "ConfigApplied", "False", ""));
    agent.machine.until_text("other", "y").await;
    let counts = failed.status.unwrap().resources.unwrap();
    assert_eq!((counts.total, counts.failed), (2, 1));

    fs::remove_dir_all(agent.machine.path("taken")).unwrap();
    let ready = node.until_ready().await;
    assert_eq!(agent.machine.read("taken").as_deref(), Some("x"));
    assert_eq!(ready.status.unwrap().failures, []);
}

#[tokio::test]
async fn a_folder_without_permission_is_told_the_others_are_applied_and_it_heals() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    agent.run_without_rights();
    agent.machine.write("locked/other", "");
    let locked = agent.machine.folder().join("locked");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    let spec = json!({"files": [agent.machine.inline("locked/f", "x"), agent.machine.inline("open/f", "y")]});
    let node = world.node("press-07", spec).await;
    agent.enroll(&node).await;

    let failed = node.until("tells the failure", |node| failure(node, "locked/f").is_some()).await;
    let (reason, message) = failure(&failed, "locked/f").unwrap();
    assert_eq!(reason, "PermissionDenied", "{message}");
    agent.machine.until_text("open/f", "y").await;

    fs::set_permissions(&locked, fs::Permissions::from_mode(0o777)).unwrap();
    node.until_ready().await;
    assert_eq!(agent.machine.read("locked/f").as_deref(), Some("x"));
}

#[tokio::test]
async fn a_link_on_the_way_to_a_file_is_not_followed() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    agent.machine.write("elsewhere/keep", "");
    std::os::unix::fs::symlink(agent.machine.path("elsewhere"), agent.machine.path("link")).unwrap();
    let node = world.node("press-07", json!({"files": [agent.machine.inline("link/f", "x")]})).await;
    agent.enroll(&node).await;
    let failed = node.until("tells the failure", |node| failure(node, "link/f").is_some()).await;
    let (reason, message) = failure(&failed, "link/f").unwrap();
    assert!(
        ["WrongKind", "LinkInPath"].contains(&reason.as_str()) && message.contains("a link"),
        "{reason}: {message}"
    );
    assert!(!agent.machine.exists("elsewhere/f"));
}

#[tokio::test]
async fn an_unknown_owner_is_told() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let mut file = agent.machine.inline("f", "x");
    file["owner"] = json!("nobody-has-this-name");
    let node = world.node("press-07", json!({"files": [file, agent.machine.inline("g", "y")]})).await;
    agent.enroll(&node).await;
    let failed = node.until("tells the failure", |node| failure(node, "/f").is_some()).await;
    let (reason, message) = failure(&failed, "/f").unwrap();
    assert_eq!(reason, "UnknownAccount");
    assert!(message.contains("nobody-has-this-name"), "{message}");
}

#[tokio::test]
async fn an_artifact_of_another_digest_is_never_put_in_place() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let store = Artifacts::start();
    let mut agent = Agent::prepare(&world, "press-07");
    let (url, _) = store.put("press", b"what somebody put there");
    let (_, expected) = store.put("unused", b"what the person meant");
    let path = agent.machine.path("press.bin");
    let artifact = json!({"path": path, "source": {"artifact": {"url": url, "sha256": expected}}});
    let node = world.node("press-07", json!({"files": [artifact, agent.machine.inline("other", "y")]})).await;
    agent.enroll(&node).await;

    let failed = node.until("tells the failure", |node| failure(node, "press.bin").is_some()).await;
    let (reason, message) = failure(&failed, "press.bin").unwrap();
    assert!(reason.contains("Digest") || reason.contains("Mismatch"), "{reason}: {message}");
    assert!(message.contains(&expected[..16]), "{message}");
    agent.machine.until_text("other", "y").await;
    assert!(!agent.machine.exists("press.bin"));

    store.put("press", b"what the person meant");
    node.until_ready().await;
    assert_eq!(agent.machine.read("press.bin").as_deref(), Some("what the person meant"));
}

#[tokio::test]
async fn an_artifact_that_cannot_be_had_is_told_and_fetched_when_it_can() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let store = Artifacts::start();
    let mut agent = Agent::prepare(&world, "press-07");
    let (url, sha256) = store.put("press", b"bytes");
    store.set_fault(Some(Fault::Unavailable));
    let path = agent.machine.path("press.bin");
    let artifact = json!({"path": path, "source": {"artifact": {"url": url, "sha256": sha256}}});
    let node = world.node("press-07", json!({"files": [artifact]})).await;
    agent.enroll(&node).await;
    let failed = node.until("tells the failure", |node| failure(node, "press.bin").is_some()).await;
    assert!(failure(&failed, "press.bin").unwrap().1.contains("503"));

    store.set_fault(None);
    node.until_ready().await;
    assert_eq!(agent.machine.read("press.bin").as_deref(), Some("bytes"));
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_ended() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let store = Artifacts::start();
    let mut agent = Agent::prepare(&world, "press-07");
    let bytes: Vec<u8> = (0..1_000_000_u32).map(|number| (number * 7 % 251) as u8).collect();
    let (url, sha256) = store.put("press", &bytes);
    store.set_fault(Some(Fault::CutAfter(400_000)));
    let path = agent.machine.path("press.bin");
    let artifact = json!({"path": path, "source": {"artifact": {"url": url, "sha256": sha256}}});
    let node = world.node("press-07", json!({"files": [artifact]})).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    assert_eq!(fs::read(agent.machine.path("press.bin")).unwrap(), bytes);
    let requests = store.requests();
    assert_eq!(requests, ["/press", "/press bytes=400000-", "/press bytes=800000-"], "every byte is asked for once");
}

#[tokio::test]
async fn at_most_ten_failures_are_shown_and_all_are_counted() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let files: Vec<_> = (0..14)
        .map(|number| {
            agent.machine.write(&format!("f{number}/inside"), "");
            agent.machine.inline(&format!("f{number}"), "x")
        })
        .collect();
    let node = world.node("press-07", json!({"files": files})).await;
    agent.enroll(&node).await;
    let failed = node
        .until("counts all failures", |node| {
            node.status.as_ref().and_then(|status| status.resources.as_ref()).is_some_and(|counts| counts.failed == 14)
        })
        .await;
    assert_eq!(failed.status.unwrap().failures.len(), 10);
}

#[tokio::test]
async fn at_most_32_services_are_shown_those_that_are_not_ready_first() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let mut services: Vec<_> =
        (0..39).map(|number| json!({"name": format!("s{number}"), "command": ["/bin/sleep", "300"]})).collect();
    services.push(json!({"name": "broken", "command": ["/nonexistent/program"]}));
    let node = world.node("press-07", json!({"services": services})).await;
    agent.enroll(&node).await;
    let seen = node
        .until("shows the services", |node| {
            let status = node.status.as_ref().unwrap();
            status.services.len() == 32 && status.services.iter().filter(|service| service.ready).count() == 31
        })
        .await;
    let services = seen.status.unwrap().services;
    assert_eq!(services[0].name, "broken", "{services:?}");
}

#[tokio::test]
async fn a_failure_is_an_event_once() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    agent.machine.write("taken/inside", "");
    let node = world.node("press-07", json!({"files": [agent.machine.inline("taken", "x")]})).await;
    agent.enroll(&node).await;
    node.until("tells the failure", |node| failure(node, "taken").is_some()).await;
    let warning = |event: &Event| event.type_.as_deref() == Some("Warning");
    node.until_event("a warning", warning).await;
    let warnings: Vec<_> = node.events().await.into_iter().filter(warning).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let note = warnings[0].note.as_deref().unwrap_or_default();
    assert!(note.contains("taken"), "{note}");
}

#[tokio::test]
async fn a_state_that_the_platform_of_the_agent_does_not_have_changes_nothing_and_says_so() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({"files": [agent.machine.inline("f", "x")]})).await;
    agent.enroll(&node).await;
    node.until_ready().await;

    node.apply(json!({"registryValues": [{"key": "HKLM\\SOFTWARE\\Acme", "name": "Line", "dword": 7}]})).await;
    let refused = node.until("is told", |node| is(node, "Stalled", "True", "UnsupportedByAgent")).await;
    assert!(is(&refused, "Ready", "False", "UnsupportedByAgent"));
    let conditions = refused.status.unwrap().conditions;
    let message = &conditions.iter().find(|c| c.type_ == "Ready").unwrap().message;
    assert!(message.contains("registryValues"), "{message}");
    assert_eq!(agent.machine.read("f").as_deref(), Some("x"), "what was there is not taken away");
    assert!(!conditions.iter().any(|c| c.type_ == "RebootPending"), "a machine of Linux does not tell of restarts");

    node.apply(json!({"files": [agent.machine.inline("f", "y")]})).await;
    node.until_ready().await;
    agent.machine.until_text("f", "y").await;
}
