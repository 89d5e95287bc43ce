//! Plans as a table: what is desired, what is there, what is owned, and what follows.

mod packages;
mod registry;

use super::*;
use crate::{
    agent::{
        entries::entries,
        host::{
            Ownership,
            memory::{MemoryHost, MemoryNode},
        },
        observe::observe,
        store::Origin,
    },
    model::{Artifact, DesiredState, Directory, Drift, File, HostPath, Mode, Salt},
};

/// What a plan is made of; the machine is one in memory.
#[derive(Default)]
struct Table {
    host: MemoryHost,
    desired: DesiredState,
    ledger: BTreeMap<String, LedgerEntry>,
    ledger_lost: bool,
    contents: BTreeMap<Digest, Availability>,
    retries: Retries,
}

impl Table {
    fn file(mut self, at: &str, bytes: &[u8]) -> Self {
        let sha256 = Digest::of(bytes);
        let source = Source::Artifact(Artifact { url: "https://x/".into(), sha256 });
        let file = File { path: path(at), source, attributes: Attributes::default(), drift: Drift::Enforce };
        self.contents.insert(sha256, Availability::Held);
        self.desired.files.push(file);
        self
    }

    fn directory(mut self, at: &str) -> Self {
        let directory = Directory { path: path(at), attributes: Attributes::default(), drift: Drift::Enforce };
        self.desired.directories.push(directory);
        self
    }

    fn audited(mut self) -> Self {
        self.desired.files.iter_mut().for_each(|file| file.drift = Drift::Audit);
        self.desired.directories.iter_mut().for_each(|directory| directory.drift = Drift::Audit);
        self.desired.registry_values.iter_mut().for_each(|value| value.drift = Drift::Audit);
        self
    }

    fn without_contents(mut self) -> Self {
        self.contents.clear();
        self
    }

    fn there(self, at: &str, bytes: &[u8]) -> Self {
        self.host.put(&path(at), Some(MemoryNode::File(bytes.to_vec(), Ownership { mode: 0o644, ..by_bob() })));
        self
    }

    fn there_directory(self, at: &str) -> Self {
        self.host.put(&path(at), Some(MemoryNode::Directory(Ownership { mode: 0o755, ..by_bob() })));
        self
    }

    fn owned(self, at: &str, thing: fn(HostPath) -> Thing, origin: Origin) -> Self {
        self.manages(thing(path(at)), origin)
    }

    fn manages(mut self, thing: Thing, origin: Origin) -> Self {
        let at = thing.place().identity();
        let carried_out = entries(&self.desired).into_iter().find(|e| e.identity == at).map(|e| e.wish);
        self.ledger.insert(at, LedgerEntry { thing, origin, carried_out: carried_out.unwrap_or_default() });
        self
    }

    fn plan(&self) -> Plan {
        let entries = entries(&self.desired);
        let observed = observe(&self.host, &entries, &self.ledger);
        plan(&Situation {
            entries: &entries,
            observed: &observed,
            ledger: &self.ledger,
            ledger_lost: self.ledger_lost,
            contents: &self.contents,
            policy: &Policy::Unrestricted,
            retries: &self.retries,
            now: Duration::from_secs(100),
        })
    }

    /// The actions, shortly.
    fn actions(&self) -> Vec<String> {
        let short = |action: &Action| format!("{} {}", action.deed.word(), action.place());
        self.plan().actions.iter().map(short).collect()
    }

    fn reasons(&self) -> Vec<&'static str> {
        let reason = |standing: &Standing| match standing {
            Standing::InPlace => "InPlace",
            Standing::Pending => "Pending",
            Standing::Drifted(_) => "Drifted",
            Standing::Failed(trouble) => trouble.reason,
        };
        self.plan().standings.iter().map(reason).collect()
    }
}

fn path(text: &str) -> HostPath {
    HostPath::parse(text).expect("path")
}

fn by_bob() -> Ownership {
    Ownership { mode: 0, owner: "bob".into(), group: "bob".into(), ..Ownership::default() }
}

use Origin::{Adopted, Created};
use Thing::{Directory as Dir, File as Fil};

#[test]
fn directories_above_a_file_are_created_from_the_root_downwards() {
    let table = Table::default().file("/a/b/c", b"x");
    assert_eq!(table.actions(), ["create directory /a"]);
    assert_eq!(table.there_directory("/a").actions(), ["create directory /a/b"]);
}

#[test]
fn independent_entries_are_begun_in_one_plan() {
    let table = Table::default().directory("/z").directory("/a").file("/f", b"x").file("/a/g", b"y");
    assert_eq!(table.actions(), ["create directory /a", "create directory /z", "write file /f"]);
    assert_eq!(table.reasons(), ["Pending"; 4]);
}

#[test]
fn what_is_there_already_is_adopted_and_what_was_absent_is_created() {
    let table = Table::default().file("/a", b"x").there("/a", b"x");
    let plan = table.plan();
    assert_eq!(plan.standings, [Standing::InPlace]);
    assert_eq!(plan.actions[0].afterwards.as_ref().map(|e| e.origin), Some(Adopted));
    assert_eq!(plan.actions[0].deed, Deed::Note);
    let plan = Table::default().file("/a", b"x").plan();
    assert_eq!(plan.actions[0].afterwards.as_ref().map(|e| e.origin), Some(Created));
    assert!(plan.actions[0].was_absent);
    let plan = Table::default().file("/a", b"x").there("/a", b"other").plan();
    assert_eq!(plan.actions[0].afterwards.as_ref().map(|e| e.origin), Some(Adopted));
}

#[test]
fn nothing_is_done_where_everything_is_in_place() {
    let table = Table::default().file("/a", b"x").there("/a", b"x").owned("/a", Fil, Created);
    assert_eq!(table.plan(), Plan { standings: vec![Standing::InPlace], ..Plan::default() });
}

#[test]
fn only_attributes_that_are_named_are_set() {
    let mut table = Table::default().file("/a", b"x").there("/a", b"x");
    table.desired.files[0].attributes.owner = Some("bob".into());
    assert_eq!(table.actions(), ["note /a"]);
    table.desired.files[0].attributes.mode = Mode::new(0o600);
    assert_eq!(table.actions(), ["set attributes /a"]);
}

#[test]
fn a_secret_file_is_closed_without_being_told() {
    let mut table = Table::default();
    let salt = Salt::new([1; 32]);
    let digest = Digest::of_salted(Some(&salt), b"x");
    let source = Source::Content(crate::model::Content { digest, salt: Some(salt), size: 1 });
    table.desired.files.push(File {
        path: path("/a"),
        source,
        attributes: Attributes::default(),
        drift: Drift::Enforce,
    });
    assert_eq!(table.there("/a", b"x").actions(), ["set attributes /a"]);
}

#[test]
fn somebody_elses_thing_of_another_kind_is_in_the_way_and_one_s_own_is_cleared_away() {
    let table = Table::default().file("/a", b"x").there_directory("/a");
    assert_eq!((table.reasons(), table.actions().len()), (vec!["WrongKind"], 0));
    let table = table.owned("/a", Dir, Created);
    assert_eq!((table.reasons(), table.actions()), (vec!["Pending"], vec!["remove directory /a".to_owned()]));
    let table = Table::default().file("/a/b", b"x").there("/a", b"y");
    assert_eq!((table.reasons(), table.actions().len()), (vec!["WrongKind"], 0));
    assert_eq!(table.owned("/a", Fil, Created).actions(), ["remove file /a"]);
    let table = Table::default().file("/a", b"x").there_directory("/a").owned("/a", Dir, Adopted);
    assert_eq!((table.reasons(), table.actions().len()), (vec!["WrongKind"], 0));
}

#[test]
fn nothing_is_cleared_away_before_what_replaces_it_has_come() {
    let table = Table::default().file("/a", b"x").there_directory("/a").owned("/a", Dir, Created).without_contents();
    assert_eq!((table.reasons(), table.actions().len()), (vec!["Pending"], 0));
}

#[test]
fn what_was_created_is_pruned_from_the_leaves_upwards_and_what_was_adopted_is_forgotten() {
    let table = Table::default()
        .there_directory("/a")
        .there("/a/b", b"x")
        .there("/c", b"x")
        .owned("/a", Dir, Created)
        .owned("/a/b", Fil, Created)
        .owned("/c", Fil, Adopted)
        .owned("/gone", Fil, Created);
    assert_eq!(table.actions(), ["remove file /a/b", "note /c", "note /gone"]);
    let mut table = table;
    table.ledger.remove("/a/b");
    assert!(table.actions().contains(&"remove directory /a".to_owned()));
}

#[test]
fn a_directory_that_something_wanted_lies_in_is_not_pruned() {
    let table = Table::default().file("/a/b", b"x").there_directory("/a").there("/a/b", b"x");
    let table = table.owned("/a", Dir, Created).owned("/a/b", Fil, Created);
    assert_eq!(table.actions(), [""; 0]);
}

#[test]
fn what_is_old_stays_until_what_is_new_has_come() {
    let table = Table::default().file("/new", b"x").there("/old", b"y").owned("/old", Fil, Created);
    assert_eq!(table.actions(), ["write file /new"]);
    let table = table.without_contents();
    assert_eq!(table.actions(), [""; 0]);
    assert_eq!(table.plan().leftovers, [(Thing::File(path("/old")), Standing::Pending)]);
    let table = table.there("/new", b"x").owned("/new", Fil, Created);
    assert_eq!(table.actions(), ["remove file /old"]);
}

#[test]
fn a_content_that_cannot_be_had_fails_its_file_alone() {
    let mut table = Table::default().file("/a", b"x").file("/b", b"y").there("/old", b"z").owned("/old", Fil, Created);
    table.contents.insert(Digest::of(b"x"), Availability::Failing(Trouble::new("DownloadFailed", "404")));
    assert_eq!(table.reasons(), ["DownloadFailed", "Pending"]);
    assert_eq!(table.actions(), ["write file /b"]);
    assert_eq!(table.there("/b", b"y").owned("/b", Fil, Created).actions(), ["remove file /old"]);
}

#[test]
fn under_audit_a_change_of_the_entry_is_carried_out_and_a_difference_is_only_told() {
    let drifted = Table::default().file("/a", b"x").audited().there("/a", b"other").owned("/a", Fil, Created);
    assert_eq!((drifted.reasons(), drifted.actions().len()), (vec!["Drifted"], 0));
    let missing = Table::default().file("/a", b"x").audited().owned("/a", Fil, Created);
    assert_eq!((missing.reasons(), missing.actions().len()), (vec!["Drifted"], 0));
    let mut changed = drifted;
    changed.desired.files[0].attributes.mode = Mode::new(0o600);
    assert_eq!(changed.actions(), ["write file /a"]);
    let new = Table::default().file("/a", b"x").audited();
    assert_eq!(new.actions(), ["write file /a"]);
}

#[test]
fn under_audit_a_lost_ledger_overwrites_nothing() {
    let mut table = Table::default().file("/a", b"x").audited().there("/a", b"other");
    table.ledger_lost = true;
    assert_eq!((table.reasons(), table.actions()), (vec!["Drifted"], vec!["note /a".to_owned()]));
}

#[test]
fn what_failed_waits_for_its_time_and_what_depends_on_it_says_so() {
    let mut table = Table::default().directory("/a").file("/a/b", b"x").file("/c", b"x");
    let wish = entries(&table.desired)[0].wish.clone();
    table.retries.failed("/a", &wish, Trouble::new("PermissionDenied", "no"), Duration::from_secs(100));
    assert_eq!(table.reasons(), ["PermissionDenied", "WaitingForDirectory", "Pending"]);
    assert_eq!(table.actions(), ["write file /c"], "not due yet");
    table.retries = Retries::default();
    table.retries.failed("/a", &wish, Trouble::new("PermissionDenied", "no"), Duration::from_secs(50));
    assert_eq!(table.actions(), ["create directory /a", "write file /c"]);
    assert_eq!(table.reasons()[0], "PermissionDenied", "told until it works");
}
