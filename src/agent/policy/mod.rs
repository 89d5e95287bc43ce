//! The node's own say: what the cloud may do on this machine, by a file that its administrator alone can write. It
//! always wins. `check` decides and is pure; [`load`] reads the file. Without one, what is built in is in force.

mod built_in;
mod check;
pub mod file;
pub mod load;
mod location;
mod packages;
#[cfg(test)]
mod tests;

pub use location::Location;

use super::{
    host::{HostError, Reason},
    retry::Trouble,
};
use crate::model::{HostPath, Platform};

/// What is allowed at present.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// What these rules allow.
    InForce(Box<InForce>),
    /// Nothing, as the file cannot be used: what runs is looked after, and nothing is changed. Says why.
    Unusable(String),
    /// Everything: for machines in memory.
    Unrestricted,
}

/// Rules and what they are applied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InForce {
    /// As read, or built in.
    pub rules: file::Rules,
    /// Whether there is a file.
    pub is_given: bool,
    /// Where the file is, or would be.
    pub file: String,
    /// Whose machine this is.
    pub platform: Platform,
    /// The agent's own folders and files, which no policy gives away.
    pub reserved: Vec<Location>,
}

/// Whom a service runs as.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunsAs {
    /// As the machine calls the account.
    pub name: String,
    /// It may do all on the machine, or that cannot be ruled out.
    pub is_administrative: bool,
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("403: {what} is denied by the local policy: {why}")]
pub struct Refusal {
    what: String,
    why: String,
}

impl Policy {
    /// Why nothing may be changed at all; `None` where there are rules.
    pub fn unusable(&self) -> Option<&str> {
        match self {
            Self::Unusable(why) => Some(why),
            Self::InForce(_) | Self::Unrestricted => None,
        }
    }

    /// As a file, with what it adds to the built-in rules; or why there are none.
    pub fn text(&self) -> Result<String, &str> {
        let rules = match self {
            Self::InForce(rules) => rules,
            Self::Unusable(why) => return Err(why),
            Self::Unrestricted => return Ok("# everything is allowed\n".to_owned()),
        };
        let from = if rules.is_given { "is" } else { "is not there, so that the built-in policy is" };
        let mut text = format!("# {} {from} in force.\n{}", rules.file, file::text(&rules.rules));
        let mut list = |title: &str, places: &mut dyn Iterator<Item = String>| {
            text += &format!("# {title}:\n");
            places.for_each(|place| text += &format!("#   {place}\n"));
        };
        let denied = built_in::paths().chain(built_in::keys());
        list("Denied unless an allowed place names it or lies in it", &mut denied.map(str::to_owned));
        let reserved = rules.reserved.iter().map(ToString::to_string);
        let keys = built_in::RESERVED_KEYS.iter().map(|key| (*key).to_owned());
        list("The agent's own, which nothing allows", &mut reserved.chain(keys));
        Ok(text)
    }

    /// What no policy gives away is added to what is built in: for whom no file is known.
    pub fn built_in(platform: Platform, file: impl Into<String>, reserved: &[HostPath]) -> Self {
        let reserved = reserved.iter().map(Location::from).collect();
        let (rules, file) = (file::Rules::default(), file.into());
        Self::InForce(Box::new(InForce { rules, is_given: false, file, platform, reserved }))
    }
}

impl From<Refusal> for HostError {
    fn from(refusal: Refusal) -> Self {
        Self::new(Reason::DeniedByLocalPolicy, refusal.to_string())
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        HostError::from(refusal).into()
    }
}
