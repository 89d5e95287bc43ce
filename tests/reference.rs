//! The reference in docs/ says what the code says.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use windlass::operator::{reasons, validate::InvalidReason};

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// Reasons of the tables below a heading: the first cell of each line.
fn documented(text: &str, heading: &str) -> BTreeSet<String> {
    let section = text.split("\n## ").find(|section| section.starts_with(heading)).expect(heading);
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    cells.map(|(reason, _)| reason.to_owned()).collect()
}

#[test]
fn every_reason_of_a_condition_is_documented_and_no_other() {
    let text = read("docs/reference/reasons.md");
    let said: BTreeSet<String> = reasons::ALL.iter().map(|r| (*r).to_owned()).collect();
    assert_eq!(documented(&text, "Reasons of conditions"), said);
    let said: BTreeSet<String> = InvalidReason::ALL.iter().map(|r| r.as_str().to_owned()).collect();
    assert_eq!(documented(&text, "Reasons of an invalid spec"), said);
}

#[test]
fn every_reason_that_the_agent_gives_for_a_failure_is_documented() {
    let documented = documented(&read("docs/reference/reasons.md"), "Reasons of failures");
    let mut missing = BTreeSet::new();
    for file in ["src/agent/report.rs", "src/agent/host/mod.rs", "src/agent/artifact.rs", "src/agent/plan.rs"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        let Ok(text) = fs::read_to_string(path) else { continue };
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (_, rest) in text.match_indices("=> \"").map(|(at, found)| text.split_at(at + found.len())) {
            let word = rest.split('"').next().unwrap_or_default();
            let is_reason = word.len() > 3
                && word.starts_with(|c: char| c.is_ascii_uppercase())
                && word.chars().all(|c| c.is_ascii_alphabetic());
            if is_reason && !documented.contains(word) {
                missing.insert(format!("{file}: {word}"));
            }
        }
    }
    assert!(missing.is_empty(), "not in docs/reference/reasons.md: {missing:?}");
}

#[test]
fn every_reason_why_a_document_is_not_believed_is_documented_and_no_other() {
    let code = read("src/trust/document.rs");
    let reasons =
        code.split("pub fn reason(").nth(1).and_then(|rest| rest.split("\n    }").next()).expect("the reasons");
    let said: BTreeSet<String> =
        reasons.split("=> \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect();
    assert!(said.len() > 5);
    assert_eq!(documented(&read("docs/reference/reasons.md"), "Reasons of an untrusted document"), said);
}

#[test]
fn the_reference_of_the_edge_node_is_what_the_schema_says() {
    let printed = windlass::api::edge_node_reference();
    assert!(printed == read("docs/reference/edgenode.md"), "docs/reference/edgenode.md is not what `make crds` writes");
}

/// What the program prints with these arguments, whatever is set around the test.
fn printed(arguments: &[&str]) -> String {
    let program = env!("CARGO_BIN_EXE_windlass-operator");
    let output = Command::new(program).args(arguments).env_clear().output().expect("it runs");
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn the_reference_of_the_flags_is_what_the_help_says() {
    let text = read("docs/reference/windlass-operator.md");
    let help = printed(&["run", "--help"]);
    assert!(text.contains(&format!("```\n{help}```")), "docs/reference/windlass-operator.md does not hold:\n{help}");
}

#[test]
fn bad_input_ends_with_2_and_says_what_was_expected() {
    for (arguments, words) in [
        (&["run"][..], "--tunnel-url"),
        (&["run", "--tunnel-url", "http://x"], "expected wss://HOST"),
        (&["run", "--tunnel-url", "wss://x", "--heartbeat-seconds", "0"], "1..=300"),
        (&["run", "--tunnel-url", "wss://x", "--namespaces", "A_b"], "is not the name of a namespace"),
        (&["run", "--tunnel-url", "wss://x", "--log-level", "a=b=c"], "--log-level"),
        (&["serve"], "unrecognized subcommand"),
    ] {
        let program = env!("CARGO_BIN_EXE_windlass-operator");
        let output = Command::new(program).args(arguments).env_clear().output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
}

#[test]
fn the_policy_in_the_documents_is_the_one_that_the_agent_prints_and_reads() {
    use windlass::agent::policy::file::{EXAMPLE, parse};
    let text = read("docs/policy.md");
    let example = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    assert!(example == EXAMPLE, "docs/policy.md does not hold what `windlass-agent policy example` prints");
    parse(EXAMPLE).expect("a policy");
    for example in ["examples/policy/linux-press.yaml", "examples/policy/windows-press.yaml"] {
        parse(&read(example)).expect("a policy");
    }
}

#[test]
fn every_setting_of_the_service_is_documented() {
    use windlass::agent::service::parameters::{ENROLLMENT_FILE, PARAMETERS};
    let text = read("docs/windows.md");
    for parameter in PARAMETERS {
        let row = text.lines().find(|line| line.starts_with(&format!("| `{}` |", parameter.name)));
        assert!(row.is_some_and(|row| row.contains(&format!("`{}`", parameter.flag))), "{}", parameter.name);
    }
    assert!(text.contains(&format!("| `{ENROLLMENT_FILE}` |")));
}
