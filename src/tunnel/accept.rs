//! The operator's end of a connection: TLS, then the upgrade of one of two roads, or a refusal with its reason.
//! In: a stream, and who may come. Out: a WebSocket and who is at its other end. The deadline is the caller's.

use std::{io, sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode, header};
use rustls::{ServerConfig, pki_types::CertificateDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async_with_config,
    tungstenite::{
        self,
        handshake::server::{ErrorResponse, Request, Response},
    },
};

use super::{
    ENROLL_PATH, ENROLL_SUBPROTOCOL, MESSAGE_HEADER, REASON_HEADER, TUNNEL_PATH, TUNNEL_SUBPROTOCOL, limits, tls,
};
use crate::model::NodeId;

/// What was accepted.
pub type Accepted<S> = WebSocketStream<TlsStream<S>>;

/// What the other side came for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Road {
    /// The tunnel of the node that its certificate names.
    Tunnel(NodeId),
    /// To get a certificate.
    Enroll,
}

/// An answer that is no upgrade.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// 4xx or 5xx.
    pub status: StatusCode,
    /// CamelCase.
    pub reason: &'static str,
    /// For a person; what is not printable ASCII is replaced.
    pub message: String,
    /// When to try again at the earliest.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// One that trying again does not mend.
    pub fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self { status, reason, message: message.into(), retry_after: None }
    }
}

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The handshake failed, or the other side refused the certificate.
    #[error("TLS handshake: {0}")]
    Tls(io::Error),
    /// Answered with a refusal.
    #[error("refused with {}: {}: {}", .0.status.as_u16(), .0.reason, .0.message)]
    Refused(Refusal),
    /// Not a request for a WebSocket, or cut off.
    #[error("upgrade: {0}")]
    Upgrade(Box<tungstenite::Error>),
}

/// Does the handshakes; `admit` says whether who came may come in now.
pub async fn accept<S>(
    stream: S,
    tls: Arc<ServerConfig>,
    admit: impl FnOnce(&Road) -> Result<(), Refusal> + Unpin,
) -> Result<(Accepted<S>, Road), AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = TlsAcceptor::from(tls).accept(stream).await.map_err(AcceptError::Tls)?;
    let certificate =
        stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.clone().into_owned());
    let mut verdict = None;
    #[allow(clippy::result_large_err)] // tungstenite's types
    let decide = |request: &Request, response: Response| {
        let road = road(request, certificate.as_ref()).and_then(|road| admit(&road).map(|()| road));
        let answer = answer(&road, response);
        verdict = Some(road);
        answer
    };
    let result = accept_hdr_async_with_config(stream, decide, Some(limits::websocket())).await;
    match (result, verdict) {
        (Ok(socket), Some(Ok(road))) => Ok((socket, road)),
        (_, Some(Err(refusal))) => Err(AcceptError::Refused(refusal)),
        (Err(error), _) => Err(AcceptError::Upgrade(Box::new(error))),
        (Ok(_), None) => Err(AcceptError::Upgrade(Box::new(tungstenite::Error::ConnectionClosed))),
    }
}

/// Which road a request wants, and whether it may ask for it.
fn road(request: &Request, certificate: Option<&CertificateDer<'_>>) -> Result<Road, Refusal> {
    let (subprotocol, enroll) = match request.uri().path() {
        TUNNEL_PATH => (TUNNEL_SUBPROTOCOL, false),
        ENROLL_PATH => (ENROLL_SUBPROTOCOL, true),
        _ => {
            let message = format!("expected {TUNNEL_PATH} or {ENROLL_PATH}");
            return Err(Refusal::new(StatusCode::NOT_FOUND, "NoSuchPath", message));
        }
    };
    let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let speaks = offered
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|list| list.split(',').any(|offer| offer.trim() == subprotocol));
    if !speaks {
        let message = format!("expected the WebSocket subprotocol {subprotocol}");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "UnsupportedSubprotocol", message));
    }
    match (enroll, certificate) {
        (true, _) => Ok(Road::Enroll),
        (false, Some(certificate)) => tls::node_of(certificate)
            .map(Road::Tunnel)
            .map_err(|e| Refusal::new(StatusCode::FORBIDDEN, "NotANode", e.to_string())),
        (false, None) => Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "NoCertificate",
            format!("expected a client certificate; {ENROLL_PATH} gives one for a token"),
        )),
    }
}

#[allow(clippy::result_large_err)] // tungstenite's types
fn answer(road: &Result<Road, Refusal>, mut response: Response) -> Result<Response, ErrorResponse> {
    match road {
        Ok(road) => {
            let subprotocol = match road {
                Road::Tunnel(_) => TUNNEL_SUBPROTOCOL,
                Road::Enroll => ENROLL_SUBPROTOCOL,
            };
            response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
            Ok(response)
        }
        Err(refusal) => {
            let Refusal { status, reason, message, retry_after } = refusal;
            let message: String =
                message.chars().take(300).map(|c| if c.is_ascii_graphic() || c == ' ' { c } else { '?' }).collect();
            let body = format!("{reason}: {message}\n");
            let mut response = ErrorResponse::new(None);
            *response.status_mut() = *status;
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            headers.insert(header::CONTENT_LENGTH, body.len().into());
            headers.insert(REASON_HEADER, HeaderValue::from_static(reason));
            if let Ok(message) = HeaderValue::try_from(message) {
                headers.insert(MESSAGE_HEADER, message);
            }
            if let Some(retry_after) = retry_after {
                headers.insert(header::RETRY_AFTER, retry_after.as_secs().into());
            }
            *response.body_mut() = Some(body);
            Err(response)
        }
    }
}
