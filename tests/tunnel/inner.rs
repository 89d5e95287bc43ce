//! Through somebody else's TLS: who ends it sees sizes and times, changes nothing unnoticed, and is nobody.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
};

use futures::StreamExt as _;
use http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use rustls::version::{TLS12, TLS13};
use tokio::{
    io::{AsyncWriteExt as _, duplex},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};
use tokio_tungstenite::{
    accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{Request, Response},
    },
};
use tokio_util::task::TaskTracker;
use windlass::{
    agent::{
        link::LinkState,
        proxies::{Proxies, Way},
    },
    operator::{accept::handshake, sessions::Sessions},
    tunnel::{
        ENROLL_PATH, ENROLL_SUBPROTOCOL, INNER_SUBPROTOCOL, TUNNEL_PATH, TUNNEL_SUBPROTOCOL,
        accept::{Road, accept},
        additional_ca::AdditionalCa,
        dial::{DialError, Dialled, Target, inside, over},
        endpoint::Endpoint,
        line::Line,
        tls,
    },
};

use crate::{
    ends::{
        Agent, Operator, Remains, World, authority, content, document, enrollment, gate, key, node, sessions_become,
        within,
    },
    inspector::{Direction, Inspector, PlantCa},
    line::certified,
};

/// An agent whose operator is behind this inspector.
fn behind(inspector: &Inspector, operator: &Operator) -> Remains {
    let remains = Remains::new();
    let endpoint = Endpoint::parse(&format!("wss://{}", inspector.address)).expect("valid");
    enrollment(&remains.folder, &endpoint, &operator.authority, "n", "token-of-n");
    remains
}

fn with_additional(path: &Path) -> Way {
    Way { proxies: Proxies::of("", ""), additional_ca: Some(AdditionalCa::at(path)) }
}

#[tokio::test]
async fn a_proxy_that_ends_tls_and_is_named_in_the_settings_carries_everything_and_reads_nothing() {
    for version in [&TLS13, &TLS12] {
        let world = World::with(&[("n", "u")]);
        let operator = Operator::start(&world).await;
        let ca = PlantCa::new();
        let inspector = Inspector::before((operator.address, operator.authority.pem()), &ca, version, None);
        let remains = behind(&inspector, &operator);
        let way = with_additional(&ca.write_to(remains.folder.path()));
        let mut agent = Agent::start_behind(remains, way);
        agent.connected().await;
        let bytes = b"the recipe is a secret of the plant".repeat(3000);
        let wanted = document("u", 2000, std::slice::from_ref(&bytes));
        operator.sessions.deliver(&key("n"), &wanted);
        agent.holds(&wanted).await;
        agent.wanted.send_replace(vec![content(&bytes)]);
        agent.has(&content(&bytes)).await;
        sessions_become(&operator.sessions, || {
            operator.sessions.view(&key("n")).is_some_and(|view| view.report.is_some())
        })
        .await;

        assert!(inspector.seen().len() > bytes.len(), "it was asked to carry everything");
        assert!(inspector.saw(INNER_SUBPROTOCOL) && inspector.saw(ENROLL_PATH), "it does see what is in clear");
        for secret in ["token-of-n", "recipe", "plant-a", "srv/acme", "BEGIN", "spiffe"] {
            assert!(!inspector.saw(secret), "{secret} can be read in the proxy");
        }
        assert_eq!(*world.connected.lock().unwrap(), [node("n", "u")]);
        agent.stop().await;
        operator.stop().await;
    }
}

#[tokio::test]
async fn what_the_proxy_changes_ends_the_connection_which_is_made_anew() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let ca = PlantCa::new();
    let inspector = Inspector::before((operator.address, operator.authority.pem()), &ca, &TLS13, None);
    let remains = behind(&inspector, &operator);
    let way = with_additional(&ca.write_to(remains.folder.path()));
    let mut agent = Agent::start_behind(remains, way);
    for (number, direction) in [(1, Direction::ToOperator), (2, Direction::ToAgent)] {
        agent.is(|state| matches!(state, LinkState::Connected { session, .. } if *session == number)).await;
        inspector.change_next(direction);
        agent.fails("bytes were changed on the way").await;
    }
    assert_eq!(agent.connected().await, 3);
    agent.stop().await;
    operator.stop().await;
}

#[tokio::test]
async fn a_proxy_that_no_setting_names_is_refused_and_its_names_are_told() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let ca = PlantCa::new();
    let inspector = Inspector::before((operator.address, operator.authority.pem()), &ca, &TLS13, None);
    let mut agent = Agent::start_again(behind(&inspector, &operator));
    let told = "the certificate of \"CN=proxy.plant-a.example.com\" was issued by \"CN=Plant A inspection\"; expected TLS \
                1.3 by the authority of the enrollment file; where a proxy on the way ends TLS, set --additional-ca";
    agent.fails(told).await;
    let remains = agent.stop().await;
    // Another plant's does not help.
    let other = PlantCa::new().write_to(remains.folder.path());
    let mut agent = Agent::start_behind(remains, with_additional(&other));
    agent.fails("or any by one of those in --additional-ca").await;
    assert!(inspector.seen().is_empty(), "nothing was said to it");
    agent.stop().await;
    operator.stop().await;
}

#[tokio::test]
async fn who_answers_in_the_operators_place_inside_the_proxys_tls_hears_no_token() {
    let world = World::with(&[("n", "u")]);
    let (ours, theirs) = (authority(), Operator::start(&world).await);
    let remains = Remains::new();
    enrollment(&remains.folder, &theirs.endpoint(), &ours, "n", "token-of-n");
    let path = remains.folder.path().join("theirs.pem");
    std::fs::write(&path, theirs.authority.pem()).expect("written");
    let mut agent = Agent::start_behind(remains, with_additional(&path));
    agent.fails("somebody on the way answers in the operator's place").await;
    agent.stop().await;
    theirs.stop().await;
}

/// A proxy that answers upgrades with this subprotocol and no other, and hears what is said then.
async fn answering(ca: &PlantCa, subprotocol: Option<&'static str>) -> (SocketAddr, mpsc::Receiver<Vec<Message>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    let acceptor = ca.acceptor(&TLS13);
    let (heard, hearing) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The first time, the agent goes away.
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            #[allow(clippy::result_large_err)] // tungstenite's types
            let answer = |_: &Request, mut response: Response| {
                let value = subprotocol.map(HeaderValue::from_static);
                response.headers_mut().extend(value.map(|value| (SEC_WEBSOCKET_PROTOCOL, value)));
                Ok(response)
            };
            let mut socket = accept_hdr_async(stream, answer).await.expect("an upgrade");
            let mut messages: Vec<_> = socket.next().await.into_iter().flatten().collect();
            let _ = socket.close(None).await;
            while let Some(Ok(message)) = socket.next().await {
                messages.push(message);
            }
            let _ = heard.send(messages).await;
        }
    });
    (address, hearing)
}

#[tokio::test]
async fn who_takes_the_inner_tls_out_of_the_answer_hears_nothing_instead() {
    let authority = authority();
    for (answer, told) in [
        (None, "did not answer as an operator"),
        (Some(ENROLL_SUBPROTOCOL), "did not answer as an operator"),
        (Some(INNER_SUBPROTOCOL), "inside the TLS of a proxy"),
    ] {
        let ca = PlantCa::new();
        let (address, mut hearing) = answering(&ca, answer).await;
        let remains = Remains::new();
        let endpoint = Endpoint::parse(&format!("wss://{address}")).expect("valid");
        enrollment(&remains.folder, &endpoint, &authority, "n", "token-of-n");
        let way = with_additional(&ca.write_to(remains.folder.path()));
        let mut agent = Agent::start_behind(remains, way);
        agent.fails(told).await;
        let mut heard = within(hearing.recv()).await.expect("it came");
        heard.retain(Message::is_binary);
        assert_eq!(!heard.is_empty(), answer == Some(INNER_SUBPROTOCOL), "{heard:?}");
        for message in heard {
            let bytes = message.into_data();
            assert_eq!(bytes.first(), Some(&0x16), "a handshake of TLS at most");
            assert!(!bytes.windows(5).any(|window| window == b"token"));
        }
        agent.stop().await;
    }
}

#[tokio::test]
async fn an_operator_that_shows_its_own_certificate_is_spoken_to_directly() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let remains = Remains::new();
    enrollment(&remains.folder, &operator.endpoint(), &operator.authority, "n", "token-of-n");
    // A file that is not there would be noticed if it were needed.
    let mut agent = Agent::start_behind(remains, with_additional(Path::new("/nonexistent/ca.pem")));
    agent.connected().await;
    agent.stop().await;
    operator.stop().await;
}

/// The outer half of an inner road, with or without a certificate of the node in it.
async fn outer(operator: &Operator, certificate: bool) -> Line<TcpStream> {
    let own = certificate.then(|| certified(&operator.authority, "n", "u"));
    let tls = tls::client(operator.authority.pem(), own).expect("a client");
    let stream = TcpStream::connect(operator.address).await.expect("connected");
    let endpoint = operator.endpoint();
    let target = Target { endpoint: &endpoint, proxy: None, tls, path: TUNNEL_PATH, subprotocol: INNER_SUBPROTOCOL };
    Line::inside(within(over(stream, target)).await.expect("an outer TLS"))
}

async fn within_it(
    operator: &Operator,
    outer: Line<TcpStream>,
    subprotocol: &'static str,
) -> Result<Dialled<Line<TcpStream>>, DialError> {
    let tls = tls::client(operator.authority.pem(), None).expect("a client");
    let endpoint = operator.endpoint();
    let target = Target { endpoint: &endpoint, proxy: None, tls, path: TUNNEL_PATH, subprotocol };
    within(over(outer, target)).await
}

#[tokio::test]
async fn a_certificate_that_the_outer_tls_showed_makes_nobody_a_node() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    for certificate in [true, false] {
        let outer = outer(&operator, certificate).await;
        let refused = within_it(&operator, outer, TUNNEL_SUBPROTOCOL).await.map(drop).expect_err("nobody");
        assert!(matches!(&refused, DialError::Refused { reason, .. } if reason == "NoCertificate"), "{refused}");
    }
    operator.stop().await;
}

#[tokio::test]
async fn there_is_no_third_tls_in_the_second() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let second = outer(&operator, false).await;
    if let Ok(third) = within_it(&operator, second, INNER_SUBPROTOCOL).await {
        assert!(within_it(&operator, Line::inside(third), TUNNEL_SUBPROTOCOL).await.is_err());
    }
    operator.stop().await;
}

#[tokio::test]
async fn admission_is_asked_once_for_whoever_comes_through_two_of_them() {
    let authority = authority();
    let operator = tls::server(authority.server("127.0.0.1").expect("its own"), authority.certificate()).expect("TLS");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, authority.pem()).expect("written");
    let (near, far) = duplex(8 << 10);
    let tls = tls::client(authority.pem(), Some(certified(&authority, "n", "u"))).expect("a client");
    let endpoint = Endpoint::parse("wss://127.0.0.1:1").expect("valid");
    let target = Target { endpoint: &endpoint, proxy: None, tls, path: TUNNEL_PATH, subprotocol: TUNNEL_SUBPROTOCOL };
    let asked = Mutex::new(Vec::new());
    let admit = |road: &Road| {
        asked.lock().unwrap().push(road.clone());
        Ok(())
    };
    let additional = AdditionalCa::at(path);
    let (dialled, accepted) = tokio::join!(inside(near, target, &additional), accept(far, operator, admit));
    assert!(dialled.is_ok());
    let tunnel = Road::Tunnel(node("n", "u"));
    assert_eq!(accepted.expect("accepted").1, tunnel);
    assert_eq!(*asked.lock().unwrap(), [tunnel]);
}

#[tokio::test(start_paused = true)]
async fn one_deadline_lies_over_both_handshakes() {
    let world = World::with(&[("n", "u")]);
    let authority = authority();
    let (gate, sessions) = (gate(&world, &authority, 10), Arc::new(Sessions::default()));
    let (near, far) = duplex(8 << 10);
    let start = tokio::time::Instant::now();
    let peer = "192.0.2.1:1".parse().expect("an address");
    let serving = tokio::spawn(handshake(far, peer, gate, sessions, TaskTracker::new()));
    let tls = tls::client(authority.pem(), None).expect("a client");
    let endpoint = Endpoint::parse("wss://127.0.0.1:1").expect("valid");
    let target = Target { endpoint: &endpoint, proxy: None, tls, path: TUNNEL_PATH, subprotocol: INNER_SUBPROTOCOL };
    tokio::time::sleep(std::time::Duration::from_secs(7)).await;
    let mut inner = Line::<TcpStream>::inside(over(near, target).await.expect("an outer TLS"));
    inner.write_all(&[0x16, 3, 1]).await.expect("the beginning of an inner one");
    inner.flush().await.expect("sent");
    serving.await.expect("no panic");
    assert_eq!(start.elapsed().as_secs(), 10);
}
