//! Whatever happens in whatever order, with the agent cut off anywhere: never two processes of one service,
//! never against the order, and in the end what is desired.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{Config, RngSeed},
};

use super::{
    super::{
        Moment, ProbeKind, ServiceInputs, order,
        samples::{name, probe, service},
        step::Event,
    },
    world::World,
};
use crate::{
    agent::host::{HostError, Reason},
    model::{Digest, HostPath, Service, ServiceName, ServiceState, StartMode},
};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

#[derive(Debug, Clone)]
struct Wish {
    is_there: bool,
    state: ServiceState,
    start_mode: StartMode,
    version: u8,
    /// Bits: on which of the services before it in the order of names, or after it where the order is reversed.
    depends_on: u8,
    readiness: bool,
    liveness: bool,
    file_in_place: bool,
}

#[derive(Debug, Clone)]
enum Happening {
    Inputs {
        wishes: Vec<Wish>,
        reversed: bool,
        suspended: bool,
        known: bool,
    },
    Deliver {
        index: usize,
        passes: bool,
    },
    Exit(usize),
    Stubborn(usize),
    FailStart(usize),
    /// Somebody else makes it, and maybe starts it.
    Install {
        index: usize,
        starts: bool,
    },
    Advance(u8),
    Crash,
    CrashAfter(usize),
    Reboot,
}

fn wish() -> impl Strategy<Value = Wish> {
    let state = prop_oneof![
        8 => Just(ServiceState::Running),
        2 => Just(ServiceState::Stopped),
        1 => Just(ServiceState::Paused),
    ];
    let start_mode = prop_oneof![6 => Just(StartMode::Automatic), 1 => Just(StartMode::Disabled)];
    let flags = (prop::bool::weighted(0.85), any::<bool>(), prop::bool::weighted(0.3), prop::bool::weighted(0.8));
    (state, start_mode, 0..3u8, any::<u8>(), flags).prop_map(|(state, start_mode, version, depends_on, flags)| {
        let (is_there, readiness, liveness, file_in_place) = flags;
        Wish { is_there, state, start_mode, version, depends_on, readiness, liveness, file_in_place }
    })
}

fn happening() -> impl Strategy<Value = Happening> {
    let inputs = (vec(wish(), NAMES.len()), any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.95));
    prop_oneof![
        3 => inputs.prop_map(|(wishes, reversed, suspended, known)| Happening::Inputs { wishes, reversed, suspended, known }),
        20 => (0..8usize, prop::bool::weighted(0.7)).prop_map(|(index, passes)| Happening::Deliver { index, passes }),
        2 => (0..NAMES.len()).prop_map(Happening::Exit),
        1 => (0..NAMES.len()).prop_map(Happening::Stubborn),
        1 => (0..NAMES.len()).prop_map(Happening::FailStart),
        1 => (0..NAMES.len(), any::<bool>()).prop_map(|(index, starts)| Happening::Install { index, starts }),
        4 => (1..60u8).prop_map(Happening::Advance),
        1 => Just(Happening::Crash),
        2 => (0..6usize).prop_map(Happening::CrashAfter),
        1 => Just(Happening::Reboot),
    ]
}

fn file() -> HostPath {
    HostPath::parse("/etc/conf").expect("path")
}

fn inputs(world: &World, wishes: &[Wish], reversed: bool, all_in_place: bool) -> ServiceInputs {
    let there: Vec<usize> = (0..NAMES.len()).filter(|index| wishes[*index].is_there).collect();
    let services = there.iter().map(|index| {
        let wish = &wishes[*index];
        let mut service = service(NAMES[*index]);
        service.command = vec![format!("/bin/{}", wish.version)];
        (service.state, service.start_mode) = (wish.state, wish.start_mode);
        if service.state == ServiceState::Paused && world.managed.is_none() {
            service.state = ServiceState::Running;
        }
        let before = |other: &usize| if reversed { other > index } else { other < index };
        let on = there.iter().filter(|other| before(other) && wish.depends_on & (1 << **other) != 0);
        service.depends_on = on.map(|other| name(NAMES[*other])).collect();
        service.readiness_probe = wish.readiness.then(probe);
        service.liveness_probe = wish.liveness.then(probe);
        // The last one's file is not always there.
        if *index == 3 {
            service.restart_on_change = vec![file()];
        }
        service
    });
    let services: Vec<Service> = services.collect();
    let in_place = all_in_place || wishes[3].file_in_place;
    let digest = Digest::of(&[wishes[3].version]);
    ServiceInputs {
        known: true,
        services,
        files: [file()].into(),
        files_in_place: in_place.then(|| (file(), digest)).into_iter().collect::<BTreeMap<_, _>>(),
        ..ServiceInputs::default()
    }
}

fn happen(world: &mut World, happening: &Happening) {
    match happening {
        Happening::Inputs { wishes, reversed, suspended, known } => {
            let inputs = inputs(world, wishes, *reversed, false);
            world.set(ServiceInputs { suspended: *suspended, known: *known, ..inputs });
        }
        Happening::Deliver { index, passes } => {
            let index = index % world.pending().max(1);
            world.deliver(index, |_, _: ProbeKind| *passes);
        }
        Happening::Exit(index) => world.exit(NAMES[*index]),
        Happening::Stubborn(index) => world.make_stubborn(NAMES[*index]),
        Happening::FailStart(index) => world.fail_start(NAMES[*index]),
        Happening::Install { index, starts } => {
            let id = NAMES[*index];
            if world.managed.is_some() && !world.is_kept(id) && !world.store.contains_key(id) {
                world.install(id, &["/bin/0"]);
                if *starts {
                    world.start_by_hand(id);
                }
            }
        }
        Happening::Advance(seconds) => world.advance(Moment::from_secs((*seconds).into())),
        Happening::Crash => world.crash(),
        Happening::CrashAfter(actions) => world.light_fuse(*actions),
        Happening::Reboot => world.reboot(),
    }
}

/// Whether it runs in the end: it should, and so should all that it depends on.
fn runs(services: &[Service], service: &Service) -> bool {
    let wanted = service.state != ServiceState::Stopped && service.start_mode != StartMode::Disabled;
    let on = |name: &ServiceName| {
        services.iter().find(|other| other.name == *name).is_some_and(|other| runs(services, other))
    };
    wanted && service.depends_on.iter().all(on)
}

fn depends_on_paused(services: &[Service], service: &Service) -> bool {
    services
        .iter()
        .filter(|other| service.depends_on.contains(&other.name))
        .any(|other| other.state == ServiceState::Paused || depends_on_paused(services, other))
}

/// Whether it, or what it depends on, is of those that cannot be stopped.
fn is_stuck(held: &BTreeSet<String>, services: &[Service], id: &str) -> bool {
    let service = services.iter().find(|service| service.name.as_str() == id);
    let mut on = service.into_iter().flat_map(|service| &service.depends_on);
    held.contains(id) || on.any(|on| is_stuck(held, services, on.as_str()))
}

/// The same cases in every run. Others, and more: `PROPTEST_RNG_SEED=7 PROPTEST_CASES=20000 cargo test --lib services::`.
fn config() -> Config {
    let given = Config::default();
    let rng_seed = if given.rng_seed == RngSeed::Random { RngSeed::Fixed(1) } else { given.rng_seed };
    Config { failure_persistence: None, rng_seed, ..given }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn services_come_to_what_is_desired_whatever_happens_on_the_way(
        happenings in vec(happening(), 1..120),
        wishes in vec(wish(), NAMES.len()),
        reversed: bool,
        managed: bool,
    ) {
        let mut world = if managed { World::managed() } else { World::new() };
        for happening in &happenings {
            happen(&mut world, happening);
        }
        world.put_out_fuse();
        let last = inputs(&world, &wishes, reversed, true);
        world.set(last.clone());
        world.come_to_rest();

        let held = order::held_up(&world.agent().units);
        for by in held.iter().filter_map(|id| world.is_held_up_by(id)) {
            let is_left = world.is_foreign(&by) && !last.services.iter().any(|service| service.name.as_str() == by);
            prop_assert!(is_left || held.contains(&by), "{} holds up what is managed in {:?}", by, world.log);
        }
        for id in NAMES {
            let desired = last.services.iter().find(|service| service.name.as_str() == id);
            if desired.is_none() && world.is_foreign(id) {
                // Not made by the agent: left as it is, and forgotten unless it runs with who knows what.
                prop_assert!(!world.store.contains_key(id) || !world.running(id).is_empty(), "{} is not forgotten", id);
                continue;
            }
            if is_stuck(&held, &last.services, id) {
                continue;
            }
            prop_assert!(!managed || world.is_kept(id) == desired.is_some(), "{} in {:?}", id, world.log);
            if desired.is_some_and(|service| depends_on_paused(&last.services, service)) {
                // It does not start, but is not stopped either.
                continue;
            }
            let expected = desired.filter(|service| runs(&last.services, service));
            let expected: Vec<&[String]> = expected.iter().map(|service| service.command.as_slice()).collect();
            prop_assert_eq!(world.running(id), expected, "{} in {:?}", id, world.log);
            let paused = desired.is_some_and(|service| service.state == ServiceState::Paused);
            prop_assert!(world.running(id).is_empty() || world.is_paused(id) == paused, "{} in {:?}", id, world.log);
            if desired.is_none() {
                prop_assert!(!world.store.contains_key(id), "{} is not forgotten", id);
            }
        }
        let done = |world: &World| -> Vec<String> {
            world.log.iter().filter(|line| !line.starts_with("cannot stop")).cloned().collect()
        };
        let before = done(&world);
        world.advance(Moment::from_secs(3600));
        world.come_to_rest();
        prop_assert_eq!(done(&world), before, "a second pass does something");
    }
}

#[test]
fn an_answer_to_a_question_of_long_ago_changes_nothing() {
    let mut world = World::new();
    world.set(ServiceInputs { known: true, services: vec![service("a")], ..ServiceInputs::default() });
    world.come_to_rest();
    let before = world.agent().reports();
    let error = HostError { reason: Reason::IoError, message: String::new() };
    for event in [
        Event::Started("a".into(), Err(error)),
        Event::Cleared("a".into(), Ok(())),
        Event::Forgotten("a".into(), Ok(())),
        Event::Checked("a".into(), ProbeKind::Liveness, 99, Err("late".into())),
    ] {
        world.say(event);
    }
    assert_eq!(world.agent().reports(), before);
}
