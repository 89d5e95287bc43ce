//! The operator's end of a connection: TLS, then the upgrade of one of two roads, or a refusal with its reason. Where
//! a proxy has ended the agent's TLS, the same again inside: who comes is told by the TLS that was ended here alone.
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
    ENROLL_PATH, ENROLL_SUBPROTOCOL, INNER_SUBPROTOCOL, MESSAGE_HEADER, REASON_HEADER, TUNNEL_PATH, TUNNEL_SUBPROTOCOL,
    limits,
    line::{Duplex, Line},
    tls,
};
use crate::model::NodeId;

/// The TLS that was ended here, directly or inside a proxy's.
pub type Secured<S> = TlsStream<Line<S>>;
/// What was accepted.
pub type Accepted<S> = WebSocketStream<Secured<S>>;

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
    /// An inner TLS in an inner TLS.
    #[error(
        "asked for {INNER_SUBPROTOCOL} inside of {INNER_SUBPROTOCOL}; expected {TUNNEL_SUBPROTOCOL} or {ENROLL_SUBPROTOCOL}"
    )]
    Nested,
    /// Not a request for a WebSocket, or cut off.
    #[error("upgrade: {0}")]
    Upgrade(Box<tungstenite::Error>),
}

/// Does the handshakes; `admit` says whether who came may come in now, and is asked once.
pub async fn accept<S>(
    stream: S,
    tls: Arc<ServerConfig>,
    admit: impl Fn(&Road) -> Result<(), Refusal> + Unpin,
) -> Result<(Accepted<S>, Road), AcceptError>
where
    S: Duplex + 'static,
{
    let (socket, asked) = upgrade(Line::Direct(stream), Arc::clone(&tls), &admit).await?;
    match asked {
        Asked::Road(road) => Ok((socket, road)),
        Asked::Inner => {
            // Boxed: few come this way.
            let (socket, asked) = Box::pin(upgrade(Line::inside(socket), tls, &|road| admit(road))).await?;
            match asked {
                Asked::Road(road) => Ok((socket, road)),
                Asked::Inner => Err(AcceptError::Nested),
            }
        }
    }
}

/// What a request for a WebSocket wants.
enum Asked {
    /// A road, with the certificate of the TLS that it came in.
    Road(Road),
    /// To come in by another TLS, inside of this one.
    Inner,
}

async fn upgrade<S>(
    line: Line<S>,
    tls: Arc<ServerConfig>,
    admit: &(impl Fn(&Road) -> Result<(), Refusal> + Unpin),
) -> Result<(Accepted<S>, Asked), AcceptError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let stream = TlsAcceptor::from(tls).accept(line).await.map_err(AcceptError::Tls)?;
    let certificate =
        stream.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|leaf| leaf.clone().into_owned());
    let mut verdict = None;
    #[allow(clippy::result_large_err)] // tungstenite's types
    let decide = |request: &Request, response: Response| {
        let asked = asked(request, certificate.as_ref()).and_then(|asked| match &asked {
            Asked::Road(road) => admit(road).map(|()| asked),
            Asked::Inner => Ok(asked),
        });
        let answer = answer(&asked, response);
        verdict = Some(asked);
        answer
    };
    let result = accept_hdr_async_with_config(stream, decide, Some(limits::websocket())).await;
    match (result, verdict) {
        (Ok(socket), Some(Ok(asked))) => Ok((socket, asked)),
        (_, Some(Err(refusal))) => Err(AcceptError::Refused(refusal)),
        (Err(error), _) => Err(AcceptError::Upgrade(Box::new(error))),
        (Ok(_), None) => Err(AcceptError::Upgrade(Box::new(tungstenite::Error::ConnectionClosed))),
    }
}

/// What a request wants, and whether it may ask for it.
fn asked(request: &Request, certificate: Option<&CertificateDer<'_>>) -> Result<Asked, Refusal> {
    let (subprotocol, enroll) = match request.uri().path() {
        TUNNEL_PATH => (TUNNEL_SUBPROTOCOL, false),
        ENROLL_PATH => (ENROLL_SUBPROTOCOL, true),
        _ => {
            let message = format!("expected {TUNNEL_PATH} or {ENROLL_PATH}");
            return Err(Refusal::new(StatusCode::NOT_FOUND, "NoSuchPath", message));
        }
    };
    let offers = |subprotocol| {
        let offered = request.headers().get_all(header::SEC_WEBSOCKET_PROTOCOL);
        let mut lists = offered.iter().filter_map(|value| value.to_str().ok());
        lists.any(|list| list.split(',').any(|offer| offer.trim() == subprotocol))
    };
    if offers(INNER_SUBPROTOCOL) {
        // A certificate that was shown out here counts for nothing.
        return Ok(Asked::Inner);
    }
    if !offers(subprotocol) {
        let message = format!("expected the WebSocket subprotocol {subprotocol} or {INNER_SUBPROTOCOL}");
        return Err(Refusal::new(StatusCode::BAD_REQUEST, "UnsupportedSubprotocol", message));
    }
    match (enroll, certificate) {
        (true, _) => Ok(Asked::Road(Road::Enroll)),
        (false, Some(certificate)) => tls::node_of(certificate)
            .map(|node| Asked::Road(Road::Tunnel(node)))
            .map_err(|e| Refusal::new(StatusCode::FORBIDDEN, "NotANode", e.to_string())),
        (false, None) => Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "NoCertificate",
            format!("expected a client certificate; {ENROLL_PATH} gives one for a token"),
        )),
    }
}

#[allow(clippy::result_large_err)] // tungstenite's types
fn answer(asked: &Result<Asked, Refusal>, mut response: Response) -> Result<Response, ErrorResponse> {
    match asked {
        Ok(asked) => {
            let subprotocol = match asked {
                Asked::Road(Road::Tunnel(_)) => TUNNEL_SUBPROTOCOL,
                Asked::Road(Road::Enroll) => ENROLL_SUBPROTOCOL,
                Asked::Inner => INNER_SUBPROTOCOL,
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
