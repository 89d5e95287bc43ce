//! How long Windows waits for an object, as its calls take it. Pure.
//! Source: Win32, WaitForSingleObject.

use std::time::Duration;

/// In milliseconds, rounded down. What is longer than can be said (49.7 days) is `INFINITE`: for ever.
pub fn milliseconds(limit: Duration) -> u32 {
    u32::try_from(limit.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_without_a_limit_never_ends_by_itself() {
        let infinite = u32::MAX;
        assert_eq!(milliseconds(Duration::MAX), infinite);
        assert_eq!(milliseconds(Duration::from_secs(50 * 24 * 3600)), infinite);
        assert_eq!(milliseconds(Duration::from_millis(1500)), 1500);
        assert_eq!(milliseconds(Duration::ZERO), 0);
    }
}
