//! What can be asked of a Windows machine alone: attributes and access, programs that hold a file open, spellings.

mod packages;
pub mod registry;

use std::{
    fs::{self, File, OpenOptions},
    os::windows::fs::OpenOptionsExt,
    path::Path,
    process::Command,
};

use windlass::{
    agent::host::{Host, PathState, Reason, windows::WindowsHost},
    model::{Access, Attributes, Digest, Grant, HostPath, Rights},
};

use super::{Ground, MakeLink, names, reason};

/// This machine, and an empty folder on it. Wine 8 has no reparse points: what it makes of links of its own host is
/// seen by no program.
pub fn ground() -> Ground {
    let folder = tempfile::tempdir().expect("folder");
    let base = folder.path().canonicalize().expect("path").to_str().expect("UTF-8").to_owned();
    let base = base.trim_start_matches(r"\\?\").to_owned();
    let link = (!is_wine()).then(|| Box::new(junction) as MakeLink);
    Ground { host: Box::new(WindowsHost::new(folder.path())), base, link, _folder: Some(folder) }
}

fn is_wine() -> bool {
    Path::new(r"C:\windows\system32\winepath.exe").exists()
}

/// To the folder that it lies in.
fn junction(path: &HostPath) {
    let words = ["/c", "mklink", "/J", path.as_str(), path.parent().expect("parent").as_str()].map(str::to_owned);
    assert!(Command::new("cmd").args(words).status().expect("cmd").success());
}

fn opened(ground: &Ground, below: &str, share: u32) -> File {
    OpenOptions::new().read(true).share_mode(share).open(ground.path(below).as_str()).expect("opens")
}

fn asked(read_only: bool, hidden: bool) -> Attributes {
    Attributes { read_only: Some(read_only), hidden: Some(hidden), ..Attributes::default() }
}

#[test]
fn a_path_of_another_platform_is_not_taken_for_one_of_this_machine() {
    let path = HostPath::parse("/etc/acme").expect("path");
    assert_eq!(reason(WindowsHost::new(Path::new(r"C:\windlass")).observe(&path, None)), Reason::NotSupportedHere);
}

#[test]
fn a_path_is_one_whatever_its_case() {
    let ground = ground();
    ground.make("Acme");
    ground.write("ACME/Press.YAML", b"one").expect("write");
    ground.write("acme/press.yaml", b"two").expect("replace");
    assert_eq!(ground.digest("Acme/PRESS.yaml"), Digest::of(b"two"));
    assert_eq!(names(&Path::new(&ground.base).join("acme")).len(), 1);
}

#[test]
fn a_path_may_be_longer_than_programs_of_old_expect() {
    let ground = ground();
    let mut below = "a".repeat(100);
    for _ in 0..4 {
        ground.make(&below);
        below = format!("{below}/{}", "b".repeat(100));
    }
    ground.write(&below, b"x").expect("write");
    assert_eq!(ground.digest(&below), Digest::of(b"x"));
    ground.host.remove_file(&ground.path(&below)).expect("removed");
    assert_eq!(ground.seen(&below), PathState::Absent);
}

#[test]
fn a_short_name_is_not_taken_for_the_long_one() {
    let ground = ground();
    ground.write("a rather long name.config", b"x").expect("write");
    ground.write("a~tilde", b"x").expect("a name of its own");
    let long = ground.path("a rather long name.config");
    let Some(short) = short_name(long.as_str()).filter(|short| short.contains('~')) else {
        // Volumes can be told to make none.
        return;
    };
    let name = short.rsplit('\\').next().expect("name");
    assert_eq!(reason(ground.host.observe(&ground.path(name), None)), Reason::LinkInPath);
    assert_eq!(reason(ground.write(name, b"y")), Reason::LinkInPath);
    assert_eq!(ground.digest("a rather long name.config"), Digest::of(b"x"));
}

/// As `cmd` expands it.
fn short_name(path: &str) -> Option<String> {
    let script = format!("for %I in (\"{path}\") do @echo %~sI");
    let said = Command::new("cmd").args(["/c", &script]).output().ok()?;
    String::from_utf8(said.stdout).ok().map(|said| said.trim().to_owned())
}

#[test]
fn a_file_that_a_program_holds_for_itself_is_in_use_and_stays() {
    const SHARE_READ: u32 = 1;
    let ground = ground();
    ground.write("a", b"old").expect("write");
    for share in [0, SHARE_READ] {
        let held = opened(&ground, "a", share);
        let written = ground.write("a", b"new").expect_err("in use");
        assert_eq!(written.reason, Reason::InUse, "{written}");
        assert!(written.message.contains("holds it open") && written.message.contains("write "), "{written}");
        assert_eq!(reason(ground.host.remove_file(&ground.path("a"))), Reason::InUse);
        drop(held);
        assert_eq!(ground.digest("a"), Digest::of(b"old"));
        assert_eq!(names(Path::new(&ground.base)), ["a"]);
    }
    ground.write("a", b"new").expect("free again");
    assert_eq!(ground.digest("a"), Digest::of(b"new"));
}

#[test]
fn a_program_that_runs_is_in_use_until_it_is_moved_out_of_the_way() {
    let ground = ground();
    let program = ground.path("program.exe");
    fs::copy(r"C:\windows\system32\cmd.exe", program.as_str()).expect("copied");
    let mut running = Command::new(program.as_str())
        .args(["/c", "pause"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("runs");
    let written = ground.write("program.exe", b"new");
    let removed = ground.host.remove_file(&program);
    let moved = fs::rename(program.as_str(), ground.path("old.exe").as_str());
    let replaced = ground.write("program.exe", b"new");
    let ended = running.try_wait();
    running.kill().expect("killed");
    running.wait().expect("ended");
    assert_eq!(reason(written), Reason::InUse);
    assert_eq!(reason(removed), Reason::InUse);
    moved.expect("as an update of itself does");
    replaced.expect("free");
    assert_eq!(ended.expect("asked"), None, "the old one goes on");
    assert_eq!(ground.digest("program.exe"), Digest::of(b"new"));
}

#[test]
fn attributes_are_set_seen_and_kept_and_hinder_nothing() {
    let ground = ground();
    let flags = |below| (ground.ownership(below).read_only, ground.ownership(below).hidden);
    ground.write_as("a", b"one", &asked(true, true), false).expect("write");
    assert_eq!(flags("a"), (true, true));
    ground.write("a", b"two").expect("read-only is no lock");
    assert_eq!((flags("a"), ground.digest("a")), ((true, true), Digest::of(b"two")));
    ground.host.set_attributes(&ground.path("a"), &asked(false, true)).expect("set");
    assert_eq!(flags("a"), (false, true));
    ground.host.set_attributes(&ground.path("a"), &Attributes { owner: None, ..asked(true, false) }).expect("set");
    ground.host.remove_file(&ground.path("a")).expect("removed");
    assert_eq!(ground.seen("a"), PathState::Absent);
    ground.host.create_directory(&ground.path("d"), &asked(false, true)).expect("made");
    assert_eq!(flags("d"), (false, true));
}

#[test]
fn what_windows_does_not_have_is_refused() {
    let ground = ground();
    let mode = Attributes { mode: windlass::model::Mode::new(0o644), ..Attributes::default() };
    let group = Attributes { group: Some("Users".into()), ..Attributes::default() };
    for attributes in [mode, group] {
        assert_eq!(reason(ground.write_as("a", b"x", &attributes, false)), Reason::NotSupportedHere);
        assert_eq!(ground.seen("a"), PathState::Absent);
    }
}

#[test]
fn an_account_in_a_list_that_is_unknown_changes_nothing() {
    let ground = ground();
    let grants = vec![Grant { account: "no-such-user".into(), rights: Rights::Read }];
    let attributes = Attributes { access: Some(Access { inherit: false, grants }), ..Attributes::default() };
    assert_eq!(reason(ground.write_as("a", b"x", &attributes, false)), Reason::UnknownAccount);
    assert_eq!(ground.seen("a"), PathState::Absent);
}

#[test]
fn a_secret_is_closed_to_others_and_what_is_asked_for_is_granted() {
    let ground = ground();
    ground.write_as("secret", b"x", &Attributes::default(), true).expect("write");
    assert!(ground.ownership("secret").closed, "{:?}", ground.ownership("secret"));
    ground.write("open", b"x").expect("write");
    ground.write_as("open", b"x", &Attributes::default(), true).expect("replaced");
    assert!(ground.ownership("open").closed, "{:?}", ground.ownership("open"));
    let closed = Attributes { access: Some(Access::default()), ..Attributes::default() };
    ground.write_as("open", b"x", &readable(), false).expect("opened");
    assert!(!ground.ownership("open").closed);
    ground.host.set_attributes(&ground.path("open"), &closed).expect("closed");
    assert!(ground.ownership("open").closed);
    if !is_wine() {
        // Which keeps three letters of a list and reads back what it makes of them.
        ground.write_as("a", b"x", &readable(), false).expect("write");
        ground.host.create_directory(&ground.path("d"), &readable()).expect("made");
        for below in ["a", "d"] {
            assert_eq!(ground.ownership(below).access, ground.host.spelled(&readable()).access);
        }
        ground.write("a", b"y").expect("replaced");
        assert_eq!(ground.ownership("a").access, ground.host.spelled(&readable()).access, "it keeps what it has");
        ground.make("default");
        assert_eq!(ground.ownership("default").access, ground.host.spelled(&readable()).access);
    }
}

/// By users.
fn readable() -> Attributes {
    let everyone = if is_wine() { "Everyone" } else { "BUILTIN\\Users" };
    let grants = vec![Grant { account: everyone.into(), rights: Rights::ReadAndExecute }];
    Attributes { access: Some(Access { inherit: false, grants }), ..Attributes::default() }
}
