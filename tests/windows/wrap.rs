//! Programs that are no services of Windows, run as services all the same.

use serde_json::json;

use crate::{
    machine::{Machine, STATE},
    parts::{World, until},
    services::{entry, ready, status, times},
};

#[tokio::test]
async fn a_program_that_is_no_service_runs_as_one_and_outlives_the_agent() {
    let world = World::new().await;
    let _operator = world.operator().await;
    let mut machine = Machine::new(&world, "press-07");
    let more = json!({
        "wrap": true,
        "env": [{"name": "LINE", "value": "seven of nine"}],
        "recovery": {"actions": [{"restart": {"delaySeconds": 1}}]},
        "stopTimeoutSeconds": 3,
    });
    let press = entry(r"C:\windlass-test-service.exe", "program", "press", more, &["--show-variable", "LINE"]);
    let node = ready(&world, &mut machine, json!({"services": [press]})).await;
    let runs = |machine: &Machine| times(machine, "press running seven of nine");
    until("it runs", || (runs(&machine) == 1).then_some(())).await;
    assert_eq!(machine.service_state("press").as_deref(), Some("RUNNING"));
    let outputs = |machine: &Machine| {
        let output = machine.read(&format!(r"{STATE}\wrapped\press\output\output.log")).unwrap_or_default();
        output.matches("press writes to its output").count()
    };
    until("its output is kept", || (outputs(&machine) == 1).then_some(())).await;

    machine.kill();
    let alive = machine.processes("program press");
    machine.start();
    machine.until_status("it is connected", |status| status["link"]["state"] == "Connected").await;
    node.until_ready().await;
    assert_eq!((alive.len(), machine.processes("program press")), (1, alive));

    machine.crash("program press");
    let again = node
        .until("has press running again", |node| {
            status(node, "press").is_some_and(|press| press.restarts == 1 && press.ready)
        })
        .await;
    until("it writes again", || (runs(&machine) == 2 && outputs(&machine) == 2).then_some(())).await;

    node.apply(json!({})).await;
    node.until_newer(&again).await;
    assert_eq!(machine.service_state("press"), None);
    assert_eq!(machine.processes("program press"), [0_u32; 0]);
    assert!(!machine.exists(&format!(r"{STATE}\wrapped\press")));
}
