//! Guards the repair of the history: a sound record that it drops, damage that it leaves, bytes
//! that it throws away, or a crash that leaves a file in two minds.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

mod common;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use common::sim::{STATE_FILE, block_on, builder, fingerprint};
use peer_journal::{
    Change, ErrorKind, FileKind, FileReport, History, Lsn, Reader, Repair, RepairAction, Verdict,
    testing::{Outcome, SimDisk},
};

const JOURNAL: &str = "/node/p2p-state.journal";

/// A closed store with five segments and some snapshots in its history.
fn store() -> SimDisk {
    let disk = SimDisk::new(1);
    let all = History { bytes_max: u64::MAX, age_max: Duration::from_secs(u64::MAX) };
    let store = builder(&disk).keep_history(all).open().unwrap();
    for number in 0..18_u8 {
        store.dht_put(&format!("{}", number % 5), &[number; 90]).unwrap().wait().unwrap();
        if number % 3 == 2 {
            block_on(store.compact()).unwrap();
        }
    }
    block_on(store.close()).unwrap();
    disk
}

fn repair(disk: &SimDisk) -> Repair {
    Repair::new(builder(disk))
}

fn reader(disk: &SimDisk) -> Reader {
    Reader::options(STATE_FILE).vfs(Arc::new(disk.mount())).attempts(1).open().unwrap()
}

fn files(disk: &SimDisk, kind: FileKind) -> Vec<FileReport> {
    reader(disk).files().unwrap().into_iter().filter(|file| file.kind == kind).collect()
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    files(disk, FileKind::HistorySegment).into_iter().map(|file| file.path).collect()
}

/// The records that can be read, by their numbers.
fn records(disk: &SimDisk) -> BTreeMap<u64, Vec<Change>> {
    let log = reader(disk).log(..).unwrap().flatten().filter(|record| !record.is_large_update);
    log.map(|record| (record.lsn.get(), record.changes)).collect()
}

fn quarantine(disk: &SimDisk) -> Vec<Vec<u8>> {
    let is_kept = |path: &Path| {
        path.starts_with(format!("{JOURNAL}/quarantine"))
            && path.extension().is_none_or(|end| end != "note")
    };
    let files = disk.files().into_iter().map(|(path, _)| path).filter(|path| is_kept(path));
    files.map(|path| disk.read(path).unwrap()).collect()
}

/// Every file verifies, every record that could be read can be read, the state is what it was.
fn is_mended(disk: &SimDisk, sound: &BTreeMap<u64, Vec<Change>>, state: &str, story: &str) {
    let reader = reader(disk);
    for file in reader.files().unwrap() {
        let is_sound = matches!(
            (file.kind, file.verdict),
            (_, Verdict::Whole | Verdict::Covered | Verdict::Unborn)
                | (FileKind::HistorySegment, Verdict::Gap)
        );
        assert!(is_sound && file.damage.is_empty(), "{story}: {file:?}");
    }
    // What is missing is told, and not taken for an update that no record holds.
    let mut told = Vec::new();
    for entry in reader.log(..=Lsn::new(18)).unwrap() {
        match entry {
            Ok(record) => assert!(!record.is_large_update, "{story}: {record:?}"),
            Err(error) => told.push(format!("{error:#}")),
        }
    }
    let after = records(disk);
    let is_complete = (1..=18).all(|lsn| after.contains_key(&lsn));
    assert_eq!(told.is_empty(), is_complete, "{story}: {told:?}");
    for (lsn, changes) in sound {
        assert_eq!(after.get(lsn), Some(changes), "{story}: lsn {lsn}");
    }
    assert_eq!(fingerprint(reader.view()), state, "{story}");
    let plan = repair(disk).plan().unwrap();
    assert!(!plan.is_needed(), "{story}: {:?}", plan.steps);
}

#[test]
fn a_flipped_bit_anywhere_in_a_segment_costs_its_record_and_no_other() {
    let whole = store();
    let state = fingerprint(reader(&whole).view());
    let all = records(&whole);
    assert_eq!((segments(&whole).len(), all.len()), (5, 18));
    let path = segments(&whole)[1].clone();
    let len = whole.read(&path).unwrap().len() as u64;
    let (mut cured, mut lost) = (0_u64, 0);
    for byte in 0..len {
        let disk = whole.fork();
        disk.flip_bit(&path, byte * 8 + byte % 8).unwrap();
        let story = format!("byte {byte} of {len}");
        let damaged = disk.read(&path).unwrap();
        let plan = repair(&disk).plan().unwrap();
        let sound = records(&disk);
        let report = repair(&disk).apply().unwrap();
        is_mended(&disk, &sound, &state, &story);
        lost += all.len() - sound.len();
        let copied = plan.steps.iter().filter(|step| step.action == RepairAction::CopyToQuarantine);
        for step in copied {
            let piece = &damaged[step.offset as usize..(step.offset + step.bytes) as usize];
            assert!(quarantine(&disk).iter().any(|kept| kept == piece), "{story}: {step:?}");
            cured += 1;
        }
        assert!(plan.is_needed(), "{story}");
        let told = report.findings.iter().find(|finding| finding.path == path);
        assert!(told.is_some_and(|told| told.quarantined.is_some()), "{story}: {report}");
    }
    assert!(cured >= len, "each byte was in a range that was copied: {cured}");
    assert!(lost > 300, "records were damaged, too: {lost}");
}

/// A damaged record is no large update, though there is a snapshot of its number.
#[test]
fn the_log_tells_of_a_damaged_record_that_a_snapshot_was_made_at() {
    let disk = store();
    let (lsn, path) = {
        let files = reader(&disk).files().unwrap();
        let snapshots = files.iter().filter(|file| file.kind == FileKind::HistorySnapshot);
        let lsns: Vec<Lsn> = snapshots.filter_map(|file| file.last_lsn).collect();
        let segments = files.iter().filter(|file| file.kind == FileKind::HistorySegment);
        let mut ends = segments.filter_map(|file| Some((file.last_lsn?, file.path.clone())));
        ends.find(|(last, _)| lsns.contains(last)).unwrap()
    };
    let bytes = disk.read(&path).unwrap();
    let frames = common::made::frames(&bytes);
    let frame = frames.iter().find(|frame| frame.lsn == lsn.get()).unwrap();
    disk.flip_bit(&path, (frame.start as u64 + 25) * 8).unwrap();
    let log: Vec<_> = reader(&disk).log(lsn..=lsn).unwrap().collect();
    assert!(matches!(&log[..], [Err(error)] if error.kind() == ErrorKind::Corrupt), "{log:?}");
    let state = reader(&disk).state_at(lsn).unwrap();
    assert_eq!(state.lsn(), lsn, "the snapshot has it");
}

#[test]
fn a_header_is_made_again_from_the_name_and_the_segment_before() {
    let disk = store();
    let path = segments(&disk)[2].clone();
    let times: Vec<_> = reader(&disk).log(..).unwrap().flatten().map(|entry| entry.at).collect();
    disk.flip_bit(&path, 8 * 30).unwrap();
    let report = files(&disk, FileKind::HistorySegment);
    assert_eq!(report[2].verdict, Verdict::BadHeader);
    repair(&disk).apply().unwrap();
    let report = files(&disk, FileKind::HistorySegment);
    assert!(report.iter().all(|file| file.verdict == Verdict::Whole && file.is_sealed));
    let reader = reader(&disk);
    let log = reader.log(..=Lsn::new(18)).unwrap().flatten();
    assert_eq!(log.map(|entry| entry.at).collect::<Vec<_>>(), times);
    assert_eq!(reader.oldest_restorable().unwrap(), Lsn::ZERO);
    for lsn in 0..=18 {
        reader.state_at(Lsn::new(lsn)).unwrap();
    }
}

#[test]
fn what_holds_nothing_sound_moves_to_quarantine_whole() {
    let disk = store();
    let (sound, state) = (records(&disk), fingerprint(reader(&disk).view()));
    let segment = segments(&disk)[1].clone();
    let snapshot = files(&disk, FileKind::HistorySnapshot)[1].path.clone();
    let junk = vec![0xa5; 700];
    disk.write(&segment, junk.as_slice()).unwrap();
    disk.flip_bit(&snapshot, 999).unwrap();
    let text = disk.read(&snapshot).unwrap();
    let plan = repair(&disk).plan().unwrap();
    for path in [&segment, &snapshot] {
        let steps: Vec<_> = plan.steps.iter().filter(|step| step.path == *path).collect();
        assert!(matches!(steps[..], [step] if step.action == RepairAction::MoveToQuarantine));
    }
    repair(&disk).apply().unwrap();
    let first = sound.keys().copied().filter(|lsn| (4..=6).contains(lsn)).collect::<Vec<_>>();
    let left = sound.into_iter().filter(|(lsn, _)| !first.contains(lsn)).collect();
    is_mended(&disk, &left, &state, "moved");
    let kept = quarantine(&disk);
    assert!(kept.contains(&junk) && kept.contains(&text));
    let refused = reader(&disk).state_at(Lsn::new(5)).unwrap_err().kind();
    assert!(matches!(refused, ErrorKind::Compacted | ErrorKind::Corrupt), "{refused}");
    reader(&disk).state_at(Lsn::new(13)).unwrap();
}

#[test]
fn a_damaged_snapshot_costs_no_state_while_there_is_one_before_it() {
    let disk = store();
    let snapshots = files(&disk, FileKind::HistorySnapshot);
    let snapshot = &snapshots[snapshots.len() / 2].path;
    let state = |disk: &SimDisk, lsn| fingerprint(&reader(disk).state_at(Lsn::new(lsn)).unwrap());
    let before: Vec<String> = (0..=18).map(|lsn| state(&disk, lsn)).collect();
    disk.flip_bit(snapshot, 999).unwrap();
    repair(&disk).apply().unwrap();
    assert_eq!((0..=18).map(|lsn| state(&disk, lsn)).collect::<Vec<_>>(), before);
}

/// A damaged segment that recovery reads moves into the history once fresh snapshots cover it.
#[test]
fn damage_of_the_present_does_not_become_damage_of_the_past() {
    let disk = store();
    let present = files(&disk, FileKind::Segment);
    let file = present.iter().find(|file| file.records > 1).unwrap();
    let bytes = disk.read(&file.path).unwrap();
    let frame = common::made::frames(&bytes).into_iter().find(|frame| frame.lsn > 0).unwrap();
    disk.flip_bit(&file.path, (frame.start as u64 + 25) * 8).unwrap();
    let (sound, state) = (records(&disk), fingerprint(reader(&disk).view()));
    repair(&disk).apply().unwrap();
    is_mended(&disk, &sound, &state, "of the present");
}

#[test]
fn a_crash_anywhere_keeps_what_is_sound_and_the_next_run_ends_it() {
    let damaged = store();
    let paths = segments(&damaged);
    damaged.flip_bit(&paths[1], 8 * 140).unwrap();
    damaged.flip_bit(&paths[2], 8 * 9).unwrap();
    damaged.flip_bit(&files(&damaged, FileKind::HistorySnapshot)[1].path, 999).unwrap();
    let pieces: Vec<Vec<u8>> = {
        let done = damaged.fork();
        repair(&done).apply().unwrap();
        quarantine(&done)
    };
    let (sound, state) = (records(&damaged), fingerprint(reader(&damaged).view()));
    assert!(sound.len() < 18 && pieces.len() >= 3);
    let whole = damaged.fork();
    let before = whole.calls();
    repair(&whole).apply().unwrap();
    for call in before + 1..=whole.calls() {
        for outcome in [Outcome::DropUnsynced, Outcome::KeepAll, Outcome::Random(call)] {
            let disk = damaged.fork();
            disk.crash_at(call);
            let failed = repair(&disk).apply();
            disk.power_cut(outcome);
            let story = format!("crash in call {call}, {outcome:?}, {:?}", disk.trace().last());
            assert!(failed.is_err() || call == whole.calls(), "{story}");
            assert!(records(&disk).len() >= sound.len(), "{story}: before the next run");
            repair(&disk).apply().unwrap_or_else(|error| panic!("{story}: {error:#}"));
            is_mended(&disk, &sound, &state, &story);
            let kept = quarantine(&disk);
            for piece in &pieces {
                assert!(kept.contains(piece), "{story}: {} bytes are gone", piece.len());
            }
        }
    }
}
