//! Reads the imports of `src/` and fails on any direction other than ARCHITECTURE.md's.

#![allow(clippy::expect_used)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// A room and the rooms that it may import.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("wire", &["model"]),
    ("trust", &["wire", "model"]),
    ("tunnel", &["wire", "model"]),
    ("api", &["model"]),
    ("operator", &["api", "trust", "tunnel", "wire", "model"]),
    ("agent", &["trust", "tunnel", "wire", "model"]),
    ("bin", &["operator", "agent", "api", "tunnel", "model"]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("readable folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// Rooms that a text names after `crate::` or `windlass::`.
fn rooms_named(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for prefix in ["crate::", "windlass::"] {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            let names = match rest.strip_prefix('{') {
                Some(group) => group.split('}').next().unwrap_or_default().split(',').map(str::trim).collect(),
                None => vec![rest],
            };
            for name in names {
                let room: String = name.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
                rooms.insert(room);
            }
        }
    }
    rooms.retain(|room| ALLOWED.iter().any(|(name, _)| name == room));
    rooms
}

#[test]
fn imports_go_one_way() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (room, allowed) in ALLOWED {
        for file in sources(&src.join(room)) {
            let text = fs::read_to_string(&file).expect("source");
            for named in rooms_named(&text) {
                if named != *room && !allowed.contains(&named.as_str()) {
                    wrong.push(format!("{} imports {named}", file.strip_prefix(&src).expect("below src").display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "against the direction of imports:\n{}", wrong.join("\n"));
}

#[test]
fn every_room_is_in_the_map() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(src).expect("src") {
        let entry = entry.expect("entry");
        if entry.path().is_dir() {
            let name = entry.file_name().into_string().expect("name");
            assert!(ALLOWED.iter().any(|(room, _)| *room == name), "src/{name} is no room of ARCHITECTURE.md");
        }
    }
}

#[test]
fn platforms_are_told_apart_only_at_the_door() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for file in sources(&src) {
        let name = file.strip_prefix(&src).expect("below src").display().to_string();
        let text = fs::read_to_string(&file).expect("source");
        let tells = ["cfg(windows", "cfg(unix", "cfg(target_os", "cfg(not(windows", "cfg(not(unix"];
        let declares = ["agent/host/mod.rs", "agent/service/mod.rs"].contains(&name.as_str())
            || name.contains("linux")
            || name.contains("windows");
        if !declares && tells.iter().any(|tell| text.contains(tell)) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "platform code outside the host's door: {wrong:?}");
}

#[test]
fn an_import_against_the_direction_is_seen() {
    let rooms = rooms_named("use crate::{api::EdgeNode, model};\nlet x = crate::operator::run();");
    assert_eq!(rooms, ["api", "model", "operator"].map(str::to_owned).into());
}
