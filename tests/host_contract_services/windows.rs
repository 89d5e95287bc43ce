//! Services of a Windows machine, through its SCM. The programs are built beforehand: `hack/build-windows --test`
//! does all. Each test has a service of its own.

mod wrapped;

use std::{fs, path::PathBuf};

use tokio::time::timeout;
use windlass::{
    agent::host::{
        Credentials, Exit, HostError, ProcessIdentity, Reason, Running, ServiceControl, windows::WindowsServices,
    },
    model::{EnvVar, Service, StartMode},
};

use super::{LIMIT, service, suite, until};

struct Machine {
    folder: tempfile::TempDir,
    services: WindowsServices,
    made: Vec<Service>,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        let services = WindowsServices::new(folder.path(), built("windlass-service-host.exe")).expect("services");
        Self { folder, services, made: Vec::new() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("text").to_owned()
    }

    /// The test program as a service that is not there yet.
    fn service(&mut self, name: &str, arguments: &[&str]) -> Service {
        // A folder has a name of its own, also if an earlier run left something.
        let unique = self.folder.path().file_name().expect("a name").to_str().expect("text").trim_start_matches(".tmp");
        let name = format!("windlass-{name}-{unique}");
        let program = program();
        let mut words = vec![program.as_str(), "service", &name];
        words.extend(arguments);
        let service = service(&name, &words);
        self.made.push(service.clone());
        service
    }

    /// A program that is no service, and holds a file while it runs.
    fn wrapped(&mut self, name: &str, arguments: &[&str]) -> Service {
        let held = self.path("held");
        let log = self.path("log");
        let mut service = self.service(name, &[]);
        let program = program();
        let words = [program.as_str(), "program", name, "--log", &log, "--hold", &held];
        service.command = words.iter().chain(arguments).map(ToString::to_string).collect();
        service.wrap = true;
        service.account = Some("LocalSystem".into());
        service
    }

    /// Until a wrapped program runs.
    async fn holds(&self) {
        until(|| self.read("log").contains(" running\n").then_some(())).await;
        assert!(fs::remove_file(self.path("held")).is_err(), "its program holds it");
    }

    /// Until a wrapped program is gone; what it has written is forgotten.
    async fn released(&self) {
        until(|| fs::remove_file(self.path("held")).ok()).await;
        fs::remove_file(self.path("log")).expect("nobody writes to it");
    }

    async fn configure(&self, service: &Service) -> bool {
        self.services.configure(service, &Credentials::default()).await.expect("configures").changed
    }

    async fn start(&self, service: &Service) -> Result<ProcessIdentity, HostError> {
        self.services.start(service, &|_| Ok(())).await
    }

    async fn run(&self, service: &Service) -> ProcessIdentity {
        self.configure(service).await;
        self.start(service).await.expect("starts")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Ends and deletes what the test made.
    async fn clear(self) {
        for service in &self.made {
            if let Ok(Some(Running { process, .. })) = self.services.running(&service.name) {
                self.services.kill(&service.name, &process).expect("kills");
            }
            self.services.delete(&service.name).await.expect("deletes");
        }
    }
}

fn program() -> String {
    built("examples/windlass-test-service.exe").to_str().expect("text").to_owned()
}

fn built(name: &str) -> PathBuf {
    // target/<triple>/debug/deps/this.exe
    let this = std::env::current_exe().expect("this program");
    let program = this.ancestors().nth(2).expect("a folder").join(name);
    assert!(program.exists(), "{} is not there; run: hack/build-windows --test", program.display());
    program
}

#[tokio::test]
async fn services_of_this_machine_behave() {
    let mut machine = Machine::new();
    let service = machine.service("suite", &[]);
    suite(&machine.services, &service, Exit::Code(0)).await;
}

#[tokio::test]
async fn what_differs_is_put_back_and_only_that_which_its_process_sees_is_told() {
    let mut machine = Machine::new();
    let mut service = machine.service("drift", &[]);
    assert!(!machine.configure(&service).await, "a new one has no process");
    service.display_name = format!("The press {}", service.name);
    service.description = "Presses".into();
    service.start_mode = StartMode::DelayedAutomatic;
    assert!(!machine.configure(&service).await);
    service.depends_on = vec![windlass::model::ServiceName::parse("Eventlog").expect("name")];
    assert!(!machine.configure(&service).await);
    service.env = vec![EnvVar { name: "ACME".into(), value: "1".into() }];
    assert!(machine.configure(&service).await);
    assert!(!machine.configure(&service).await, "the environment stays");
    service.command.push("--refuses-pause".into());
    assert!(machine.configure(&service).await);
    service.account = Some("LocalSystem".into());
    assert!(machine.configure(&service).await);
    service.depends_on.clear();
    service.env.clear();
    assert!(machine.configure(&service).await);
    assert!(!machine.configure(&service).await);
    machine.services.delete(&service.name).await.expect("deletes");
    assert!(!machine.configure(&service).await, "it is made again");
    assert_eq!(machine.services.exists(&service.name).await, Ok(true));
    machine.clear().await;
}

#[tokio::test]
async fn a_slow_start_is_waited_for() {
    let mut machine = Machine::new();
    let log = machine.path("log");
    let service = machine.service("slow", &["--start-takes-milliseconds", "800", "--log", &log]);
    let process = machine.run(&service).await;
    assert_eq!(machine.services.running(&service.name), Ok(Some(Running { process: process.clone(), paused: false })));
    machine.services.request_stop(&service.name, &process).expect("asks");
    assert_eq!(timeout(LIMIT, machine.services.ended(&service.name, &process)).await, Ok(Exit::Code(0)));
    let log = machine.read("log").replace(&format!("{} ", service.name), "");
    assert!(log.starts_with("starting\nrunning\n") && log.ends_with("stopping\nstopped\n"), "{log}");
    machine.clear().await;
}

#[tokio::test]
async fn what_does_not_start_says_why() {
    let mut machine = Machine::new();
    let failing = machine.service("fails", &["--start-takes-milliseconds", "300", "--fails-with", "42"]);
    machine.configure(&failing).await;
    let error = machine.start(&failing).await.expect_err("fails");
    assert_eq!(error.reason, Reason::NotStarted);
    assert!(error.message.ends_with("it stopped with its own code 42"), "{error}");

    let mut missing = machine.service("missing", &[]);
    missing.command = vec![r"C:\no\such\program.exe".into()];
    machine.configure(&missing).await;
    let error = machine.start(&missing).await.expect_err("no program");
    assert_eq!(error.reason, Reason::NotExecutable, "{error}");

    let mut disabled = machine.service("disabled", &[]);
    disabled.start_mode = StartMode::Disabled;
    machine.configure(&disabled).await;
    let error = machine.start(&disabled).await.expect_err("disabled");
    assert!(error.message.contains("it is disabled (error 1058)"), "{error}");

    let absent = machine.service("absent", &[]);
    let error = machine.start(&absent).await.expect_err("absent");
    assert!(error.message.contains("there is no such service (error 1060)"), "{error}");
    machine.clear().await;
}

#[tokio::test]
async fn a_crash_is_seen_with_its_code_and_the_service_starts_again() {
    let mut machine = Machine::new();
    let crash = machine.path("crash");
    let service = machine.service("crash", &["--crash-at", &crash]);
    let process = machine.run(&service).await;
    fs::write(&crash, "now").expect("writes");
    assert_eq!(timeout(LIMIT, machine.services.ended(&service.name, &process)).await, Ok(Exit::Code(42)));
    assert_eq!(machine.services.running(&service.name), Ok(None));
    fs::remove_file(&crash).expect("removes");
    let again = machine.start(&service).await.expect("starts");
    assert_ne!(again, process);
    machine.clear().await;
}

#[tokio::test]
async fn a_service_that_does_not_stop_is_killed_and_starts_again() {
    let mut machine = Machine::new();
    let log = machine.path("log");
    let service = machine.service("stubborn", &["--refuses-stop", "--log", &log]);
    let process = machine.run(&service).await;
    machine.services.request_stop(&service.name, &process).expect("asks");
    until(|| machine.read("log").contains("refuses to stop").then_some(())).await;
    assert!(machine.services.is_running(&process), "{}", machine.read("log"));
    let ended = machine.services.ended(&service.name, &process);
    machine.services.kill(&service.name, &process).expect("kills");
    // Looked at only now, it may be gone without a trace.
    let exit = timeout(LIMIT, ended).await.expect("ends");
    assert!([Exit::Code(1), Exit::Unknown].contains(&exit), "{exit:?}");
    assert_ne!(machine.start(&service).await.expect("starts"), process);
    machine.clear().await;
}

#[tokio::test]
async fn a_check_runs_as_the_service_and_ends_when_it_is_dropped() {
    let mut machine = Machine::new();
    let mut service = machine.service("check", &[]);
    let shell = std::env::var("COMSPEC").expect("a shell");
    let command = |script: &str| [shell.clone(), "/c".into(), script.to_owned()];
    let error = machine.services.check(&service, &command("exit 7")).await.expect_err("does not run");
    assert!(error.message.contains("it does not run (error 1062)"), "{error}");
    service.env = vec![EnvVar { name: "ACME".into(), value: "7".into() }];
    machine.run(&service).await;
    assert_eq!(machine.services.check(&service, &command("exit %ACME%")).await, Ok(Exit::Code(7)));
    let command = machine.wrapped("check", &[]).command;
    {
        let check = machine.services.check(&service, &command);
        tokio::pin!(check);
        tokio::select! {
            outcome = &mut check => panic!("{outcome:?}"),
            () = machine.holds() => {}
        }
    }
    machine.released().await;
    machine.clear().await;
}

#[tokio::test]
async fn a_service_pauses_and_goes_on_unless_it_refuses() {
    let mut machine = Machine::new();
    let service = machine.service("pause", &[]);
    let process = machine.run(&service).await;
    for paused in [true, true, false, false] {
        machine.services.pause(&service.name, &process, paused).await.expect("obeys");
        assert_eq!(machine.services.running(&service.name), Ok(Some(Running { process: process.clone(), paused })));
    }
    machine.services.pause(&service.name, &process, true).await.expect("obeys");
    machine.services.request_stop(&service.name, &process).expect("asks");
    assert_eq!(timeout(LIMIT, machine.services.ended(&service.name, &process)).await, Ok(Exit::Code(0)));

    let refusing = machine.service("refuse", &["--refuses-pause"]);
    let process = machine.run(&refusing).await;
    let error = machine.services.pause(&refusing.name, &process, true).await.expect_err("refuses");
    assert!(error.message.ends_with("it does not accept being paused"), "{error}");
    machine.clear().await;
}
