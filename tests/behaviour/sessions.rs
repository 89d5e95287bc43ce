//! Links that look alive and are not, sessions that replace each other, and links that are slow.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::parts::{Agent, Link, PATIENCE, World, condition, is, text_of, until};

#[tokio::test]
async fn an_agent_that_says_nothing_any_more_is_found_within_three_heartbeats() {
    let world = World::new().await;
    let operator = world.operator_with(&["--disconnect-grace-seconds", "1"]).await;
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({})).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    let begun = Instant::now();
    agent.signal(Signal::STOP);
    node.until_condition("Connected", "False", "").await;
    // Three heartbeats of a second, the grace of one, and what a busy machine adds.
    assert!(begun.elapsed() < Duration::from_secs(12), "found after {:?}", begun.elapsed());
    agent.signal(Signal::CONT);
    node.until_ready().await;
    drop(operator);
}

#[tokio::test]
async fn an_operator_that_says_nothing_any_more_is_found_and_dialled_anew() {
    let world = World::new().await;
    let operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({})).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    agent.until_connected().await;
    operator.signal(Signal::STOP);
    agent.until_disconnected().await;
    operator.signal(Signal::CONT);
    agent.until_connected().await;
    node.until_ready().await;
}

#[tokio::test]
async fn a_road_that_swallows_everything_is_left_by_both_ends() {
    let world = World::new().await;
    let operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({})).await;
    agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
    node.until_ready().await;
    link.swallow();
    agent.until_disconnected().await;
    node.until_condition("Connected", "False", "").await;
    link.mend();
    node.until_ready().await;
}

#[tokio::test]
async fn a_new_session_replaces_a_half_open_one_at_once_and_nobody_was_away() {
    let world = World::new().await;
    let operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({})).await;
    agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
    node.until_ready().await;
    agent.until_connected().await;
    let before = node.get().await;
    link.strand(); // the operator is not told that the agent is gone
    agent.kill();
    agent.start();
    agent.until_connected().await;
    until("the operator says so", || operator.log().contains("session=2").then_some(())).await;
    let since = |node| condition(&node, "Connected").map(|connected| connected.last_transition_time.clone());
    assert_eq!(since(node.get().await), since(before));
}

#[tokio::test]
async fn of_two_machines_with_one_identity_the_second_keeps_the_session_and_everybody_is_told() {
    let world = World::new().await;
    let operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let (mut agent, mut copy) = (Agent::prepare(&world, "press-07"), Agent::prepare(&world, "copy"));
    let node = world.node("press-07", json!({"files": [agent.machine.inline("f", "x")]})).await;
    agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
    node.until_ready().await;

    // A copied disk.
    agent.stop().await;
    let copied = std::process::Command::new("cp").arg("-a").arg(agent.state()).arg(copy.state()).status().unwrap();
    assert!(copied.success());
    std::fs::copy(agent.enrollment(), copy.enrollment()).unwrap();
    agent.start();
    agent.until_connected().await;
    copy.start();
    copy.until_connected().await;
    let took_over = "another machine took over with the same identity; one of the two must be enrolled anew";
    agent.until_log(took_over).await;
    until("the operator says so", || operator.log().contains(took_over).then_some(())).await;
    let (heartbeats, connections) = (link.chunks_from_agent(), link.connections());
    until("some heartbeats have passed", || (link.chunks_from_agent() >= heartbeats + 10).then_some(())).await;
    assert_eq!(link.connections(), connections, "they do not take turns");
    copy.until_connected().await;
    agent.until_disconnected().await;
    let told = node.until_condition("Connected", "True", "DuplicateIdentity").await;
    let message = &condition(&told, "Connected").unwrap().message;
    assert_eq!(message.matches("127.0.0.1:").count(), 2, "both addresses: {message}");
    assert!(is(&told, "Ready", "True", ""));
    node.until_event("a warning", |event| event.reason.as_deref() == Some("DuplicateIdentity")).await;
}

#[tokio::test]
async fn a_revoked_identity_is_cut_off_at_once_and_stays_out_until_it_is_called_off() {
    let world = World::new().await;
    let mut operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let node = world.node("press-07", json!({"files": [agent.machine.inline("f", "one")]})).await;
    agent.enroll(&node).await;
    node.until_ready().await;
    let files = json!([agent.machine.inline("f", "two")]);

    let begun = Instant::now();
    node.apply(json!({"files": files, "identity": {"revoked": true}})).await;
    agent.until_disconnected().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "cut off after {:?}", begun.elapsed());
    node.until_condition("Stalled", "True", "IdentityRevoked").await;
    node.until_event("a warning", |event| event.reason.as_deref() == Some("IdentityRevoked")).await;

    // Neither an operator that knows nothing of it nor an agent that knows nothing of it changes that.
    operator.kill();
    operator.start_again().await;
    agent.kill();
    agent.start();
    until("it is sent away again", || operator.log().contains("agent sent away").then_some(())).await;
    node.until_condition("Connected", "False", "IdentityRevoked").await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("one"), "it is given nothing");

    // The token that it enrolled with is of no more use than the certificate.
    let mut thief = Agent::prepare(&world, "thief");
    thief.enroll(&node).await;
    until("the thief is refused", || operator.log().contains("enrollment refused").then_some(())).await;

    node.apply(json!({"files": files})).await;
    agent.kill();
    agent.start();
    node.until_ready().await;
    assert_eq!(agent.machine.read("f").as_deref(), Some("two"));
}

#[tokio::test]
async fn a_large_config_map_on_a_slow_link_delays_neither_heartbeats_nor_another_node() {
    let world = World::new().await;
    let operator = world.operator().await;
    let slow_link = Link::to(operator.tunnel);
    let (mut slow, mut quick) = (Agent::prepare(&world, "slow"), Agent::prepare(&world, "quick"));
    let large = text_of(900 * 1024);
    let source = json!({"configMapKeyRef": {"name": "large", "key": "text"}});
    let with_large =
        json!({"files": [slow.machine.inline("f", "x"), {"path": slow.machine.path("large"), "source": source}]});
    let slow_node = world.node("slow", json!({"files": [slow.machine.inline("f", "x")]})).await;
    let quick_node = world.node("quick", json!({"files": [quick.machine.inline("f", "one")]})).await;
    let changed = json!({"files": [quick.machine.inline("f", "two")]});
    slow.enroll_with(&slow_link.lead(&slow_node.enrollment().await, &operator.url()));
    quick.enroll(&quick_node).await;
    slow_node.until_ready().await;
    quick_node.until_ready().await;
    let connections = slow_link.connections();

    world.config_map("large", json!({"text": large})).await;
    slow_link.throttle(256);
    slow_node.apply(with_large).await;
    let from = slow_link.bytes_to_agent();
    until("the transfer is under way", || (slow_link.bytes_to_agent() > from + 100_000).then_some(())).await;

    let begun = Instant::now();
    quick_node.apply(changed).await;
    quick_node.until_ready().await;
    let took = begun.elapsed();
    let transferred = slow_link.bytes_to_agent() - from;
    assert!(took < Duration::from_secs(5), "the other node's change took {took:?}");
    assert!(transferred < 900 * 1024, "the transfer went on meanwhile");

    slow_node.until_ready().await;
    assert_eq!(slow.machine.read("large").as_deref(), Some(large.as_str()));
    assert_eq!(slow_link.connections(), connections, "no heartbeat came too late");
    assert!(begun.elapsed() < PATIENCE);
}

#[tokio::test]
async fn only_contents_that_the_agent_lacks_are_sent() {
    let world = World::new().await;
    let operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let mut agent = Agent::prepare(&world, "press-07");
    let large = "0123456789abcdef".repeat(20_000);
    world.config_map("large", json!({"text": large})).await;
    let source = json!({"configMapKeyRef": {"name": "large", "key": "text"}});
    let large_file = json!({"path": agent.machine.path("large"), "source": source});
    let changed = json!({"files": [large_file, agent.machine.inline("f", "two")]});
    let spec = json!({"files": [large_file, agent.machine.inline("f", "one")]});
    let node = world.node("press-07", spec).await;
    agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
    node.until_ready().await;
    assert!(link.bytes_to_agent() > 320_000);
    let before = link.bytes_to_agent();
    node.apply(changed).await;
    node.until_ready().await;
    assert!(link.bytes_to_agent() - before < 50_000, "{} bytes", link.bytes_to_agent() - before);
}

#[tokio::test]
async fn a_transfer_that_is_broken_off_goes_on_where_it_ended() {
    let world = World::new().await;
    let operator = world.operator().await;
    let link = Link::to(operator.tunnel);
    let mut agent = Agent::prepare(&world, "press-07");
    let large = text_of(600 * 1024);
    world.config_map("large", json!({"text": large})).await;
    let source = json!({"configMapKeyRef": {"name": "large", "key": "text"}});
    let spec = json!({"files": [{"path": agent.machine.path("large"), "source": source}]});
    let node = world.node("press-07", json!({})).await;
    agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
    node.until_ready().await;
    let from = link.bytes_to_agent();
    link.throttle(2_000);
    node.apply(spec).await;
    until("half is there", || (link.bytes_to_agent() > from + 300_000).then_some(())).await;
    link.drop_connections();
    link.throttle(0);
    node.until_ready().await;
    assert_eq!(agent.machine.read("large").as_deref(), Some(large.as_str()));
    let total = link.bytes_to_agent() - from;
    assert!(total < 600 * 1024 + 250_000, "{total} bytes were sent for 600 KiB");
}
