//! Probes against real servers on this machine, with the kubelet's verdicts.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, rustls};
use windlass::{
    agent::{host::memory_services::MemoryServices, services::probe::Prober},
    model::{Check, Probe, Recovery, RecoveryAction, Service, ServiceName, ServiceState, StartMode},
    wire::health_v1::{
        HealthCheckRequest, HealthCheckResponse,
        health_check_response::ServingStatus,
        health_server::{Health, HealthServer},
    },
};

fn service() -> Service {
    Service {
        name: ServiceName::parse("a").expect("name"),
        display_name: String::new(),
        description: String::new(),
        command: vec!["/bin/a".into()],
        env: Vec::new(),
        working_directory: None,
        account: None,
        start_mode: StartMode::Automatic,
        state: ServiceState::Running,
        depends_on: Vec::new(),
        restart_on_change: Vec::new(),
        stop_timeout_seconds: 30,
        recovery: Recovery { actions: vec![RecoveryAction::None], reset_after_seconds: 600 },
        readiness_probe: None,
        liveness_probe: None,
        wrap: false,
        password: None,
    }
}

fn probe(check: Check, timeout_seconds: u32) -> Probe {
    let (initial_delay_seconds, period_seconds, success_threshold, failure_threshold) = (0, 1, 1, 1);
    Probe { check, initial_delay_seconds, period_seconds, timeout_seconds, success_threshold, failure_threshold }
}

async fn try_once(check: Check) -> Result<(), String> {
    let prober = Prober::new(Arc::new(MemoryServices::default()));
    prober.check(&service(), &probe(check, 30)).await
}

fn get(port: u16, path: &str) -> Check {
    Check::HttpGet { host: "127.0.0.1".into(), port, path: path.into(), tls: false, headers: Vec::new() }
}

/// Answers `/<status>`, `/to?<url>` with a redirect, `/header` with 200 if `X-Line: 7` came, and never `/hang`.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut stream = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_ascii_lowercase());
    }
    let target = lines[0].split(' ').nth(1).unwrap_or("/").to_owned();
    let has = |header: &str| lines.iter().any(|line| line == header);
    let response = match target.split_once('?') {
        Some(("/to", url)) => format!("302 Found\r\nlocation: {url}"),
        _ if target == "/header" => {
            let found = has("x-line: 7")
                && has("host: acme.example")
                && lines.iter().any(|l| l.starts_with("user-agent: windlass-probe/"));
            (if found { "200 OK" } else { "400 Bad Request" }).to_owned()
        }
        _ if target == "/hang" => std::future::pending().await,
        _ => format!("{} Something", target.trim_start_matches('/')),
    };
    let response = format!("HTTP/1.1 {response}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(response.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// Serves until the set is dropped.
async fn serve(tls: Option<TlsAcceptor>) -> (u16, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let port = listener.local_addr().expect("address").port();
    let mut server = JoinSet::new();
    server.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            connections.spawn(async move {
                match tls {
                    None => answer(stream).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            answer(stream).await;
                        }
                    }
                }
            });
        }
    });
    (port, server)
}

async fn closed_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    listener.local_addr().expect("address").port()
}

#[tokio::test]
async fn a_get_passes_from_200_to_399() {
    let (port, _server) = serve(None).await;
    for (status, passes) in
        [(200, true), (204, true), (304, true), (399, true), (400, false), (404, false), (503, false)]
    {
        let verdict = try_once(get(port, &format!("/{status}"))).await;
        let expected = if passes { Ok(()) } else { Err(format!("HTTP status {status}")) };
        assert_eq!(verdict, expected);
    }
    let refused = try_once(get(closed_port().await, "/200")).await.expect_err("nobody listens");
    assert!(refused.contains("refused"), "{refused}");
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_host_only() {
    let (port, _server) = serve(None).await;
    let to = |url: &str| get(port, &format!("/to?{url}"));
    assert_eq!(try_once(to("/503")).await, Err("HTTP status 503".into()));
    let (other, _other) = serve(None).await;
    assert_eq!(try_once(to(&format!("http://127.0.0.1:{other}/503"))).await, Err("HTTP status 503".into()));
    assert_eq!(try_once(to("http://elsewhere.invalid/503")).await, Ok(()));
    let round = format!("/to?http://127.0.0.1:{port}/to?/503");
    assert_eq!(try_once(get(port, &round)).await, Err("HTTP status 503".into()));
}

#[tokio::test]
async fn headers_are_sent_and_may_name_the_host() {
    let (port, _server) = serve(None).await;
    let headers = [("X-Line", "7"), ("Host", "acme.example")].map(|(name, value)| (name.to_owned(), value.to_owned()));
    let check =
        |headers| Check::HttpGet { host: "127.0.0.1".into(), port, path: "/header".into(), tls: false, headers };
    assert_eq!(try_once(check(headers.to_vec())).await, Ok(()));
    assert_eq!(try_once(check(Vec::new())).await, Err("HTTP status 400".into()));
}

#[tokio::test]
async fn https_takes_any_certificate() {
    let key = rcgen::KeyPair::generate().expect("key");
    let certificate = rcgen::CertificateParams::new(["elsewhere.invalid".to_owned()])
        .expect("name")
        .self_signed(&key)
        .expect("signs");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().expect("key"))
        .expect("certificate");
    let (port, _server) = serve(Some(TlsAcceptor::from(Arc::new(config)))).await;
    let check = |path: &str| Check::HttpGet {
        host: "127.0.0.1".into(),
        port,
        path: path.into(),
        tls: true,
        headers: Vec::new(),
    };
    assert_eq!(try_once(check("/200")).await, Ok(()));
    assert_eq!(try_once(check("/500")).await, Err("HTTP status 500".into()));
}

#[tokio::test]
async fn no_answer_in_time_is_a_failure() {
    let (port, _server) = serve(None).await;
    let prober = Prober::new(Arc::new(MemoryServices::default()));
    let probe = probe(get(port, "/hang"), 1);
    let began = tokio::time::Instant::now();
    assert_eq!(prober.check(&service(), &probe).await, Err("no answer within 1 s".into()));
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_port_passes_when_it_accepts() {
    let (port, _server) = serve(None).await;
    let check = |port| Check::TcpSocket { host: "127.0.0.1".into(), port };
    assert_eq!(try_once(check(port)).await, Ok(()));
    let refused = try_once(check(closed_port().await)).await.expect_err("nobody listens");
    assert!(refused.contains("refused"), "{refused}");
}

#[tokio::test]
async fn a_program_passes_with_0() {
    let control = Arc::new(MemoryServices::default());
    let prober = Prober::new(control.clone());
    let probe = probe(Check::Exec { command: vec!["/bin/check".into()] }, 30);
    assert_eq!(prober.check(&service(), &probe).await, Ok(()));
    control.set_failing_checks("a", true);
    assert_eq!(prober.check(&service(), &probe).await, Err("exit code 1".into()));
}

/// Serves `press`, does not serve `down`, and knows nothing else.
struct Press;

#[tonic::async_trait]
impl Health for Press {
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, tonic::Status> {
        let status = match request.get_ref().service.as_str() {
            "" | "press" => ServingStatus::Serving,
            "down" => ServingStatus::NotServing,
            _ => return Err(tonic::Status::not_found("no such service")),
        };
        Ok(tonic::Response::new(HealthCheckResponse { status: status.into() }))
    }
}

#[tokio::test]
async fn a_grpc_health_service_passes_when_it_serves() {
    let port = closed_port().await;
    let mut server = JoinSet::new();
    server.spawn(async move {
        let address = ([127, 0, 0, 1], port).into();
        tonic::transport::Server::builder().add_service(HealthServer::new(Press)).serve(address).await.expect("serves");
    });
    let check = |service: &str| Check::Grpc { port, service: service.into() };
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(try_once(check("")).await, Ok(()));
    assert_eq!(try_once(check("press")).await, Ok(()));
    assert_eq!(try_once(check("down")).await, Err("answered NOT_SERVING".into()));
    assert_eq!(try_once(check("other")).await, Err("gRPC status NotFound".into()));
    let plain = serve(None).await;
    assert!(try_once(Check::Grpc { port: plain.0, service: String::new() }).await.is_err());
}
