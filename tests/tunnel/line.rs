//! Lines that are slow, or break without a word: in memory, in paused time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, ReadHalf, WriteHalf, duplex, split},
    sync::{Notify, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use windlass::{
    agent::{
        contents::Contents as _,
        conversation::{self, Ended, Parties},
        held::Held,
        identity::IdentityFolder,
        link::{LinkEnds, LinkState},
        store::{MemoryContents, MemoryStore, Store},
    },
    model::{Content, Failure, Report},
    operator::{
        accept::{Gate, handshake},
        authority::{Authority, CheckedRequest},
        sessions::{Link, Sessions},
    },
    trust::fresh_nonce,
    tunnel::{
        TUNNEL_PATH, TUNNEL_SUBPROTOCOL,
        dial::{Target, over},
        endpoint::Endpoint,
        tls::{self, Credentials},
    },
};

use crate::ends::{World, authority, content, document, gate, key, node, sessions_become, within};

/// Seconds between heartbeats in these tests, as in production.
const HEARTBEAT: u32 = 10;

/// Carries bytes one way, at a rate, until the line is cut: then it takes and gives nothing, and does not close.
async fn carry(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, rate: u32, cut: Arc<AtomicBool>) {
    let mut buffer = vec![0; 1024];
    let mut free_at = Instant::now();
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        free_at = free_at.max(Instant::now()) + Duration::from_secs(n as u64) / rate;
        sleep_until(free_at).await;
        if cut.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

/// A line between two ends, of so many bytes a second each way, with 16 KiB of buffers.
pub fn line(rate: u32) -> (DuplexStream, DuplexStream, Arc<AtomicBool>) {
    let ((near, near_far), (far, far_near)) = (duplex(8 << 10), duplex(8 << 10));
    let cut = Arc::new(AtomicBool::new(false));
    let ((a_read, a_write), (b_read, b_write)) = (split(near_far), split(far_near));
    tokio::spawn(carry(a_read, b_write, rate, Arc::clone(&cut)));
    tokio::spawn(carry(b_read, a_write, rate, Arc::clone(&cut)));
    (near, far, cut)
}

struct End {
    store: Arc<dyn Store>,
    contents: Arc<MemoryContents>,
    desired: watch::Receiver<Option<Arc<Held>>>,
    wanted: watch::Sender<Vec<Content>>,
    arrived: Arc<Notify>,
    report: watch::Sender<Arc<Report>>,
    state: watch::Receiver<LinkState>,
    task: JoinHandle<Ended>,
    cut: Arc<AtomicBool>,
    _folder: TempDir,
}

/// An agent's conversation with an operator over such a line.
fn talk(gate: &Arc<Gate>, sessions: &Arc<Sessions>, authority: &Authority, name: &str, uid: &str, rate: u32) -> End {
    let (near, far, cut) = line(rate);
    let peer = "192.0.2.1:1".parse().expect("an address");
    let steady = TaskTracker::new();
    tokio::spawn(handshake(far, peer, Arc::clone(gate), Arc::clone(sessions), steady));

    let tls = tls::client(authority.pem(), Some(certified(authority, name, uid))).expect("a client");
    let endpoint = Endpoint::parse("wss://127.0.0.1:1").expect("valid");
    let store: Arc<dyn Store> = Arc::new(MemoryStore::default());
    let contents = Arc::new(MemoryContents::default());
    let (desired_ends, desired) = watch::channel(None);
    let (wanted, wanted_ends) = watch::channel(Vec::new());
    let (report, report_ends) = watch::channel(Arc::new(Report::default()));
    let (state_ends, state) = watch::channel(LinkState::Released);
    let arrived = Arc::new(Notify::new());
    let mut ends = LinkEnds {
        desired: desired_ends,
        wanted: wanted_ends,
        arrived: Arc::clone(&arrived),
        report: report_ends,
        state: state_ends,
        refused: watch::Sender::new(None),
        features: &[],
    };
    let _folder = tempfile::tempdir().expect("a folder");
    let identity = IdentityFolder::open(_folder.path().join("identity")).expect("opened");
    let (uid, kept, fetched) = (uid.to_owned(), Arc::clone(&store), Arc::clone(&contents));
    let task = tokio::spawn(async move {
        let target =
            Target { endpoint: &endpoint, proxy: None, tls, path: TUNNEL_PATH, subprotocol: TUNNEL_SUBPROTOCOL };
        let socket = over(near, target).await.expect("connected");
        let fetched = fetched as _;
        let nonce = fresh_nonce().expect("random bytes");
        let (uid, identity) = (&uid, &identity);
        let parties = Parties { store: &kept, contents: &fetched, ends: &mut ends, identity, uid, nonce };
        let welcomed = |session, ends: &LinkEnds| {
            ends.state.send_replace(LinkState::Connected { session, since: 0 });
        };
        conversation::hold(socket, parties, welcomed, &CancellationToken::new()).await
    });
    End { store, contents, desired, wanted, arrived, report, state, task, cut, _folder }
}

pub fn certified(authority: &Authority, name: &str, uid: &str) -> Credentials {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
    let request = rcgen::CertificateParams::default().serialize_request(&key).expect("a request");
    let checked = CheckedRequest::check(request.der()).expect("valid");
    let certificate = authority.node(&checked, &node(name, uid)).expect("signed");
    Credentials { chain: vec![certificate], key: key.serialize_der().try_into().expect("a key") }
}

impl End {
    async fn connected(&mut self) {
        within(self.state.wait_for(|state| matches!(state, LinkState::Connected { .. }))).await.expect("talks");
    }

    async fn has(&self, content: &Content) {
        while !self.contents.has(&content.digest) {
            self.arrived.notified().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_large_content_on_a_slow_link_delays_neither_heartbeats_nor_changes_nor_other_nodes() {
    let world = World::with(&[("slow", "u"), ("other", "v")]);
    let authority = authority();
    let (gate, sessions) = (gate(&world, &authority, HEARTBEAT), Arc::new(Sessions::default()));
    let mut slow = talk(&gate, &sessions, &authority, "slow", "u", 256_000 / 8);
    let mut other = talk(&gate, &sessions, &authority, "other", "v", 100 << 20);
    slow.connected().await;
    other.connected().await;

    let bytes: Vec<u8> = (0..900_u32 << 10).map(|n| (n / 3) as u8).collect();
    let first = document("u", 1, std::slice::from_ref(&bytes));
    sessions.deliver(&key("slow"), &first);
    slow.desired.wait_for(Option::is_some).await.expect("talks");
    let start = Instant::now();
    slow.wanted.send_replace(vec![content(&bytes)]);
    sleep(Duration::from_secs(8)).await;
    assert!((100 << 10..400 << 10).contains(&slow.contents.partial_length(&content(&bytes).digest)), "on its way");

    // Another node's change, and then this node's own, in the middle of the transfer.
    let change = Instant::now();
    let theirs = document("v", 2, &[]);
    sessions.deliver(&key("other"), &theirs);
    other.desired.wait_for(|held| held.as_ref().is_some_and(|h| h.digest == theirs.digest)).await.expect("talks");
    assert!(change.elapsed() < Duration::from_millis(100), "{:?}", change.elapsed());
    let ours = document("u", 3, std::slice::from_ref(&bytes));
    sessions.deliver(&key("slow"), &ours);
    slow.desired.wait_for(|held| held.as_ref().is_some_and(|h| h.digest == ours.digest)).await.expect("talks");
    assert!(change.elapsed() < Duration::from_secs(2), "{:?}", change.elapsed());

    slow.has(&content(&bytes)).await;
    let took = start.elapsed();
    // 28.8 s is what the line needs; less than three heartbeats, so that the next assertion says something.
    assert!((28..40).contains(&took.as_secs()), "{took:?}");
    for name in ["slow", "other"] {
        assert!(matches!(sessions.view(&key(name)).expect("known").link, Link::Up(_)), "{name}");
        assert_eq!(sessions.view(&key(name)).expect("known").number, 1, "{name} never went away");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_stays() {
    let world = World::with(&[("n", "u")]);
    let authority = authority();
    let (gate, sessions) = (gate(&world, &authority, HEARTBEAT), Arc::new(Sessions::default()));
    let mut end = talk(&gate, &sessions, &authority, "n", "u", 32_000);
    end.connected().await;
    sleep(Duration::from_secs(3600)).await;
    assert!(!end.task.is_finished());
    assert!(matches!(sessions.view(&key("n")).expect("known").link, Link::Up(_)));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_breaks_without_a_word_is_found_within_three_heartbeats_by_both() {
    let world = World::with(&[("n", "u")]);
    let authority = authority();
    let (gate, sessions) = (gate(&world, &authority, HEARTBEAT), Arc::new(Sessions::default()));
    let mut end = talk(&gate, &sessions, &authority, "n", "u", 32_000);
    end.connected().await;
    sleep(Duration::from_secs(100)).await;
    end.cut.store(true, Ordering::SeqCst);
    let cut = Instant::now();
    let ended = within(&mut end.task).await.expect("no panic");
    assert!(matches!(&ended, Ended::Lost(why) if why.contains("no sign")), "{ended:?}");
    assert!(cut.elapsed() <= Duration::from_secs(31), "{:?}", cut.elapsed());
    sessions_become(&sessions, || matches!(sessions.view(&key("n")).map(|v| v.link), Some(Link::Down(_)))).await;
    assert!(cut.elapsed() <= Duration::from_secs(31), "{:?}", cut.elapsed());
    assert_eq!(end.store.last_session(), Ok(1));
}

#[tokio::test(start_paused = true)]
async fn heartbeats_pass_between_the_pieces_of_a_large_report_on_a_very_slow_link() {
    let world = World::with(&[("n", "u")]);
    let authority = authority();
    let (gate, sessions) = (gate(&world, &authority, HEARTBEAT), Arc::new(Sessions::default()));
    let mut end = talk(&gate, &sessions, &authority, "n", "u", 2000);
    end.connected().await;
    let failure = Failure { resource: "x".repeat(1024), reason: "NotWritable".to_owned(), message: "y".repeat(1024) };
    let report = Report { failures: vec![failure; 60], ..Report::default() };
    let start = Instant::now();
    end.report.send_replace(Arc::new(report.clone()));
    sessions_become(&sessions, || {
        let view = sessions.view(&key("n")).expect("known");
        assert!(matches!(view.link, Link::Up(_)), "given up after {:?}", start.elapsed());
        view.report.as_deref() == Some(&report)
    })
    .await;
    assert!(start.elapsed() > Duration::from_secs(60), "longer than a silence would be borne");
}
