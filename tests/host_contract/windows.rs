//! What can be asked of a Windows machine alone: attributes and access, programs that hold a file open, spellings.

use std::{
    fs::{self, File, OpenOptions},
    os::windows::fs::OpenOptionsExt,
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use windlass::{
    agent::{
        host::{Host, PathState, ProductState, Reason, ValueState, windows::WindowsHost},
        product::Product,
    },
    model::{
        Access, Artifact, Attributes, Detect, Digest, Grant, HostPath, Installer, MsiVersion, PackageName, ProductCode,
        RegistryData, RegistryPlace, Rights, View,
    },
};

use super::{Ground, MakeLink, names, reason, registry::Ground as RegistryGround};

/// This machine, and an empty folder on it. Wine 8 has no reparse points: what it makes of links of its own host is
/// seen by no program.
pub fn ground() -> Ground {
    let folder = tempfile::tempdir().expect("folder");
    let base = folder.path().canonicalize().expect("path").to_str().expect("UTF-8").to_owned();
    let base = base.trim_start_matches(r"\\?\").to_owned();
    let link = (!is_wine()).then(|| Box::new(junction) as MakeLink);
    Ground { host: Box::new(WindowsHost::new(folder.path())), base, link, _folder: Some(folder) }
}

/// This machine, and an empty key on it.
pub fn registry(view: View) -> RegistryGround {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let base = format!(r"HKLM\SOFTWARE\windlass contract {} {count}", std::process::id());
    let ground = RegistryGround { host: Box::new(WindowsHost::new(Path::new(r"C:\windlass"))), base, view };
    ground.host.create_key(&ground.key("")).expect("made");
    ground
}

impl Drop for RegistryGround {
    fn drop(&mut self) {
        let view = if self.view == View::Bits64 { "/reg:64" } else { "/reg:32" };
        let _ = Command::new("reg").args(["delete", &self.base, "/f", view]).output();
    }
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

#[test]
fn each_view_has_values_of_its_own_and_programs_see_them_there() {
    let (wide, narrow) = (registry(View::Bits64), registry(View::Bits32));
    let in_narrow = RegistryPlace::parse(&wide.base, "Line", View::Bits32).expect("place");
    wide.host.set_value(&wide.place("", "Line"), &RegistryData::Dword(64)).expect("set");
    assert_eq!(wide.host.observe_value(&in_narrow), Ok(ValueState::Absent));
    narrow.host.set_value(&narrow.place("", "Line"), &RegistryData::Dword(32)).expect("set");
    let queried = |key: &str| {
        let said = Command::new("reg").args(["query", key, "/v", "Line"]).output().expect("reg");
        String::from_utf8_lossy(&said.stdout).into_owned()
    };
    assert!(queried(&wide.base).contains("0x40"));
    let by_path = narrow.base.replace(r"HKLM\SOFTWARE", r"HKLM\SOFTWARE\Wow6432Node");
    assert!(queried(&by_path).contains("0x20"), "{}", queried(&by_path));
}

#[test]
fn a_value_of_another_type_is_told_apart() {
    let ground = registry(View::Bits64);
    let made =
        Command::new("reg").args(["add", &ground.base, "/v", "None", "/t", "REG_NONE", "/d", "ab", "/f"]).output();
    assert!(made.expect("reg").status.success());
    let seen = ground.host.observe_value(&ground.place("", "None"));
    assert!(matches!(seen, Ok(ValueState::Other { kind: 0, .. })), "{seen:?}");
}

#[test]
fn the_control_set_in_use_is_no_foreign_link() {
    let place = RegistryPlace::parse(
        r"HKLM\SYSTEM\CurrentControlSet\Control\ComputerName\ComputerName",
        "ComputerName",
        View::Bits64,
    )
    .expect("place");
    let seen = WindowsHost::new(Path::new(r"C:\windlass")).observe_value(&place);
    assert!(matches!(seen, Ok(ValueState::Holds(RegistryData::String(_)))), "{seen:?}");
}

#[test]
fn a_product_that_nobody_installed_is_absent() {
    let code = ProductCode::parse("{01234567-89AB-CDEF-0123-456789ABCDEF}").expect("code");
    let host = WindowsHost::new(Path::new(r"C:\windlass"));
    assert_eq!(host.observe_product(&code), Ok(ProductState::Absent));
}

/// `cmd` is an installer that ends as it is told.
fn exe(arguments: &[&str], success_codes: &[i32]) -> Installer {
    let path = HostPath::parse(r"C:\windows\system32\cmd.exe").expect("path");
    Installer::Exe {
        artifact: artifact(),
        arguments: arguments.iter().map(ToString::to_string).collect(),
        uninstall: vec![path.to_string(), "/c".into(), "exit".into(), "3".into()],
        detect: Detect::File { path },
        success_codes: success_codes.to_vec(),
    }
}

fn artifact() -> Artifact {
    Artifact { url: "https://example.com/installer".into(), sha256: Digest::of(b"installer") }
}

#[test]
fn an_installer_is_run_and_its_end_told() {
    let folder = tempfile::tempdir().expect("folder");
    let host = WindowsHost::new(folder.path());
    let name = PackageName::parse("Acme").expect("name");
    let install = |installer: &Installer| {
        let mut bytes = File::open(r"C:\windows\system32\cmd.exe").expect("cmd");
        host.install(&name, installer, &mut bytes)
    };
    install(&exe(&["/c", "exit", "2"], &[0, 2])).expect("installed");
    let failed = install(&exe(&["/c", "exit", "7"], &[0, 2])).expect_err("failed");
    assert_eq!(failed.reason, Reason::InstallFailed);
    assert!(failed.message.contains("exit code 7, expected 0 or 2"), "{failed}");
    assert_eq!(names(&folder.path().join("packages")), Vec::<String>::new(), "nothing is left");

    let product = Product::from(&exe(&[], &[3]));
    assert_eq!(product.observe(&host), Ok(ProductState::Installed { version: None }));
    host.uninstall(&name, &product).expect("removed");
    assert_eq!(reason(host.uninstall(&name, &Product::from(&exe(&[], &[0])))), Reason::InstallFailed);
}

#[test]
fn what_is_no_package_is_said_to_be_none_and_one_that_is_not_there_is_removed() {
    let folder = tempfile::tempdir().expect("folder");
    let host = WindowsHost::new(folder.path());
    let name = PackageName::parse("Acme").expect("name");
    let product_code = ProductCode::parse("{01234567-89AB-CDEF-0123-456789ABCDEF}").expect("code");
    let version = MsiVersion::parse("1.0.0").expect("version");
    let msi = Installer::Msi { artifact: artifact(), product_code, version, properties: vec![] };
    let failed = host.install(&name, &msi, &mut b"no MSI".as_slice()).expect_err("no package");
    assert_eq!(failed.reason, Reason::InstallFailed, "{failed}");
    assert!(failed.message.contains("exit code 16"), "{failed}");
    host.uninstall(&name, &Product::from(&msi)).expect("it is not there");
}
