//! `enrollment.yaml`, as the node's enrollment Secret holds it: where the operator is, whom to trust, and a token.
//! Reads one file; [`parse`] is pure.

use std::path::Path;

use serde::Deserialize;

use crate::{
    model::Digest,
    tunnel::{endpoint::Endpoint, tls},
};

/// What an agent needs to enroll.
#[derive(Clone, PartialEq, Eq)]
pub struct EnrollmentFile {
    /// The operator.
    pub endpoint: Endpoint,
    /// Certificate authority to trust, PEM.
    pub authority_pem: String,
    /// Shown once. Never logged.
    pub token: String,
    /// Namespace of the EdgeNode.
    pub namespace: String,
    /// Name of the EdgeNode.
    pub name: String,
}

impl std::fmt::Debug for EnrollmentFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EnrollmentFile({} for {}/{})", self.endpoint, self.namespace, self.name)
    }
}

impl EnrollmentFile {
    /// Tells one token from another without showing it.
    pub fn token_digest(&self) -> Digest {
        Digest::of(self.token.as_bytes())
    }
}

/// Why there is nothing to enroll with.
#[derive(Debug, thiserror::Error)]
pub enum EnrollmentFileError {
    /// Not there, or not to be read.
    #[error(
        "read the enrollment file {path}: {error}; expected the key enrollment.yaml of the node's enrollment Secret"
    )]
    Io {
        /// Which.
        path: String,
        /// What the machine says.
        error: std::io::Error,
    },
    /// Not what it should be. Never shows what stands there.
    #[error("enrollment file {path}: {why}")]
    Invalid {
        /// Which.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// Reads the file at `path`.
pub fn read(path: &Path) -> Result<EnrollmentFile, EnrollmentFileError> {
    let shown = || path.display().to_string();
    let io = |error| EnrollmentFileError::Io { path: shown(), error };
    if std::fs::metadata(path).map_err(io)?.len() > MAX_BYTES {
        return Err(EnrollmentFileError::Invalid { path: shown(), why: "it is larger than 64 KiB".to_owned() });
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    parse(&text).map_err(|why| EnrollmentFileError::Invalid { path: shown(), why })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    api_version: String,
    kind: String,
    url: String,
    node: Node,
    token: String,
    certificate_authority: String,
}

#[derive(Deserialize)]
struct Node {
    namespace: String,
    name: String,
}

/// Parses the file's text; says what is wrong with it without showing it.
pub fn parse(text: &str) -> Result<EnrollmentFile, String> {
    // The parser's own message may quote the line that holds the token.
    let file: File = serde_saphyr::from_str(text).map_err(|_| {
        "it is not YAML with apiVersion, kind, url, node.namespace, node.name, token and certificateAuthority"
            .to_owned()
    })?;
    if (file.api_version.as_str(), file.kind.as_str()) != ("edge.windlass.dev/v1alpha1", "Enrollment") {
        return Err("it is not of apiVersion edge.windlass.dev/v1alpha1 and kind Enrollment".to_owned());
    }
    let endpoint = Endpoint::parse(&file.url).map_err(|e| e.to_string())?;
    tls::client(&file.certificate_authority, None).map_err(|e| e.to_string())?;
    for (field, value) in
        [("token", &file.token), ("node.namespace", &file.node.namespace), ("node.name", &file.node.name)]
    {
        if value.is_empty() {
            return Err(format!("{field} is empty"));
        }
    }
    Ok(EnrollmentFile {
        endpoint,
        authority_pem: file.certificate_authority,
        token: file.token,
        namespace: file.node.namespace,
        name: file.node.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(change: impl Fn(&mut serde_json::Value)) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("key");
        let authority = params.self_signed(&key).expect("certificate").pem();
        let mut value = serde_json::json!({
            "apiVersion": "edge.windlass.dev/v1alpha1", "kind": "Enrollment", "url": "wss://windlass.example.com:8443",
            "node": {"namespace": "plant-a", "name": "press-07"}, "token": "c2VjcmV0",
            "certificateAuthority": authority,
        });
        change(&mut value);
        serde_saphyr::to_string(&value).expect("YAML")
    }

    #[test]
    fn a_file_is_read() {
        let read = parse(&file(|_| {})).expect("valid");
        assert_eq!(format!("{read:?}"), "EnrollmentFile(wss://windlass.example.com:8443 for plant-a/press-07)");
        assert_eq!(read.token, "c2VjcmV0");
    }

    #[test]
    fn a_wrong_file_is_told_without_its_token() {
        for (change, told) in [
            ("kind", "kind Enrollment"),
            ("url", "scheme"),
            ("certificateAuthority", "certificate"),
            ("token", "token is empty"),
        ] {
            let text = file(|v| v[change] = if change == "token" { "" } else { "http://c2VjcmV0" }.into());
            let error = parse(&text).expect_err(change);
            assert!(error.contains(told), "{change}: {error}");
        }
        let error = parse("token: c2VjcmV0\nnode: [").expect_err("no YAML");
        assert!(!error.contains("c2VjcmV0"), "{error}");
    }
}
