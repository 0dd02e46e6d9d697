//! Guards the history: a past that cannot be restored, that costs a record or a save, that grows
//! past its caps, or that a crash leaves in two minds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

mod common;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use common::{
    address, peer,
    sim::{STATE_FILE, block_on, builder, fingerprint},
    stop::Stop,
};
use peer_journal::{
    Builder, Change, Error, ErrorKind, FileKind, History, Journal, Lsn, P2PStatePersistence,
    Reader, Verdict,
    testing::{Fault, Op, Outcome, Prng, SimDisk},
};

const HISTORY: &str = "/node/p2p-state.journal/history";

fn all() -> History {
    History { bytes_max: u64::MAX, age_max: Duration::from_secs(u64::MAX) }
}

fn with_history(disk: &SimDisk) -> Builder {
    builder(disk).keep_history(all())
}

fn reader(disk: &SimDisk) -> Reader {
    Reader::options(STATE_FILE).vfs(Arc::new(disk.mount())).open().unwrap()
}

/// Names and bytes of the history's files, the caps left out.
fn kept(disk: &SimDisk) -> BTreeMap<String, u64> {
    let files = disk.files().into_iter().filter(|(path, _)| path.starts_with(HISTORY));
    let name = |path: std::path::PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    files.map(|(path, len)| (name(path), len)).filter(|(name, _)| name != "KEEP").collect()
}

fn snapshots(disk: &SimDisk) -> Vec<u64> {
    let lsn = |name: &String| name.strip_prefix("snapshot-")?.strip_suffix(".json")?.parse().ok();
    kept(disk).keys().filter_map(lsn).collect()
}

/// The state at each LSN, as the program that wrote it saw it.
#[derive(Default)]
struct Model(BTreeMap<u64, String>);

impl Model {
    fn note(&mut self, store: &P2PStatePersistence) {
        let view = store.view().unwrap();
        self.0.entry(view.lsn().get()).or_insert_with(|| fingerprint(&view));
    }

    /// Every LSN in reach is restorable to what was seen then.
    fn check(&self, reader: &Reader, story: &str) {
        let oldest = reader.oldest_restorable().unwrap().get();
        for lsn in oldest..=reader.view().lsn().get() {
            let view = reader.state_at(Lsn::new(lsn)).unwrap_or_else(|error| {
                panic!("{story}: lsn {lsn} from {oldest}: {error:#}");
            });
            let seen = self.0.get(&lsn).unwrap_or_else(|| panic!("{story}: nobody saw lsn {lsn}"));
            assert!(*seen == fingerprint(&view), "{story}: another state at lsn {lsn}");
        }
        if oldest > 0 {
            let before = reader.state_at(Lsn::new(oldest - 1)).unwrap_err();
            assert_eq!(before.kind(), ErrorKind::Compacted, "{story}");
        }
    }
}

fn random_change(random: &mut Prng) -> Change {
    let key = peer(random.below(6)).into();
    let at = DateTime::from_timestamp(1_790_000_000, 0).unwrap().into();
    match random.below(7) {
        0 => Change::PeerSeen {
            peer: key,
            at,
            addresses: vec![(&address(random.below(9) as u16)).into()],
        },
        1 => Change::RetrievalSucceeded { peer: key, at, response_ms: random.below(90) },
        2 => Change::PeerForgotten { peer: key },
        3 => Change::BootstrapAdded { node: format!("/dns4/n{}", random.below(5)).into() },
        4 => Change::Banned {
            peer: key,
            at,
            until: (DateTime::<Utc>::MAX_UTC).into(),
            reason: "r".into(),
            source: "s".into(),
        },
        5 => Change::DhtRemoved { key: format!("{}", random.below(4)).into() },
        _ => Change::DhtPut {
            key: format!("{}", random.below(4)).into(),
            value: vec![random.below(255) as u8; random.below(900) as usize].into(),
            at,
        },
    }
}

#[test]
fn the_state_at_every_lsn_is_the_one_of_then() {
    for seed in 0..2 {
        let mut random = Prng::new(seed);
        let disk = SimDisk::new(seed);
        let mut model = Model::default();
        let mut store = with_history(&disk).open().unwrap();
        model.note(&store);
        for step in 0..180 {
            match random.below(40) {
                0..3 => drop(block_on(store.compact()).unwrap()),
                3 => {
                    block_on(store.close()).unwrap();
                    // Also without the option: the store remembers.
                    store = if step % 2 == 0 { builder(&disk) } else { with_history(&disk) }
                        .open()
                        .unwrap();
                }
                4 => {
                    drop(store);
                    disk.kill();
                    store = builder(&disk).open().unwrap();
                }
                5 => {
                    let changes = [random_change(&mut random), random_change(&mut random)];
                    store.append_batch(changes).unwrap().wait().unwrap();
                }
                _ => drop(store.append(random_change(&mut random)).unwrap().wait().unwrap()),
            }
            model.note(&store);
        }
        let reader = reader(&disk);
        let story = format!("seed {seed}");
        assert_eq!(reader.oldest_restorable().unwrap(), Lsn::ZERO, "{story}");
        model.check(&reader, &story);
        let log: Vec<u64> =
            reader.log(..).unwrap().map(|record| record.unwrap().lsn.get()).collect();
        assert_eq!(log, (1..=reader.view().lsn().get()).collect::<Vec<u64>>(), "{story}");
        assert!(kept(&disk).len() > 4, "{story}: {:?}", kept(&disk));
        for file in reader.files().unwrap() {
            assert_eq!(file.zero_bytes * u64::from(file.kind == FileKind::HistorySegment), 0);
            assert!(!file.verdict.is_damage(), "{story}: {file:?}");
        }
    }
}

#[test]
fn snapshots_are_kept_in_proportion_to_the_journal_between_them() {
    let disk = SimDisk::new(1);
    let store = with_history(&disk).open().unwrap();
    for number in 0..40_u64 {
        // A large state, and little that changes in it.
        if number == 0 {
            store.dht_put("large", &[7; 3000]).unwrap();
        }
        store.dht_put("small", &[number as u8; 10]).unwrap();
        block_on(store.compact()).unwrap();
    }
    let status = store.status().unwrap().history.unwrap();
    assert_eq!((status.oldest, status.caps, status.failures), (Some(Lsn::ZERO), all(), 0));
    assert_eq!(status.bytes, kept(&disk).values().sum::<u64>());
    let (journal, snapshot): (Vec<_>, Vec<_>) =
        kept(&disk).into_iter().partition(|(name, _)| name.ends_with(".wal"));
    assert_eq!(journal.len(), 39, "what the fallback covers");
    assert!((2..=4).contains(&snapshot.len()), "{snapshot:?}");
    let bytes = |files: &[(String, u64)]| files.iter().map(|(_, bytes)| bytes).sum::<u64>();
    assert!(bytes(&snapshot) <= 2 * bytes(&journal) + 5000, "{snapshot:?} {journal:?}");
}

#[test]
fn the_bytes_stay_below_their_cap_and_the_oldest_goes_first() {
    let disk = SimDisk::new(2);
    let caps = History { bytes_max: 20_000, ..all() };
    let store = builder(&disk).keep_history(caps).open().unwrap();
    let mut model = Model::default();
    model.note(&store);
    let mut oldest = Lsn::ZERO;
    let mut pruned = 0;
    for number in 0..120_u64 {
        store.dht_put(&format!("{}", number % 5), &[number as u8; 400]).unwrap().wait().unwrap();
        model.note(&store);
        if number % 4 == 3 {
            block_on(store.compact()).unwrap();
            let status = store.status().unwrap().history.unwrap();
            assert!(status.bytes <= caps.bytes_max, "{status:?}");
            assert_eq!(status.bytes, kept(&disk).values().sum::<u64>());
            let now = status.oldest.unwrap_or_default();
            assert!(now >= oldest, "the oldest restorable point went back");
            pruned += u64::from(now > oldest);
            oldest = now;
        }
    }
    assert!(pruned > 3 && oldest > Lsn::new(60), "{pruned} {oldest}");
    let reader = reader(&disk);
    assert_eq!(reader.oldest_restorable().unwrap(), oldest);
    model.check(&reader, "after pruning");
    assert_eq!(reader.log(..).unwrap().next().unwrap().unwrap().lsn, oldest.next());
}

#[test]
fn what_is_too_old_goes_but_a_clock_that_jumps_ages_nothing() {
    let start = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
    let time = Arc::new(Mutex::new(start));
    let disk = SimDisk::new(3);
    let week = History { age_max: Duration::from_secs(7 * 86_400 + 43_200), ..all() };
    let open = || {
        let clock = Arc::clone(&time);
        let clock = move || *clock.lock().unwrap();
        builder(&disk).clock(clock).keep_history(week).open().unwrap()
    };
    let mut number = 0_u64;
    let mut work = |store: &P2PStatePersistence| {
        for _ in 0..3 {
            number += 1;
            store.dht_put("key", &[number as u8; 900]).unwrap().wait().unwrap();
            block_on(store.compact()).unwrap();
        }
        store.status().unwrap().history.unwrap().oldest.unwrap()
    };
    let mut oldest = Vec::new();
    for day in 0..12 {
        *time.lock().unwrap() = start + TimeDelta::days(day);
        let store = open();
        oldest.push(work(&store).get());
        block_on(store.close()).unwrap();
    }
    assert_eq!(oldest[..7], [0; 7], "{oldest:?}");
    assert!(oldest[11] > 9 && oldest[11] <= 18, "{oldest:?}");
    assert!(oldest.is_sorted());
    let store = open();
    let before = work(&store);
    *time.lock().unwrap() = start + TimeDelta::days(4000);
    assert_eq!(work(&store), before, "a step of the clock is no time that passed");
    *time.lock().unwrap() = start - TimeDelta::days(4000);
    assert_eq!(work(&store), before, "nor is one back");
    drop(store);
}

#[test]
fn the_store_remembers_its_history_until_it_is_turned_off() {
    let disk = SimDisk::new(4);
    let work = |store: &P2PStatePersistence| {
        for number in 0..3_u8 {
            store.dht_put("key", &[number; 900]).unwrap().wait().unwrap();
            block_on(store.compact()).unwrap();
        }
        block_on(store.close()).unwrap();
    };
    let store = builder(&disk).open().unwrap();
    work(&store);
    assert_eq!(store.status().unwrap().history, None);
    assert!(disk.files().iter().all(|(path, _)| !path.starts_with(HISTORY)), "off by default");
    drop(store);
    work(&with_history(&disk).open().unwrap());
    let first = kept(&disk);
    assert!(!first.is_empty());
    // A tool that knows nothing of it.
    let store = builder(&disk).open().unwrap();
    work(&store);
    assert_eq!(
        store.status().unwrap().history.unwrap().caps,
        History { age_max: Duration::from_secs(u64::MAX), ..all() }
    );
    assert!(first.keys().all(|name| kept(&disk).contains_key(name)));
    assert!(kept(&disk).len() > first.len());
    drop(store);
    let log = reader(&disk).log(..).unwrap().count() as u64;
    let oldest = reader(&disk).oldest_restorable().unwrap();
    assert_eq!(oldest.get() + log, 9, "no gap where the option was missing");
    // Caps that nobody can read are no reason to lose it.
    disk.write(format!("{HISTORY}/KEEP"), b"???".to_vec()).unwrap();
    work(&builder(&disk).open().unwrap());
    assert_eq!(reader(&disk).oldest_restorable().unwrap(), oldest);

    let store = builder(&disk).keep_history(History::OFF).open().unwrap();
    work(&store);
    assert_eq!(store.status().unwrap().history, None);
    assert!(disk.files().iter().all(|(path, _)| !path.starts_with(HISTORY)), "{:?}", kept(&disk));
    drop(store);
    work(&builder(&disk).open().unwrap());
    assert!(kept(&disk).is_empty(), "off stays off");
}

#[test]
fn a_history_that_cannot_be_written_costs_no_save_and_is_made_up_for() {
    let disk = SimDisk::new(5);
    let store = with_history(&disk).open().unwrap();
    let mut model = Model::default();
    model.note(&store);
    let mut work = |faults: bool| {
        for number in 0..4_u8 {
            store.dht_put("key", &[number; 700]).unwrap().wait().unwrap();
            model.note(&store);
            if faults {
                disk.fail(Fault::new(Op::Rename).path("history"));
            }
            block_on(store.compact()).unwrap();
            model.note(&store);
        }
    };
    work(true);
    let status = store.status().unwrap();
    assert!(disk.faults_hit() >= 2);
    assert_eq!(status.compaction_failures, 0, "the saves went well");
    assert!(status.history.unwrap().failures >= 2);
    let waiting = disk.files().len();
    disk.clear_faults();
    work(false);
    assert_eq!(store.status().unwrap().history.unwrap().failures, 0);
    assert!(disk.files().len() >= waiting);
    let reader = reader(&disk);
    assert_eq!(reader.oldest_restorable().unwrap(), Lsn::ZERO, "nothing was lost meanwhile");
    model.check(&reader, "after the faults");
    drop(store);
}

/// An update too large for a record is in no segment: a snapshot of its LSN must stay.
#[test]
fn large_updates_are_in_the_log_and_restorable() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    let store = P2PStatePersistence::builder(&path).keep_history(all()).open().unwrap();
    store.dht_put("one", b"1").unwrap().wait().unwrap();
    block_on(store.compact()).unwrap();
    let small = store.view().unwrap().to_rows(DateTime::UNIX_EPOCH);
    let mut large = small.clone();
    for number in 0..4200 {
        // Long keys: text is quick to write, even without optimisation.
        large.dht_entries.push(peer_journal::SerializedDHTEntry {
            key: format!("{number:04090}"),
            value: Vec::new(),
            stored_at: DateTime::UNIX_EPOCH,
        });
    }
    block_on(store.update_state(large)).unwrap();
    assert_eq!(store.view().unwrap().lsn(), Lsn::new(2));
    // So is its opposite: it names every key.
    block_on(store.update_state(small)).unwrap();
    for number in 4..=6_u8 {
        store.dht_put("small", &[number]).unwrap().wait().unwrap();
        block_on(store.compact()).unwrap();
    }
    let reader = Reader::open(&path).unwrap();
    let log: Vec<_> = reader.log(..).unwrap().map(Result::unwrap).collect();
    let told: Vec<_> = log.iter().map(|r| (r.lsn.get(), r.is_large_update)).collect();
    assert_eq!(told, [(1, false), (2, true), (3, true), (4, false), (5, false), (6, false)]);
    assert_eq!((log[1].bytes, log[1].changes.len()), (0, 0));
    assert_eq!(reader.oldest_restorable().unwrap(), Lsn::ZERO);
    let entries = [0, 1, 4201, 1, 2, 2, 2];
    for (lsn, entries) in entries.into_iter().enumerate() {
        let view = reader.state_at(Lsn::new(lsn as u64)).unwrap();
        assert_eq!(view.state().counts().dht_entries, entries, "at lsn {lsn}");
    }
    let followed = reader.journal().follow(Lsn::new(1)).poll().unwrap();
    assert_eq!((followed[0].lsn, followed[0].is_large_update), (Lsn::new(2), true));
    drop(store);
}

/// What the workload below saw, and how much of it is acknowledged.
#[derive(Default)]
struct Oracle {
    model: Model,
    acknowledged: u64,
}

fn workload(disk: &SimDisk, oracle: &mut Oracle) -> Result<(), Error> {
    let caps = History { bytes_max: 5000, ..all() };
    let store = builder(disk).keep_history(caps).open()?;
    oracle.model.note(&store);
    for number in 0..8_u8 {
        let ack = store.dht_put(&format!("{}", number % 2), &[number; 500])?;
        oracle.model.note(&store);
        oracle.acknowledged = ack.wait()?.get();
        if number % 2 == 1 {
            block_on(store.compact())?;
        }
    }
    block_on(store.close())?;
    let store = builder(disk).open()?;
    oracle.model.note(&store);
    let ack = store.peer_seen(&peer(1), &[address(4001)])?;
    oracle.model.note(&store);
    oracle.acknowledged = ack.wait()?.get();
    block_on(store.compact())?;
    block_on(store.close())
}

/// A power cut at every call: nothing that was acknowledged goes, and what is left of the past is
/// the past.
#[test]
fn a_crash_anywhere_loses_no_record_and_leaves_a_history_that_is_true() {
    let whole = SimDisk::new(0);
    let mut oracle = Oracle::default();
    workload(&whole, &mut oracle).unwrap();
    let calls = whole.calls();
    assert!(!kept(&whole).is_empty() && !snapshots(&whole).contains(&0), "it prunes too");
    let mut reached = 0;
    for call in 1..=calls {
        let crashed = SimDisk::new(call);
        crashed.crash_at(call);
        let mut oracle = Oracle::default();
        let _failed = workload(&crashed, &mut oracle);
        let other = if call % 2 == 0 { Outcome::DropUnsynced } else { Outcome::KeepAll };
        for outcome in [other, Outcome::Random(call)] {
            let disk = crashed.fork();
            disk.power_cut(outcome);
            let story = format!("crash in call {call}, {outcome:?}, {:?}", disk.trace().last());
            let store = builder(&disk).open().unwrap();
            let report = store.recovery().unwrap();
            assert!(!report.is_damaged() && report.lost.is_empty(), "{story}: {report}");
            let view = store.view().unwrap();
            assert!(view.lsn().get() >= oracle.acknowledged, "{story}: {report}");
            if let Some(seen) = oracle.model.0.get(&view.lsn().get()) {
                assert_eq!(*seen, fingerprint(&view), "{story}");
            }
            let mut model = Model(oracle.model.0.clone());
            // What was never acknowledged may be gone, and its number given to another.
            model.0.retain(|lsn, _| *lsn <= view.lsn().get());
            model.note(&store);
            if call % 4 == 0 {
                model.check(&reader(&disk), &story);
            }
            // The next compactions find whatever was left, and go on.
            for number in 0..3_u8 {
                store.dht_put("more", &[number; 300]).unwrap().wait().unwrap();
                model.note(&store);
                block_on(store.compact()).unwrap();
            }
            let reader = reader(&disk);
            model.check(&reader, &story);
            reached += u64::from(store.status().unwrap().history.is_some());
            for file in reader.files().unwrap() {
                assert!(
                    matches!(file.verdict, Verdict::Whole | Verdict::Covered | Verdict::Unborn),
                    "{story}: {file:?}"
                );
            }
        }
    }
    assert!(reached > calls, "most crashes came when there was a history");
}

#[test]
fn a_live_reader_sees_the_whole_past_while_compaction_moves_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    let store =
        P2PStatePersistence::builder(&path).segment_bytes(4096).keep_history(all()).open().unwrap();
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let _stopped = stop.at_the_end();
        scope.spawn(|| {
            let mut number = 0_u64;
            while !stop.is_asked() {
                number += 1;
                let ack =
                    store.dht_put(&format!("{}", number % 20), &number.to_le_bytes()).unwrap();
                if number.is_multiple_of(40) {
                    ack.wait().unwrap();
                    block_on(store.compact()).unwrap();
                }
            }
        });
        let journal = loop {
            if let Ok(journal) = Journal::open(&path) {
                break journal;
            }
        };
        let mut follow = journal.follow(Lsn::ZERO);
        let mut followed = 0;
        // The first compaction with something to move makes the folder.
        let history = path.with_extension("journal").join("history");
        let moved = || history.read_dir().map_or(0, Iterator::count);
        // Enough of it must have been moved meanwhile.
        for round in (0..3000).take_while(|round| *round < 30 || moved() < 20) {
            let mut expected = 0;
            for record in journal.log(..).unwrap() {
                let record = record.unwrap_or_else(|error| panic!("round {round}: {error:#}"));
                expected += 1;
                assert_eq!(record.lsn.get(), expected, "round {round}");
            }
            for record in follow.poll().unwrap() {
                followed += 1;
                assert_eq!(record.lsn.get(), followed, "round {round}");
            }
            if round % 10 == 0 {
                let reader = Reader::open(&path).unwrap();
                assert!(!reader.report().is_damaged(), "round {round}: {}", reader.report());
                assert_eq!(reader.oldest_restorable().unwrap(), Lsn::ZERO, "round {round}");
                let half = Lsn::new(reader.view().lsn().get() / 2);
                assert_eq!(reader.state_at(half).unwrap().lsn(), half);
            }
        }
    });
}
