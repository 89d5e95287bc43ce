//! Keeps the keyring in one Secret: reads it, makes it where there is none, and takes it further when that is due.
//! Talks to the API server. Writes carry the resourceVersion that they were decided on, so that nothing is lost.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{Keyring, KeyringError, Rotation, Signer};
use crate::api::SIGNING_KEYS_SECRET_TYPE;

/// How often the Secret is looked at though nothing is due: somebody may have restored it.
const LOOK: Duration = Duration::from_secs(3600);
/// How soon at the earliest, and after an error.
const SOONEST: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_secs(60);
/// How often a write is decided anew as somebody else wrote first.
const TRIES: usize = 5;

/// Why there is no keyring.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The API server did not answer, or refused.
    #[error("Secret {0} of the signing keys: {1}")]
    Api(String, Box<kube::Error>),
    /// A Secret of that name is somebody else's.
    #[error(
        "Secret {0} is of type {1:?}, expected {SIGNING_KEYS_SECRET_TYPE}; name another with --signing-keys-secret, or delete it"
    )]
    Foreign(String, String),
    /// What it holds are no signing keys.
    #[error("Secret {0}: {1}")]
    Keyring(String, KeyringError),
    /// Others write it all the time.
    #[error("Secret {0} was changed by somebody else, {TRIES} times in a row")]
    Contended(String),
}

/// The Secret with the signing keys.
pub struct KeyringSecret {
    api: Api<Secret>,
    name: String,
    full_name: String,
    /// What nodes are to believe beside the keys: certificates of the authority, DER.
    authorities: Vec<Vec<u8>>,
    rotation: Rotation,
    clock: fn() -> Timestamp,
}

impl KeyringSecret {
    /// The one of that name.
    pub fn new(
        client: Client,
        (namespace, name): (&str, &str),
        authorities: Vec<Vec<u8>>,
        rotation: Rotation,
        clock: fn() -> Timestamp,
    ) -> Self {
        let full_name = format!("{namespace}/{name}");
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), full_name, authorities, rotation, clock }
    }

    /// Reads the keyring and takes every step that is due. Where there is no Secret it is made: of `present`, or anew.
    pub async fn bring(&self, present: Option<&Keyring>) -> Result<Keyring, SecretError> {
        for _ in 0..TRIES {
            let written = match self.api.get_opt(&self.name).await.map_err(|e| self.failed(e))? {
                None => {
                    let keyring = match present {
                        Some(present) => present.clone(),
                        None => Keyring::make(self.authorities.clone(), (self.clock)()).map_err(|e| self.wrong(e))?,
                    };
                    info!(secret = self.full_name, serial = keyring.serial(), "signing keys are kept in a new Secret");
                    self.api.create(&PostParams::default(), &self.secret(&keyring)).await.map(|_| ())
                }
                Some(secret) => {
                    let keyring = self.read(&secret)?;
                    let now = (self.clock)();
                    let Some(next) = keyring.step(&self.authorities, now, &self.rotation).map_err(|e| self.wrong(e))?
                    else {
                        return Ok(keyring);
                    };
                    let keys: Vec<String> = next.public_keys().iter().map(|key| key.id()).collect();
                    info!(serial = next.serial(), keys = keys.join(" "), "the next trust bundle");
                    let changed = Secret { data: Some(next.data()), ..secret };
                    self.api.replace(&self.name, &PostParams::default(), &changed).await.map(|_| ())
                }
            };
            match written {
                // Read back, as the next step may be due as well.
                Ok(()) => {}
                // Somebody else was faster: what they wrote is what there is.
                Err(kube::Error::Api(status)) if status.code == 409 || status.code == 404 => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Err(SecretError::Contended(self.full_name.clone()))
    }

    /// Takes steps when they are due, for as long as it is polled.
    pub async fn keep(self, signer: Arc<Signer>) {
        let mut wait = self.wait(&signer.keyring());
        loop {
            sleep(wait).await;
            match self.bring(Some(&signer.keyring())).await {
                Ok(keyring) => {
                    wait = self.wait(&keyring);
                    signer.replace(keyring);
                }
                Err(error) => {
                    warn!(%error, retry_after = ?RETRY, "the signing keys are left as they are");
                    wait = RETRY;
                }
            }
        }
    }

    fn wait(&self, keyring: &Keyring) -> Duration {
        let now = (self.clock)();
        let due = keyring.next_step(now, &self.rotation).map(|at| at.duration_since(now).unsigned_abs());
        due.unwrap_or(LOOK).clamp(SOONEST, LOOK)
    }

    fn read(&self, secret: &Secret) -> Result<Keyring, SecretError> {
        let kind = secret.type_.clone().unwrap_or_default();
        if kind != SIGNING_KEYS_SECRET_TYPE {
            return Err(SecretError::Foreign(self.full_name.clone(), kind));
        }
        Keyring::read(secret.data.as_ref().unwrap_or(&Default::default())).map_err(|e| self.wrong(e))
    }

    fn secret(&self, keyring: &Keyring) -> Secret {
        Secret {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() },
            type_: Some(SIGNING_KEYS_SECRET_TYPE.to_owned()),
            data: Some(keyring.data()),
            ..Secret::default()
        }
    }

    fn failed(&self, error: kube::Error) -> SecretError {
        SecretError::Api(self.full_name.clone(), Box::new(error))
    }

    fn wrong(&self, error: KeyringError) -> SecretError {
        SecretError::Keyring(self.full_name.clone(), error)
    }
}
