//! The registry of every host that has one: memory, and that of this machine where it is Windows.

use windlass::{
    agent::host::{Host, Reason, Removed, ValueState, memory::MemoryHost},
    model::{RegistryData, RegistryKey, RegistryPlace, View},
};

use super::reason;

/// A machine and an empty key on it, in either view.
pub struct Ground {
    pub host: Box<dyn Host>,
    pub base: String,
    pub view: View,
}

impl Ground {
    fn memory(view: View) -> Self {
        let ground = Self { host: Box::new(MemoryHost::default()), base: r"HKLM\SOFTWARE\Base".to_owned(), view };
        let base = ground.key("");
        ground.host.create_key(&base.parent().expect("SOFTWARE")).expect("made");
        ground.host.create_key(&base).expect("made");
        ground
    }

    pub fn place(&self, below: &str, name: &str) -> RegistryPlace {
        RegistryPlace::parse(&format!("{}\\{below}", self.base), name, self.view).expect("place")
    }

    pub fn key(&self, below: &str) -> RegistryKey {
        self.place(below, "").holder()
    }

    fn seen(&self, below: &str, name: &str) -> ValueState {
        self.host.observe_value(&self.place(below, name)).expect("observed")
    }

    fn set(&self, below: &str, name: &str, data: &RegistryData) {
        self.host.set_value(&self.place(below, name), data).expect("set");
    }
}

fn each(behaviour: impl Fn(&Ground)) {
    for view in [View::Bits64, View::Bits32] {
        behaviour(&Ground::memory(view));
        #[cfg(windows)]
        behaviour(&super::windows::registry::ground(view));
    }
}

fn text(text: &str) -> RegistryData {
    RegistryData::String(text.to_owned())
}

#[test]
fn values_of_every_type_are_set_seen_and_replaced() {
    each(|ground| {
        for data in [
            text("Größe 日本"),
            text(""),
            RegistryData::ExpandString(r"%SystemRoot%\x".into()),
            RegistryData::MultiString(vec!["a".into(), "b".into()]),
            RegistryData::MultiString(vec![]),
            RegistryData::Dword(u32::MAX),
            RegistryData::Qword(u64::MAX),
            RegistryData::Binary(vec![0, 1, 255]),
            RegistryData::Binary(vec![]),
        ] {
            for name in ["Line", ""] {
                ground.set("", name, &data);
                assert_eq!(ground.seen("", name), ValueState::Holds(data.clone()));
            }
        }
        assert_eq!(ground.seen("", "another"), ValueState::Absent);
    });
}

#[test]
fn a_value_is_one_whatever_the_case_of_its_key_and_name() {
    each(|ground| {
        ground.host.create_key(&ground.key("Acme")).expect("made");
        ground.set("Acme", "Line", &RegistryData::Dword(1));
        ground.set("ACME", "LINE", &RegistryData::Dword(2));
        assert_eq!(ground.seen("acme", "line"), ValueState::Holds(RegistryData::Dword(2)));
        ground.host.remove_value(&ground.place("aCME", "lINE")).expect("removed");
        assert_eq!(ground.seen("Acme", "Line"), ValueState::Absent);
    });
}

#[test]
fn a_key_is_created_once_and_below_one_that_is_there() {
    each(|ground| {
        assert_eq!(ground.host.observe_key(&ground.key("a")), Ok(false));
        assert_eq!(reason(ground.host.create_key(&ground.key(r"a\b"))), Reason::IoError);
        ground.host.create_key(&ground.key("a")).expect("made");
        assert_eq!(ground.host.observe_key(&ground.key("A")), Ok(true));
        assert_eq!(reason(ground.host.create_key(&ground.key("a"))), Reason::WrongKind);
        ground.host.create_key(&ground.key(r"a\b")).expect("made");
        assert_eq!(ground.host.observe_key(&ground.key(r"a\b")), Ok(true));
    });
}

#[test]
fn in_a_key_that_is_not_there_nothing_is_seen_and_nothing_set() {
    each(|ground| {
        assert_eq!(ground.seen("none", "Line"), ValueState::Absent);
        let set = ground.host.set_value(&ground.place("none", "Line"), &text("x"));
        assert_eq!(reason(set), Reason::IoError);
        assert_eq!(ground.host.observe_key(&ground.key("none")), Ok(false));
        assert_eq!(ground.host.remove_value(&ground.place("none", "Line")), Ok(()));
        assert_eq!(ground.host.remove_key(&ground.key("none")), Ok(Removed::Gone));
    });
}

#[test]
fn a_key_is_removed_once_and_only_if_it_holds_nothing() {
    each(|ground| {
        ground.host.create_key(&ground.key("a")).expect("made");
        ground.host.create_key(&ground.key(r"a\b")).expect("made");
        ground.set(r"a\b", "", &text("the default value counts"));
        assert_eq!(ground.host.remove_key(&ground.key(r"a\b")), Ok(Removed::NotEmpty));
        assert_eq!(ground.host.remove_key(&ground.key("a")), Ok(Removed::NotEmpty));
        ground.host.remove_value(&ground.place(r"a\b", "")).expect("removed");
        ground.host.remove_value(&ground.place(r"a\b", "")).expect("again");
        assert_eq!(ground.host.remove_key(&ground.key(r"a\b")), Ok(Removed::Gone));
        assert_eq!(ground.host.remove_key(&ground.key("a")), Ok(Removed::Gone));
        assert_eq!(ground.host.remove_key(&ground.key("a")), Ok(Removed::Gone), "again");
        assert_eq!(ground.host.observe_key(&ground.key("a")), Ok(false));
    });
}
