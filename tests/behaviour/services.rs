//! Programs as services: order, readiness, crashes, restarts, stopping, and the agent's own death.

use std::time::Instant;

use serde_json::{Value, json};
use windlass::api::EdgeNode;

use crate::parts::{Agent, Artifacts, Node, World, is, is_alive, signal, until};
use rustix::process::Signal;

fn with(mut service: Value, more: Value) -> Value {
    service.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    service
}

fn service<'a>(node: &'a EdgeNode, name: &str) -> Option<&'a windlass::api::ServiceStatus> {
    node.status.as_ref()?.services.iter().find(|service| service.name == name)
}

async fn enrolled(world: &World, agent: &mut Agent, spec: Value) -> Node {
    let node = world.node("press-07", spec).await;
    agent.enroll(&node).await;
    node
}

fn quick(delay: i32) -> Value {
    json!({"recovery": {"actions": [{"restart": {"delaySeconds": delay}}]}})
}

#[tokio::test]
async fn services_start_after_what_they_depend_on_is_ready_and_stop_before_it() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let health = Artifacts::start();
    let mut agent = Agent::prepare(&world, "press-07");
    let probe = json!({"readinessProbe": {"httpGet": {"port": health.port(), "path": "/db"}, "periodSeconds": 1}});
    let spec = json!({"services": [
        with(agent.machine.service("web"), json!({"dependsOn": ["app"]})),
        with(agent.machine.service("app"), json!({"dependsOn": ["db"]})),
        with(agent.machine.service("db"), probe),
    ]});
    let node = enrolled(&world, &mut agent, spec).await;
    agent.machine.until_started("db", 1).await;
    let waiting = node
        .until("shows app as waiting", |node| service(node, "app").is_some_and(|service| service.state == "Waiting"))
        .await;
    assert!(!is(&waiting, "Ready", "True", ""));
    assert_eq!(agent.machine.lines("starts"), ["db"]);

    health.put("db", b"ok");
    node.until_ready().await;
    assert_eq!(agent.machine.lines("starts"), ["db", "app", "web"]);

    node.apply(json!({})).await;
    node.until_ready().await;
    until("all have stopped", || (agent.machine.lines("stops").len() == 3).then_some(())).await;
    assert_eq!(agent.machine.lines("stops"), ["web", "app", "db"]);
}

#[tokio::test]
async fn a_service_that_is_killed_comes_back_and_is_counted() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = json!({"services": [with(agent.machine.service("press"), quick(1))]});
    let node = enrolled(&world, &mut agent, spec).await;
    node.until_ready().await;
    let pid = agent.machine.until_started("press", 1).await;
    signal(pid, Signal::KILL);
    agent.machine.until_started("press", 2).await;
    let back = node
        .until("is ready with a restart", |node| {
            is(node, "Ready", "True", "") && service(node, "press").is_some_and(|service| service.restarts == 1)
        })
        .await;
    assert_eq!(service(&back, "press").unwrap().state, "Running");
}

#[tokio::test]
async fn a_service_that_ends_again_and_again_backs_off_and_says_so() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let starts = agent.machine.path("starts");
    let command = ["/bin/sh".to_owned(), "-c".to_owned(), format!("echo x >> {starts}; exit 3")];
    let recovery = json!({"actions": [{"restart": {"delaySeconds": 0}}, {"restart": {"delaySeconds": 3600}}]});
    let spec = json!({"services": [{"name": "press", "command": command, "recovery": recovery}]});
    let node = enrolled(&world, &mut agent, spec).await;
    let seen = node
        .until("backs off", |node| service(node, "press").is_some_and(|service| service.state == "BackingOff"))
        .await;
    assert!(is(&seen, "Ready", "False", "") && is(&seen, "Healthy", "False", ""));
    until("it was started twice", || (agent.machine.lines("starts").len() == 2).then_some(())).await;
}

#[tokio::test]
async fn a_service_whose_recovery_says_none_stays_as_it_ended() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let none = json!({"recovery": {"actions": [{"none": {}}]}});
    let node = enrolled(&world, &mut agent, json!({"services": [with(agent_service(&world), none)]})).await;
    let pid = until("the service has a pid", || {
        std::fs::read_to_string(world.path("pid")).ok().and_then(|text| text.trim().parse::<u32>().ok())
    })
    .await;
    node.until_ready().await;
    signal(pid, Signal::KILL);
    let failed = node
        .until("shows it as failed", |node| service(node, "press").is_some_and(|service| service.state == "Failed"))
        .await;
    assert!(is(&failed, "Healthy", "False", ""));
}

fn agent_service(world: &World) -> Value {
    let pid = world.path("pid");
    json!({"name": "press", "command": ["/bin/sh", "-c", format!("echo $$ > {}; exec sleep 300", pid.display())]})
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_and_started_once_it_is() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let program = agent.machine.path("bin/press");
    let spec = json!({"services": [with(json!({"name": "press", "command": [program]}), quick(1))]});
    let node = enrolled(&world, &mut agent, spec).await;
    let failed = node
        .until("tells the failure", |node| node.status.as_ref().is_some_and(|status| !status.failures.is_empty()))
        .await;
    let failure = &failed.status.as_ref().unwrap().failures[0];
    assert_eq!(failure.reason, "NotExecutable", "{failure:?}");
    assert!(failure.resource.contains("press") && failure.message.contains(&program), "{failure:?}");

    agent.machine.write("bin/press.new", "#!/bin/sh\nexec sleep 300\n");
    let new = agent.machine.path("bin/press.new");
    std::fs::set_permissions(&new, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::rename(new, agent.machine.path("bin/press")).unwrap();
    node.until_ready().await;
}

#[tokio::test]
async fn a_changed_file_restarts_only_the_services_that_name_it() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = |text: &str| {
        let on_change = json!({"restartOnChange": [{"file": agent.machine.path("f")}]});
        json!({
            "files": [agent.machine.inline("f", text)],
            "services": [with(agent.machine.service("press"), on_change), agent.machine.service("other")],
        })
    };
    let (one, two) = (spec("one"), spec("two"));
    let node = enrolled(&world, &mut agent, one).await;
    node.until_ready().await;
    let first = agent.machine.until_started("press", 1).await;

    node.apply(two).await;
    node.until_ready().await;
    agent.machine.until_started("press", 2).await;
    assert!(!is_alive(first));
    assert_eq!(agent.machine.pids("other").len(), 1);
    let after = node.get().await;
    assert_eq!(service(&after, "press").unwrap().restarts, 0, "a wanted restart is none that counts");
}

#[tokio::test]
async fn a_service_waits_for_the_file_that_its_command_names() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let store = Artifacts::start();
    let mut agent = Agent::prepare(&world, "press-07");
    let script = b"#!/bin/sh\nexec sleep 300\n";
    let (url, sha256) = store.put("press", script);
    store.take("press");
    let path = agent.machine.path("press.sh");
    let spec = json!({
        "files": [{"path": path, "mode": "0755", "source": {"artifact": {"url": url, "sha256": sha256}}}],
        "services": [{"name": "press", "command": [path]}],
    });
    let node = enrolled(&world, &mut agent, spec).await;
    node.until("shows it as waiting", |node| service(node, "press").is_some_and(|service| service.state == "Waiting"))
        .await;
    store.put("press", script);
    let ready = node.until_ready().await;
    assert_eq!(service(&ready, "press").unwrap().restarts, 0);
}

#[tokio::test]
async fn a_failing_readiness_probe_makes_the_node_unready_and_restarts_nothing() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let health = Artifacts::start();
    health.put("ready", b"ok");
    let mut agent = Agent::prepare(&world, "press-07");
    let probe =
        json!({"httpGet": {"port": health.port(), "path": "/ready"}, "periodSeconds": 1, "failureThreshold": 1});
    let spec = json!({"services": [with(agent.machine.service("press"), json!({"readinessProbe": probe}))]});
    let node = enrolled(&world, &mut agent, spec).await;
    node.until_ready().await;
    health.take("ready");
    let unready =
        node.until("is not ready", |node| is(node, "Ready", "False", "") && is(node, "Healthy", "False", "")).await;
    let seen = service(&unready, "press").unwrap();
    assert_eq!((seen.state.as_str(), seen.ready), ("Running", false));
    health.put("ready", b"ok");
    node.until_ready().await;
    assert_eq!(agent.machine.pids("press").len(), 1);
}

#[tokio::test]
async fn a_failing_liveness_probe_restarts_the_service() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let sick = agent.machine.path("sick");
    let probe = json!({"exec": {"command": ["/bin/sh", "-c", format!("! test -e {sick}")]}, "periodSeconds": 1, "failureThreshold": 2});
    let spec =
        json!({"services": [with(with(agent.machine.service("press"), json!({"livenessProbe": probe})), quick(1))]});
    let node = enrolled(&world, &mut agent, spec).await;
    node.until_ready().await;
    agent.machine.until_started("press", 1).await;
    agent.machine.write("sick", "");
    agent.machine.until_started("press", 2).await;
    agent.machine.remove("sick");
    node.until("counts the restart", |node| service(node, "press").is_some_and(|service| service.restarts >= 1)).await;
    node.until_ready().await;
}

#[tokio::test]
async fn a_tcp_probe_and_a_grpc_probe_are_asked() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let open = Artifacts::start();
    let mut agent = Agent::prepare(&world, "press-07");
    let tcp = json!({"readinessProbe": {"tcpSocket": {"port": open.port()}, "periodSeconds": 1}});
    let grpc = json!({"readinessProbe": {"grpc": {"port": open.port()}, "periodSeconds": 1, "failureThreshold": 1}});
    let spec =
        json!({"services": [with(agent.machine.service("tcp"), tcp), with(agent.machine.service("grpc"), grpc)]});
    let node = enrolled(&world, &mut agent, spec).await;
    node.until("tcp is ready", |node| service(node, "tcp").is_some_and(|service| service.ready)).await;
    let seen = node.until("grpc is running", |node| service(node, "grpc").is_some()).await;
    assert!(!service(&seen, "grpc").unwrap().ready, "a server that speaks no gRPC is not SERVING");
}

#[tokio::test]
async fn a_service_that_does_not_stop_in_time_is_killed_with_all_its_children() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let pids = agent.machine.path("pids");
    let script = format!(
        "trap '' TERM; echo $$ >> {pids}; (trap '' TERM; sleep 300 & echo $! >> {pids}; wait) & while :; do sleep 300; done"
    );
    let stubborn = json!({"name": "press", "command": ["/bin/sh", "-c", script], "stopTimeoutSeconds": 2});
    let node = enrolled(&world, &mut agent, json!({"services": [stubborn]})).await;
    node.until_ready().await;
    let pids = until("both pids are known", || {
        let lines = agent.machine.lines("pids");
        (lines.len() == 2).then(|| lines.iter().map(|line| line.parse::<u32>().unwrap()).collect::<Vec<_>>())
    })
    .await;
    let begun = Instant::now();
    node.apply(json!({})).await;
    until("it and its child are gone", || (!pids.iter().any(|&pid| is_alive(pid))).then_some(())).await;
    assert!(begun.elapsed().as_secs_f64() >= 1.9, "it had its time: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_service_that_should_be_stopped_is_stopped_and_counts_as_desired() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let running = json!({"services": [agent.machine.service("press")]});
    let stopped = json!({"services": [with(agent.machine.service("press"), json!({"state": "Stopped"}))]});
    let node = enrolled(&world, &mut agent, running).await;
    node.until_ready().await;
    let pid = agent.machine.until_started("press", 1).await;
    node.apply(stopped).await;
    let ready = node.until_ready().await;
    let seen = service(&ready, "press").unwrap();
    assert_eq!((seen.state.as_str(), seen.ready), ("Stopped", true));
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn environment_and_working_directory_are_as_said() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = json!({
        "directories": [{"path": agent.machine.path("work")}],
        "services": [{
            "name": "press",
            "command": ["/bin/sh", "-c", "echo \"$LINE $PWD $1\" > out.new; mv out.new out; exec sleep 300", "sh", "$LINE"],
            "env": [{"name": "LINE", "value": "seven of $nine"}],
            "workingDirectory": agent.machine.path("work"),
        }],
    });
    let node = enrolled(&world, &mut agent, spec).await;
    node.until_ready().await;
    let work = agent.machine.path("work");
    agent.machine.until_text("work/out", &format!("seven of $nine {work} $LINE\n")).await;
}

#[tokio::test]
async fn services_live_on_when_the_agent_is_killed_or_stopped_and_are_not_started_twice() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = json!({"services": [with(agent.machine.service("press"), quick(1)), agent.machine.service("db")]});
    let node = enrolled(&world, &mut agent, spec).await;
    node.until_ready().await;
    let pid = agent.machine.until_started("press", 1).await;
    agent.machine.until_started("db", 1).await;

    agent.kill();
    node.until_condition("Connected", "False", "").await;
    assert!(is_alive(pid));
    agent.start();
    node.until_ready().await;
    assert_eq!(agent.stop().await, Some(0));
    node.until_condition("Connected", "False", "").await;
    assert!(is_alive(pid));
    agent.start();
    node.until_ready().await;
    assert_eq!([agent.machine.pids("press").len(), agent.machine.pids("db").len()], [1, 1]);

    signal(pid, Signal::KILL);
    agent.machine.until_started("press", 2).await;
}

#[tokio::test]
async fn a_service_that_ended_while_the_agent_was_away_is_started_again() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let spec = json!({"services": [with(agent.machine.service("press"), quick(1))]});
    let node = enrolled(&world, &mut agent, spec).await;
    node.until_ready().await;
    let pid = agent.machine.until_started("press", 1).await;
    agent.kill();
    signal(pid, Signal::KILL);
    until("it is gone", || (!is_alive(pid)).then_some(())).await;
    agent.start();
    agent.machine.until_started("press", 2).await;
    node.until_ready().await;
}

#[tokio::test]
async fn what_a_service_prints_is_kept_in_a_file() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut agent = Agent::prepare(&world, "press-07");
    let script = "echo to stdout; echo to stderr >&2; exec sleep 300";
    let node =
        enrolled(&world, &mut agent, json!({"services": [{"name": "press", "command": ["/bin/sh", "-c", script]}]}))
            .await;
    node.until_ready().await;
    let log = agent.state().join("logs/press.log");
    until("the log has both lines", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        (text.contains("to stdout") && text.contains("to stderr")).then_some(())
    })
    .await;
}
