//! Peers that break the protocol, and what becomes of them: they are cut off, and others notice nothing.

use std::{sync::Arc, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::{Instant, sleep},
};
use tokio_tungstenite::tungstenite::{Bytes, Message};
use tokio_util::task::TaskTracker;
use windlass::{
    operator::{
        accept::handshake,
        sessions::{Link, Sessions},
    },
    tunnel::{
        ENROLL_PATH, ENROLL_SUBPROTOCOL, TUNNEL_PATH, TUNNEL_SUBPROTOCOL,
        dial::{DialError, Dialled, Target, over},
        endpoint::Endpoint,
        tls,
    },
    wire::tunnel_v1::{
        AgentMessage, EnrollRequest, Hello, OperatorMessage, Report, Want, agent_message, go_away::Reason,
        operator_message,
    },
};

use crate::{
    ends::{Agent, Operator, World, authority, document, gate, key, sessions_become, within},
    line::{certified, line},
};

/// A peer that speaks WebSocket and minds nothing else.
struct Peer<S>(Dialled<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    async fn say(&mut self, body: agent_message::Body) {
        let message = AgentMessage { body: Some(body) }.encode_to_vec();
        self.0.send(Message::Binary(message.into())).await.expect("sent");
    }

    async fn hello(&mut self) {
        self.say(agent_message::Body::Hello(hello())).await;
        assert!(matches!(self.hear().await, Some(operator_message::Body::Welcome(_))));
    }

    /// The next message; `None` once the operator closed.
    async fn hear(&mut self) -> Option<operator_message::Body> {
        loop {
            match within(self.0.next()).await {
                Some(Ok(Message::Binary(bytes))) => return OperatorMessage::decode(bytes).expect("a message").body,
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Hears that it broke the protocol, and that it was cut off.
    async fn is_sent_away(&mut self) -> String {
        loop {
            match self.hear().await {
                Some(operator_message::Body::GoAway(go_away)) => {
                    assert_eq!(go_away.reason(), Reason::ProtocolError);
                    assert_eq!(self.hear().await, None);
                    return go_away.message;
                }
                Some(_) => {}
                None => panic!("cut off without a word"),
            }
        }
    }
}

fn hello() -> Hello {
    Hello { nonce: vec![7; 16].into(), ..Hello::default() }
}

async fn tcp(operator: &Operator) -> TcpStream {
    TcpStream::connect(operator.address).await.expect("connected")
}

async fn dial(
    operator: &Operator,
    certificate: bool,
    path: &'static str,
    subprotocol: &'static str,
) -> Result<Peer<TcpStream>, DialError> {
    let own = certificate.then(|| certified(&operator.authority, "n", "u"));
    let tls = tls::client(operator.authority.pem(), own).expect("a client");
    let endpoint = operator.endpoint();
    let target = Target { endpoint: &endpoint, proxy: None, tls, path, subprotocol };
    within(over(tcp(operator).await, target)).await.map(Peer)
}

#[tokio::test]
async fn who_has_no_business_here_is_told_so() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    for (certificate, path, subprotocol, status, reason) in [
        (true, "/", TUNNEL_SUBPROTOCOL, 404, "NoSuchPath"),
        (true, "/v1/tunnel/", TUNNEL_SUBPROTOCOL, 404, "NoSuchPath"),
        (true, TUNNEL_PATH, "windlass.v9", 400, "UnsupportedSubprotocol"),
        (true, TUNNEL_PATH, ENROLL_SUBPROTOCOL, 400, "UnsupportedSubprotocol"),
        (false, TUNNEL_PATH, TUNNEL_SUBPROTOCOL, 401, "NoCertificate"),
        (false, ENROLL_PATH, TUNNEL_SUBPROTOCOL, 400, "UnsupportedSubprotocol"),
    ] {
        match dial(&operator, certificate, path, subprotocol).await {
            Err(DialError::Refused { status: got, reason: told, .. }) => {
                assert_eq!((got, told.as_str()), (status, reason), "{path} {subprotocol}");
            }
            Err(other) => panic!("{path} {subprotocol}: {other}"),
            Ok(_) => panic!("{path} {subprotocol}: let in"),
        }
    }
    assert!(dial(&operator, true, TUNNEL_PATH, TUNNEL_SUBPROTOCOL).await.is_ok());
    operator.stop().await;
}

#[tokio::test]
async fn garbage_before_tls_ends_the_connection() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4096], &[0x16, 3, 1, 0xff, 0xff]] {
        let mut stream = tcp(&operator).await;
        stream.write_all(garbage).await.expect("written");
        stream.shutdown().await.expect("ended");
        let mut rest = Vec::new();
        let _ = within(stream.read_to_end(&mut rest)).await;
    }
    let mut agent = Agent::start(&operator, "n");
    agent.connected().await;
    operator.stop().await;
}

#[tokio::test]
async fn an_agent_that_breaks_the_protocol_is_sent_away_with_the_reason() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let want = |length| {
        let digest = Bytes::from(vec![1; 32]);
        agent_message::Body::Want(Want { digest, offset: 0, length })
    };
    for (broken, told) in [
        (vec![agent_message::Body::Hello(hello())], "second Hello"),
        (vec![want(0)], "1 to 65536"),
        (vec![want(1 << 20)], "1 to 65536"),
        (vec![agent_message::Body::Report(Report { held_revision: "x".into(), ..Report::default() })], "held_revision"),
    ] {
        let mut peer = dial(&operator, true, TUNNEL_PATH, TUNNEL_SUBPROTOCOL).await.expect("let in");
        peer.hello().await;
        for body in broken {
            peer.say(body).await;
        }
        let message = peer.is_sent_away().await;
        assert!(message.contains(told), "{message}");
    }

    let mut peer = dial(&operator, true, TUNNEL_PATH, TUNNEL_SUBPROTOCOL).await.expect("let in");
    peer.say(want(1)).await;
    assert!(peer.is_sent_away().await.contains("expected Hello"));

    let mut peer = dial(&operator, true, TUNNEL_PATH, TUNNEL_SUBPROTOCOL).await.expect("let in");
    peer.say(agent_message::Body::Hello(Hello { last_session: u64::MAX, ..hello() })).await;
    assert!(peer.is_sent_away().await.contains("out of range"));

    for nonce in [vec![], vec![7; 15], vec![7; 17]] {
        let mut peer = dial(&operator, true, TUNNEL_PATH, TUNNEL_SUBPROTOCOL).await.expect("let in");
        peer.say(agent_message::Body::Hello(Hello { nonce: nonce.into(), ..Hello::default() })).await;
        assert!(peer.is_sent_away().await.contains("a nonce of"));
    }

    let mut peer = dial(&operator, true, TUNNEL_PATH, TUNNEL_SUBPROTOCOL).await.expect("let in");
    peer.hello().await;
    peer.0.send(Message::Text("hello?".into())).await.expect("sent");
    assert!(peer.is_sent_away().await.contains("a text"));

    let mut peer = dial(&operator, true, TUNNEL_PATH, TUNNEL_SUBPROTOCOL).await.expect("let in");
    peer.hello().await;
    // It is cut off at the head of the frame, long before it is all there.
    let _ = peer.0.send(Message::Binary(vec![0; 1 << 20].into())).await;
    while peer.hear().await.is_some() {}
    sessions_become(&operator.sessions, || {
        operator.sessions.view(&key("n")).is_some_and(|view| matches!(view.link, Link::Down(_)))
    })
    .await;
    operator.stop().await;
}

#[tokio::test]
async fn who_shows_wrong_tokens_again_and_again_has_to_wait() {
    let world = World::with(&[("n", "u"), ("m", "v")]);
    let operator = Operator::start(&world).await;
    let mut welcome = Agent::start(&operator, "m");
    welcome.connected().await;
    let mut refusals = 0;
    let told = loop {
        let Err(error) = guess(&operator).await else {
            refusals += 1;
            continue;
        };
        break error;
    };
    assert!(matches!(&told, DialError::Refused { status: 429, reason, .. } if reason == "TooManyRefusals"), "{told}");
    assert!(told.retry_after().is_some_and(|wait| wait <= Duration::from_secs(5)), "{told}");
    assert_eq!(refusals, 20);
    welcome.connected().await;
    operator.stop().await;
}

/// Shows a token that is none.
async fn guess(operator: &Operator) -> Result<(), DialError> {
    let mut peer = dial(operator, false, ENROLL_PATH, ENROLL_SUBPROTOCOL).await?;
    let request = EnrollRequest { name: "n".into(), token: "a guess".into(), ..EnrollRequest::default() };
    peer.0.send(Message::Binary(request.encode_to_vec().into())).await.expect("sent");
    while !matches!(within(peer.0.next()).await, Some(Ok(Message::Close(_)) | Err(_)) | None) {}
    Ok(())
}

#[tokio::test]
async fn connections_that_say_nothing_do_not_keep_agents_out() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let mut silent = Vec::new();
    for _ in 0..5000 {
        silent.push(tcp(&operator).await);
    }
    let start = Instant::now();
    let mut agent = Agent::start(&operator, "n");
    agent.connected().await;
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert!(operator.gate.last_refusal().is_some(), "the oldest gave way");
    agent.stop().await;
    operator.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_ends_its_handshake_or_says_no_hello_is_cut_off() {
    let world = World::with(&[("n", "u")]);
    let authority = authority();
    let (gate, sessions) = (gate(&world, &authority, 10), Arc::new(Sessions::default()));
    let serve = |stream| {
        let peer = "192.0.2.1:1".parse().expect("an address");
        handshake(stream, peer, Arc::clone(&gate), Arc::clone(&sessions), TaskTracker::new())
    };
    // A byte a second.
    let (near, far, _) = line(1 << 20);
    let drip = tokio::spawn(async move {
        let mut near = near;
        for byte in [0x16, 3, 1, 2, 0].into_iter().chain(std::iter::repeat(0)) {
            if near.write_all(&[byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_secs(1)).await;
        }
    });
    let start = Instant::now();
    serve(far).await;
    assert_eq!(start.elapsed().as_secs(), 10);
    drip.abort();

    let (near, far, _) = line(1 << 20);
    let tls = tls::client(authority.pem(), Some(certified(&authority, "n", "u"))).expect("a client");
    let endpoint = Endpoint::parse("wss://127.0.0.1:1").expect("valid");
    let target = Target { endpoint: &endpoint, proxy: None, tls, path: TUNNEL_PATH, subprotocol: TUNNEL_SUBPROTOCOL };
    let start = Instant::now();
    let (socket, ()) = tokio::join!(over(near, target), serve(far));
    assert!(socket.is_ok());
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!(sessions.view(&key("n")), None);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_talks_and_does_not_listen_is_cut_off() {
    let world = World::with(&[("n", "u")]);
    let authority = authority();
    let (gate, sessions) = (gate(&world, &authority, 10), Arc::new(Sessions::default()));
    let (near, far, _) = line(1 << 20);
    let peer = "192.0.2.1:1".parse().expect("an address");
    tokio::spawn(handshake(far, peer, Arc::clone(&gate), Arc::clone(&sessions), TaskTracker::new()));
    let tls = tls::client(authority.pem(), Some(certified(&authority, "n", "u"))).expect("a client");
    let endpoint = Endpoint::parse("wss://127.0.0.1:1").expect("valid");
    let target = Target { endpoint: &endpoint, proxy: None, tls, path: TUNNEL_PATH, subprotocol: TUNNEL_SUBPROTOCOL };
    let mut peer = Peer(over(near, target).await.expect("connected"));
    peer.hello().await;
    // More than the line's buffers hold, so that it does not all get out.
    sessions.deliver(&key("n"), &document("u", 600, &[]));
    let start = Instant::now();
    while matches!(sessions.view(&key("n")).expect("known").link, Link::Up(_)) {
        assert!(start.elapsed() < Duration::from_secs(60), "still there");
        // As an honest agent does, so that only its not listening tells.
        let _ = peer.0.send(Message::Ping(Bytes::new())).await;
        sleep(Duration::from_secs(5)).await;
    }
    assert!(start.elapsed() >= Duration::from_secs(30), "{:?}", start.elapsed());
}
