//! Keeps the certificate authority in one Secret: reads it, or makes it where there is none.
//! Talks to the API server. Two operators that start at once end with the same authority.

use jiff::Timestamp;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, api::PostParams};

use super::authority::{Authority, AuthorityError};
use crate::api::AUTHORITY_SECRET_TYPE;

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The API server did not answer, or refused.
    #[error("Secret {0} of the certificate authority: {1}")]
    Api(String, Box<kube::Error>),
    /// A Secret of that name is somebody else's.
    #[error(
        "Secret {0} is of type {1:?}, expected {AUTHORITY_SECRET_TYPE}; name another with --authority-secret, or delete it"
    )]
    Foreign(String, String),
    /// What it holds is no authority.
    #[error("Secret {0}: {1}")]
    Authority(String, AuthorityError),
}

/// Reads the authority from the Secret, which is made if it is not there.
pub async fn load_or_create(
    client: Client,
    namespace: &str,
    name: &str,
    now: Timestamp,
) -> Result<Authority, LoadError> {
    let full = format!("{namespace}/{name}");
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let failed = |error| LoadError::Api(full.clone(), Box::new(error));
    let secret = match api.get_opt(name).await.map_err(failed)? {
        Some(secret) => secret,
        None => {
            let data = Authority::make(now).map_err(|e| LoadError::Authority(full.clone(), e))?;
            let secret = Secret {
                metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
                type_: Some(AUTHORITY_SECRET_TYPE.to_owned()),
                data: Some(data),
                immutable: Some(true),
                ..Secret::default()
            };
            match api.create(&PostParams::default(), &secret).await {
                Ok(secret) => secret,
                // Another operator was faster: its authority is the one.
                Err(kube::Error::Api(status)) if status.code == 409 => api.get(name).await.map_err(failed)?,
                Err(error) => return Err(failed(error)),
            }
        }
    };
    let kind = secret.type_.unwrap_or_default();
    if kind != AUTHORITY_SECRET_TYPE {
        return Err(LoadError::Foreign(full, kind));
    }
    Authority::read(&secret.data.unwrap_or_default()).map_err(|e| LoadError::Authority(full, e))
}
