//! Authorities of proxies that end TLS on the way to the operator: a file with PEM certificates, of the agent's settings.
//! They are believed for the outer TLS alone, which carries nothing but an inner one. Reads that file when it is needed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::tls::{self, TlsError};

/// Largest file that is read, in bytes: a distribution's whole list fits.
const MAX_BYTES: u64 = 4 << 20;

/// Where they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdditionalCa(PathBuf);

/// Why they cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AdditionalCaError {
    /// Not there, or not to be read.
    #[error("read --additional-ca {path}: {error}")]
    Io {
        /// Which.
        path: String,
        /// What the machine says.
        error: std::io::Error,
    },
    /// Not what it should be.
    #[error("--additional-ca {path}: {why}")]
    Invalid {
        /// Which.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

impl AdditionalCa {
    /// Those in this file.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The agent's side of the outer TLS.
    pub fn client(&self) -> Result<tls::Client, AdditionalCaError> {
        let path = || self.0.display().to_string();
        let io = |error| AdditionalCaError::Io { path: path(), error };
        if fs::metadata(&self.0).map_err(io)?.len() > MAX_BYTES {
            return Err(AdditionalCaError::Invalid { path: path(), why: "it is larger than 4 MiB".to_owned() });
        }
        let pem = fs::read(&self.0).map_err(io)?;
        tls::outer_client(&pem).map_err(|e: TlsError| AdditionalCaError::Invalid { path: path(), why: e.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_authority_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ca.pem");
        let told = || AdditionalCa::at(&path).client().map(drop).expect_err("of no use").to_string();
        assert!(told().contains("read --additional-ca"), "{}", told());
        fs::write(&path, "no certificate").expect("written");
        assert!(told().contains("expected PEM certificates"), "{}", told());
        let key = rcgen::KeyPair::generate().expect("a key");
        fs::write(&path, rcgen::CertificateParams::default().self_signed(&key).expect("signed").pem())
            .expect("written");
        assert!(AdditionalCa::at(&path).client().is_ok());
    }
}
