//! Fifteen ways in which other journals lost data, each as a test of this one.
//!
//! Each was shipped by somebody: a reader that repaired what it read, a sync that was skipped, a
//! number that was used twice. Where another suite goes further, the test says so. Of lesson 14 the
//! part about speed (commits while a compaction fails) belongs to the benches: no test here asserts
//! a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use common::{
    address,
    explore::{digest, in_two, quick_or_long},
    made::{self, Frame, JOURNAL, STATE, frames, known, look, segments},
    peer,
    sim::{
        self, block_on, builder, eight_writers, fingerprint, is_there, open, survives_a_power_cut,
        wait_until_durable, wait_until_healthy,
    },
};
use peer_journal::{
    Builder, ErrorKind, Lsn, OnDamage, Outcome as Recovery, P2PState, P2PStatePersistence,
    RecoveryReport, SerializedPeer, Verdict,
    state::{Change, encode},
    testing::{Effect, Fault, Op, Outcome, Prng, SimDisk},
};

/// Far longer than any of it takes, so that only a hang reaches it.
const WATCHDOG: Duration = Duration::from_secs(120);

fn put(store: &P2PStatePersistence, key: &str, bytes: usize) -> Lsn {
    store.dht_put(key, &vec![7; bytes]).unwrap().wait().unwrap()
}

fn lost(report: &RecoveryReport) -> Vec<u64> {
    report.lost.iter().flat_map(|range| range.first.get()..=range.last.get()).collect()
}

fn cut(disk: &SimDisk, outcome: Outcome) -> SimDisk {
    let image = disk.fork();
    image.clear_faults();
    image.power_cut(outcome);
    image
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wal")
}

/// Reading must not destroy: a store that is damaged in any one byte is refused with no byte
/// altered. (What `inspect` leaves alone, and what an opening keeps, is in tests/corruption.rs.)
#[test]
fn lesson_01_reading_destroys_nothing() {
    let known = known(true);
    assert!(segments(&known.disk).len() >= 3, "{:?}", segments(&known.disk));
    let mut flips: Vec<(PathBuf, u64)> = Vec::new();
    for (path, bytes) in made::data_files(&known.disk) {
        let content = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let offsets = (0..content as u64).step_by(quick_or_long(3, 1));
        flips.extend(offsets.map(|offset| (path.clone(), offset * 8 + offset % 8)));
    }
    let refused = AtomicUsize::new(0);
    in_two(&flips, |(path, bit)| {
        let disk = known.disk.fork();
        disk.flip_bit(path, *bit).unwrap();
        let before = made::data_files(&disk);
        let what = format!("bit {bit} of {}", path.display());
        match made::builder(&disk).on_damage(OnDamage::Refuse).open() {
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error:#}");
                assert!(before == made::data_files(&disk), "{what}: a refusal altered a file");
                refused.fetch_add(1, Ordering::Relaxed);
            }
            Ok(store) => {
                // Only what a snapshot covers may be damaged and opened, and then nothing is lost.
                let report = store.recovery().unwrap();
                assert_eq!(lost(report), [] as [u64; 0], "{what}: {report}");
                let state = made::picture(store.view().unwrap().state());
                assert_eq!(state, known.full(), "{what}: {report}");
            }
        }
    });
    let refused = refused.into_inner();
    println!("{} flipped bits, {refused} refused", flips.len());
    assert!(refused * 3 > flips.len(), "{refused} of {}", flips.len());
}

/// An error while compacting is not the end of the log: a compaction beside a rotten and unreadable
/// sealed segment deletes nothing that one snapshot alone covers, and writes what is in memory.
#[test]
fn lesson_02_a_compaction_beside_damage_loses_nothing() {
    let disk = SimDisk::new(2);
    let store = open(&disk).unwrap();
    put(&store, "a", 10);
    block_on(store.compact()).unwrap();
    for key in 0..8 {
        put(&store, &format!("key {key}"), 900);
    }
    let sealed = segments(&disk);
    assert!(sealed.len() >= 3, "{sealed:?}");
    // Rot in the last segment but one, all of whose records came after the snapshot.
    let rotten = sealed[sealed.len() - 2].clone();
    let victim = frames(&disk.read(&rotten).unwrap())[0];
    disk.flip_bit(&rotten, victim.start as u64 * 8 + 200).unwrap();
    disk.fail(Fault::new(Op::Read).path(".wal").forever());
    let before = store.view().unwrap();
    assert_eq!(block_on(store.compact()).unwrap(), before.lsn());
    assert!(disk.faults_hit() > 0, "nothing was read");
    disk.clear_faults();
    assert!(disk.read(&rotten).is_ok(), "one snapshot alone covers it");
    drop(store);
    let again = open(&disk).unwrap();
    let report = again.recovery().unwrap();
    assert_eq!((report.outcome, report.replayed), (Recovery::Clean, 0), "{report}");
    assert_eq!(fingerprint(&again.view().unwrap()), fingerprint(&before), "{report}");
    drop(again);
    // Without that snapshot the fallback and the segments take over; one record is told as lost.
    disk.erase(sim::STATE_FILE).unwrap();
    let salvaged = open(&disk).unwrap();
    let report = salvaged.recovery().unwrap();
    assert_eq!(lost(report), [victim.lsn], "{report}");
    assert_eq!(report.last_lsn, before.lsn(), "{report}");
    let kept = report.findings.iter().find(|found| found.verdict == Verdict::BrokenRecord).unwrap();
    assert!(disk.read(kept.quarantined.as_ref().unwrap()).is_ok(), "{report}");
}

/// One bad old segment, unreadable or not to be removed, must not block compaction for ever.
#[test]
fn lesson_03_one_bad_segment_does_not_block_compaction() {
    for op in [Op::Read, Op::Remove] {
        let disk = SimDisk::new(3);
        let store = open(&disk).unwrap();
        put(&store, "first", 10);
        let old = segments(&disk).remove(0).to_string_lossy().into_owned();
        disk.fail(Fault::new(op).path(old.clone()).forever());
        let mut failures = 0;
        let mut most: u64 = 0;
        for cycle in 0..100 {
            let lsn = put(&store, "key", 500 + cycle);
            // It may say that it could not clean up; the snapshot is there all the same.
            let result = block_on(store.compact());
            let status = store.status().unwrap();
            assert_eq!(status.snapshot_lsn, lsn, "{op}, cycle {cycle}: {result:?}");
            assert!(status.degraded.is_none(), "{op}, cycle {cycle}: writes are affected");
            assert_eq!(result.is_err(), status.compaction_failures > 0, "{op}, cycle {cycle}");
            failures = failures.max(status.compaction_failures);
            most = most.max(disk.files().iter().map(|(_, len)| len).sum());
            let found = disk.files().iter().filter(|(path, _)| is_segment(path)).count();
            assert!(found <= 4, "{op}, cycle {cycle}: {:?}", disk.files());
        }
        assert!(disk.faults_hit() > 0, "{op}: the fault was met");
        assert!(most < 40_000, "{op}: {most} bytes on disk");
        assert_eq!(failures > 0, op == Op::Remove, "{op}: what fails is counted");
        assert_eq!(disk.read(&old).is_ok(), op == Op::Remove, "{op}");
        survives_a_power_cut(&disk, store, &format!("{op} fails"));
    }
}

/// The k-th sync fails under eight committers: all waiters are told, nobody hangs, and no later
/// acknowledgement rests on the file whose sync failed.
#[test]
fn lesson_04_a_failed_sync_is_told_to_every_waiter_and_loses_nothing() {
    let mut hit = 0;
    // The first sync belongs to the opening.
    for after in 1..16 {
        let disk = SimDisk::new(after);
        disk.fail(Fault::new(Op::Sync).path("segment-").after(after).effect(Effect::MarkClean));
        eight_writers(&disk, &format!("sync {after} fails"));
        hit += disk.faults_hit();
    }
    assert!(hit > 5, "the faults were met: {hit}");
}

/// No sync is skipped: the first commit after an opening, a rotation, a compaction and an error is
/// there after a power cut, and so is one that nobody waited for.
#[test]
fn lesson_05_no_sync_is_skipped() {
    let disk = SimDisk::new(5);
    let store = open(&disk).unwrap();
    let commit = |store: &P2PStatePersistence, story: &str| {
        let lsn = put(store, story, 20);
        is_there(&disk, lsn, story);
    };
    commit(&store, "after the first opening");
    let segment = store.status().unwrap().segment;
    for number in 0..10 {
        put(&store, &format!("filler {number}"), 800);
    }
    assert!(store.status().unwrap().segment > segment);
    commit(&store, "after a rotation");
    block_on(store.compact()).unwrap();
    commit(&store, "after a compaction");
    disk.fail(Fault::new(Op::Sync).path("segment-").effect(Effect::MarkClean));
    // The wait may end after the second try.
    let _told = store.dht_put("failed", b"1").unwrap().wait();
    wait_until_durable(&store);
    assert_eq!(disk.faults_hit(), 1);
    is_there(&disk, store.view().unwrap().lsn(), "what the failed sync was for");
    commit(&store, "after an error");
    block_on(store.close()).unwrap();
    drop(store);
    let store = open(&disk).unwrap();
    commit(&store, "after a close");
    drop(store);
    let store = open(&disk).unwrap();
    commit(&store, "after a drop");
    // Nobody waits: the journal is synced all the same.
    let lsn = store.dht_put("not awaited", b"1").unwrap().lsn();
    let started = Instant::now();
    while store.durable_through().unwrap() < lsn {
        assert!(started.elapsed() < WATCHDOG, "it never became durable");
        std::thread::yield_now();
    }
    is_there(&disk, lsn, "not awaited");
}

/// The seal that a close writes is durable: it vouches for the last record, so that the loss of
/// that one is told.
#[test]
fn lesson_05_a_close_is_durable_too() {
    let disk = SimDisk::new(5);
    let store = open(&disk).unwrap();
    put(&store, "a", 20);
    let last = put(&store, "b", 20);
    block_on(store.close()).unwrap();
    let image = cut(&disk, Outcome::DropUnsynced);
    let path = segments(&image).pop().unwrap();
    let found = frames(&image.read(&path).unwrap());
    let seal = found.last().unwrap();
    assert!(seal.is_seal && seal.lsn == last.get(), "{found:?}");
    let record = found[found.len() - 2];
    image.flip_bit(&path, record.start as u64 * 8 + 200).unwrap();
    let again = open(&image).unwrap();
    assert_eq!(lost(again.recovery().unwrap()), [last.get()], "{}", again.recovery().unwrap());
}

/// A run that is recorded call by call, with its acknowledgements.
#[derive(Default)]
struct Recorded {
    images: Vec<SimDisk>,
    /// The number of the disk's last call when each was told.
    acks: Vec<(u64, Lsn)>,
    seen: BTreeMap<Lsn, String>,
}

impl Recorded {
    fn note(&mut self, store: &P2PStatePersistence) {
        let view = store.view().unwrap();
        self.seen.entry(view.lsn()).or_insert_with(|| fingerprint(&view));
    }

    fn told(&mut self, disk: &SimDisk, lsn: Lsn) {
        self.acks.push((disk.calls(), lsn));
    }

    fn acknowledged(&self, calls: u64) -> Lsn {
        let told = self.acks.iter().filter(|(at, _)| *at <= calls);
        told.map(|(_, lsn)| *lsn).max().unwrap_or(Lsn::ZERO)
    }

    /// Every image, every outcome up to the bound: what was acknowledged is there. Gives the number
    /// of images and of outcomes.
    fn explore(&self, bound: u64, open: impl Fn(&SimDisk) -> Builder + Sync) -> (usize, usize) {
        let outcomes = AtomicUsize::new(0);
        in_two(&self.images, |image| {
            for outcome in image.outcomes(bound, image.calls()) {
                let disk = cut(image, outcome);
                let last = image.trace().last().map_or(String::new(), ToString::to_string);
                let story = format!("seed {}, cut after {last}, {outcome:?}", disk.seed());
                let store = open(&disk).open().unwrap_or_else(|e| panic!("{story}: {e:#}"));
                let (view, report) = (store.view().unwrap(), store.recovery().unwrap());
                assert!(!report.is_damaged() && report.lost.is_empty(), "{story}: {report}");
                assert!(view.lsn() >= self.acknowledged(image.calls()), "{story}: {report}");
                if let Some(seen) = self.seen.get(&view.lsn()) {
                    assert_eq!(&fingerprint(&view), seen, "{story}: {report}");
                } else {
                    assert_eq!(view.lsn(), Lsn::ZERO, "{story}: a state nobody saw: {report}");
                }
                outcomes.fetch_add(1, Ordering::Relaxed);
            }
        });
        (self.images.len(), outcomes.into_inner())
    }
}

/// Directory entries need a sync too: in a first run, where every name is new, any of them may be
/// missing at any call.
#[test]
fn lesson_06_no_name_is_trusted_before_its_folder_is_synced() {
    let disk = SimDisk::new(6);
    let mut run = Recorded::default();
    disk.record_images();
    let store = open(&disk).unwrap();
    run.note(&store);
    for number in 0..3 {
        let lsn = put(&store, &format!("key {number}"), 1500);
        run.note(&store);
        run.told(&disk, lsn);
    }
    let lsn = block_on(store.compact()).unwrap();
    run.told(&disk, lsn);
    drop(store);
    run.images = disk.take_images();
    let names = |image: &&SimDisk| {
        // Files that a power cut may leave out although they are there.
        cut(image, Outcome::DropUnsynced).files().len() != image.files().len()
    };
    let in_doubt = run.images.iter().filter(names).count();
    let (images, outcomes) = run.explore(quick_or_long(512, 8192), builder);
    println!("{images} images, names in doubt in {in_doubt}; {outcomes} outcomes");
    assert!(in_doubt > 10, "{in_doubt}");
}

/// Snapshot before delete, and nothing trusted before it is synced: every prefix of the calls of
/// two rotations and compactions, in every order that the disk may make of them.
#[test]
fn lesson_07_every_prefix_and_every_order_of_rotate_and_compact() {
    let disk = SimDisk::new(7);
    let store = open(&disk).unwrap();
    let mut run = Recorded::default();
    put(&store, "before", 100);
    block_on(store.compact()).unwrap();
    run.note(&store);
    run.told(&disk, store.view().unwrap().lsn());
    disk.record_images();
    for round in 0..2 {
        for number in 0..3 {
            let lsn = put(&store, &format!("key {round}.{number}"), 1300);
            run.note(&store);
            run.told(&disk, lsn);
        }
        block_on(store.compact()).unwrap();
    }
    drop(store);
    run.images = disk.take_images();
    let trace = disk.trace();
    let calls = |op: Op, part: &str| {
        let wanted = |path: &Path| path.to_string_lossy().contains(part);
        let hit = |call: &peer_journal::testing::Call| {
            call.op == op && (wanted(&call.path) || call.to.as_deref().is_some_and(wanted))
        };
        trace.iter().filter(|call| hit(call)).count()
    };
    assert!(calls(Op::Remove, ".wal") >= 2, "segments were removed");
    assert!(calls(Op::Rename, "p2p-state.json") >= 3 && calls(Op::Rename, ".wal") >= 4);
    let (images, outcomes) = run.explore(quick_or_long(512, 8192), builder);
    println!("{images} images, {outcomes} outcomes");
    assert!(outcomes > 2 * images, "{outcomes}");
}

/// Old records behind the end of a new segment, at any alignment, never count.
#[test]
fn lesson_08_stale_bytes_do_not_come_back() {
    let known = known(false);
    let paths = segments(&known.disk);
    let newest = paths.last().unwrap();
    let end = frames(&known.disk.read(newest).unwrap()).last().unwrap().end;
    // The records of an older segment, of the newest itself, and of another store.
    let another = made::known(false);
    let other = segments(&another.disk).pop().unwrap();
    let stale: Vec<(&str, Vec<u8>)> = [
        ("an older segment", known.disk.read(&paths[paths.len() - 2]).unwrap()),
        ("the segment itself", known.disk.read(newest).unwrap()),
        ("another store", another.disk.read(&other).unwrap()),
    ]
    .into_iter()
    .map(|(whose, bytes)| {
        let found: Vec<Frame> = frames(&bytes);
        (whose, bytes[found[0].start..found.last().unwrap().end].to_vec())
    })
    .collect();
    let cases: Vec<(usize, usize)> =
        (0..stale.len()).flat_map(|whose| (0..64).map(move |gap| (whose, gap))).collect();
    in_two(&cases, |(whose, gap)| {
        let (name, bytes) = &stale[*whose];
        let disk = known.disk.fork();
        let at = (end + gap) as u64;
        let len = disk.read(newest).unwrap().len() as u64;
        disk.truncate(newest, len.max(at + bytes.len() as u64)).unwrap();
        disk.corrupt(newest, at, bytes).unwrap();
        let (state, report) = look(&disk);
        let story = format!("{name}, {gap} bytes behind the end: {report}");
        assert_eq!(report.last_lsn.get(), known.last(), "{story}");
        assert_eq!(state, known.full(), "{story}");
        assert_eq!(report.outcome, Recovery::TornTail, "{story}");
        assert_eq!(lost(&report), [] as [u64; 0], "{story}");
    });
}

/// A write that stops at any byte of a batch, and business goes on: what was appended is there,
/// whole, once, and the size that is told is the size on disk.
#[test]
fn lesson_09_a_short_write_at_every_byte_and_then_business_as_usual() {
    let batch = |store: &P2PStatePersistence| {
        let changes = ["x", "y", "z"].map(|key| Change::DhtPut {
            key: key.into(),
            value: vec![3; 30].into(),
            at: made::noon().into(),
        });
        store.append_batch(changes).unwrap()
    };
    let quiet = |disk: &SimDisk| {
        builder(disk).sync_within(Duration::from_secs(3600)).segment_bytes(64 << 10)
    };
    let measured = SimDisk::new(9);
    let store = quiet(&measured).open().unwrap();
    batch(&store).wait().unwrap();
    let frame = frames(&measured.read(&segments(&measured)[0]).unwrap())[0];
    drop(store);
    let cases: Vec<usize> = (0..=frame.end - frame.start).collect();
    in_two(&cases, |bytes| {
        let disk = SimDisk::new(9);
        let store = quiet(&disk).open().unwrap();
        put(&store, "before", 10);
        let full = Fault::new(Op::Write).path("segment-").error(io::ErrorKind::StorageFull);
        disk.fail(full.effect(Effect::Short(*bytes as u64)));
        let story = format!("the write stopped after {bytes} bytes");
        // The wait may end after the second try.
        if let Err(error) = batch(&store).wait() {
            assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull), "{story}: {error:#}");
        }
        wait_until_durable(&store);
        assert_eq!(disk.faults_hit(), 1, "{story}");
        put(&store, "after", 10);
        wait_until_healthy(&store);
        let status = store.status().unwrap();
        assert_eq!((status.unsynced_bytes, status.unsynced_changes), (0, 0), "{story}");
        let mut numbers = BTreeSet::new();
        let on_disk: usize = segments(&disk)
            .iter()
            .rev()
            .flat_map(|path| frames(&disk.read(path).unwrap()))
            .filter(|frame| frame.is_seal || (frame.lsn > 0 && numbers.insert(frame.lsn)))
            .map(|frame| frame.end - frame.start)
            .sum();
        assert_eq!(status.journal_bytes, on_disk as u64, "{story}");
        survives_a_power_cut(&disk, store, &story);
    });
}

/// Recovery crashes in each of its calls, the recovery of that in each of its own; what is appended
/// then is there after one more crash, so nothing was put behind rubbish.
#[test]
fn lesson_10_recovery_may_crash_and_what_follows_is_kept() {
    let known = known(false);
    let newest = segments(&known.disk).pop().unwrap();
    let last = *frames(&known.disk.read(&newest).unwrap()).last().unwrap();
    known.disk.corrupt(&newest, last.end as u64 - 2, &[0xff, 0xff]).unwrap();
    let expected = known.last() - 1;
    let crashes = |disk: &SimDisk| -> Vec<SimDisk> {
        let disk = disk.fork();
        disk.record_images();
        drop(made::builder(&disk).open().unwrap());
        disk.take_images()
    };
    let explored = Mutex::new(HashSet::new());
    let cuts = |images: Vec<SimDisk>, bound: u64| -> Vec<(String, SimDisk)> {
        let mut left = Vec::new();
        for image in images {
            let mut outcomes = image.outcomes(bound, image.calls());
            outcomes.push(Outcome::Torn(image.calls()));
            for outcome in outcomes {
                let disk = cut(&image, outcome);
                if explored.lock().unwrap().insert(digest(&disk)) {
                    let call = image.calls();
                    left.push((format!("crash after call {call}, {outcome:?}"), disk));
                }
            }
        }
        left
    };
    let once = cuts(crashes(&known.disk), quick_or_long(16, 256));
    let firsts = once.len();
    let seconds = AtomicUsize::new(0);
    in_two(&once, |(first, disk)| {
        let mut left = cuts(crashes(disk), quick_or_long(3, 64));
        left.push(("no crash".into(), disk.fork()));
        for (second, disk) in left {
            seconds.fetch_add(1, Ordering::Relaxed);
            let story = format!("{first}, then {second}");
            let store = made::builder(&disk).open().unwrap_or_else(|e| panic!("{story}: {e:#}"));
            let report = store.recovery().unwrap();
            assert_eq!(report.last_lsn.get(), expected, "{story}: {report}");
            assert!(!report.is_damaged() && report.lost.is_empty(), "{story}: {report}");
            assert_eq!(put(&store, "after", 10).get(), expected + 1, "{story}");
            let image = cut(&disk, Outcome::DropUnsynced);
            let again = made::builder(&image).open().unwrap();
            assert_eq!(again.view().unwrap().lsn().get(), expected + 1, "{story}");
            let found = made::picture(again.view().unwrap().state());
            assert!(found.rows.dht_entries.iter().any(|row| row.key == "after"), "{story}");
        }
    });
    println!("{firsts} crashed recoveries, crashed again in {} ways", seconds.into_inner());
}

/// The largest number in any name, header or record on disk, and in any snapshot.
fn highest(disk: &SimDisk) -> (u64, u64) {
    let (mut lsn, mut segment) = (0, 0);
    for path in segments(disk) {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        segment = segment.max(name.split_once('-').unwrap().0.parse().unwrap());
        let bytes = disk.read(&path).unwrap();
        segment = segment.max(u64::from_le_bytes(bytes[32..40].try_into().unwrap()));
        lsn = frames(&bytes).iter().map(|frame| frame.lsn).max().unwrap_or(0).max(lsn);
    }
    for path in made::fallbacks(disk).into_iter().chain([PathBuf::from(STATE)]) {
        let document: serde_json::Value =
            serde_json::from_slice(&disk.read(path).unwrap()).unwrap();
        lsn = lsn.max(document["lsn"].as_u64().unwrap());
        segment = segment.max(document["segment"].as_u64().unwrap());
    }
    (lsn, segment)
}

/// Segments that are missing, doubled, swapped or cut at a record's boundary: the report names what
/// is lost (tests/corruption.rs holds it against the truth), and no number is ever used again.
#[test]
fn lesson_11_holes_are_named_and_no_number_is_used_twice() {
    let known = known(true);
    let paths = segments(&known.disk);
    let newest = paths.last().unwrap().clone();
    let mut cases: Vec<(String, SimDisk)> = Vec::new();
    for (index, path) in paths.iter().enumerate() {
        let bytes = known.disk.read(path).unwrap();
        let without = known.disk.fork();
        without.erase(path).unwrap();
        cases.push((format!("without {}", path.display()), without));
        for frame in frames(&bytes) {
            let disk = known.disk.fork();
            disk.truncate(path, frame.start as u64).unwrap();
            cases.push((format!("{} cut at {}", path.display(), frame.start), disk));
        }
        for name in ["0000000001-00000000000000000001.wal", "0000000099-00000000000000000016.wal"] {
            let disk = known.disk.fork();
            disk.write(Path::new(JOURNAL).join(name), bytes.clone()).unwrap();
            cases.push((format!("{} copied to {name}", path.display()), disk));
        }
        for other in &paths[index + 1..] {
            let disk = known.disk.fork();
            disk.write(path, known.disk.read(other).unwrap()).unwrap();
            disk.write(other, bytes.clone()).unwrap();
            cases.push((format!("{} and {} swapped", path.display(), other.display()), disk));
        }
    }
    in_two(&cases, |(what, disk)| {
        let (lsn, segment) = highest(disk);
        let before = segments(disk);
        let store = made::builder(disk).open().unwrap();
        let report = store.recovery().unwrap().clone();
        let appended = put(&store, "new", 10);
        assert!(appended.get() > lsn, "{what}: {appended} was given before: {report}");
        let status = store.status().unwrap();
        assert!(status.segment > segment, "{what}: segment {} again: {report}", status.segment);
        // What is gone and vouched for by a file that is there, is named.
        let state = made::picture(store.view().unwrap().state());
        let mut claimed = known.claimed(&report);
        claimed
            .rows
            .dht_entries
            .extend(state.rows.dht_entries.iter().filter(|row| row.key == "new").cloned());
        claimed.rows.dht_entries.sort_by(|a, b| a.key.cmp(&b.key));
        assert_eq!(state, claimed, "{what}: {report}");
        let tail_only = before.last() != Some(&newest) || what.contains(&*newest.to_string_lossy());
        assert!(tail_only || report.last_lsn.get() == known.last(), "{what}: {report}");
    });
    println!("{} stores with holes", cases.len());
}

/// Limits are the same on both sides: the largest record can be read back, one byte more is refused
/// at the door. (The limit of each field is in tests/limits.rs.)
#[test]
fn lesson_12_the_largest_record_round_trips_and_one_byte_more_is_refused() {
    const LARGEST: usize = (1 << 24) - 1;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    let batch = |more: usize| {
        ["a", "b"].map(|key| Change::DhtPut {
            key: key.into(),
            value: vec![5; if key == "a" { 15 << 20 } else { more }].into(),
            at: made::noon().into(),
        })
    };
    let encoded = |changes: &[Change]| {
        let mut bytes = Vec::new();
        encode(changes, &mut bytes).unwrap();
        bytes.len()
    };
    // The length of a length may change by a byte, so look for the exact one.
    let about = LARGEST - encoded(&batch(1 << 19)) + (1 << 19);
    let fits = (about - 9..about + 9).find(|more| encoded(&batch(*more)) == LARGEST).unwrap();
    let store = P2PStatePersistence::open(&path).unwrap();
    let error = store.append_batch(batch(fits + 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit, "{error:#}");
    assert_eq!(store.view().unwrap().lsn(), Lsn::ZERO, "it changed nothing");
    store.append_batch(batch(fits)).unwrap().wait().unwrap();
    drop(store);
    let store = P2PStatePersistence::open(&path).unwrap();
    assert_eq!(store.recovery().unwrap().replayed, 1);
    let view = store.view().unwrap();
    let lengths = ["a", "b"].map(|key| view.state().dht_entry(key).unwrap().value.len());
    assert_eq!(lengths, [15 << 20, fits]);
}

/// A clock that a test moves.
#[derive(Clone)]
struct Clock(Arc<AtomicI64>);

impl Clock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.0.load(Ordering::Relaxed), 0).unwrap()
    }
}

fn at_start() -> Clock {
    Clock(Arc::new(AtomicI64::new(1_790_000_000)))
}

fn model_store(disk: &SimDisk, clock: &Clock) -> Builder {
    let clock = clock.clone();
    builder(disk).max_update_record_bytes(900).clock(move || clock.now())
}

/// One random call: every kind of mutation, single or in bulk. Gives the LSN it acknowledged.
fn one_call(
    store: &P2PStatePersistence,
    prng: &mut Prng,
    clock: &Clock,
    run: &mut Recorded,
) -> Option<Lsn> {
    let who = peer(prng.below(4));
    let key = format!("key {}", prng.below(5));
    let appended = match prng.below(14) {
        0 => store.peer_seen(&who, &[address(prng.below(3) as u16 + 1)]),
        1 => store.ban(&who, Duration::from_secs(30 + prng.below(100)), "spam", "test"),
        2 => store.unban(&who),
        3 => store.forget_peer(&who),
        4 => store.evict_peer(&who),
        5 => store.dht_put(&key, &vec![1; prng.below(900) as usize]),
        6 => store.dht_remove(&key),
        7 => store.retrieval_succeeded(&who, Duration::from_millis(prng.below(50))),
        8 => store.append(Change::PackageCached {
            id: key.into(),
            data: vec![2; 50].into(),
            at: clock.now().into(),
        }),
        9 => store.append_batch([
            Change::PeerForgotten { peer: who.into() },
            Change::PeerVerified { peer: who.into(), verified: true },
            Change::BootstrapAdded { node: key.into() },
        ]),
        10 => {
            clock.0.fetch_add(200, Ordering::Relaxed);
            let lsn = block_on(store.compact()).unwrap();
            run.note(store);
            return Some(lsn);
        }
        11 => {
            // Everything goes, or an import takes its place; now and then too large for a record.
            let rows = (0..prng.below(3)).map(|number| SerializedPeer {
                peer_id: format!("imported {number}"),
                addresses: vec!["x".repeat(prng.below(900) as usize)],
                last_seen: DateTime::<Utc>::UNIX_EPOCH,
            });
            let rows = P2PState { peers: rows.collect(), ..P2PState::default() };
            block_on(store.update_state(rows)).unwrap();
            run.note(store);
            return Some(store.view().unwrap().lsn());
        }
        _ => store.packages_provided(&who, prng.below(9)),
    };
    run.note(store);
    let ack = appended.unwrap();
    (prng.chance(1, 3)).then(|| ack.wait().unwrap())
}

/// Every mutation, bulk ones too, goes through the journal as a whole: random calls against a
/// model, then a crash at a random call.
#[test]
fn lesson_13_the_state_is_the_model_at_some_number_past_the_last_ack() {
    let seeds: Vec<u64> = (0..quick_or_long(40, 2000)).collect();
    let checked = AtomicUsize::new(0);
    in_two(&seeds, |seed| {
        let (disk, clock, mut prng) = (SimDisk::new(*seed), at_start(), Prng::new(*seed));
        let mut run = Recorded::default();
        disk.record_images();
        let store = model_store(&disk, &clock).open().unwrap();
        run.note(&store);
        for _ in 0..50 {
            if let Some(lsn) = one_call(&store, &mut prng, &clock, &mut run) {
                run.told(&disk, lsn);
            }
        }
        drop(store);
        let mut images = disk.take_images();
        // Of all the crash points some twenty, and a few outcomes of each.
        images.retain(|_| prng.chance(1, 10));
        run.images = images;
        // Recovered with the clock of the start, so that nothing more expires.
        let (_, outcomes) = run.explore(4, |disk| model_store(disk, &at_start()));
        checked.fetch_add(outcomes, Ordering::Relaxed);
    });
    println!("{} seeds, {} crashes", seeds.len(), checked.into_inner());
}

/// What goes wrong in the background stays there: a compaction that always fails neither fails a
/// commit nor hammers the disk, and shows in the status.
#[test]
fn lesson_14_background_failures_do_not_reach_commits() {
    let disk = SimDisk::new(14);
    let store = builder(&disk).max_journal_bytes(2000).open().unwrap();
    disk.fail(Fault::new(Op::Create).path(".json.tmp").forever());
    for number in 0..100 {
        // Far past the size at which the store itself wants a compaction, again and again.
        let lsn = put(&store, &format!("key {}", number % 3), 400 + number);
        assert!(store.durable_through().unwrap() >= lsn);
    }
    let status = store.status().unwrap();
    assert!(status.degraded.is_none(), "{status:?}");
    assert!(status.journal_bytes > 20_000, "the journal keeps everything: {status:?}");
    // The store has tried by itself, and pauses for a minute after a failure.
    let error = block_on(store.compact()).unwrap_err();
    assert!(error.to_string().contains("cannot write the snapshot"), "{error:#}");
    let hit = disk.faults_hit();
    assert_eq!(hit, 2, "one try of its own, and ours");
    assert_eq!(store.status().unwrap().compaction_failures, hit);
    // Where records cannot be written either, the cap on what waits is told as such.
    survives_a_power_cut(&disk, store, "no compaction ever worked");
}

/// A second source of truth goes stale: without its lock file, leftovers, notes, quarantine and
/// fallback, in any combination, or with old ones, the store opens to the same state.
#[test]
fn lesson_15_auxiliary_files_may_be_missing_or_old() {
    let known = known(true);
    let journal = Path::new(JOURNAL);
    let fallback = made::fallbacks(&known.disk).remove(0);
    let covered = segments(&known.disk).remove(0);
    let old = known.disk.read(&fallback).unwrap();
    let auxiliary: Vec<(PathBuf, Vec<u8>)> = vec![
        (journal.join("LOCK"), b"pid=1 host=old since=1999-01-01T00:00:00Z".to_vec()),
        (journal.join("segment-7.tmp"), vec![9; 300]),
        (Path::new(STATE).with_extension("json.tmp"), old[..old.len() / 2].to_vec()),
        (journal.join("quarantine/old.wal.1-2.00000000"), vec![1; 40]),
        (journal.join("quarantine/old.wal.1-2.00000000.note"), b"label: torn tail".to_vec()),
        (journal.join("snapshot-version-1.json"), b"{\"version\": 1}".to_vec()),
    ];
    let cases: Vec<u32> = (0..1 << (auxiliary.len() + 2)).collect();
    in_two(&cases, |mask| {
        let disk = known.disk.fork();
        let is_set = |bit: usize| mask & (1 << bit) != 0;
        disk.erase(journal.join("LOCK")).unwrap();
        for (bit, (path, bytes)) in auxiliary.iter().enumerate() {
            if is_set(bit) {
                disk.write(path, bytes.clone()).unwrap();
            }
        }
        if is_set(auxiliary.len()) {
            disk.erase(&fallback).unwrap();
        }
        if is_set(auxiliary.len() + 1) {
            disk.erase(&covered).unwrap();
        }
        let (state, report) = look(&disk);
        assert_eq!(state, known.full(), "files {mask:#b}: {report}");
        assert_eq!(report.outcome, Recovery::Clean, "files {mask:#b}: {report}");
        assert_eq!(report.last_lsn.get(), known.last(), "files {mask:#b}: {report}");
    });
    // The snapshot in place is no auxiliary file, yet the fallback and the journal make up for it.
    known.disk.erase(STATE).unwrap();
    let (state, report) = look(&known.disk);
    assert_eq!(state, known.full(), "{report}");
    assert_eq!(lost(&report), [] as [u64; 0], "{report}");
}
