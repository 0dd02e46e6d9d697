//! Failures that a review found, each once real: a wait that never ended, an acknowledgement that a
//! power cut took back, a superseded record that came back, a file that was removed too early.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc::{RecvTimeoutError, channel},
    time::Duration,
};

use chrono::{DateTime, Utc};
use common::sim::{STATE_FILE, block_on, builder, open, wait_until_durable};
use peer_journal::{
    Builder, ErrorKind, Lsn, OnDamage, P2PState, P2PStatePersistence, SerializedDHTEntry,
    state::Change,
    testing::{Effect, Fault, Op, Outcome, SimDisk},
};

const JOURNAL: &str = "/node/p2p-state.journal";
/// Far longer than any of it takes, so that only a hang reaches it.
const WATCHDOG: Duration = Duration::from_secs(60);

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

fn put(key: &str, value: &str) -> Change {
    Change::DhtPut { key: key.into(), value: value.as_bytes().to_vec().into(), at: noon().into() }
}

/// Options for a store in which a difference of 1 KiB is too large for one record: the way is the
/// same as that of 16 MiB, which tests/state_upkeep.rs takes.
fn small_records(disk: &SimDisk) -> Builder {
    builder(disk).max_update_record_bytes(1024)
}

/// A state too large for one such record, so that it becomes durable by a snapshot.
fn large(tag: u8) -> P2PState {
    let entry = |key: &str| SerializedDHTEntry {
        key: key.to_owned(),
        value: vec![tag; 600],
        stored_at: noon(),
    };
    P2PState { dht_entries: vec![entry("large1"), entry("large2")], ..P2PState::default() }
}

/// Runs it on a thread of its own; a hang fails the test instead of holding it up.
fn ends<T: Send + 'static>(what: &str, call: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = channel();
    let thread = std::thread::spawn(move || done.send(call()).ok());
    match result.recv_timeout(WATCHDOG) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("{what} hangs"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(_) => panic!("{what} gave no result"),
        },
    }
}

fn append(store: &P2PStatePersistence, key: &str, value: &str) -> Lsn {
    store.append(put(key, value)).unwrap().wait().unwrap()
}

fn value(store: &P2PStatePersistence, key: &str) -> Option<Vec<u8>> {
    let view = store.view().unwrap();
    view.state().dht_entry(key).map(|entry| entry.value.to_vec())
}

fn paths(disk: &SimDisk, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = disk.files().into_iter().map(|(path, _)| path).collect();
    paths.retain(|path| wanted(&path.to_string_lossy()));
    paths
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    paths(disk, |path| path.ends_with(".wal"))
}

/// What would be there if the power were cut now, and everything unsynced lost.
fn cut(disk: &SimDisk) -> SimDisk {
    cut_to(disk, Outcome::DropUnsynced)
}

fn cut_to(disk: &SimDisk, outcome: Outcome) -> SimDisk {
    let image = disk.fork();
    image.clear_faults();
    image.power_cut(outcome);
    image
}

/// Opens the store, which must hold each key and have lost nothing.
fn holds(image: &SimDisk, keys: &[&str], story: &str) {
    let store = open(image).unwrap();
    let report = store.recovery().unwrap();
    assert_eq!(report.lost, [], "{story}: {report}");
    assert!(!report.end_unknown, "{story}: {report}");
    for key in keys {
        assert!(value(&store, key).is_some(), "{story}: `{key}` is gone: {report}");
    }
}

/// The values that a follower from the start sees, as many as this.
fn followed(store: &P2PStatePersistence, count: usize) -> Vec<(u64, String)> {
    let mut changes = store.changes_since(Lsn::ZERO).unwrap();
    let mut seen = Vec::new();
    while seen.len() < count {
        let record = block_on(changes.next()).expect("the store is open").unwrap();
        let Change::DhtPut { value, .. } = &record.changes[0] else { panic!("{record:?}") };
        seen.push((record.lsn.get(), String::from_utf8(value.to_vec()).unwrap()));
    }
    seen
}

#[test]
fn append_async_always_finds_room_in_the_end() {
    let disk = SimDisk::new(1);
    let store = builder(&disk).max_unsynced_bytes(100).segment_bytes(1 << 20).open().unwrap();
    let last = ends("append_async", move || {
        let mut last = Lsn::ZERO;
        for number in 0..20_000 {
            let change = put("k", &format!("{number:0>60}"));
            last = block_on(store.append_async(change)).unwrap().lsn();
        }
        block_on(store.close()).unwrap();
        last
    });
    assert_eq!(last.get(), 20_000);
    let again = open(&disk).unwrap();
    assert_eq!(again.view().unwrap().lsn(), last);
}

#[test]
fn nothing_is_acknowledged_behind_a_large_update_whose_name_is_not_durable() {
    type Next = fn(&P2PStatePersistence);
    let nexts: [(&str, &[&str], Next); 4] = [
        ("update", &["large1", "large2"], |store| {
            block_on(store.update_state(large(7))).unwrap();
        }),
        ("save", &["large1", "large2"], |store| block_on(store.save_state()).unwrap()),
        ("sync", &["large1", "large2"], |store| {
            block_on(store.sync()).unwrap();
        }),
        ("append", &["large1", "large2", "after"], |store| {
            append(store, "after", "1");
        }),
    ];
    for (story, keys, next) in nexts {
        let disk = SimDisk::new(1);
        let store = small_records(&disk).open().unwrap();
        append(&store, "before", "1");
        block_on(store.compact()).unwrap();
        // The journal's folder is synced first, for the fallback; then the snapshot's.
        disk.fail(Fault::new(Op::SyncDir).after(1));
        let error = block_on(store.update_state(large(7))).unwrap_err();
        assert!(error.to_string().contains("cannot sync the snapshot's folder"), "{error}");
        assert_eq!(disk.faults_hit(), 1, "{story}");
        next(&store);
        holds(&cut(&disk), keys, story);
    }
}

#[test]
fn a_follower_is_told_that_a_large_update_is_in_no_record() {
    let disk = SimDisk::new(1);
    let store = small_records(&disk).open().unwrap();
    append(&store, "a", "1");
    let mut changes = store.changes_since(Lsn::ZERO).unwrap();
    assert_eq!(block_on(changes.next()).unwrap().unwrap().lsn.get(), 1);
    block_on(store.update_state(large(7))).unwrap();
    let (error, end) = ends("the follower", move || {
        let error = block_on(changes.next()).unwrap().unwrap_err();
        (error, block_on(changes.next()).is_none())
    });
    assert_eq!(error.kind(), ErrorKind::Compacted, "{error:#}");
    assert!(end, "nothing comes after the error");
    // What it is told to do works.
    let lsn = store.view().unwrap().lsn();
    let mut changes = store.changes_since(lsn).unwrap();
    append(&store, "b", "2");
    let record = ends("the new follower", move || block_on(changes.next()).unwrap().unwrap());
    assert_eq!(record.lsn, lsn.next());
}

#[test]
fn large_updates_leave_no_pile_of_files() {
    let disk = SimDisk::new(1);
    let store = small_records(&disk).open().unwrap();
    for tag in 1..=4 {
        block_on(store.update_state(large(tag))).unwrap();
        block_on(store.save_state()).unwrap();
        let snapshots = paths(&disk, |path| path.ends_with(".json"));
        assert!(snapshots.len() <= 3, "{snapshots:?}");
        assert!(segments(&disk).len() <= 3, "{:?}", segments(&disk));
    }
    let again = open(&cut(&disk)).unwrap();
    let report = again.recovery().unwrap();
    assert!(report.lost.is_empty(), "{report}");
    assert_eq!(value(&again, "large1").unwrap()[0], 4);
    assert_eq!(value(&again, "large2").unwrap()[0], 4);
}

/// Records 1 to 5 are acknowledged. Those from 6 on are in the first segment, but their sync
/// failed; the second segment, which was to repeat them, was begun, stays empty and cannot be
/// removed.
fn with_a_superseded_tail() -> SimDisk {
    let disk = SimDisk::new(1);
    let store = builder(&disk).sync_within(Duration::from_secs(60)).open().unwrap();
    for number in 1..=5 {
        append(&store, "k", &format!("old{number}"));
    }
    disk.fail(Fault::new(Op::Sync).path("segment-0"));
    disk.fail(Fault::new(Op::Remove).forever());
    // Its zeros and its header are written, its records are not; a third segment is never made.
    disk.fail(Fault::new(Op::Write).path("segment-1.tmp").after(2).forever());
    disk.fail(Fault::new(Op::Create).path("segment-").after(1).forever());
    for number in 6..=8 {
        store.append(put("k", &format!("phantom{number}"))).unwrap();
    }
    // Each of these ends with one more failed attempt.
    for _ in 0..3 {
        assert_eq!(block_on(store.sync()).unwrap_err().kind(), ErrorKind::Degraded);
    }
    assert_eq!(store.durable_through().unwrap().get(), 5);
    let image = cut_to(&disk, Outcome::KeepAll);
    disk.clear_faults();
    drop(store);
    let names = segments(&image);
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names[1].ends_with("0000000002-00000000000000000006.wal"), "{names:?}");
    let first = image.read(&names[0]).unwrap();
    assert!(first.windows(8).any(|bytes| bytes == b"phantom6"), "the tail is there");
    image
}

#[test]
fn a_superseded_record_never_comes_back_after_reopening() {
    let disk = with_a_superseded_tail();
    let store = open(&disk).unwrap();
    let report = store.recovery().unwrap();
    assert_eq!((report.last_lsn.get(), report.is_damaged()), (5, false), "{report}");
    let mut expected: Vec<_> = (1..=5).map(|number| (number, format!("old{number}"))).collect();
    for number in 6..=8 {
        assert_eq!(append(&store, "k", &format!("new{number}")).get(), number);
        expected.push((number, format!("new{number}")));
    }
    let follower = store.clone();
    assert_eq!(ends("the follower", move || followed(&follower, 8)), expected);
    let crashed = cut(&disk);
    block_on(store.close()).unwrap();
    drop(store);
    for (story, image) in [("crashed", crashed), ("closed", disk)] {
        let store = builder(&image).on_damage(OnDamage::Refuse).open();
        let store = store.unwrap_or_else(|error| panic!("{story}: {error:#}"));
        let report = store.recovery().unwrap();
        assert!(!report.is_damaged() && report.lost.is_empty(), "{story}: {report}");
        assert_eq!(value(&store, "k").unwrap(), b"new8", "{story}: {report}");
        let found = ends("the follower", move || followed(&store, 8));
        assert_eq!(found, expected, "{story}");
    }
}

/// A sync fails, the records go to the next segment, and a power cut tears what the first one has
/// of them. Nobody was told that those bytes are there.
#[test]
fn the_torn_end_of_a_superseded_segment_is_no_damage() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    append(&store, "a", "1");
    disk.fail(Fault::new(Op::Sync).path("segment-0"));
    let _told = store.append(put("b", "torn")).unwrap().wait();
    wait_until_durable(&store);
    let image = cut_to(&disk, Outcome::KeepAll);
    let first = segments(&image).remove(0);
    let bytes = image.read(&first).unwrap();
    let torn = bytes.windows(4).position(|bytes| bytes == b"torn").unwrap() as u64;
    image.corrupt(&first, torn, b"xx").unwrap();
    // The second time nothing but the torn segment's successor tells that it was superseded; the
    // third time that one holds no record and is removed.
    let empty = image.fork();
    let second = segments(&empty).remove(1);
    let header = empty.read(&second).unwrap()[..96].to_vec();
    empty.write(&second, header).unwrap();
    for (story, image, last) in [("with its successor", image, 2), ("with an empty one", empty, 1)]
    {
        for opening in 1..=3 {
            let story = format!("{story}, opening {opening}");
            let opened = builder(&image).on_damage(OnDamage::Refuse).open();
            let store = opened.unwrap_or_else(|error| panic!("{story}: {error:#}"));
            let report = store.recovery().unwrap();
            assert!(!report.is_damaged() && report.lost.is_empty(), "{story}: {report}");
            assert_eq!(report.last_lsn.get(), last, "{story}: {report}");
            assert!(report.to_string().contains("superseded"), "{story}: {report}");
        }
    }
}

/// A segment that another one follows is not written to: a crash in the middle would damage it.
#[test]
fn a_second_recovery_leaves_older_segments_alone() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    append(&store, "a", "1");
    disk.fail(Fault::new(Op::Sync).path("segment-0").effect(Effect::MarkClean));
    store.append(put("b", "torn")).unwrap();
    let _told = store.append(put("c", "whole")).unwrap().wait();
    wait_until_durable(&store);
    let image = cut(&disk);
    let second = segments(&image).remove(1);
    let bytes = image.read(&second).unwrap();
    let torn = bytes.windows(4).position(|bytes| bytes == b"torn").unwrap() as u64;
    image.corrupt(&second, torn, b"xx").unwrap();
    assert_eq!(open(&image).unwrap().recovery().unwrap().last_lsn.get(), 1);
    let before: Vec<_> = segments(&image).iter().map(|path| image.read(path).unwrap()).collect();
    assert_eq!(open(&image).unwrap().recovery().unwrap().last_lsn.get(), 1);
    for (path, bytes) in segments(&image).iter().zip(before).take(2) {
        assert!(image.read(path).unwrap() == bytes, "{} was written to", path.display());
    }
}

/// No record holds a large update, but two snapshots do, also while the next compaction puts a
/// third one into place.
#[test]
fn a_large_update_is_in_two_files_until_a_newer_snapshot_is_durable() {
    let disk = SimDisk::new(1);
    let store = small_records(&disk).open().unwrap();
    append(&store, "before", "1");
    block_on(store.update_state(large(7))).unwrap();
    append(&store, "after", "1");
    disk.record_images();
    block_on(store.compact()).unwrap();
    let images = disk.take_images();
    assert!(images.len() > 10, "{}", images.len());
    for image in images {
        for outcome in image.outcomes(64, 1) {
            let image = cut_to(&image, outcome);
            image.flip_bit(STATE_FILE, 8 * 400).unwrap();
            let story = format!("rot after call {}, {outcome:?}", image.calls());
            holds(&image, &["large1", "large2", "after"], &story);
        }
    }
}

#[test]
fn an_auto_saver_may_sleep_for_ever() {
    let disk = SimDisk::new(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = builder(&disk).auto_save_every(Duration::MAX).open().unwrap();
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for _ in 0..2 {
            store.start_auto_save().await.unwrap();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(alive(), 1, "the auto-saver ended by itself");
            store.stop_auto_save().await;
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            assert_eq!(alive(), 0, "the auto-saver goes on");
        }
        store.close().await.unwrap();
    });
}

#[test]
fn close_does_not_need_the_runtime_of_the_auto_saver() {
    let disk = SimDisk::new(1);
    // Driven only inside `block_on`.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let store = open(&disk).unwrap();
    runtime.block_on(store.start_auto_save()).unwrap();
    append(&store, "a", "1");
    let closing = store.clone();
    ends("close", move || block_on(closing.close())).unwrap();
    assert_eq!(store.append(put("b", "2")).unwrap_err().kind(), ErrorKind::Closed);
    drop(runtime);
}

#[test]
fn close_on_a_full_disk_says_what_is_lost() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    append(&store, "kept", "1");
    disk.fail(Fault::new(Op::Write).error(io::ErrorKind::StorageFull).forever());
    store.append(put("lost", "1")).unwrap();
    let error = block_on(store.close()).unwrap_err();
    assert!(disk.faults_hit() > 0);
    assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull), "{error:#}");
    for text in [error.to_string(), format!("{error:#}")] {
        assert!(text.contains("what came after lsn=1 is lost"), "{text}");
        assert!(!text.contains("nothing"), "{text}");
    }
    drop(store);
    disk.clear_faults();
    let again = open(&disk).unwrap();
    assert!(value(&again, "kept").is_some());
    assert!(value(&again, "lost").is_none(), "the error told the truth");
}

#[test]
fn a_save_whose_folder_sync_failed_is_not_done_until_it_is_synced() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    append(&store, "a", "1");
    let folder = Path::new(STATE_FILE).parent().unwrap();
    let syncs = || {
        let calls = disk.trace();
        calls.iter().filter(|call| call.op == Op::SyncDir && call.path == folder).count()
    };
    // The journal's folder is synced first, for the next segment; then the snapshot's.
    disk.fail(Fault::new(Op::SyncDir).after(1).forever());
    for _ in 0..3 {
        let before = syncs();
        let error = block_on(store.save_state()).unwrap_err();
        assert!(error.to_string().contains("cannot sync the snapshot's folder"), "{error}");
        assert_eq!(syncs(), before + 1);
    }
    assert_eq!(disk.faults_hit(), 3);
    disk.clear_faults();
    let before = syncs();
    block_on(store.save_state()).unwrap();
    assert_eq!(syncs(), before + 1);
    let image = cut(&disk);
    assert!(image.read(STATE_FILE).is_ok(), "the save was acknowledged");
    holds(&image, &["a"], "after the save");
}

#[test]
fn a_copy_of_a_segment_does_not_make_compaction_remove_what_is_not_covered() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    let mut keys = vec!["k1", "k2", "k3"];
    for key in &keys {
        append(&store, key, "1");
        block_on(store.compact()).unwrap();
    }
    let current = segments(&disk).pop().unwrap();
    append(&store, "k4", "1");
    keys.push("k4");
    let copy = current.with_file_name("0000000001-00000000000000000001.wal");
    disk.write(copy, disk.read(&current).unwrap()).unwrap();
    for key in ["k5", "k6"] {
        block_on(store.compact()).unwrap();
        // The removal of a file may be undone by a power cut, or not.
        for outcome in [Outcome::DropUnsynced, Outcome::KeepAll] {
            let image = cut_to(&disk, outcome);
            let damaged = image.fork();
            holds(&image, &keys, &format!("{outcome:?} before {key}"));
            damaged.write(STATE_FILE, b"damaged".to_vec()).unwrap();
            holds(&damaged, &keys, &format!("{outcome:?} before {key}, snapshot damaged"));
        }
        append(&store, key, "1");
        keys.push(key);
    }
    holds(&cut(&disk), &keys, "at the end");
}

#[test]
fn a_segment_header_that_cannot_be_read_does_not_hold_up_compaction() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    append(&store, "k1", "1");
    disk.fail(Fault::new(Op::Read).path(".wal").forever());
    for key in ["k2", "k3", "k4", "k5"] {
        let lsn = append(&store, key, "1");
        assert_eq!(block_on(store.compact()).unwrap(), lsn);
    }
    assert!(disk.faults_hit() > 0);
    assert_eq!(store.status().unwrap().compaction_failures, 0);
    assert!(segments(&disk).len() <= 3, "{:?}", segments(&disk));
    holds(&cut(&disk), &["k1", "k2", "k3", "k4", "k5"], "after the compactions");
}

#[test]
fn a_handle_that_is_closed_before_its_first_use_stays_closed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    let store = P2PStatePersistence::new_with_path(path.clone()).unwrap();
    let clone = store.clone();
    block_on(store.close()).unwrap();
    for handle in [&store, &clone] {
        assert_eq!(handle.append(put("a", "1")).unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(handle.view().unwrap_err().kind(), ErrorKind::Closed);
        block_on(handle.close()).unwrap();
    }
    // It holds no lock either.
    append(&P2PStatePersistence::open(&path).unwrap(), "a", "1");
}

#[test]
fn attempts_on_a_disk_in_trouble_leave_no_pile_of_segments() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    append(&store, "kept", "1");
    disk.fail(Fault::new(Op::Sync).path("segment-0"));
    disk.fail(Fault::new(Op::SyncDir).forever());
    let (asking, trouble) = (store.clone(), disk.clone());
    ends("asking again", move || {
        while trouble.faults_hit() < 30 {
            let ack = asking.append(put("k", &format!("{}", trouble.faults_hit()))).unwrap();
            assert_eq!(ack.wait().unwrap_err().kind(), ErrorKind::Degraded);
        }
    });
    assert!(segments(&disk).len() <= 4, "{:?}", segments(&disk));
    holds(&cut(&disk), &["kept"], "while the disk is in trouble");
    disk.clear_faults();
    wait_until_durable(&store);
    assert!(segments(&disk).len() <= 4, "{:?}", segments(&disk));
    holds(&cut(&disk), &["kept", "k"], "when the disk is back");
}

#[test]
fn a_broken_fallback_that_calls_itself_newer_leaves_a_sound_snapshot_in_place() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    for key in ["k1", "k2", "k3"] {
        append(&store, key, "1");
        block_on(store.compact()).unwrap();
    }
    block_on(store.close()).unwrap();
    drop(store);
    let broken = format!("{JOURNAL}/snapshot-00000000000000000009.json");
    disk.write(&broken, b"garbage".to_vec()).unwrap();
    let sound = disk.read(STATE_FILE).unwrap();
    let again = open(&disk).unwrap();
    let report = again.recovery().unwrap();
    assert_eq!(report.snapshot_lsn, Some(Lsn::new(3)), "{report}");
    assert_eq!((report.last_lsn.get(), report.lost.len()), (3, 0), "{report}");
    let found: Vec<_> = report.findings.iter().map(|finding| finding.path.as_path()).collect();
    assert_eq!(found, [Path::new(&broken)], "{report}");
    assert_eq!(disk.read(STATE_FILE).unwrap(), sound);
    drop(again);
    holds(&disk, &["k1", "k2", "k3"], "after the second opening");
}

/// Opens three times, with a record in between: no opening may take what a failed write left for
/// damage.
fn is_never_called_damage(disk: &SimDisk, keys: &[&str], story: &str) {
    for round in 0..3 {
        let strict = builder(disk).on_damage(OnDamage::Refuse);
        let store = strict.open().unwrap_or_else(|error| panic!("{story}, {round}: {error:#}"));
        let report = store.recovery().unwrap();
        assert!(!report.is_damaged() && report.lost.is_empty(), "{story}, {round}: {report}");
        let view = store.view().unwrap();
        for key in keys {
            assert!(view.state().dht_entry(key).is_some(), "{story}, {round}: {key}, {report}");
        }
        append(&store, "later", &round.to_string());
    }
}

/// The bytes that a failed write left at the end of a segment were called damage once a later
/// segment had taken over, unless a whole record stood among them: `OnDamage::Refuse` did not open,
/// and `Salvage` reported a damaged store, with nothing lost.
#[test]
fn what_a_failed_write_left_behind_is_no_damage() {
    for bytes in [1, 8, 30, 60, 500] {
        let disk = SimDisk::new(bytes);
        let store = open(&disk).unwrap();
        append(&store, "kept", "1");
        disk.fail(Fault::new(Op::Write).path("segment-").effect(Effect::Short(bytes)));
        let ack = store.append(put("torn", &"x".repeat(400))).unwrap();
        // It is told of the failure, unless this thread is so slow that the second try is over.
        let _told = ack.wait();
        wait_until_durable(&store);
        assert_eq!(disk.faults_hit(), 1);
        let crashed = disk.fork();
        crashed.power_cut(Outcome::KeepAll);
        is_never_called_damage(&crashed, &["kept", "torn"], &format!("{bytes} bytes, power cut"));
        drop(store);
        is_never_called_damage(&disk, &["kept", "torn"], &format!("{bytes} bytes, closed"));
    }
}

#[test]
fn sectors_that_a_failed_sync_left_torn_are_no_damage() {
    for seed in 0..60 {
        let disk = SimDisk::new(seed);
        let store = builder(&disk).segment_bytes(64 << 10).open().unwrap();
        append(&store, "kept", "1");
        disk.fail(Fault::new(Op::Sync).path("segment-"));
        let acks: Vec<_> = (0..12)
            .map(|number| store.append(put(&format!("torn {number}"), &"x".repeat(300))).unwrap())
            .collect();
        for ack in acks {
            drop(ack.wait());
        }
        wait_until_durable(&store);
        disk.power_cut(Outcome::Torn(seed));
        drop(store);
        is_never_called_damage(&disk, &["kept", "torn 0", "torn 11"], &format!("seed {seed}"));
    }
}

#[test]
fn a_crash_right_after_a_failed_write_does_not_make_its_rest_damage() {
    for later in 0..16 {
        let disk = SimDisk::new(later);
        let store = open(&disk).unwrap();
        append(&store, "kept", "1");
        disk.fail(Fault::new(Op::Write).path("segment-").effect(Effect::Short(8)));
        disk.crash_at(disk.calls() + 1 + later);
        drop(store.append(put("torn", "2")).unwrap().wait());
        while disk.is_on() && block_on(store.sync()).is_err() {}
        disk.clear_faults();
        disk.power_on();
        disk.power_cut(Outcome::KeepAll);
        drop(store);
        is_never_called_damage(&disk, &["kept"], &format!("{later} calls later"));
    }
}

/// The commit thread went round for ever, and with it a close or the drop of the last handle: a
/// large update had its name, the folder could not be synced, and giving up forgot none of that.
#[test]
fn a_close_ends_while_a_large_update_cannot_be_made_durable() {
    for closes in [true, false] {
        let disk = SimDisk::new(1);
        let store = small_records(&disk).open().unwrap();
        append(&store, "kept", "1");
        block_on(store.compact()).unwrap();
        // The journal's folder is synced first, for the fallback; then the snapshot's.
        disk.fail(Fault::new(Op::SyncDir).after(1).forever());
        let error = block_on(store.update_state(large(7))).unwrap_err();
        assert_eq!(store.view().unwrap().lsn(), Lsn::new(2), "it has its name: {error}");
        let closed = ends("the close", move || {
            let closed = closes.then(|| block_on(store.close()));
            drop(store);
            closed
        });
        if let Some(closed) = closed {
            let error = closed.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{error:#}");
        }
        assert!(disk.faults_hit() > 0);
        disk.clear_faults();
        holds(&cut(&disk), &["kept"], "what was acknowledged");
    }
}

/// A sync failed, its pages were marked clean, and the process died before it could write the
/// records again. The next opening read them from the page cache, synced the file, which wrote
/// nothing, and called them durable; a power cut took them, and the opening after that spoke of
/// damage.
#[test]
fn what_only_the_page_cache_holds_is_not_called_durable() {
    for with_seal in [false, true] {
        let disk = SimDisk::new(1);
        let store = open(&disk).unwrap();
        append(&store, "kept", "1");
        disk.fail(Fault::new(Op::Sync).path("segment-").effect(Effect::MarkClean).forever());
        let ack = store.append(put("cached", "2")).unwrap();
        if with_seal {
            block_on(store.compact()).unwrap_err();
        }
        assert_eq!(ack.wait().unwrap_err().kind(), ErrorKind::Degraded);
        disk.kill();
        drop(store);
        assert!(disk.faults_hit() > 0);
        disk.clear_faults();
        let store = open(&disk).unwrap();
        let (durable, held) = (store.durable_through().unwrap(), store.view().unwrap().lsn());
        assert_eq!((durable, held), (Lsn::new(2), Lsn::new(2)), "the cache is still there");
        disk.power_cut(Outcome::DropUnsynced);
        drop(store);
        is_never_called_damage(&disk, &["kept", "cached"], &format!("with a seal: {with_seal}"));
    }
}
