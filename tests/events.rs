//! The event log's ids are the same in the code, in the program's message file and in the reference, and what the
//! table lists is what the sources log.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use windlass::agent::events::{
    Severity,
    table::{KINDS, Kind},
};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

fn severity(kind: &Kind) -> &'static str {
    match kind.severity {
        Severity::Information => "Informational",
        Severity::Warning => "Warning",
        Severity::Error => "Error",
    }
}

/// Id to severity and name, as the code has them.
fn coded() -> BTreeMap<u16, (String, String)> {
    KINDS.iter().map(|kind| (kind.id, (severity(kind).to_owned(), kind.name.to_owned()))).collect()
}

#[test]
fn the_message_file_has_the_ids_of_the_code_with_their_severities_and_all_four_strings() {
    let text = read("src/agent/service/events.mc");
    let mut messages = BTreeMap::new();
    for message in text.split("MessageId=").skip(1) {
        let value = |name: &str| {
            let value = message.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            value.trim().to_owned()
        };
        let id: u16 = message.lines().next().unwrap().trim().parse().expect("an id");
        assert_eq!(value("Facility="), "Windlass", "{id}: another facility changes the number that is reported");
        assert!((1..=4).all(|string| message.contains(&format!("%{string}"))), "{id} lacks a string:\n{message}");
        messages.insert(id, (value("Severity="), value("SymbolicName=")));
    }
    assert!(text.contains("FacilityNames=(Windlass=0x0)"), "the facility is part of the number that is reported");
    assert_eq!(messages, coded());
}

#[test]
fn the_reference_has_the_ids_of_the_code() {
    let text = read("docs/reference/events.md");
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")).filter_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let id = cells.first()?.parse().ok()?;
        assert!(cells.len() == 6 && cells[1..5].iter().all(|cell| !cell.is_empty()), "an empty cell: {line}");
        let severity = if cells[2] == "Information" { "Informational" } else { cells[2] };
        Some((id, (severity.to_owned(), cells[1].to_owned())))
    });
    assert_eq!(rows.collect::<BTreeMap<_, _>>(), coded());
}

fn sources(path: &Path, text: &mut String) {
    if path.is_dir() {
        let mut entries: Vec<PathBuf> =
            fs::read_dir(path).expect("a folder").map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries.iter().for_each(|entry| sources(entry, text));
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        text.push_str(&fs::read_to_string(path).expect("text"));
    }
}

#[test]
fn what_the_table_lists_is_what_its_module_logs() {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/agent");
    for kind in KINDS {
        let (module, message) = kind.source();
        if module.is_empty() {
            continue;
        }
        let mut text = String::new();
        for place in [agent.join(format!("{module}.rs")), agent.join(module)] {
            if place.exists() {
                sources(&place, &mut text);
            }
        }
        let calls = match kind.severity {
            Severity::Information => "info!(",
            Severity::Warning => "warn!(",
            Severity::Error => "error!(",
        };
        let quoted = format!("\"{message}\"");
        let logged = text.match_indices(calls).any(|(at, _)| {
            let call = &text[at + calls.len()..];
            let next = ["info!(", "warn!(", "error!(", "debug!("].iter().filter_map(|other| call.find(other)).min();
            message.is_empty() || call[..next.unwrap_or(call.len())].contains(&quoted)
        });
        assert!(logged, "{} {}: no {calls}…\"{message}\") in src/agent/{module}", kind.id, kind.name);
    }
}
