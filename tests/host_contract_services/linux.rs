//! Services of a Linux machine: processes, sessions, accounts, files. Programs are shell scripts in a temporary folder.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Mutex,
};

use tokio::time::timeout;
use windlass::{
    agent::host::{Exit, HostError, ProcessIdentity, Reason, ServiceControl, linux::LinuxServices},
    model::{EnvVar, HostPath, Service},
};

use super::{LIMIT, service, suite, until};

struct Machine {
    folder: tempfile::TempDir,
    services: LinuxServices,
}

fn launcher() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_windlass-agent"))
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        let services = LinuxServices::new(launcher(), folder.path().join("logs")).expect("services");
        Self { folder, services }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A script that finds this folder in `$HERE`.
    fn script(&self, name: &str, body: &str) -> Service {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\nexport HERE={}\n{body}\n", self.folder.path().display())).expect("script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("permissions");
        service(name, &[path.to_str().expect("text")])
    }

    async fn start(&self, service: &Service) -> ProcessIdentity {
        self.services.start(service, &|_| Ok(())).await.expect("starts")
    }

    async fn read_once_there(&self, name: &str) -> String {
        let path = self.path(name);
        until(|| fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))).await
    }

    fn log(&self, service: &str) -> String {
        fs::read_to_string(self.path(&format!("logs/{service}.log"))).unwrap_or_default()
    }

    async fn end(&self, service: &Service, process: &ProcessIdentity) {
        self.services.kill(&service.name, process).expect("kills");
        self.services.ended(&service.name, process).await;
    }
}

fn exists(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, fields)| !fields.trim_start().starts_with('Z'))
}

fn no_child_is_left_of(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}

#[tokio::test]
async fn services_of_this_machine_behave() {
    suite(&Machine::new().services, &service("a", &["/bin/sleep", "1000"]), Exit::Signal(15)).await;
    assert_eq!(
        Machine::new().services.check(&service("a", &["/bin/true"]), &["/bin/true".into()]).await,
        Ok(Exit::Code(0))
    );
}

#[tokio::test]
async fn a_program_does_not_run_before_it_is_journaled() {
    let machine = Machine::new();
    let service = machine.script("a", "echo ran > $HERE/ran");
    let seen = Mutex::new(None);
    let outcome = machine
        .services
        .start(&service, &|process| {
            let cmdline = fs::read_to_string(format!("/proc/{}/cmdline", process.pid)).expect("runs");
            assert!(cmdline.contains("launch"), "{cmdline}");
            *seen.lock().expect("lock") = Some(process.clone());
            Err(HostError { reason: Reason::IoError, message: "no".into() })
        })
        .await;
    assert!(outcome.is_err());
    let process = seen.into_inner().expect("lock").expect("journaled");
    machine.services.ended(&service.name, &process).await;
    assert!(!machine.path("ran").exists());
}

#[tokio::test]
async fn a_program_runs_in_a_clean_place_of_its_own() {
    let machine = Machine::new();
    let body = "{ pwd; env | sort; ls /proc/self/fd | tr '\\n' ' '; umask; readlink /proc/self/fd/0; \
                ps -o sid= -p $$ 2>/dev/null || cut -d' ' -f6 /proc/$$/stat; } > $HERE/out.partial\n\
                echo to stdout; echo to stderr >&2\n\
                mv $HERE/out.partial $HERE/out\nexec sleep 1000";
    let mut service = machine.script("a", body);
    service.env = vec![EnvVar { name: "LINE".into(), value: "a b=$c".into() }];
    service.working_directory = Some(HostPath::parse(machine.folder.path().to_str().expect("text")).expect("path"));
    let process = machine.start(&service).await;
    let out = machine.read_once_there("out").await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], machine.folder.path().to_str().expect("text"));
    for set in ["LINE=a b=$c", "HOME=/root", "USER=root", "LOGNAME=root"] {
        assert!(lines.contains(&set), "{set} in {out}");
    }
    assert!(!out.contains("CARGO"), "the agent's own environment is passed on: {out}");
    // 3 is the listing's own.
    assert!(out.contains("0 1 2 3 0022\n/dev/null\n"), "{out}");
    assert_eq!(lines.last().map(|sid| sid.trim()), Some(process.pid.to_string().as_str()));
    until(|| (machine.log("a") == "to stdout\nto stderr\n").then_some(())).await;
    let mode = fs::metadata(machine.path("logs/a.log")).expect("log").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    machine.end(&service, &process).await;
}

#[tokio::test]
async fn what_is_not_a_program_is_said_to_be_none() {
    let machine = Machine::new();
    let missing = service("a", &["/no/such/program"]);
    let plain = machine.path("plain");
    fs::write(&plain, "no program").expect("writes");
    let plain = service("b", &[plain.to_str().expect("text")]);
    for (service, words) in [(missing, "No such file"), (plain, "Permission denied")] {
        let error = machine.services.start(&service, &|_| Ok(())).await.expect_err("no program");
        assert_eq!(error.reason, Reason::NotExecutable, "{error}");
        assert!(error.message.contains(words) && error.message.contains(&service.command[0]), "{error}");
    }
    let mut astray = service("c", &["/bin/true"]);
    astray.working_directory = Some(HostPath::parse("/no/such/folder").expect("path"));
    let error = machine.services.start(&astray, &|_| Ok(())).await.expect_err("no folder");
    assert!(error.message.contains("/no/such/folder"), "{error}");
}

#[tokio::test]
async fn a_service_runs_as_its_account() {
    let machine = Machine::new();
    let mut service = machine.script("a", "id -u; id -G; echo $HOME; echo done; exec sleep 1000");
    service.account = Some("nobody".into());
    let process = machine.start(&service).await;
    until(|| machine.log("a").ends_with("done\n").then_some(())).await;
    assert_eq!(machine.log("a"), "65534\n65534\n/nonexistent\ndone\n");
    let check = |command: &'static str| {
        let command = ["/bin/sh", "-c", command].map(str::to_owned);
        let (machine, service) = (&machine, &service);
        async move { machine.services.check(service, &command).await }
    };
    assert_eq!(check("test $(id -u) = 65534").await, Ok(Exit::Code(0)));
    assert_eq!(check("exit 7").await, Ok(Exit::Code(7)));
    machine.end(&service, &process).await;

    service.account = Some("no-such-user".into());
    let error = machine.services.start(&service, &|_| Ok(())).await.expect_err("no account");
    assert_eq!(error.reason, Reason::UnknownAccount);
    assert!(error.message.contains("no-such-user"), "{error}");
}

#[tokio::test]
async fn stopping_reaches_the_whole_group_and_killing_leaves_nothing() {
    let machine = Machine::new();
    let body = "trap : TERM\nsleep 1000 & echo $! > $HERE/child\n\
                while :; do wait; done";
    let service = machine.script("a", body);
    let process = machine.start(&service).await;
    let child: u32 = machine.read_once_there("child").await.trim().parse().expect("pid");
    // Until it is the program, it has the shell's own answer to SIGTERM.
    let is_sleep = || fs::read(format!("/proc/{child}/cmdline")).is_ok_and(|words| words.starts_with(b"sleep"));
    until(|| is_sleep().then_some(())).await;
    machine.services.request_stop(&service.name, &process).expect("asks");
    until(|| (!exists(child)).then_some(())).await;
    assert!(machine.services.is_running(&process), "it ignores SIGTERM");
    machine.services.kill(&service.name, &process).expect("kills");
    assert!(no_child_is_left_of(process.pid), "it was not reaped");
}

#[tokio::test]
async fn what_a_crash_leaves_is_killed_even_in_groups_of_their_own() {
    let machine = Machine::new();
    // With job control, each child has a group of its own in the same session.
    let body = "set -m\nsleep 1000 & echo $! > $HERE/grouped\nset +m\nsleep 1000 & echo $! > $HERE/child\nexit 3";
    let service = machine.script("a", body);
    let process = machine.start(&service).await;
    assert_eq!(timeout(LIMIT, machine.services.ended(&service.name, &process)).await, Ok(Exit::Code(3)));
    let mut left = Vec::new();
    for name in ["grouped", "child"] {
        left.push(machine.read_once_there(name).await.trim().parse::<u32>().expect("pid"));
    }
    assert!(left.iter().all(|pid| exists(*pid)));
    machine.services.kill(&service.name, &process).expect("kills");
    assert!(left.iter().all(|pid| !exists(*pid)));
    assert!(no_child_is_left_of(process.pid), "it was not reaped");
}

#[tokio::test]
async fn a_process_of_another_agent_is_watched_to_its_end() {
    let machine = Machine::new();
    let service = machine.script("a", "sh -c 'echo $$ > $HERE/pid; exec sleep 1000' & wait");
    let parent = machine.start(&service).await;
    let pid: u32 = machine.read_once_there("pid").await.trim().parse().expect("pid");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
    let start_time =
        stat.rsplit_once(')').expect("fields").1.split_whitespace().nth(19).expect("22").parse().expect("n");
    let foreign = ProcessIdentity { pid, start_time, boot_id: machine.services.boot_id() };
    let ended = machine.services.ended(&service.name, &foreign);
    tokio::pin!(ended);
    tokio::select! {
        biased;
        exit = &mut ended => panic!("{exit:?} though it runs"),
        () = tokio::task::yield_now() => {}
    }
    machine.services.kill(&service.name, &parent).expect("kills");
    assert_eq!(timeout(LIMIT, ended).await, Ok(Exit::Unknown));
}

#[tokio::test]
async fn a_check_that_is_dropped_ends_with_all_that_it_started() {
    let machine = Machine::new();
    let service = service("a", &["/bin/true"]);
    let script = format!("sleep 1000 & echo $$ $! > {}; wait", machine.path("pids").display());
    let command = ["/bin/sh".to_owned(), "-c".into(), script];
    let pids = {
        let check = machine.services.check(&service, &command);
        tokio::pin!(check);
        tokio::select! {
            outcome = &mut check => panic!("{outcome:?}"),
            pids = machine.read_once_there("pids") => pids,
        }
    };
    for pid in pids.split_whitespace() {
        let pid = pid.parse().expect("pid");
        until(|| (!exists(pid)).then_some(())).await;
    }
    machine.services.tend(&service.name);
    let first: u32 = pids.split_whitespace().next().expect("pid").parse().expect("pid");
    until(|| {
        machine.services.tend(&service.name);
        no_child_is_left_of(first).then_some(())
    })
    .await;
}

/// The launcher alone, spoken to as the agent does, which dies at any byte of the conversation.
#[tokio::test]
async fn a_launcher_whose_agent_is_gone_never_runs_the_program() {
    use std::{
        io::{Read, Write},
        os::{fd::OwnedFd, unix::net::UnixStream},
        process::{Command, Stdio},
    };
    let machine = Machine::new();
    let ran = machine.path("ran");
    let launch = serde_json::json!({
        "command": ["/bin/sh", "-c", format!("echo ran >> {}", ran.display())],
        "env": [], "workingDirectory": "/", "account": null, "endsWithAgent": false,
    });
    let launch = launch.to_string().into_bytes();
    let mut told = u32::try_from(launch.len()).expect("short").to_be_bytes().to_vec();
    told.extend(launch);
    for cut in [0, 3, 4, told.len() - 1, told.len()] {
        let (mut ours, theirs) = UnixStream::pair().expect("pair");
        let mut child = Command::new(launcher())
            .args(["launch", "a"])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .spawn()
            .expect("spawns");
        ours.write_all(&told[..cut]).expect("writes");
        if cut == told.len() {
            let mut ready = [0];
            ours.read_exact(&mut ready).expect("ready");
            assert_eq!(&ready, b"R");
        }
        drop(ours);
        child.wait().expect("ends");
        assert!(!ran.exists(), "ran though the agent was gone after {cut} bytes");
    }
    let (mut ours, theirs) = UnixStream::pair().expect("pair");
    let stdin = Stdio::from(OwnedFd::from(theirs));
    let mut child = Command::new(launcher()).args(["launch", "a"]).stdin(stdin).spawn().expect("spawns");
    ours.write_all(&told).expect("writes");
    ours.write_all(b"G").expect("writes");
    let mut answer = Vec::new();
    ours.read_to_end(&mut answer).expect("reads");
    assert_eq!(answer, b"R");
    assert!(child.wait().expect("ends").success());
    assert_eq!(fs::read_to_string(&ran).expect("ran"), "ran\n");
}
