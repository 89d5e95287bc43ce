//! One probe of one process: when it is due, and what its results come to. Pure, with the kubelet's semantics.
//! Source: Kubernetes, "Configure Liveness, Readiness and Startup Probes".

use super::Moment;
use crate::model::Probe;

/// Counts the results of a probe against its thresholds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watcher {
    /// The probe as it is configured.
    pub probe: Probe,
    /// Tells this watcher's checks from those of one that it replaced.
    pub number: u64,
    next: Next,
    passing: bool,
    in_a_row: InARow,
    problem: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Next {
    At(Moment),
    UnderWay { began: Moment },
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum InARow {
    Passes(u32),
    Failures(u32),
}

impl Watcher {
    /// A watcher of a process that began (or was taken up) at `now`. A readiness probe begins as failing, a
    /// liveness probe as passing.
    pub fn new(probe: Probe, number: u64, passing: bool, now: Moment) -> Self {
        let first = now + Moment::from_secs(probe.initial_delay_seconds.into());
        Self { probe, number, next: Next::At(first), passing, in_a_row: InARow::Passes(0), problem: None }
    }

    /// When the next check is due; `None` while one is under way.
    pub fn due(&self) -> Option<Moment> {
        match self.next {
            Next::At(moment) => Some(moment),
            Next::UnderWay { .. } => None,
        }
    }

    /// A check was begun.
    pub fn begin(&mut self, now: Moment) {
        self.next = Next::UnderWay { began: now };
    }

    /// A check ended: in failure, with the problem.
    pub fn take(&mut self, outcome: Result<(), String>, now: Moment) {
        let Next::UnderWay { began } = self.next else { return };
        // A check that took longer than the period is followed at once, as by the kubelet's ticker.
        self.next = Next::At(now.max(began + Moment::from_secs(self.probe.period_seconds.into())));
        self.in_a_row = match (&outcome, &self.in_a_row) {
            (Ok(()), InARow::Passes(n)) => InARow::Passes(n.saturating_add(1)),
            (Ok(()), InARow::Failures(_)) => InARow::Passes(1),
            (Err(_), InARow::Failures(n)) => InARow::Failures(n.saturating_add(1)),
            (Err(_), InARow::Passes(_)) => InARow::Failures(1),
        };
        self.problem = outcome.err();
        match self.in_a_row {
            InARow::Passes(n) if n >= self.probe.success_threshold => self.passing = true,
            InARow::Failures(n) if n >= self.probe.failure_threshold => self.passing = false,
            _ => {}
        }
    }

    /// What the results come to so far.
    pub fn is_passing(&self) -> bool {
        self.passing
    }

    /// Why the last check failed, if it did.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples::probe, *};

    fn at(seconds: u64) -> Moment {
        Moment::from_secs(seconds)
    }

    /// Feeds results, one a period, and returns what the watcher says after each.
    fn says(probe: Probe, passing: bool, results: &str) -> String {
        let mut watcher = Watcher::new(probe, 0, passing, at(0));
        let step = |result: char| {
            let now = watcher.due().expect("none under way");
            watcher.begin(now);
            watcher.take(if result == '+' { Ok(()) } else { Err("refused".into()) }, now);
            if watcher.is_passing() { '+' } else { '-' }
        };
        results.chars().map(step).collect()
    }

    #[test]
    fn thresholds_count_results_in_a_row() {
        for (success, failure, begins, results, expected) in [
            (1, 3, false, "+--+---+", "++++++-+"),
            (1, 3, true, "--+--+---", "++++++++-"),
            (2, 1, false, "+-++-+", "---+--"),
            (1, 1, true, "-+-", "-+-"),
            (3, 3, true, "---++-+++", "++------+"),
        ] {
            let mut probe = probe();
            (probe.success_threshold, probe.failure_threshold) = (success, failure);
            assert_eq!(says(probe, begins, results), expected, "{success} {failure} {results}");
        }
    }

    #[test]
    fn checks_come_after_the_initial_delay_and_then_every_period() {
        let mut probe = probe();
        (probe.initial_delay_seconds, probe.period_seconds) = (5, 10);
        let mut watcher = Watcher::new(probe, 0, false, at(100));
        assert_eq!(watcher.due(), Some(at(105)));
        watcher.begin(at(105));
        assert_eq!(watcher.due(), None);
        watcher.take(Ok(()), at(107));
        assert_eq!(watcher.due(), Some(at(115)));
    }

    #[test]
    fn a_check_longer_than_the_period_is_followed_at_once() {
        let mut probe = probe();
        probe.period_seconds = 1;
        let mut watcher = Watcher::new(probe, 0, false, at(0));
        watcher.begin(at(0));
        watcher.take(Err("timed out".into()), at(4));
        assert_eq!((watcher.due(), watcher.problem()), (Some(at(4)), Some("timed out")));
    }
}
