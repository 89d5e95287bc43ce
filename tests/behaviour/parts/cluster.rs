//! A real control plane by `hack/control-plane`, with the chart installed: one for most tests, and one of its
//! own for a test that stops the API server or counts what it is asked.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio},
    sync::{Arc, Mutex, OnceLock},
};

use kube::{Client, Config, config::KubeConfigOptions};
use serde_json::{Value, json};

/// Namespace of the chart's release, and so of its ServiceAccount and the operator's Secret.
pub const SYSTEM: &str = "windlass-system";
/// Name of the chart's release.
pub const RELEASE: &str = "windlass";

pub struct ControlPlane {
    kubeconfig: PathBuf,
    bin: PathBuf,
    child: Child,
    pipes: Mutex<(Option<ChildStdin>, BufReader<ChildStdout>)>,
}

/// A write that the API server answered, as its audit log has it.
#[derive(Debug, Clone)]
pub struct Write {
    /// Such as `patch edgenodes/status press-07`.
    pub what: String,
    pub user: String,
    pub namespace: String,
    pub code: i64,
}

impl ControlPlane {
    /// The one that most tests share; it ends with this process.
    pub fn shared() -> Arc<Self> {
        static SHARED: OnceLock<Arc<ControlPlane>> = OnceLock::new();
        SHARED.get_or_init(|| Arc::new(Self::start(&[]))).clone()
    }

    /// A local one that nobody else uses, even where the user named a cluster; it ends on drop.
    pub fn own() -> Arc<Self> {
        Arc::new(Self::start(&["WINDLASS_KUBECONFIG"]))
    }

    fn start(without: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(root.join("hack/control-plane"));
        command.args(["run", "--stdin", "--audit"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        without.iter().for_each(|name| {
            command.env_remove(name);
        });
        let mut child = command.spawn().expect("hack/control-plane");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("a line of hack/control-plane");
        let field = |name: &str| {
            line.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or_else(|| {
                panic!("hack/control-plane is expected to print READY with {name}, printed {line:?}")
            })
        };
        let (kubeconfig, bin) = (PathBuf::from(field("kubeconfig=")), PathBuf::from(field("bin=")));
        let pipes = Mutex::new((child.stdin.take(), stdout));
        let started = Self { kubeconfig, bin, child, pipes };
        started.install_chart();
        started
    }

    fn install_chart(&self) {
        let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/windlass");
        let chart = chart.to_str().expect("UTF-8");
        let url = "tunnel.url=wss://127.0.0.1:8443";
        let namespace = ["--namespace", SYSTEM, "--create-namespace"];
        // No pods: the tests run the operator themselves, with the chart's ServiceAccount.
        self.helm(
            &[&["upgrade", "--install", RELEASE, chart, "--set", url, "--set", "replicas=0"], &namespace[..]].concat(),
        );
        self.kubectl_ok(&["wait", "--for=condition=Established", "crd/edgenodes.edge.windlass.dev", "--timeout=30s"]);
    }

    /// Tells hack/control-plane to do something to the API server or etcd, and waits until it is done.
    pub fn command(&self, word: &str) {
        let mut pipes = self.pipes.lock().expect("not poisoned");
        let (stdin, stdout) = &mut *pipes;
        writeln!(stdin.as_mut().expect("open"), "{word}").expect("hack/control-plane listens");
        let mut answer = String::new();
        stdout.read_line(&mut answer).expect("an answer");
        assert_eq!(answer.trim_end(), format!("OK {word}"), "hack/control-plane's answer to {word}");
    }

    /// A client with all rights, as a person has it.
    pub async fn client(&self) -> Client {
        let kubeconfig = kube::config::Kubeconfig::read_from(&self.kubeconfig).expect("kubeconfig");
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("kubeconfig");
        Client::try_from(config).expect("client")
    }

    /// Runs kubectl as a person does.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        self.run("kubectl", arguments)
    }

    /// Runs kubectl, expects success and gives its output.
    pub fn kubectl_ok(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Runs kubectl with something on its standard input.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.tool("kubectl", arguments).stdin(Stdio::piped()).spawn().expect("kubectl");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("kubectl reads");
        child.wait_with_output().expect("kubectl ends")
    }

    /// Runs helm and expects success.
    pub fn helm(&self, arguments: &[&str]) {
        let output = self.run("helm", arguments);
        assert!(output.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn run(&self, tool: &str, arguments: &[&str]) -> Output {
        self.tool(tool, arguments).stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{tool}: {error}"))
    }

    fn tool(&self, tool: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join(tool));
        command.env("KUBECONFIG", &self.kubeconfig).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Writes a kubeconfig with a token of that ServiceAccount, so that a right that the chart forgot is missed.
    pub fn kubeconfig_of(&self, namespace: &str, account: &str, at: &Path) {
        let token = self.kubectl_ok(&["create", "token", account, "--namespace", namespace, "--duration", "2h"]);
        let admin = self.kubectl_ok(&["config", "view", "--raw", "--minify", "--output", "json"]);
        let admin: Value = serde_json::from_str(&admin).expect("JSON");
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "windlass",
            "clusters": [{"name": "windlass", "cluster": admin["clusters"][0]["cluster"]}],
            "users": [{"name": "operator", "user": {"token": token.trim()}}],
            "contexts": [{"name": "windlass", "context": {"cluster": "windlass", "user": "operator"}}],
        });
        fs::write(at, config.to_string()).expect("writable folder");
    }

    /// Every write in `namespace` so far by a ServiceAccount, oldest first.
    pub fn writes_of_operators(&self, namespace: &str) -> Vec<Write> {
        let log = self.kubeconfig.with_file_name("audit.log");
        let text = fs::read_to_string(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        text.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .map(|event| Write::read(&event))
            .filter(|write| write.namespace == namespace && write.user.starts_with("system:serviceaccount:"))
            .filter(|write| !write.user.starts_with("system:serviceaccount:kube-system:"))
            .collect()
    }
}

impl Write {
    fn read(event: &Value) -> Self {
        let text = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut resource = text("/objectRef/resource");
        let subresource = text("/objectRef/subresource");
        if !subresource.is_empty() {
            resource = format!("{resource}/{subresource}");
        }
        Self {
            what: format!("{} {resource} {}", text("/verb"), text("/objectRef/name")),
            user: text("/user/username"),
            namespace: text("/objectRef/namespace"),
            code: event.pointer("/responseStatus/code").and_then(Value::as_i64).unwrap_or_default(),
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Ok(mut pipes) = self.pipes.lock() {
            pipes.0 = None; // the end of its input ends it
        }
        let _ = self.child.wait();
    }
}
