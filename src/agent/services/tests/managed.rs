//! Situations on a machine whose manager keeps services, as the Windows SCM does.

use super::{
    super::{
        Moment, ServiceInputs,
        samples::{name, probe, service},
    },
    situations::{go_on, known, pass_time, says},
    world::World,
};
use crate::{
    agent::store::Origin,
    model::{Digest, HostPath, Service, ServiceState, StartMode},
};

fn world(services: Vec<Service>) -> World {
    let mut world = World::managed();
    world.set(known(services));
    world.come_to_rest();
    world.log.clear();
    world
}

fn command(world: &World, id: &str) -> Vec<String> {
    world.running(id).concat()
}

#[test]
fn a_service_is_known_to_the_manager_before_it_starts_and_even_if_it_does_not() {
    let mut stopped = service("b");
    stopped.state = ServiceState::Stopped;
    let mut world = World::managed();
    world.set(known(vec![service("a"), stopped]));
    assert!(!world.agent().reports().carried_out);
    go_on(&mut world, |_, _| true);
    assert!(world.is_kept("a") && world.is_kept("b") && world.agent().reports().carried_out);
    assert_eq!(world.log, ["start a"]);
    assert_eq!(world.store["a"].origin, Origin::Created);
}

#[test]
fn a_configuration_that_its_process_does_not_see_is_told_without_a_restart() {
    let mut world = world(vec![service("a")]);
    let mut renamed = service("a");
    renamed.display_name = "The press".into();
    world.set(known(vec![renamed]));
    assert!(!world.agent().reports().carried_out);
    go_on(&mut world, |_, _| true);
    assert!(world.agent().reports().carried_out && world.log.is_empty());
    assert_eq!(world.kept("a").display_name, "The press");
}

#[test]
fn a_service_that_somebody_deletes_is_made_again() {
    let mut world = world(vec![service("a")]);
    world.managed.as_mut().expect("a manager").clear();
    pass_time(&mut world, 60, |_, _| true);
    assert!(world.is_kept("a") && world.log.is_empty());
}

#[test]
fn one_that_does_not_take_its_configuration_fails_with_what_depends_on_it_and_nothing_else() {
    let mut world = World::managed();
    world.unconfigurable.insert("a".into());
    let mut above = service("b");
    above.depends_on = vec![name("a")];
    world.set(known(vec![service("a"), above, service("c")]));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["start c"]);
    assert_eq!(
        says(&world),
        [
            "a Failed not ready: configure a: no such account",
            "b Waiting not ready: waits for a, which cannot be configured",
            "c Running ready: ",
        ]
    );
    assert_eq!(world.agent().reports().services[0].reason, "UnknownAccount");
    world.unconfigurable.clear();
    pass_time(&mut world, 2, |_, _| true);
    assert_eq!(world.log, ["start c", "start a", "start b"]);
}

#[test]
fn a_service_that_was_there_is_adopted_as_it_runs_and_left_so() {
    let mut world = World::managed();
    world.install("a", &["/bin/a"]);
    world.start_by_hand("a");
    world.set(known(vec![service("a")]));
    go_on(&mut world, |_, _| true);
    assert_eq!(says(&world), ["a Running ready: "]);
    assert_eq!(world.store["a"].origin, Origin::Adopted);
    world.crash();
    world.set(known(Vec::new()));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["crash"]);
    assert!(world.is_kept("a") && world.running("a").len() == 1 && world.store.is_empty());
    assert!(world.agent().reports().carried_out);
}

#[test]
fn one_that_ran_with_something_else_is_restarted_when_it_is_adopted() {
    let mut world = World::managed();
    world.install("a", &["/bin/other"]);
    world.start_by_hand("a");
    world.set(known(vec![service("a")]));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["stop a", "start a"]);
    assert_eq!(command(&world, "a"), ["/bin/a"]);
}

#[test]
fn one_that_names_files_is_restarted_when_it_is_adopted_as_they_may_be_new() {
    let file = HostPath::parse("/etc/conf").expect("path");
    let mut reader = service("a");
    reader.restart_on_change = vec![file.clone()];
    let mut world = World::managed();
    world.install("a", &["/bin/a"]);
    world.start_by_hand("a");
    let (files, files_in_place) = ([file.clone()].into(), [(file, Digest::of(b"1"))].into());
    world.set(ServiceInputs { files, files_in_place, ..known(vec![reader]) });
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["stop a", "start a"]);
}

#[test]
fn what_the_manager_started_at_the_machines_start_is_taken_up() {
    let mut above = service("b");
    above.depends_on = vec![name("a")];
    let mut world = world(vec![service("a"), above]);
    world.reboot();
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log, ["crash", "start b"], "a was started by the manager, b is the agent's to order");
    assert!(world.agent().reports().services.iter().all(|service| service.ready && service.restarts == 0));

    let mut changed = service("a");
    changed.command.push("--new".into());
    world.light_fuse(0);
    world.set(known(vec![changed]));
    world.reboot();
    go_on(&mut world, |_, _| true);
    assert_eq!(command(&world, "a"), ["/bin/a", "--new"], "{:?}", world.log);
}

#[test]
fn one_that_should_not_run_is_stopped_whoever_started_it() {
    let mut stopped = service("a");
    stopped.state = ServiceState::Stopped;
    let mut world = world(vec![stopped]);
    world.start_by_hand("a");
    pass_time(&mut world, 60, |_, _| true);
    assert_eq!(world.log, ["stop a"]);
}

#[test]
fn a_paused_service_is_ready_and_those_that_depend_on_it_wait() {
    let mut paused = service("a");
    paused.state = ServiceState::Paused;
    paused.readiness_probe = Some(probe());
    paused.liveness_probe = Some(probe());
    let mut above = service("b");
    above.depends_on = vec![name("a")];
    let mut world = World::managed();
    world.set(known(vec![paused.clone(), above.clone()]));
    pass_time(&mut world, 100, |_, _| false);
    assert_eq!(world.log, ["start a", "pause a"]);
    assert_eq!(says(&world), ["a Paused ready: ", "b Waiting not ready: waits for a, which is to be paused"]);
    world.crash();
    pass_time(&mut world, 5, |_, _| false);
    assert_eq!(says(&world)[0], "a Paused ready: ");

    paused.state = ServiceState::Running;
    world.set(known(vec![paused, above]));
    pass_time(&mut world, 2, |_, _| true);
    assert_eq!(world.log, ["start a", "pause a", "crash", "continue a", "start b"]);
}

#[test]
fn a_service_that_refuses_to_pause_says_so_and_is_asked_again() {
    let mut paused = service("a");
    paused.state = ServiceState::Paused;
    let mut world = World::managed();
    world.refusing.insert("a".into());
    world.set(known(vec![paused]));
    go_on(&mut world, |_, _| true);
    assert_eq!(says(&world), ["a Running not ready: pause a: it does not accept being paused"]);
    assert_eq!(world.agent().reports().services[0].reason, "Refused");
    assert!(!world.agent().reports().carried_out);
    world.refusing.clear();
    pass_time(&mut world, 60, |_, _| true);
    assert_eq!(says(&world), ["a Paused ready: "]);
}

#[test]
fn a_service_that_others_depend_on_is_asked_until_they_are_down_and_not_killed() {
    let mut world = world(vec![service("a")]);
    world.held_up.insert("a".into());
    world.set(known(Vec::new()));
    pass_time(&mut world, 100, |_, _| true);
    assert!(world.log.len() > 10 && world.log.iter().all(|line| line == "cannot stop a"), "{:?}", world.log);
    world.held_up.clear();
    world.log.clear();
    pass_time(&mut world, 5, |_, _| true);
    assert_eq!(world.log, ["stop a"]);
    assert!(!world.is_kept("a"));
}

#[test]
fn an_unhealthy_service_that_others_depend_on_is_restarted_though_its_manager_stops_it_for_nobody() {
    let (mut db, mut app) = (service("db"), service("app"));
    db.liveness_probe = Some(probe());
    app.depends_on = vec![name("db")];
    let mut world = world(vec![app, db]);
    pass_time(&mut world, 3, |_, _| false);
    assert_eq!(world.log, ["cannot stop db", "kill db"]);
    let expected =
        "db BackingOff not ready: was stopped as its liveness probe failed: refused; is started again after 1 s";
    assert_eq!(says(&world)[1], expected);
    pass_time(&mut world, 1, |_, _| true);
    assert_eq!(world.log[2..], ["start db"]);
    assert_eq!(world.agent().reports().services[1].restarts, 1);
}

#[test]
fn a_service_that_could_not_be_stopped_goes_on_once_it_need_not_stop() {
    let mut world = world(vec![service("a")]);
    world.held_up.insert("a".into());
    let mut stopped = service("a");
    stopped.state = ServiceState::Stopped;
    world.set(known(vec![stopped]));
    go_on(&mut world, |_, _| true);
    world.set(known(vec![service("a")]));
    pass_time(&mut world, 5, |_, _| true);
    assert_eq!((says(&world), world.agent().reports().carried_out), (vec!["a Running ready: ".to_owned()], true));
    world.log.clear();
    pass_time(&mut world, 100, |_, _| true);
    assert!(world.log.is_empty(), "{:?}", world.log);

    let mut changed = service("a");
    changed.command.push("--new".into());
    world.set(known(vec![changed]));
    pass_time(&mut world, 100, |_, _| true);
    assert!(world.log.len() < 25 && says(&world)[0].starts_with("a Stopping"), "{:?}", world.log);
}

#[test]
fn a_service_that_is_held_up_says_by_whom() {
    let mut world = world(vec![service("a")]);
    world.held_up.insert("a".into());
    let mut stopped = service("a");
    stopped.state = ServiceState::Stopped;
    world.set(known(vec![stopped]));
    go_on(&mut world, |_, _| true);
    assert_eq!(says(&world), ["a Stopping not ready: stop: x depends on it and runs; nothing of that is managed here"]);
    assert_eq!(world.agent().reports().services[0].reason, "DependentServicesRunning");
}

#[test]
fn when_the_machine_stops_everything_stops_in_order_and_nothing_is_forgotten() {
    for suspended in [false, true] {
        let mut above = service("b");
        above.depends_on = vec![name("a")];
        let mut world = world(vec![service("a"), above.clone()]);
        world.set(ServiceInputs { suspended, ..known(vec![service("a"), above, service("c")]) });
        world.say(super::super::step::Event::MachineStops);
        go_on(&mut world, |_, _| true);
        world.advance(Moment::from_secs(3600));
        go_on(&mut world, |_, _| true);
        let stopped: Vec<&String> = world.log.iter().filter(|line| line.starts_with("stop")).collect();
        assert_eq!(stopped[..2], ["stop b", "stop a"], "{:?}", world.log);
        assert!(world.agent().is_at_rest() && world.is_kept("a") && world.store.len() >= 2);
    }
}

#[test]
fn when_the_machine_stops_what_somebody_elses_service_holds_up_is_not_waited_for() {
    let (mut app, mut other) = (service("app"), service("other"));
    app.depends_on = vec![name("db")];
    other.depends_on = vec![name("db")];
    let mut world = world(vec![app, service("db"), other]);
    world.held_up.insert("app".into());
    world.make_stubborn("other");
    world.say(super::super::step::Event::MachineStops);
    go_on(&mut world, |_, _| true);
    assert!(!world.agent().is_at_rest(), "another one is on its way: {:?}", world.log);
    world.exit("other");
    go_on(&mut world, |_, _| true);
    assert!(world.agent().is_at_rest(), "{:?}", world.log);
    assert_eq!(world.log, ["cannot stop app", "stop other"]);
}

#[test]
fn soon_after_the_machines_start_a_delayed_service_is_left_to_its_manager() {
    let (mut late, mut above) = (service("late"), service("above"));
    late.start_mode = StartMode::DelayedAutomatic;
    (above.start_mode, above.depends_on) = (StartMode::DelayedAutomatic, vec![name("first")]);
    let services = || known(vec![late.clone(), above.clone(), service("first")]);
    for manager_starts_it in [true, false] {
        let mut world = World::managed();
        world.set(services());
        world.come_to_rest();
        assert!(world.log.contains(&"start late".to_owned()), "a new one starts at once: {:?}", world.log);
        world.up_for = Moment::from_secs(60);
        world.reboot();
        world.log.clear();
        pass_time(&mut world, 120, |_, _| true);
        assert_eq!(world.log, ["start above"], "ordered by the agent, which knows of no delay");
        let expected = "late Waiting not ready: waits for its delayed start, some minutes after the machine's";
        assert_eq!(says(&world)[0], expected);
        if manager_starts_it {
            world.start_by_hand("late");
        }
        pass_time(&mut world, 120, |_, _| true);
        let started = if manager_starts_it { "start above" } else { "start above, start late" };
        assert_eq!((world.log.join(", "), says(&world)[0].as_str()), (started.to_owned(), "late Running ready: "));
    }
}

#[test]
fn one_that_somebody_changed_and_started_is_put_back_and_restarted() {
    let mut left = service("a");
    left.recovery.actions = vec![crate::model::RecoveryAction::None];
    let mut world = world(vec![left]);
    world.exit("a");
    go_on(&mut world, |_, _| true);
    world.tamper("a", &["/bin/other"]);
    world.start_by_hand("a");
    pass_time(&mut world, 60, |_, _| true);
    assert_eq!(world.log, ["stop a", "start a"]);
    assert_eq!(command(&world, "a"), ["/bin/a"]);
}

#[test]
fn what_was_seen_to_run_before_its_end_is_not_taken_up_after_it() {
    let mut world = world(vec![service("a")]);
    let look = |world: &mut World, passes: usize| {
        (0..passes).for_each(|_| {
            let last = world.pending() - 1;
            world.deliver(last, |_, _| true);
        })
    };
    world.advance(Moment::from_secs(60));
    // Its journal and the manager's answer, which is on its way when the service ends.
    look(&mut world, 2);
    world.exit("a");
    assert!(world.deliver(0, |_, _| true) && world.deliver(1, |_, _| true), "ended and cleared");
    go_on(&mut world, |_, _| true);
    assert!(says(&world)[0].starts_with("a BackingOff"), "{:?}", says(&world));
    pass_time(&mut world, 1, |_, _| true);
    assert_eq!(world.agent().reports().services[0].restarts, 1);
}

#[test]
fn a_service_that_changes_while_it_is_adopted_is_restarted() {
    let mut world = World::managed();
    world.install("a", &["/bin/a"]);
    world.start_by_hand("a");
    world.set(known(vec![service("a")]));
    let mut changed = service("a");
    changed.command.push("--new".into());
    world.set(known(vec![changed]));
    go_on(&mut world, |_, _| true);
    assert_eq!(command(&world, "a"), ["/bin/a", "--new"]);
}

#[test]
fn services_that_are_adopted_stop_in_order_whichever_is_found_first() {
    let mut app = service("app");
    app.depends_on = vec![name("db")];
    // Of the first: its journal, what the manager is told, and the answer. The other waits.
    for (first, steps) in [("app", [0, 1, 1]), ("db", [1, 1, 1])] {
        let mut world = World::managed();
        for id in ["app", "db"] {
            world.install(id, &["/bin/other"]);
            world.start_by_hand(id);
        }
        world.set(known(vec![app.clone(), service("db")]));
        assert!(steps.iter().all(|index| world.deliver(*index, |_, _| true)));
        go_on(&mut world, |_, _| true);
        assert_eq!(world.log, ["stop app", "stop db", "start db", "start app"], "{first} is found first");
    }
}

#[test]
fn one_that_was_left_running_and_comes_back_stops_before_what_it_depends_on() {
    let (mut app, mut db) = (service("app"), service("db"));
    let mut world = World::managed();
    world.install("app", &["/bin/app"]);
    world.start_by_hand("app");
    world.set(known(vec![app.clone(), db.clone()]));
    go_on(&mut world, |_, _| true);
    world.set(known(vec![db.clone()]));
    assert_eq!(world.log, ["start db"], "the app is about to be forgotten");
    app.depends_on = vec![name("db")];
    db.command.push("--new".into());
    world.set(known(vec![app, db]));
    go_on(&mut world, |_, _| true);
    assert_eq!(world.log[1..], ["stop app", "stop db", "start db", "start app"]);
}

#[test]
fn one_that_left_before_it_ran_with_what_its_manager_was_told_is_restarted_when_it_comes_back() {
    for crashes in [false, true] {
        let mut world = World::managed();
        world.install("a", &["/bin/other"]);
        world.start_by_hand("a");
        world.set(known(vec![service("a")]));
        assert!(world.deliver(0, |_, _| true) && world.deliver(0, |_, _| true), "journaled and told");
        world.set(known(Vec::new()));
        if crashes {
            world.crash();
        }
        go_on(&mut world, |_, _| true);
        assert!(world.agent().reports().carried_out && command(&world, "a") == ["/bin/other"]);
        world.log.clear();
        world.set(known(vec![service("a")]));
        go_on(&mut world, |_, _| true);
        assert_eq!((world.log.join(", ").as_str(), command(&world, "a")), ("stop a, start a", vec!["/bin/a".into()]));

        world.set(known(Vec::new()));
        go_on(&mut world, |_, _| true);
        assert!(world.store.is_empty(), "it runs as its manager was told: nothing is to be kept in mind");
    }
}
