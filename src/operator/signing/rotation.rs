//! When signing keys are announced, used and taken out of the trust bundle: a function over the times at which they
//! were announced. Pure.

use jiff::{SignedDuration, Timestamp};

/// How signing keys are rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// From one key to the next; zero for never.
    pub period: SignedDuration,
    /// From a key's announcement to its use, and from the last use of the one before to its end.
    pub overlap: SignedDuration,
}

/// How things stand with keys, by their places from the oldest to the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The first one that still counts.
    pub first: usize,
    /// The one that signs.
    pub signing: usize,
    /// Whether a new one is due.
    pub announce: bool,
    /// When the next change of the bundle is due.
    pub next: Option<Timestamp>,
}

impl Rotation {
    /// How things stand. `announced` is when each key was, the oldest first, and is not empty.
    ///
    /// A key signs one overlap after it was announced, so that nodes have heard of it by then, and the one before it
    /// goes out another overlap later. The very first signs at once. Clocks that jump change nothing that matters: a
    /// key that counts is in the bundle, whichever it is that signs.
    pub fn standing(&self, announced: &[Timestamp], now: Timestamp) -> Standing {
        let newest_of_age =
            |age: SignedDuration| announced.iter().rposition(|at| now.duration_since(*at) >= age).unwrap_or_default();
        let first = newest_of_age(self.overlap * 2);
        // Not before the one before it signs: there are three of them at most.
        let step = self.period.max(self.overlap);
        let is_on = self.period > SignedDuration::ZERO;
        let due = announced.last().filter(|_| is_on).and_then(|last| last.checked_add(step).ok());
        let announce = due.is_some_and(|due| due <= now);
        let ends = announced.iter().skip(first + 1).filter_map(|at| at.checked_add(self.overlap * 2).ok());
        let next = ends.chain(due.filter(|_| !announce)).min();
        Standing { first, signing: newest_of_age(self.overlap), announce, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn day(day: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + day * DAY).expect("in range")
    }

    fn rotation(period: i64, overlap: i64) -> Rotation {
        Rotation { period: SignedDuration::from_secs(period * DAY), overlap: SignedDuration::from_secs(overlap * DAY) }
    }

    #[test]
    fn a_key_is_announced_then_used_and_the_one_before_it_ends() {
        let standing = |days: &[i64], now| {
            let announced: Vec<Timestamp> = days.iter().map(|at| day(*at)).collect();
            let Standing { first, signing, announce, next } = rotation(90, 14).standing(&announced, day(now));
            (first, signing, announce, next.map(|at| (at.as_second() - day(0).as_second()) / DAY))
        };
        for (what, days, now, expected) in [
            ("the first one signs at once", &[0][..], 0, (0, 0, false, Some(90))),
            ("until the next is due", &[0], 89, (0, 0, false, Some(90))),
            ("which is announced", &[0], 90, (0, 0, true, None)),
            ("and does not sign yet", &[0, 90], 103, (0, 0, false, Some(118))),
            ("then it does", &[0, 90], 104, (0, 1, false, Some(118))),
            ("and the old one ends", &[0, 90], 118, (1, 1, false, Some(180))),
            ("long after, all at once", &[0, 90], 400, (1, 1, true, None)),
            ("a clock that went back", &[0, 90], -50, (0, 0, false, Some(118))),
            ("with the first one gone", &[90], 50, (0, 0, false, Some(180))),
        ] {
            assert_eq!(standing(days, now), expected, "{what}");
        }
    }

    #[test]
    fn without_a_period_nothing_is_announced_and_what_was_begun_is_ended() {
        let off = rotation(0, 14);
        assert_eq!(off.standing(&[day(0)], day(4000)), Standing { first: 0, signing: 0, announce: false, next: None });
        let two = [day(0), day(90)];
        assert_eq!(off.standing(&two, day(91)).next, Some(day(118)));
        assert_eq!(off.standing(&two, day(118)).first, 1);
    }

    #[test]
    fn whatever_the_settings_and_times_there_are_three_keys_at_most_and_one_of_them_signs() {
        for (period, overlap) in [(90, 14), (1, 14), (14, 14), (5, 0), (1, 1)] {
            let rotation = rotation(period, overlap);
            let mut announced = vec![day(0)];
            for now in 0..500 {
                let standing = rotation.standing(&announced, day(now));
                assert!((standing.first..announced.len()).contains(&standing.signing));
                announced.drain(..standing.first);
                if standing.announce {
                    announced.push(day(now));
                }
                assert!(announced.len() <= 3, "{period} {overlap} {now}: {announced:?}");
            }
        }
    }
}
