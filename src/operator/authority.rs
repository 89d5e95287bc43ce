//! The certificate authority of all nodes: makes and reads it, and signs with it. No IO; the Secret that holds it
//! is [`super::authority_secret`]'s business. Knows nothing of tokens.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use jiff::Timestamp;
use k8s_openapi::ByteString;
use rand::RngCore as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, PrivateKeyDer, pem::PemObject as _};

use crate::{
    model::{Digest, NodeId},
    tunnel::{TRUST_DOMAIN, tls::Credentials},
};

/// How long the authority is valid, and with it every certificate that it signs: rotation is yet to come, and an
/// agent whose certificate ended could not come back by itself. A node is shut out by deleting its EdgeNode.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Certificates are valid from this long before the authority was made: clocks of machines at the edge are slow.
const BACKDATED: Duration = Duration::from_secs(30 * 86_400);
const CERTIFICATE: &str = "ca.crt";
const KEY: &str = "ca.key";
const CONTENT_KEY: &str = "content.key";

/// Signs nodes' certificates and the operator's own.
pub struct Authority {
    pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    validity: (Timestamp, Timestamp),
    content_key: [u8; 32],
}

/// Why there is no authority, or it does not sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The Secret's data are not what was written.
    #[error("key {0} of the authority's Secret: {1}")]
    Damaged(&'static str, String),
    /// Not a certificate request that is signed by its own P-256 or Ed25519 key.
    #[error("certificate request: {0}")]
    Request(String),
    /// Making a key or certificate went wrong.
    #[error("making a certificate: {0}")]
    Sign(#[from] rcgen::Error),
}

/// A certificate request whose signature was checked. Only its key counts; names come from the token.
pub struct CheckedRequest(CertificateSigningRequestParams);

impl CheckedRequest {
    /// Checks that whoever made it holds the key, and that the key is P-256 or Ed25519.
    pub fn check(der: &[u8]) -> Result<Self, AuthorityError> {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(der))
            .map_err(|e| AuthorityError::Request(e.to_string()))?;
        let (key, algorithm) = (request.public_key.der_bytes(), request.public_key.algorithm());
        let p256 = *algorithm == rcgen::PKCS_ECDSA_P256_SHA256 && key.len() == 65;
        let ed25519 = *algorithm == rcgen::PKCS_ED25519 && key.len() == 32;
        if p256 || ed25519 {
            Ok(Self(request))
        } else {
            Err(AuthorityError::Request("its key is neither P-256 nor Ed25519".to_owned()))
        }
    }

    /// SHA-256 of the key (SubjectPublicKeyInfo).
    pub fn key_digest(&self) -> Digest {
        Digest::of(&self.0.public_key.subject_public_key_info())
    }
}

impl Authority {
    /// Makes a new one. Returns it as the Secret's data, for [`Authority::read`].
    pub fn make(now: Timestamp) -> Result<BTreeMap<String, ByteString>, AuthorityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        // Unique, so that a foreign authority is unknown rather than one whose signature does not fit.
        let id = &Digest::of(&key.subject_public_key_info()).to_string()[..16];
        params.distinguished_name = common_name(&format!("windlass authority {id}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        set_validity(&mut params, (now - BACKDATED, now + VALIDITY));
        let certificate = params.self_signed(&key)?;
        let mut content_key = vec![0; 32];
        rand::rng().fill_bytes(&mut content_key);
        Ok([
            (CERTIFICATE, certificate.pem().into_bytes()),
            (KEY, key.serialize_pem().into_bytes()),
            (CONTENT_KEY, content_key),
        ]
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), ByteString(bytes)))
        .collect())
    }

    /// Reads what [`Authority::make`] wrote.
    pub fn read(data: &BTreeMap<String, ByteString>) -> Result<Self, AuthorityError> {
        let bytes = |name| {
            data.get(name).map(|b| &b.0[..]).ok_or_else(|| AuthorityError::Damaged(name, "is missing".to_owned()))
        };
        let text = |name| {
            std::str::from_utf8(bytes(name)?).map_err(|_| AuthorityError::Damaged(name, "is not text".to_owned()))
        };
        let pem = text(CERTIFICATE)?.to_owned();
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|e| AuthorityError::Damaged(CERTIFICATE, e.to_string()))?;
        let key = KeyPair::from_pem(text(KEY)?).map_err(|e| AuthorityError::Damaged(KEY, e.to_string()))?;
        let validity = validity(&certificate).map_err(|e| AuthorityError::Damaged(CERTIFICATE, e))?;
        let issuer = Issuer::from_ca_cert_der(&certificate, key)
            .map_err(|e| AuthorityError::Damaged(CERTIFICATE, e.to_string()))?;
        let content_key = bytes(CONTENT_KEY)?
            .try_into()
            .map_err(|_| AuthorityError::Damaged(CONTENT_KEY, "is not of 32 bytes".to_owned()))?;
        Ok(Self { pem, certificate, issuer, validity, content_key })
    }

    /// The certificate, for enrollment files.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The certificate, against which nodes' certificates are checked.
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// 32 bytes from which the salts of secret contents are derived. Never leaves the operator.
    pub fn content_key(&self) -> &[u8; 32] {
        &self.content_key
    }

    /// A new key and certificate for the operator, reached at this name or address.
    pub fn server(&self, host: &str) -> Result<Credentials, AuthorityError> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("windlass operator");
        params.subject_alt_names = vec![match host.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.try_into()?),
        }];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = self.sign(params, &key)?;
        let key = PrivateKeyDer::try_from(key.serialize_der())
            .map_err(|e| AuthorityError::Sign(rcgen::Error::PemError(e.to_owned())))?;
        Ok(Credentials { chain: vec![certificate], key })
    }

    /// A client certificate that names this node.
    pub fn node(&self, request: &CheckedRequest, node: &NodeId) -> Result<CertificateDer<'static>, AuthorityError> {
        let mut params = CertificateParams::default();
        // A common name holds 64 characters at most, which a UID has room in.
        params.distinguished_name = common_name(&node.uid.chars().take(64).collect::<String>());
        params.subject_alt_names = vec![SanType::URI(node.spiffe_uri(TRUST_DOMAIN).as_str().try_into()?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params, &request.0.public_key)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        key: &impl PublicKeyData,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, self.validity);
        Ok(params.signed_by(key, &self.issuer)?.der().clone())
    }
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

fn set_validity(params: &mut CertificateParams, (from, until): (Timestamp, Timestamp)) {
    let date = |at: Timestamp| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(at.as_second()).unwrap_or_default())
    };
    params.not_before = date(from);
    params.not_after = date(until);
}

fn validity(certificate: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), String> {
    use x509_parser::prelude::{FromDer as _, X509Certificate};
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(|e| e.to_string())?;
    let date = |at: i64| Timestamp::from_second(at).map_err(|e| e.to_string());
    let validity = certificate.validity();
    Ok((date(validity.not_before.timestamp())?, date(validity.not_after.timestamp())?))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer as _, X509Certificate};

    use super::*;
    use crate::tunnel::tls::node_of;

    fn authority() -> Authority {
        let now = Timestamp::from_second(1_800_000_000).expect("in range");
        Authority::read(&Authority::make(now).expect("made")).expect("read")
    }

    fn node() -> NodeId {
        NodeId { namespace: "plant-a".into(), name: "press-07".into(), uid: "0b-1".into() }
    }

    #[test]
    fn a_nodes_certificate_names_it_and_is_for_clients_alone() {
        let authority = authority();
        let key = KeyPair::generate().expect("a key");
        // What the request asks for beyond its key is not given.
        let mut wish = CertificateParams::new(["windlass.example.com".to_owned()]).expect("valid");
        wish.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        wish.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let request = wish.serialize_request(&key).expect("signed");
        let checked = CheckedRequest::check(request.der()).expect("valid");
        let der = authority.node(&checked, &node()).expect("signed");
        assert_eq!(node_of(&der).expect("a node"), node());

        let (_, certificate) = X509Certificate::from_der(&der).expect("a certificate");
        assert!(!certificate.is_ca());
        let usage = certificate.extended_key_usage().expect("readable").expect("there").value;
        assert!(usage.client_auth && !usage.server_auth);
        let names = certificate.subject_alternative_name().expect("readable").expect("there").value;
        assert_eq!(names.general_names.len(), 1);
        assert_eq!(checked.key_digest(), Digest::of(certificate.public_key().raw));
        let (from, until) = (certificate.validity().not_before, certificate.validity().not_after);
        assert_eq!(from.timestamp(), 1_800_000_000 - 30 * 86_400);
        assert_eq!(until.timestamp(), 1_800_000_000 + 3650 * 86_400);
    }

    #[test]
    fn a_request_that_is_not_signed_by_its_key_is_refused() {
        let key = KeyPair::generate().expect("a key");
        let mut request = CertificateParams::default().serialize_request(&key).expect("signed").der().to_vec();
        let last = request.len() - 1;
        request[last] ^= 1;
        assert!(CheckedRequest::check(&request).is_err());
        assert!(CheckedRequest::check(b"").is_err());
        assert!(CheckedRequest::check(&[0x30; 100]).is_err());
    }

    #[test]
    fn keys_other_than_p256_and_ed25519_are_refused() {
        for (algorithm, taken) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, true),
            (&rcgen::PKCS_ED25519, true),
            (&rcgen::PKCS_ECDSA_P384_SHA384, false),
        ] {
            let key = KeyPair::generate_for(algorithm).expect("a key");
            let request = CertificateParams::default().serialize_request(&key).expect("signed");
            assert_eq!(CheckedRequest::check(request.der()).is_ok(), taken, "{algorithm:?}");
        }
    }

    #[test]
    fn two_authorities_have_different_names() {
        let subject = |authority: &Authority| {
            let der = authority.certificate();
            X509Certificate::from_der(&der).expect("a certificate").1.subject().to_string()
        };
        assert_ne!(subject(&authority()), subject(&authority()));
    }

    #[test]
    fn a_damaged_secret_is_told_by_its_key() {
        let now = Timestamp::from_second(1_800_000_000).expect("in range");
        for key in [CERTIFICATE, KEY, CONTENT_KEY] {
            let mut data = Authority::make(now).expect("made");
            data.insert(key.to_owned(), ByteString(b"x".to_vec()));
            let error = Authority::read(&data).err().expect("damaged").to_string();
            assert!(error.contains(key), "{error}");
            data.remove(key);
            assert!(Authority::read(&data).err().expect("missing").to_string().contains("is missing"));
        }
    }
}
