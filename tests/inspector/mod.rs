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

    /// A certificate for 127.0.0.1 and its key, PEM.
    pub fn certify(&self) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
        params.distinguished_name.push(DnType::CommonName, "proxy.plant-a.example.com");
        (params.signed_by(&key, &self.0).expect("signed").pem(), key.serialize_pem())
    }
}

/// Which way bytes go.
#[derive(Clone, Copy)]
pub enum Direction {
    ToOperator,
    ToAgent,
}

pub struct Inspector {
    pub address: SocketAddr,
    sight: Arc<Sight>,
    ended: CancellationToken,
}

#[derive(Default)]
struct Sight {
    clear: Mutex<Vec<u8>>,
    /// Pieces that are to be changed yet, by direction.
    to_change: [AtomicU64; 2],
}

impl Inspector {
    /// One before the operator at `operator`, whose authority it knows.
    pub fn before(
        operator: SocketAddr,
        authority_pem: &str,
        ca: &PlantCa,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let (certificate, key) = ca.certify();
        let server = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .expect("a version")
            .with_no_client_auth()
            .with_single_cert(vec![der(&certificate)], key_of(&key))
            .expect("its certificate");
        let acceptor = TlsAcceptor::from(Arc::new(server));
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
                while let Ok((agent, _)) = listener.accept().await {
                    tokio::spawn(Arc::clone(&own).carry(agent, operator, acceptor.clone(), connector.clone()));
                }
            };
            runtime.block_on(until.run_until_cancelled(serving));
        });
        Self { address, sight, ended }
    }

    /// All that it saw of what was said, without its own TLS.
    pub fn seen(&self) -> Vec<u8> {
        self.sight.clear.lock().expect("not poisoned").clone()
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
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buffer).await {
            let piece = &mut buffer[..n];
            self.clear.lock().expect("not poisoned").extend_from_slice(piece);
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

fn der(pem: &str) -> rustls::pki_types::CertificateDer<'static> {
    rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).expect("PEM")
}

fn key_of(pem: &str) -> PrivateKeyDer<'static> {
    rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).expect("PEM")
}
