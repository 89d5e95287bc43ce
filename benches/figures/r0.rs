//! R0, the baseline of the tunnel: a server that does nothing but hold WebSockets over mutual TLS,
//! with the crates and the buffer sizes of the operator, and as many clients.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result};
use futures::{SinkExt as _, StreamExt as _};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};

use crate::{child::Child, meter};

/// How many clients are on their way at a time: R0's and the fleet's, so that their cost is comparable.
pub const CONNECTING_AT_ONCE: usize = 50;

/// What R0 costs with a number of clients.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct Figures {
    /// How many clients.
    pub nodes: usize,
    /// Resident bytes of the server per client.
    pub bytes_per_connection: f64,
    /// CPU of the server per connect, in microseconds.
    pub cpu_per_connect_us: f64,
}

/// As the operator sets it.
fn websocket() -> WebSocketConfig {
    let mut config = WebSocketConfig::default();
    config.read_buffer_size = 4 << 10;
    config.write_buffer_size = 0;
    config.max_write_buffer_size = 1 << 20;
    config
}

/// The server, as a process of its own: prints its port and serves until standard input ends.
pub async fn serve(dir: PathBuf) -> Result<()> {
    let roots = roots(&dir)?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate(&dir.join("server.pem"))?], key(&dir.join("server.key"))?)?;
    config.send_tls13_tickets = 0;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("READY {}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    let mut stdin = tokio::io::stdin();
    let mut byte = [0];
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let handshake = Box::pin(async {
                        let tls = acceptor.accept(stream).await.ok()?;
                        tokio_tungstenite::accept_async_with_config(tls, Some(websocket())).await.ok()
                    });
                    if let Some(mut socket) = handshake.await {
                        tokio::spawn(async move {
                            while let Ok(Some(Ok(message))) =
                                tokio::time::timeout(Duration::from_secs(30), socket.next()).await
                            {
                                if message.is_binary() && socket.send(message).await.is_err() {
                                    break;
                                }
                            }
                        });
                    }
                });
            }
            _ = stdin.read(&mut byte) => return Ok(()),
        }
    }
}

/// Starts the server and connects that many clients, in steps of growing number.
pub async fn measure(counts: &[usize]) -> Result<Vec<Figures>> {
    let dir = tempfile::tempdir()?;
    make_certificates(dir.path())?;
    let mut config = ClientConfig::builder().with_root_certificates(roots(dir.path())?).with_client_auth_cert(
        vec![certificate(&dir.path().join("client.pem"))?],
        key(&dir.path().join("client.key"))?,
    )?;
    config.resumption = rustls::client::Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(config));
    let mut server = Child::of_this_program(&["r0-serve", &dir.path().display().to_string()]).await?;
    let port: u16 = server.ready.trim().parse().context("port of R0")?;
    // The first connections pay for what all share.
    let mut clients = JoinSet::new();
    connect(&mut clients, &connector, port, 20).await?;
    let empty = meter::sample(server.pid())?;
    let mut figures = Vec::new();
    for count in counts {
        let before = meter::sample(server.pid())?;
        let new = count - (clients.len() - 20);
        connect(&mut clients, &connector, port, new).await?;
        let after = meter::sample(server.pid())?;
        figures.push(Figures {
            nodes: *count,
            bytes_per_connection: after.resident.saturating_sub(empty.resident) as f64 / *count as f64,
            cpu_per_connect_us: (after.cpu - before.cpu).as_micros() as f64 / new as f64,
        });
    }
    clients.shutdown().await;
    server.end().await?;
    Ok(figures)
}

async fn connect(clients: &mut JoinSet<Result<()>>, connector: &TlsConnector, port: u16, count: usize) -> Result<()> {
    let at_once = Arc::new(Semaphore::new(CONNECTING_AT_ONCE));
    let (done, mut all_done) = tokio::sync::mpsc::channel::<()>(1);
    for _ in 0..count {
        let permit = Arc::clone(&at_once).acquire_owned().await?;
        let (connector, done) = (connector.clone(), done.clone());
        clients.spawn(async move {
            let stream = TcpStream::connect(("127.0.0.1", port)).await?;
            let tls = connector.connect(ServerName::try_from("localhost")?, stream).await?;
            let (mut socket, _) =
                tokio_tungstenite::client_async_with_config("ws://localhost/v1/tunnel", tls, Some(websocket())).await?;
            socket.send(Message::binary(vec![7; 300])).await?;
            socket.next().await.context("an answer")??;
            drop((permit, done));
            loop {
                tokio::time::sleep(Duration::from_secs(10)).await;
                socket.send(Message::Ping(Default::default())).await?;
                socket.next().await.context("a pong")??;
            }
        });
    }
    drop(done);
    all_done.recv().await;
    Ok(())
}

fn make_certificates(dir: &Path) -> Result<()> {
    let ca_key = rcgen::KeyPair::generate()?;
    let mut ca = rcgen::CertificateParams::new(vec![])?;
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key)?;
    let issuer = rcgen::Issuer::new(ca, ca_key);
    std::fs::write(dir.join("ca.pem"), ca_certificate.pem())?;
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate()?;
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()])?;
        std::fs::write(dir.join(format!("{name}.pem")), params.signed_by(&key, &issuer)?.pem())?;
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem())?;
    }
    Ok(())
}

fn roots(dir: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&dir.join("ca.pem"))?)?;
    Ok(roots)
}

fn certificate(path: &Path) -> Result<CertificateDer<'static>> {
    Ok(CertificateDer::from_pem_file(path)?)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    Ok(PrivateKeyDer::from_pem_file(path)?)
}
