//! A disk that fails while the node runs: every waiter is told, nothing that was appended is lost,
//! and service comes back when the disk does. One sync that fails is lesson 4 in tests/lessons.rs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use common::{
    address,
    hooked::{Hooked, Hooks},
    peer,
    sim::{
        STATE_FILE, block_on, builder, eight_writers, open, survives_a_power_cut,
        wait_until_durable, wait_until_healthy,
    },
};
use peer_journal::{
    Change, ErrorKind, Lsn,
    testing::{Effect, Fault, Op, Outcome, SimDisk},
};

#[test]
fn syncs_that_fail_several_times_in_a_row_lose_nothing() {
    for times in 2..5 {
        let disk = SimDisk::new(times);
        let fault = Fault::new(Op::Sync).path("segment-").after(1).times(times);
        disk.fail(fault.effect(Effect::MarkClean));
        eight_writers(&disk, &format!("{times} syncs fail"));
        assert_eq!(disk.faults_hit(), times);
    }
}

#[test]
fn a_short_write_is_never_read_as_a_record() {
    for bytes in (0..120).step_by(7) {
        let disk = SimDisk::new(bytes);
        let full = io::ErrorKind::StorageFull;
        let fault = Fault::new(Op::Write).path("segment-").after(2).error(full);
        disk.fail(fault.effect(Effect::Short(bytes)));
        eight_writers(&disk, &format!("a write stops after {bytes} bytes"));
        assert_eq!(disk.faults_hit(), 1);
    }
}

#[test]
fn a_segment_that_cannot_be_started_is_started_again() {
    for op in [Op::Create, Op::Rename, Op::SyncDir] {
        let disk = SimDisk::new(1);
        drop(open(&disk).unwrap());
        disk.fail(Fault::new(op).path("journal").after(3).times(3));
        let store = open(&disk).unwrap();
        for number in 0..20 {
            let ack = store.dht_put(&format!("key {number}"), &[7; 900]).unwrap();
            if let Err(error) = ack.wait() {
                assert_eq!(error.kind(), ErrorKind::Degraded);
                let cause = format!("{error:#}");
                assert!(cause.contains("mend or free the disk"), "{cause}");
            }
        }
        assert_eq!(wait_until_durable(&store), Lsn::new(20));
        survives_a_power_cut(&disk, store, &format!("{op} fails"));
    }
}

#[test]
fn a_full_disk_that_is_freed_again_loses_nothing() {
    let disk = SimDisk::new(3);
    let store = open(&disk).unwrap();
    store.peer_seen(&peer(0), &[address(1)]).unwrap().wait().unwrap();
    let used: u64 = disk.files().iter().map(|(_, len)| len).sum();
    disk.set_capacity(Some(used + 5000));
    let mut refused = 0;
    for number in 0..40 {
        let ack = store.dht_put(&format!("key {number}"), &[1; 700]).unwrap();
        if let Err(error) = ack.wait() {
            assert_eq!(error.kind(), ErrorKind::Degraded, "{error:#}");
            assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull), "{error:#}");
            refused += 1;
        }
    }
    assert!(refused > 10, "the disk was full: {refused}");
    let status = store.status().unwrap();
    assert!(status.degraded.is_some());
    assert!(status.unsynced_changes > 0 && status.unsynced_bytes > 0);
    assert_eq!(store.view().unwrap().state().counts().dht_entries, 40, "readers see everything");
    assert!(block_on(store.compact()).is_err(), "there is no room for a snapshot either");
    disk.set_capacity(None);
    assert_eq!(wait_until_durable(&store), Lsn::new(41));
    wait_until_healthy(&store);
    assert_eq!(store.status().unwrap().unsynced_bytes, 0);
    block_on(store.compact()).unwrap();
    survives_a_power_cut(&disk, store, "the disk was full");
}

#[test]
fn a_full_queue_pushes_back_and_the_async_append_waits() {
    let disk = SimDisk::new(4);
    let store = builder(&disk).max_unsynced_bytes(10_000).open().unwrap();
    disk.fail(Fault::new(Op::Sync).path("segment-").forever());
    let mut appended: u64 = 0;
    let error = loop {
        match store.dht_put(&format!("key {appended}"), &[1; 700]) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Full, "{error:#}");
    assert!((10..15).contains(&appended), "{appended}");
    let before = store.view().unwrap().lsn();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let value = vec![2; 1000].into();
            let change = Change::DhtPut { key: "late".into(), value, at: Utc::now().into() };
            block_on(store.append_async(change)).map(|ack| ack.lsn())
        });
        std::thread::sleep(Duration::from_millis(30));
        let meanwhile = store.view().unwrap().lsn();
        // It would wait for ever for a test that fails before.
        disk.clear_faults();
        assert_eq!(meanwhile, before, "it waits for room");
        assert_eq!(waiting.join().unwrap().unwrap(), before.next());
    });
    wait_until_durable(&store);
    survives_a_power_cut(&disk, store, "back-pressure");
}

#[test]
fn a_compaction_that_fails_at_any_step_leaves_the_old_files_in_charge() {
    let steps = [
        Fault::new(Op::Create).path(".json.tmp"),
        Fault::new(Op::Write).path(".json.tmp").effect(Effect::Short(40)),
        Fault::new(Op::Sync).path(".json.tmp").effect(Effect::MarkClean),
        Fault::new(Op::Read).path(".json.tmp"),
        Fault::new(Op::Link).path("snapshot-"),
        Fault::new(Op::Rename).path("p2p-state.json"),
        Fault::new(Op::SyncDir).path("/node"),
        Fault::new(Op::Remove).path(".wal"),
        Fault::new(Op::List).path("journal"),
        Fault::new(Op::Sync).path("segment-").effect(Effect::MarkClean),
    ];
    for (index, fault) in steps.into_iter().enumerate() {
        let disk = SimDisk::new(5);
        let store = open(&disk).unwrap();
        let story = format!("step {index}: {fault:?}");
        for round in 0..4_u64 {
            store.peer_seen(&peer(round), &[address(9)]).unwrap().wait().unwrap();
            if round == 2 {
                disk.fail(fault.clone());
                // Where there are no hard links the old snapshot is renamed instead: no error then.
                assert!(block_on(store.compact()).is_err() || fault.on == Op::Link, "{story}");
                assert_eq!(disk.faults_hit(), 1, "{story}");
                let failed = store.status().unwrap().compaction_failures;
                assert_eq!(failed, u64::from(fault.on != Op::Link), "{story}");
                disk.clear_faults();
                wait_until_durable(&store);
                let crashed = disk.fork();
                crashed.power_cut(Outcome::Random(round));
                let found = open(&crashed).unwrap();
                assert_eq!(found.view().unwrap().lsn(), Lsn::new(3), "{story}");
                assert!(!found.recovery().unwrap().is_damaged(), "{story}");
            } else {
                block_on(store.compact()).unwrap();
            }
        }
        assert_eq!(store.status().unwrap().compaction_failures, 0, "{story}");
        let segments = disk.files().iter().filter(|(path, _)| path.ends_with(".wal")).count();
        assert!(segments <= 3, "{story}: {:?}", disk.files());
        survives_a_power_cut(&disk, store, &story);
    }
}

/// What has expired is dropped by a record, and for that there may be no room: that is no reason
/// not to save.
#[test]
fn a_save_with_a_full_queue_leaves_what_has_expired_for_the_next_one() {
    let disk = SimDisk::new(8);
    let seconds = Arc::new(AtomicI64::new(1_790_000_000));
    let clock = Arc::clone(&seconds);
    let now = move || DateTime::from_timestamp(clock.load(Ordering::Relaxed), 0).unwrap();
    let at = now().into();
    // One record may wait, and nothing beside it.
    let store = builder(&disk).max_unsynced_bytes(1).clock(now).open().unwrap();
    let cached = Change::PackageCached { id: "old".into(), data: vec![1; 9].into(), at };
    store.append(cached).unwrap().wait().unwrap();
    disk.fail(Fault::new(Op::Sync).path("segment-").forever());
    store.dht_put("waits", b"1").unwrap().wait().unwrap_err();
    assert_eq!(store.dht_put("too much", b"1").unwrap_err().kind(), ErrorKind::Full);
    seconds.fetch_add(600, Ordering::Relaxed);
    let error = block_on(store.compact()).unwrap_err();
    assert_ne!(error.kind(), ErrorKind::Full, "the disk is what failed: {error:#}");
    assert_eq!(store.view().unwrap().state().counts().packages, 1);
    disk.clear_faults();
    wait_until_durable(&store);
    wait_until_healthy(&store);
    block_on(store.compact()).unwrap();
    assert_eq!(store.view().unwrap().state().counts().packages, 0, "dropped by the next save");
    survives_a_power_cut(&disk, store, "expired");
}

/// Neither growth nor zeros are left for the commit that starts a segment.
#[test]
fn the_next_segment_is_on_disk_before_it_is_started() {
    let disk = SimDisk::new(9);
    let store = open(&disk).unwrap();
    for number in 0..20 {
        store.dht_put(&format!("key {number}"), &[1; 500]).unwrap().wait().unwrap();
    }
    drop(store);
    let trace = disk.trace();
    let mut prepared = 0;
    for (index, call) in trace.iter().enumerate() {
        let is_header = call.op == Op::Write && (call.offset, call.len) == (0, 96);
        if !is_header || call.path.ends_with("segment-0.tmp") {
            continue; // the first one is made while the store is opened
        }
        let before = trace[..index].iter().rev().find(|other| other.path == call.path).unwrap();
        assert_eq!(before.op, Op::Sync, "{before} before {call}");
        prepared += 1;
    }
    assert!(prepared >= 2, "{prepared} segments were started");
}

#[test]
fn a_close_on_a_broken_disk_ends_and_says_so() {
    let disk = SimDisk::new(6);
    let store = open(&disk).unwrap();
    store.peer_seen(&peer(0), &[]).unwrap().wait().unwrap();
    disk.fail(Fault::new(Op::Sync).forever());
    store.peer_seen(&peer(1), &[]).unwrap();
    let error = block_on(store.close()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error:#}");
    drop(store);
    disk.clear_faults();
    disk.power_cut(Outcome::DropUnsynced);
    let store = open(&disk).unwrap();
    assert_eq!(store.view().unwrap().lsn(), Lsn::new(1), "the acknowledged change is there");
}

#[test]
fn a_sector_that_cannot_be_read_costs_the_records_in_it_and_no_more() {
    let disk = SimDisk::new(7);
    let store = builder(&disk).segment_bytes(64 << 10).open().unwrap();
    for number in 0..10 {
        store.dht_put(&format!("key {number}"), &[1; 1500]).unwrap().wait().unwrap();
    }
    drop(store);
    // The whole file fails to read at once, then one of its pieces does.
    disk.fail(Fault::new(Op::Read).path(".wal").times(2));
    let store = open(&disk).unwrap();
    let report = store.recovery().unwrap();
    assert!(report.is_damaged(), "{report}");
    let kept = store.view().unwrap().state().counts().dht_entries as u64;
    assert_eq!(kept + report.lost_records(), 10, "{report}");
    assert!(report.lost_records() > 0 && report.lost_records() < 5, "{report}");
}

/// A disk that says yes, and keeps something else of a snapshot, while it is on.
#[derive(Debug, Default)]
struct Lying(AtomicBool);

impl Hooks for Lying {
    fn written(&self, path: &Path, bytes: &[u8]) -> Option<Vec<u8>> {
        let lies = path.ends_with("p2p-state.json.tmp") && self.0.load(Ordering::Relaxed);
        let mut kept = bytes.to_vec();
        kept[0] ^= u8::from(lies);
        lies.then_some(kept)
    }
}

#[test]
fn a_snapshot_that_reads_back_differently_takes_the_place_of_none() {
    let disk = SimDisk::new(1);
    let lying = Arc::new(Lying::default());
    let hooks = Arc::clone(&lying) as Arc<dyn Hooks>;
    let store = builder(&disk).vfs(Arc::new(Hooked::new(&disk, hooks))).open().unwrap();
    store.dht_put("first", b"value").unwrap().wait().unwrap();
    block_on(store.compact()).unwrap();
    let sound = disk.read(STATE_FILE).unwrap();
    store.dht_put("second", b"value").unwrap().wait().unwrap();
    lying.0.store(true, Ordering::Relaxed);
    let error = block_on(store.compact()).unwrap_err();
    assert!(format!("{error:#}").contains("reads back differently"), "{error:#}");
    assert_eq!(disk.read(STATE_FILE).unwrap(), sound);
    lying.0.store(false, Ordering::Relaxed);
    assert_eq!(block_on(store.compact()).unwrap(), Lsn::new(2));
}

/// Where there are no hard links the fallback is a copy, and a crash may leave a part of it.
#[test]
fn a_part_of_a_fallback_is_no_fallback() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    store.dht_put("first", b"value").unwrap().wait().unwrap();
    block_on(store.compact()).unwrap();
    drop(store);
    let whole = disk.read(STATE_FILE).unwrap();
    let fallback = "/node/p2p-state.journal/snapshot-00000000000000000001.json";
    disk.write(fallback, &whole[..whole.len() / 2]).unwrap();
    let store = open(&disk).unwrap();
    store.dht_put("second", b"value").unwrap().wait().unwrap();
    block_on(store.compact()).unwrap();
    drop(store);
    disk.rot(STATE_FILE, 1).unwrap();
    let store = open(&disk).unwrap();
    let report = store.recovery().unwrap();
    assert_eq!(report.lost, [], "{report}");
    let view = store.view().unwrap();
    assert!(
        view.state().dht_entry("first").is_some() && view.state().dht_entry("second").is_some()
    );
}
