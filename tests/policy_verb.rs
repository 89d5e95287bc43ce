//! What a person at the machine is told of its policy: the real program's verb.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use windlass::agent::policy::file::{EXAMPLE, Rules, parse};

/// Exit code, and what is printed.
fn policy(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_windlass-agent")).arg("policy").args(arguments).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap(), said)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_is_in_force_is_shown_as_a_policy_and_what_cannot_be_used_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("policy.yaml");
    let shown = || policy(&["--policy", text(&file), "--state-dir", text(&folder.path().join("state"))]);
    let (code, said) = shown();
    assert_eq!((code, parse(&said)), (0, Ok(Rules::default())), "{said}");
    assert!(said.contains("the built-in policy is in force") && said.contains("#   /etc\n"), "{said}");
    assert!(said.contains(&format!("#   {}\n", folder.path().join("state").display())), "{said}");

    fs::write(&file, EXAMPLE).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, said) = shown();
    assert_eq!((code, parse(&said)), (0, parse(EXAMPLE)), "{said}");

    fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
    let (code, said) = shown();
    assert!(code == 1 && said.contains("others may write") && said.contains("changes nothing"), "{said}");
}

#[test]
fn the_example_is_printed_and_a_file_is_checked_wherever_it_lies() {
    assert_eq!(policy(&["example"]), (0, EXAMPLE.to_owned()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new.yaml");
    fs::write(&file, EXAMPLE).unwrap();
    let (code, said) = policy(&["check", text(&file)]);
    assert!(code == 0 && said.contains("well-formed"), "{said}");
    fs::write(&file, EXAMPLE.replace("deny:", "denny:")).unwrap();
    let (code, said) = policy(&["check", text(&file)]);
    assert!(code == 1 && said.contains("denny"), "{said}");
    assert_eq!(policy(&["check", text(&folder.path().join("none"))]).0, 1);
}
