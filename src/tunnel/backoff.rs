//! How long to wait before dialling again: exponential, full jitter, never earlier than the server asks.
//! Pure: randomness is an argument. Source: "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

use std::time::Duration;

/// Upper bound of the first wait.
pub const BASE: Duration = Duration::from_secs(1);
/// Upper bound of every wait that the server did not ask for.
pub const CAP: Duration = Duration::from_secs(60);
/// Longest wait that a server may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// Counts attempts since the last session that was stable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backoff {
    attempt: u32,
}

impl Backoff {
    /// The next wait: uniform in `0..min(CAP, BASE × 2^attempt)`; where the server said when to come back, that and
    /// up to half as much again (at least [`BASE`]), so that those who were told the same do not come together.
    ///
    /// `random` is uniform in `0.0..1.0`.
    pub fn next(&mut self, retry_after: Option<Duration>, random: f64) -> Duration {
        let ceiling = BASE.saturating_mul(1 << self.attempt.min(16)).min(CAP);
        self.attempt = self.attempt.saturating_add(1);
        let random = random.clamp(0.0, 1.0);
        let own = ceiling.mul_f64(random);
        match retry_after.map(|asked| asked.min(MAX_RETRY_AFTER)) {
            Some(asked) => own.max(asked + (asked / 2).max(BASE).mul_f64(random)),
            None => own,
        }
    }

    /// Begins anew, after a session that was stable.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(random: f64, retry_after: Option<u64>) -> Vec<f64> {
        let mut backoff = Backoff::default();
        (0..9).map(|_| backoff.next(retry_after.map(Duration::from_secs), random).as_secs_f64()).collect()
    }

    #[test]
    fn the_bound_doubles_up_to_the_cap() {
        assert_eq!(waits(1.0, None), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
    }

    #[test]
    fn the_jitter_is_full() {
        assert_eq!(waits(0.0, None), [0.0; 9]);
        assert_eq!(waits(0.5, None)[..3], [0.5, 1.0, 2.0]);
    }

    #[test]
    fn the_servers_word_is_a_floor_with_jitter_above_it() {
        assert_eq!(waits(0.0, Some(5))[..2], [5.0, 5.0]);
        assert_eq!(waits(1.0, Some(5)), [7.5, 7.5, 7.5, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
        assert_eq!(waits(1.0, Some(0))[0], 1.0);
    }

    #[test]
    fn a_server_cannot_send_an_agent_away_for_ever() {
        assert_eq!(waits(0.0, Some(u64::MAX))[0], 600.0);
    }

    #[test]
    fn a_stable_session_begins_anew() {
        let mut backoff = Backoff::default();
        for _ in 0..100 {
            backoff.next(None, 1.0);
        }
        backoff.reset();
        assert_eq!(backoff.next(None, 1.0), BASE);
    }
}
