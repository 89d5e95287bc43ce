//! Artifacts are downloaded from a real HTTP server on this machine: whole, resumed, wrong, missing, too large.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    io::Read,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use windlass::{
    agent::{
        artifact::{ArtifactEnds, ArtifactSettings, run},
        contents::Contents,
        retry::Trouble,
        store::MemoryContents,
    },
    model::{Artifact, Digest},
};

const DEADLINE: Duration = Duration::from_secs(20);
const BYTES: &[u8] = b"hello world";

/// Answers one request after the other, each as it is told to, the last one for ever.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl Server {
    async fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listen");
        let url = format!("http://{}/app.exe", listener.local_addr().expect("address"));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let heard = asked.clone();
        let serving = tokio::spawn(async move {
            for n in 0.. {
                let (mut socket, _) = listener.accept().await.expect("accept");
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    if socket.read(&mut byte).await.expect("read") == 0 {
                        break;
                    }
                    request.push(byte[0]);
                }
                heard.lock().unwrap().push(String::from_utf8(request).expect("text").to_lowercase());
                let answer = answers.get(n).or(answers.last()).expect("an answer");
                socket.write_all(answer.as_bytes()).await.expect("write");
                socket.shutdown().await.ok();
            }
        });
        Self { url, asked, serving }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn answer(status: &str, headers: &str, length: usize, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}")
}

fn whole() -> String {
    answer("200 OK", "", BYTES.len(), "hello world")
}

struct Fetcher {
    contents: Arc<MemoryContents>,
    arrived: Arc<Notify>,
    failing: watch::Receiver<Arc<BTreeMap<Digest, Trouble>>>,
    shutdown: CancellationToken,
    running: JoinHandle<()>,
    _wanted: watch::Sender<Vec<Artifact>>,
}

impl Fetcher {
    fn start(server: &Server, max_bytes: u64, contents: Arc<MemoryContents>) -> Self {
        rustls::crypto::ring::default_provider().install_default().ok();
        let artifact = Artifact { url: server.url.clone(), sha256: Digest::of(BYTES) };
        let (wanted_in, wanted) = watch::channel(vec![artifact]);
        let (failing_in, failing) = watch::channel(Arc::default());
        let arrived = Arc::new(Notify::new());
        let shutdown = CancellationToken::new();
        let ends = ArtifactEnds { wanted, arrived: arrived.clone(), failing: failing_in };
        let settings = ArtifactSettings { max_bytes, random: || 0.0 };
        let running = tokio::spawn(run(settings, contents.clone(), ends, shutdown.clone()));
        Self { contents, arrived, failing, shutdown, running, _wanted: wanted_in }
    }

    async fn until_arrived(&self) {
        timeout(DEADLINE, self.arrived.notified()).await.expect("arrived in time");
        let mut bytes = Vec::new();
        self.contents.open(&Digest::of(BYTES)).expect("held").read_to_end(&mut bytes).expect("read");
        assert_eq!(bytes, BYTES);
    }

    async fn until_failing(&mut self) -> Trouble {
        let failing = timeout(DEADLINE, self.failing.wait_for(|failing| !failing.is_empty())).await;
        let failing = failing.expect("failing in time").expect("running");
        failing.values().next().expect("one").clone()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        timeout(DEADLINE, self.running).await.expect("ended in time").expect("ended well");
    }
}

#[tokio::test]
async fn an_artifact_comes_whole() {
    let server = Server::start(vec![whole()]).await;
    let fetcher = Fetcher::start(&server, 100, Arc::default());
    fetcher.until_arrived().await;
    assert_eq!(server.asked().len(), 1);
    assert!(!server.asked()[0].contains("range:"));
    fetcher.stop().await;
}

#[tokio::test]
async fn the_name_of_a_server_is_looked_up() {
    let mut server = Server::start(vec![whole()]).await;
    server.url = server.url.replace("127.0.0.1", "localhost");
    let fetcher = Fetcher::start(&server, 100, Arc::default());
    fetcher.until_arrived().await;
    assert!(server.asked()[0].contains("host: localhost:"), "{:?}", server.asked());
    fetcher.stop().await;
}

#[tokio::test]
async fn a_download_that_broke_off_goes_on_where_it_was() {
    let broken = answer("200 OK", "", BYTES.len(), "hello ");
    let rest = answer("206 Partial Content", "content-range: bytes 6-10/11\r\n", 5, "world");
    let server = Server::start(vec![broken, rest]).await;
    let mut fetcher = Fetcher::start(&server, 100, Arc::default());
    assert_eq!(fetcher.until_failing().await.reason, "DownloadFailed");
    fetcher.until_arrived().await;
    assert!(server.asked()[1].contains("range: bytes=6-"), "{:?}", server.asked());
    assert!(fetcher.failing.borrow().is_empty());
    fetcher.stop().await;
}

#[tokio::test]
async fn a_server_that_does_not_resume_is_begun_with_anew() {
    let contents = Arc::new(MemoryContents::default());
    contents.append(&Digest::of(BYTES), 0, b"hell").expect("append");
    let server = Server::start(vec![whole()]).await;
    let fetcher = Fetcher::start(&server, 100, contents);
    fetcher.until_arrived().await;
    assert!(server.asked()[0].contains("range: bytes=4-"));
    fetcher.stop().await;
}

#[tokio::test]
async fn what_came_whole_before_a_crash_is_only_checked() {
    let contents = Arc::new(MemoryContents::default());
    contents.append(&Digest::of(BYTES), 0, BYTES).expect("append");
    let server = Server::start(vec![answer("416 Range Not Satisfiable", "", 0, "")]).await;
    let fetcher = Fetcher::start(&server, 100, contents);
    fetcher.until_arrived().await;
    fetcher.stop().await;
}

#[tokio::test]
async fn a_part_of_something_else_is_thrown_away_and_the_right_bytes_come_next() {
    let contents = Arc::new(MemoryContents::default());
    contents.append(&Digest::of(BYTES), 0, b"jello ").expect("append");
    let rest = answer("206 Partial Content", "content-range: bytes 6-10/11\r\n", 5, "world");
    let server = Server::start(vec![rest, whole()]).await;
    let mut fetcher = Fetcher::start(&server, 100, contents);
    assert_eq!(fetcher.until_failing().await.reason, "DigestMismatch");
    assert_eq!(fetcher.contents.partial_length(&Digest::of(BYTES)), 0);
    fetcher.until_arrived().await;
    fetcher.stop().await;
}

#[tokio::test]
async fn wrong_bytes_are_never_held_and_the_digests_are_named() {
    let server = Server::start(vec![answer("200 OK", "", 5, "other")]).await;
    let mut fetcher = Fetcher::start(&server, 100, Arc::default());
    let trouble = fetcher.until_failing().await;
    assert_eq!(trouble.reason, "DigestMismatch");
    assert!(trouble.message.contains(&Digest::of(b"other").to_string()), "{trouble:?}");
    assert!(trouble.message.contains(&Digest::of(BYTES).to_string()), "{trouble:?}");
    assert!(!fetcher.contents.has(&Digest::of(BYTES)));
    fetcher.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_no_content_names_its_status_and_is_tried_again() {
    let server = Server::start(vec![answer("404 Not Found", "", 0, ""), whole()]).await;
    let mut fetcher = Fetcher::start(&server, 100, Arc::default());
    let trouble = fetcher.until_failing().await;
    assert_eq!(trouble.reason, "DownloadFailed");
    assert!(trouble.message.contains("404 Not Found") && trouble.message.contains("app.exe"), "{trouble:?}");
    fetcher.until_arrived().await;
    fetcher.stop().await;
}

#[tokio::test]
async fn one_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let says = answer("200 OK", "", BYTES.len(), "hello world");
    let hides = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello world".to_owned();
    for answer in [says, hides] {
        let server = Server::start(vec![answer]).await;
        let mut fetcher = Fetcher::start(&server, 10, Arc::default());
        assert_eq!(fetcher.until_failing().await.reason, "ArtifactTooLarge");
        assert!(!fetcher.contents.has(&Digest::of(BYTES)));
        fetcher.stop().await;
    }
}
