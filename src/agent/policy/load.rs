//! Reads the policy's file from its place on this machine, at each look: it is small, and a mended one counts at once.
//! Does IO; what the text means is in [`super::file`].

use std::path::{Path, PathBuf};

use super::{InForce, Location, Policy, file};
use crate::{agent::host::machine, model::HostPath};

/// Largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Where the policy is, and what it cannot give away.
#[derive(Debug, Clone)]
pub struct PolicyFile {
    path: PathBuf,
    reserved: Vec<HostPath>,
}

impl PolicyFile {
    /// `own` are the agent's folders and files; that of the policy is one of them.
    pub fn new(path: &Path, own: &[&Path]) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let reserved = own.iter().copied().chain([path.as_path()]).flat_map(names_of).collect();
        Self { path, reserved }
    }

    /// What is in force now.
    pub fn read(&self) -> Policy {
        let file = self.path.display().to_string();
        let bytes = match machine::read_guarded(&self.path, MAX_BYTES) {
            Ok(None) => return Policy::built_in(machine::PLATFORM, file, &self.reserved),
            Ok(Some(bytes)) => bytes,
            Err(error) => return Policy::Unusable(format!("read {file}: {error}")),
        };
        let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned());
        match text.and_then(|text| file::parse(&text)) {
            Ok(rules) => {
                let reserved = self.reserved.iter().map(Location::from).collect();
                let platform = machine::PLATFORM;
                Policy::InForce(Box::new(InForce { rules, is_given: true, file, platform, reserved }))
            }
            Err(why) => Policy::Unusable(format!("{file}: {why}")),
        }
    }
}

/// As it is written and as the machine has it, without links; none where no document could name it.
fn names_of(path: &Path) -> impl Iterator<Item = HostPath> {
    let absolute = std::path::absolute(path).ok();
    let real = absolute.as_deref().and_then(real);
    let named = |path: PathBuf| HostPath::parse(path.to_str()?.trim_start_matches(r"\\?\")).ok();
    absolute.into_iter().chain(real).filter_map(named)
}

/// Of what is not there yet: below the folder that is.
fn real(path: &Path) -> Option<PathBuf> {
    let there = path.ancestors().find_map(|above| Some((above, above.canonicalize().ok()?)));
    let (above, real) = there?;
    let below = path.strip_prefix(above).ok()?;
    Some(if below.as_os_str().is_empty() { real } else { real.join(below) })
}
