//! Programs were written against the system that this crate replaces, and they must not notice.
//!
//! They build rows with literals, call in any order, store ids that are none, keep a second handle
//! around, and expect what they saved to be there. Each test is one thing such a program does; it
//! fails when the replacement behaves differently or keeps less.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, TimeZone, Utc};
use common::peer;
use peer_journal::{
    Ack, Changes, Error, ErrorKind, Lsn, MarketplaceError, Multiaddr, P2PState,
    P2PStatePersistence, PeerId, SerializedCacheEntry, SerializedDHTEntry, SerializedGeoLocation,
    SerializedPeer, SerializedReputation, View, multiaddr_to_string, peer_id_to_string,
    string_to_multiaddr, string_to_peer_id,
};

fn now() -> DateTime<Utc> {
    Utc::now()
}

/// One row of each kind, none of whose ids and addresses would pass a parser.
fn rows() -> P2PState {
    P2PState {
        version: 2,
        peers: vec![SerializedPeer {
            peer_id: "12D3KooWTest".to_string(),
            addresses: vec!["/ip4/127.0.0.1/tcp/8080".to_string(), "no address".to_string()],
            last_seen: now(),
        }],
        reputation: vec![SerializedReputation {
            peer_id: "12D3KooWTest".to_string(),
            successful_retrievals: 10,
            failed_retrievals: 2,
            last_seen: now(),
            avg_response_time_ms: 150,
            location: Some(SerializedGeoLocation {
                latitude: 37.7749,
                longitude: -122.4194,
                region: Some("US-West".to_string()),
            }),
            packages_provided: 5,
        }],
        dht_entries: vec![SerializedDHTEntry {
            key: "key".to_string(),
            value: vec![0, 1, 254, 255],
            stored_at: now(),
        }],
        package_cache: vec![cached("package", 3, now())],
        bootstrap_nodes: vec!["/dnsaddr/one".to_string(), "two".to_string()],
        saved_at: now(),
    }
}

fn cached(id: &str, bytes: usize, cached_at: DateTime<Utc>) -> SerializedCacheEntry {
    SerializedCacheEntry {
        package_id: id.to_string(),
        package_data: (0..bytes).map(|index| (index * 7) as u8).collect(),
        cached_at,
    }
}

/// The rows without the time of the save, which is the store's own.
fn bare(mut state: P2PState) -> P2PState {
    state.saved_at = DateTime::UNIX_EPOCH;
    state
}

fn store_in(folder: &tempfile::TempDir) -> (P2PStatePersistence, PathBuf) {
    let path = folder.path().join("sub/folder/p2p-state.json");
    (P2PStatePersistence::new_with_path(path.clone()).unwrap(), path)
}

/// All files below a folder but the lock, with their bytes.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.file_name().unwrap() != "LOCK" {
            let bytes = fs::read(&path).unwrap();
            found.push((path, bytes));
        }
    }
    found.sort();
    found
}

#[test]
fn the_handle_and_what_it_gives_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    fn cloned<T: Clone>() {}
    fn sent<T: Send>(_: &T) {}
    shared::<P2PStatePersistence>();
    shared::<Ack>();
    shared::<View>();
    shared::<Error>();
    shared::<MarketplaceError>();
    fn moved<T: Send>() {}
    moved::<Changes>();
    cloned::<P2PStatePersistence>();
    cloned::<View>();
    cloned::<Error>();
    cloned::<MarketplaceError>();
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = store_in(&folder);
    sent(&store.load_state());
    sent(&store.save_state());
    sent(&store.update_state(P2PState::default()));
    sent(&store.get_state());
    sent(&store.start_auto_save());
    sent(&store.stop_auto_save());
    sent(&store.persist_on_shutdown());
    sent(&store.close());
    sent(&store.compact());
    sent(&store.sync());
}

#[test]
fn the_default_state_is_empty_of_the_current_version_and_never_saved() {
    let state = P2PState::default();
    assert_eq!(state.version, P2PState::CURRENT_VERSION);
    assert!(state.peers.is_empty() && state.reputation.is_empty());
    assert!(state.dht_entries.is_empty() && state.package_cache.is_empty());
    assert!(state.bootstrap_nodes.is_empty());
}

#[test]
fn ids_and_addresses_go_to_text_and_back_and_nonsense_is_an_error() {
    let id: PeerId = peer(1);
    let text = peer_id_to_string(&id);
    assert_eq!(string_to_peer_id(&text).unwrap(), id);
    let address: Multiaddr = "/ip4/10.0.0.1/tcp/4001".parse().unwrap();
    let text = multiaddr_to_string(&address);
    assert_eq!(text, "/ip4/10.0.0.1/tcp/4001");
    assert_eq!(string_to_multiaddr(&text).unwrap(), address);
    for nonsense in ["", "12D3KooWTest!", "no address", "/ip4/300.0.0.1", "\u{0}"] {
        let MarketplaceError::PersistenceError { reason } =
            string_to_peer_id(nonsense).unwrap_err()
        else {
            panic!("the only variant there is");
        };
        assert!(!reason.is_empty());
        if !nonsense.is_empty() {
            string_to_multiaddr(nonsense).unwrap_err();
        }
    }
}

#[test]
fn errors_of_the_old_calls_carry_a_reason() {
    let error = MarketplaceError::persistence_error("the disk is on fire");
    let MarketplaceError::PersistenceError { ref reason } = error else {
        panic!("the only variant there is");
    };
    assert_eq!(reason, "the disk is on fire");
    assert!(error.to_string().contains("the disk is on fire"));
    let _: &dyn std::error::Error = &error;
}

#[tokio::test]
async fn a_missing_file_gives_the_default_state_whichever_call_comes_first() {
    let folder = tempfile::tempdir().unwrap();
    let (store, path) = store_in(&folder);
    assert!(path.parent().unwrap().is_dir(), "the parent folder is made at once");
    assert_eq!(store.get_state().await.unwrap(), P2PState::default());
    assert_eq!(store.load_state().await.unwrap(), P2PState::default());
    assert!(!path.exists(), "nothing was saved yet");
}

#[tokio::test]
async fn update_then_save_on_a_fresh_handle_keeps_every_row_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let (store, path) = store_in(&folder);
    let state = rows();
    store.update_state(state.clone()).await.unwrap();
    store.save_state().await.unwrap();
    assert_eq!(bare(store.get_state().await.unwrap()), bare(state.clone()));
    drop(store);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("\"12D3KooWTest\"") && text.contains("\"no address\""), "{text}");
    let store = P2PStatePersistence::new_with_path(path).unwrap();
    let loaded = store.load_state().await.unwrap();
    assert!(loaded.saved_at >= state.saved_at, "the time of the save");
    assert_eq!(bare(loaded), bare(state));
}

/// The old system lost this: an update that nobody saved.
#[tokio::test]
async fn an_update_is_kept_without_any_save() {
    let folder = tempfile::tempdir().unwrap();
    let (store, path) = store_in(&folder);
    store.update_state(rows()).await.unwrap();
    assert!(!path.exists(), "only the journal has it");
    let expected = bare(store.get_state().await.unwrap());
    drop(store);
    let store = P2PStatePersistence::new_with_path(path).unwrap();
    assert_eq!(bare(store.get_state().await.unwrap()), expected);
}

/// Ids that differ only in ways that a parser would mend are different ids.
#[tokio::test]
async fn odd_texts_come_back_exactly_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let (store, path) = store_in(&folder);
    let good = peer_id_to_string(&peer(1));
    let ids = ["", " ", "12D3KooWTest", "\u{1f980}", "a\nb\0c", "\"quoted\\\"", "QmFoo"];
    let mut ids: Vec<String> = ids.iter().map(|id| (*id).to_string()).collect();
    ids.extend([good.clone(), format!("{good} "), good.to_lowercase(), format!("1{good}")]);
    let odd_addresses = ["", "/", "/ip4/127.0.0.1/tcp/08080", "/ip4/1.2.3.4/", "/dns4/X/tcp/1"];
    let mut state = P2PState::default();
    for id in &ids {
        state.peers.push(SerializedPeer {
            peer_id: id.clone(),
            addresses: odd_addresses.iter().map(|address| (*address).to_string()).collect(),
            last_seen: Utc.with_ymd_and_hms(1969, 7, 20, 20, 17, 40).unwrap(),
        });
    }
    state.bootstrap_nodes = odd_addresses.iter().map(|node| (*node).to_string()).collect();
    state.dht_entries =
        vec![SerializedDHTEntry { key: String::new(), value: Vec::new(), stored_at: now() }];
    state.peers.sort_by(|a, b| a.peer_id.cmp(&b.peer_id));
    store.update_state(state.clone()).await.unwrap();
    assert_eq!(bare(store.get_state().await.unwrap()), bare(state.clone()), "in memory");
    store.close().await.unwrap();
    let store = P2PStatePersistence::new_with_path(path.clone()).unwrap();
    assert_eq!(bare(store.load_state().await.unwrap()), bare(state.clone()), "from the journal");
    store.save_state().await.unwrap();
    drop(store);
    let store = P2PStatePersistence::new_with_path(path).unwrap();
    assert_eq!(store.recovery().unwrap().replayed, 0);
    assert_eq!(bare(store.load_state().await.unwrap()), bare(state), "from the snapshot");
}

#[tokio::test]
async fn a_second_handle_reads_but_is_told_who_holds_the_lock_when_it_writes() {
    let folder = tempfile::tempdir().unwrap();
    let (first, path) = store_in(&folder);
    first.update_state(rows()).await.unwrap();
    let before = files(folder.path());
    let second = P2PStatePersistence::new_with_path(path).unwrap();
    let expected = bare(first.get_state().await.unwrap());
    assert_eq!(bare(second.load_state().await.unwrap()), expected);
    assert_eq!(bare(second.get_state().await.unwrap()), expected);
    let pid = format!("pid={}", std::process::id());
    for result in [
        second.save_state().await,
        second.update_state(P2PState::default()).await,
        second.persist_on_shutdown().await,
        second.start_auto_save().await,
    ] {
        let text = result.unwrap_err().to_string();
        assert!(text.contains("locked") && text.contains(&pid), "{text}");
    }
    second.stop_auto_save().await;
    assert!(before == files(folder.path()), "the second handle wrote something");
    assert_eq!(bare(first.get_state().await.unwrap()), expected);
    // It is no dead end: once the first handle is gone the second one writes.
    drop(first);
    second.save_state().await.unwrap();
    assert_eq!(bare(second.get_state().await.unwrap()), expected);
}

#[tokio::test]
async fn dropping_a_handle_and_opening_again_at_once_always_works() {
    let folder = tempfile::tempdir().unwrap();
    let (store, path) = store_in(&folder);
    store.load_state().await.unwrap();
    drop(store);
    for round in 0..50_u64 {
        let store = P2PStatePersistence::new_with_path(path.clone()).unwrap();
        let clone = store.clone();
        let view = store.view().unwrap();
        assert_eq!(view.state().dht_entries().count() as u64, round);
        store.dht_put(&format!("key {round}"), &round.to_le_bytes()).unwrap();
        drop(store);
        drop(clone);
    }
    let store = P2PStatePersistence::new_with_path(path).unwrap();
    assert_eq!(store.view().unwrap().lsn(), Lsn::new(50), "a drop syncs what is unsynced");
}

#[tokio::test]
async fn close_reports_and_releases_and_later_calls_say_closed() {
    let folder = tempfile::tempdir().unwrap();
    let (store, path) = store_in(&folder);
    store.update_state(rows()).await.unwrap();
    store.start_auto_save().await.unwrap();
    store.close().await.unwrap();
    store.close().await.unwrap();
    let again = P2PStatePersistence::new_with_path(path).unwrap();
    again.save_state().await.unwrap();
    assert_eq!(store.append(forget(1)).unwrap_err().kind(), ErrorKind::Closed);
    let text = store.save_state().await.unwrap_err().to_string();
    assert!(text.contains("closed"), "{text}");
    let text = store.update_state(P2PState::default()).await.unwrap_err().to_string();
    assert!(text.contains("closed"), "{text}");
}

fn forget(number: u64) -> peer_journal::state::Change {
    peer_journal::state::Change::PeerForgotten { peer: peer(number).into() }
}

#[tokio::test]
async fn persist_on_shutdown_saves_and_leaves_the_handle_usable() {
    let folder = tempfile::tempdir().unwrap();
    let (store, path) = store_in(&folder);
    store.start_auto_save().await.unwrap();
    store.update_state(rows()).await.unwrap();
    store.persist_on_shutdown().await.unwrap();
    let saved = fs::read_to_string(&path).unwrap();
    assert!(saved.contains("12D3KooWTest"), "{saved}");
    store.persist_on_shutdown().await.unwrap();
    store.update_state(P2PState::default()).await.unwrap();
    assert_eq!(bare(store.get_state().await.unwrap()), P2PState::default());
}

#[tokio::test]
async fn an_update_that_breaks_a_limit_changes_nothing_at_all() {
    let folder = tempfile::tempdir().unwrap();
    let (store, path) = store_in(&folder);
    store.update_state(rows()).await.unwrap();
    let (before, lsn) = (store.get_state().await.unwrap(), store.view().unwrap().lsn());
    let mut too_long = P2PState::default();
    too_long.peers.push(SerializedPeer {
        peer_id: "another".into(),
        addresses: vec!["x".repeat(5000)],
        last_seen: now(),
    });
    let mut no_place = rows();
    no_place.reputation[0].location.as_mut().unwrap().latitude = f64::NAN;
    let mut too_large = rows();
    too_large.package_cache.push(cached("large", (15 << 20) + 1, now()));
    let mut too_large_for_a_record = too_large.clone();
    too_large_for_a_record.package_cache.push(cached("too", 9 << 20, now()));
    let mut newer = rows();
    newer.version = 3;
    for (what, state) in [
        ("a long address", too_long),
        ("a place that is none", no_place),
        ("a large package", too_large),
        ("a large package in a large difference", too_large_for_a_record),
        ("a newer version", newer),
    ] {
        let error = store.update_state(state).await.unwrap_err();
        println!("{what}: {error}");
        assert_eq!(store.get_state().await.unwrap(), before, "{what}");
        assert_eq!(store.view().unwrap().lsn(), lsn, "{what}");
    }
    drop(store);
    let store = P2PStatePersistence::new_with_path(path).unwrap();
    assert_eq!(bare(store.get_state().await.unwrap()), bare(before));
}

#[tokio::test]
async fn an_update_with_the_same_rows_journals_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = store_in(&folder);
    store.update_state(rows()).await.unwrap();
    let same = store.get_state().await.unwrap();
    let lsn = store.view().unwrap().lsn();
    store.update_state(same).await.unwrap();
    assert_eq!(store.view().unwrap().lsn(), lsn);
}

/// The old rows know nothing of bans and profiles: an old program must not lift a ban by saving.
#[tokio::test]
async fn an_update_keeps_bans_profiles_and_whether_we_spoke_to_a_peer() {
    let folder = tempfile::tempdir().unwrap();
    let (store, path) = store_in(&folder);
    let (banned, known) = (peer(1), peer(2));
    store.ban(&banned, Duration::from_secs(3600), "spam", "test").unwrap();
    store.peer_seen(&known, &[]).unwrap();
    store.peer_verified(&known, true).unwrap();
    store.peer_profiled(&known, Some("kubo"), &["/ping"]).unwrap();
    let mut state = store.get_state().await.unwrap();
    state.peers[0].addresses.push("/ip4/1.2.3.4/tcp/1".into());
    state.bootstrap_nodes.push("node".into());
    store.update_state(state).await.unwrap();
    for opened in ["in memory", "from the journal", "from the snapshot"] {
        let store = match opened {
            "in memory" => store.clone(),
            _ => P2PStatePersistence::new_with_path(path.clone()).unwrap(),
        };
        let view = store.view().unwrap();
        assert!(view.ban(&banned, Utc::now()).is_some(), "{opened}");
        let entry = view.peer(&known).unwrap();
        assert!(entry.seen.as_ref().unwrap().verified, "{opened}");
        assert_eq!(entry.profile.as_ref().unwrap().agent.as_deref(), Some("kubo"), "{opened}");
        store.close().await.unwrap();
        if opened == "from the journal" {
            let store = P2PStatePersistence::new_with_path(path.clone()).unwrap();
            store.save_state().await.unwrap();
            store.close().await.unwrap();
        }
    }
    let store = P2PStatePersistence::new_with_path(path).unwrap();
    store.update_state(P2PState::default()).await.unwrap();
    let view = store.view().unwrap();
    assert!(view.ban(&banned, Utc::now()).is_some());
    assert!(view.peer(&known).is_none());
}
