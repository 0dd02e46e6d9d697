//! Bits rot, sectors tear and files get mixed up, and the failure this guards against is silence.
//!
//! A store that was damaged in any one place must open, must never show a row that nobody wrote,
//! and must say which records are gone. What it claims is held against the known history of the
//! store: the state has to be the replay of every record but those that the report calls lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::{made, sim::open};

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::made::{Frame, JOURNAL, Known, STATE, frames, known, look, segments};
use peer_journal::{Finding, Outcome, RecoveryReport, Verdict, inspect, testing::SimDisk};

/// The record that a byte of a segment belongs to; seals belong to nobody.
fn record_at(frames: &[Frame], offset: usize) -> Option<u64> {
    let frame = frames.iter().find(|frame| (frame.start..frame.end).contains(&offset))?;
    (!frame.is_seal).then_some(frame.lsn)
}

fn lost(report: &RecoveryReport) -> Vec<u64> {
    let numbers = |range: &peer_journal::LsnRange| range.first.get()..=range.last.get();
    report.lost.iter().flat_map(numbers).collect()
}

/// Opens a damaged copy and holds what it shows against what it says.
fn check(known: &Known, disk: &SimDisk, what: &str) -> RecoveryReport {
    let (state, report) = look(disk);
    assert_eq!(state, known.claimed(&report), "{what}\n{report}");
    let missing = lost(&report);
    assert!(missing.is_empty() || report.is_damaged(), "{what}\n{report}");
    assert!(report.last_lsn.get() <= known.last(), "{what}\n{report}");
    for path in report.findings.iter().filter_map(|finding| finding.quarantined.as_ref()) {
        assert!(disk.read(path).is_ok(), "{what}: {} is not there", path.display());
    }
    report
}

/// As [`check`]; then the store is opened once more and must be what it was.
fn check_twice(known: &Known, disk: &SimDisk, what: &str) -> RecoveryReport {
    let report = check(known, disk, what);
    let (state, second) = look(disk);
    assert_eq!(state, known.claimed(&report), "second opening, {what}\n{report}\n{second}");
    assert_eq!(second.last_lsn, report.last_lsn, "second opening, {what}\n{second}");
    report
}

/// Splits the work in two, for the two cores that tests have.
fn in_two<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let (left, right) = items.split_at(items.len() / 2);
    std::thread::scope(|scope| {
        let half = scope.spawn(|| left.iter().for_each(&work));
        right.iter().for_each(&work);
        half.join().unwrap();
    });
}

/// Bytes worth flipping: all of a file, but only every 61st of a prepared segment's zeros.
fn offsets(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let content = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    (0..content).chain((content..bytes.len()).step_by(61))
}

/// Flips a bit of every `step`th byte; of the newest segment always of every one.
fn flip_every_byte(known: &Known, step: usize) {
    let newest = segments(&known.disk).pop();
    let mut flips: Vec<(PathBuf, usize)> = Vec::new();
    for (path, bytes) in made::data_files(&known.disk) {
        let step = if newest.as_ref() == Some(&path) { 1 } else { step };
        flips.extend(offsets(&bytes).step_by(step).map(|offset| (path.clone(), offset)));
    }
    in_two(&flips, |(path, offset)| {
        let bit = (*offset * 8 + *offset % 8) as u64;
        let disk = known.disk.fork();
        disk.flip_bit(path, bit).unwrap();
        let what = format!("bit {bit} (byte {offset}) of {}", path.display());
        let report = if offset % 7 == 0 {
            check_twice(known, &disk, &what)
        } else {
            check(known, &disk, &what)
        };
        let whole = frames(&known.disk.read(path).unwrap());
        let hit = path.extension().and_then(|_| record_at(&whole, *offset));
        let is_segment = segments(&known.disk).contains(path);
        let hit = hit.filter(|_| is_segment);
        for lsn in lost(&report) {
            assert_eq!(Some(lsn), hit, "{what}: only the record that was hit is lost\n{report}");
        }
        let end = report.last_lsn.get();
        assert!(end == known.last() || hit == Some(end + 1), "{what}\n{report}");
    });
}

/// A store that was closed: its seal vouches for everything, so every loss is told.
#[test]
fn a_flipped_bit_anywhere_in_a_closed_store_costs_at_most_the_record_it_hit_and_is_told() {
    flip_every_byte(&known(true), 1);
}

/// The files of a running store, as a crash leaves them. Only the newest segment is another one
/// than in the closed store, so the others are not flipped at every byte once more.
#[test]
fn a_flipped_bit_anywhere_in_a_store_that_was_not_closed_costs_at_most_the_record_it_hit() {
    flip_every_byte(&known(false), 7);
}

/// A closed store has nothing torn: no flip of a record may pass for a cut-off write.
#[test]
fn a_closed_store_never_calls_a_lost_record_a_torn_tail() {
    let known = known(true);
    for path in segments(&known.disk) {
        for frame in frames(&known.disk.read(&path).unwrap()) {
            let disk = known.disk.fork();
            disk.flip_bit(&path, frame.start as u64 * 8 + 70).unwrap();
            let what = format!("lsn {} in {}", frame.lsn, path.display());
            let report = check_twice(&known, &disk, &what);
            assert_eq!(report.last_lsn.get(), known.last(), "{what}\n{report}");
            let is_lost = lost(&report) == [frame.lsn];
            let is_covered = frame.is_seal || frame.lsn <= 8;
            assert!(is_lost || is_covered, "{what}\n{report}");
        }
    }
}

/// One flipped bit turns version 2 into 3 or 6. That is damage, not a newer version: the node
/// starts.
#[test]
fn a_flipped_bit_in_the_version_of_a_snapshot_does_not_keep_a_node_from_starting() {
    let known = known(true);
    let text = known.disk.read(STATE).unwrap();
    let at = text.windows(10).position(|window| window == b"\"version\":").unwrap();
    for byte in at..at + 13 {
        for bit in 0..8 {
            let disk = known.disk.fork();
            disk.flip_bit(STATE, (byte * 8 + bit) as u64).unwrap();
            let what = format!("bit {bit} of byte {byte} of the snapshot");
            let store = made::builder(&disk).open();
            let Ok(store) = store else {
                panic!("{what}: {:#}", store.unwrap_err());
            };
            drop(store);
            let report = check(&known, &disk, &what);
            assert_eq!(lost(&report), [] as [u64; 0], "{what}\n{report}");
        }
    }
}

/// Every bit of every segment header, since all its records hang on it.
#[test]
fn no_bit_of_a_segment_header_costs_a_record() {
    let known = known(true);
    for path in segments(&known.disk) {
        let bits: Vec<u64> = (0..made::HEADER_BYTES as u64 * 8).step_by(5).collect();
        in_two(&bits, |bit| {
            let disk = known.disk.fork();
            disk.flip_bit(&path, *bit).unwrap();
            let what = format!("bit {bit} of {}", path.display());
            let report = check_twice(&known, &disk, &what);
            assert_eq!(lost(&report), [] as [u64; 0], "{what}\n{report}");
            assert_eq!(report.last_lsn.get(), known.last(), "{what}\n{report}");
        });
    }
}

/// Before the first snapshot the store id stands in one place only: the header that is damaged.
/// Whatever becomes of the records, the report must not say that everything acknowledged is there.
#[test]
fn a_broken_header_of_the_only_segment_is_damage_and_not_a_torn_tail() {
    let disk = SimDisk::new(3);
    let store = made::builder(&disk).open().unwrap();
    let ack = store.dht_put("key", b"value").unwrap();
    ack.wait().unwrap();
    drop(store);
    let path = segments(&disk).remove(0);
    for bit in (0..made::HEADER_BYTES as u64 * 8).step_by(5) {
        let disk = disk.fork();
        disk.flip_bit(&path, bit).unwrap();
        let store = made::builder(&disk).open().unwrap();
        let report = store.recovery().unwrap().clone();
        let kept = store.view().unwrap().state().dht_entry("key").is_some();
        assert!(kept || report.is_damaged(), "bit {bit}\n{report}");
        assert!(kept || !made::quarantined(&disk).is_empty(), "bit {bit}\n{report}");
    }
}

fn last_record(known: &Known) -> (PathBuf, Frame) {
    let path = segments(&known.disk).pop().unwrap();
    let frame = frames(&known.disk.read(&path).unwrap()).pop().unwrap();
    assert_eq!((frame.lsn, frame.is_seal), (known.last(), false), "the store was not closed");
    (path, frame)
}

/// The power went while the last record was being written.
#[test]
fn a_tail_torn_at_any_byte_costs_the_last_record_only_and_is_no_damage() {
    let known = known(false);
    let (path, frame) = last_record(&known);
    let bytes = known.disk.read(&path).unwrap();
    for cut in frame.start..frame.end {
        for truncate in [true, false] {
            let disk = known.disk.fork();
            let mut torn = bytes[..cut].to_vec();
            if !truncate {
                torn.resize(bytes.len(), 0);
            }
            let same = torn == bytes;
            disk.write(&path, torn).unwrap();
            let what = format!("cut at {cut} of {frame:?}, truncate={truncate}");
            let report = check_twice(&known, &disk, &what);
            assert_eq!(lost(&report), [] as [u64; 0], "{what}\n{report}");
            if same || bytes[cut..frame.end].iter().all(|&byte| byte == 0) && !truncate {
                continue; // the record ends in zeros: it is whole
            }
            assert_eq!(report.last_lsn.get(), known.last() - 1, "{what}\n{report}");
            // What is left of it may be zeros by chance: the checksum comes first.
            let nothing_left = bytes[frame.start..cut].iter().all(|&byte| byte == 0);
            let outcome = if nothing_left { Outcome::Clean } else { Outcome::TornTail };
            assert_eq!(report.outcome, outcome, "{what}\n{report}");
        }
    }
}

/// A file that ends between two records looks whole by itself; its successor and its seal know
/// better.
#[test]
fn a_segment_cut_at_a_record_boundary_is_noticed_unless_nothing_was_acknowledged_behind_it() {
    for is_closed in [true, false] {
        let known = known(is_closed);
        let paths = segments(&known.disk);
        for path in &paths {
            let bytes = known.disk.read(path).unwrap();
            let newest = Some(path) == paths.last();
            for frame in frames(&bytes) {
                let disk = known.disk.fork();
                disk.truncate(path, frame.start as u64).unwrap();
                let what = format!("{} cut before {frame:?}", path.display());
                let report = check_twice(&known, &disk, &what);
                let gone: Vec<u64> = frames(&bytes)
                    .iter()
                    .filter(|other| other.start >= frame.start && !other.is_seal)
                    .map(|other| other.lsn)
                    .filter(|lsn| *lsn > 8)
                    .collect();
                if newest {
                    // Its own end was the only thing that vouched for it.
                    assert_eq!(lost(&report), [] as [u64; 0], "{what}\n{report}");
                    assert_eq!(report.last_lsn.get() + gone.len() as u64, known.last(), "{what}");
                } else {
                    assert_eq!(lost(&report), gone, "{what}\n{report}");
                    assert_eq!(report.last_lsn.get(), known.last(), "{what}\n{report}");
                }
            }
        }
    }
}

#[test]
fn a_missing_segment_is_a_gap_with_the_numbers_that_are_lost() {
    let known = known(true);
    let paths = segments(&known.disk);
    assert!(paths.len() >= 3, "{paths:?}");
    for path in &paths {
        let disk = known.disk.fork();
        let mut gone: Vec<u64> =
            frames(&disk.read(path).unwrap()).iter().map(|frame| frame.lsn).collect();
        gone.dedup();
        gone.retain(|lsn| *lsn > 8);
        disk.erase(path).unwrap();
        let what = format!("without {}", path.display());
        let report = check_twice(&known, &disk, &what);
        if Some(path) != paths.last() {
            assert_eq!(lost(&report), gone, "{what}\n{report}");
            let labels: Vec<Verdict> = report.findings.iter().map(|f| f.verdict).collect();
            assert_eq!(labels.contains(&Verdict::Gap), !gone.is_empty(), "{what}\n{report}");
        }
    }
}

/// Somebody restored a file under the wrong name: the copy is set aside, the store is whole.
#[test]
fn a_segment_copied_under_another_name_is_foreign_and_costs_nothing() {
    let known = known(true);
    let paths = segments(&known.disk);
    for from in &paths {
        for name in ["0000000001-00000000000000000001.wal", "0000000099-00000000000000000016.wal"] {
            let disk = known.disk.fork();
            let copy = Path::new(JOURNAL).join(name);
            disk.write(&copy, disk.read(from).unwrap()).unwrap();
            let what = format!("{} copied to {name}", from.display());
            let report = check_twice(&known, &disk, &what);
            assert_eq!(lost(&report), [] as [u64; 0], "{what}\n{report}");
            assert_eq!(report.last_lsn.get(), known.last(), "{what}\n{report}");
            let foreign = report.findings.iter().find(|f| f.verdict == Verdict::Foreign);
            assert_eq!(foreign.map(|f| &f.path), Some(&copy), "{what}\n{report}");
            let bytes = disk.read(foreign.unwrap().quarantined.as_ref().unwrap()).unwrap();
            assert_eq!(bytes, known.disk.read(from).unwrap(), "{what}");
        }
    }
}

/// Two files with each other's names: both count as what their headers say, and are told.
#[test]
fn two_segments_with_swapped_names_are_noticed_and_counted() {
    let known = known(true);
    let paths = segments(&known.disk);
    for (index, one) in paths.iter().enumerate() {
        for other in &paths[index + 1..] {
            let disk = known.disk.fork();
            let (a, b) = (disk.read(one).unwrap(), disk.read(other).unwrap());
            disk.write(one, b).unwrap();
            disk.write(other, a).unwrap();
            let what = format!("{} and {} swapped", one.display(), other.display());
            let report = check_twice(&known, &disk, &what);
            assert!(report.is_damaged(), "{what}\n{report}");
            assert_eq!(lost(&report), [] as [u64; 0], "{what}\n{report}");
            assert_eq!(report.last_lsn.get(), known.last(), "{what}\n{report}");
            let misnamed = |path: &PathBuf| {
                let told = |f: &Finding| f.verdict == Verdict::Misnamed && f.path == *path;
                report.findings.iter().any(told)
            };
            assert!(misnamed(one) && misnamed(other), "{what}\n{report}");
            assert_eq!(made::quarantined(&disk).len(), 0, "{what}: nothing is set aside");
        }
    }
}

/// Both files verify, each under the number in its own header, so that no record has to be lost;
/// and one that is given up all the same has to be named as lost.
#[test]
fn two_segments_with_swapped_names_lose_no_record_in_silence() {
    let known = known(true);
    let paths = segments(&known.disk);
    for (index, one) in paths.iter().enumerate() {
        for other in &paths[index + 1..] {
            let disk = known.disk.fork();
            disk.write(one, known.disk.read(other).unwrap()).unwrap();
            disk.write(other, known.disk.read(one).unwrap()).unwrap();
            let what = format!("{} and {} swapped", one.display(), other.display());
            let report = check(&known, &disk, &what);
            assert_eq!(report.last_lsn.get(), known.last(), "{what}\n{report}");
        }
    }
}

/// Copies a simulated disk into a real folder, for the calls that only know real files.
fn pour(disk: &SimDisk, folder: &Path) -> PathBuf {
    for (path, bytes) in made::data_files(disk) {
        let real = folder.join(path.strip_prefix("/").unwrap());
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::write(real, bytes).unwrap();
    }
    folder.join(STATE.trim_start_matches('/'))
}

fn real_files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push((path.clone(), fs::read(path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

/// An operator looks before anything is repaired: looking changes nothing and tells what will come.
#[test]
fn inspection_of_a_damaged_store_changes_no_byte_and_says_what_an_opening_will_say() {
    let known = known(true);
    let mut damaged: Vec<(String, SimDisk)> = Vec::new();
    for (path, bytes) in made::data_files(&known.disk) {
        for offset in (5..bytes.len()).step_by(bytes.len() / 6) {
            let disk = known.disk.fork();
            disk.flip_bit(&path, offset as u64 * 8 + 1).unwrap();
            damaged.push((format!("byte {offset} of {}", path.display()), disk));
        }
        let disk = known.disk.fork();
        disk.erase(&path).unwrap();
        damaged.push((format!("without {}", path.display()), disk));
        let disk = known.disk.fork();
        disk.truncate(&path, bytes.len() as u64 / 3).unwrap();
        damaged.push((format!("{} cut to a third", path.display()), disk));
    }
    println!("{} damaged stores", damaged.len());
    let quarters: Vec<_> = damaged.chunks(damaged.len().div_ceil(8)).collect();
    std::thread::scope(|scope| {
        for quarter in quarters {
            scope.spawn(|| quarter.iter().for_each(|(what, disk)| inspect_one(&known, what, disk)));
        }
    });
}

fn inspect_one(known: &Known, what: &str, disk: &SimDisk) {
    let folder = tempfile::tempdir().unwrap();
    let state_file = pour(disk, folder.path());
    let before = real_files(folder.path());
    let inspection = inspect(&state_file).unwrap();
    assert!(before == real_files(folder.path()), "{what}: looking changed a file");
    let report = check(known, disk, what);
    let (seen, told) = (&inspection.report, made::picture(inspection.view.state()));
    assert_eq!(told, known.claimed(&report), "{what}\n{seen}\n{report}");
    assert_eq!((seen.outcome, seen.last_lsn), (report.outcome, report.last_lsn), "{what}");
    assert_eq!(seen.lost, report.lost, "{what}\n{seen}\n{report}");
    let labels = |report: &RecoveryReport| -> Vec<_> {
        report.findings.iter().map(|finding| finding.verdict).collect()
    };
    assert_eq!(labels(seen), labels(&report), "{what}\n{seen}\n{report}");
    assert!(seen.findings.iter().all(|finding| finding.quarantined.is_none()), "{what}\n{seen}");
}

/// A process that is killed seals nothing: then only a later record tells damage from a torn tail.
#[test]
fn a_record_that_only_a_later_one_vouches_for_is_reported_when_it_rots() {
    let disk = SimDisk::new(1);
    let store = open(&disk).unwrap();
    for key in ["first", "second", "third"] {
        store.dht_put(key, b"value").unwrap().wait().unwrap();
    }
    disk.kill();
    drop(store);
    let written = |path: &Path| path.to_string_lossy().ends_with(".wal");
    let (path, _) = disk.files().into_iter().find(|(path, _)| written(path)).unwrap();
    let frames = frames(&disk.read(&path).unwrap());
    disk.flip_bit(&path, 8 * (frames[0].start as u64 + 25)).unwrap();
    let store = open(&disk).unwrap();
    let report = store.recovery().unwrap();
    assert_eq!((report.outcome, lost(report)), (Outcome::Salvaged, vec![1]), "{report}");
    let view = store.view().unwrap();
    assert_eq!(view.lsn().get(), 3, "{report}");
    assert!(view.state().dht_entry("third").is_some(), "{report}");
}
