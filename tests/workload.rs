//! The instruments of the crash tests must themselves be right: a workload whose records change
//! nothing, a comparison that sees no difference, or a fault that is never met would pass any
//! store.
#![allow(clippy::unreachable)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    sync::Arc,
    time::Duration,
};

use common::{
    peer,
    sim::{block_on, wait_until_durable},
};
use peer_journal::{
    Lsn, P2PStatePersistence,
    state::{Change, PeerKey, Time, decode, encode},
    testing::{Effect, Fault, FaultVfs, Op, SimDisk, Step, Workload, difference},
    vfs::{OsVfs, Vfs},
};

fn open(path: &Path, disk: Arc<dyn Vfs>) -> P2PStatePersistence {
    let builder = P2PStatePersistence::builder(path).vfs(disk).segment_bytes(16 << 10);
    builder.sync_within(Duration::from_millis(5)).clock(Workload::clock).open().unwrap()
}

/// Does what the next record says. True if it is known to be durable.
fn write(store: &P2PStatePersistence, workload: &mut Workload, wait: bool) -> bool {
    let durable = match workload.step() {
        Step::Append(changes) => {
            let ack = store.append_batch(changes).unwrap();
            assert_eq!(ack.lsn(), workload.lsn().next());
            wait && ack.wait().is_ok()
        }
        Step::Update(rows) => block_on(store.update_state(rows)).is_ok(),
        _ => unreachable!("there are two kinds of steps"),
    };
    workload.advance().unwrap();
    durable
}

#[test]
fn every_record_is_told_by_seed_and_lsn_and_changes_something() {
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut updates, mut batches) = (0, 0);
    let (mut one, mut other) = (Workload::new(1), Workload::new(2));
    let mut different = 0;
    for _ in 0..3000 {
        let before = one.clone();
        assert_eq!(one.step(), before.step());
        let changes = match one.step() {
            Step::Append(changes) => changes,
            Step::Update(rows) => {
                updates += 1;
                one.state().changes_to(&rows).unwrap()
            }
            _ => unreachable!("there are two kinds of steps"),
        };
        batches += u64::from(changes.len() > 1);
        for change in &changes {
            *kinds.entry(change.kind()).or_default() += 1;
        }
        let digest = one.advance().unwrap();
        assert!(difference(before.state(), one.state()).is_some() || !changes.is_empty());
        different += u64::from(digest != other.advance().unwrap());
        assert_eq!(one.lsn(), before.lsn().next());
        let mut again = Workload::resume(1, before.lsn(), before.state().clone());
        assert_eq!(again.advance().unwrap(), digest);
        assert_eq!(difference(again.state(), one.state()), None);
    }
    assert!(different > 2900, "another seed, other records: {different}");
    assert!(updates > 40 && batches > 200, "{updates} updates, {batches} batches");
    assert!(kinds.len() >= 24, "only these kinds of changes: {kinds:?}");
}

#[test]
fn the_state_of_a_workload_does_not_grow_for_ever() {
    let mut workload = Workload::new(3);
    let mut sizes = BTreeSet::new();
    for lsn in (1000..=8000).step_by(1000) {
        workload.advance_to(Lsn::new(lsn)).unwrap();
        sizes.insert(workload.state().value_bytes());
        let counts = workload.state().counts();
        assert!(counts.peers < 100 && counts.dht_entries <= 40 && counts.packages <= 12);
    }
    assert!(*sizes.last().unwrap() < 150_000, "{sizes:?}");
    assert!(sizes.len() > 5, "and it goes on changing: {sizes:?}");
}

#[test]
fn a_difference_in_any_kind_of_row_is_told() {
    let mut workload = Workload::new(4);
    workload.advance_to(Lsn::new(500)).unwrap();
    let state = workload.state();
    let now: Time = Workload::clock().into();
    let key = PeerKey::from(peer(999_999));
    let (dht, package) =
        (state.dht_entries().next().unwrap().0, state.packages().next().unwrap().0);
    let known = state.peers().next().unwrap().0.clone();
    let changes = [
        Change::PeerSeen { peer: key.clone(), at: now, addresses: Vec::new() },
        Change::RetrievalFailed { peer: known.clone(), at: now },
        Change::PeerForgotten { peer: known },
        Change::Banned { peer: key, at: now, until: now, reason: "r".into(), source: "s".into() },
        Change::Unbanned { peer: state.bans().next().unwrap().0.clone() },
        Change::DhtPut { key: "another".into(), value: [1].into(), at: now },
        Change::DhtRemoved { key: dht.into() },
        Change::PackageCached { id: package.into(), data: [1].into(), at: now },
        Change::PackageDropped { id: package.into() },
        Change::BootstrapAdded { node: "another".into() },
    ];
    assert_eq!(difference(state, &state.clone()), None);
    for change in changes {
        let mut other = state.clone();
        other.apply(&change).unwrap();
        assert!(difference(state, &other).is_some(), "{change:?}");
        assert!(difference(&other, state).is_some(), "{change:?}");
    }
}

#[test]
fn the_records_of_a_workload_can_be_written_and_read() {
    let mut workload = Workload::new(5);
    for _ in 0..1000 {
        if let Step::Append(changes) = workload.step() {
            let mut bytes = Vec::new();
            encode(&changes, &mut bytes).unwrap();
            let read: Vec<_> = decode(&bytes).map(Result::unwrap).collect();
            assert_eq!(read, changes);
        }
        workload.advance().unwrap();
    }
}

#[test]
fn a_store_that_follows_a_workload_holds_what_the_workload_holds() {
    let disk = SimDisk::new(6);
    let path = Path::new("/data/p2p-state.json");
    let mut workload = Workload::new(6);
    for round in 1..=4 {
        let store = open(path, Arc::new(disk.mount()));
        assert_eq!(store.view().unwrap().lsn(), workload.lsn(), "nothing is journaled by itself");
        for _ in 0..250 {
            write(&store, &mut workload, false);
        }
        if round % 2 == 0 {
            block_on(store.compact()).unwrap();
        }
        let view = store.view().unwrap();
        assert_eq!(view.lsn(), workload.lsn());
        assert_eq!(difference(workload.state(), view.state()), None);
    }
}

#[test]
fn each_kind_of_fault_is_met_on_a_real_disk_and_loses_nothing() {
    let full = io::ErrorKind::StorageFull;
    let faults = [
        Fault::new(Op::Write).path("segment-").error(full).effect(Effect::Short(30)),
        Fault::new(Op::Write).path("segment-").effect(Effect::MarkClean),
        Fault::new(Op::Sync).path("segment-"),
        Fault::new(Op::Sync).path("segment-").times(3),
        Fault::new(Op::Create).path("segment-").error(full),
        Fault::new(Op::Rename).path(".wal"),
        Fault::new(Op::SyncDir).path("p2p-state.journal"),
        Fault::new(Op::Create).path(".json.tmp").error(full),
        Fault::new(Op::Sync).path(".json.tmp"),
        Fault::new(Op::Link).path("snapshot-"),
        Fault::new(Op::Rename).path(".json.tmp"),
        Fault::new(Op::Remove).path(".wal"),
        Fault::new(Op::List).path("p2p-state.journal"),
        Fault::new(Op::Read).path(".json.tmp"),
    ];
    for fault in faults {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p2p-state.json");
        let disk = FaultVfs::new(Arc::new(OsVfs));
        let mut workload = Workload::new(7);
        let store = open(&path, Arc::new(disk.clone()));
        for step in 0..60 {
            write(&store, &mut workload, step % 3 == 0);
            if step == 20 {
                disk.fail(fault.clone());
            }
            if step % 15 == 0 {
                // It fails where the fault is met, and the next one makes up for it.
                drop(block_on(store.compact()));
            }
        }
        assert!(disk.faults_hit() >= 1, "never met: {fault:?}");
        disk.clear_faults();
        drop(store);
        reopened_is(&path, &workload, &format!("{fault:?}"));
    }
}

#[test]
fn faults_at_random_calls_on_a_real_disk_lose_nothing() {
    for seed in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p2p-state.json");
        let disk = FaultVfs::new(Arc::new(OsVfs));
        let mut workload = Workload::new(seed);
        let store = open(&path, Arc::new(disk.clone()));
        disk.fail_randomly(seed, 25);
        for step in 0..300 {
            write(&store, &mut workload, step % 10 == 0);
            if step % 40 == 0 {
                drop(block_on(store.compact()));
            }
        }
        disk.clear_faults();
        let hit = disk.faults_hit();
        assert!(hit > 3, "seed {seed}: {hit} faults");
        assert_eq!(wait_until_durable(&store), workload.lsn(), "seed {seed}");
        assert_eq!(disk.faults_hit(), hit, "they are disarmed");
        drop(store);
        reopened_is(&path, &workload, &format!("seed {seed}, {hit} faults"));
    }
}

fn reopened_is(path: &Path, workload: &Workload, story: &str) {
    let store = open(path, Arc::new(OsVfs));
    let (view, report) = (store.view().unwrap(), store.recovery().unwrap());
    assert_eq!(view.lsn(), workload.lsn(), "{story}: {report}");
    assert_eq!(difference(workload.state(), view.state()), None, "{story}: {report}");
    assert!(report.lost.is_empty() && !report.is_damaged(), "{story}: {report}");
}
