//! Convergence, as a property: any documents (files, values of the registry, packages), any machine, any interleaving of crash, disconnection and other
//! people's changes ends in the desired state; a second pass does nothing; what others made is not removed.
//! The real parts (observe, plan, apply, recovery) over a machine and a store in memory, where a crash at any
//! durable step is a fuse that burns down.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod registry;
mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;
use windlass::{
    agent::{
        host::{Ownership, memory::MemoryNode},
        product::Product,
    },
    model::{
        Artifact, Attributes, Content, DesiredState, Digest, Directory, Drift, File, HostPath, Mode, Salt, Source,
    },
};
use world::{Event, World};

/// Contents that files may have.
pub const BYTES: [&[u8]; 4] = [b"", b"one", b"two", b"1234"];

fn component() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("a"), Just("b"), Just("C"), Just("größe")]
}

fn path(windows: bool) -> impl Strategy<Value = HostPath> {
    proptest::collection::vec(component(), 1..=3).prop_map(move |components| {
        let text =
            if windows { format!("C:\\{}", components.join("\\")) } else { format!("/{}", components.join("/")) };
        HostPath::parse(&text).expect("path")
    })
}

fn attributes(windows: bool) -> impl Strategy<Value = Attributes> {
    (
        proptest::option::of(prop_oneof![Just(0o600), Just(0o755), Just(0o640)]),
        proptest::option::weighted(0.2, Just("alice".to_owned())),
    )
        .prop_map(move |(mode, owner)| {
            let mode = mode.filter(|_| !windows).and_then(Mode::new);
            Attributes { mode, owner, ..Attributes::default() }
        })
}

fn drift() -> impl Strategy<Value = Drift> {
    prop_oneof![3 => Just(Drift::Enforce), 1 => Just(Drift::Audit)]
}

fn source() -> impl Strategy<Value = Source> {
    (0..BYTES.len(), 0..3u8).prop_map(|(which, kind)| {
        let bytes = BYTES[which];
        match kind {
            0 => Source::Artifact(Artifact { url: "https://x/".into(), sha256: Digest::of(bytes) }),
            _ => {
                let salt = (kind == 1).then(|| Salt::new([7; 32]));
                let digest = Digest::of_salted(salt.as_ref(), bytes);
                Source::Content(Content { digest, salt, size: bytes.len() as u64 })
            }
        }
    })
}

/// A document that the operator could have validated: no path twice, nothing below a file.
fn document(windows: bool) -> BoxedStrategy<DesiredState> {
    if !windows {
        return files(false).boxed();
    }
    let registry_values = proptest::collection::vec(registry::value(), 0..4);
    let packages = proptest::collection::vec(registry::package(), 0..4);
    (files(true), registry_values, packages)
        .prop_map(|(mut desired, values, packages)| {
            let mut taken = BTreeSet::new();
            desired.registry_values.extend(values.into_iter().filter(|v| taken.insert(v.place.identity())));
            desired.packages.extend(
                packages.into_iter().filter(|p| {
                    taken.insert(p.name.identity()) && taken.insert(Product::from(&p.installer).identity())
                }),
            );
            desired
        })
        .boxed()
}

fn files(windows: bool) -> impl Strategy<Value = DesiredState> {
    let entry = (path(windows), attributes(windows), drift(), proptest::option::weighted(0.7, source()));
    proptest::collection::vec(entry, 0..6).prop_map(|entries| {
        let mut desired = DesiredState::default();
        let mut taken: Vec<(HostPath, bool)> = Vec::new();
        for (path, attributes, drift, source) in entries {
            let is_file = source.is_some();
            let collides = taken.iter().any(|(other, other_is_file)| {
                other.identity() == path.identity()
                    || (*other_is_file && path.is_below(other))
                    || (is_file && other.is_below(&path))
            });
            if collides {
                continue;
            }
            taken.push((path.clone(), is_file));
            match source {
                Some(source) => desired.files.push(File { path, source, attributes, drift }),
                None => desired.directories.push(Directory { path, attributes, drift }),
            }
        }
        desired.files.sort_by(|a, b| a.path.cmp(&b.path));
        desired.directories.sort_by(|a, b| a.path.cmp(&b.path));
        desired
    })
}

fn node() -> impl Strategy<Value = MemoryNode> {
    let ownership = Ownership { mode: 0o644, owner: "bob".into(), group: "bob".into(), ..Ownership::default() };
    let (of_directory, of_file) = (ownership.clone(), ownership);
    prop_oneof![
        3 => Just(MemoryNode::Directory(of_directory)),
        3 => (0..BYTES.len()).prop_map(move |which| MemoryNode::File(BYTES[which].to_vec(), of_file.clone())),
        1 => Just(MemoryNode::Link),
    ]
}

fn event(windows: bool) -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => document(windows).prop_map(Event::Desired),
        3 => (0..40u32).prop_map(Event::Crash),
        2 => Just(Event::Pass),
        1 => Just(Event::Disconnect),
        1 => Just(Event::Connect),
        3 => (path(windows), proptest::option::weighted(0.7, node())).prop_map(|(path, node)| Event::Other(path.into(), node)),
        if windows { 3 } else { 0 } => registry::other().prop_map(|(place, node)| Event::Other(place, node)),
        if windows { 2 } else { 0 } => path(windows).prop_map(Event::Run),
    ]
}

fn history() -> impl Strategy<Value = (Vec<Event>, DesiredState)> {
    any::<bool>().prop_flat_map(|windows| (proptest::collection::vec(event(windows), 0..14), document(windows)))
}

fn two_documents() -> impl Strategy<Value = (DesiredState, DesiredState)> {
    any::<bool>().prop_flat_map(|windows| (document(windows), document(windows)))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_ends_in_the_desired_state((events, last) in history()) {
        let mut world = World::default();
        for event in events {
            world.happens(event);
        }
        world.happens(Event::Connect);
        world.happens(Event::Desired(last));
        world.comes_to_rest();
        world.is_as_desired()?;
        world.a_second_pass_does_nothing()?;
        world.what_others_made_is_there()?;
        world.nothing_is_left_behind()?;
        world.leaves_as_it_came()?;
    }
}

/// Each case is as many runs as there are steps.
fn fewer() -> ProptestConfig {
    let all = ProptestConfig::default();
    ProptestConfig { failure_persistence: None, cases: all.cases / 4, ..all }
}

proptest! {
    #![proptest_config(fewer())]

    #[test]
    fn a_crash_at_every_step_leaves_the_old_or_the_new((first, second) in two_documents()) {
        let mut steps = 0;
        loop {
            let mut world = World::default();
            world.happens(Event::Connect);
            world.happens(Event::Desired(first.clone()));
            world.comes_to_rest();
            world.happens(Event::Desired(second.clone()));
            let crashed = world.crash_at(steps);
            world.every_file_is_of(&first, &second)?;
            world.comes_to_rest();
            world.is_as_desired()?;
            world.a_second_pass_does_nothing()?;
            world.nothing_is_left_behind()?;
            world.leaves_as_it_came()?;
            if !crashed {
                break;
            }
            steps += 1;
        }
    }
}
