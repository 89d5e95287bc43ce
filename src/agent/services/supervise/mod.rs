//! The supervisor's task: waits for what happens, has [`super::step`] decide, and `hands` carry it out.
//! Does IO through `ServiceControl` and the store. Its end stops no service.

mod deeds;
mod found;
mod hands;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Moment, ServiceInputs, ServiceReports,
    step::{Action, Event, Supervisor},
};
use crate::agent::{
    contents::Contents,
    host::ServiceControl,
    store::{Store, StoreError},
};
use found::found;
use hands::Hands;

/// Between looks at the size of logs.
const TEND_EVERY: Duration = Duration::from_secs(60);
/// What is being started when the agent ends gets this long to be journaled and started.
const FINISH_WITHIN: Duration = Duration::from_secs(3);

/// Supervises until `shutdown`, or until all services are stopped once `machine_stops`. Fails only at the start, when
/// the store does not say what runs: starting anything then could start it twice.
pub async fn run(
    control: Arc<dyn ServiceControl>,
    store: Arc<dyn Store>,
    contents: Arc<dyn Contents>,
    mut inputs: watch::Receiver<Arc<ServiceInputs>>,
    reports: watch::Sender<Arc<ServiceReports>>,
    machine_stops: CancellationToken,
    shutdown: CancellationToken,
) -> Result<(), StoreError> {
    let began = Instant::now();
    let found = found(&*control, &*store)?;
    let (mut supervisor, actions) = Supervisor::new(control.boot_id(), control.is_managed(), found, Moment::ZERO);
    supervisor.machine_started(control.machine_started_ago(), Moment::ZERO);
    let mut hands = Hands::new(control, store, contents);
    hands.carry_out(actions, &supervisor).await;
    // The first inputs count as a change.
    inputs.mark_changed();
    let (mut inputs_live, mut stopping) = (true, false);
    let mut tend = interval_at(began + TEND_EVERY, TEND_EVERY);
    tend.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !(stopping && supervisor.is_at_rest()) {
        let tick = supervisor.next_tick(began.elapsed()).map(|moment| began + moment);
        let event = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            () = machine_stops.cancelled(), if !stopping => {
                info!("the machine shuts down; all services are stopped in order");
                stopping = true;
                Event::MachineStops
            }
            changed = inputs.changed(), if inputs_live => match changed {
                Ok(()) => Event::Inputs(inputs.borrow_and_update().clone()),
                Err(_) => {
                    inputs_live = false;
                    continue;
                }
            },
            event = hands.next_event() => event,
            () = sleep_until(tick.unwrap_or(began)), if tick.is_some() => Event::Tick,
            _ = tend.tick() => {
                hands.tend(supervisor.running());
                continue;
            }
        };
        log(&event);
        let actions = supervisor.step(event, began.elapsed());
        hands.carry_out(actions, &supervisor).await;
        if stopping {
            continue;
        }
        let now_reported = Arc::new(supervisor.reports());
        reports.send_if_modified(|reported| {
            let differs = **reported != *now_reported;
            *reported = now_reported;
            differs
        });
    }
    // A start cut off in the middle would count as a crash when the agent comes back.
    let finish = async {
        while let Some(event) = hands.next_start().await {
            let mut actions = supervisor.step(event, began.elapsed());
            actions.retain(|action| matches!(action, Action::Record(..)));
            hands.carry_out(actions, &supervisor).await;
        }
    };
    if timeout(FINISH_WITHIN, finish).await.is_err() {
        warn!("a service was still being started when the agent ended");
    }
    hands.drop_all().await;
    Ok(())
}

fn log(event: &Event) {
    match event {
        Event::Started(id, Ok(process)) => info!(service = id, pid = process.pid, "started"),
        Event::Started(id, Err(error)) => warn!(service = id, %error, "not started"),
        Event::Ended(id, process, exit) => info!(service = id, pid = process.pid, ?exit, "ended"),
        Event::Cleared(id, Err(error)) => warn!(service = id, %error, "left something that could not be ended"),
        Event::Forgotten(id, Err(error)) => warn!(service = id, %error, "could not be removed"),
        Event::Forgotten(id, Ok(())) => info!(service = id, "removed"),
        Event::Configured(id, Some(origin), Ok(_)) => info!(service = id, ?origin, "configured"),
        Event::Configured(id, _, Err(error)) => warn!(service = id, %error, "not configured"),
        Event::Paused(id, process, Err(error)) => warn!(service = id, pid = process.pid, %error, "refused"),
        Event::StopAsked(id, process, Err(error)) => {
            warn!(service = id, pid = process.pid, %error, "could not be asked to stop");
        }
        Event::Inputs(_)
        | Event::Configured(..)
        | Event::Paused(..)
        | Event::StopAsked(..)
        | Event::Cleared(..)
        | Event::Checked(..)
        | Event::MachineStops
        | Event::Tick => {}
    }
}
