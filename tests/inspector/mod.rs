//! A proxy that ends TLS before an operator: it keeps all that it sees in clear, and changes bytes when it is told to.
//! On a thread of its own, so that it goes on whatever the test waits for.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::{ServerConfig, SupportedProtocolVersion, crypto::ring, pki_types::PrivateKeyDer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tokio_util::sync::CancellationToken;
use windlass::tunnel::tls;

/// The authority of a plant's proxies.
pub struct PlantCa(CertifiedIssuer<'static, KeyPair>);

impl PlantCa {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Plant A inspection");
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
    }

    /// Writes its certificate where an agent's settings can name it.
    pub fn write_to(&self, folder: &Path) -> PathBuf {
        let path = folder.join("plant-ca.pem");
        std::fs::write(&path, self.0.pem()).expect("written");
        path
    }

    /// A certificate for this name or address and its key, PEM.
    pub fn certify(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([host.to_owned()]).expect("a name");
        params.distinguished_name.push(DnType::CommonName, "proxy.plant-a.example.com");
        (params.signed_by(&key, &self.0).expect("signed").pem(), key.serialize_pem())
    }

    /// Ends TLS as 127.0.0.1.
    pub fn acceptor(&self, version: &'static SupportedProtocolVersion) -> TlsAcceptor {
        let (certificate, key) = self.certify("127.0.0.1");
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![der(&certificate)], key_of(&key))
            .expect("its certificate");
        TlsAcceptor::from(Arc::new(server))
    }
}

/// Which way bytes go.
#[derive(Clone, Copy)]
pub enum Direction {
    ToOperator,
    ToAgent,
}

/// What it asks for in a CONNECT, before it ends TLS: user and password, as base64 has `USER:PASSWORD`.
pub type Credentials = Option<&'static str>;

pub struct Inspector {
    pub address: SocketAddr,
    sight: Arc<Sight>,
    ended: CancellationToken,
}

#[derive(Default)]
struct Sight {
    /// What came, for each way of each connection.
    streams: Mutex<Vec<Vec<u8>>>,
    /// Pieces that are to be changed yet, by direction.
    to_change: [AtomicU64; 2],
}

impl Inspector {
    /// One before the operator at `operator`, whose authority it knows. With credentials, it is asked by CONNECT.
    pub fn before(
        (operator, authority_pem): (SocketAddr, &str),
        ca: &PlantCa,
        version: &'static SupportedProtocolVersion,
        credentials: Credentials,
    ) -> Self {
        let acceptor = ca.acceptor(version);
        let connector = TlsConnector::from(tls::client(authority_pem, None).expect("an authority").config);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let (sight, ended) = (Arc::new(Sight::default()), CancellationToken::new());
        let (own, until) = (Arc::clone(&sight), ended.clone());
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let serving = async move {
                listener.set_nonblocking(true).expect("a socket");
                let listener = TcpListener::from_std(listener).expect("a socket");
                while let Ok((mut agent, _)) = listener.accept().await {
                    let (own, ours, theirs) = (Arc::clone(&own), acceptor.clone(), connector.clone());
                    tokio::spawn(async move {
                        if connect(&mut agent, operator, credentials).await {
                            own.carry(agent, operator, ours, theirs).await;
                        }
                    });
                }
            };
            runtime.block_on(until.run_until_cancelled(serving));
        });
        Self { address, sight, ended }
    }

    /// All that it saw: heads, and what the frames of WebSockets hold.
    pub fn seen(&self) -> Vec<u8> {
        self.sight.streams.lock().expect("not poisoned").iter().flat_map(|stream| understood(stream)).collect()
    }

    /// Whether it saw this in clear.
    pub fn saw(&self, text: &str) -> bool {
        self.seen().windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// Changes a bit of the next piece that goes this way.
    pub fn change_next(&self, direction: Direction) {
        self.sight.to_change[direction as usize].fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Inspector {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl Sight {
    async fn carry(self: Arc<Self>, agent: TcpStream, operator: SocketAddr, ours: TlsAcceptor, theirs: TlsConnector) {
        // An agent that does not know the plant's authority goes away here.
        let Ok(agent) = ours.accept(agent).await else { return };
        let server = TcpStream::connect(operator).await.expect("the operator listens");
        let Ok(server) = theirs.connect(operator.ip().into(), server).await else { return };
        let ((from_agent, to_agent), (from_server, to_server)) = (split(agent), split(server));
        tokio::select! {
            () = self.pass(from_agent, to_server, Direction::ToOperator) => {}
            () = self.pass(from_server, to_agent, Direction::ToAgent) => {}
        }
    }

    async fn pass(&self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, direction: Direction) {
        let number = {
            let mut streams = self.streams.lock().expect("not poisoned");
            streams.push(Vec::new());
            streams.len() - 1
        };
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            let piece = &mut buffer[..n];
            self.streams.lock().expect("not poisoned")[number].extend_from_slice(piece);
            let to_change = &self.to_change[direction as usize];
            if to_change.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
                piece[n - 1] ^= 1;
            }
            if to.write_all(piece).await.is_err() || to.flush().await.is_err() {
                return;
            }
        }
    }
}

/// A head, and what the frames after it hold once their masks are off. Source: RFC 6455, section 5.2.
fn understood(stream: &[u8]) -> Vec<u8> {
    let end = stream.windows(4).position(|four| four == b"\r\n\r\n").map_or(stream.len(), |at| at + 4);
    let (head, mut rest) = stream.split_at(end);
    let mut understood = head.to_vec();
    // The last frame may still be on its way.
    while let [_, second, ..] = *rest {
        let (length, at) = match (second & 0x7f, rest) {
            (126, [_, _, a, b, ..]) => (usize::from(u16::from_be_bytes([*a, *b])), 4),
            (126, _) => break,
            (127, _) => panic!("a frame as long as neither end sends one"),
            (short, _) => (usize::from(short), 2),
        };
        let key_length = if second & 0x80 == 0 { 0 } else { 4 };
        let Some((key, after)) = rest.get(at..).and_then(|after| after.split_at_checked(key_length)) else { break };
        let payload = &after[..length.min(after.len())];
        understood.extend(payload.iter().enumerate().map(|(n, byte)| byte ^ key.get(n % 4).unwrap_or(&0)));
        rest = &after[payload.len()..];
    }
    understood
}

/// Answers a CONNECT, if one is expected.
async fn connect(agent: &mut TcpStream, operator: SocketAddr, credentials: Credentials) -> bool {
    let Some(credentials) = credentials else { return true };
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = agent.read_u8().await else { return false };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let may = head.starts_with(&format!("CONNECT {operator} HTTP/1.1\r\n"))
        && head.contains(&format!("\r\nProxy-Authorization: Basic {credentials}\r\n"));
    let answer = if may { "200 Connection established" } else { "407 Proxy Authentication Required" };
    agent.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes()).await.is_ok() && may
}

fn der(pem: &str) -> rustls::pki_types::CertificateDer<'static> {
    rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).expect("PEM")
}

fn key_of(pem: &str) -> PrivateKeyDer<'static> {
    rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).expect("PEM")
}
