//! The machine's own policy on Windows: what is denied without one, and what comes once it is allowed.

use serde_json::json;

use crate::{
    machine::{Machine, STATE, inline},
    parts::{World, is, until},
    services::service,
};

#[tokio::test]
async fn without_a_policy_nothing_becomes_administrator_and_with_one_what_it_names() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let policy = format!(r"{STATE}\policy.yaml");
    std::fs::remove_file(machine.outside(&policy)).unwrap();
    let run = r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Run";
    let spec = json!({
        "files": [inline(r"C:\Acme\x", "x"), inline(r"C:\windows\Acme\x", "x"), inline(&policy, "x")],
        "registryValues": [
            {"key": r"HKLM\SOFTWARE\Acme", "name": "Line", "dword": 7},
            {"key": run, "name": "Acme", "string": r"C:\Acme\x.exe"},
        ],
        "services": [service("press", json!({}), &[])],
    });
    let node = world.node("press-07", spec).await;
    machine.enroll(&node).await;
    let denied = [
        r"file C:\windows\Acme\x".to_owned(),
        format!("file {policy}"),
        format!(r"registry value {run}\Acme"),
        "service press".to_owned(),
    ];
    let told = node
        .until("says what is denied", |node| {
            let failures = node.status.as_ref().map(|status| status.failures.as_slice()).unwrap_or_default();
            failures.len() == denied.len()
                && failures.iter().all(|f| f.reason == "DeniedByLocalPolicy" && denied.contains(&f.resource))
                && is(node, "Stalled", "True", "DeniedByLocalPolicy")
        })
        .await;
    assert_eq!(told.status.unwrap().resources.unwrap().in_desired_state, 2, "the others go on");
    assert!(machine.exists(r"C:\Acme\x") && !machine.exists(r"C:\windows\Acme\x") && !machine.exists(&policy));
    assert_eq!(machine.registry(run, "Acme"), None);
    assert_eq!(machine.service_state("press"), None);

    let rules = r"apiVersion: edge.windlass.dev/v1alpha1
kind: LocalPolicy
paths: {allow: ['C:\', 'C:\Windows\Acme']}
services: {accounts: [LocalSystem]}
";
    machine.write(&policy, rules);
    until("what is allowed is there", || {
        let runs = machine.service_state("press").as_deref() == Some("RUNNING");
        (runs && machine.exists(r"C:\windows\Acme\x")).then_some(())
    })
    .await;
    assert_eq!(machine.registry(run, "Acme"), None);
    assert_eq!(machine.read(&policy).as_deref(), Some(rules));
}
