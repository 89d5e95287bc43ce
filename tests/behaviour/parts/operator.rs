//! The real operator as a process, with the rights of the chart's ServiceAccount and no more.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use rustix::process::Signal;

use super::{
    Process, World,
    cluster::{RELEASE, SYSTEM},
    process, until,
};

pub struct Operator {
    process: Process,
    arguments: Vec<String>,
    ready_file: PathBuf,
    log: PathBuf,
    /// Where agents reach it; the same after a restart.
    pub tunnel: SocketAddr,
    admin: SocketAddr,
}

impl Operator {
    /// One that looks after the world's namespace, with short periods; `flags` come last and so rule.
    pub async fn start(world: &World, flags: &[&str]) -> Self {
        Self::of_release(world, SYSTEM, RELEASE, flags).await
    }

    /// One with the ServiceAccount and the authority of another release of the chart.
    pub async fn of_release(world: &World, namespace: &str, release: &str, flags: &[&str]) -> Self {
        let tunnel = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let kubeconfig = world.path(&format!("operator-{}.kubeconfig", tunnel.port()));
        world.cluster.kubeconfig_of(namespace, release, &kubeconfig);
        let ready_file = world.path(&format!("operator-{}.ready", tunnel.port()));
        let log = world.path(&format!("operator-{}.log", tunnel.port()));
        let mut arguments = vec![env!("CARGO_BIN_EXE_windlass-operator").to_owned(), "run".to_owned()];
        for (flag, value) in [
            ("--kubeconfig", kubeconfig.to_str().expect("UTF-8").to_owned()),
            ("--namespaces", world.namespace.clone()),
            ("--operator-namespace", namespace.to_owned()),
            ("--authority-secret", format!("{release}-authority")),
            ("--signing-keys-secret", format!("{release}-signing-keys")),
            ("--replica", format!("{release}-0")),
            ("--tunnel-listen", tunnel.to_string()),
            ("--tunnel-url", format!("wss://{tunnel}")),
            ("--admin-listen", "127.0.0.1:0".to_owned()),
            ("--ready-file", ready_file.to_str().expect("UTF-8").to_owned()),
            ("--heartbeat-seconds", "1".to_owned()),
            ("--disconnect-grace-seconds", "4".to_owned()),
            ("--missing-reference-grace-seconds", "4".to_owned()),
            ("--cleanup-timeout-seconds", "30".to_owned()),
            ("--log-level", "info,windlass=debug".to_owned()),
        ] {
            if !flags.contains(&flag) {
                arguments.extend([flag.to_owned(), value]);
            }
        }
        arguments.extend(flags.iter().map(|&flag| flag.to_owned()));
        let process = Process::start(&arguments, &[], &log);
        let mut operator = Self { process, arguments, ready_file, log, tunnel, admin: tunnel };
        operator.wait_until_ready().await;
        operator
    }

    async fn wait_until_ready(&mut self) {
        let ready_file = self.ready_file.clone();
        let process = &mut self.process;
        self.admin = until("the operator serves", || {
            if let Some(status) = process.has_ended() {
                panic!("the operator ended while it started, with {status}:\n{}", process.log());
            }
            let text = fs::read_to_string(&ready_file).ok()?;
            text.lines().find_map(|line| line.strip_prefix("admin=")?.parse().ok())
        })
        .await;
    }

    /// Starts it again, with the same flags, at the same address.
    pub async fn start_again(&mut self) {
        let _ = fs::remove_file(&self.ready_file);
        self.process = Process::start(&self.arguments, &[], &self.log);
        self.wait_until_ready().await;
    }

    /// kill -9.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    pub fn signal(&self, with: Signal) {
        process::signal(self.process.pid(), with);
    }

    /// SIGTERM, and the exit code.
    pub async fn drain(&mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.process.ended(Duration::from_secs(30)).await.code()
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    pub fn url(&self) -> String {
        format!("wss://{}", self.tunnel)
    }

    /// Status and body of a GET of its admin address.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("HTTP client")
            .get(format!("http://{}{path}", self.admin))
            .timeout(Duration::from_secs(10))
            .send()
            .await
            .expect("the operator answers");
        (answer.status().as_u16(), answer.text().await.expect("a body"))
    }
}

/// A port below those that the kernel hands out by itself, so that nobody takes it during a restart.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(10_000..20_000);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
