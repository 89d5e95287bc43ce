//! One entry of the event log, made of one log event and of what is known of the node. Pure.

use super::{
    Severity,
    table::{Kind, kind_of},
};

/// Longest insertion string, in characters. Windows takes 31,839.
pub const LONGEST_TEXT: usize = 8192;

/// What is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Under which id, and how grave.
    pub kind: &'static Kind,
    /// Insertion strings: what happened, node, revision, resource. `-` where there is none.
    pub strings: [String; 4],
}

/// Fields of a log event.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// In the order that they were logged in, with the message under its name.
    pub(super) all: Vec<(&'static str, String)>,
}

/// What is known of the node from what was logged before.
#[derive(Debug, Default)]
pub(super) struct Known {
    node: Option<String>,
    revision: Option<String>,
}

impl Fields {
    fn get(&self, name: &str) -> Option<&str> {
        self.all.iter().find(|(field, _)| *field == name).map(|(_, value)| value.as_str())
    }

    /// The message proper: a field that is named after it (`trouble.message`) counts where there is no other.
    pub(super) fn message(&self) -> &str {
        let last = || self.all.iter().find(|(field, _)| field.ends_with(".message")).map(|(_, value)| value.as_str());
        self.get("message").or_else(last).unwrap_or_default()
    }

    /// Which thing of the node it is about.
    fn resource(&self) -> Option<String> {
        let named = |name| self.get(name).map(|value: &str| format!("{name} {value}"));
        self.get("resource")
            .map(str::to_owned)
            .or_else(|| named("service"))
            .or_else(|| self.get("path").or_else(|| self.get("url")).map(str::to_owned))
    }

    /// Everything that has no string of its own, for people.
    fn text(&self) -> String {
        let main: Vec<&str> =
            [self.get("reason"), Some(self.message()), self.get("error")].into_iter().flatten().collect();
        let mut text = main.join(": ");
        let mut others = Vec::new();
        for (name, value) in &self.all {
            let shown = ["message", "error", "reason", "node", "revision", "resource", "service", "path", "url"];
            if !shown.contains(name) && !name.ends_with(".message") {
                others.push(format!("{name}={value}"));
            }
        }
        if !others.is_empty() {
            text.push_str(&format!(" ({})", others.join(", ")));
        }
        text
    }
}

impl Known {
    /// Learns node and revision from a log event that names the one in force.
    pub(super) fn learn(&mut self, fields: &Fields) {
        if let Some(node) = fields.get("node") {
            self.node = Some(node.to_owned());
        }
        if let Some(revision) = fields.get("revision") {
            self.revision = Some(revision.to_owned());
        }
    }

    /// The entry of a log event, if it is told.
    pub(super) fn entry(&self, target: &str, severity: Severity, fields: &Fields) -> Option<Entry> {
        let kind = kind_of(target, severity, fields.message())?;
        let or_none = |value: Option<String>| value.map_or_else(|| "-".to_owned(), |value| insertion(&value));
        let strings = [
            insertion(&fields.text()),
            or_none(self.node.clone()),
            or_none(self.revision.clone()),
            or_none(fields.resource()),
        ];
        Some(Entry { kind, strings })
    }
}

/// A text that can be inserted: viewers take `%1` in it for another string's place, and long ones are refused.
///
/// Source: Win32, "ReportEventW function".
fn insertion(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for (number, character) in text.chars().enumerate() {
        if number == LONGEST_TEXT {
            safe.push('…');
            break;
        }
        if character.is_ascii_digit() && safe.ends_with('%') {
            safe.push(' ');
        }
        // Win32 ends a string at its first NUL.
        safe.push(if character == '\0' { ' ' } else { character });
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(all: &[(&'static str, &str)]) -> Fields {
        Fields { all: all.iter().map(|(name, value)| (*name, (*value).to_owned())).collect() }
    }

    #[test]
    fn an_entry_carries_what_happened_node_revision_and_resource() {
        let mut known = Known::default();
        let link = "windlass::agent::link";
        let converge = "windlass::agent::converge";
        let supervise = "windlass::agent::services::supervise";
        let none = known.entry(link, Severity::Warning, &fields(&[("message", "sent away")])).expect("told");
        assert_eq!(none.strings, ["sent away", "-", "-", "-"]);
        known.learn(&fields(&[("node", "plant-a/press-07"), ("revision", "9c1e")]));
        for (target, event, strings) in [
            (
                link,
                fields(&[("message", "connection lost"), ("error", "no heartbeat"), ("session", "7")]),
                ["connection lost: no heartbeat (session=7)", "plant-a/press-07", "9c1e", "-"],
            ),
            (
                converge,
                fields(&[("path", r"C:\a"), ("reason", "InUse"), ("trouble.message", "in use by press.exe")]),
                ["InUse: in use by press.exe", "plant-a/press-07", "9c1e", r"C:\a"],
            ),
            (
                supervise,
                fields(&[("message", "not started"), ("service", "press"), ("error", "no such program")]),
                ["not started: no such program", "plant-a/press-07", "9c1e", "service press"],
            ),
        ] {
            let entry = known.entry(target, Severity::Warning, &event).expect("told");
            assert_eq!(entry.strings, strings);
        }
    }

    #[test]
    fn what_viewers_would_take_for_a_place_is_made_harmless_and_long_texts_are_cut() {
        assert_eq!(insertion("fe80::1%12 100%\0"), "fe80::1% 12 100% ");
        assert_eq!(insertion("%%5"), "%% 5");
        assert_eq!(insertion(&"x".repeat(LONGEST_TEXT + 5)).chars().count(), LONGEST_TEXT + 1);
    }
}
