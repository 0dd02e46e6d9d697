//! A million rows from strangers, or one of a gigabyte, must not get in by any door.
//!
//! The store's caps are generous, and they hold at three places: when a change is appended, when a
//! journal is replayed, and when a snapshot is loaded. The failure guarded against is a cap that
//! holds at one door only: what a snapshot or a journal brings in is then in memory after a
//! restart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::made;

use std::fs;

use common::{address, peer};
use peer_journal::{
    ErrorKind, Lsn, Outcome, P2PState, P2PStatePersistence, SerializedPeer, seal_snapshot,
    state::{Address, Change, Limits, PeerKey, limits},
    testing::SimDisk,
};

fn small() -> Limits {
    let mut limits = Limits::default();
    limits.peers = 3;
    limits.addresses_per_peer = 2;
    limits.dht_entries = 2;
    limits.packages = 2;
    limits.bootstrap_nodes = 2;
    limits.bans = 2;
    limits.value_bytes = 100;
    limits
}

fn seen(number: u64, ports: &[u16]) -> Change {
    Change::PeerSeen {
        peer: peer(number).into(),
        at: made::noon().into(),
        addresses: ports.iter().map(|port| Address::from(address(*port))).collect(),
    }
}

fn put(key: &str, bytes: usize) -> Change {
    Change::DhtPut { key: key.into(), value: vec![7; bytes].into(), at: made::noon().into() }
}

fn cache(id: &str, bytes: usize) -> Change {
    Change::PackageCached { id: id.into(), data: vec![7; bytes].into(), at: made::noon().into() }
}

fn bootstrap(node: &str) -> Change {
    Change::BootstrapAdded { node: node.into() }
}

fn ban(number: u64) -> Change {
    let until = (made::noon() + chrono::TimeDelta::days(1)).into();
    let (peer, at) = (peer(number).into(), made::noon().into());
    Change::Banned { peer, at, until, reason: "r".into(), source: "s".into() }
}

/// What fills each limit of [`small`], and then one more of each kind.
fn fill() -> Vec<Change> {
    let mut changes = vec![seen(1, &[1, 2]), seen(2, &[]), seen(3, &[])];
    changes.extend([put("a", 30), put("b", 30), cache("a", 20), cache("b", 20)]);
    changes.extend([bootstrap("a"), bootstrap("b"), ban(1), ban(2)]);
    changes
}

fn one_more() -> Vec<(&'static str, Change)> {
    vec![
        ("peers", seen(4, &[])),
        ("peers", Change::RetrievalFailed { peer: peer(5).into(), at: made::noon().into() }),
        ("addresses_per_peer", seen(1, &[3])),
        ("dht_entries", put("c", 1)),
        ("packages", cache("c", 1)),
        ("bootstrap_nodes", bootstrap("c")),
        ("bans", ban(3)),
        ("value_bytes", put("a", 31)),
    ]
}

#[test]
fn a_limit_at_append_is_an_error_that_names_it_and_changes_nothing() {
    let disk = SimDisk::new(1);
    let store = made::builder(&disk).limits(small()).open().unwrap();
    for change in fill() {
        store.append(change).unwrap();
    }
    let (before, lsn) = (made::picture(store.view().unwrap().state()), store.view().unwrap().lsn());
    for (limit, change) in one_more() {
        let error = store.append(change.clone()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{limit}: {error}");
        assert!(error.to_string().contains(limit), "{limit}: {error}");
        // In a batch it takes the others with it: all or none.
        let error = store.append_batch([seen(1, &[]), ban(2), change]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "{limit}: {error}");
    }
    assert_eq!(made::picture(store.view().unwrap().state()), before);
    assert_eq!(store.view().unwrap().lsn(), lsn);
    // Room that is made can be used.
    store.append(Change::PeerForgotten { peer: peer(2).into() }).unwrap();
    store.append(seen(4, &[])).unwrap();
}

fn text(len: usize) -> String {
    "x".repeat(len)
}

/// Makes a change with a field of this length.
type Make = Box<dyn Fn(usize) -> Change>;

#[test]
fn every_field_has_a_longest_length_at_append() {
    let disk = SimDisk::new(1);
    let store = made::builder(&disk).open().unwrap();
    let with_address = |len: usize| Change::AddressesAdded {
        peer: peer(1).into(),
        addresses: vec![Address::from_text(&text(len))],
    };
    let profile = |agent: usize, count: usize, protocol: usize| Change::PeerProfiled {
        peer: peer(1).into(),
        agent: Some(text(agent).into()),
        protocols: vec![text(protocol).into(); count],
    };
    let banned = |reason: usize, source: usize| Change::Banned {
        peer: peer(1).into(),
        at: made::noon().into(),
        until: (made::noon() + chrono::TimeDelta::days(1)).into(),
        reason: text(reason).into(),
        source: text(source).into(),
    };
    let forget =
        |len: usize| Change::PeerVerified { peer: PeerKey::from_text(&text(len)), verified: true };
    let named = |len: usize| put(&text(len), 0);
    let packed = |len: usize| cache(&text(len), 0);
    let node = |len: usize| bootstrap(&text(len));
    let cases: Vec<(usize, Make)> = vec![
        (limits::PEER_ID_BYTES_MAX, Box::new(forget)),
        (limits::ADDRESS_BYTES_MAX, Box::new(with_address)),
        (limits::ADDRESS_BYTES_MAX, Box::new(node)),
        (limits::AGENT_BYTES_MAX, Box::new(move |len| profile(len, 0, 0))),
        (limits::PROTOCOLS_MAX, Box::new(move |count| profile(1, count, 1))),
        (limits::PROTOCOL_BYTES_MAX, Box::new(move |len| profile(1, 1, len))),
        (limits::REASON_BYTES_MAX, Box::new(move |len| banned(len, 1))),
        (limits::SOURCE_BYTES_MAX, Box::new(move |len| banned(1, len))),
        (limits::KEY_BYTES_MAX, Box::new(named)),
        (limits::KEY_BYTES_MAX, Box::new(packed)),
        (limits::VALUE_BYTES_MAX, Box::new(|len| put("value", len))),
        (limits::VALUE_BYTES_MAX, Box::new(|len| cache("value", len))),
    ];
    for (index, (most, make)) in cases.iter().enumerate() {
        store.append(make(*most)).unwrap_or_else(|error| panic!("case {index}: {error}"));
        let error = store.append(make(most + 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit, "case {index}: {error}");
        assert!(error.to_string().len() < 400, "case {index}: the text is not repeated: {error}");
    }
}

#[test]
fn a_batch_of_more_than_16_mib_is_a_limit_and_not_a_panic() {
    let disk = SimDisk::new(1);
    let store = made::builder(&disk).open().unwrap();
    let error = store.append_batch([put("a", 9 << 20), put("b", 9 << 20)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error}");
    assert_eq!(store.view().unwrap().lsn(), Lsn::ZERO);
}

/// Written under large limits and opened under small ones. The rows past the limit are kept out and
/// counted; the journal and the snapshots on disk still have them until two compactions have
/// passed.
#[tokio::test]
async fn a_replay_past_the_limits_counts_what_it_keeps_out_and_leaves_the_disk_as_it_is() {
    let disk = SimDisk::new(1);
    let store = made::builder(&disk).open().unwrap();
    for change in fill() {
        store.append(change).unwrap();
    }
    for (_, change) in one_more() {
        store.append(change).unwrap();
    }
    let all = made::picture(store.view().unwrap().state());
    drop(store);
    let before = made::data_files(&disk);
    let store = made::builder(&disk).limits(small()).open().unwrap();
    let report = store.recovery().unwrap();
    assert_eq!(report.outcome, Outcome::Clean, "{report}");
    assert_eq!(report.skipped, one_more().len() as u64, "{report}");
    assert!(report.first_skipped.as_ref().unwrap().contains("peers"), "{report}");
    assert!(report.to_string().contains("kept out by a limit"), "{report}");
    assert_eq!(report.replayed, report.last_lsn.get(), "{report}");
    let counts = store.view().unwrap().state().counts();
    assert_eq!((counts.peers, counts.bans, counts.dht_entries, counts.packages), (3, 2, 2, 2));
    drop(store);
    for (path, bytes) in before {
        assert_eq!(disk.read(&path).unwrap(), bytes, "{}", path.display());
    }
    let (again, report) = made::look(&disk);
    assert_eq!(again, all, "with the old limits everything is there\n{report}");
    assert_eq!(report.skipped, 0, "{report}");
}

/// A record is all or nothing at replay, too: half an update would be a state that never was.
#[test]
fn a_batch_that_breaks_a_limit_at_replay_is_kept_out_as_a_whole() {
    let disk = SimDisk::new(1);
    let store = made::builder(&disk).open().unwrap();
    store.append_batch([seen(1, &[]), seen(2, &[])]).unwrap();
    store.append_batch([ban(1), seen(3, &[]), seen(4, &[])]).unwrap();
    store.append(ban(2)).unwrap();
    drop(store);
    let store = made::builder(&disk).limits(small()).open().unwrap();
    let counts = store.view().unwrap().state().counts();
    assert_eq!((counts.peers, counts.bans), (2, 1));
    assert_eq!(store.recovery().unwrap().skipped, 1);
    assert_eq!(store.view().unwrap().lsn(), Lsn::new(3), "numbers are not used again");
}

#[tokio::test]
async fn a_snapshot_past_the_limits_is_loaded_up_to_them_and_what_is_kept_out_is_counted() {
    let disk = SimDisk::new(1);
    let store = made::builder(&disk).open().unwrap();
    for change in fill().into_iter().chain(one_more().into_iter().map(|(_, change)| change)) {
        store.append(change).unwrap();
    }
    store.compact().await.unwrap();
    drop(store);
    let store = made::builder(&disk).limits(small()).open().unwrap();
    let report = store.recovery().unwrap();
    assert_eq!((report.outcome, report.replayed), (Outcome::Clean, 0), "{report}");
    let view = store.view().unwrap();
    let counts = view.state().counts();
    assert!(view.state().peers().count() <= 3, "{counts:?}");
    assert!(counts.dht_entries <= 2 && counts.packages <= 2 && counts.bans <= 2, "{counts:?}");
    assert_eq!(counts.bootstrap_nodes, 2, "one node too many must not cost all of them");
    assert!(view.state().value_bytes() <= 100);
    for (_, entry) in view.state().peers() {
        assert!(entry.seen.as_ref().is_none_or(|seen| seen.addresses.len() <= 2));
    }
    assert_eq!(report.skipped, 6, "{report}");
}

/// An operator pastes rows into the snapshot, some of them absurd, and seals it.
#[tokio::test]
async fn sealing_refuses_an_edited_snapshot_that_breaks_a_limit_and_leaves_it_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    let store = P2PStatePersistence::open(&path).unwrap();
    let mut state = P2PState::default();
    state.peers.push(SerializedPeer {
        peer_id: "12D3KooWTest".into(),
        addresses: vec!["/ip4/127.0.0.1/tcp/8080".into()],
        last_seen: made::noon(),
    });
    store.update_state(state).await.unwrap();
    store.save_state().await.unwrap();
    drop(store);
    let text = fs::read_to_string(&path).unwrap();
    let edited = text.replace("/ip4/127.0.0.1/tcp/8080", &"x".repeat(2000));
    fs::write(&path, &edited).unwrap();
    let error = seal_snapshot(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), edited);
    let edited = text.replace("tcp/8080", "tcp/9090");
    fs::write(&path, &edited).unwrap();
    seal_snapshot(&path).unwrap();
    let store = P2PStatePersistence::open(&path).unwrap();
    let loaded = store.load_state().await.unwrap();
    assert_eq!(loaded.peers[0].addresses, ["/ip4/127.0.0.1/tcp/9090"]);
    assert_eq!(store.recovery().unwrap().outcome, Outcome::Clean);
}

/// A version 1 file knows no limits. Its rows within the limits are taken over, and the original
/// stays.
#[tokio::test]
async fn a_version_1_file_past_the_limits_is_migrated_up_to_them_and_kept_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    let mut old = P2PState { version: 1, ..P2PState::default() };
    for number in 0..10 {
        old.peers.push(SerializedPeer {
            peer_id: format!("peer {number}"),
            addresses: vec!["x".repeat(if number == 9 { 2000 } else { 20 })],
            last_seen: made::noon(),
        });
    }
    let text = serde_json::to_string_pretty(&old).unwrap();
    fs::write(&path, &text).unwrap();
    let mut limits = Limits::default();
    limits.peers = 5;
    let store = P2PStatePersistence::builder(&path).limits(limits).open().unwrap();
    let report = store.recovery().unwrap();
    assert_eq!((report.outcome, report.skipped), (Outcome::Migrated, 5), "{report}");
    assert_eq!(store.view().unwrap().state().counts().peers, 5);
    let kept = fs::read_to_string(store.journal_dir().join("snapshot-version-1.json")).unwrap();
    assert_eq!(kept, text);
}
