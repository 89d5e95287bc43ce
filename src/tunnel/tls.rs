//! TLS of both ends: 1.3 only, mutual, against windlass's own authority, without tickets or resumption.
//! In: certificates and keys. Out: configurations, and which node a certificate names. No IO.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::{TLS12, TLS13},
};

use super::{
    TRUST_DOMAIN,
    witness::{Names, Witness},
};
use crate::model::NodeId;

/// Why certificates and keys make no TLS configuration, or name no node.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Not PEM of a certificate.
    #[error("certificate authority: {0}, expected a PEM certificate")]
    Authority(String),
    /// Nor any among several.
    #[error("it holds no certificate authority, expected PEM certificates")]
    NoAuthorities,
    /// rustls refuses it.
    #[error("TLS configuration: {0}")]
    Config(String),
    /// Its names are not those of a node.
    #[error("certificate: {0}")]
    Names(String),
}

/// A certificate chain, leaf first, and its key.
pub struct Credentials {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Key of the leaf.
    pub key: PrivateKeyDer<'static>,
}

/// The operator's side. A client may show no certificate (to enroll), or one of the authority's; any other ends
/// the handshake with an alert.
pub fn server(own: Credentials, authority: CertificateDer<'static>) -> Result<Arc<ServerConfig>, TlsError> {
    let config = |e: &dyn std::fmt::Display| TlsError::Config(e.to_string());
    let clients = WebPkiClientVerifier::builder_with_provider(roots([authority])?, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| config(&e))?;
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| config(&e))?
        .with_client_cert_verifier(clients)
        .with_single_cert(own.chain, own.key)
        .map_err(|e| config(&e))?;
    server.send_tls13_tickets = 0;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(server))
}

/// The agent's side, and what it saw of another side that it refused.
#[derive(Clone)]
pub struct Client {
    /// For rustls.
    pub config: Arc<ClientConfig>,
    witness: Arc<Witness>,
}

impl Client {
    /// Names in the certificate that was refused last.
    pub fn refused(&self) -> Option<Names> {
        self.witness.refused()
    }
}

/// The agent's side: trusts the enrollment file's authority and no other.
pub fn client(authority_pem: &str, own: Option<Credentials>) -> Result<Client, TlsError> {
    let authorities = CertificateDer::pem_slice_iter(authority_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TlsError::Authority(e.to_string()))?;
    if authorities.is_empty() {
        return Err(TlsError::Authority("there is none".to_owned()));
    }
    client_of(roots(authorities)?, &[&TLS13], own)
}

/// The agent's side of a TLS that a proxy may end: trusts these authorities, shows no certificate, and takes TLS 1.2
/// as well, as nothing depends on it. Of a bundle, what is no authority that rustls knows to use is passed over.
pub fn outer_client(authorities_pem: &[u8]) -> Result<Client, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(authorities_pem).filter_map(Result::ok));
    if roots.is_empty() {
        return Err(TlsError::NoAuthorities);
    }
    client_of(Arc::new(roots), &[&TLS13, &TLS12], None)
}

fn client_of(
    roots: Arc<RootCertStore>,
    versions: &[&'static SupportedProtocolVersion],
    own: Option<Credentials>,
) -> Result<Client, TlsError> {
    let config = |e: rustls::Error| TlsError::Config(e.to_string());
    let witness = Witness::new(roots, provider())?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(config)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(&witness) as _);
    let mut client = match own {
        Some(own) => builder.with_client_auth_cert(own.chain, own.key).map_err(config)?,
        None => builder.with_no_client_auth(),
    };
    client.resumption = Resumption::disabled();
    Ok(Client { config: Arc::new(client), witness })
}

/// The node that a certificate names, by its one SPIFFE URI in windlass's trust domain.
pub fn node_of(certificate: &CertificateDer<'_>) -> Result<NodeId, TlsError> {
    use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
    let names = |why: String| TlsError::Names(why);
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|e| names(e.to_string()))?;
    let alternatives = certificate
        .subject_alternative_name()
        .map_err(|e| names(e.to_string()))?
        .ok_or_else(|| names("it has no subject alternative name, expected the SPIFFE URI of a node".to_owned()))?;
    let uris: Vec<&str> = alternatives
        .value
        .general_names
        .iter()
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
        .collect();
    let [uri] = uris[..] else {
        return Err(names(format!("it names {} URIs, expected the SPIFFE URI of a node", uris.len())));
    };
    if !uri.starts_with(&format!("spiffe://{TRUST_DOMAIN}/")) {
        let uri: String = uri.chars().take(300).collect();
        return Err(names(format!("{uri:?} is not of the trust domain {TRUST_DOMAIN:?}")));
    }
    NodeId::from_spiffe_uri(uri).map_err(|e| names(e.to_string()))
}

fn roots(authorities: impl IntoIterator<Item = CertificateDer<'static>>) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|e| TlsError::Authority(e.to_string()))?;
    }
    Ok(Arc::new(roots))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
