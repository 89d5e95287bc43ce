//! When something that did not work is tried again. Pure: time is an argument.
//! Knows resources by a key and by what was wanted of them: a new wish is tried at once.

use std::{collections::BTreeMap, time::Duration};

use super::host::{HostError, Reason};

/// Why a resource is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// CamelCase, listed in docs/reference/reasons.md.
    pub reason: &'static str,
    /// What was tried, on what, what was expected.
    pub message: String,
}

impl Trouble {
    /// With this reason and message.
    pub fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

impl From<HostError> for Trouble {
    fn from(error: HostError) -> Self {
        Self { reason: error.reason.as_str(), message: error.message }
    }
}

/// What did not work, and when it is due again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retries(BTreeMap<String, Attempt>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Attempt {
    wish: String,
    failures: u32,
    due: Duration,
    trouble: Trouble,
}

/// Pauses after the first failure, doubled with each one, and the longest.
type Pauses = (Duration, Duration);
/// Looking again costs the machine little, and a person who mended something waits for it.
const OF_A_LOOK: Pauses = (Duration::from_secs(1), Duration::from_secs(30));
/// An installer keeps the machine busy for minutes, and seldom ends otherwise than before.
const OF_AN_INSTALLER: Pauses = (Duration::from_secs(30), Duration::from_secs(30 * 60));

impl Retries {
    /// It did not work at this time.
    pub fn failed(&mut self, key: &str, wish: &str, trouble: Trouble, now: Duration) {
        let failures = self.0.get(key).filter(|a| a.wish == wish).map_or(0, |a| a.failures);
        let ran = trouble.reason == Reason::InstallFailed.as_str();
        let (shortest, longest) = if ran { OF_AN_INSTALLER } else { OF_A_LOOK };
        let wait = shortest.saturating_mul(1 << failures.min(6)).min(longest);
        let attempt = Attempt { wish: wish.to_owned(), failures: failures + 1, due: now + wait, trouble };
        self.0.insert(key.to_owned(), attempt);
    }

    /// What did not work for this reason may be tried again at once.
    pub fn hasten(&mut self, reason: Reason) {
        let of_it = self.0.values_mut().filter(|attempt| attempt.trouble.reason == reason.as_str());
        of_it.for_each(|attempt| attempt.due = Duration::ZERO);
    }

    /// It works.
    pub fn worked(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// The last failure of this wish, if any, and whether it may be tried again by now.
    pub fn last(&self, key: &str, wish: &str, now: Duration) -> Option<(&Trouble, bool)> {
        self.0.get(key).filter(|a| a.wish == wish).map(|a| (&a.trouble, a.due <= now))
    }

    /// Forgets all but these.
    pub fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|key, _| keep(key));
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Duration> {
        self.0.values().map(|a| a.due).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(reason: &'static str) -> Vec<u64> {
        let mut retries = Retries::default();
        let mut wait = || {
            retries.failed("/a", "w", Trouble::new(reason, "x"), Duration::ZERO);
            retries.next().expect("due").as_secs()
        };
        (0..8).map(|_| wait()).collect()
    }

    #[test]
    fn waits_double_up_to_half_a_minute_or_half_an_hour_where_an_installer_ran() {
        assert_eq!(waits("IoError"), [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(waits("InstallerBusy"), waits("IoError"));
        assert_eq!(waits("InstallFailed"), [30, 60, 120, 240, 480, 960, 1800, 1800]);
    }

    #[test]
    fn what_something_else_stood_in_the_way_of_is_tried_once_that_has_gone() {
        let mut retries = Retries::default();
        retries.failed("/a", "w", Trouble::new("InUse", "x"), Duration::from_secs(9));
        retries.failed("/b", "w", Trouble::new("IoError", "x"), Duration::from_secs(9));
        retries.hasten(Reason::InUse);
        let is_due = |key| retries.last(key, "w", Duration::from_secs(9)).is_some_and(|(_, due)| due);
        assert!(is_due("/a") && !is_due("/b"));
    }

    #[test]
    fn a_new_wish_is_tried_at_once() {
        let mut retries = Retries::default();
        retries.failed("/a", "old", Trouble::new("IoError", "x"), Duration::ZERO);
        assert!(retries.last("/a", "old", Duration::from_millis(999)).is_some_and(|(_, due)| !due));
        assert!(retries.last("/a", "old", Duration::from_secs(1)).is_some_and(|(_, due)| due));
        assert_eq!(retries.last("/a", "new", Duration::ZERO), None);
    }
}
