//! What becomes of bytes that a stranger sends, one function for each parser that takes them. None may panic, hang
//! or take more than it was given; what it says beyond that is asserted. `cargo fuzz run NAME` runs one on bytes
//! that libFuzzer makes, tests/fuzz all of them on a fixed set.

#![allow(dead_code, clippy::expect_used, clippy::unwrap_used)]

use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_tungstenite::{WebSocketStream, tungstenite::protocol::Role};
use windlass::{
    agent::{enrollment_file, policy},
    model::{HostPath, NodeId, RegistryPlace, Report, View},
    operator::authority::CheckedRequest,
    trust::Trust,
    tunnel::{
        channel::{Channel, Event},
        endpoint::Endpoint,
        limits,
        line::Line,
        proxy,
        tls::node_of,
    },
    wire::{
        desired,
        trust::{decode_statement, encode_bundle, encode_statement},
        trust_v1::{Chain, Envelope},
        tunnel_v1::{AgentMessage, EnrollRequest, OperatorMessage, agent_message},
    },
};

/// A body.
pub type Body = fn(&[u8]);

/// All of them, by name.
pub const ALL: &[(&str, Body)] = &[
    ("agent_message", agent_message),
    ("certificate", certificate),
    ("desired_state", desired_state),
    ("enroll_request", enroll_request),
    ("enrollment_file", enrollment_file),
    ("frames", frames),
    ("host_path", host_path),
    ("inner_line", inner_line),
    ("local_policy", local_policy),
    ("proxy_answer", proxy_answer),
    ("registry_place", registry_place),
    ("spiffe_uri", spiffe_uri),
    ("trust", trust),
];

/// What the operator reads from an agent.
pub fn agent_message(bytes: &[u8]) {
    let Ok(message) = AgentMessage::decode(bytes) else { return };
    if let Some(agent_message::Body::Report(report)) = message.body
        && let Ok(report) = Report::try_from(report)
    {
        let again = windlass::wire::tunnel_v1::Report::from(&report);
        assert_eq!(Report::try_from(again).as_ref(), Ok(&report), "a report that was understood is one");
    }
}

/// What the operator reads of a client's certificate, once its signature was checked.
pub fn certificate(bytes: &[u8]) {
    if let Ok(node) = node_of(&bytes.into()) {
        assert!(!node.name.is_empty() && !node.uid.is_empty());
    }
}

/// What the agent reads from the operator, and from its own store.
pub fn desired_state(bytes: &[u8]) {
    if let Ok(state) = desired::decode(bytes) {
        assert_eq!(desired::decode(&desired::encode(&state)), Ok(state), "a document that was understood is one");
    }
}

/// What the operator reads from whoever comes.
pub fn enroll_request(bytes: &[u8]) {
    let Ok(EnrollRequest { certificate_request, .. }) = EnrollRequest::decode(bytes) else { return };
    let _ = CheckedRequest::check(&certificate_request);
}

/// What a person carries to the machine.
pub fn enrollment_file(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(why) = enrollment_file::parse(text) {
        assert!(!why.contains("s3cret"), "the token is not shown: {why}");
    }
}

/// Frames of a WebSocket, as the operator reads them after the upgrade.
pub fn frames(bytes: &[u8]) {
    block_on(async {
        let far = said(bytes).await;
        let socket = WebSocketStream::from_raw_socket(far, Role::Server, Some(limits::websocket())).await;
        let mut channel: Channel<_, AgentMessage, OperatorMessage> = Channel::new(socket, limits::HELLO_DEADLINE);
        // Each event takes at least the two bytes of a frame's head.
        for _ in 0..=bytes.len() {
            match channel.next().await {
                Ok(Event::Message(message)) => assert!(message.encoded_len() <= limits::MAX_MESSAGE_BYTES * 2),
                Ok(Event::Closed) | Err(_) => return,
                Ok(Event::Heartbeat | Event::Sent) => {}
            }
        }
        panic!("more events than frames");
    });
}

/// The same where they carry an inner TLS.
pub fn inner_line(bytes: &[u8]) {
    block_on(async {
        let far = said(bytes).await;
        let socket = WebSocketStream::from_raw_socket(far, Role::Server, Some(limits::websocket())).await;
        let mut inner = Vec::new();
        let _ = Line::<DuplexStream>::inside(socket).read_to_end(&mut inner).await;
        assert!(inner.len() <= bytes.len(), "more came out than went in");
    });
}

/// What the agent reads from an HTTP proxy before it is connected.
pub fn proxy_answer(bytes: &[u8]) {
    block_on(async {
        let (mut near, mut far) = tokio::io::duplex(64 << 10);
        far.write_all(bytes).await.expect("there is room");
        far.shutdown().await.expect("ended");
        let target = Endpoint::parse("wss://windlass.example.com").expect("valid");
        let connected = proxy::connect(&mut near, &target, None).await.is_ok();
        assert!(!connected || bytes.starts_with(b"HTTP/1."), "connected by something else than an answer");
    });
}

fn block_on(body: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(body);
}

/// The end of a connection at which a peer has said this, and nothing more.
async fn said(bytes: &[u8]) -> DuplexStream {
    let (mut near, far) = tokio::io::duplex(bytes.len() + 1);
    near.write_all(bytes).await.expect("there is room");
    near.shutdown().await.expect("ended");
    far
}

/// Paths of managed files, of both platforms.
pub fn host_path(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(path) = HostPath::parse(text) {
        assert!(!path.components().any(|part| matches!(part, "" | "." | "..")), "{path:?}");
        assert_eq!(HostPath::parse(path.as_str()).as_ref(), Ok(&path), "what was normalised stays");
        assert!(!path.as_str().contains('\0'));
    }
}

/// What a machine's administrator writes.
pub fn local_policy(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(rules) = policy::file::parse(text) {
        assert_eq!(policy::file::parse(&policy::file::text(&rules)).as_ref(), Ok(&rules), "as shown it is the same");
    }
}

/// Places in the registry, the name after the first NUL.
pub fn registry_place(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (key, name) = text.split_once('\0').unwrap_or((text, ""));
    if let Ok(place) = RegistryPlace::parse(key, name, View::Bits64) {
        let again = RegistryPlace::parse(&place.path(), place.name(), place.view());
        assert_eq!(again.as_ref(), Ok(&place), "what was normalised stays");
    }
}

/// Names in certificates.
pub fn spiffe_uri(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(node) = NodeId::from_spiffe_uri(text) {
        assert_eq!(NodeId::from_spiffe_uri(&node.spiffe_uri("windlass")), Ok(node));
    }
}

/// What the agent reads of trust bundles, before it knows who signed them, and of what is signed.
pub fn trust(bytes: &[u8]) {
    if let Ok(statement) = decode_statement(bytes) {
        assert_eq!(decode_statement(&encode_statement(&statement)), Ok(statement));
    }
    let Ok(envelope) = Envelope::decode(bytes) else { return };
    let Ok(trust) = Trust::begin(&envelope) else { return };
    let again = Envelope { payload: encode_bundle(&trust.bundle).into(), ..envelope.clone() };
    assert_eq!(Trust::begin(&again).as_ref(), Ok(&trust), "a bundle that was understood is one");
    if let Ok(chain) = Chain::decode(bytes) {
        let _ = trust.follow(&chain.bundles);
    }
    assert_eq!(trust.follow(&[envelope]), Ok(None), "one does not follow itself");
}
