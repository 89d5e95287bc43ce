//! Downloads artifacts into the contents: resumed where they broke off, checked before anything sees them.
//! In: artifacts that are lacking. Out: contents, and why some cannot be had. Knows nothing of files.

use std::{collections::BTreeMap, error::Error, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use reqwest::{Client, Response};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{contents::Contents, retry::Trouble, store::StoreError};
use crate::model::{Artifact, Digest};

/// How artifacts are downloaded.
#[derive(Debug, Clone)]
pub struct ArtifactSettings {
    /// Larger ones are refused, in bytes.
    pub max_bytes: u64,
    /// Uniform in `0.0..1.0`, for jitter.
    pub random: fn() -> f64,
}

/// Where the fetcher meets the agent's other loops.
pub struct ArtifactEnds {
    /// Artifacts that the document names and the agent lacks.
    pub wanted: watch::Receiver<Vec<Artifact>>,
    /// Told when one of them has come.
    pub arrived: Arc<Notify>,
    /// Why some cannot be had, by digest; empty where all is well.
    pub failing: watch::Sender<Arc<BTreeMap<Digest, Trouble>>>,
}

/// Over name, TCP and TLS.
const CONNECT_DEADLINE: Duration = Duration::from_secs(15);
/// Until the answer begins, and between its pieces.
const STALL_DEADLINE: Duration = Duration::from_secs(30);
/// After the first failure, doubled up to the longest.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
/// A server that gave wrong bytes gives them again: it is asked less often.
const SHORTEST_WAIT_AFTER_MISMATCH: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// Pieces are collected up to this size before they are written.
const WRITE_BYTES: usize = 256 << 10;

/// Runs until `shutdown`. One download at a time: a slow one holds others up, and the machine's link is spared.
pub async fn run(
    settings: ArtifactSettings,
    contents: Arc<dyn Contents>,
    mut ends: ArtifactEnds,
    shutdown: CancellationToken,
) {
    let mut attempts: BTreeMap<Digest, Attempt> = BTreeMap::new();
    loop {
        let wanted = ends.wanted.borrow_and_update().clone();
        attempts.retain(|digest, _| wanted.iter().any(|artifact| artifact.sha256 == *digest));
        tell(&ends.failing, &attempts);
        let now = Instant::now();
        let due = |artifact: &Artifact| attempts.get(&artifact.sha256).map_or(now, |a| a.due);
        let next = wanted.iter().filter(|a| !contents.has(&a.sha256)).min_by_key(|artifact| due(artifact)).cloned();
        let Some(artifact) = next else {
            tokio::select! {
                () = shutdown.cancelled() => return,
                changed = ends.wanted.changed() => if changed.is_err() { return },
            }
            continue;
        };
        let due = due(&artifact);
        let download = async {
            sleep_until(due).await;
            fetch(&settings, &contents, &artifact).await
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            // The document changed: what is no longer wanted is given up, what still is goes on where it was.
            changed = ends.wanted.changed() => if changed.is_err() { return },
            ended = download => match ended {
                Ok(()) => {
                    info!(url = shown(&artifact.url), sha256 = %artifact.sha256, "downloaded an artifact");
                    attempts.remove(&artifact.sha256);
                    tell(&ends.failing, &attempts);
                    ends.arrived.notify_one();
                }
                Err(error) => {
                    let trouble = error.trouble(&artifact);
                    warn!(url = shown(&artifact.url), reason = trouble.reason, message = trouble.message);
                    let failures = attempts.get(&artifact.sha256).map_or(0, |a| a.failures);
                    let due = Instant::now() + error.wait(failures, (settings.random)());
                    attempts.insert(artifact.sha256, Attempt { failures: failures + 1, due, trouble });
                }
            },
        }
    }
}

struct Attempt {
    failures: u32,
    due: Instant,
    trouble: Trouble,
}

fn tell(failing: &watch::Sender<Arc<BTreeMap<Digest, Trouble>>>, attempts: &BTreeMap<Digest, Attempt>) {
    let now: BTreeMap<_, _> = attempts.iter().map(|(digest, a)| (*digest, a.trouble.clone())).collect();
    failing.send_if_modified(|before| {
        let differs = **before != now;
        if differs {
            *before = Arc::new(now);
        }
        differs
    });
}

/// Why a download did not come to its end.
#[derive(Debug)]
enum FetchError {
    /// The server, the network, or the way there.
    Download(String),
    /// All bytes came, and they are others.
    Mismatch(Digest),
    /// It is larger than may be.
    TooLarge(u64),
    /// The agent's own disk.
    Store(StoreError),
}

impl From<StoreError> for FetchError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl FetchError {
    fn trouble(&self, artifact: &Artifact) -> Trouble {
        let url = shown(&artifact.url);
        match self {
            Self::Download(why) => Trouble::new("DownloadFailed", format!("download {url}: {why}")),
            Self::Mismatch(found) => Trouble::new(
                "DigestMismatch",
                format!("download {url}: its SHA-256 is {found}, expected {}", artifact.sha256),
            ),
            Self::TooLarge(most) => Trouble::new(
                "ArtifactTooLarge",
                format!("download {url}: it is larger than {most} bytes, the most that this agent takes"),
            ),
            Self::Store(error) => Trouble::new("IoError", format!("keep {url}: {error}")),
        }
    }

    /// Full jitter above a half, doubled with each failure.
    fn wait(&self, failures: u32, random: f64) -> Duration {
        let shortest = match self {
            Self::Mismatch(_) | Self::TooLarge(_) => SHORTEST_WAIT_AFTER_MISMATCH,
            Self::Download(_) | Self::Store(_) => SHORTEST_WAIT,
        };
        shortest.saturating_mul(1 << failures.min(10)).min(LONGEST_WAIT).mul_f64(0.5 + random / 2.0)
    }
}

/// URL without credentials and query, which may hold a token.
fn shown(url: &str) -> &str {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let plain = &url[..end];
    if plain.contains('@') { "(a URL with credentials)" } else { plain }
}

async fn fetch(
    settings: &ArtifactSettings,
    contents: &Arc<dyn Contents>,
    artifact: &Artifact,
) -> Result<(), FetchError> {
    // Made for each download: its roots and buffers are not kept by an agent that is idle.
    let client = Client::builder()
        .connect_timeout(CONNECT_DEADLINE)
        .read_timeout(STALL_DEADLINE)
        .user_agent(concat!("windlass-agent/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| FetchError::Download(chain(&e)))?;
    let digest = artifact.sha256;
    let offset = contents.partial_length(&digest);
    let mut response = ask(&client, &artifact.url, offset).await?;
    let mut offset = match (offset, response.status()) {
        (0, StatusCode::OK) => 0,
        (offset, StatusCode::PARTIAL_CONTENT) if starts_at(response.headers()) == Some(offset) => offset,
        // Either all of it came before and was not yet checked, or the server holds something else by now.
        (1.., StatusCode::RANGE_NOT_SATISFIABLE) => return finish(contents, &digest).await,
        (1.., StatusCode::OK | StatusCode::PARTIAL_CONTENT) => {
            // It does not resume: begin anew, unless what came is whole.
            if finish(contents, &digest).await.is_ok() {
                return Ok(());
            }
            if response.status() == StatusCode::PARTIAL_CONTENT {
                response = ask(&client, &artifact.url, 0).await?;
            }
            if response.status() != StatusCode::OK {
                return Err(refused(&response));
            }
            0
        }
        _ => return Err(refused(&response)),
    };
    if response.content_length().is_some_and(|length| offset.saturating_add(length) > settings.max_bytes) {
        return Err(FetchError::TooLarge(settings.max_bytes));
    }
    let mut collected = BytesMut::new();
    loop {
        let piece = timeout(STALL_DEADLINE, response.chunk()).await;
        let piece = match piece {
            Ok(Ok(piece)) => piece,
            // What came is kept, to go on from there.
            Ok(Err(error)) => {
                append(contents, digest, offset, collected.split().freeze()).await?;
                return Err(FetchError::Download(chain(&error)));
            }
            Err(_) => {
                append(contents, digest, offset, collected.split().freeze()).await?;
                return Err(FetchError::Download(format!("nothing came for {} s", STALL_DEADLINE.as_secs())));
            }
        };
        let ended = piece.is_none();
        collected.extend_from_slice(&piece.unwrap_or_default());
        if offset + collected.len() as u64 > settings.max_bytes {
            return Err(FetchError::TooLarge(settings.max_bytes));
        }
        if ended || collected.len() >= WRITE_BYTES {
            let bytes = collected.split().freeze();
            let length = bytes.len() as u64;
            append(contents, digest, offset, bytes).await?;
            offset += length;
        }
        if ended {
            return finish(contents, &digest).await;
        }
    }
}

/// Resuming needs no `If-Range`: the digest tells whether the two parts belong together.
async fn ask(client: &Client, url: &str, offset: u64) -> Result<Response, FetchError> {
    let mut request = client.get(url);
    if offset > 0 {
        request = request.header(header::RANGE, format!("bytes={offset}-"));
    }
    let answer = timeout(CONNECT_DEADLINE + STALL_DEADLINE, request.send()).await;
    let answer = answer.map_err(|_| FetchError::Download("the server did not answer in time".to_owned()))?;
    answer.map_err(|e| FetchError::Download(chain(&e.without_url())))
}

fn refused(response: &Response) -> FetchError {
    FetchError::Download(format!("the server answered {}, expected 200 OK", response.status()))
}

/// `Content-Range: bytes 6-10/11`. Source: RFC 9110, 14.4.
fn starts_at(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

async fn append(contents: &Arc<dyn Contents>, digest: Digest, offset: u64, bytes: Bytes) -> Result<(), FetchError> {
    if bytes.is_empty() {
        return Ok(());
    }
    let contents = contents.clone();
    Ok(off_the_reactor(move || contents.append(&digest, offset, &bytes)).await?)
}

async fn finish(contents: &Arc<dyn Contents>, digest: &Digest) -> Result<(), FetchError> {
    let (contents, digest) = (contents.clone(), *digest);
    off_the_reactor(move || contents.finish(&digest, None)).await?.map_err(FetchError::Mismatch)
}

async fn off_the_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|e| StoreError(e.to_string()))?
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_gives_wrong_bytes_is_asked_less_often() {
        let wait = |error: &FetchError, failures| error.wait(failures, 0.0).as_millis();
        let (down, wrong) = (FetchError::Download("x".into()), FetchError::Mismatch(Digest::of(b"x")));
        assert_eq!([0, 1, 2, 20].map(|n| wait(&down, n)), [500, 1000, 2000, 150_000]);
        assert_eq!([0, 1, 20].map(|n| wait(&wrong, n)), [5000, 10_000, 150_000]);
        assert_eq!(down.wait(0, 1.0), SHORTEST_WAIT, "jitter only shortens");
    }

    #[test]
    fn what_may_hold_a_token_is_not_shown() {
        assert_eq!(shown("https://x/a?sig=secret#b"), "https://x/a");
        assert_eq!(shown("https://user:secret@x/a"), "(a URL with credentials)");
    }

    #[test]
    fn the_beginning_of_a_range_is_read() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_RANGE, header::HeaderValue::from_static(value));
            starts_at(&headers)
        };
        assert_eq!(of("bytes 6-10/11"), Some(6));
        assert_eq!([of("bytes */11"), of("items 6-10/11"), of("")], [None; 3]);
    }
}
