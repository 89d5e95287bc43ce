//! Decides what the service does with the enrollment file that the installer was given. Pure: what lies there was
//! read, and what is to be done is done, by the platform.

use crate::model::Digest;

/// What lies where the installer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    /// The installer was given no file, or it has been taken.
    Nothing,
    /// No file.
    Absent,
    /// A file that cannot be read, or does not hold an enrollment; with why, which shows nothing of it.
    Unusable(String),
    /// An enrollment with this token.
    Usable(Digest),
}

/// What the service has already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Had {
    /// Token that the identity was got for.
    pub identity: Option<Digest>,
    /// Token of the enrollment file in the state directory.
    pub copy: Option<Digest>,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Intake {
    /// Nothing is to be done or said.
    Nothing,
    /// Copy the file into the state directory, then delete it and forget where it was.
    Take,
    /// It was taken before: delete it and forget where it was.
    Discard,
    /// It is gone, and was taken before: forget where it was.
    Forget,
    /// Say why, touch nothing, and wait as without one.
    Refuse(String),
}

/// Decides.
pub fn decide(given: &Given, had: &Had) -> Intake {
    match given {
        Given::Nothing => Intake::Nothing,
        Given::Absent if *had == Had::default() => {
            Intake::Refuse("it is not there; expected enrollment.yaml of the node's enrollment Secret".to_owned())
        }
        Given::Absent => Intake::Forget,
        Given::Unusable(why) => Intake::Refuse(why.clone()),
        Given::Usable(token) if had.copy == Some(*token) => Intake::Discard,
        // The file of the present identity may say where the operator is by now.
        Given::Usable(_) => Intake::Take,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_token_is_taken_and_what_was_taken_before_is_only_cleared_away() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let fresh = Had::default();
        let enrolled = Had { identity: Some(old), copy: Some(old) };
        let copied = Had { identity: None, copy: Some(new) };
        let renewed = Had { identity: Some(old), copy: Some(new) };
        let by_flag = Had { identity: Some(old), copy: None };
        for (given, had, intake) in [
            (Given::Nothing, &fresh, Intake::Nothing),
            (Given::Nothing, &enrolled, Intake::Nothing),
            (Given::Absent, &enrolled, Intake::Forget),
            (Given::Absent, &copied, Intake::Forget),
            (Given::Absent, &by_flag, Intake::Forget),
            (Given::Unusable("no YAML".into()), &fresh, Intake::Refuse("no YAML".into())),
            (Given::Unusable("no YAML".into()), &enrolled, Intake::Refuse("no YAML".into())),
            (Given::Usable(new), &fresh, Intake::Take),
            (Given::Usable(new), &enrolled, Intake::Take),
            (Given::Usable(new), &copied, Intake::Discard),
            (Given::Usable(new), &renewed, Intake::Discard),
            (Given::Usable(old), &enrolled, Intake::Discard),
            (Given::Usable(old), &by_flag, Intake::Take),
        ] {
            assert_eq!(decide(&given, had), intake, "{given:?} {had:?}");
        }
    }

    #[test]
    fn a_file_that_never_came_is_told() {
        let Intake::Refuse(why) = decide(&Given::Absent, &Had::default()) else { panic!("it is not told") };
        assert!(why.contains("enrollment Secret"), "{why}");
    }
}
