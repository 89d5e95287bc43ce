//! The bodies of the fuzz targets (fuzz/), each on the same some thousand inputs in every run: what is valid, all its
//! beginnings, and what becomes of it when bytes change, go, come twice or come from another place.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../fuzz/bodies.rs"]
mod bodies;
mod seeds;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

/// Changed inputs of each body.
const CHANGED: usize = 4000;
/// Largest input, in bytes.
const LARGEST: usize = 16 << 10;

#[test]
fn no_bytes_of_a_stranger_break_what_reads_them() {
    for (number, (name, body)) in (0..).zip(bodies::ALL) {
        let seeds = seeds::of(name);
        assert!(!seeds.is_empty(), "{name} has nothing to begin with");
        for seed in &seeds {
            (0..=seed.len()).step_by((seed.len() / 500).max(1)).for_each(|end| body(&seed[..end]));
        }
        let mut random = StdRng::seed_from_u64(number);
        for _ in 0..CHANGED {
            let mut bytes = seeds.choose(&mut random).expect("some").clone();
            for _ in 0..random.random_range(1..=4) {
                change(&mut bytes, &seeds, &mut random);
            }
            bytes.truncate(LARGEST);
            let told = std::panic::catch_unwind(|| body(&bytes));
            assert!(told.is_ok(), "{name} broke on {:02x?}", bytes);
        }
    }
}

#[test]
fn every_body_is_a_target_of_cargo_fuzz() {
    let targets = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    let mut found: Vec<String> = std::fs::read_dir(targets)
        .expect("the targets")
        .map(|entry| entry.expect("a target").path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    found.sort();
    assert_eq!(found, bodies::ALL.iter().map(|(name, _)| *name).collect::<Vec<_>>());
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut StdRng) {
    let at = random.random_range(0..=bytes.len());
    let end = random.random_range(at..=bytes.len().min(at + 40));
    match random.random_range(0..7) {
        0 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << random.random_range(0..8)),
        1 => bytes[at..end].fill(*[0, 1, 0x7f, 0x80, 0xff, b'/', b'\\', b'.', b' '].choose(random).expect("some")),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let twice = bytes[at..end].to_vec();
            bytes.splice(end..end, twice);
        }
        4 => {
            let length = random.random_range(0..16);
            let new: Vec<u8> = (0..length).map(|_| random.random()).collect();
            bytes.splice(at..end, new);
        }
        5 => {
            let other = seeds.choose(random).expect("some");
            let from = random.random_range(0..=other.len());
            bytes.splice(at..end, other[from..].iter().copied());
        }
        _ => {
            // A length that is too long, as protobuf, DER and frames have them.
            bytes.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f]);
        }
    }
}
