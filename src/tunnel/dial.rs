//! The agent's end of a connection: TCP (through a proxy if told), TLS, upgrade; one deadline over all. Where somebody
//! else ends TLS on the way, and is one of those that the settings name, the same again inside of that TLS.
//! In: where to, and which TLS. Out: a WebSocket, or what stood in the way and when to try again.

use std::{io, time::Duration};

use http::{HeaderMap, StatusCode, header};
use rustls::{AlertDescription, CertificateError};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, client::IntoClientRequest as _},
};

use super::{
    INNER_SUBPROTOCOL, MESSAGE_HEADER, REASON_HEADER,
    additional_ca::{AdditionalCa, AdditionalCaError},
    endpoint::Endpoint,
    limits,
    line::{Duplex, Line},
    proxy::{self, Proxy},
    tls,
};

/// What was dialled.
pub type Dialled<S> = WebSocketStream<TlsStream<Line<S>>>;

/// Where to, and how.
#[derive(Clone)]
pub struct Target<'a> {
    /// The operator.
    pub endpoint: &'a Endpoint,
    /// The proxy on the way, if any.
    pub proxy: Option<&'a Proxy>,
    /// The agent's side of TLS.
    pub tls: tls::Client,
    /// [`super::TUNNEL_PATH`] or [`super::ENROLL_PATH`].
    pub path: &'static str,
    /// The one that goes with the path.
    pub subprotocol: &'static str,
}

/// What stood in the way.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No address, or none that accepts.
    #[error("cannot reach {0}: {1}")]
    Unreachable(String, io::Error),
    /// The proxy does not connect.
    #[error("proxy {0}: {1}")]
    Proxy(String, io::Error),
    /// The handshake failed, or the other side refused the certificate.
    #[error("TLS with {0}: {1}")]
    Tls(String, String),
    /// What answered is not the operator, as far as its TLS tells: nothing was said to it.
    #[error("TLS with {name}: {error}{shown}; expected {expected}")]
    Foreign {
        /// What was dialled.
        name: String,
        /// What rustls says.
        error: String,
        /// Whose certificate it showed, if it came to that; begins with a colon.
        shown: String,
        /// Who was expected, and what to do.
        expected: String,
    },
    /// The authorities of proxies are needed, and cannot be used.
    #[error(transparent)]
    AdditionalCa(#[from] AdditionalCaError),
    /// The operator answered, and not with an upgrade.
    #[error("refused with {status}: {reason}: {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// CamelCase.
        reason: String,
        /// For a person.
        message: String,
        /// When to try again at the earliest.
        retry_after: Option<Duration>,
    },
    /// What answered is no operator.
    #[error("{0} did not answer as an operator of windlass: {1}")]
    Upgrade(String, String),
    /// Not done in time.
    #[error("{name} did not answer within {} s", limits::HANDSHAKE_DEADLINE.as_secs())]
    Timeout {
        /// What was dialled.
        name: String,
    },
}

impl DialError {
    /// When the operator wants to be tried again, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        if let Self::Refused { retry_after, .. } = self { *retry_after } else { None }
    }
}

const EXPECTED: &str = "TLS 1.3 by the authority of the enrollment file; where a proxy on the way ends TLS, set \
                        --additional-ca to a file with the proxy's authority";
const EXPECTED_INSIDE: &str = "TLS 1.3 by the authority of the enrollment file: somebody on the way answers in the \
                               operator's place";

/// Connects, within [`limits::HANDSHAKE_DEADLINE`]. Where another than the operator answers, and `additional` is set,
/// connects to that one and to the operator through it.
pub async fn dial(target: Target<'_>, additional: Option<&AdditionalCa>) -> Result<Dialled<TcpStream>, DialError> {
    let name = target.endpoint.to_string();
    let deadline = Instant::now() + limits::HANDSHAKE_DEADLINE;
    let connecting = async {
        let stream = tcp(target.endpoint, target.proxy, deadline).await?;
        match (over(stream, target.clone()).await, additional) {
            (Err(DialError::Foreign { .. }), Some(additional)) => {
                let stream = tcp(target.endpoint, target.proxy, deadline).await?;
                inside(stream, target, additional).await
            }
            (result, _) => result,
        }
    };
    // Boxed: a handshake's state is many times that of the session that holds this future.
    timeout_at(deadline, Box::pin(connecting)).await.map_err(|_| DialError::Timeout { name })?
}

/// TLS and upgrade over a connection that is there. Without a deadline of its own.
pub async fn over<S>(stream: S, target: Target<'_>) -> Result<Dialled<S>, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = target.endpoint.to_string();
    upgrade(Line::Direct(stream), target, name, EXPECTED).await
}

/// The same inside the TLS of one that `additional` names. What is said in that outer TLS is which path is wanted, and
/// that a TLS follows in which the operator alone can read: no certificate, no token, no Hello.
pub async fn inside<S>(stream: S, target: Target<'_>, additional: &AdditionalCa) -> Result<Dialled<S>, DialError>
where
    S: Duplex + 'static,
{
    let operator = target.endpoint;
    let outer = Target { tls: additional.client()?, subprotocol: INNER_SUBPROTOCOL, ..target.clone() };
    let expected = format!(
        "TLS 1.3 by the authority of the enrollment file, or any by one of those in --additional-ca {}",
        additional.path().display()
    );
    let name = format!("the proxy before {operator}");
    let outer = upgrade(Line::Direct(stream), outer, name, &expected).await?;
    let name = format!("{operator} inside the TLS of a proxy");
    upgrade(Line::inside(outer), target, name, EXPECTED_INSIDE).await
}

async fn upgrade<S>(line: Line<S>, target: Target<'_>, name: String, expected: &str) -> Result<Dialled<S>, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Target { endpoint, proxy: _, tls, path, subprotocol } = target;
    let server = endpoint.server_name().map_err(|e| DialError::Upgrade(name.clone(), e.to_string()))?;
    let connected = TlsConnector::from(tls.config.clone()).connect(server, line).await;
    let stream = connected.map_err(|error| {
        if !is_foreign(&error) {
            return DialError::Tls(name.clone(), error.to_string());
        }
        let shown = tls.refused().map(|names| format!(": {names}")).unwrap_or_default();
        DialError::Foreign { name: name.clone(), error: error.to_string(), shown, expected: expected.to_owned() }
    })?;
    let mut request = format!("wss://{}{path}", endpoint.authority())
        .into_client_request()
        .map_err(|e| DialError::Upgrade(name.clone(), e.to_string()))?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, header::HeaderValue::from_static(subprotocol));
    match client_async_with_config(request, stream, Some(limits::websocket())).await {
        Ok((socket, _)) => Ok(socket),
        Err(tungstenite::Error::Http(response)) => Err(refused(response.status(), response.headers())),
        // In TLS 1.3 the client is done before the server has looked at its certificate: the alert comes here.
        Err(tungstenite::Error::Io(error)) if is_tls(&error) => Err(DialError::Tls(name, error.to_string())),
        Err(error) => Err(DialError::Upgrade(name, error.to_string())),
    }
}

/// Whether what answered is another than the operator: its certificate does not lead to the authority, or it does not
/// speak windlass's TLS 1.3.
fn is_foreign(error: &io::Error) -> bool {
    use rustls::Error::{AlertReceived, InvalidCertificate, PeerIncompatible};
    matches!(
        error.get_ref().and_then(|inner| inner.downcast_ref()),
        Some(
            InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)
                | PeerIncompatible(_)
                | AlertReceived(AlertDescription::ProtocolVersion)
        )
    )
}

/// Whether an IO error is one of TLS, such as an alert of the other side.
pub fn is_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}

fn refused(status: StatusCode, headers: &HeaderMap) -> DialError {
    let text = |name: &str, otherwise: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or(otherwise);
        value.chars().take(300).collect::<String>()
    };
    let seconds = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    DialError::Refused {
        status: status.as_u16(),
        reason: text(REASON_HEADER, "Unspecified"),
        message: text(MESSAGE_HEADER, status.canonical_reason().unwrap_or("no reason given")),
        retry_after: seconds.map(Duration::from_secs),
    }
}

async fn tcp(endpoint: &Endpoint, proxy: Option<&Proxy>, deadline: Instant) -> Result<TcpStream, DialError> {
    let (host, port) = proxy.map_or((endpoint.host(), endpoint.port()), |proxy| (&proxy.host, proxy.port));
    let name = format!("{host}:{port}");
    let mut stream = first_that_accepts(host, port, deadline).await.map_err(|error| match proxy {
        Some(_) => DialError::Proxy(name.clone(), error),
        None => DialError::Unreachable(name.clone(), error),
    })?;
    // Messages are written whole: waiting for more of them to come would only delay them.
    stream.set_nodelay(true).map_err(|error| DialError::Unreachable(name.clone(), error))?;
    if let Some(proxy) = proxy {
        proxy::connect(&mut stream, endpoint, proxy.authorization.as_deref())
            .await
            .map_err(|error| DialError::Proxy(name, error))?;
    }
    Ok(stream)
}

/// Tries the addresses of a name one after the other, each with its share of the time that is left.
async fn first_that_accepts(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, address) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{address} did not answer")),
        }
    }
    Err(last)
}
