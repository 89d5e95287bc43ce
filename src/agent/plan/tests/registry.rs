//! Plans of keys and values of the registry.

use super::*;
use crate::model::{RegistryData, RegistryPlace, RegistryValue, View};

const ACME: &str = r"HKLM\SOFTWARE\Acme";

fn place(key: &str, name: &str) -> RegistryPlace {
    RegistryPlace::parse(key, name, View::Bits64).expect("place")
}

fn text(text: &str) -> RegistryData {
    RegistryData::String(text.into())
}

impl Table {
    fn value(mut self, at: RegistryPlace, data: RegistryData) -> Self {
        self.desired.registry_values.push(RegistryValue { place: at, data, drift: Drift::Enforce });
        self
    }

    fn there_key(self, key: &str) -> Self {
        let key = Place::Key(place(key, "").holder());
        for place in key.above().chain([key.clone()]) {
            self.host.put_at(&place, Some(MemoryNode::Key));
        }
        self
    }

    fn there_value(self, at: RegistryPlace, node: MemoryNode) -> Self {
        let table = self.there_key(&at.holder().path());
        table.host.put_at(&Place::Value(at), Some(node));
        table
    }
}

fn origins(plan: &Plan) -> Vec<Option<Origin>> {
    plan.actions.iter().map(|action| action.afterwards.as_ref().map(|entry| entry.origin)).collect()
}

#[test]
fn keys_that_are_missing_are_created_from_the_hive_downwards_and_owned() {
    let table = Table::default().value(place(ACME, "Line"), text("3"));
    assert_eq!(table.actions(), [r"create key HKLM\SOFTWARE"]);
    let table = table.there_key(r"HKLM\SOFTWARE");
    assert_eq!((table.actions(), table.reasons()), (vec![format!("create key {ACME}")], vec!["Pending"]));
    assert_eq!(origins(&table.plan()), [Some(Created)]);
    let table = table.there_key(ACME);
    assert_eq!(
        (table.actions(), origins(&table.plan())),
        (vec![format!(r"set value {ACME}\Line")], vec![Some(Created)])
    );
    assert!(table.plan().actions[0].was_absent);
}

#[test]
fn a_value_that_is_there_is_adopted_whether_or_not_it_is_as_it_should_be() {
    let table = Table::default().value(place(ACME, "Line"), text("3"));
    let alike = table.there_value(place(ACME, "line"), MemoryNode::Value(text("3")));
    assert_eq!((alike.actions(), alike.reasons()), (vec![format!(r"note {ACME}\Line")], vec!["InPlace"]));
    for other in [MemoryNode::Value(text("4")), MemoryNode::Value(RegistryData::Dword(3)), MemoryNode::OtherValue(42)] {
        let table = Table::default().value(place(ACME, "Line"), text("3")).there_value(place(ACME, "Line"), other);
        let plan = table.plan();
        assert_eq!((table.actions(), origins(&plan)), (vec![format!(r"set value {ACME}\Line")], vec![Some(Adopted)]));
        assert!(!plan.actions[0].was_absent);
    }
}

#[test]
fn under_audit_a_difference_is_told_in_words() {
    for (there, words) in [
        (MemoryNode::Value(text("4")), "holds another REG_SZ; left so under Audit"),
        (MemoryNode::Value(RegistryData::Dword(3)), "is a REG_DWORD, expected a REG_SZ; left so under Audit"),
        (MemoryNode::OtherValue(8), "is a REG_RESOURCE_LIST of 0 bytes, expected a REG_SZ; left so under Audit"),
        (MemoryNode::OtherValue(42), "is of the unknown type 42 with 0 bytes, expected a REG_SZ; left so under Audit"),
    ] {
        let at = place(ACME, "Line");
        let table = Table::default().value(at.clone(), text("3")).audited().manages(Thing::Value(at.clone()), Created);
        let table = table.there_value(at, there);
        assert_eq!((table.plan().standings, table.actions()), (vec![Standing::Drifted(words.into())], vec![]));
    }
    let missing = Table::default().value(place(ACME, "Line"), text("3")).audited();
    let missing = missing.manages(Thing::Value(place(ACME, "Line")), Created);
    assert_eq!((missing.reasons(), missing.actions()), (vec!["Drifted"], vec![]), "its key is not created either");
}

#[test]
fn what_was_created_is_pruned_with_the_keys_that_hold_nothing_more() {
    let key = |key| Thing::Key(place(key, "").holder());
    let table = Table::default()
        .there_value(place(ACME, "Line"), MemoryNode::Value(text("3")))
        .manages(Thing::Value(place(ACME, "Line")), Created)
        .manages(key(ACME), Created);
    assert_eq!(table.actions(), [format!(r"remove value {ACME}\Line")]);
    let mut table = table;
    table.ledger.remove(&place(ACME, "Line").identity());
    assert_eq!(table.actions(), [format!("remove key {ACME}")], "which the host leaves, as the value is there");
    assert_eq!(Table::default().manages(key(ACME), Created).actions(), [format!("note {ACME}")]);

    let needed = Table::default().value(place(ACME, "Other"), text("3")).there_key(ACME).manages(key(ACME), Created);
    assert_eq!(needed.actions(), [format!(r"set value {ACME}\Other")]);
    let adopted = Table::default()
        .there_value(place(ACME, "Line"), MemoryNode::Value(text("3")))
        .manages(Thing::Value(place(ACME, "Line")), Adopted);
    assert_eq!(adopted.actions(), [format!(r"note {ACME}\Line")]);
}

#[test]
fn a_value_waits_for_a_key_that_cannot_be_created() {
    let mut table = Table::default().value(place(ACME, "Line"), text("3")).there_key(r"HKLM\SOFTWARE");
    let key = Place::Key(place(ACME, "").holder()).identity();
    table.retries.failed(&key, IMPLICIT, Trouble::new("PermissionDenied", "no"), Duration::from_secs(100));
    assert_eq!((table.reasons(), table.actions().len()), (vec!["WaitingForKey"], 0));
}

#[test]
fn programs_of_32_bits_have_values_of_their_own() {
    let narrow = RegistryPlace::parse(r"HKLM\SOFTWARE\Wow6432Node\Acme", "Line", View::Bits64).expect("place");
    let table = Table::default().value(narrow, text("3")).value(place(ACME, "Line"), text("4"));
    let table = table.there_value(place(ACME, "Line"), MemoryNode::Value(text("4")));
    assert_eq!(table.actions(), [r"create key HKLM\SOFTWARE (32-bit)".to_owned(), format!(r"note {ACME}\Line")]);
}
