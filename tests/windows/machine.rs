//! A Windows machine: a Wine prefix of its own, with an agent in it.

use std::{
    env,
    fs::{self, File},
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::parts::{Node, Process, World, signal, until};

/// Of the agent, from the machine's point of view.
pub const STATE: &str = r"C:\state";
const ENROLLMENT: &str = r"C:\enrollment.yaml";

/// These tests install packages, run services as LocalSystem and take services over.
const POLICY: &str = r"apiVersion: edge.windlass.dev/v1alpha1
kind: LocalPolicy
services:
  accounts: ['NT AUTHORITY\LocalService', 'NT AUTHORITY\NetworkService', 'NT SERVICE\*', LocalSystem]
  adopt: ['*']
packages: {any: true}
";

/// A Windows machine.
pub struct Machine {
    prefix: PathBuf,
    log: PathBuf,
    /// Wine ends its services when the last program of a person does: the person who never logs off.
    _person: Process,
    agent: Option<Process>,
    environment: Vec<(String, String)>,
}

impl Machine {
    /// A copy of the ready prefix, switched on.
    pub fn new(world: &World, name: &str) -> Self {
        let prefix = world.path(name);
        let ready = given("WINDLASS_WINE_PREFIX");
        let copied = Command::new("cp").arg("-a").arg(&ready).arg(&prefix).status().expect("cp");
        assert!(copied.success(), "copy {} to {}", ready.display(), prefix.display());
        let log = world.path(&format!("{name}.log"));
        for program in ["windlass-agent.exe", "windlass-service-host.exe", "windlass-test-service.exe"] {
            let from = given("WINDLASS_WINDOWS_DIST").join(program);
            fs::copy(&from, prefix.join("drive_c").join(program))
                .unwrap_or_else(|error| panic!("copy {}: {error}", from.display()));
        }
        // Before the machine starts: what it makes itself is not there yet.
        // For agents that these tests start, and for those that the machine starts itself.
        for state in ["state", "ProgramData/windlass"] {
            let folder = prefix.join("drive_c").join(state);
            fs::create_dir_all(&folder).expect("a folder of the machine");
            fs::write(folder.join("policy.yaml"), POLICY).expect("a file of the machine");
        }
        let person = person(&prefix, &log);
        Self { prefix, log, _person: person, agent: None, environment: Vec::new() }
    }

    /// The same place from here.
    pub fn outside(&self, path: &str) -> PathBuf {
        let below = path.strip_prefix(r"C:\").unwrap_or_else(|| panic!("{path} is not on C:"));
        self.prefix.join("drive_c").join(below.replace('\\', "/"))
    }

    pub fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.outside(path)).ok()
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.outside(path);
        fs::create_dir_all(path.parent().expect("below C:")).expect("a folder of the machine");
        fs::write(path, text).expect("a file of the machine");
    }

    pub fn exists(&self, path: &str) -> bool {
        self.outside(path).exists()
    }

    /// Runs a program to its end. What it says goes into files: where it is the first to reach the machine, Wine's own
    /// services are its children, and would hold a pipe open as long as they run.
    pub fn run(&self, program: &[&str]) -> Output {
        let said = || tempfile::tempfile().expect("a file");
        let (mut stdout, mut stderr) = (said(), said());
        let mut command = wine(&self.prefix);
        command.args(program).stdin(Stdio::null());
        command.stdout(stdout.try_clone().expect("a file")).stderr(stderr.try_clone().expect("a file"));
        let status = command.status().expect("wine");
        let read = |file: &mut File| {
            let mut bytes = Vec::new();
            file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("what it said");
            bytes
        };
        Output { status, stdout: read(&mut stdout), stderr: read(&mut stderr) }
    }

    /// What `reg query` says a value holds.
    pub fn registry(&self, key: &str, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.run(&["reg", "query", key, "/v", name]).stdout).into_owned();
        let line = text.lines().find(|line| line.trim_start().starts_with(name))?;
        line.split("    ").filter(|part| !part.is_empty()).nth(2).map(|data| data.trim().to_owned())
    }

    /// What `sc query` says a service is doing, such as RUNNING; `None` where there is no such service.
    pub fn service_state(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.run(&["sc", "query", name]).stdout).into_owned();
        let line = text.lines().find(|line| line.contains("STATE"))?;
        line.split_whitespace().last().map(str::to_owned)
    }

    /// Processes of this machine with these words in their command line, by their pids here.
    pub fn processes(&self, words: &str) -> Vec<u32> {
        let of_prefix = format!("WINEPREFIX={}\0", self.prefix.display());
        let text = |path: PathBuf| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let all = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
        let these = all.filter(|path| text(path.join("cmdline")).replace('\0', " ").contains(words));
        let ours = these.filter(|path| text(path.join("environ")).contains(&of_prefix));
        ours.filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect()
    }

    /// kill -9 of the one process with these words in its command line.
    pub fn crash(&self, words: &str) {
        let found = self.processes(words);
        assert_eq!(found.len(), 1, "processes with {words:?}");
        signal(found[0], Signal::KILL);
    }

    /// Takes the node's enrollment, as a person carries it to the machine, and starts the agent.
    pub async fn enroll(&mut self, node: &Node) {
        self.write(ENROLLMENT, &node.enrollment().await);
        self.start();
    }

    pub fn set_environment(&mut self, name: &str, value: Option<&str>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Starts the agent as a program of a person.
    pub fn start(&mut self) {
        let mut command: Vec<String> = ["wine", r"C:\windlass-agent.exe", "run"].map(str::to_owned).into();
        command.extend(["--state-dir", STATE, "--enrollment", ENROLLMENT].map(str::to_owned));
        command.extend(["--drift-period-seconds", "1", "--log-level", "info,windlass=debug"].map(str::to_owned));
        let mut environment = wine_environment(&self.prefix);
        environment.extend(self.environment.clone());
        self.agent = Some(Process::start(&command, &environment, &self.log));
    }

    /// kill -9 of the agent.
    pub fn kill(&mut self) {
        self.agent = None;
    }

    /// Waits until the agent has ended by itself.
    pub async fn agent_ended(&mut self) {
        self.agent.as_mut().expect("runs").ended(Duration::from_secs(60)).await;
        self.agent = None;
    }

    /// A power cut, and the machine's next start; the agent is not started.
    pub fn reboot(&mut self) {
        self.agent = None;
        switch_off(&self.prefix);
        self._person = person(&self.prefix, &self.log);
    }

    /// `windlass-agent status`, as JSON.
    pub fn status(&self) -> Option<Value> {
        let output = self.run(&[r"C:\windlass-agent.exe", "status", "--state-dir", STATE, "-o", "json"]);
        serde_json::from_slice(&output.stdout).ok()
    }

    pub async fn until_status(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(&format!("windlass-agent status says {what}"), || self.status().filter(|status| is(status))).await
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.agent = None;
        switch_off(&self.prefix);
    }
}

/// A file with its text in the spec.
pub fn inline(path: &str, text: &str) -> Value {
    json!({"path": path, "source": {"inline": text}})
}

pub fn given(variable: &str) -> PathBuf {
    match env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => panic!("{variable} is not set; run: hack/test windows"),
    }
}

fn wine(prefix: &Path) -> Command {
    let mut command = Command::new("wine");
    command.envs(wine_environment(prefix));
    command
}

fn wine_environment(prefix: &Path) -> Vec<(String, String)> {
    let prefix = prefix.to_str().expect("UTF-8").to_owned();
    [("WINEPREFIX", prefix.as_str()), ("WINEDEBUG", "-all"), ("WINEDLLOVERRIDES", "mscoree,mshtml=")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// A program that runs as long as the machine does. With the first one the machine starts, and with it the
/// services that start by themselves.
fn person(prefix: &Path, log: &Path) -> Process {
    let program = ["wine", r"C:\windlass-test-service.exe", "sleep"];
    Process::start(&program, &wine_environment(prefix), log)
}

/// Everything of the machine ends at once, as in a power cut.
fn switch_off(prefix: &Path) {
    for argument in ["-k", "-w"] {
        let _ = Command::new("wineserver").arg(argument).envs(wine_environment(prefix)).status();
    }
}
