//! The real agent as a process, with a state folder and a machine of its own.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::Value;

use super::{Machine, Node, Process, World, until};

pub struct Agent {
    process: Option<Process>,
    program: Vec<String>,
    environment: Vec<(String, String)>,
    state: PathBuf,
    log: PathBuf,
    pub machine: Machine,
}

impl Agent {
    /// Prepares an agent of that name with its machine, without starting it.
    pub fn prepare(world: &World, name: &str) -> Self {
        let folder = world.path(name);
        fs::create_dir_all(&folder).expect("temporary folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).expect("own folder");
        let agent = Self {
            process: None,
            program: vec![env!("CARGO_BIN_EXE_windlass-agent").to_owned()],
            environment: Vec::new(),
            state: folder.join("state"),
            log: folder.join("agent.log"),
            machine: Machine::at(folder.join("machine")),
        };
        // Most tests have services of the agent's own account, which is root's where root runs them.
        agent.allow("services: {accounts: ['*', root]}");
        agent
    }

    /// Writes the machine's own policy, as its administrator does.
    pub fn allow(&self, rules: &str) {
        let head = "apiVersion: edge.windlass.dev/v1alpha1\nkind: LocalPolicy\n";
        fs::write(self.policy(), format!("{head}{rules}\n")).expect("temporary folder");
        self.close_policy();
    }

    /// For others to read alone.
    pub fn close_policy(&self) {
        fs::set_permissions(self.policy(), fs::Permissions::from_mode(0o644)).expect("own file");
    }

    pub fn policy(&self) -> PathBuf {
        self.state.with_file_name("policy.yaml")
    }

    /// Takes the node's enrollment, as a person carries it to the machine, and starts.
    pub async fn enroll(&mut self, node: &Node) {
        let enrollment = node.enrollment().await;
        self.enroll_with(&enrollment);
    }

    /// Starts with this enrollment.
    pub fn enroll_with(&mut self, enrollment: &str) {
        fs::write(self.enrollment(), enrollment).expect("temporary folder");
        fs::set_permissions(self.enrollment(), fs::Permissions::from_mode(0o644)).expect("own file");
        self.start();
    }

    pub fn enrollment(&self) -> PathBuf {
        self.state.with_file_name("enrollment.yaml")
    }

    pub fn start(&mut self) {
        let mut arguments = self.program.clone();
        arguments
            .extend(["run", "--drift-period-seconds", "1", "--log-level", "info,windlass=debug"].map(str::to_owned));
        arguments.extend(["--state-dir".to_owned(), self.state.display().to_string()]);
        arguments.extend(["--enrollment".to_owned(), self.enrollment().display().to_string()]);
        arguments.extend(["--policy".to_owned(), self.policy().display().to_string()]);
        self.process = Some(Process::start(&arguments, &self.environment, &self.log));
    }

    pub fn set_environment(&mut self, name: &str, value: Option<&str>) {
        self.environment.retain(|(known, _)| known != name);
        self.environment.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Has it run as a user without rights, also where the tests run as root.
    pub fn run_without_rights(&mut self) {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        // The build folder may lie where that user cannot go.
        let copy = self.state.with_file_name("windlass-agent");
        fs::copy(env!("CARGO_BIN_EXE_windlass-agent"), &copy).expect("a copy of the agent");
        fs::create_dir_all(&self.state).expect("temporary folder");
        std::os::unix::fs::chown(&self.state, Some(65_534), Some(65_534)).expect("root may");
        let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig=KILL"];
        self.program = user.map(str::to_owned).into_iter().chain([copy.display().to_string()]).collect();
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM, and the exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        let mut process = self.process.take().expect("runs");
        process.signal(Signal::TERM);
        process.ended(Duration::from_secs(30)).await.code()
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.as_mut().is_none_or(|process| process.has_ended().is_some())
    }

    /// The revision that it says it carried out.
    pub fn applied(&self) -> Option<String> {
        let status: Value = serde_json::from_slice(&self.status(&["-o", "json"]).stdout).ok()?;
        Some(status.get("appliedRevision")?.as_str()?.to_owned())
    }

    pub fn signal(&self, with: Signal) {
        self.process.as_ref().expect("runs").signal(with);
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until its log holds these words.
    pub async fn until_log(&self, words: &str) {
        until(&format!("the agent logs {words:?}"), || self.log().contains(words).then_some(())).await;
    }

    /// `windlass-agent status`, as a person at the machine runs it.
    pub fn status(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_windlass-agent"))
            .arg("status")
            .arg("--state-dir")
            .arg(&self.state)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("windlass-agent")
    }

    /// Waits until it says that it is connected.
    pub async fn until_connected(&self) {
        self.until_status("it is connected", |status| status["link"]["state"] == "Connected").await;
    }

    /// Waits until it says that it is not connected.
    pub async fn until_disconnected(&self) {
        self.until_status("it is not connected", |status| status["link"]["state"] != "Connected").await;
    }

    /// Waits until it says that its EdgeNode is gone and the machine its own again.
    pub async fn until_released(&self) {
        self.until_status("it is released", |status| status["link"]["state"] == "Released").await;
    }

    /// The same as JSON, once the agent answers.
    pub async fn until_status(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        until(&format!("windlass-agent status says {what}"), || {
            let output = self.status(&["-o", "json"]);
            serde_json::from_slice::<Value>(&output.stdout).ok().filter(|status| is(status))
        })
        .await
    }
}
