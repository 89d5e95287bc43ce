//! What the machine's administrator does not allow: it is left as it is, and told.

use std::sync::Arc;

use super::{
    super::{
        ProbeKind, ServiceInputs,
        samples::{name, probe, service},
    },
    situations::{go_on, known, pass_time, says},
    world::World,
};
use crate::{
    agent::{
        host::{HostError, Reason},
        policy::Policy,
    },
    model::{Platform, Probe, Service},
};

fn refusing(id: &str, inputs: ServiceInputs) -> ServiceInputs {
    let refusal = HostError::new(Reason::DeniedByLocalPolicy, format!("403: service {id} is denied"));
    ServiceInputs { refused: [(id.to_owned(), refusal)].into(), ..inputs }
}

fn under(policy: Policy, services: Vec<Service>) -> ServiceInputs {
    ServiceInputs { policy: Arc::new(policy), ..known(services) }
}

fn built_in() -> Policy {
    Policy::built_in(Platform::Windows, "policy.yaml", &[])
}

fn depending(text: &str, on: &str) -> Service {
    Service { depends_on: vec![name(on)], ..service(text) }
}

#[test]
fn a_service_that_is_refused_is_not_started_and_what_depends_on_it_waits_while_others_go_on() {
    for mut world in [World::new(), World::managed()] {
        world.set(refusing("a", known(vec![service("a"), depending("b", "a"), service("c")])));
        pass_time(&mut world, 100, |_, _| true);
        assert_eq!(world.log, ["start c"]);
        assert_eq!(
            says(&world),
            [
                "a Failed not ready: 403: service a is denied",
                "b Waiting not ready: waits for a, which the local policy denies",
                "c Running ready: ",
            ]
        );
        let reports = world.agent().reports();
        assert_eq!((reports.services[0].reason.as_str(), reports.carried_out), ("DeniedByLocalPolicy", false));
        assert!(world.managed.as_ref().is_none_or(|kept| !kept.contains_key("a")), "nor is it configured");

        world.set(known(vec![service("a"), depending("b", "a"), service("c")]));
        go_on(&mut world, |_, _| true);
        assert_eq!(world.log, ["start c", "start a", "start b"]);
        assert!(world.agent().reports().carried_out);
    }
}

#[test]
fn one_that_runs_when_it_is_refused_is_left_and_neither_restarted_nor_probed() {
    let mut world = World::new();
    let probed = Service { liveness_probe: Some(probe()), ..service("a") };
    world.set(known(vec![probed.clone(), service("b")]));
    go_on(&mut world, |_, _| true);
    world.log.clear();
    let changed = Probe { period_seconds: 2, ..probe() };
    let changed = Service { command: vec!["/bin/other".into()], liveness_probe: Some(changed), ..depending("a", "b") };
    let other = Service { command: vec!["/bin/new".into()], ..service("b") };
    world.set(refusing("a", known(vec![changed, other])));
    let probes = |id: &str, _: ProbeKind| {
        assert_ne!(id, "a", "no program of what is refused runs");
        true
    };
    pass_time(&mut world, 100, probes);
    assert_eq!(world.log, ["stop b", "start b"], "what a refused one depends on does not wait for it");
    assert_eq!(says(&world)[0], "a Running not ready: 403: service a is denied");
    world.exit("a");
    pass_time(&mut world, 100, probes);
    assert_eq!(says(&world)[0], "a Failed not ready: 403: service a is denied", "and it is not started again");
}

#[test]
fn one_that_may_not_be_removed_stays_and_is_told() {
    let mut world = World::new();
    world.set(known(vec![service("a"), service("b")]));
    go_on(&mut world, |_, _| true);
    world.log.clear();
    let rules = "apiVersion: edge.windlass.dev/v1alpha1\nkind: LocalPolicy\nservices: {deny: [a]}\n";
    let Policy::InForce(mut rules_in_force) = built_in() else { panic!("rules") };
    rules_in_force.rules = crate::agent::policy::file::parse(rules).expect("rules");
    world.set(under(Policy::InForce(rules_in_force), Vec::new()));
    pass_time(&mut world, 100, |_, _| true);
    assert_eq!(world.log, ["stop b"]);
    assert!(world.running("a").len() == 1 && world.store.contains_key("a"));
    let reports = world.agent().reports();
    let [(left, refusal)] = reports.leftovers.as_slice() else { panic!("{reports:?}") };
    assert!(left == "a" && refusal.message.contains("services.deny of policy.yaml") && !reports.carried_out);
    world.set(under(built_in(), Vec::new()));
    go_on(&mut world, |_, _| true);
    assert!(world.agent().reports().carried_out && world.store.is_empty());
}

#[test]
fn a_service_that_was_there_is_not_taken_over_unless_that_is_allowed() {
    let mut world = World::managed();
    world.install("a", &["/bin/other"]);
    world.start_by_hand("a");
    world.set(under(built_in(), vec![service("a")]));
    pass_time(&mut world, 100, |_, _| true);
    assert!(world.log.is_empty() && world.store.is_empty(), "{:?}", world.log);
    assert_eq!(world.kept("a").command, ["/bin/other"]);
    let reports = world.agent().reports();
    assert_eq!(reports.services[0].reason, "DeniedByLocalPolicy");
    assert!(reports.services[0].message.contains("services.adopt"), "{reports:?}");

    world.set(known(vec![service("a")]));
    pass_time(&mut world, 100, |_, _| true);
    assert_eq!(world.kept("a").command, ["/bin/a"]);
    world.log.clear();
    // One that was taken over when that was allowed is left from then on.
    let changed = Service { command: vec!["/bin/new".into()], ..service("a") };
    world.set(under(built_in(), vec![changed]));
    pass_time(&mut world, 100, |_, _| true);
    assert!(world.log.is_empty());
    assert_eq!(world.kept("a").command, ["/bin/a"]);
    world.set(under(built_in(), Vec::new()));
    go_on(&mut world, |_, _| true);
    assert!(world.agent().reports().carried_out && world.is_kept("a"), "it is only forgotten");
}

#[test]
fn where_the_policy_cannot_be_used_what_runs_is_looked_after_as_it_was() {
    let mut world = World::new();
    let probed = Service { readiness_probe: Some(probe()), ..service("a") };
    world.set(known(vec![probed.clone(), service("b"), service("c")]));
    pass_time(&mut world, 2, |_, _| true);
    world.log.clear();
    let changed = Service { command: vec!["/bin/new".into()], readiness_probe: None, ..service("a") };
    let unusable = || Policy::Unusable("not UTF-8".into());
    world.set(under(unusable(), vec![changed.clone(), service("b"), service("d")]));
    world.exit("b");
    pass_time(&mut world, 10, |_, _| true);
    assert!(world.log.is_empty() && world.running("c").len() == 1);
    assert_eq!(
        says(&world),
        [
            "a Running ready: ",
            "b Stopped not ready: ended with code 1; it is not started again while the local policy cannot be used",
            "d Stopped not ready: is not started while the local policy cannot be used",
        ]
    );
    pass_time(&mut world, 10, |_, _| false);
    assert!(says(&world)[0].starts_with("a Running not ready: its readiness probe fails"), "{:?}", says(&world));
    world.crash();
    world.set(under(unusable(), vec![changed.clone(), service("b"), service("d")]));
    pass_time(&mut world, 10, |_, _| true);
    assert_eq!(world.log, ["crash"], "an agent that starts anew changes nothing either");

    world.set(known(vec![changed, service("b"), service("d")]));
    pass_time(&mut world, 10, |_, _| true);
    assert!(world.agent().reports().carried_out, "{:?}", says(&world));
}
