//! The agent's own MSI: one silent line installs, enrolls and starts; an upgrade keeps; an uninstall removes.

use std::fs;

use serde_json::json;

use crate::{
    machine::{Machine, given, inline},
    parts::{World, until},
    services::{order, service},
};

const ENROLLMENT: &str = r"C:\for the agent\enrollment.yaml";

fn msi(machine: &Machine, version: &str) -> String {
    let from = given("WINDLASS_WINDOWS_DIST").join(format!("windlass-agent-{version}.msi"));
    let name = format!(r"C:\windlass-agent-{version}.msi");
    fs::copy(&from, machine.outside(&name)).unwrap_or_else(|error| panic!("copy {}: {error}", from.display()));
    name
}

#[tokio::test]
async fn one_silent_line_installs_enrolls_and_starts_the_agent() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let machine = Machine::new(&world, "press-07");
    let files = [inline(r"C:\Acme\press.yaml", "line: 7\n")];
    let spec = json!({"files": files, "services": [service("press", json!({}), &[])]});
    let node = world.node("press-07", spec).await;
    machine.write(ENROLLMENT, &node.enrollment().await);
    // As copied from a medium that can only be read.
    let mut permissions = fs::metadata(machine.outside(ENROLLMENT)).expect("there").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(machine.outside(ENROLLMENT), permissions).expect("read-only");

    let installed =
        machine.run(&["msiexec", "/i", &msi(&machine, "1.0.0"), "/qn", &format!("ENROLLMENT_FILE={ENROLLMENT}")]);
    assert!(installed.status.success(), "{installed:?}");
    let ready = node.until_ready().await;
    assert_eq!(machine.service_state("windlass-agent").as_deref(), Some("RUNNING"));
    assert!(!machine.exists(ENROLLMENT), "it is deleted after use");

    let upgraded = machine.run(&["msiexec", "/i", &msi(&machine, "1.1.0"), "/qn"]);
    assert!(upgraded.status.success(), "{upgraded:?}");
    until("the new agent runs", || {
        (machine.service_state("windlass-agent").as_deref() == Some("RUNNING")).then_some(())
    })
    .await;
    node.apply(json!({"files": files, "services": [service("press", json!({}), &[]), service("two", json!({}), &[])]}))
        .await;
    node.until_newer(&ready).await;
    let said = order(&machine);
    assert!(!said.contains(&"press stopped".to_owned()), "no managed service stops: {said:?}");

    let removed = machine.run(&["msiexec", "/x", &msi(&machine, "1.1.0"), "/qn"]);
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(machine.service_state("windlass-agent"), None);
    assert!(machine.exists(r"C:\ProgramData\windlass\agent.redb"), "data is left");
    assert_eq!(machine.service_state("press").as_deref(), Some("RUNNING"));
}
