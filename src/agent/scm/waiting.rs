//! How long a service that starts, stops, pauses or goes on is waited for: as long as it moves on. Pure.
//! Source: Win32, "Starting a Service" and "SERVICE_STATUS": `dwCheckPoint` and `dwWaitHint`.

use std::time::Duration;

/// Between looks, a tenth of the hint, within these.
const SHORTEST_LOOK: Duration = Duration::from_millis(50);
const LONGEST_LOOK: Duration = Duration::from_secs(2);
/// A service that gives a shorter hint gets this all the same.
const SHORTEST_HINT: Duration = Duration::from_secs(30);
/// However it moves on.
const LONGEST: Duration = Duration::from_secs(600);

/// What was seen of it so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wait {
    /// The last checkpoint, and when it was first seen.
    moved: Option<(u32, Duration)>,
}

/// What to do then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Look again after this.
    LookAfter(Duration),
    /// It does not move on.
    GiveUp,
}

impl Wait {
    /// It is still on its way. `waited` counts from the first look.
    pub fn look(&mut self, checkpoint: u32, hint: Duration, waited: Duration) -> Next {
        let since = match self.moved {
            Some((before, since)) if before == checkpoint => since,
            _ => waited,
        };
        self.moved = Some((checkpoint, since));
        if waited >= LONGEST || waited.saturating_sub(since) >= hint.max(SHORTEST_HINT) {
            return Next::GiveUp;
        }
        // The first look comes soon whatever the hint, as most services are quick.
        let look = (hint / 10).clamp(SHORTEST_LOOK, LONGEST_LOOK).min(waited.max(SHORTEST_LOOK));
        Next::LookAfter(look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// When it is given up, if its checkpoint counts up every `step` seconds until `until`.
    fn given_up(step: u64, until: u64, hint: u64) -> u64 {
        let mut wait = Wait::default();
        for now in 0.. {
            let checkpoint = u32::try_from(now.min(until) / step).expect("small");
            if wait.look(checkpoint, seconds(hint), seconds(now)) == Next::GiveUp {
                return now;
            }
        }
        unreachable!()
    }

    #[test]
    fn a_service_is_waited_for_while_it_moves_on_but_not_for_ever() {
        for (step, until, hint, expected) in
            [(1, 0, 1, 30), (1, 0, 100, 100), (20, 100, 30, 130), (10, 10_000, 30, 600)]
        {
            assert_eq!(given_up(step, until, hint), expected, "{step} {until} {hint}");
        }
    }

    #[test]
    fn looks_come_soon_at_first_and_then_by_the_hint() {
        let mut wait = Wait::default();
        let mut look = |waited: u64| wait.look(1, seconds(10), Duration::from_millis(waited));
        assert_eq!(look(0), Next::LookAfter(Duration::from_millis(50)));
        assert_eq!(look(200), Next::LookAfter(Duration::from_millis(200)));
        assert_eq!(look(5000), Next::LookAfter(seconds(1)));
    }
}
