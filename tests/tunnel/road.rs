//! From a token to a document, over loopback: what is let in, what is refused, and who gives way to whom.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use windlass::{
    agent::{
        contents::Contents as _,
        link::LinkState,
        proxies::{Proxies, Way},
        store::Store as _,
    },
    model::{Digest, Report},
    operator::sessions::{Link, Sessions},
};

use crate::ends::{
    Agent, Operator, Remains, World, authority, content, document, enrollment, key, node, sessions_become,
};

fn is_up(sessions: &Sessions, name: &str) -> bool {
    sessions.view(&key(name)).is_some_and(|view| matches!(view.link, Link::Up(_)))
}

#[tokio::test]
async fn an_agent_enrolls_connects_and_gets_its_document_and_contents_by_ranges() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let mut agent = Agent::start(&operator, "n");
    assert_eq!(agent.connected().await, 1);
    assert_eq!(agent.store.last_session(), Ok(1));

    let bytes: Vec<u8> = (0..150_000_u32).map(|n| n as u8).collect();
    let large = document("u", 2000, &[bytes.clone(), vec![], b"small".to_vec()]);
    assert!(large.bytes.len() > 128 << 10, "larger than what rides along");
    operator.sessions.deliver(&key("n"), &large);
    agent.holds(&large).await;
    assert_eq!(agent.store.desired().map(|d| d.map(|d| Digest::of(&d.bytes))), Ok(Some(large.digest)));

    agent.wanted.send_replace(vec![content(&bytes), content(b""), content(b"small")]);
    agent.has(&content(&bytes)).await;
    agent.has(&content(b"")).await;
    agent.has(&content(b"small")).await;

    let report = Report { progressing: true, held_revision: Some(large.revision.clone()), ..Report::default() };
    agent.report.send_replace(Arc::new(report.clone()));
    sessions_become(&operator.sessions, || {
        operator.sessions.view(&key("n")).is_some_and(|view| view.report.as_deref() == Some(&report))
    })
    .await;
    assert_eq!(*world.connected.lock().unwrap(), [node("n", "u")]);
    agent.stop().await;
    sessions_become(&operator.sessions, || !is_up(&operator.sessions, "n")).await;
    operator.stop().await;
}

#[tokio::test]
async fn what_a_broken_transfer_left_damaged_is_fetched_anew() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let mut agent = Agent::start(&operator, "n");
    agent.connected().await;
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n / 7) as u8).collect();
    let wanted = document("u", 1, std::slice::from_ref(&bytes));
    operator.sessions.deliver(&key("n"), &wanted);
    agent.holds(&wanted).await;
    let remains = agent.stop().await;

    // Its beginning is there, with a bit that fell over.
    let mut damaged = bytes.clone();
    damaged[0] ^= 1;
    remains.contents.append(&content(&bytes).digest, 0, &damaged[..60_000]).expect("appended");
    let mut agent = Agent::start_again(remains);
    assert_eq!(agent.connected().await, 2, "the number goes up");
    agent.holds(&wanted).await;
    agent.wanted.send_replace(vec![content(&bytes)]);
    // It digests to something else, is discarded, and is fetched anew at the next heartbeat.
    agent.has(&content(&bytes)).await;
    operator.stop().await;
}

#[tokio::test]
async fn a_foreign_token_is_refused_with_its_reason() {
    let world = World::with(&[("n", "u"), ("m", "v")]);
    let operator = Operator::start(&world).await;
    for (name, token) in [("n", "guessed"), ("n", "token-of-m"), ("absent", "token-of-absent")] {
        let remains = Remains::new();
        enrollment(&remains.folder, &operator.endpoint(), &operator.authority, name, token);
        let mut agent = Agent::start_again(remains);
        agent.fails("UnknownToken").await;
        agent.stop().await;
    }
    operator.stop().await;
}

#[tokio::test]
async fn an_operator_of_a_foreign_authority_is_not_trusted() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let remains = Remains::new();
    enrollment(&remains.folder, &operator.endpoint(), &authority(), "n", "token-of-n");
    let mut agent = Agent::start_again(remains);
    agent.fails("UnknownIssuer").await;
    agent.stop().await;
    operator.stop().await;
}

#[tokio::test]
async fn an_agent_of_a_foreign_authority_is_not_let_in() {
    let world = World::with(&[("n", "u")]);
    let theirs = Operator::start(&world).await;
    let mut agent = Agent::start(&theirs, "n");
    agent.connected().await;
    let remains = agent.stop().await;
    theirs.stop().await;

    let ours = Operator::start(&world).await;
    // With the same token, the file only says where the operator is now.
    enrollment(&remains.folder, &ours.endpoint(), &ours.authority, "n", "token-of-n");
    let mut agent = Agent::start_again(remains);
    agent.fails("UnknownCA").await;
    assert_eq!(ours.sessions.view(&key("n")), None);
    agent.stop().await;
    ours.stop().await;
}

#[tokio::test]
async fn an_agent_whose_edgenode_is_gone_is_released_until_it_is_enrolled_anew() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let mut agent = Agent::start(&operator, "n");
    agent.connected().await;
    let wanted = document("u", 1, &[]);
    operator.sessions.deliver(&key("n"), &wanted);
    agent.holds(&wanted).await;
    let mut remains = agent.stop().await;

    // Made anew while the agent was away: another UID.
    world.nodes.lock().unwrap().insert(key("n"), "u2".to_owned());
    for restart in 0..2 {
        let mut agent = Agent::start_again(remains);
        agent.is(|state| *state == LinkState::Released).await;
        assert_eq!((agent.store.released(), agent.store.desired()), (Ok(true), Ok(None)), "restart {restart}");
        assert_eq!(*agent.desired.borrow(), None);
        remains = agent.stop().await;
    }

    // Another token: this registrar takes those of every node, so another node's will do.
    world.nodes.lock().unwrap().insert(key("m"), "v".to_owned());
    enrollment(&remains.folder, &operator.endpoint(), &operator.authority, "m", "token-of-m");
    let mut agent = Agent::start_again(remains);
    agent.connected().await;
    assert_eq!(agent.store.released(), Ok(false));
    assert!(is_up(&operator.sessions, "m"));
    agent.stop().await;
    operator.stop().await;
}

#[tokio::test]
async fn a_release_reaches_a_connected_agent() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let mut agent = Agent::start(&operator, "n");
    agent.connected().await;
    operator.sessions.release(&key("n"));
    agent.is(|state| *state == LinkState::Released).await;
    agent.stop().await;
    operator.stop().await;
}

#[tokio::test]
async fn agents_come_back_to_an_operator_that_was_restarted() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let (authority, signer, address) =
        (Arc::clone(&operator.authority), Arc::clone(&operator.signer), operator.address);
    let mut agent = Agent::start(&operator, "n");
    agent.connected().await;
    operator.stop().await;
    agent.fails("the operator shuts down").await;
    let operator = Operator::start_with(&world, authority, signer, &address.to_string()).await;
    assert_eq!(agent.connected().await, 2);
    agent.stop().await;
    operator.stop().await;
}

#[tokio::test]
async fn an_agent_is_told_to_wait_while_the_operator_does_not_know_the_nodes_yet() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let mut agent = Agent::start(&operator, "n");
    agent.connected().await;
    let remains = agent.stop().await;
    assert_eq!(operator.gate.last_refusal(), None);
    *world.synced.lock().unwrap() = false;
    let mut agent = Agent::start_again(remains);
    agent.fails("503").await;
    assert!(operator.gate.last_refusal().is_some());
    *world.synced.lock().unwrap() = true;
    agent.connected().await;
    agent.stop().await;
    operator.stop().await;
}

#[tokio::test]
async fn a_copy_of_an_identity_takes_the_session_once_and_is_then_left_alone() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let mut original = Agent::start(&operator, "n");
    assert_eq!(original.connected().await, 1);

    let copied = Remains::new();
    let identity = copied.folder.path().join("identity");
    std::fs::create_dir(&identity).expect("made");
    for file in ["key.pem", "certificate.pem", "node.json"] {
        std::fs::copy(original.folder.path().join("identity").join(file), identity.join(file)).expect("copied");
    }
    std::fs::copy(original.folder.path().join("enrollment.yaml"), copied.folder.path().join("enrollment.yaml"))
        .expect("copied");
    // As new as the original's: nobody can tell which of the two is the right one.
    copied.store.set_last_session(1).expect("kept");
    let mut copy = Agent::start_again(copied);
    assert_eq!(copy.connected().await, 2);
    let sent_away = original.is(|state| matches!(state, LinkState::Disconnected { .. })).await;
    let LinkState::Disconnected { since, retry_at, error } = sent_away else { unreachable!() };
    assert!(retry_at >= since + 5, "it does not come back at once to chase the other away");
    assert!(error.contains("another session with the same identity"), "{error}");

    // And when it does come back, the other's session stays.
    let mut original = Agent::start_again(original.stop().await);
    original.fails("another machine took over with the same identity").await;
    assert!(is_up(&operator.sessions, "n"));
    assert_eq!(operator.sessions.view(&key("n")).map(|view| view.number), Some(2));
    original.stop().await;
    copy.stop().await;
    operator.stop().await;
}

#[tokio::test]
async fn an_agent_whose_connection_broke_is_let_in_at_once() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let mut agent = Agent::start(&operator, "n");
    agent.connected().await;
    // Ended without a word: for the operator, the old session is still up.
    let store = Arc::clone(&agent.store);
    let (folder, contents) = (Arc::clone(&agent.folder), Arc::clone(&agent.contents));
    std::mem::forget(agent);
    let mut agent = Agent::start_again(Remains { folder, store, contents });
    assert_eq!(agent.connected().await, 2);
    agent.stop().await;
    operator.stop().await;
}

/// An HTTP proxy that notes whom it was asked for, and refuses whoever shows no credentials.
async fn proxy(asked: Arc<Mutex<Vec<String>>>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let asked = Arc::clone(&asked);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.expect("a request"));
                }
                let head = String::from_utf8(head).expect("text");
                let target = head.split(' ').nth(1).expect("a target").to_owned();
                if !head.contains("Proxy-Authorization: Basic eDp5\r\n") {
                    let answer = b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n";
                    client.write_all(answer).await.expect("answered");
                    return;
                }
                let mut server = TcpStream::connect(&target).await.expect("reached");
                asked.lock().unwrap().push(target);
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.expect("answered");
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    address
}

#[tokio::test]
async fn an_agent_enrolls_and_connects_through_its_proxy() {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let address = proxy(Arc::clone(&asked)).await;
    let remains = Remains::new();
    enrollment(&remains.folder, &operator.endpoint(), &operator.authority, "n", "token-of-n");
    let by = |url: String| Way { proxies: Proxies::of(&url, ""), additional_ca: None };
    let mut agent = Agent::start_behind(remains, by(format!("http://{address}")));
    agent.fails("407 Proxy Authentication Required").await;
    let remains = agent.stop().await;
    let mut agent = Agent::start_behind(remains, by(format!("http://x:y@{address}")));
    agent.connected().await;
    assert_eq!(*asked.lock().unwrap(), [operator.address.to_string(), operator.address.to_string()]);
    agent.stop().await;
    operator.stop().await;
}
