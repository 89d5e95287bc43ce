//! Plans which ranges to ask for, and takes what comes: a few unanswered at a time, small enough that heartbeats
//! pass between them, going on where a broken transfer ended. Pure: time is an argument, bytes are passed on.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    model::Digest,
    tunnel::limits::{MAX_CHUNK_BYTES, MAX_OUTSTANDING_WANTS},
};

/// First length asked for, and the least.
const FIRST_LENGTH: u32 = 16 << 10;
const MIN_LENGTH: u32 = 4 << 10;
/// An answer quicker than this doubles the length, one slower than that halves it: what is under way must not
/// keep the link busy for longer than a heartbeat can wait.
const QUICK: Duration = Duration::from_millis(200);
const SLOW: Duration = Duration::from_millis(800);

/// Something to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// How much of it is here already.
    pub have: u64,
}

/// A range to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Want {
    /// Of what.
    pub digest: Digest,
    /// From where.
    pub offset: u64,
    /// 1 to 65536.
    pub length: u32,
}

/// What an answer was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The next bytes of a target.
    Bytes {
        /// Of what.
        digest: Digest,
        /// From where.
        offset: u64,
        /// As many as came.
        bytes: Bytes,
        /// Whether these are its last.
        complete: bool,
    },
    /// Of no use any more.
    Nothing,
    /// The operator does not hold it: it is not asked for again until the targets are set.
    Gone(Digest),
}

/// What is being fetched.
#[derive(Debug)]
pub struct Fetch {
    targets: Vec<Progress>,
    /// In the order of asking, which is that of the answers; those of targets given up too.
    unanswered: VecDeque<(Want, Instant)>,
    max_unanswered: usize,
    length: u32,
}

#[derive(Debug)]
struct Progress {
    target: Target,
    /// Up to where it was asked for.
    asked: u64,
}

impl Fetch {
    /// Nothing yet. `max_unanswered` as `Welcome` says it.
    pub fn new(max_unanswered: u32) -> Self {
        let max_unanswered = max_unanswered.clamp(1, MAX_OUTSTANDING_WANTS) as usize;
        Self { targets: Vec::new(), unanswered: VecDeque::new(), max_unanswered, length: FIRST_LENGTH }
    }

    /// Replaces the targets, most urgent first. One that is under way goes on as it is.
    pub fn set(&mut self, targets: impl IntoIterator<Item = Target>) {
        let mut before = std::mem::take(&mut self.targets);
        for target in targets {
            if self.targets.iter().any(|p| p.target.digest == target.digest) {
                continue;
            }
            let under_way = before.iter().position(|p| p.target.digest == target.digest);
            self.targets.push(match under_way {
                Some(at) => before.swap_remove(at),
                None => Progress { target, asked: target.have },
            });
        }
    }

    /// Whether this target is being fetched.
    pub fn is_fetching(&self, digest: &Digest) -> bool {
        self.targets.iter().any(|p| p.target.digest == *digest)
    }

    /// Gives a target up.
    pub fn forget(&mut self, digest: &Digest) {
        self.targets.retain(|p| p.target.digest != *digest);
    }

    /// The next range to ask for now, if any; it counts as asked for.
    pub fn next_want(&mut self, now: Instant) -> Option<Want> {
        if self.unanswered.len() >= self.max_unanswered {
            return None;
        }
        let Progress { target, asked } = self.targets.iter_mut().find(|p| p.asked < p.target.size)?;
        let left = target.size - *asked;
        let length = u32::try_from(left).unwrap_or(u32::MAX).min(self.length);
        let want = Want { digest: target.digest, offset: *asked, length };
        *asked += u64::from(length);
        self.unanswered.push_back((want, now));
        Some(want)
    }

    /// Takes an answer. An error is the operator's: it answered what was not asked.
    pub fn take(
        &mut self,
        digest: Digest,
        offset: u64,
        data: Bytes,
        gone: bool,
        now: Instant,
    ) -> Result<Taken, String> {
        let asked = self.unanswered.pop_front().filter(|(want, _)| (want.digest, want.offset) == (digest, offset));
        let Some((want, asked_at)) = asked else {
            return Err(format!("a chunk of {digest} at {offset} that was not asked for"));
        };
        if data.len() > want.length as usize {
            return Err(format!("a chunk of {} bytes where {} were asked for", data.len(), want.length));
        }
        if !gone {
            self.pace(now.saturating_duration_since(asked_at));
        }
        let Some(at) = self.targets.iter().position(|p| p.target.digest == digest) else { return Ok(Taken::Nothing) };
        if gone {
            self.targets.remove(at);
            return Ok(Taken::Gone(digest));
        }
        let Progress { target, asked } = &mut self.targets[at];
        if offset != target.have {
            // Behind one that was cut short: asked for again below.
            self.go_back(at);
            return Ok(Taken::Nothing);
        }
        if data.is_empty() {
            self.targets.remove(at);
            return Err(format!("{digest} ends at {offset}, before its size"));
        }
        target.have += data.len() as u64;
        let cut_short = data.len() < want.length as usize;
        debug_assert!(target.have <= *asked, "what comes was asked for");
        let complete = target.have == target.size;
        if complete {
            self.targets.remove(at);
        } else if cut_short {
            self.go_back(at);
        }
        Ok(Taken::Bytes { digest, offset, bytes: data, complete })
    }

    /// Asks anew from where a target is, once nothing of it is under way.
    fn go_back(&mut self, at: usize) {
        let Progress { target, asked } = &mut self.targets[at];
        if !self.unanswered.iter().any(|(want, _)| want.digest == target.digest) {
            *asked = target.have;
        }
    }

    fn pace(&mut self, took: Duration) {
        if took < QUICK {
            self.length = (self.length * 2).min(MAX_CHUNK_BYTES);
        } else if took > SLOW {
            self.length = (self.length / 2).max(MIN_LENGTH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(n: u8) -> Digest {
        Digest::of(&[n])
    }

    fn target(n: u8, size: u64, have: u64) -> Target {
        Target { digest: digest(n), size, have }
    }

    /// Asks for all that may be asked for.
    fn wants(fetch: &mut Fetch, now: Instant) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| fetch.next_want(now)).map(|want| (want.offset, want.length)).collect()
    }

    fn bytes(n: usize) -> Bytes {
        Bytes::from(vec![7; n])
    }

    #[test]
    fn a_few_ranges_are_asked_for_at_a_time_from_where_the_last_transfer_ended() {
        let now = Instant::now();
        let mut fetch = Fetch::new(3);
        fetch.set([target(1, 100_000, 50_000)]);
        assert_eq!(wants(&mut fetch, now), [(50_000, 16_384), (66_384, 16_384), (82_768, 16_384)]);
        let slow = now + Duration::from_millis(500);
        let taken = fetch.take(digest(1), 50_000, bytes(16_384), false, slow).expect("asked for");
        assert!(matches!(taken, Taken::Bytes { offset: 50_000, complete: false, .. }));
        assert_eq!(wants(&mut fetch, slow), [(99_152, 848)]);
    }

    #[test]
    fn a_quick_link_is_asked_for_more_and_a_slow_one_for_less() {
        let mut now = Instant::now();
        let mut fetch = Fetch::new(1);
        fetch.set([target(1, 1 << 20, 0)]);
        let mut lengths = Vec::new();
        for milliseconds in [10, 10, 10, 10, 500, 900, 900, 900, 900, 900, 900] {
            let want = fetch.next_want(now).expect("more to ask for");
            lengths.push(want.length >> 10);
            now += Duration::from_millis(milliseconds);
            fetch.take(want.digest, want.offset, bytes(want.length as usize), false, now).expect("asked for");
        }
        assert_eq!(lengths, [16, 32, 64, 64, 64, 64, 32, 16, 8, 4, 4]);
    }

    #[test]
    fn small_targets_do_not_wait_for_each_other() {
        let now = Instant::now();
        let mut fetch = Fetch::new(4);
        fetch.set((0..6).map(|n| target(n, 10, 0)));
        let asked: Vec<_> = std::iter::from_fn(|| fetch.next_want(now)).map(|want| want.digest).collect();
        assert_eq!(asked, [0, 1, 2, 3].map(digest));
        let taken = fetch.take(digest(0), 0, bytes(10), false, now).expect("asked for");
        assert_eq!(taken, Taken::Bytes { digest: digest(0), offset: 0, bytes: bytes(10), complete: true });
        assert_eq!(fetch.next_want(now).map(|want| want.digest), Some(digest(4)));
    }

    #[test]
    fn answers_for_a_target_that_was_given_up_still_count_and_are_of_no_use() {
        let now = Instant::now();
        let mut fetch = Fetch::new(1);
        fetch.set([target(1, 10, 0)]);
        fetch.next_want(now).expect("one");
        fetch.set([target(2, 10, 0)]);
        assert_eq!(fetch.next_want(now), None, "one is unanswered");
        assert_eq!(fetch.take(digest(1), 0, bytes(10), false, now), Ok(Taken::Nothing));
        assert_eq!(fetch.next_want(now).map(|want| want.digest), Some(digest(2)));
    }

    #[test]
    fn a_target_that_stays_is_not_asked_for_twice() {
        let now = Instant::now();
        let mut fetch = Fetch::new(4);
        fetch.set([target(1, 10, 0)]);
        fetch.next_want(now).expect("one");
        fetch.set([target(2, 10, 0), target(1, 10, 0)]);
        assert_eq!(fetch.next_want(now).map(|want| want.digest), Some(digest(2)));
        assert_eq!(fetch.next_want(now), None);
    }

    #[test]
    fn what_is_gone_is_not_asked_for_again() {
        let now = Instant::now();
        let mut fetch = Fetch::new(4);
        fetch.set([target(1, 100_000, 0)]);
        assert_eq!(wants(&mut fetch, now).len(), 4);
        assert_eq!(fetch.take(digest(1), 0, Bytes::new(), true, now), Ok(Taken::Gone(digest(1))));
        assert_eq!(fetch.take(digest(1), 16_384, Bytes::new(), true, now), Ok(Taken::Nothing));
        assert_eq!(fetch.next_want(now), None);
    }

    #[test]
    fn a_range_that_was_cut_short_is_asked_for_again() {
        let now = Instant::now();
        let mut fetch = Fetch::new(2);
        fetch.set([target(1, 32_768, 0)]);
        assert_eq!(wants(&mut fetch, now), [(0, 16_384), (16_384, 16_384)]);
        fetch.take(digest(1), 0, bytes(100), false, now).expect("shorter");
        assert_eq!(fetch.take(digest(1), 16_384, bytes(16_384), false, now), Ok(Taken::Nothing));
        assert_eq!(wants(&mut fetch, now)[0].0, 100);
    }

    #[test]
    fn what_was_not_asked_for_is_the_operators_fault() {
        let now = Instant::now();
        let mut fetch = Fetch::new(2);
        assert!(fetch.take(digest(1), 0, bytes(1), false, now).is_err());
        fetch.set([target(1, 10, 0)]);
        fetch.next_want(now).expect("one");
        assert!(fetch.take(digest(1), 5, bytes(1), false, now).is_err());
        fetch.set([target(2, 10, 0)]);
        fetch.next_want(now).expect("one");
        assert!(fetch.take(digest(2), 0, bytes(11), false, now).is_err());
        fetch.set([target(3, 10, 0)]);
        fetch.next_want(now).expect("one");
        assert!(fetch.take(digest(3), 0, Bytes::new(), false, now).is_err());
    }
}
