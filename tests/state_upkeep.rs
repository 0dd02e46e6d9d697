//! What the old system did by itself, or did not do, while the program looked elsewhere: upgrades
//! of the file, expiry of the cache, the 60 s auto-save, and updates larger than any record.
//!
//! The failures guarded against: an upgrade that eats the only copy, an old program that relabels a
//! newer file, an auto-saver that never saves or rewrites the same bytes for ever, and a large
//! update that is acknowledged and then gone.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod common;

use common::made;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use chrono::{DateTime, TimeDelta, Utc};
use common::peer;
use peer_journal::{
    Outcome, P2PState, P2PStatePersistence, SerializedCacheEntry, SerializedDHTEntry,
    SerializedPeer, SerializedReputation,
    testing::{Fault, Op, SimDisk},
};

fn cached(id: &str, bytes: usize, cached_at: DateTime<Utc>) -> SerializedCacheEntry {
    let package_data = (0..bytes).map(|index| (index * 7) as u8).collect();
    SerializedCacheEntry { package_id: id.to_string(), package_data, cached_at }
}

fn bare(mut state: P2PState) -> P2PState {
    state.saved_at = DateTime::UNIX_EPOCH;
    state
}

fn state_file(folder: &tempfile::TempDir) -> PathBuf {
    folder.path().join("p2p-state.json")
}

/// Copies a store as it is, the way `kill -9` leaves it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

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

fn packages(store: &P2PStatePersistence) -> Vec<String> {
    let view = store.view().unwrap();
    let mut ids: Vec<String> = view.state().packages().map(|(id, _)| id.to_owned()).collect();
    ids.sort();
    ids
}

/// A clock that a test moves, in seconds from noon.
fn clock() -> (Arc<AtomicI64>, impl Fn() -> DateTime<Utc> + Send + Sync + Clone + 'static) {
    let seconds = Arc::new(AtomicI64::new(0));
    let shared = Arc::clone(&seconds);
    let tell = move || made::noon() + TimeDelta::seconds(shared.load(Ordering::SeqCst));
    (seconds, tell)
}

#[tokio::test]
async fn an_update_too_large_for_one_record_is_durable_and_appends_go_on_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    let store = P2PStatePersistence::new_with_path(path).unwrap();
    store.ban(&peer(9), Duration::from_secs(3600), "spam", "test").unwrap();
    let mut state = store.get_state().await.unwrap();
    for id in ["a", "b", "c"] {
        state.package_cache.push(cached(id, 9 << 20, Utc::now()));
    }
    store.update_state(state.clone()).await.unwrap();
    assert!(bare(store.get_state().await.unwrap()) == bare(state.clone()), "in memory");
    let lsn = store.view().unwrap().lsn();
    assert_eq!(store.durable_through().unwrap(), lsn);
    store.dht_put("behind", b"it").unwrap().await.unwrap();
    // As kill -9 leaves it.
    let killed = tempfile::tempdir().unwrap();
    copy(folder.path(), killed.path());
    drop(store);
    let store = P2PStatePersistence::open(state_file(&killed)).unwrap();
    let report = store.recovery().unwrap();
    assert_eq!((report.outcome, report.lost.len()), (Outcome::Clean, 0), "{report}");
    let view = store.view().unwrap();
    assert_eq!(view.state().dht_entry("behind").unwrap().value[..], *b"it");
    assert!(view.ban(&peer(9), Utc::now()).is_some());
    for row in &state.package_cache {
        assert!(view.state().package(&row.package_id).unwrap().data[..] == *row.package_data);
    }
    // And as a close does, with all packages dropped meanwhile so that the rest is quick.
    let store = P2PStatePersistence::open(state_file(&folder)).unwrap();
    assert_eq!(packages(&store), ["a", "b", "c"]);
    store.update_state(P2PState::default()).await.unwrap();
    store.dht_put("later", b"still").unwrap().await.unwrap();
    store.save_state().await.unwrap();
    drop(store);
    let store = P2PStatePersistence::open(state_file(&folder)).unwrap();
    assert!(store.view().unwrap().state().dht_entry("later").is_some());
    assert_eq!(packages(&store), [] as [&str; 0]);
}

#[tokio::test]
async fn a_value_of_15_mib_fits_into_one_record() {
    let folder = tempfile::tempdir().unwrap();
    let store = P2PStatePersistence::open(state_file(&folder)).unwrap();
    let mut state = P2PState::default();
    state.package_cache.push(cached("largest", 15 << 20, Utc::now()));
    store.update_state(state.clone()).await.unwrap();
    store.dht_put("behind", b"it").unwrap().await.unwrap();
    drop(store);
    let store = P2PStatePersistence::open(state_file(&folder)).unwrap();
    assert_eq!(store.recovery().unwrap().replayed, 2);
    let view = store.view().unwrap();
    let found = view.state().package("largest").unwrap();
    assert!(found.data[..] == *state.package_cache[0].package_data);
}

/// The disk fails at each step of such an update in turn. Whatever the update says, what is
/// acknowledged afterwards must be there after a crash, and the update is there wholly or not at
/// all.
#[tokio::test]
async fn a_large_update_that_fails_halfway_loses_nothing_that_is_acknowledged_later() {
    let large = || {
        let mut state = P2PState::default();
        for id in ["a", "b"] {
            state.package_cache.push(cached(id, 9 << 20, made::noon()));
        }
        state
    };
    let places = [
        // The first snapshot: before it has its name, and after.
        (Op::Sync, "json.tmp", 0),
        (Op::SyncDir, "/data", 1),
        // The second one, its twin.
        (Op::Create, "json.tmp", 1),
    ];
    for (op, path, after) in places {
        let disk = SimDisk::new(5);
        let store = made::builder(&disk).open().unwrap();
        store.dht_put("before", b"").unwrap().await.unwrap();
        store.save_state().await.unwrap();
        disk.fail(Fault::new(op).path(path).after(after));
        let result = store.update_state(large()).await;
        assert_eq!(disk.faults_hit(), 1, "{op} of {path} after {after} was not met");
        disk.clear_faults();
        let what = format!("{op} of {path} after {after}: {result:?}");
        store.dht_put("after", b"").unwrap().await.unwrap();
        let alive = made::picture(store.view().unwrap().state());
        let crashed = disk.fork();
        drop(store);
        let (found, report) = made::look(&crashed);
        let keys: Vec<_> = found.rows.dht_entries.iter().map(|row| &row.key).collect();
        assert!(keys.iter().any(|key| *key == "after"), "{what}: {keys:?}\n{report}");
        assert!(found == alive, "{what}: it was another state before the crash\n{report}");
        assert_eq!(report.lost, [], "{what}\n{report}");
    }
}

fn version_1() -> P2PState {
    let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    P2PState {
        version: 1,
        peers: vec![SerializedPeer {
            peer_id: "12D3KooWTest".into(),
            addresses: vec!["/ip4/127.0.0.1/tcp/8080".into(), "odd".into()],
            last_seen: at("2025-01-02T03:04:05.678901234Z"),
        }],
        reputation: vec![SerializedReputation {
            peer_id: "12D3KooWTest".into(),
            successful_retrievals: u64::MAX,
            failed_retrievals: 0,
            last_seen: at("2025-01-02T03:04:05Z"),
            avg_response_time_ms: 7,
            location: None,
            packages_provided: 3,
        }],
        dht_entries: vec![SerializedDHTEntry {
            key: "key".into(),
            value: (0..=255).collect(),
            stored_at: at("2025-01-02T03:04:05Z"),
        }],
        package_cache: vec![cached("fresh", 10, made::noon()), {
            cached("stale", 10, made::noon() - TimeDelta::seconds(301))
        }],
        bootstrap_nodes: vec!["z".into(), "a".into()],
        saved_at: at("2025-01-02T03:04:06Z"),
    }
}

#[tokio::test]
async fn a_version_1_file_is_migrated_once_and_its_original_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    let old = serde_json::to_string_pretty(&version_1()).unwrap();
    assert!(old.contains("\"version\": 1") && old.contains("255\n"), "{old}");
    fs::write(&path, &old).unwrap();
    let open = || P2PStatePersistence::builder(&path).clock(made::noon).open().unwrap();
    let mut expected = version_1();
    expected.version = 2;
    expected.package_cache.pop();
    let store = open();
    assert_eq!(store.recovery().unwrap().outcome, Outcome::Migrated);
    assert_eq!(bare(store.load_state().await.unwrap()), bare(expected.clone()));
    // As kill -9 leaves it right after the migration.
    let killed = tempfile::tempdir().unwrap();
    copy(folder.path(), killed.path());
    drop(store);
    let kept = files(&path.with_extension("journal"));
    assert!(kept.iter().any(|(_, bytes)| bytes == old.as_bytes()), "the original is gone");
    assert_ne!(fs::read_to_string(&path).unwrap(), old);
    let store = open();
    let report = store.recovery().unwrap();
    assert_eq!((report.outcome, report.findings.len()), (Outcome::Clean, 0), "{report}");
    assert_eq!(bare(store.load_state().await.unwrap()), bare(expected.clone()));
    let path = state_file(&killed);
    let store = P2PStatePersistence::builder(&path).clock(made::noon).open().unwrap();
    let report = store.recovery().unwrap();
    assert_eq!((report.outcome, report.findings.len()), (Outcome::Clean, 0), "{report}");
    assert_eq!(bare(store.load_state().await.unwrap()), bare(expected));
    for round in 0..3 {
        store.dht_put("more", &[round]).unwrap();
        store.save_state().await.unwrap();
    }
    let kept = files(&path.with_extension("journal"));
    assert!(kept.iter().any(|(_, bytes)| bytes == old.as_bytes()), "compaction ate the original");
}

/// A reader does not migrate: only the one that holds the lock may.
#[tokio::test]
async fn reading_a_version_1_file_without_the_lock_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    fs::write(&path, serde_json::to_string_pretty(&version_1()).unwrap()).unwrap();
    let before = files(folder.path());
    let inspection = peer_journal::inspect(&path).unwrap();
    assert_eq!(inspection.report.outcome, Outcome::Migrated);
    assert_eq!(inspection.view.state().peers().count(), 1);
    assert!(before == files(folder.path()), "looking changed a file");
}

#[tokio::test]
async fn a_newer_file_is_refused_by_every_call_and_not_a_byte_of_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    let newer =
        "{\n  \"version\": 3,\n  \"shape\": [{\"of\": \"things\"}, 1e9],\n  \"peers\": 7\n}";
    let own_shape = serde_json::to_string(&P2PState { version: 3, ..version_1() }).unwrap();
    for (text, with_journal) in [(newer, false), (newer, true), (own_shape.as_str(), true)] {
        if with_journal {
            fs::remove_file(&path).unwrap();
            let store = P2PStatePersistence::open(&path).unwrap();
            store.dht_put("key", b"value").unwrap();
            drop(store);
        }
        fs::write(&path, text).unwrap();
        let before = files(folder.path());
        let store = P2PStatePersistence::new_with_path(path.clone()).unwrap();
        for error in [
            store.load_state().await.unwrap_err(),
            store.get_state().await.unwrap_err(),
            store.save_state().await.unwrap_err(),
            store.update_state(P2PState::default()).await.unwrap_err(),
            store.persist_on_shutdown().await.unwrap_err(),
        ] {
            assert!(error.to_string().contains("newer version"), "{error}");
            assert!(error.to_string().contains("version=3"), "{error}");
        }
        drop(store);
        assert!(before == files(folder.path()), "with_journal={with_journal}");
    }
}

#[tokio::test]
async fn a_cached_package_is_dropped_at_save_and_at_load_when_it_is_older_than_five_minutes() {
    let disk = SimDisk::new(1);
    let (seconds, tell) = clock();
    let open = || made::builder(&disk).clock(tell.clone()).open().unwrap();
    let store = open();
    store.package_cached("old", b"old").unwrap();
    seconds.store(200, Ordering::SeqCst);
    store.package_cached("young", b"young").unwrap();
    seconds.store(300, Ordering::SeqCst);
    store.save_state().await.unwrap();
    assert_eq!(packages(&store), ["old", "young"], "five minutes to the second are not over");
    seconds.store(301, Ordering::SeqCst);
    store.save_state().await.unwrap();
    assert_eq!(packages(&store), ["young"], "at save, in memory");
    let text = String::from_utf8(disk.read(made::STATE).unwrap()).unwrap();
    assert!(!text.contains("\"old\"") && text.contains("\"young\""), "at save: {text}");
    drop(store);
    let store = open();
    assert_eq!(packages(&store), ["young"]);
    drop(store);
    seconds.store(501, Ordering::SeqCst);
    let store = open();
    assert_eq!(packages(&store), [] as [&str; 0], "at load");
    drop(store);
    let store = open();
    assert_eq!(packages(&store), [] as [&str; 0], "and it stays away");
}

/// A reader without the lock does not show it either.
#[tokio::test]
async fn a_read_only_load_drops_stale_packages_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    let first = P2PStatePersistence::new_with_path(path.clone()).unwrap();
    let mut state = P2PState::default();
    state.package_cache.push(cached("stale", 4, Utc::now() - TimeDelta::minutes(6)));
    state.package_cache.push(cached("fresh", 4, Utc::now()));
    first.update_state(state).await.unwrap();
    let second = P2PStatePersistence::new_with_path(path).unwrap();
    let loaded = second.load_state().await.unwrap();
    let ids: Vec<_> = loaded.package_cache.iter().map(|row| row.package_id.as_str()).collect();
    assert_eq!(ids, ["fresh"]);
}

fn segments(path: &Path) -> usize {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|ext| ext == "wal");
    let entries = fs::read_dir(path.with_extension("journal")).unwrap();
    entries.filter(|entry| is_segment(&entry.as_ref().unwrap().path())).count()
}

fn stamp(path: &Path) -> (SystemTime, Vec<u8>) {
    (fs::metadata(path).unwrap().modified().unwrap(), fs::read(path).unwrap())
}

/// Lets the tick that is due happen; with a paused clock this takes no real time.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

/// Waits for work of another thread, with the paused clock standing still: a minute at most.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..12_000 {
        if holds() {
            return;
        }
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(5))).await.unwrap();
    }
    panic!("{what} did not come true");
}

#[tokio::test(start_paused = true)]
async fn the_auto_saver_saves_every_minute_what_changed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    let store = P2PStatePersistence::new_with_path(path.clone()).unwrap();
    store.start_auto_save().await.unwrap();
    store.start_auto_save().await.unwrap();
    pass(61).await;
    assert!(!path.exists(), "an unused store is not saved");
    store.update_state(version_1_as_2()).await.unwrap();
    pass(61).await;
    // The file has its name before the save is done.
    let saved = || store.status().unwrap().snapshot_lsn == store.view().unwrap().lsn();
    until("the first save", saved).await;
    assert!(fs::read_to_string(&path).unwrap().contains("12D3KooWTest"));
    let saved = stamp(&path);
    pass(600).await;
    assert!(stamp(&path) == saved, "ticks with nothing new rewrote the file");
    store.dht_put("second", b"2").unwrap().await.unwrap();
    pass(61).await;
    let contains = |text: &str| fs::read_to_string(&path).is_ok_and(|file| file.contains(text));
    until("the second save", || contains("\"second\"")).await;
    // Two snapshots cover the first segments by now: they are gone.
    until("the deletion of covered segments", || segments(&path) <= 2).await;
    store.stop_auto_save().await;
    let saved = stamp(&path);
    store.dht_put("third", b"3").unwrap().await.unwrap();
    pass(600).await;
    assert!(stamp(&path) == saved, "a stopped auto-saver saved");
    store.start_auto_save().await.unwrap();
    pass(61).await;
    until("the save after a restart", || contains("\"third\"")).await;
    drop(store);
    let store = P2PStatePersistence::open(&path).unwrap();
    assert_eq!(store.recovery().unwrap().replayed, 0);
}

fn version_1_as_2() -> P2PState {
    P2PState { version: 2, package_cache: Vec::new(), ..version_1() }
}

#[tokio::test(start_paused = true)]
async fn an_auto_saver_does_not_keep_the_store_open() {
    let folder = tempfile::tempdir().unwrap();
    let path = state_file(&folder);
    let store = P2PStatePersistence::new_with_path(path.clone()).unwrap();
    store.start_auto_save().await.unwrap();
    store.dht_put("key", b"value").unwrap();
    drop(store);
    let store = P2PStatePersistence::open(&path).unwrap();
    assert!(store.view().unwrap().state().dht_entry("key").is_some());
    pass(600).await;
    assert!(!path.exists(), "the dropped handle's auto-saver lives on");
}

#[test]
fn an_auto_saver_outside_a_runtime_is_an_error_and_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let store = P2PStatePersistence::new_with_path(state_file(&folder)).unwrap();
    let mut start = Box::pin(store.start_auto_save());
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match start.as_mut().poll(&mut context) {
        std::task::Poll::Ready(Err(error)) => assert!(error.to_string().contains("runtime")),
        other => panic!("{other:?}"),
    }
}
