//! How many may come in: token buckets, for all and for each source of wrong tokens, and when anyone was turned away
//! last. No IO. Who turns agents away must know it: until then, a node that is not connected may only have had no turn.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
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
/// Refused enrollments of one source, per second in the long run and at once: who guesses is slowed, and a plant
/// behind one address, whose machines enroll with tokens that fit, is not.
const FAILURES: (f64, f64) = (0.2, 20.0);
/// Sources of refused enrollments that are remembered. Where there are more, the one that was quiet longest is forgotten.
const MAX_SOURCES: usize = 4096;
/// Longest wait that anybody is told.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Lets agents in, at a rate for each road.
pub struct Admission {
    state: Mutex<State>,
}

/// Why one is not let in, and when to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// Too many come at once.
    Busy(Duration),
    /// Too many wrong tokens came from there.
    WrongTokens(Duration),
}

struct State {
    sessions: Bucket,
    enrollments: Bucket,
    failures: HashMap<IpAddr, Bucket>,
    last_refusal: Option<Timestamp>,
}

impl Admission {
    /// Full.
    pub fn new(now: Instant) -> Self {
        let (sessions, enrollments) = (Bucket::new(SESSIONS, now), Bucket::new(ENROLLMENTS, now));
        Self { state: Mutex::new(State { sessions, enrollments, failures: HashMap::new(), last_refusal: None }) }
    }

    /// Lets one in, or says why not and when to come back.
    pub fn admit(&self, road: &Road, peer: IpAddr, now: Instant, clock: Timestamp) -> Result<(), TurnedAway> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Road::Tunnel(_) = road else {
            if let Some(failures) = state.failures.get_mut(&source(peer)) {
                failures.peek(now).map_err(TurnedAway::WrongTokens)?;
            }
            return state.enrollments.take(now).map_err(TurnedAway::Busy);
        };
        let taken = state.sessions.take(now).map_err(TurnedAway::Busy);
        if taken.is_err() {
            state.last_refusal = Some(clock);
        }
        taken
    }

    /// Notes that an enrollment was refused for good.
    pub fn enrollment_refused(&self, peer: IpAddr, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let failures = &mut state.failures;
        let source = source(peer);
        if failures.len() >= MAX_SOURCES
            && !failures.contains_key(&source)
            && let Some(quiet) = failures.iter().min_by_key(|(_, bucket)| bucket.at).map(|(source, _)| *source)
        {
            failures.remove(&quiet);
        }
        // An empty bucket stays empty: who comes too often was told before.
        let _ = failures.entry(source).or_insert_with(|| Bucket::new(FAILURES, now)).take(now);
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

/// Whom an address stands for: one who has an address of IPv6 mostly has all of its /64.
fn source(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
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
        self.peek(now)?;
        self.tokens -= 1.0;
        Ok(())
    }

    /// Whether there is one to take.
    fn peek(&mut self, now: Instant) -> Result<(), Duration> {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.at = self.at.max(now);
        if self.tokens >= 1.0 {
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
        let peer = [192, 0, 2, 1].into();
        while admission.admit(&Road::Enroll, peer, start, clock(1)).is_ok() {}
        assert_eq!(admission.last_refusal(), None, "those who enroll keep no node from its session");
        for _ in 0..400 {
            assert_eq!(admission.admit(&Road::Tunnel(node.clone()), peer, start, clock(1)), Ok(()));
        }
        let refused = admission.admit(&Road::Tunnel(node), peer, start, clock(2));
        assert_eq!(refused, Err(TurnedAway::Busy(Duration::from_secs(1))));
        assert_eq!(admission.last_refusal(), Some(clock(2)));
    }

    #[test]
    fn who_shows_wrong_tokens_is_slowed_and_others_are_not() {
        let start = Instant::now();
        let admission = Admission::new(start);
        let clock = Timestamp::from_second(1).expect("in range");
        let enrolls = |peer: &str, at| admission.admit(&Road::Enroll, peer.parse().expect("an address"), at, clock);
        for _ in 0..20 {
            assert_eq!(enrolls("2001:db8::1", start), Ok(()));
            admission.enrollment_refused("2001:db8::1".parse().expect("an address"), start);
        }
        let turned_away = Err(TurnedAway::WrongTokens(Duration::from_secs(5)));
        assert_eq!(enrolls("2001:db8::1", start), turned_away);
        assert_eq!(enrolls("2001:db8::ffff:1", start), turned_away, "of the same /64");
        assert_eq!(enrolls("2001:db8:0:1::1", start), Ok(()));
        assert_eq!(enrolls("192.0.2.1", start), Ok(()));
        assert_eq!(enrolls("2001:db8::1", start + Duration::from_secs(5)), Ok(()), "one more");
        let node = NodeId { namespace: "a".into(), name: "n".into(), uid: "u".into() };
        let peer = "2001:db8::1".parse().expect("an address");
        assert_eq!(admission.admit(&Road::Tunnel(node), peer, start, clock), Ok(()), "certificates are no tokens");
    }

    #[test]
    fn no_more_sources_are_remembered_than_there_is_room_for() {
        let start = Instant::now();
        let admission = Admission::new(start);
        for n in 0..5000_u32 {
            admission.enrollment_refused(std::net::Ipv4Addr::from(n).into(), start + Duration::from_millis(n.into()));
        }
        let state = admission.state.lock().expect("not poisoned");
        assert_eq!(state.failures.len(), MAX_SOURCES);
        assert!(state.failures.contains_key(&std::net::Ipv4Addr::from(4999).into()), "the latest is");
    }
}
