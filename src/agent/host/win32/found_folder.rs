//! What becomes of a folder of the agent's own that was there before. Whoever owns it can open it to anybody again, and
//! may have put anything into it: an enrollment file, or a link that leads elsewhere. Pure.
//!
//! Source: Win32, "Well-Known SIDs"; "Owner of a New Object".

/// What the agent does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is closed to others, and used.
    Keep,
    /// It is removed, if nothing lies in it, and made anew: who has it open could go on changing it.
    Replace,
}

/// The one that may own what the agent trusts beside itself: SYSTEM and Administrators.
const TRUSTED: [&str; 2] = ["S-1-5-18", "S-1-5-32-544"];

/// Of what is no directory, or of which it is not known whose it is, nothing is believed. Accounts are SIDs.
pub fn fate(is_directory: bool, kind: &str, owner: Option<&str>, agent: &str) -> Result<Fate, String> {
    if !is_directory {
        return Err(format!("it is {kind}, expected a folder or nothing: look where it leads, and remove it"));
    }
    match owner {
        Some(owner) if owner == agent || TRUSTED.contains(&owner) => Ok(Fate::Keep),
        Some(_) => Ok(Fate::Replace),
        None => Err("it belongs to nobody, expected a folder of Administrators: remove it".to_owned()),
    }
}

/// Of one that is to be replaced, and is not empty.
pub fn refused(owner: &str) -> String {
    format!(
        "it was there before, belongs to {owner} and is not empty, so that what lies in it cannot be trusted; expected \
         a folder of SYSTEM or Administrators, or none: look at what lies in it, and remove it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_of_those_who_are_trusted_is_kept() {
        let (system, administrators) = ("S-1-5-18", "S-1-5-32-544");
        let (agent, other) = ("S-1-5-21-1-2-3-1001", "S-1-5-21-1-2-3-1002");
        for (is_directory, owner, expected) in [
            (true, Some(system), Some(Fate::Keep)),
            (true, Some(administrators), Some(Fate::Keep)),
            (true, Some(agent), Some(Fate::Keep)),
            (true, Some(other), Some(Fate::Replace)),
            // Users, CREATOR OWNER, and what only begins as one that is trusted.
            (true, Some("S-1-5-32-545"), Some(Fate::Replace)),
            (true, Some("S-1-3-0"), Some(Fate::Replace)),
            (true, Some("S-1-5-32-5440"), Some(Fate::Replace)),
            (true, Some(""), Some(Fate::Replace)),
            (true, None, None),
            (false, Some(system), None),
            (false, Some(administrators), None),
            (false, Some(agent), None),
            (false, Some(other), None),
            (false, None, None),
        ] {
            let found = fate(is_directory, "a link", owner, agent);
            assert_eq!(found.ok(), expected, "{is_directory} {owner:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let said = [fate(false, "a link", None, ""), fate(true, "a directory", None, "")];
        let said = said.into_iter().filter_map(Result::err).chain([refused("S-1-5-32-545")]);
        assert_eq!(said.filter(|said| said.contains("expected") && said.ends_with("remove it")).count(), 3);
        assert!(refused("S-1-5-32-545").contains("S-1-5-32-545"));
    }
}
