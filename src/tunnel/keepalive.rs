//! When a side gives the other up: after three heartbeats without a sign. Pure.

use std::time::Duration;

/// The period of pings, as `Welcome` says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat(Duration);

/// Longest period that an agent accepts, in seconds.
const MAX_SECONDS: u32 = 300;

impl Heartbeat {
    /// Whole seconds, brought into 1 to 300.
    pub fn from_seconds(seconds: u32) -> Self {
        Self(Duration::from_secs(seconds.clamp(1, MAX_SECONDS).into()))
    }

    /// Between two pings of the agent.
    pub fn period(self) -> Duration {
        self.0
    }

    /// As `Welcome` says it.
    pub fn seconds(self) -> u32 {
        u32::try_from(self.0.as_secs()).unwrap_or(MAX_SECONDS)
    }

    /// Without a sign of the other side, or with a message that does not get out, for this long: it is gone.
    pub fn patience(self) -> Duration {
        self.0 * 3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_cannot_ask_for_silence() {
        assert_eq!(Heartbeat::from_seconds(0).period(), Duration::from_secs(1));
        assert_eq!(Heartbeat::from_seconds(u32::MAX).patience(), Duration::from_secs(900));
        assert_eq!(Heartbeat::from_seconds(10).seconds(), 10);
    }
}
