//! The one exchange on `/v1/enroll`: a token and a certificate request come, a certificate or a refusal goes.
//! Whom the token belongs to is [`super::enrollment`]'s business; signing is [`super::authority`]'s.

use std::{net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use kube::Client;
use tracing::{info, warn};

use super::{
    accept::{Directory, Found},
    authority::{Authority, CheckedRequest},
    enrollment::{self, Verdict},
    metrics::Metrics,
    sessions::NodeKey,
    signing::Signer,
};
use crate::{
    model::NodeId,
    wire::tunnel_v1::{
        EnrollRequest, EnrollResponse,
        enroll_response::{Enrolled, Refused, Result as Outcome},
    },
};

/// Longest token, name and certificate request that are looked at, in bytes.
const MAX_TOKEN: usize = 256;
const MAX_NAME: usize = 253;
const MAX_REQUEST: usize = 8 << 10;

/// Gives certificates to nodes, and notes that they connected.
pub trait Registrar: Send + Sync + 'static {
    /// Answers a request that came from there.
    fn enroll(&self, request: EnrollRequest, peer: SocketAddr) -> BoxFuture<'_, EnrollResponse>;

    /// Notes that the node's certificate has connected: its token is used from then on. False: try again.
    fn connected<'a>(&'a self, node: &'a NodeId) -> BoxFuture<'a, bool>;
}

/// The registrar whose tokens are in Secrets.
pub struct SecretRegistrar {
    client: Client,
    authority: Arc<Authority>,
    signer: Arc<Signer>,
    directory: Arc<dyn Directory>,
    metrics: Arc<Metrics>,
}

impl SecretRegistrar {
    /// Asks `directory` which EdgeNodes there are.
    pub fn new(
        client: Client,
        authority: Arc<Authority>,
        signer: Arc<Signer>,
        directory: Arc<dyn Directory>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { client, authority, signer, directory, metrics }
    }

    async fn decide(&self, request: &EnrollRequest) -> Result<Enrolled, Refusal> {
        let EnrollRequest { namespace, name, token, certificate_request } = request;
        if certificate_request.len() > MAX_REQUEST || token.len() > MAX_TOKEN || !is_name(namespace) || !is_name(name) {
            return Err(Refusal::InvalidRequest("namespace, name, token or certificate request".to_owned()));
        }
        let checked = CheckedRequest::check(certificate_request).map_err(|e| Refusal::InvalidRequest(e.to_string()))?;
        let uid = match self.directory.find(&NodeKey { namespace: namespace.clone(), name: name.clone() }) {
            // As for an EdgeNode that is not there: the token is not looked at, and binds to no key.
            Found::Known { revoked: true, .. } => {
                return Err(Refusal::UnknownToken("the EdgeNode's identity is revoked"));
            }
            Found::Known { uid, .. } => Some(uid),
            Found::Absent => None,
            Found::NotSynced => return Err(Refusal::Unavailable("the list of EdgeNodes is not there yet".to_owned())),
        };
        let key = checked.key_digest();
        let verdict = enrollment::show(self.client.clone(), (namespace, name), uid.as_deref(), token, &key)
            .await
            .map_err(|e| Refusal::Unavailable(e.to_string()))?;
        match (verdict, uid) {
            (Verdict::Bind | Verdict::Repeat, Some(uid)) => {
                let node = NodeId { namespace: namespace.clone(), name: name.clone(), uid: uid.clone() };
                let certificate =
                    self.authority.node(&checked, &node).map_err(|e| Refusal::Unavailable(e.to_string()))?;
                Ok(Enrolled { certificate: certificate.to_vec().into(), uid, trust: Some(self.signer.latest()) })
            }
            (Verdict::Used, _) => Err(Refusal::TokenUsed),
            (Verdict::Bound, _) => Err(Refusal::TokenBound),
            (_, None) => Err(Refusal::UnknownToken("there is no such EdgeNode")),
            (Verdict::Unknown, Some(_)) => Err(Refusal::UnknownToken("the token is not that EdgeNode's")),
        }
    }
}

impl Registrar for SecretRegistrar {
    fn enroll(&self, request: EnrollRequest, peer: SocketAddr) -> BoxFuture<'_, EnrollResponse> {
        Box::pin(async move {
            let node = format!("{}/{}", cut(&request.namespace), cut(&request.name));
            let result = match self.decide(&request).await {
                Ok(enrolled) => {
                    info!(node, %peer, uid = enrolled.uid, "node enrolled");
                    self.metrics.enrolled("Enrolled");
                    Outcome::Enrolled(enrolled)
                }
                Err(refusal) => {
                    warn!(node, %peer, reason = refusal.reason(), detail = refusal.detail(), "enrollment refused");
                    self.metrics.enrolled(refusal.reason());
                    Outcome::Refused(refusal.into())
                }
            };
            EnrollResponse { result: Some(result) }
        })
    }

    fn connected<'a>(&'a self, node: &'a NodeId) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            match enrollment::mark_used(self.client.clone(), node).await {
                Ok(()) => true,
                Err(error) => {
                    warn!(%node, %error, "token not yet marked as used");
                    false
                }
            }
        })
    }
}

/// Why an agent gets no certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Not what it should be.
    InvalidRequest(String),
    /// No such token for that node. Whether there is such a node is for the operator's log alone.
    UnknownToken(&'static str),
    /// Another key has shown it before.
    TokenBound,
    /// Its certificate has connected.
    TokenUsed,
    /// Not now.
    Unavailable(String),
}

impl Refusal {
    /// CamelCase, as in docs/reference/reasons.md.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "InvalidRequest",
            Self::UnknownToken(_) => "UnknownToken",
            Self::TokenBound => "TokenBound",
            Self::TokenUsed => "TokenUsed",
            Self::Unavailable(_) => "Unavailable",
        }
    }

    fn detail(&self) -> &str {
        match self {
            Self::InvalidRequest(detail) | Self::Unavailable(detail) => detail,
            Self::UnknownToken(detail) => detail,
            Self::TokenBound | Self::TokenUsed => "",
        }
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let message = match &refusal {
            Refusal::InvalidRequest(detail) => format!("the request is not valid: {detail}"),
            Refusal::UnknownToken(_) => {
                "the token is not known for that node; take enrollment.yaml from the node's enrollment Secret"
                    .to_owned()
            }
            Refusal::TokenBound => "another machine has shown this token first; if that was not meant to be, delete \
                                    the node's enrollment Secret and enroll with the new one"
                .to_owned(),
            Refusal::TokenUsed => "the token was used; to enroll again, delete the node's enrollment Secret and take \
                                   the new one"
                .to_owned(),
            Refusal::Unavailable(_) => "the operator cannot tell now, try again".to_owned(),
        };
        let retry = matches!(refusal, Refusal::Unavailable(_));
        Self { reason: refusal.reason().to_owned(), message, retry }
    }
}

/// Whether it can be a namespace or name: what goes into a request to the API server.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
        && !text.starts_with('.')
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_NAME).collect()
}
