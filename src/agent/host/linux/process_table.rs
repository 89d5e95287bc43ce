//! Processes as /proc shows them: who is who, and what belongs to a service. Reads only.
//! Source: proc(5), `/proc/pid/stat`.

use std::{fs, io};

use crate::agent::host::ProcessIdentity;

/// One process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stat {
    /// Whether it has not ended: a zombie has.
    pub(super) runs: bool,
    group: u32,
    session: u32,
    /// In clock ticks since the machine's start.
    pub(super) start_time: u64,
}

/// Changes with every start of the machine.
pub(super) fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// `None` when there is no such process.
pub(super) fn stat(pid: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether the process of this id is still the one that is meant, running or not yet reaped.
pub(super) fn is_that(process: &ProcessIdentity, boot_id: &str) -> Option<Stat> {
    stat(process.pid).filter(|stat| process.boot_id == boot_id && stat.start_time == process.start_time)
}

/// Ids of running processes in the group or session that this one leads or led.
pub(super) fn belonging_to(process: &ProcessIdentity, boot_id: &str) -> io::Result<Vec<u32>> {
    let id_is_used_again = stat(process.pid).is_some_and(|stat| stat.start_time != process.start_time);
    // While anything is left of a group, the kernel gives its id to nobody else.
    if process.boot_id != boot_id || id_is_used_again {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let belongs = |stat: &Stat| {
            let descends = stat.group == process.pid || stat.session == process.pid;
            descends && stat.runs && stat.start_time >= process.start_time
        };
        if stat(pid).is_some_and(|stat| belongs(&stat)) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Running leaders of a session whose environment has both variables: process id, start time and both values.
pub(super) fn leaders_carrying(first: &str, second: &str) -> io::Result<Vec<(u32, u64, String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let Some(stat) = stat(pid).filter(|stat| stat.runs && stat.session == pid) else { continue };
        // Those of other users are not this agent's, unless it is root and reads them.
        let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { continue };
        let value = |name: &str| {
            let mut variables = environment.split(|byte| *byte == 0).filter_map(|text| std::str::from_utf8(text).ok());
            variables.find_map(|text| text.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        if let (Some(first), Some(second)) = (value(first), value(second)) {
            found.push((pid, stat.start_time, first, second));
        }
    }
    Ok(found)
}

/// The program's name, in parentheses, may hold anything; what follows the last one is fields.
fn parse(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    // The first of these is field 3 of the manual page.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Stat {
        runs: !matches!(*fields.first()?, "Z" | "X" | "x"),
        group: number(5)?.try_into().ok()?,
        session: number(6)?.try_into().ok()?,
        start_time: number(22)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_named_to_confuse_is_read_all_the_same() {
        let text = "42 (a) Z 1 (b) S 1 40 41 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 98765 1 2 3\n";
        assert_eq!(parse(text), Some(Stat { runs: true, group: 40, session: 41, start_time: 98765 }));
        assert_eq!(parse("42 (a) S 1"), None);
    }

    #[test]
    fn this_process_is_itself_and_no_other() {
        let boot_id = boot_id().expect("boot id");
        let pid = std::process::id();
        let start_time = stat(pid).expect("runs").start_time;
        let this = ProcessIdentity { pid, boot_id: boot_id.clone(), start_time };
        assert!(is_that(&this, &boot_id).is_some_and(|stat| stat.runs));
        assert_eq!(is_that(&ProcessIdentity { start_time: start_time + 1, ..this.clone() }, &boot_id), None);
        assert_eq!(is_that(&this, "another start"), None);
    }
}
