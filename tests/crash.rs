//! A power cut at every call on the disk: what was acknowledged is there, the rest is whole or
//! absent.
//!
//! A workload runs on the simulated disk and crashes at each of its calls in turn. What the cut
//! leaves is recovered, with further crashes inside that recovery. The oracle: recovery ends at or
//! past the last acknowledgement, its state is the one that the workload saw at that LSN, it
//! reports no loss, and a second recovery changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};
use common::{
    address, peer,
    sim::{STATE_FILE, block_on, fingerprint, open},
};
use peer_journal::{
    Ack, Change, Error, Lsn, Outcome as Recovery, P2PStatePersistence, SerializedPeer,
    testing::{Outcome, Prng, SimDisk},
};

/// What the workload saw: the state at each LSN, and how far it was told that changes are durable.
#[derive(Default)]
struct Oracle {
    seen: BTreeMap<Lsn, String>,
    acknowledged: Lsn,
}

impl Oracle {
    fn note(&mut self, store: &P2PStatePersistence) {
        let view = store.view().unwrap();
        self.seen.entry(view.lsn()).or_insert_with(|| fingerprint(&view));
    }

    fn acknowledge(&mut self, lsn: Lsn) {
        self.acknowledged = self.acknowledged.max(lsn);
    }

    /// Notes the change of an append and waits for its ack.
    fn durable(&mut self, store: &P2PStatePersistence, ack: Ack) -> Result<(), Error> {
        self.note(store);
        self.acknowledge(ack.wait()?);
        Ok(())
    }

    fn check(&self, store: &P2PStatePersistence, story: &str) {
        let view = store.view().unwrap();
        let report = store.recovery().unwrap();
        assert!(
            view.lsn() >= self.acknowledged,
            "{story}: acknowledged {} lost: {report}",
            self.acknowledged
        );
        assert_eq!(report.lost, [], "{story}: {report}");
        assert_ne!(report.outcome, Recovery::Salvaged, "{story}: {report}");
        match self.seen.get(&view.lsn()) {
            Some(seen) => assert_eq!(&fingerprint(&view), seen, "{story}: {report}"),
            None => assert_eq!(view.lsn(), Lsn::ZERO, "{story}: a state nobody saw: {report}"),
        }
    }
}

/// Appends, batches, bans, evictions, rotation, compaction, a difference, close and open again.
fn workload(disk: &SimDisk, oracle: &mut Oracle) -> Result<(), Error> {
    let store = open(disk)?;
    oracle.note(&store);
    for number in 0..3 {
        let ack = store.peer_seen(&peer(number), &[address(4000)])?;
        oracle.durable(&store, ack)?;
    }
    store.retrieval_succeeded(&peer(1), Duration::from_millis(40))?;
    oracle.note(&store);
    let batch = store.append_batch([
        Change::PeerVerified { peer: peer(2).into(), verified: true },
        Change::PackagesProvided { peer: peer(2).into(), count: 7 },
        Change::BootstrapAdded { node: "/ip4/127.0.0.1/tcp/1".into() },
    ])?;
    oracle.durable(&store, batch)?;
    let ban = store.ban(&peer(0), Duration::from_secs(60), "spam", "test")?;
    oracle.durable(&store, ban)?;
    oracle.acknowledge(block_on(store.compact())?);
    for number in 0..6 {
        // Fills more than one segment.
        let ack = store.dht_put(&format!("key {number}"), &vec![number; 900])?;
        oracle.note(&store);
        if number % 2 == 0 {
            oracle.durable(&store, ack)?;
        }
    }
    oracle.acknowledge(block_on(store.compact())?);
    let ack = store.evict_peer(&peer(1))?;
    oracle.durable(&store, ack)?;
    let mut rows = store.view()?.to_rows(DateTime::<Utc>::UNIX_EPOCH);
    rows.peers.push(SerializedPeer {
        peer_id: "a text that is no id".into(),
        addresses: vec!["nor an address".into()],
        last_seen: DateTime::<Utc>::UNIX_EPOCH,
    });
    let before = store.view()?.lsn();
    let updated = block_on(store.update_state(rows));
    oracle.note(&store);
    if updated.is_err() {
        return Err(store.dht_put("after", b"a failure").map(|_| ()).err().unwrap_or_else(|| {
            block_on(store.sync()).expect_err("the disk is off, so a sync cannot succeed")
        }));
    }
    oracle.acknowledge(before.next());
    oracle.acknowledge(block_on(store.compact())?);
    block_on(store.close())?;
    drop(store);

    let store = open(disk)?;
    let ack = store.unban(&peer(0))?;
    oracle.durable(&store, ack)?;
    Ok(())
}

/// The calls of a whole run. Threads make the number vary a little; crashing past the end is
/// harmless.
fn calls_of_a_run() -> u64 {
    let disk = SimDisk::new(0);
    let mut oracle = Oracle::default();
    workload(&disk, &mut oracle).unwrap();
    assert_eq!(oracle.acknowledged, Lsn::new(15));
    disk.calls()
}

fn crashed_at(call: u64) -> (SimDisk, Oracle) {
    let disk = SimDisk::new(call);
    disk.crash_at(call);
    let mut oracle = Oracle::default();
    // It fails where the machine went off, wherever that was.
    let _failed = workload(&disk, &mut oracle);
    (disk, oracle)
}

fn outcomes(call: u64) -> [Outcome; 6] {
    [
        Outcome::DropUnsynced,
        Outcome::KeepAll,
        Outcome::Random(call),
        Outcome::Random(call + 1_000_000),
        Outcome::Torn(call),
        Outcome::Torn(call + 1_000_000),
    ]
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_power_fails() {
    let calls = calls_of_a_run();
    for call in 1..=calls {
        let (crashed, oracle) = crashed_at(call);
        for outcome in outcomes(call) {
            let disk = crashed.fork();
            disk.power_cut(outcome);
            let story = format!("crash at {:?}, {outcome:?}", disk.trace().last());
            check_twice(&disk, &oracle, &story);
        }
    }
    println!("{calls} crash points, {} power cuts", calls * 6);
}

#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    for call in 1..=calls_of_a_run() {
        let (disk, oracle) = crashed_at(call);
        disk.power_on();
        disk.kill();
        let story = format!("killed at {:?}", disk.trace().last());
        // What the process left in the page cache must be made durable before it is trusted.
        let store = open(&disk).unwrap();
        oracle.check(&store, &story);
        let (lsn, kept) = (store.view().unwrap().lsn(), fingerprint(&store.view().unwrap()));
        drop(store);
        disk.power_cut(Outcome::DropUnsynced);
        let store = open(&disk).unwrap();
        assert_eq!((store.view().unwrap().lsn(), fingerprint(&store.view().unwrap())), (lsn, kept));
    }
}

/// What is deleted is in two snapshots that are both durable, so one of them may rot.
#[test]
fn nothing_acknowledged_is_lost_when_the_snapshot_rots_after_a_power_cut() {
    let mut rotten = 0;
    for call in 1..=calls_of_a_run() {
        let (crashed, oracle) = crashed_at(call);
        for outcome in [Outcome::DropUnsynced, Outcome::Random(call)] {
            let disk = crashed.fork();
            disk.power_cut(outcome);
            if disk.flip_bit(STATE_FILE, 8 * 40).is_err() {
                continue; // it was never saved
            }
            rotten += 1;
            let story = format!("crash at {:?}, {outcome:?}, then rot", disk.trace().last());
            let store = open(&disk).unwrap_or_else(|error| panic!("{story}: {error:#}"));
            let (view, report) = (store.view().unwrap(), store.recovery().unwrap());
            assert!(view.lsn() >= oracle.acknowledged, "{story}: {report}");
            assert_eq!(report.lost, [], "{story}: {report}");
            assert_eq!(
                oracle.seen.get(&view.lsn()),
                Some(&fingerprint(&view)),
                "{story}: {report}"
            );
        }
    }
    assert!(rotten > 50, "the snapshot rotted {rotten} times");
}

fn check_twice(disk: &SimDisk, oracle: &Oracle, story: &str) {
    let store = open(disk).unwrap_or_else(|error| panic!("{story}: {error:#}"));
    oracle.check(&store, story);
    let (lsn, kept) = (store.view().unwrap().lsn(), fingerprint(&store.view().unwrap()));
    drop(store);
    let store = open(disk).unwrap_or_else(|error| panic!("{story}, again: {error:#}"));
    let view = store.view().unwrap();
    assert_eq!((view.lsn(), fingerprint(&view)), (lsn, kept), "{story}: a second recovery differs");
    let report = store.recovery().unwrap();
    assert_eq!(report.outcome, Recovery::Clean, "{story}: {report}");
}

#[test]
fn recovery_may_crash_anywhere_twice_in_a_row() {
    let mut recoveries = 0;
    for call in (1..=calls_of_a_run()).step_by(5) {
        let (crashed, oracle) = crashed_at(call);
        crashed.power_cut(Outcome::Torn(call));
        let first = crashed.fork();
        let before = first.calls();
        drop(open(&first).unwrap());
        let mut random = Prng::new(call);
        for inside in before + 1..=first.calls() {
            let disk = crashed.fork();
            crash_while_opening(&disk, inside, Outcome::Random(random.next_u64()));
            let again = disk.calls() + 1 + random.below(20);
            crash_while_opening(&disk, again, Outcome::Torn(random.next_u64()));
            let story = format!("crash {call}, in recovery at {inside}, then at {again}");
            check_twice(&disk, &oracle, &story);
            recoveries += 1;
        }
    }
    println!("{recoveries} recoveries were crashed twice");
}

fn crash_while_opening(disk: &SimDisk, call: u64, outcome: Outcome) {
    disk.crash_at(call);
    drop(open(disk));
    disk.power_on();
    disk.power_cut(outcome);
}
