//! What is allowed and what is not, as tables: both platforms, on every host.

use super::{file, *};
use crate::{
    agent::{
        entries::{Entry, entries},
        place::Thing,
        plan::Deed,
        product::Product,
        scm,
        services::samples,
    },
    model::{
        Access, Artifact, Attributes, Check, DesiredState, Detect, Digest, Directory, Drift, File, Installer, Mode,
        MsiVersion, Package, PackageName, Probe, ProductCode, RegistryData, RegistryPlace, RegistryValue, Service,
        ServiceName, Source, View,
    },
};

const HEAD: &str = "apiVersion: edge.windlass.dev/v1alpha1\nkind: LocalPolicy\n";
const OWN: [&str; 4] = ["/var/lib/windlass", "/srv/policy.yaml", r"C:\ProgramData\windlass", r"D:\windlass-agent.exe"];

/// With these rules; none: as built in.
fn policy(platform: Platform, rules: &str) -> Policy {
    let own = OWN.map(|text| HostPath::parse(text).expect(text));
    let Policy::InForce(mut built_in) = Policy::built_in(platform, "policy.yaml", &own) else { panic!("rules") };
    built_in.rules = file::parse(&format!("{HEAD}{rules}")).expect(rules);
    Policy::InForce(built_in)
}

fn path(text: &str) -> HostPath {
    HostPath::parse(text).expect(text)
}

fn entry(desired: DesiredState) -> Entry {
    entries(&desired).pop().expect("one")
}

fn file_with(at: &str, mode: u32) -> Entry {
    let source = Source::Artifact(artifact(b"x"));
    let attributes = Attributes { mode: Mode::new(mode), ..Attributes::default() };
    let file = File { path: path(at), source, attributes, drift: Drift::Enforce };
    entry(DesiredState { files: vec![file], ..DesiredState::default() })
}

fn directory_with(at: &str, attributes: Attributes) -> Entry {
    let directory = Directory { path: path(at), attributes, drift: Drift::Enforce };
    entry(DesiredState { directories: vec![directory], ..DesiredState::default() })
}

fn value(key: &str, view: View) -> Entry {
    let place = RegistryPlace::parse(key, "x", view).expect(key);
    let value = RegistryValue { place, data: RegistryData::Dword(1), drift: Drift::Enforce };
    entry(DesiredState { registry_values: vec![value], ..DesiredState::default() })
}

fn artifact(bytes: &[u8]) -> Artifact {
    Artifact { url: "https://x/".into(), sha256: Digest::of(bytes) }
}

fn why(result: Result<(), Refusal>) -> String {
    result.err().map(|refusal| refusal.to_string()).unwrap_or_default()
}

#[test]
fn everything_that_is_built_in_is_a_place() {
    assert!(built_in::paths().all(|text| Location::path(text).is_ok()));
    assert!(built_in::keys().chain(built_in::RESERVED_KEYS.iter().copied()).all(|text| Location::key(text).is_ok()));
}

#[test]
fn without_a_policy_files_go_where_no_administrator_is_made() {
    let built_in = policy(Platform::Windows, "");
    for allowed in [
        "/opt/acme/press.conf",
        "/srv/acme",
        "/data/x",
        "/var/opt/acme",
        r"C:\Acme\press.exe",
        r"C:\ProgramData\Acme\x",
        r"D:\x",
    ] {
        assert_eq!(why(built_in.check_entry(&file_with(allowed, 0o644))), "", "{allowed}");
    }
    for denied in [
        "/etc/cron.d/x",
        "/etc/systemd/system/x.service",
        "/etc/init.d/x",
        "/etc/profile.d/x.sh",
        "/etc/ld.so.preload",
        "/usr/bin/x",
        "/root/.ssh/authorized_keys",
        "/home/a/.bashrc",
        "/var/spool/cron/crontabs/root",
        "/var/lib/dpkg/info/x.postinst",
        "/proc/sys/kernel/core_pattern",
        "/boot/x",
        "/etc",
        r"C:\Windows\System32\Tasks\x",
        r"c:\WINDOWS\x",
        "C:\\Window\u{17f}\\x",
        r"E:\Windows\x",
        r"C:\Program Files\Other\x.exe",
        r"C:\Program.exe",
        r"C:\ProgramData\Microsoft\Windows\Start Menu\Programs\StartUp\x.lnk",
        r"C:\ProgramData\ssh\administrators_authorized_keys",
        r"C:\Users\a\AppData\Roaming\Microsoft\Windows\Start Menu\Programs\Startup\x.bat",
        r"C:\PROGRA~1\Other\x.exe",
        r"C:\WINDOW~1",
        r"C:\Config.Msi\x.rbs",
    ] {
        assert!(why(built_in.check_entry(&file_with(denied, 0o644))).contains("403"), "{denied}");
    }
}

#[test]
fn without_a_policy_nothing_starts_by_itself_by_a_value_of_the_registry() {
    let built_in = policy(Platform::Windows, "");
    assert_eq!(why(built_in.check_entry(&value(r"HKLM\SOFTWARE\Acme\Press", View::Bits32))), "");
    for (key, view) in [
        (r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Run", View::Bits64),
        (r"HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Run", View::Bits32),
        (r"HKLM\Software\WOW6432Node\microsoft\Windows\CurrentVersion\RunOnce", View::Bits64),
        (r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon", View::Bits64),
        (r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Image File Execution Options\sethc.exe", View::Bits64),
        (r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Windows", View::Bits64),
        (r"HKLM\SOFTWARE\Classes\CLSID\{1}\InprocServer32", View::Bits32),
        (r"HKLM\SYSTEM\CurrentControlSet\Services\Acme", View::Bits64),
        (r"HKLM\SYSTEM\ControlSet001\Control\Lsa", View::Bits64),
        (r"HKLM\SAM\x", View::Bits64),
        (r"HKLM\SECURITY\x", View::Bits64),
        (r"HKU\S-1-5-18\Software\Microsoft\Windows\CurrentVersion\Run", View::Bits64),
    ] {
        assert!(why(built_in.check_entry(&value(key, view))).contains("403"), "{key}");
    }
}

#[test]
fn a_policy_narrows_and_by_name_alone_widens_and_what_it_denies_wins() {
    let rules = "paths: {allow: [/, /etc/acme, 'C:\\Windows\\Acme'], deny: [/opt/acme/private]}\n\
                 registryValues: {allow: ['HKLM\\SOFTWARE\\Policies\\Acme']}\n";
    let given = policy(Platform::Posix, rules);
    for (at, told) in [
        ("/opt/acme/x", ""),
        ("/etc/acme/x", ""),
        ("/etc/cron.d/x", "/etc is the system's"),
        ("/etc", "/etc is the system's"),
        ("/opt/acme/private/x", "/opt/acme/private is denied by paths.deny of policy.yaml"),
        ("/opt/acme", ""),
        (r"C:\Windows\acme\x", ""),
        (r"C:\Windows\x", "is the system's"),
        (
            r"C:\Acme",
            "none of the places that are allowed; an administrator of the machine can allow it by paths.allow",
        ),
    ] {
        let said = why(given.check_entry(&directory_with(at, Attributes::default())));
        assert!(said.contains(told) && said.is_empty() == told.is_empty(), "{at}: {said}");
    }
    assert_eq!(why(given.check_entry(&value(r"HKLM\SOFTWARE\Policies\Acme\x", View::Bits64))), "");
    let elsewhere = why(given.check_entry(&value(r"HKLM\SOFTWARE\Acme", View::Bits64)));
    assert!(elsewhere.contains("registryValues.allow"), "{elsewhere}");
}

#[test]
fn no_policy_gives_away_what_is_the_agents_own() {
    let rules = "paths: {allow: [/var/lib/windlass, /srv, /etc, 'C:\\ProgramData\\windlass', 'D:\\']}\n\
                 registryValues: {allow: ['HKLM\\SOFTWARE\\windlass', 'HKLM\\SYSTEM']}\nsetIdFiles: true\n";
    for given in [policy(Platform::Posix, rules), policy(Platform::Windows, "")] {
        for own in [
            "/var/lib/windlass/agent.redb",
            "/var/lib/windlass",
            "/srv/policy.yaml",
            "/etc/systemd/system/windlass-agent.service.d/override.conf",
            r"c:\programdata\WINDLASS\policy.yaml",
            r"D:\Windlass-Agent.exe",
        ] {
            let said = why(given.check_entry(&file_with(own, 0o644)));
            assert!(said.contains("no policy gives that away"), "{own}: {said}");
            let removal = Deed::RemoveFile(path(own));
            assert!(why(given.check_deed(&Thing::File(path(own)), &removal)).contains("no policy"), "{own}");
        }
        for key in [
            r"HKLM\SOFTWARE\windlass\Agent",
            r"HKLM\SYSTEM\CurrentControlSet\Services\windlass-agent",
            r"HKLM\SYSTEM\ControlSet001\services\EventLog\Application\windlass-agent",
        ] {
            assert!(why(given.check_entry(&value(key, View::Bits64))).contains("no policy"), "{key}");
        }
        for name in ["windlass-agent", "Windlass-anything"] {
            assert!(why(given.check_removal(&ServiceName::parse(name).expect(name))).contains("no policy"));
        }
    }
    let open = Attributes { mode: Mode::new(0o777), ..Attributes::default() };
    let given = policy(Platform::Posix, rules);
    assert!(why(given.check_entry(&directory_with("/srv", open.clone()))).contains("it holds /srv/policy.yaml"));
    assert_eq!(why(given.check_entry(&directory_with("/srv", Attributes::default()))), "", "as it is");
    assert!(why(given.check_entry(&file_with("/srv", 0o644))).contains("it holds"));
    let built_in = policy(Platform::Posix, "");
    assert!(why(built_in.check_entry(&directory_with("/var", open))).contains("it holds"));
    let open = Attributes { access: Some(Access::default()), ..Attributes::default() };
    assert!(why(built_in.check_entry(&directory_with(r"C:\ProgramData", open))).contains("it holds"));
}

#[test]
fn files_do_not_run_as_their_owner_unless_that_is_allowed() {
    for mode in [0o4755, 0o2755, 0o6711] {
        let built_in = policy(Platform::Posix, "");
        assert!(why(built_in.check_entry(&file_with("/opt/x", mode))).contains("setIdFiles"), "{mode:o}");
        assert_eq!(why(policy(Platform::Posix, "setIdFiles: true\n").check_entry(&file_with("/opt/x", mode))), "");
        let attributes = Attributes { mode: Mode::new(mode), ..Attributes::default() };
        let deed = Deed::SetAttributes(path("/opt/x"), attributes.clone());
        assert!(built_in.check_deed(&Thing::File(path("/opt/x")), &deed).is_err(), "{mode:o}");
        assert_eq!(why(built_in.check_entry(&directory_with("/opt/x", attributes))), "", "of a folder it is harmless");
    }
}

#[test]
fn what_is_only_there_to_hold_something_allowed_may_be_made_and_removed() {
    let given = policy(Platform::Posix, "paths: {allow: [/etc/acme/press]}\nkinds: [files]\n");
    let at = path("/etc/acme");
    let thing = Thing::Directory(at.clone());
    let bare = Deed::CreateDirectory(at.clone(), Attributes::default());
    assert_eq!(why(given.check_deed(&thing, &bare)), "");
    assert_eq!(why(given.check_deed(&thing, &Deed::RemoveDirectory { path: at.clone(), or_leave: true })), "");
    let open = Attributes { mode: Mode::new(0o777), ..Attributes::default() };
    assert!(given.check_deed(&thing, &Deed::CreateDirectory(at, open)).is_err());
    let other = path("/etc/cron.d");
    let made = Deed::CreateDirectory(other.clone(), Attributes::default());
    assert!(given.check_deed(&Thing::Directory(other), &made).is_err());
    assert!(given.check_entry(&directory_with("/etc/acme/press/d", Attributes::default())).is_err(), "files alone");
}

fn on(service: &Service, platform: Platform, rules: &str) -> String {
    let linux = |account: &str| RunsAs { name: account.into(), is_administrative: ["root", "toor"].contains(&account) };
    let runs_as = match platform {
        Platform::Windows => scm::accounts::runs_as(service),
        Platform::Posix => linux(service.account.as_deref().unwrap_or("root")),
    };
    why(policy(platform, rules).check_service(service, &runs_as))
}

fn running(name: &str, account: Option<&str>, program: &str) -> Service {
    Service {
        account: account.map(str::to_owned),
        command: vec![program.to_owned(), "x".into()],
        ..samples::service(name)
    }
}

#[test]
fn services_run_as_administrators_only_where_those_are_named_whole() {
    let windows = |account: &str| running("Acme", Some(account), r"C:\Acme\x.exe");
    let denied = "is or may be an administrator";
    for (account, rules, told) in [
        (r"NT AUTHORITY\LocalService", "", ""),
        ("networkservice", "", ""),
        (r"NT SERVICE\acme", "", ""),
        (r"NT SERVICE\TrustedInstaller", "", denied),
        ("LocalSystem", "", denied),
        (r"nt authority\SYSTEM", "", denied),
        (r".\LocalSystem", "services: {accounts: ['*']}", denied),
        ("Administrator", "services: {accounts: ['*']}", denied),
        (r"PLANT\gmsa$", "", denied),
        (r"PLANT\gmsa$", r"services: {accounts: ['PLANT\*']}", denied),
        (r"PLANT\gmsa$", r"services: {accounts: ['plant\gmsa$']}", ""),
        (r".\acme", "services: {accounts: [acme]}", ""),
        ("LocalSystem", r"services: {accounts: ['NT AUTHORITY\SYSTEM']}", ""),
        ("LocalService", "services: {accounts: [LocalSystem]}", "which is not allowed"),
    ] {
        let said = on(&windows(account), Platform::Windows, rules);
        assert!(said.contains(told) && said.is_empty() == told.is_empty(), "{account} {rules}: {said}");
    }
    assert_eq!(on(&running("Acme", None, r"C:\Acme\x.exe"), Platform::Windows, ""), "");
    for (account, rules, told) in [
        (None, "", denied),
        (Some("root"), "", denied),
        (Some("toor"), "services: {accounts: ['*', root]}", denied),
        (Some("acme"), "", ""),
        (None, "services: {accounts: [root]}", ""),
        (Some("acme"), "services: {accounts: [root]}", "which is not allowed"),
        (Some("acme-1"), "services: {accounts: ['acme-*']}", ""),
    ] {
        let said = on(&running("acme", account, "/opt/acme/x"), Platform::Posix, rules);
        assert!(said.contains(told) && said.is_empty() == told.is_empty(), "{account:?} {rules}: {said}");
    }
}

#[test]
fn services_are_allowed_by_name_and_by_program() {
    let acme = |program: &str| running("AcmePress", Some("LocalService"), program);
    for (program, rules, told) in [
        (r"C:\Acme\x.exe", "services: {allow: ['acme*']}", ""),
        (r"C:\Acme\x.exe", "services: {allow: [Other]}", "services.allow"),
        (r"C:\Acme\x.exe", "services: {allow: ['*'], deny: [acmepress]}", "services.deny"),
        (r"C:\Acme\x.exe", "services: {allow: []}", "services.allow"),
        (r"C:\Acme\x.exe", "kinds: [files]", "by kinds"),
        (r"C:\Windows\System32\cmd.exe", "", ""),
        (r"\\server\share\x.exe", "", "on no local disk"),
        (r"\\?\UNC\server\x.exe", "", "on no local disk"),
        (r"C:\Acme\..\x.exe", "", "on no local disk"),
        (r"C:\Windows\x.exe", r"services: {programs: {allow: ['C:\Acme']}}", "services.programs.allow"),
        (r"C:\Acme\Tools\x.exe", r"services: {programs: {deny: ['C:\Acme\Tools']}}", "services.programs.deny"),
    ] {
        let said = on(&acme(program), Platform::Windows, rules);
        assert!(said.contains(told) && said.is_empty() == told.is_empty(), "{program} {rules}: {said}");
    }
    let mut probed = acme(r"C:\Acme\x.exe");
    let check = Check::Exec { command: vec![r"\\server\x.exe".into()] };
    probed.liveness_probe = Some(Probe { check, ..samples::probe() });
    assert!(on(&probed, Platform::Windows, "").contains("on no local disk"), "of its probes as well");
}

#[test]
fn services_of_others_are_taken_over_by_name_alone() {
    let name = ServiceName::parse("AcmeDb").expect("name");
    assert!(why(policy(Platform::Windows, "").check_adoption(&name)).contains("services.adopt"));
    assert_eq!(why(policy(Platform::Windows, "services: {adopt: ['acme*']}").check_adoption(&name)), "");
    assert_eq!(why(policy(Platform::Windows, "").check_removal(&name)), "", "one that the agent made");
}

const CODE: &str = "{5F2B1C9E-7A64-4D0B-9C1E-3A5D8E6F7B20}";

fn package(installer: Installer) -> Entry {
    let name = PackageName::parse("acme-runtime").expect("name");
    entry(DesiredState { packages: vec![Package { name, installer }], ..DesiredState::default() })
}

fn msi(properties: &[&str]) -> Entry {
    package(Installer::Msi {
        artifact: artifact(b"msi"),
        product_code: ProductCode::parse(CODE).expect("code"),
        version: MsiVersion::parse("2.1").expect("version"),
        properties: properties.iter().map(|name| ((*name).to_owned(), "x".to_owned())).collect(),
    })
}

fn exe(arguments: &[&str], uninstall: &[&str]) -> Entry {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    package(Installer::Exe {
        artifact: artifact(b"exe"),
        arguments: words(arguments),
        uninstall: words(uninstall),
        detect: Detect::File { path: path(r"C:\Acme\x.exe") },
        success_codes: vec![0],
    })
}

#[test]
fn packages_are_installed_and_removed_as_they_are_listed_and_not_otherwise() {
    let (of_msi, of_exe) = (Digest::of(b"msi"), Digest::of(b"exe"));
    let listed = |entry: &str| format!("packages: {{allow: [{entry}]}}\n");
    for (package, rules, is_allowed) in [
        (msi(&[]), String::new(), false),
        (msi(&["TRANSFORMS"]), "packages: {any: true}\n".into(), true),
        (msi(&[]), "packages: {any: true}\nkinds: [files]\n".into(), false),
        (msi(&[]), listed("{name: acme-runtime}"), true),
        (msi(&[]), listed("{name: other}"), false),
        (msi(&[]), listed(&format!("{{productCode: '{}'}}", CODE.to_lowercase())), true),
        (msi(&[]), listed("{productCode: '{00000000-7A64-4D0B-9C1E-3A5D8E6F7B20}'}"), false),
        (msi(&[]), listed(&format!("{{sha256: [{of_exe}, {of_msi}]}}")), true),
        (msi(&[]), listed(&format!("{{name: acme-runtime, sha256: [{of_exe}]}}")), false),
        (msi(&["INSTALLDIR"]), listed(&format!("{{sha256: [{of_msi}], properties: [INSTALLDIR]}}")), true),
        (msi(&["TRANSFORMS"]), listed(&format!("{{sha256: [{of_msi}], properties: [INSTALLDIR]}}")), false),
        (exe(&[], &[]), listed(&format!("{{sha256: [{of_exe}]}}")), true),
        (exe(&["/q"], &[]), listed(&format!("{{sha256: [{of_exe}]}}")), false),
        (exe(&["/q"], &[]), listed(&format!("{{sha256: [{of_exe}], arguments: [/q]}}")), true),
        (exe(&[], &["cmd.exe"]), listed(&format!("{{sha256: [{of_exe}]}}")), false),
        (exe(&[], &["u.exe"]), listed(&format!("{{sha256: [{of_exe}], uninstall: [u.exe]}}")), true),
        (exe(&[], &[]), listed(&format!("{{productCode: '{CODE}', sha256: [{of_exe}]}}")), false),
    ] {
        let said = why(policy(Platform::Windows, &rules).check_entry(&package));
        assert_eq!(said.is_empty(), is_allowed, "{rules}: {said}");
    }
    let name = PackageName::parse("acme-runtime").expect("name");
    let uninstalls = |product: Product, rules: &str| {
        let thing = Thing::Package(name.clone(), product.clone());
        policy(Platform::Windows, rules).check_deed(&thing, &Deed::Uninstall(name.clone(), product)).is_ok()
    };
    let by_code = || Product::Msi(ProductCode::parse(CODE).expect("code"));
    let by_program = |program: &str| Product::Exe {
        detect: Detect::File { path: path(r"C:\Acme\x.exe") },
        uninstall: vec![program.into()],
        success_codes: vec![0],
    };
    assert!(!uninstalls(by_code(), ""));
    assert!(uninstalls(by_code(), &listed("{name: acme-runtime}")));
    let of_program = listed(&format!("{{sha256: [{of_exe}], uninstall: [u.exe]}}"));
    assert!(uninstalls(by_program("u.exe"), &of_program) && !uninstalls(by_program("cmd.exe"), &of_program));
}

#[test]
fn where_the_policy_cannot_be_used_nothing_is_allowed_but_to_forget() {
    let unusable = Policy::Unusable("policy.yaml: it is not UTF-8".into());
    let said = why(unusable.check_entry(&file_with("/opt/x", 0o644)));
    assert!(said.contains("nothing is changed: policy.yaml"), "{said}");
    let thing = Thing::File(path("/opt/x"));
    assert!(unusable.check_deed(&thing, &Deed::RemoveFile(path("/opt/x"))).is_err());
    assert!(unusable.check_deed(&thing, &Deed::Note).is_ok());
    assert!(unusable.check_beside(&path("/opt/x")).is_err());
    assert_eq!(unusable.text(), Err("policy.yaml: it is not UTF-8"));
    assert!(policy(Platform::Posix, "").text().expect("text").contains("#   /var/lib/windlass\n"));
}
