//! The supervisor's task over services and a store in memory.

use super::{super::samples::service, *};
use crate::{
    agent::{
        host::{Exit, memory_services::MemoryServices},
        store::{MemoryContents, MemoryStore},
    },
    model::{Service, ServicePhase},
};

struct Agent {
    inputs: watch::Sender<Arc<ServiceInputs>>,
    reports: watch::Receiver<Arc<ServiceReports>>,
    machine_stops: CancellationToken,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), StoreError>>,
}

fn supervise(control: &Arc<MemoryServices>, store: &Arc<MemoryStore>, inputs: ServiceInputs) -> Agent {
    let (inputs, receiver) = watch::channel(Arc::new(inputs));
    let (sender, reports) = watch::channel(Arc::default());
    let (machine_stops, shutdown) = (CancellationToken::new(), CancellationToken::new());
    let task = tokio::spawn(run(
        control.clone(),
        store.clone(),
        Arc::new(MemoryContents::default()),
        receiver,
        sender,
        machine_stops.clone(),
        shutdown.clone(),
    ));
    Agent { inputs, reports, machine_stops, shutdown, task }
}

impl Agent {
    async fn until(&mut self, wanted: impl FnMut(&Arc<ServiceReports>) -> bool) -> Arc<ServiceReports> {
        self.reports.wait_for(wanted).await.expect("the supervisor runs").clone()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic").expect("no error");
    }
}

fn inputs(number: u64, services: Vec<Service>) -> ServiceInputs {
    ServiceInputs { number, known: true, services, ..ServiceInputs::default() }
}

fn db_and_app() -> Vec<Service> {
    let (mut app, db) = (service("app"), service("db"));
    app.depends_on = vec![db.name.clone()];
    vec![app, db]
}

#[tokio::test(start_paused = true)]
async fn services_start_in_order_and_outlive_the_agent() {
    let (control, store) = (Arc::new(MemoryServices::default()), Arc::new(MemoryStore::default()));
    let mut agent = supervise(&control, &store, inputs(1, db_and_app()));
    let reports = agent.until(|reports| reports.services.iter().any(|s| s.ready && s.name == "app")).await;
    assert!(reports.carried_out && reports.answers == 1);
    assert_eq!(control.log(), ["start db", "start app"]);
    agent.stop().await;
    assert_eq!(control.running(), ["app", "db"]);

    let mut agent = supervise(&control, &store, inputs(7, db_and_app()));
    let reports = agent.until(|reports| reports.answers == 7).await;
    assert!(reports.services.iter().all(|s| s.ready && s.restarts == 0), "{reports:?}");
    agent.inputs.send_replace(Arc::new(inputs(8, Vec::new())));
    agent.until(|reports| reports.answers == 8 && reports.carried_out).await;
    agent.stop().await;
    assert_eq!(control.log(), ["start db", "start app", "stop app", "stop db"]);
    assert_eq!(store.services(), Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_crashes_comes_back_after_its_delay() {
    let (control, store) = (Arc::new(MemoryServices::default()), Arc::new(MemoryStore::default()));
    let mut agent = supervise(&control, &store, inputs(1, vec![service("a")]));
    agent.until(|reports| reports.services.iter().any(|s| s.ready)).await;
    let crashed = Instant::now();
    control.crash("a", Exit::Code(3));
    let reports = agent.until(|reports| reports.services.iter().any(|s| !s.ready)).await;
    assert_eq!(reports.services[0].state, ServicePhase::BackingOff);
    assert_eq!(reports.services[0].message, "ended with code 3; is started again after 1 s");
    let reports = agent.until(|reports| reports.services.iter().any(|s| s.ready)).await;
    assert_eq!(reports.services[0].restarts, 1);
    assert_eq!(crashed.elapsed().as_secs(), 1);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn after_the_store_was_lost_what_runs_is_restarted_and_not_started_twice() {
    let (control, store) = (Arc::new(MemoryServices::default()), Arc::new(MemoryStore::default()));
    let mut agent = supervise(&control, &store, inputs(1, db_and_app()));
    agent.until(|reports| reports.services.iter().any(|s| s.ready && s.name == "app")).await;
    agent.stop().await;
    let store = Arc::new(MemoryStore::damaged("lost"));
    let mut agent = supervise(&control, &store, inputs(1, db_and_app()));
    agent.until(|reports| reports.carried_out && reports.services.iter().all(|s| s.ready)).await;
    agent.stop().await;
    assert_eq!(control.log()[2..], ["stop app", "stop db", "start db", "start app"]);
    assert_eq!(control.running(), ["app", "db"]);
}

#[tokio::test(start_paused = true)]
async fn when_the_machine_stops_all_services_stop_in_order_and_the_agent_ends() {
    let (control, store) = (Arc::new(MemoryServices::default()), Arc::new(MemoryStore::default()));
    let mut agent = supervise(&control, &store, inputs(1, db_and_app()));
    agent.until(|reports| reports.services.iter().any(|s| s.ready && s.name == "app")).await;
    agent.machine_stops.cancel();
    agent.task.await.expect("no panic").expect("no error");
    assert_eq!(control.log()[2..], ["stop app", "stop db"]);
    assert!(agent.reports.borrow().services.iter().all(|s| s.ready), "what was last said stays");
    control.reboot();
    let mut agent = supervise(&control, &store, inputs(1, db_and_app()));
    agent.until(|reports| reports.services.iter().all(|s| s.ready && s.restarts == 0)).await;
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_stop_is_killed_in_the_end() {
    let (control, store) = (Arc::new(MemoryServices::default()), Arc::new(MemoryStore::default()));
    control.set_stubborn("a");
    let mut agent = supervise(&control, &store, inputs(1, vec![service("a")]));
    agent.until(|reports| reports.services.iter().any(|s| s.ready)).await;
    let asked = Instant::now();
    agent.inputs.send_replace(Arc::new(inputs(2, Vec::new())));
    agent.until(|reports| reports.answers == 2 && reports.carried_out).await;
    assert_eq!(control.log(), ["start a", "stop a", "kill a"]);
    assert_eq!(asked.elapsed().as_secs(), 30);
    agent.stop().await;
}
