//! A power cut at every call on the disk: what was acknowledged is there, the rest is whole or
//! absent.
//!
//! A workload runs on the simulated disk, which keeps a copy of itself from before each call. The
//! power is cut on each copy: in every way there is, where that is at most [`bound`] ways, and
//! otherwise in as many random ones. What is left is recovered, with further crashes inside that
//! recovery. The oracle is in `common/explore.rs`: recovery ends at or past the last
//! acknowledgement, its state is the one that the workload saw at that LSN, its report is true, a
//! second recovery changes nothing, and the store goes on.
//!
//! `PEER_JOURNAL_LONG=1` leaves no crash point out and tries more.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    collections::HashSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use common::{
    explore::{Checker, Oracle, Run, Worker, digest, in_two, open, quick_or_long, told},
    sim::{STATE_FILE, fingerprint},
};
use peer_journal::{
    Lsn,
    testing::{Outcome, SimDisk},
};

/// All ways of a power cut are tried if there are no more than this.
fn bound() -> u64 {
    quick_or_long(256, 4096)
}

/// The seeds of the recorded runs.
fn seeds() -> std::ops::Range<u64> {
    0..quick_or_long(1, 8)
}

/// Cuts the power on a copy.
fn cut(image: &SimDisk, outcome: Outcome) -> SimDisk {
    let disk = image.fork();
    disk.power_cut(outcome);
    disk
}

/// The outcomes to try on an image: all or as many as [`bound`], and torn bytes.
fn outcomes(image: &SimDisk) -> Vec<Outcome> {
    let seed = image.calls();
    let mut outcomes = image.outcomes(bound(), seed);
    outcomes.extend((0..quick_or_long(4, 40)).map(|more| Outcome::Torn(seed + more * 1_000_000)));
    outcomes
}

#[test]
fn nothing_acknowledged_is_lost_wherever_and_however_the_power_fails() {
    let (mut points, mut all_ways) = (0, 0);
    let (mut looked_at, mut different) = (0, 0);
    for seed in seeds() {
        let run = Run::record(seed);
        assert_eq!(run.faults_hit, 5, "the disk was bad five times");
        let checker = Checker::new(&run.oracle);
        in_two(&run.images, |image| {
            let acknowledged = run.oracle.acknowledged(image.calls());
            for outcome in outcomes(image) {
                checker.check(&cut(image, outcome), acknowledged, &told(image, outcome));
            }
        });
        points += run.images.len();
        let whole = |image: &&SimDisk| image.outcome_count().is_some_and(|count| count <= bound());
        all_ways += run.images.iter().filter(whole).count();
        looked_at += checker.counts().0;
        different += checker.counts().1;
    }
    println!(
        "{points} crash points, {all_ways} of them in every way; {looked_at} power cuts left \
         {different} different disks"
    );
    assert!(points > 200, "{points} crash points");
    assert!(all_ways * 10 > points * 9, "{all_ways} of {points} crash points in every way");
}

/// The machine goes off under the running program, which must end with an error and not hang; and a
/// write is cut off in its middle.
#[test]
fn nothing_acknowledged_is_lost_when_the_machine_goes_off_under_the_program() {
    let whole = SimDisk::new(0);
    let mut oracle = Oracle::default();
    Worker { disk: &whole, oracle: &mut oracle }.work().unwrap();
    let calls: Vec<u64> = (1..=whole.calls()).step_by(quick_or_long(6, 1)).collect();
    in_two(&calls, |call| {
        let disk = SimDisk::new(*call);
        disk.crash_at(*call);
        let mut oracle = Oracle::default();
        // It fails where the machine went off, wherever that was.
        let _failed = Worker { disk: &disk, oracle: &mut oracle }.work();
        disk.clear_faults();
        let acknowledged = oracle.acknowledged(u64::MAX);
        let checker = Checker::new(&oracle);
        for outcome in
            [Outcome::DropUnsynced, Outcome::KeepAll, Outcome::Random(*call), Outcome::Torn(*call)]
        {
            checker.check(&cut(&disk, outcome), acknowledged, &told(&disk, outcome));
        }
    });
    println!("{} runs that ended in the middle of a call", calls.len());
}

/// What the process left in the page cache must be made durable before it is trusted.
#[test]
fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let run = Run::record(0);
    let checker = Checker::new(&run.oracle);
    in_two(&run.images, |image| {
        let disk = image.fork();
        disk.kill();
        let story = format!("killed: {}", told(image, Outcome::DropUnsynced));
        let store = open(&disk).unwrap();
        let view = store.view().unwrap();
        assert!(view.lsn() >= run.oracle.acknowledged(image.calls()), "{story}");
        run.oracle.was_seen(&view, store.recovery().unwrap(), &story);
        let (lsn, kept) = (view.lsn(), fingerprint(&view));
        // The machine goes off right after the opening, or after a close.
        let crashed = disk.fork();
        drop(store);
        for disk in [crashed, disk] {
            disk.power_cut(Outcome::DropUnsynced);
            checker.check(&disk.fork(), lsn, &story);
            let view = open(&disk).unwrap().view().unwrap();
            assert_eq!((view.lsn(), fingerprint(&view)), (lsn, kept.clone()), "{story}");
        }
    });
    println!("{} kills", run.images.len());
}

/// What is deleted is in two snapshots that are both durable, so one of them may rot.
#[test]
fn nothing_acknowledged_is_lost_when_the_snapshot_rots_after_a_power_cut() {
    let run = Run::record(0);
    let rotten = AtomicUsize::new(0);
    in_two(&run.images, |image| {
        let seed = image.calls();
        for outcome in [Outcome::DropUnsynced, Outcome::Random(seed)] {
            let disk = cut(image, outcome);
            if disk.flip_bit(STATE_FILE, 8 * 40).is_err() {
                continue; // it was never saved
            }
            if run.oracle.large_update.contains(&seed) {
                continue; // between its two publications: a blind spot, see docs/durability.md
            }
            rotten.fetch_add(1, Ordering::Relaxed);
            let story = format!("{}, then rot", told(image, outcome));
            let store = open(&disk).unwrap_or_else(|error| panic!("{story}: {error:#}"));
            let (view, report) = (store.view().unwrap(), store.recovery().unwrap());
            assert!(view.lsn() >= run.oracle.acknowledged(seed), "{story}: {report}");
            assert_eq!(report.lost, [], "{story}: {report}");
            run.oracle.was_seen(&view, report, &story);
        }
    });
    let rotten = rotten.into_inner();
    println!("{rotten} rotten snapshots");
    assert!(rotten > 200, "the snapshot rotted {rotten} times");
}

/// The disk before each call of an opening and of the close after it.
fn recovery_of(disk: &SimDisk) -> Vec<SimDisk> {
    let disk = disk.fork();
    disk.record_images();
    drop(open(&disk).unwrap());
    disk.take_images()
}

/// Recovery crashes in any of its calls, the recovery of that crashes in any of its own, and the
/// third one finds everything.
#[test]
fn recovery_may_crash_anywhere_twice_in_a_row() {
    let (mut crashed_once, mut crashed_twice) = (0, 0);
    // Every crash point of a run is some hundred thousand recoveries.
    for seed in 0..quick_or_long(1, 2) {
        let run = Run::record(seed);
        let checker = Checker::new(&run.oracle);
        let explored = Mutex::new(HashSet::new());
        let is_new = |disk: &SimDisk| explored.lock().unwrap().insert(digest(disk));
        let first = AtomicUsize::new(0);
        let points: Vec<&SimDisk> = run.images.iter().step_by(quick_or_long(17, 1)).collect();
        in_two(&points, |image| {
            let acknowledged = run.oracle.acknowledged(image.calls());
            let seed = image.calls();
            let outcome = Outcome::Torn(seed);
            let story = told(image, outcome);
            for (inside, once) in recovery_of(&cut(image, outcome)).iter().enumerate() {
                for one in few(once, seed + inside as u64) {
                    let left = cut(once, one);
                    if !is_new(&left) {
                        continue;
                    }
                    first.fetch_add(1, Ordering::Relaxed);
                    for (again, twice) in recovery_of(&left).iter().enumerate() {
                        for two in few(twice, seed + again as u64) {
                            let story = format!(
                                "{story}, in recovery at call {inside}, {one:?}, then at {again}, \
                                 {two:?}"
                            );
                            checker.check(&cut(twice, two), acknowledged, &story);
                        }
                    }
                }
            }
        });
        crashed_once += first.into_inner();
        crashed_twice += checker.counts().0;
    }
    println!("{crashed_once} recoveries of crashed recoveries, crashed {crashed_twice} times");
    assert!(crashed_twice > 1000, "{crashed_twice}");
}

/// A few ways of a power cut inside a recovery.
fn few(image: &SimDisk, seed: u64) -> Vec<Outcome> {
    let mut outcomes = image.outcomes(quick_or_long(2, 4), seed);
    outcomes.push(Outcome::Torn(seed));
    outcomes
}

/// The numbers of the records are the model's: nothing is acknowledged that was not appended.
#[test]
fn the_workload_is_what_it_says() {
    let run = Run::record(0);
    let end = run.images.last().unwrap();
    let last = run.oracle.acknowledged(end.calls());
    let highest = *run.oracle.seen.keys().next_back().unwrap();
    assert!(last <= highest && last >= Lsn::new(25), "{last} of {highest}");
    let story: String = end.trace().iter().map(|call| format!("{call}\n")).collect();
    for wanted in ["rename", "link", "remove", "quarantine", "set_len", ".json.tmp", "sync_dir"] {
        let found = story.contains(wanted);
        assert!(found || wanted == "quarantine", "the workload never calls for {wanted}");
    }
}
