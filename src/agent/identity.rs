//! Who this agent is: key, certificate and node, as files in `identity/`. A new identity is made in `identity/next/`
//! and takes the old one's place only when it is whole: a crash at any point leaves one of the two. Does IO.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use tracing::error;

use super::{
    enrollment_file::EnrollmentFile,
    host::machine,
    trust::{self, Believed},
};
use crate::{
    model::{Digest, NodeId},
    trust::Trust,
    tunnel::{
        endpoint::Endpoint,
        tls::{self, Credentials, TlsError, node_of},
    },
};

const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
const NODE: &str = "node.json";
const TRUST: &str = "trust.json";
/// In `next/`: digest of the token that the key there is for.
const TOKEN: &str = "token.sha256";

/// A certified identity.
pub struct Identity {
    /// Which EdgeNode.
    pub node: NodeId,
    /// The operator that certified it.
    pub endpoint: Endpoint,
    /// Certificate authority to trust, PEM.
    pub authority_pem: String,
    /// Of the token that it was got for.
    pub token_digest: Digest,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    /// Certificate and key, to be shown.
    pub fn credentials(&self) -> Credentials {
        Credentials { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

/// Why there is no identity to read or write.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("identity: {what} {path}: {error}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: String,
        /// What the machine says.
        error: io::Error,
    },
    /// A file does not hold what it should.
    #[error("identity: {path}: {why}")]
    Damaged {
        /// Which.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// No key can be made.
    #[error("identity: making a key: {0}")]
    Key(#[from] rcgen::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct NodeFile {
    node: NodeId,
    url: String,
    certificate_authority: String,
    token_sha256: String,
}

/// The folder `identity/`.
#[derive(Debug, Clone)]
pub struct IdentityFolder {
    folder: PathBuf,
}

impl IdentityFolder {
    /// Opens it, creating it where it is absent, and ends a replacement that was interrupted.
    pub fn open(folder: PathBuf) -> Result<Self, IdentityError> {
        machine::create_private_directory(&folder).map_err(failed("create", &folder))?;
        let identity = Self { folder };
        if identity.next(NODE).exists() {
            identity.replace()?;
        }
        Ok(identity)
    }

    /// The identity, if there is one.
    pub fn load(&self) -> Result<Option<Identity>, IdentityError> {
        let path = self.folder.join(NODE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let damaged = |path: &Path| {
            let path = path.display().to_string();
            move |why: String| IdentityError::Damaged { path, why }
        };
        let NodeFile { node, url, certificate_authority, token_sha256 } =
            serde_json::from_str(&text).map_err(|e| damaged(&path)(e.to_string()))?;
        let endpoint = Endpoint::parse(&url).map_err(|e| damaged(&path)(e.to_string()))?;
        let token_digest = Digest::from_hex(&token_sha256).map_err(|e| damaged(&path)(e.to_string()))?;
        let path = self.folder.join(CERTIFICATE);
        let chain = CertificateDer::pem_file_iter(&path)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|e| damaged(&path)(e.to_string()))?;
        let path = self.folder.join(KEY);
        let key = read_key(&path).map_err(|e| damaged(&path)(e.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| damaged(&path)(e.to_string()))?;
        Ok(Some(Identity { node, endpoint, authority_pem: certificate_authority, token_digest, chain, key }))
    }

    /// Whom the agent believes, if it was given keys. A file that cannot be read is none: it is given anew.
    pub fn trust(&self) -> Option<Trust> {
        let path = self.folder.join(TRUST);
        trust::read(&path).unwrap_or_else(|error| {
            error!(path = %path.display(), %error, "whom to believe cannot be read; it is to be given anew");
            None
        })
    }

    /// Keeps whom the agent believes.
    pub fn keep_trust(&self, trust: &Trust) -> Result<(), IdentityError> {
        let path = self.folder.join(TRUST);
        machine::write_private_file(&path, &trust::encode(Some(trust))).map_err(failed("write", &path))
    }

    /// What documents of the store are held against; none for an agent that was given no keys.
    pub fn believed(&self) -> Option<Believed> {
        let identity = self.load().ok().flatten()?;
        Some(Believed { node_uid: identity.node.uid, trust: self.trust()? })
    }

    /// The key to show this token with: the one that was made for it before, or a new one. Durable when it returns,
    /// so that a crash does not lock the node out: the token binds to the first key that shows it.
    pub fn key_for(&self, token: &Digest) -> Result<KeyPair, IdentityError> {
        if fs::read_to_string(self.next(TOKEN)).is_ok_and(|text| text == token.to_string())
            && let Ok(key) = read_key(&self.next(KEY))
            && let Ok(key) = KeyPair::from_pem(&key)
        {
            return Ok(key);
        }
        // Where the certificate was lost, the key that it was for may be the one that the token is bound to.
        let orphan = match self.load() {
            Ok(Some(_)) => None,
            Ok(None) | Err(_) => read_key(&self.folder.join(KEY)).ok(),
        };
        let next = self.folder.join("next");
        match fs::remove_dir_all(&next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &next)(error)),
            _ => machine::create_private_directory(&next).map_err(failed("create", &next))?,
        }
        machine::sync_directory(&self.folder).map_err(failed("sync", &self.folder))?;
        let key = match orphan.and_then(|pem| KeyPair::from_pem(&pem).ok()) {
            Some(key) => key,
            None => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?,
        };
        let protected = machine::protect(key.serialize_pem().as_bytes()).map_err(failed("encrypt", &self.next(KEY)))?;
        self.write_next(KEY, &protected)?;
        self.write_next(TOKEN, token.to_string().as_bytes())?;
        Ok(key)
    }

    /// Takes the certificate that was given for [`IdentityFolder::key_for`]'s key, and whom to believe; the old
    /// identity is gone then, and with it whom it believed.
    pub fn adopt(
        &self,
        file: &EnrollmentFile,
        uid: &str,
        certificate: &[u8],
        trust: Option<&Trust>,
    ) -> Result<Identity, IdentityError> {
        let node = NodeId { namespace: file.namespace.clone(), name: file.name.clone(), uid: uid.to_owned() };
        let refused = |why: String| IdentityError::Damaged { path: "the certificate that was given".to_owned(), why };
        let named = node_of(&CertificateDer::from(certificate)).map_err(|e: TlsError| refused(e.to_string()))?;
        if named != node {
            return Err(refused(format!("it names {named} ({}), expected {node} ({uid})", named.uid)));
        }
        let key = read_key(&self.next(KEY)).map_err(failed("read", &self.next(KEY)))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|e| refused(e.to_string()))?;
        let chain = vec![CertificateDer::from(certificate.to_vec())];
        tls::client(&file.authority_pem, Some(Credentials { chain, key })).map_err(|e| refused(e.to_string()))?;
        let node_file = NodeFile {
            node,
            url: file.endpoint.to_string(),
            certificate_authority: file.authority_pem.clone(),
            token_sha256: file.token_digest().to_string(),
        };
        self.write_next(CERTIFICATE, pem("CERTIFICATE", certificate).as_bytes())?;
        self.write_next(TRUST, &trust::encode(trust))?;
        // Last: from here on, the new identity is whole.
        let text = serde_json::to_string_pretty(&node_file).map_err(|e| refused(e.to_string()))?;
        self.write_next(NODE, text.as_bytes())?;
        self.replace()?;
        let path = self.folder.join(NODE).display().to_string();
        self.load()?.ok_or(IdentityError::Damaged { path, why: "it is gone".to_owned() })
    }

    /// Moves a whole `next/` into place. Can be repeated after a crash.
    fn replace(&self) -> Result<(), IdentityError> {
        for name in [KEY, CERTIFICATE, TRUST, NODE] {
            match fs::rename(self.next(name), self.folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed("replace", &self.folder.join(name))(error));
                }
                _ => machine::sync_directory(&self.folder).map_err(failed("sync", &self.folder))?,
            }
        }
        let next = self.folder.join("next");
        fs::remove_dir_all(&next).map_err(failed("remove", &next))
    }

    fn next(&self, name: &str) -> PathBuf {
        self.folder.join("next").join(name)
    }

    fn write_next(&self, name: &str, bytes: &[u8]) -> Result<(), IdentityError> {
        let path = self.next(name);
        machine::write_private_file(&path, bytes).map_err(failed("write", &path))
    }
}

/// PEM, from a file that holds it as the machine protects secrets.
fn read_key(path: &Path) -> io::Result<String> {
    String::from_utf8(machine::unprotect(&fs::read(path)?)?).map_err(io::Error::other)
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> IdentityError + use<> {
    let path = path.display().to_string();
    move |error| IdentityError::Io { what, path, error }
}

/// Source: RFC 7468.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let base64 = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in base64.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + &format!("-----END {label}-----\n")
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, PublicKeyData as _, SanType};

    use super::*;
    use crate::model::{Bundle, PublicKey};

    struct Ca(CertifiedIssuer<'static, KeyPair>);

    impl Ca {
        fn new() -> Self {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority"))
        }

        fn file(&self, name: &str, token: &str) -> EnrollmentFile {
            EnrollmentFile {
                endpoint: Endpoint::parse("wss://windlass.example.com").expect("valid"),
                authority_pem: self.0.pem(),
                token: token.into(),
                namespace: "a".into(),
                name: name.into(),
            }
        }

        fn certify(&self, key: &KeyPair, name: &str, uid: &str) -> Vec<u8> {
            let mut params = CertificateParams::default();
            let node = NodeId { namespace: "a".into(), name: name.into(), uid: uid.into() };
            let uri = node.spiffe_uri(crate::tunnel::TRUST_DOMAIN);
            params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().expect("ASCII"))];
            params.signed_by(key, &self.0).expect("signed").der().to_vec()
        }
    }

    fn folder() -> (tempfile::TempDir, IdentityFolder) {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = IdentityFolder::open(parent.path().join("identity")).expect("opened");
        (parent, folder)
    }

    #[test]
    fn a_key_stays_the_same_for_its_token_and_no_other() {
        let (_parent, folder) = folder();
        let ca = Ca::new();
        let token = ca.file("n", "t").token_digest();
        let key = folder.key_for(&token).expect("made");
        let again = IdentityFolder::open(folder.folder.clone()).expect("opened").key_for(&token).expect("there");
        assert_eq!(key.der_bytes(), again.der_bytes());
        let other = folder.key_for(&ca.file("n", "another").token_digest()).expect("made");
        assert_ne!(key.der_bytes(), other.der_bytes());
    }

    #[test]
    fn an_identity_that_is_adopted_is_read_back_after_a_restart() {
        let (_parent, folder) = folder();
        assert!(folder.load().expect("readable").is_none());
        let ca = Ca::new();
        let file = ca.file("n", "t");
        let key = folder.key_for(&file.token_digest()).expect("made");
        folder.adopt(&file, "u", &ca.certify(&key, "n", "u"), None).expect("adopted");
        let read = IdentityFolder::open(folder.folder.clone()).expect("opened").load().expect("readable");
        let read = read.expect("there");
        assert_eq!((read.node.name.as_str(), read.node.uid.as_str()), ("n", "u"));
        assert_eq!((read.token_digest, read.endpoint), (file.token_digest(), file.endpoint.clone()));
    }

    #[test]
    fn a_key_whose_certificate_was_lost_is_shown_again() {
        let (_parent, folder) = folder();
        let ca = Ca::new();
        let file = ca.file("n", "t");
        let key = folder.key_for(&file.token_digest()).expect("made");
        folder.adopt(&file, "u", &ca.certify(&key, "n", "u"), None).expect("adopted");
        let whole = folder.key_for(&ca.file("n", "new").token_digest()).expect("made");
        assert_ne!(key.der_bytes(), whole.der_bytes(), "an identity that is whole gives its key to no other token");
        fs::remove_dir_all(folder.folder.join("next")).expect("removed");
        fs::remove_file(folder.folder.join(CERTIFICATE)).expect("lost");
        assert_eq!(folder.key_for(&file.token_digest()).expect("there").der_bytes(), key.der_bytes());
    }

    #[test]
    fn a_certificate_for_another_node_or_key_is_not_adopted() {
        let (_parent, folder) = folder();
        let ca = Ca::new();
        let file = ca.file("n", "t");
        let key = folder.key_for(&file.token_digest()).expect("made");
        let other = KeyPair::generate().expect("a key");
        for certificate in [
            ca.certify(&key, "other", "u"),
            ca.certify(&key, "n", "another-uid"),
            ca.certify(&other, "n", "u"),
            b"garbage".to_vec(),
        ] {
            assert!(folder.adopt(&file, "u", &certificate, None).is_err());
            assert!(folder.load().expect("readable").is_none());
        }
    }

    fn trust() -> Trust {
        let key = PublicKey::try_from(&[7; 32][..]).expect("of 32 bytes");
        Trust { bundle: Bundle { serial: 4, signing_keys: vec![key], authorities: vec![] }, retired: vec![] }
    }

    #[test]
    fn whom_an_identity_believes_goes_with_it_and_is_given_anew_where_it_is_damaged() {
        let (_parent, folder) = folder();
        let ca = Ca::new();
        let adopt = |token, trust: Option<&Trust>| {
            let file = ca.file("n", token);
            let key = folder.key_for(&file.token_digest()).expect("made");
            folder.adopt(&file, "u", &ca.certify(&key, "n", "u"), trust).expect("adopted");
        };
        assert_eq!((folder.trust(), folder.believed()), (None, None));
        adopt("t", Some(&trust()));
        assert_eq!(folder.trust(), Some(trust()));
        let later = Trust { retired: trust().bundle.signing_keys, ..trust() };
        folder.keep_trust(&later).expect("kept");
        assert_eq!(folder.believed().map(|believed| believed.trust), Some(later));
        adopt("another", None);
        assert_eq!(folder.believed(), None, "an operator that signs nothing");
        fs::write(folder.folder.join(TRUST), b"rubbish").expect("written");
        assert_eq!(folder.trust(), None);
    }

    /// The files of a new identity, complete in `next/`, and the old one in place.
    fn about_to_replace() -> (tempfile::TempDir, IdentityFolder) {
        let (parent, folder) = folder();
        let ca = Ca::new();
        let old = ca.file("n", "old");
        let key = folder.key_for(&old.token_digest()).expect("made");
        folder.adopt(&old, "u1", &ca.certify(&key, "n", "u1"), None).expect("adopted");

        let aside = parent.path().join("aside");
        let new = ca.file("n", "new");
        let key = folder.key_for(&new.token_digest()).expect("made");
        let elsewhere = IdentityFolder::open(aside.clone()).expect("opened");
        fs::rename(folder.folder.join("next"), aside.join("next")).expect("moved");
        elsewhere.adopt(&new, "u2", &ca.certify(&key, "n", "u2"), Some(&trust())).expect("adopted");
        fs::create_dir(folder.folder.join("next")).expect("made");
        for name in [KEY, CERTIFICATE, TRUST, NODE] {
            fs::rename(aside.join(name), folder.next(name)).expect("moved");
        }
        (parent, folder)
    }

    #[test]
    fn a_crash_at_any_point_of_a_replacement_leaves_the_old_identity_or_the_new_one() {
        // Before the new one is whole: the old one stays.
        let (_parent, folder) = about_to_replace();
        fs::remove_file(folder.next(NODE)).expect("removed");
        let read = IdentityFolder::open(folder.folder.clone()).expect("opened").load().expect("readable");
        assert_eq!(read.map(|identity| identity.node.uid), Some("u1".to_owned()));
        // After each file that was moved: the new one.
        for moved in 0..4 {
            let (_parent, folder) = about_to_replace();
            for name in &[KEY, CERTIFICATE, TRUST, NODE][..moved] {
                fs::rename(folder.next(name), folder.folder.join(name)).expect("moved");
            }
            let read = IdentityFolder::open(folder.folder.clone()).expect("opened").load().expect("readable");
            let read = read.expect("there");
            assert_eq!(read.node.uid, "u2", "after {moved} files");
            let believed = folder.believed().map(|believed| (believed.node_uid, believed.trust));
            assert_eq!(believed, Some(("u2".to_owned(), trust())), "after {moved} files");
            // Key and certificate belong together, or no configuration can be made of them.
            tls::client(&read.authority_pem, Some(read.credentials())).expect("they fit");
        }
    }
}
