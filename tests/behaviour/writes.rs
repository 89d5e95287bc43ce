//! What the operator writes to the API server, as its audit log has it: transitions, and nothing else.

use serde_json::json;

use crate::parts::{Agent, Link, Node, Operator, World, Write, until};

/// A ready node on a link, and the operator's writes until then.
struct Quiet {
    world: World,
    operator: Operator,
    link: Link,
    agent: Agent,
    node: Node,
    seen: usize,
}

impl Quiet {
    async fn new() -> Self {
        let local = std::env::var_os("WINDLASS_KUBECONFIG").is_none();
        let world = if local { World::new().await } else { World::alone().await };
        let operator = world.operator_with(&["--disconnect-grace-seconds", "20"]).await;
        let link = Link::to(operator.tunnel);
        let mut agent = Agent::prepare(&world, "press-07");
        let spec = json!({"files": [agent.machine.inline("f", "one")], "services": [agent.machine.service("press")]});
        let node = world.node("press-07", spec).await;
        agent.enroll_with(&link.lead(&node.enrollment().await, &operator.url()));
        node.until_ready().await;
        let mut quiet = Self { world, operator, link, agent, node, seen: 0 };
        quiet.heartbeats(5).await; // Events of becoming ready are written beside the status
        // Were the audit log read wrongly, every count below would be 0.
        let writes = quiet.new_writes();
        assert!(
            !of(&writes, "patch edgenodes/status press-07").is_empty() && !of(&writes, "create secrets").is_empty(),
            "{writes:?}"
        );
        quiet
    }

    /// Waits until so many pings have come from the agent.
    async fn heartbeats(&self, count: u64) {
        let before = self.link.chunks_from_agent();
        until("heartbeats have passed", || (self.link.chunks_from_agent() >= before + count).then_some(())).await;
    }

    /// The writes since the last call.
    fn new_writes(&mut self) -> Vec<Write> {
        let all = self.world.cluster.writes_of_operators(&self.world.namespace);
        let new = all[self.seen..].to_vec();
        self.seen = all.len();
        new
    }
}

fn of<'a>(writes: &'a [Write], what: &str) -> Vec<&'a Write> {
    writes.iter().filter(|write| write.what.starts_with(what)).collect()
}

#[tokio::test]
async fn an_idle_node_costs_no_write() {
    let mut quiet = Quiet::new().await;
    quiet.heartbeats(20).await;
    assert!(quiet.new_writes().is_empty());
}

#[tokio::test]
async fn a_reconnect_that_changes_nothing_costs_no_write() {
    let mut quiet = Quiet::new().await;
    let connections = quiet.link.connections();
    quiet.link.drop_connections();
    until("the agent is back", || (quiet.link.connections() > connections).then_some(())).await;
    quiet.heartbeats(5).await;
    let writes = quiet.new_writes();
    assert!(writes.is_empty(), "{writes:?}");
}

#[tokio::test]
async fn a_restart_of_the_agent_that_changes_nothing_costs_no_write() {
    let mut quiet = Quiet::new().await;
    quiet.agent.kill();
    let connections = quiet.link.connections();
    quiet.agent.start();
    until("the agent is back", || (quiet.link.connections() > connections).then_some(())).await;
    quiet.heartbeats(5).await;
    let writes = quiet.new_writes();
    assert!(writes.is_empty(), "{writes:?}");
}

#[tokio::test]
async fn a_restart_of_the_operator_costs_the_nodes_no_write() {
    let mut quiet = Quiet::new().await;
    assert_eq!(quiet.operator.drain().await, Some(0));
    let connections = quiet.link.connections();
    quiet.operator.start_again().await;
    until("the agent is back", || (quiet.link.connections() > connections).then_some(())).await;
    quiet.heartbeats(5).await;
    let writes = quiet.new_writes();
    assert!(writes.is_empty(), "{writes:?}");
}

#[tokio::test]
async fn a_change_of_the_spec_costs_at_most_two_patches_and_one_event() {
    let mut quiet = Quiet::new().await;
    let changed =
        json!({"files": [quiet.agent.machine.inline("f", "two")], "services": [quiet.agent.machine.service("press")]});
    quiet.node.apply(changed).await;
    quiet.node.until_ready().await;
    quiet.heartbeats(5).await;
    let writes = quiet.new_writes();
    let (patches, events) = (of(&writes, "patch edgenodes/status press-07"), of(&writes, "create events"));
    assert!((1..=2).contains(&patches.len()), "{writes:?}");
    assert!(events.len() <= 1, "{writes:?}");
    assert_eq!(writes.len(), patches.len() + events.len(), "{writes:?}");
}

#[tokio::test]
async fn no_write_of_the_operator_is_refused() {
    let quiet = Quiet::new().await;
    let refused: Vec<Write> = quiet
        .world
        .cluster
        .writes_of_operators(&quiet.world.namespace)
        .into_iter()
        .filter(|write| write.code >= 400 && write.code != 409)
        .collect();
    assert!(refused.is_empty(), "{refused:?}");
}
