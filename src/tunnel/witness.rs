//! Checks a server's certificate as rustls does, and keeps the one that was refused, so that a person can be told whose
//! it was. What rustls refuses stays refused, with rustls's own reason.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
};

use super::tls::TlsError;

/// A verifier that remembers what it refused.
#[derive(Debug)]
pub struct Witness {
    judge: Arc<WebPkiServerVerifier>,
    refused: Mutex<Option<CertificateDer<'static>>>,
}

/// Whose a certificate is and who issued it, as it says itself. For people: nothing here was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    subject: String,
    issuer: String,
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate of {:?} was issued by {:?}", self.subject, self.issuer)
    }
}

impl Witness {
    /// One that trusts these authorities.
    pub fn new(roots: Arc<RootCertStore>, provider: Arc<CryptoProvider>) -> Result<Arc<Self>, TlsError> {
        let judge = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|e| TlsError::Config(e.to_string()))?;
        Ok(Arc::new(Self { judge, refused: Mutex::default() }))
    }

    /// Names in the certificate that was refused last.
    pub fn refused(&self) -> Option<Names> {
        use x509_parser::prelude::{FromDer as _, X509Certificate, X509Name};
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, certificate) = X509Certificate::from_der(refused.as_ref()?).ok()?;
        let short = |name: &X509Name<'_>| name.to_string().chars().take(200).collect::<String>();
        Some(Names { subject: short(certificate.subject()), issuer: short(certificate.issuer()) })
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).inspect_err(|_| {
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.clone().into_owned());
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}
