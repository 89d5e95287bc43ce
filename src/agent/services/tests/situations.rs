//! Situations one by one: what the supervisor does, and what it says of it.

use super::{
    super::{
        Moment, ProbeKind, ServiceInputs,
        samples::{name, probe, service},
    },
    world::World,
};
use crate::model::{Digest, HostPath, RecoveryAction, Service, ServicePhase, ServiceState, StartMode};

fn at(seconds: u64) -> Moment {
    Moment::from_secs(seconds)
}

fn path(text: &str) -> HostPath {
    HostPath::parse(text).expect("path")
}

pub(super) fn known(services: Vec<Service>) -> ServiceInputs {
    ServiceInputs { known: true, services, ..ServiceInputs::default() }
}

fn world(services: Vec<Service>) -> World {
    let mut world = World::new();
    world.set(known(services));
    world.come_to_rest();
    world.log.clear();
    world
}

fn depending(text: &str, on: &[&str]) -> Service {
    let mut service = service(text);
    service.depends_on = on.iter().map(|on| name(on)).collect();
    service
}

/// `name phase ready message` of each service.
pub(super) fn says(world: &World) -> Vec<String> {
    let line = |service: &crate::model::ServiceReport| {
        let ready = if service.ready { "ready" } else { "not ready" };
        format!("{} {} {ready}: {}", service.name, service.state.as_str(), service.message)
    };
    world.agent().reports().services.iter().map(line).collect()
}

/// Lets all go on that takes no time, with checks that pass or not.
pub(super) fn go_on(world: &mut World, passes: impl Fn(&str, ProbeKind) -> bool) {
    let mut index = 0;
    while index < world.pending() {
        index = if world.deliver(index, &passes) { 0 } else { index + 1 };
    }
}

pub(super) fn pass_time(world: &mut World, seconds: u64, passes: impl Fn(&str, ProbeKind) -> bool + Copy) {
    for _ in 0..seconds {
        world.advance(at(1));
        go_on(world, passes);
    }
}

fn chain() -> Vec<Service> {
    vec![depending("app", &["db"]), service("db"), depending("web", &["app"])]
}

#[test]
fn services_start_when_their_dependencies_are_ready_and_not_before() {
    let mut services = chain();
    services[1].readiness_probe = Some(probe());
    let mut world = World::new();
    world.set(known(services));
    pass_time(&mut world, 5, |_, _| false);
    assert_eq!(world.log, ["start db"]);
    assert_eq!(
        says(&world),
        [
            "app Waiting not ready: waits for db, which is not ready",
            "db Starting not ready: its readiness probe fails: refused",
            "web Waiting not ready: waits for app, which is not running yet",
        ]
    );
    assert!(!world.agent().reports().carried_out);
    pass_time(&mut world, 1, |_, _| true);
    assert_eq!(world.log, ["start db", "start app", "start web"]);
    assert_eq!(says(&world), ["app Running ready: ", "db Running ready: ", "web Running ready: "]);
    assert!(world.agent().reports().carried_out);
}

#[test]
fn a_dependency_that_cannot_be_started_holds_up_only_what_depends_on_it() {
    let mut world = World::new();
    world.set(known(vec![depending("app", &["db"]), service("db"), service("other")]));
    world.fail_start("db");
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["start other"]);
    assert_eq!(
        says(&world),
        [
            "app Waiting not ready: waits for db, which cannot be started",
            "db Failed not ready: start /bin/x: no such file",
            "other Running ready: ",
        ]
    );
    world.advance(at(1));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["start other", "start db", "start app"]);
    assert_eq!(world.agent().reports().services[1].restarts, 0, "nothing ended, so nothing was restarted");
}

#[test]
fn a_start_that_failed_after_it_was_journaled_is_no_end() {
    let mut world = World::new();
    world.set(known(vec![service("a")]));
    world.deliver(0, |_, _| true);
    world.deliver(0, |_, _| true);
    assert!(world.store["a"].process.is_some(), "journaled");
    world.fail_start("a");
    world.crash();
    world.come_to_rest();
    assert_eq!(world.agent().reports().services[0].restarts, 0);
    assert_eq!(world.log, ["crash", "start a"]);
}

#[test]
fn tries_to_start_come_ever_more_rarely() {
    let mut world = World::new();
    world.set(known(vec![service("a")]));
    let mut waits = Vec::new();
    for _ in 0..9 {
        world.fail_start("a");
        let next = world.agent().next_tick(world.now).expect("tries again");
        waits.push((next - world.now).as_secs());
        world.advance(next - world.now);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
}

#[test]
fn everything_stops_in_reverse_when_it_leaves_the_document() {
    let mut world = world(chain());
    world.set(known(Vec::new()));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["stop web", "stop app", "stop db"]);
    assert!(world.store.is_empty() && world.agent().reports().carried_out);
}

#[test]
fn a_stopped_dependency_is_stopped_after_its_dependents_which_wait_for_it() {
    let mut world = world(chain());
    let mut services = chain();
    services[1].state = ServiceState::Stopped;
    world.set(known(services));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["stop web", "stop app", "stop db"]);
    assert_eq!(
        says(&world),
        [
            "app Waiting not ready: waits for db, which is not to run",
            "db Stopped ready: ",
            "web Waiting not ready: waits for app, which is not running yet",
        ]
    );
}

#[test]
fn a_changed_service_restarts_with_its_dependents_around_it() {
    let mut world = world(chain());
    let mut services = chain();
    services[1].command.push("--new".into());
    world.set(known(services));
    assert!(!world.agent().reports().carried_out);
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["stop web", "stop app", "stop db", "start db", "start app", "start web"]);
    assert!(world.agent().reports().carried_out);
    assert!(world.agent().reports().services.iter().all(|service| service.restarts == 0));
}

#[test]
fn a_crash_stops_none_of_the_dependents() {
    let mut world = world(chain());
    world.exit("db");
    go_on(&mut world, |_, _| true);
    assert_eq!(says(&world)[1], "db BackingOff not ready: ended with code 1; is started again after 1 s");
    assert!(world.agent().reports().carried_out, "later ends do not matter");
    pass_time(&mut world, 1, |_, _| true);
    assert_eq!(world.log, ["start db"]);
    assert_eq!(world.agent().reports().services[1].restarts, 1);
}

#[test]
fn delays_follow_the_recovery_and_begin_anew_after_a_run_that_lasted() {
    let mut world = world(vec![service("a")]);
    let mut delays = Vec::new();
    for lasted in [10, 0, 0, 0, 600, 599] {
        pass_time(&mut world, lasted, |_, _| true);
        world.exit("a");
        go_on(&mut world, |_, _| true);
        let next = world.agent().next_tick(world.now).expect("restarts");
        delays.push((next - world.now).as_secs());
        world.advance(next - world.now);
        go_on(&mut world, |_, _| true);
    }
    assert_eq!(delays, [1, 5, 30, 30, 1, 5]);
    assert_eq!(world.agent().reports().services[0].restarts, 6);
}

#[test]
fn a_recovery_of_none_leaves_a_service_stopped_until_it_changes() {
    let mut given_up = service("a");
    given_up.recovery.actions = vec![RecoveryAction::None];
    let mut world = world(vec![given_up.clone()]);
    world.exit("a");
    go_on(&mut world, |_, _| true);
    pass_time(&mut world, 100, |_, _| true);
    world.crash();
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["crash"], "a restart of the agent is no reason to start it");
    assert_eq!(says(&world), ["a Failed not ready: ended; its recovery leaves it stopped"]);
    given_up.command.push("--mended".into());
    world.set(known(vec![given_up]));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["crash", "start a"]);

    world.exit("a");
    go_on(&mut world, |_, _| true);
    world.reboot();
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["crash", "start a", "crash", "start a"], "the machine's start starts it");
}

#[test]
fn an_unhealthy_service_is_restarted_alone_and_with_its_delay() {
    let mut services = chain();
    services[1].liveness_probe = Some(probe());
    let mut world = world(services);
    pass_time(&mut world, 3, |_, _| false);
    assert_eq!(world.log, ["stop db"]);
    let expected =
        "db BackingOff not ready: was stopped as its liveness probe failed: refused; is started again after 1 s";
    assert_eq!(says(&world)[1], expected);
    pass_time(&mut world, 1, |_, _| true);
    assert_eq!(world.log, ["stop db", "start db"]);
    assert_eq!(world.agent().reports().services[1].restarts, 1);
}

#[test]
fn a_service_that_does_not_stop_is_killed_after_its_time() {
    let mut world = world(vec![service("a")]);
    world.make_stubborn("a");
    world.set(known(Vec::new()));
    pass_time(&mut world, 29, |_, _| true);
    assert_eq!(world.log, ["stop a"]);
    pass_time(&mut world, 1, |_, _| true);
    assert_eq!(world.log, ["stop a", "kill a"]);
    assert!(world.store.is_empty());
}

#[test]
fn a_file_that_is_not_in_place_holds_up_a_start_but_stops_nothing() {
    let mut reader = service("a");
    reader.command.push("/etc/conf".into());
    let with = |content: Option<&str>| ServiceInputs {
        files: [path("/etc/conf")].into(),
        files_in_place: content
            .map(|content| (path("/etc/conf"), Digest::of(content.as_bytes())))
            .into_iter()
            .collect(),
        ..known(vec![reader.clone()])
    };
    let mut world = World::new();
    world.set(with(None));
    go_on(&mut world, |_, _| true);
    let waits = "a Waiting not ready: waits for the file /etc/conf, which is not in its desired state";
    assert_eq!((world.log.len(), says(&world)), (0, vec![waits.to_owned()]));
    world.set(with(Some("1")));
    go_on(&mut world, |_, _| true);
    world.set(with(None));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["start a"]);
    assert_eq!(says(&world), ["a Running ready: "]);
    assert!(!world.agent().reports().carried_out);
    world.set(with(Some("1")));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["start a"], "the file is as it was");
    world.set(with(Some("2")));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["start a", "stop a", "start a"]);
}

#[test]
fn who_keeps_a_file_from_being_replaced_stops_with_its_dependents_and_starts_with_the_new_one() {
    let mut services = vec![service("db"), depending("app", &["db"]), service("other")];
    services[0].command = vec!["/db".into()];
    let inputs = |contents: Option<&str>, to_release: bool| ServiceInputs {
        files: [path("/db")].into(),
        files_in_place: contents.map(|text| (path("/db"), Digest::of(text.as_bytes()))).into_iter().collect(),
        files_to_release: to_release.then(|| path("/db")).into_iter().collect(),
        ..known(services.clone())
    };
    let mut world = World::new();
    world.set(inputs(Some("1"), false));
    world.come_to_rest();
    world.log.clear();
    world.set(inputs(None, false));
    world.come_to_rest();
    assert_eq!(world.log, [""; 0], "a file that is yet to come stops nothing");

    world.set(inputs(None, true));
    world.come_to_rest();
    assert_eq!(world.log, ["stop app", "stop db"]);
    assert_eq!(says(&world)[0], "db Waiting not ready: waits for the file /db, which is not in its desired state");
    world.log.clear();
    world.set(inputs(Some("2"), false));
    world.come_to_rest();
    assert_eq!(world.log, ["start db", "start app"]);
}

#[test]
fn a_change_that_arrived_while_the_agent_was_away_restarts() {
    let mut world = world(vec![service("a")]);
    let mut changed = service("a");
    changed.account = Some("nobody".into());
    world.light_fuse(0);
    world.set(known(vec![changed]));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["crash", "stop a", "start a"]);
}

#[test]
fn a_restart_that_a_crash_of_the_agent_cuts_in_two_is_not_an_unexpected_end() {
    for actions in 0..8 {
        let mut world = world(vec![service("a")]);
        let mut changed = service("a");
        changed.command.push("--new".into());
        world.light_fuse(actions);
        world.set(known(vec![changed]));
        world.come_to_rest();
        world.put_out_fuse();
        world.come_to_rest();
        let reports = world.agent().reports();
        assert!(reports.services[0].ready && reports.carried_out);
        assert_eq!(reports.services[0].restarts, 0, "cut off after {actions} actions: {:?}", world.log);
    }
}

#[test]
fn taken_up_services_are_as_ready_as_they_were() {
    let mut probed = service("a");
    probed.readiness_probe = Some(probe());
    let mut world = world(vec![probed, service("b")]);
    world.crash();
    assert_eq!(says(&world), ["a Running ready: ", "b Running ready: "]);
    pass_time(&mut world, 3, |_, _| false);
    assert_eq!(says(&world)[0], "a Running not ready: its readiness probe fails: refused");
    world.crash();
    assert!(!world.agent().reports().services[0].ready);
    assert_eq!(world.log, ["crash", "crash"]);
}

#[test]
fn an_end_that_the_agent_missed_counts_as_one_but_not_after_a_start_of_the_machine() {
    let mut world = world(vec![service("a")]);
    world.exit("a");
    world.crash();
    go_on(&mut world, |_, _| true);
    assert_eq!(says(&world), ["a BackingOff not ready: ended while the agent did not run; is started again after 1 s"]);
    pass_time(&mut world, 1, |_, _| true);
    assert_eq!(world.agent().reports().services[0].restarts, 1);
    world.reboot();
    go_on(&mut world, |_, _| true);
    assert_eq!(world.agent().reports().services[0].restarts, 1);
    assert_eq!(world.log, ["crash", "start a", "crash", "start a"]);
}

#[test]
fn suspended_changes_nothing() {
    let mut world = world(vec![service("a"), service("b"), service("c")]);
    let mut changed = service("b");
    changed.command.push("--new".into());
    let suspended = ServiceInputs { suspended: true, ..known(vec![service("a"), changed.clone(), service("d")]) };
    world.set(suspended);
    world.exit("a");
    pass_time(&mut world, 100, |_, _| true);
    assert!(world.log.is_empty());
    assert_eq!(
        says(&world),
        [
            "a Stopped not ready: ended with code 1; it is not started again while the node is suspended",
            "b Running ready: ",
            "d Stopped not ready: is not started while the node is suspended",
        ]
    );
    world.set(known(vec![service("a"), changed, service("d")]));
    pass_time(&mut world, 1, |_, _| true);
    assert_eq!(world.log, ["stop b", "stop c", "start d", "start a", "start b"]);
}

#[test]
fn without_a_document_running_services_are_known_and_left() {
    let mut world = world(vec![service("a")]);
    world.set(ServiceInputs::default());
    world.exit("a");
    pass_time(&mut world, 100, |_, _| true);
    assert!(world.log.is_empty() && says(&world).is_empty() && !world.agent().reports().carried_out);
    world.set(known(vec![service("a")]));
    pass_time(&mut world, 1, |_, _| true);
    assert_eq!(world.log, ["start a"]);
}

#[test]
fn disabled_is_stopped_manual_is_started_and_paused_is_not_for_here() {
    let mut services = vec![service("a"), service("b"), service("c")];
    let mut world = world(services.clone());
    services[0].start_mode = StartMode::Disabled;
    services[1].start_mode = StartMode::Manual;
    services[2].state = ServiceState::Paused;
    world.set(known(services.clone()));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["stop a"]);
    world.reboot();
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["stop a", "crash", "start b"]);
    let reports = world.agent().reports();
    assert_eq!(reports.services[2].state, ServicePhase::Failed);
    assert_eq!(reports.services[2].message, "state Paused is for Windows; expected Running or Stopped");
}

#[test]
fn a_probe_that_changes_restarts_nothing() {
    let mut world = world(vec![service("a")]);
    let mut probed = service("a");
    probed.readiness_probe = Some(probe());
    probed.liveness_probe = Some(probe());
    world.set(known(vec![probed]));
    pass_time(&mut world, 2, |_, _| true);
    assert!(world.log.is_empty());
    assert_eq!(says(&world), ["a Running ready: "]);
}
