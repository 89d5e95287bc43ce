//! The machine as it describes itself: /etc/os-release, uname and /proc/stat. Does IO.

use std::fs;

use crate::model::NodeFacts;

pub(super) fn read() -> NodeFacts {
    let release = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    let stat = fs::read_to_string("/proc/stat");
    NodeFacts {
        os: std::env::consts::OS.to_owned(),
        os_version: pretty_name(&release.unwrap_or_default()),
        architecture: architecture(std::env::consts::ARCH).to_owned(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        boot_time: boot_time(&stat.unwrap_or_default()),
        memory_bytes: memory_bytes(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        time_zone: time_zone(),
        ..NodeFacts::default()
    }
}

/// Source: proc_meminfo(5), `MemTotal`.
fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kibibytes = line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kibibytes.unwrap_or_default() << 10
}

/// Source: localtime(5), a link into the zoneinfo directory.
fn time_zone() -> String {
    let target = fs::read_link("/etc/localtime").unwrap_or_default();
    target.to_string_lossy().split_once("zoneinfo/").map(|(_, zone)| zone.to_owned()).unwrap_or_default()
}

/// Source: os-release(5).
fn pretty_name(release: &str) -> String {
    let value = |key: &str| {
        release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(|v| v.trim_matches(['"', '\'']))
    };
    value("PRETTY_NAME").or_else(|| value("NAME")).unwrap_or("Linux").to_owned()
}

fn architecture(rust: &'static str) -> &'static str {
    match rust {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// Source: proc_stat(5), `btime`.
fn boot_time(stat: &str) -> u64 {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_what_the_machine_says() {
        assert_eq!(pretty_name("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
        assert_eq!(pretty_name("NAME='Alpine'\n"), "Alpine");
        assert_eq!(pretty_name(""), "Linux");
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), 1_700_000_000);
        assert_eq!(memory_bytes("MemTotal:       16314788 kB\nMemFree: 1 kB\n"), 16_314_788 << 10);
        assert_eq!(memory_bytes(""), 0);
        let facts = read();
        assert!(facts.boot_time > 0 && facts.memory_bytes > 0 && !facts.hostname.is_empty(), "{facts:?}");
    }
}
