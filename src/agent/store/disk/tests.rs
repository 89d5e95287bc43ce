//! The store on disk beside the one in memory, and what becomes of files that were altered.

use std::fs::{self, OpenOptions};

use super::*;
use crate::{
    agent::{
        place::Thing,
        store::{MemoryStore, Origin},
    },
    model::HostPath,
    trust::{Sealed, SigningKey, seal},
};

fn entry(path: &str) -> LedgerEntry {
    let thing = Thing::File(HostPath::parse(path).expect("path"));
    LedgerEntry { thing, origin: Origin::Created, carried_out: "ab".into() }
}

fn intent(path: &str) -> JournalEntry {
    JournalEntry { entry: entry(path), was_absent: true, digest: "00".into(), salt: String::new(), removal: false }
}

fn voucher() -> Voucher {
    let key = SigningKey::generate().expect("a key");
    Voucher { envelope: seal(Sealed::Statement, b"statement".to_vec(), &key), signer: key.public() }
}

fn each_kind(behaviour: impl Fn(&dyn Store)) {
    behaviour(&MemoryStore::default());
    let folder = tempfile::tempdir().expect("folder");
    behaviour(&DiskStore::open(folder.path()).expect("open"));
}

#[test]
fn what_is_kept_is_given_back() {
    each_kind(|store| {
        assert_eq!((store.last_session(), store.desired(), store.applied()), (Ok(0), Ok(None), Ok(None)));
        let document = KeptDocument { bytes: b"doc".to_vec(), voucher: None };
        store.set_last_session(7).expect("session");
        store.set_desired(Some(&document)).expect("desired");
        store.set_applied(Some("ab")).expect("applied");
        store.set_released(true).expect("released");
        assert_eq!(store.last_session(), Ok(7));
        assert_eq!(store.desired(), Ok(Some(document.clone())));
        assert_eq!(store.applied(), Ok(Some("ab".into())));
        assert_eq!(store.released(), Ok(true));
        let voucher = voucher();
        store.set_voucher(&voucher).expect("voucher");
        let vouched = KeptDocument { voucher: Some(voucher), ..document.clone() };
        assert_eq!(store.desired(), Ok(Some(vouched.clone())));
        store.set_desired(Some(&document)).expect("desired");
        assert_eq!(store.desired(), Ok(Some(document)), "nobody vouches for it any more");
        store.set_desired(Some(&vouched)).expect("desired");
        assert_eq!(store.desired(), Ok(Some(vouched)));
        store.set_desired(None).expect("desired");
        assert_eq!(store.desired(), Ok(None));
    });
}

#[test]
fn settling_an_entry_clears_the_journal() {
    each_kind(|store| {
        store.set_journal(&intent("/a")).expect("journal");
        assert_eq!(store.journal(), Ok(Some(intent("/a"))));
        store.settle("/a", Some(&entry("/a"))).expect("settle");
        assert_eq!(store.journal(), Ok(None));
        assert_eq!(store.ledger(), Ok(vec![("/a".into(), entry("/a"))]));
        store.settle("/a", None).expect("settle");
        assert_eq!(store.ledger(), Ok(vec![]));
    });
}

#[test]
fn a_store_that_is_opened_again_has_kept_everything() {
    let folder = tempfile::tempdir().expect("folder");
    {
        let store = DiskStore::open(folder.path()).expect("open");
        store.set_last_session(3).expect("session");
        store.set_journal(&intent("/a")).expect("journal");
    }
    let store = DiskStore::open(folder.path()).expect("open again");
    assert_eq!((store.last_session(), store.journal()), (Ok(3), Ok(Some(intent("/a")))));
    assert_eq!(store.damage(), None);
}

#[test]
fn two_agents_never_share_a_state_directory() {
    let folder = tempfile::tempdir().expect("folder");
    let _first = DiskStore::open(folder.path()).expect("open");
    assert!(matches!(DiskStore::open(folder.path()), Err(OpenError::InUse(_))));
}

#[test]
fn a_damaged_file_is_moved_aside_and_said_until_a_revision_was_carried_out() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("agent.redb");
    {
        let store = DiskStore::open(folder.path()).expect("open");
        for i in 0..200 {
            store.settle(&format!("/{i}"), Some(&entry("/x"))).expect("settle");
        }
    }
    let mut bytes = fs::read(&path).expect("file");
    let at = bytes.windows(9).position(|w| w == b"\"Created\"").expect("a record");
    bytes[at + 1] ^= 1;
    for byte in &mut bytes[4096..] {
        *byte = byte.wrapping_add(u8::from(*byte == b'C'));
    }
    fs::write(&path, bytes).expect("damage");

    let store = DiskStore::open(folder.path()).expect("begun anew");
    let said = store.damage().expect("said");
    assert!(said.contains("agent.redb.damaged"), "{said}");
    assert_eq!(store.ledger(), Ok(vec![]));
    assert!(folder.path().join("agent.redb.damaged").exists());
    drop(store);

    let store = DiskStore::open(folder.path()).expect("open");
    assert!(store.damage().is_some(), "nothing was carried out since");
    store.set_applied(Some("ab")).expect("applied");
    drop(store);
    assert_eq!(DiskStore::open(folder.path()).expect("open").damage(), None);
}

#[test]
fn a_file_of_rubbish_or_cut_short_is_damage_too() {
    for rubbish in [vec![7u8; 10], vec![0u8; 100_000]] {
        let folder = tempfile::tempdir().expect("folder");
        fs::write(folder.path().join("agent.redb"), rubbish).expect("rubbish");
        assert!(DiskStore::open(folder.path()).expect("begun anew").damage().is_some());
    }
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("agent.redb");
    drop(DiskStore::open(folder.path()).expect("open"));
    let length = fs::metadata(&path).expect("file").len();
    OpenOptions::new().write(true).open(&path).and_then(|f| f.set_len(length / 3)).expect("cut");
    assert!(DiskStore::open(folder.path()).expect("begun anew").damage().is_some());
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().expect("folder");
    {
        let store = DiskStore::open(folder.path()).expect("open");
        store.put("format", Some(&2u64)).expect("format");
    }
    assert!(matches!(DiskStore::open(folder.path()), Err(OpenError::Newer { found: 2, .. })));
}
