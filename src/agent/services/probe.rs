//! Tries a probe once: over HTTP, TCP, gRPC or by a program. Does IO; what the results come to is counted in
//! `super::thresholds`. Source: the kubelet's `pkg/probe`, whose verdicts these are.

use std::{
    error::Error,
    sync::{Arc, OnceLock},
    time::Duration,
};

use reqwest::redirect;
use tokio::{net::TcpStream, time::timeout};

use crate::{
    agent::host::{Exit, ServiceControl},
    model::{Check, Probe, Service},
    wire::health_v1::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient},
};

const USER_AGENT: &str = concat!("windlass-probe/", env!("CARGO_PKG_VERSION"));
const MOST_REDIRECTS: usize = 10;

/// Tries probes.
pub struct Prober {
    control: Arc<dyn ServiceControl>,
    /// Made when the first probe needs it: many nodes have none over HTTP.
    http: OnceLock<reqwest::Client>,
}

impl Prober {
    /// Programs are run by `control`.
    pub fn new(control: Arc<dyn ServiceControl>) -> Self {
        Self { control, http: OnceLock::new() }
    }

    /// One try, within the probe's timeout. The error says in a few words what came instead.
    pub async fn check(&self, service: &Service, probe: &Probe) -> Result<(), String> {
        let limit = Duration::from_secs(probe.timeout_seconds.into());
        let tried = async {
            match &probe.check {
                Check::HttpGet { host, port, path, tls, headers } => {
                    self.http_get(&url(host, *port, path, *tls), headers).await
                }
                Check::TcpSocket { host, port } => tcp_socket(host, *port).await,
                Check::Exec { command } => self.exec(service, command).await,
                Check::Grpc { port, service } => grpc(*port, service).await,
            }
        };
        timeout(limit, tried).await.unwrap_or_else(|_| Err(format!("no answer within {} s", probe.timeout_seconds)))
    }

    async fn http_get(&self, url: &str, headers: &[(String, String)]) -> Result<(), String> {
        let mut request = self.http()?.get(url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let status = request.send().await.map_err(|error| cause(&error))?.status();
        if (200..400).contains(&status.as_u16()) { Ok(()) } else { Err(format!("HTTP status {}", status.as_u16())) }
    }

    fn http(&self) -> Result<&reqwest::Client, String> {
        if let Some(client) = self.http.get() {
            return Ok(client);
        }
        // An error says that there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        // As the kubelet: certificates are not checked, a proxy is not asked, no connection is kept.
        let client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .danger_accept_invalid_certs(true)
            .no_proxy()
            .pool_max_idle_per_host(0)
            .redirect(redirect::Policy::custom(follow))
            .build()
            .map_err(|error| cause(&error))?;
        Ok(self.http.get_or_init(|| client))
    }

    async fn exec(&self, service: &Service, command: &[String]) -> Result<(), String> {
        match self.control.check(service, command).await {
            Ok(Exit::Code(0)) => Ok(()),
            Ok(Exit::Code(code)) => Err(format!("exit code {code}")),
            Ok(Exit::Signal(signal)) => Err(format!("ended by signal {signal}")),
            Ok(Exit::Unknown) => Err("ended in an unknown way".into()),
            Err(error) => Err(error.message),
        }
    }
}

/// A redirect to another host is an answer like any other, and so a pass.
fn follow(attempt: redirect::Attempt<'_>) -> redirect::Action {
    let first = attempt.previous().first().and_then(|url| url.host_str());
    if first != attempt.url().host_str() {
        attempt.stop()
    } else if attempt.previous().len() >= MOST_REDIRECTS {
        attempt.error(format!("stopped after {MOST_REDIRECTS} redirects"))
    } else {
        attempt.follow()
    }
}

fn url(host: &str, port: u16, path: &str, tls: bool) -> String {
    let scheme = if tls { "https" } else { "http" };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("{scheme}://{host}:{port}{path}")
}

async fn tcp_socket(host: &str, port: u16) -> Result<(), String> {
    TcpStream::connect((host, port)).await.map(drop).map_err(|error| cause(&error))
}

async fn grpc(port: u16, service: &str) -> Result<(), String> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{port}"))
        .and_then(|endpoint| endpoint.user_agent(USER_AGENT))
        .map_err(|error| cause(&error))?;
    let channel = endpoint.connect().await.map_err(|error| cause(&error))?;
    let request = HealthCheckRequest { service: service.to_owned() };
    match HealthClient::new(channel).check(request).await.map(|answer| answer.into_inner().status()) {
        Ok(ServingStatus::Serving) => Ok(()),
        Ok(other) => Err(format!("answered {}", other.as_str_name())),
        Err(status) => Err(format!("gRPC status {:?}", status.code())),
    }
}

/// The innermost cause: the outer ones only repeat what was tried.
fn cause(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
