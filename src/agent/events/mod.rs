//! The machine's event log: which of the agent's log events are told there, under which id, and with which texts.
//! Decided by a table; told through a door, which is the Event Log on Windows and does not exist elsewhere.

mod entry;
mod layer;
pub mod table;

pub use entry::{Entry, LONGEST_TEXT};
pub use layer::EventLayer;

/// Where entries are told. Called on any thread; returns soon.
pub trait EventLog: Send + Sync + 'static {
    /// Tells one. There is nobody to tell that it could not be told.
    fn report(&self, entry: &Entry);
}

/// How grave an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// As it should be.
    Information,
    /// Goes on, but a person may want to look.
    Warning,
    /// Needs a person.
    Error,
}

impl Severity {
    /// As it stands in the two highest bits of a message's number. Source: Win32, "Message Text Files".
    pub fn bits(self) -> u32 {
        match self {
            Self::Information => 1,
            Self::Warning => 2,
            Self::Error => 3,
        }
    }
}

impl TryFrom<&tracing::Level> for Severity {
    type Error = ();

    fn try_from(level: &tracing::Level) -> Result<Self, ()> {
        match *level {
            tracing::Level::ERROR => Ok(Self::Error),
            tracing::Level::WARN => Ok(Self::Warning),
            tracing::Level::INFO => Ok(Self::Information),
            _ => Err(()),
        }
    }
}
