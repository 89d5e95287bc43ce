//! What a process costs, as the kernel counts it: resident bytes and CPU time. Linux, /proc.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result};

/// One look at a process.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// VmRSS, in bytes.
    pub resident: u64,
    /// User and system time since its start.
    pub cpu: Duration,
}

/// Looks at a process.
pub fn sample(pid: u32) -> Result<Sample> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("read status of the process")?;
    let resident = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok())
        .context("VmRSS in status")?
        * 1024;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).context("read stat of the process")?;
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |i: usize| fields.get(i).and_then(|f| f.parse::<u64>().ok()).context("times in stat");
    // utime and stime are the 14th and 15th fields, in 1/100 s (USER_HZ), of which two precede the ")".
    let cpu = Duration::from_millis((ticks(11)? + ticks(12)?) * 10);
    Ok(Sample { resident, cpu })
}

/// The p-th percentile (0 to 100) of some durations by the nearest rank.
pub fn percentile(samples: &[Duration], p: usize) -> Duration {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * p).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}
