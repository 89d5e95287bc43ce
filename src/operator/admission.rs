//! How many may come in: a token bucket, and when anyone was turned away last. No IO.
//! Who turns agents away must know it: until then, a node that is not connected may only have had no turn.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::tunnel::accept::Road;

/// Sessions let in per second in the long run, and at once.
const SESSIONS: (f64, f64) = (200.0, 400.0);
/// Enrollments, which anybody can ask for and which cost the API server two requests: whoever floods them keeps
/// no agent from its session.
const ENROLLMENTS: (f64, f64) = (20.0, 200.0);
/// Longest wait that anybody is told.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Lets agents in, at a rate for each road.
pub struct Admission {
    state: Mutex<State>,
}

struct State {
    sessions: Bucket,
    enrollments: Bucket,
    last_refusal: Option<Timestamp>,
}

impl Admission {
    /// Full.
    pub fn new(now: Instant) -> Self {
        let (sessions, enrollments) = (Bucket::new(SESSIONS, now), Bucket::new(ENROLLMENTS, now));
        Self { state: Mutex::new(State { sessions, enrollments, last_refusal: None }) }
    }

    /// Lets one in, or says when to come back.
    pub fn admit(&self, road: &Road, now: Instant, clock: Timestamp) -> Result<(), Duration> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Road::Tunnel(_) = road else { return state.enrollments.take(now) };
        let taken = state.sessions.take(now);
        if taken.is_err() {
            state.last_refusal = Some(clock);
        }
        taken
    }

    /// Notes that somebody was turned away for another want of room.
    pub fn turned_away(&self, clock: Timestamp) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).last_refusal = Some(clock);
    }

    /// When anyone on the way to a session was turned away last.
    pub fn last_refusal(&self) -> Option<Timestamp> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).last_refusal
    }
}

struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn new((rate, burst): (f64, f64), now: Instant) -> Self {
        Self { rate, burst, tokens: burst, at: now }
    }

    fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.at = self.at.max(now);
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        Err(Duration::from_secs_f64(((1.0 - self.tokens) / self.rate).ceil().max(1.0)).min(MAX_WAIT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeId;

    #[test]
    fn a_burst_is_let_in_at_once_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new((2.0, 3.0), start);
        let mut taken = |at: f64| bucket.take(start + Duration::from_secs_f64(at)).is_ok();
        assert_eq!([0.0, 0.0, 0.0, 0.0, 0.4, 0.5, 0.6].map(&mut taken), [true, true, true, false, false, true, false]);
        // A long pause saves up no more than the burst.
        assert_eq!([100.0; 4].map(&mut taken), [true, true, true, false]);
    }

    #[test]
    fn who_is_turned_away_hears_when_to_come_back_and_it_is_noted() {
        let start = Instant::now();
        let admission = Admission::new(start);
        let clock = |s| Timestamp::from_second(s).expect("in range");
        let node = NodeId { namespace: "a".into(), name: "n".into(), uid: "u".into() };
        while admission.admit(&Road::Enroll, start, clock(1)).is_ok() {}
        assert_eq!(admission.last_refusal(), None, "those who enroll keep no node from its session");
        for _ in 0..400 {
            assert_eq!(admission.admit(&Road::Tunnel(node.clone()), start, clock(1)), Ok(()));
        }
        let refused = admission.admit(&Road::Tunnel(node), start, clock(2));
        assert_eq!(refused, Err(Duration::from_secs(1)));
        assert_eq!(admission.last_refusal(), Some(clock(2)));
    }
}
