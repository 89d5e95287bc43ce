//! Services that cannot start: what depends on them waits and says for what, and what does not goes on.

use std::fs;

use serde_json::json;

use crate::{
    machine::Machine,
    parts::{World, condition, is},
    services::{entry, order, service, status, times},
};

#[tokio::test]
async fn a_chain_stops_at_the_service_that_cannot_start_and_an_independent_branch_goes_on() {
    const ABSENT: &str = r"C:\Acme\absent.exe";
    const NEEDED: &str = r"C:\Acme\needed.txt";
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let services = [
        entry(ABSENT, "service", "db", json!({}), &[]),
        service("app", json!({"dependsOn": ["db"]}), &[]),
        service("a-web", json!({"dependsOn": ["app"]}), &[]),
        // Ends before it runs, as long as there is no such file.
        service("cache", json!({}), &["--show", NEEDED]),
        service("worker", json!({"dependsOn": ["cache"]}), &[]),
        service("other", json!({}), &[]),
        service("another", json!({"dependsOn": ["other"]}), &[]),
    ];
    let node = world.node("press-07", json!({"services": services})).await;
    machine.enroll(&node).await;
    let failed = node
        .until("tells both failures and has the other branch up", |node| {
            let are =
                |names: &[&str], state| names.iter().all(|name| status(node, name).is_some_and(|s| s.state == state));
            are(&["db", "cache"], "Failed")
                && are(&["app", "a-web", "worker"], "Waiting")
                && are(&["other", "another"], "Running")
        })
        .await;
    let failures = &failed.status.as_ref().unwrap().failures;
    let reason_of = |resource| failures.iter().find(|failure| failure.resource == resource).map(|f| f.reason.as_str());
    assert_eq!(reason_of("service db"), Some("NotExecutable"), "{failures:?}");
    assert!(reason_of("service cache").is_some(), "{failures:?}");
    for kind in ["Ready", "Healthy"] {
        assert!(is(&failed, kind, "False", "ServicesNotReady"), "{:?}", condition(&failed, kind));
        let message = &condition(&failed, kind).unwrap().message;
        assert!(message.contains(" is Failed: start the service "), "a cause is named: {message}");
    }
    machine
        .until_status("what each waits for", |status| {
            let says = |name: &str, message: &str| {
                let mut services = status["services"].as_array().into_iter().flatten();
                services.any(|service| service["name"] == name && service["message"] == message)
            };
            says("app", "waits for db, which cannot be started")
                && says("a-web", "waits for app, which is not running yet")
                && says("worker", "waits for cache, which cannot be started")
        })
        .await;
    let said = order(&machine);
    assert!(
        !said.iter().any(|line| ["app ", "a-web ", "worker "].iter().any(|name| line.starts_with(name))),
        "{said:?}"
    );

    machine.write(NEEDED, "now");
    fs::copy(machine.outside(r"C:\windlass-test-service.exe"), machine.outside(ABSENT)).unwrap();
    node.until_ready().await;
    assert_eq!(times(&machine, "other running"), 1);
}
