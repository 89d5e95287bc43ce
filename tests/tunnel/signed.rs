//! Whom an agent believes: keys that rotate while it is there and while it is away, and somebody between, who has every
//! message that was ever said and no signing key.

use std::sync::Arc;

use futures::{SinkExt as _, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use windlass::{
    agent::{
        identity::IdentityFolder,
        store::{KeptDocument, MemoryStore, Store as _},
    },
    model::{Bundle, Digest, Nonce, Statement},
    operator::{
        authority::Authority,
        document::Document,
        signing::{Keyring, Signer},
    },
    trust::{Sealed, SigningKey, seal, sign_bundle},
    tunnel::{
        accept::{Accepted, accept},
        endpoint::Endpoint,
        tls,
    },
    wire::{
        trust::encode_statement,
        trust_v1::{Chain, Envelope},
        tunnel_v1::{AgentMessage, Desired, Hello, OperatorMessage, Welcome, agent_message, operator_message::Body},
    },
};

use crate::ends::{Agent, Operator, ROTATION, Remains, World, document, enrollment, key, within};

/// One rotation: the next key is announced, used, and the one before it gone.
fn rotate(signer: &Signer) {
    let authorities = vec![b"der".to_vec()];
    for second in 0..2 {
        let hours = i64::try_from(signer.keyring().serial()).expect("small") + 1;
        let now = Timestamp::now() + SignedDuration::from_hours(hours) + SignedDuration::from_secs(second);
        let next = signer.keyring().step(&authorities, now, &ROTATION).expect("made");
        next.into_iter().for_each(|next| signer.replace(next));
    }
}

fn serial(remains: &Remains) -> u64 {
    identity(remains).trust().map_or(0, |trust| trust.bundle.serial)
}

fn identity(remains: &Remains) -> IdentityFolder {
    IdentityFolder::open(remains.folder.path().join("identity")).expect("opened")
}

/// An agent that was given a document and ended, and that operator.
async fn settled(wanted: &Arc<Document>) -> (Operator, Remains) {
    let world = World::with(&[("n", "u")]);
    let operator = Operator::start(&world).await;
    let mut agent = Agent::start(&operator, "n");
    agent.connected().await;
    operator.sessions.deliver(&key("n"), wanted);
    agent.holds(wanted).await;
    (operator, agent.stop().await)
}

#[tokio::test]
async fn an_agent_follows_keys_that_rotate_while_it_is_connected_and_while_it_is_away() {
    let (operator, remains) = settled(&document("u", 1, &[])).await;
    assert_eq!(serial(&remains), 1, "given with its certificate");
    (0..5).for_each(|_| rotate(&operator.signer));
    let mut agent = Agent::start_again(remains);
    agent.connected().await;
    for directories in [2, 3] {
        let next = document("u", directories, &[]);
        operator.sessions.deliver(&key("n"), &next);
        agent.holds(&next).await;
        let kept = agent.store.desired().expect("readable").expect("there");
        let signer = kept.voucher.map(|voucher| voucher.signer);
        assert_eq!(signer.as_ref(), operator.signer.keyring().public_keys().first());
        rotate(&operator.signer);
    }
    let remains = agent.stop().await;
    assert!(serial(&remains) >= 13, "{}", serial(&remains));

    // What a retired key signed is put in force after a restart, before anybody is asked.
    let agent = Agent::start_again(remains);
    assert!(agent.desired.borrow().is_some());
    agent.stop().await;
    operator.stop().await;
}

#[tokio::test]
async fn a_document_that_is_held_is_signed_anew_at_each_connection() {
    let wanted = document("u", 1, &[]);
    let (operator, remains) = settled(&wanted).await;
    let signer = |store: &MemoryStore| store.desired().unwrap().unwrap().voucher.unwrap().signer;
    let before = signer(&remains.store);
    rotate(&operator.signer);
    let mut agent = Agent::start_again(remains);
    agent.connected().await;
    within(async {
        while signer(&agent.store) == before {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let remains = agent.stop().await;
    assert_eq!(Some(&signer(&remains.store)), operator.signer.keyring().public_keys().first());
    operator.stop().await;
}

#[tokio::test]
async fn an_agent_that_was_enrolled_before_there_were_keys_takes_the_first_from_its_session() {
    let wanted = document("u", 1, &[]);
    let (operator, remains) = settled(&wanted).await;
    std::fs::remove_file(remains.folder.path().join("identity/trust.json")).expect("removed");
    let kept = remains.store.desired().unwrap().unwrap();
    remains.store.set_desired(Some(&KeptDocument { voucher: None, ..kept })).unwrap();
    let mut agent = Agent::start_again(remains);
    assert!(agent.desired.borrow().is_some(), "it goes on with what that version kept");
    agent.connected().await;
    let next = document("u", 2, &[]);
    operator.sessions.deliver(&key("n"), &next);
    agent.holds(&next).await;
    let remains = agent.stop().await;
    assert_eq!(serial(&remains), 1);
    assert!(remains.store.desired().unwrap().unwrap().voucher.is_some());
    operator.stop().await;
}

#[tokio::test]
async fn a_machine_whose_disk_was_restored_goes_on_above_the_sessions_that_it_forgot() {
    let (operator, mut remains) = settled(&document("u", 1, &[])).await;
    for number in 2..5 {
        let mut agent = Agent::start_again(remains);
        assert_eq!(agent.connected().await, number);
        remains = agent.stop().await;
    }
    remains.store.set_last_session(1).expect("restored");
    let mut agent = Agent::start_again(remains);
    assert_eq!(agent.connected().await, 5);
    let remains = agent.stop().await;
    assert_eq!(remains.store.last_session(), Ok(5));
    operator.stop().await;
}

/// Somebody who ends the agent's TLS with a certificate of the operator's authority.
struct Interceptor {
    listener: TcpListener,
    tls: Arc<ServerConfig>,
}

impl Interceptor {
    async fn start(authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let own = authority.server("127.0.0.1").expect("certified");
        Self { listener, tls: tls::server(own, authority.certificate()).expect("a server") }
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::parse(&format!("wss://{}", self.listener.local_addr().expect("bound"))).expect("valid")
    }

    /// Takes the agent's connection and welcomes it.
    async fn welcome(&self) -> Line {
        let (stream, _) = within(self.listener.accept()).await.expect("a connection");
        let Ok((mut socket, _)) = within(accept(stream, Arc::clone(&self.tls), |_| Ok(()))).await else {
            panic!("the agent does not connect");
        };
        let hello = loop {
            if let Some(Ok(Message::Binary(bytes))) = within(socket.next()).await
                && let Some(agent_message::Body::Hello(hello)) = AgentMessage::decode(bytes).expect("a message").body
            {
                break hello;
            }
        };
        let mut line = Line { socket, hello };
        let welcome = Welcome { session: 100, heartbeat_seconds: 60, max_outstanding_wants: 1, highest_session: 99 };
        line.say(Body::Welcome(welcome)).await;
        line
    }
}

struct Line {
    socket: Accepted<TcpStream>,
    hello: Hello,
}

impl Line {
    async fn say(&mut self, body: Body) {
        let message = OperatorMessage { body: Some(body) }.encode_to_vec();
        self.socket.send(Message::Binary(message.into())).await.expect("sent");
    }

    fn nonce(&self) -> Nonce {
        Nonce::try_from(&self.hello.nonce[..]).expect("a nonce")
    }
}

fn statement(document: &Document, nonce: Nonce, counter: u64) -> Statement {
    let size = document.bytes.len() as u64;
    Statement { node_uid: "u".into(), nonce, counter, digest: document.digest, size }
}

fn said(document: &Document, envelope: Option<Envelope>) -> Body {
    Body::Desired(Desired {
        revision: document.revision.to_string(),
        digest: document.digest.as_bytes().to_vec().into(),
        size: document.bytes.len() as u64,
        document: Some(document.bytes.clone()),
        envelope,
    })
}

#[tokio::test]
async fn who_stands_between_and_has_no_signing_key_is_refused_and_what_was_in_force_stays() {
    let (held, theirs) = (document("u", 1, &[]), document("u", 2, &[]));
    let (operator, remains) = settled(&held).await;
    let (authority, signer) = (Arc::clone(&operator.authority), Arc::clone(&operator.signer));
    operator.stop().await;
    let interceptor = Interceptor::start(&authority).await;
    enrollment(&remains.folder, &interceptor.endpoint(), &authority, "n", "token-of-n");
    let mut agent = Agent::start_again(remains);
    let mut line = interceptor.welcome().await;
    assert_eq!(line.hello.trust_serial, 1);

    let thief = SigningKey::generate().expect("made");
    let now = statement(&theirs, line.nonce(), 7);
    let sealed = |statement: &Statement, key: &SigningKey| seal(Sealed::Statement, encode_statement(statement), key);
    let altered = {
        let mut envelope = signer.sign(&statement(&held, line.nonce(), 7));
        envelope.payload = encode_statement(&now).into();
        envelope
    };
    for (reason, document, envelope) in [
        ("Unsigned", &theirs, None),
        ("NotFresh", &theirs, Some(signer.sign(&statement(&theirs, Nonce::new([9; 16]), 7)))),
        ("NotForThisNode", &theirs, Some(signer.sign(&Statement { node_uid: "v".into(), ..now.clone() }))),
        ("WrongDigest", &theirs, Some(signer.sign(&statement(&held, line.nonce(), 7)))),
        ("UnknownKey", &theirs, Some(sealed(&now, &thief))),
        ("WrongSignature", &theirs, Some(altered)),
        ("Unsigned", &held, None),
    ] {
        line.say(said(document, envelope)).await;
        refuses(&mut agent, reason, &held).await;
    }

    // A bundle of his own opens no way in either.
    let bundle = Bundle { serial: 2, signing_keys: vec![thief.public()], authorities: vec![] };
    line.say(Body::Trust(Chain { bundles: vec![sign_bundle(&bundle, &thief)] })).await;
    line.say(said(&theirs, Some(sealed(&now, &thief)))).await;
    let why = refuses(&mut agent, "UnknownKey", &held).await;
    assert!(why.contains("trust bundles do not follow"), "{why}");

    // What the operator said over this very connection is taken, and nothing older after that.
    line.say(said(&theirs, Some(signer.sign(&now)))).await;
    agent.holds(&theirs).await;
    within(agent.refused.wait_for(Option::is_none)).await.expect("the link runs");
    line.say(said(&held, Some(signer.sign(&statement(&held, line.nonce(), 6))))).await;
    refuses(&mut agent, "OutOfOrder", &theirs).await;
    line.say(said(&theirs, Some(signer.sign(&now)))).await;
    let remains = agent.stop().await;
    assert_eq!(serial(&remains), 1, "and nobody else is believed");
    assert_eq!(remains.store.last_session(), Ok(100));
}

/// Waits until the agent tells that reason; this document is in force, and kept.
async fn refuses(agent: &mut Agent, reason: &str, in_force: &Document) -> String {
    let told = |told: &Option<String>| told.as_ref().is_some_and(|told| told.starts_with(&format!("{reason}: ")));
    let why = within(agent.refused.wait_for(told)).await.expect("the link runs").clone();
    assert_eq!(agent.desired.borrow().as_ref().map(|held| held.digest), Some(in_force.digest), "{reason}");
    let kept = agent.store.desired().expect("readable").expect("there");
    assert_eq!(Digest::of(&kept.bytes), in_force.digest, "{reason}");
    why.unwrap_or_default()
}

#[tokio::test]
async fn an_operator_with_other_keys_is_not_believed_until_the_machine_is_enrolled_anew() {
    let held = document("u", 1, &[]);
    let (operator, remains) = settled(&held).await;
    // Its Secret was lost, and made anew.
    operator.signer.replace(Keyring::make(vec![], Timestamp::now()).expect("made"));
    let mut agent = Agent::start_again(remains);
    agent.connected().await;
    let next = document("u", 2, &[]);
    operator.sessions.deliver(&key("n"), &next);
    refuses(&mut agent, "UnknownKey", &held).await;
    let remains = agent.stop().await;

    std::fs::remove_dir_all(remains.folder.path().join("identity")).expect("removed");
    let mut agent = Agent::start_again(remains);
    agent.connected().await;
    agent.holds(&next).await;
    agent.stop().await;
    operator.stop().await;
}
