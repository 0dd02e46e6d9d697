//! One case for each label of the recovery table, with the folder built by hand.
//!
//! The table is in `docs/durability.md`; `recovery/verdict.rs` enumerates all its inputs. Here each
//! label is met as a node meets it: what is kept, what is told, and whether `OnDamage::Refuse`
//! opens.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::path::{Path, PathBuf};

use common::{
    made::{self, JOURNAL, STATE, builder, frames, known, segments},
    peer,
    sim::wait_until_durable,
};
use peer_journal::{
    ErrorKind, OnDamage, Outcome, P2PState, RecoveryReport, SerializedPeer, Verdict,
    testing::{Effect, Fault, Op, Outcome as PowerCut, SimDisk},
};

/// Opens the store with either policy: `Refuse` must agree with the table and alter nothing.
fn opened(disk: &SimDisk, label: Verdict, outcome: Outcome) -> RecoveryReport {
    let strict = disk.fork();
    let before = made::data_files(&strict);
    let refused = builder(&strict).on_damage(OnDamage::Refuse).open();
    if label.is_damage() {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "`{label}`: {error:#}");
        assert!(error.to_string().contains(label.as_str()), "`{label}`: {error:#}");
        assert_eq!(made::data_files(&strict), before, "`{label}`: something was altered");
    } else {
        drop(refused.unwrap_or_else(|error| panic!("`{label}`: {error:#}")));
    }
    let store = builder(disk).open().unwrap();
    let report = store.recovery().unwrap().clone();
    assert_eq!(report.outcome, outcome, "`{label}`: {report}");
    let lsn = store.view().unwrap().lsn();
    // Once it is open, what was set aside stays so.
    let crashed = disk.fork();
    crashed.power_cut(PowerCut::DropUnsynced);
    for path in report.findings.iter().filter_map(|finding| finding.quarantined.as_ref()) {
        let note = PathBuf::from(format!("{}.note", path.display()));
        for path in [path, &note] {
            let (kept, found) = (disk.read(path).unwrap(), crashed.read(path));
            assert_eq!(found.ok(), Some(kept), "`{label}`: {}", path.display());
        }
    }
    for finding in report.findings.iter().filter(|finding| finding.quarantined.is_some()) {
        // A new snapshot may be on its way to that name.
        let as_before =
            |disk: &SimDisk| disk.read(&finding.path).ok().as_ref() == before.get(&finding.path);
        assert!(as_before(disk) || !as_before(&crashed), "`{label}` is back");
    }
    drop(store);
    let again = builder(disk).open().unwrap();
    assert_eq!(again.view().unwrap().lsn(), lsn, "`{label}`: a second opening differs");
    report
}

fn is_told(report: &RecoveryReport, label: Verdict, path: &Path) {
    let told = report.findings.iter().any(|f| f.verdict == label && f.path == path);
    assert!(told, "`{label}` is not told of {}: {report}", path.display());
}

fn newest(disk: &SimDisk) -> PathBuf {
    segments(disk).pop().unwrap()
}

/// Gives a header that was changed by hand its checksum again: CRC-32 of all bytes but its own.
fn reseal_header(disk: &SimDisk, path: &Path, change: impl FnOnce(&mut [u8])) {
    let mut header = disk.read(path).unwrap()[..96].to_vec();
    change(&mut header);
    let covered = [&header[..12], &header[16..]].concat();
    header[12..16].copy_from_slice(&crc32fast::hash(&covered).to_le_bytes());
    disk.corrupt(path, 0, &header).unwrap();
}

/// `whole`: everything verifies.
#[test]
fn whole() {
    let known = known(true);
    let report = opened(&known.disk, Verdict::Whole, Outcome::Clean);
    assert_eq!((report.findings.len(), report.lost.len()), (0, 0), "{report}");
    assert_eq!(report.last_lsn.get(), known.last());
}

/// `torn tail`: the last record was cut off before its acknowledgement.
#[test]
fn torn_tail() {
    let known = known(false);
    let path = newest(&known.disk);
    let last = *frames(&known.disk.read(&path).unwrap()).last().unwrap();
    known.disk.corrupt(&path, last.end as u64 - 1, &[0xff]).unwrap();
    let report = opened(&known.disk, Verdict::TornTail, Outcome::TornTail);
    is_told(&report, Verdict::TornTail, &path);
    assert_eq!(report.last_lsn.get(), known.last() - 1);
    assert_eq!(report.lost, []);
}

/// The number of an empty segment must not be given again: it goes when a later one is durable.
#[test]
fn an_unborn_segment_is_removed_when_the_next_one_is_durable() {
    let disk = known(true).disk;
    let store = builder(&disk).open().unwrap();
    let crashed = disk.fork();
    drop(store);
    let unborn = newest(&crashed);
    let before = crashed.calls();
    drop(builder(&crashed).open().unwrap());
    let calls: Vec<_> = crashed.trace().into_iter().filter(|call| call.number > before).collect();
    let at = |op: Op, path: &Path| calls.iter().position(|call| call.op == op && call.path == path);
    let is_wal = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wal");
    let started = calls.iter().position(|call| call.to.as_ref().is_some_and(is_wal)).unwrap();
    let durable =
        calls[started..].iter().position(|call| call.op == Op::SyncDir).unwrap() + started;
    assert!(at(Op::Remove, &unborn).unwrap() > durable, "{calls:?}");
}

/// Each step of a repair is durable before the next one: the cut before the seal.
#[test]
fn a_cut_is_durable_before_the_seal_behind_it() {
    let known = known(false);
    let path = newest(&known.disk);
    let last = *frames(&known.disk.read(&path).unwrap()).last().unwrap();
    known.disk.corrupt(&path, last.end as u64 - 1, &[0xff]).unwrap();
    let before = known.disk.calls();
    drop(builder(&known.disk).open().unwrap());
    let calls: Vec<Op> = known
        .disk
        .trace()
        .into_iter()
        .filter(|call| call.number > before && call.path == path)
        .map(|call| call.op)
        .collect();
    assert_eq!(calls, [Op::Sync, Op::SetLen, Op::Sync, Op::Write, Op::Sync]);
}

/// What a killed process left in the page cache is made durable before any of it is read: each file
/// and both folders.
#[test]
fn nothing_is_read_before_it_is_durable() {
    let known = known(true);
    let file = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut faults: Vec<Fault> = segments(&known.disk)
        .iter()
        .chain(&made::fallbacks(&known.disk))
        .map(|path| Fault::new(Op::Sync).path(file(path)))
        .collect();
    faults.push(Fault::new(Op::Sync).path(STATE));
    // The journal's folder first, then that of the state file, whose path both contain.
    faults.push(Fault::new(Op::SyncDir).path(JOURNAL));
    faults.push(Fault::new(Op::SyncDir).path("/data").after(1));
    assert!(faults.len() >= 7, "{faults:?}");
    for fault in faults {
        let disk = known.disk.fork();
        let before = disk.faults_hit();
        disk.fail(fault.clone());
        // A look into a segment or a snapshot would be a second hit.
        disk.fail(Fault::new(Op::Read).path(".wal").forever());
        disk.fail(Fault::new(Op::Read).path(".json").forever());
        let error = builder(&disk).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io, "{fault:?}: {error:#}");
        assert_eq!(disk.faults_hit(), before + 1, "{fault:?}: {error:#}");
        assert!(error.to_string().contains("cannot sync"), "{fault:?}: {error:#}");
    }
}

/// `unborn`: the newest segment never got its first record.
#[test]
fn unborn() {
    let known = known(true);
    let store = builder(&known.disk).open().unwrap();
    let crashed = known.disk.fork();
    drop(store);
    let path = newest(&crashed);
    crashed.corrupt(&path, 96, b"a first record, cut off").unwrap();
    let report = opened(&crashed, Verdict::Unborn, Outcome::TornTail);
    is_told(&report, Verdict::Unborn, &path);
    assert_eq!(report.last_lsn.get(), known.last());
    assert!(made::quarantined(&crashed).iter().any(|kept| kept[96..].starts_with(b"a first")));
}

/// `covered`: the snapshot holds all that the damaged segment could.
#[test]
fn covered() {
    let known = known(true);
    let path = segments(&known.disk).remove(0);
    known.disk.corrupt(&path, 120, &[0xff; 40]).unwrap();
    let report = opened(&known.disk, Verdict::Covered, Outcome::Clean);
    assert_eq!(report.findings, [], "the snapshot holds all that it could: {report}");
}

/// `broken record`: a record inside the journal rots.
#[test]
fn broken_record() {
    let known = known(true);
    let path = newest(&known.disk);
    let first = frames(&known.disk.read(&path).unwrap())[0];
    known.disk.corrupt(&path, first.start as u64 + 25, &[0xff; 3]).unwrap();
    let report = opened(&known.disk, Verdict::BrokenRecord, Outcome::Salvaged);
    is_told(&report, Verdict::BrokenRecord, &path);
    assert_eq!(report.lost_records(), 1, "{report}");
    assert_eq!(report.lost[0].first.get(), first.lsn);
    assert_eq!(report.last_lsn.get(), known.last(), "what stands behind it is kept");
}

/// `bad header`: a header rots, its records do not.
#[test]
fn bad_header() {
    let known = known(true);
    let path = newest(&known.disk);
    known.disk.corrupt(&path, 40, &[0xff]).unwrap();
    let report = opened(&known.disk, Verdict::BadHeader, Outcome::Salvaged);
    is_told(&report, Verdict::BadHeader, &path);
    assert_eq!(report.lost, [], "its records verify by the number in the file name: {report}");
    assert_eq!(report.last_lsn.get(), known.last());
}

#[test]
fn bad_header_of_a_newest_segment_without_a_record_says_that_the_end_is_unknown() {
    let known = known(true);
    let path = newest(&known.disk);
    let len = known.disk.read(&path).unwrap().len();
    known.disk.corrupt(&path, 0, &vec![0xaa; len]).unwrap();
    let report = opened(&known.disk, Verdict::BadHeader, Outcome::Salvaged);
    assert!(report.end_unknown, "{report}");
    assert!(report.to_string().contains("records after it may be lost"), "{report}");
}

/// `gap`: a segment was removed.
#[test]
fn gap() {
    let known = known(true);
    let paths = segments(&known.disk);
    let (missing, after) = (&paths[paths.len() - 2], &paths[paths.len() - 1]);
    let gone = frames(&known.disk.read(missing).unwrap());
    known.disk.erase(missing).unwrap();
    let report = opened(&known.disk, Verdict::Gap, Outcome::Salvaged);
    is_told(&report, Verdict::Gap, after);
    let expected = gone.iter().filter(|frame| !frame.is_seal).count() as u64;
    assert_eq!(report.lost_records(), expected, "{report}");
    assert_eq!(report.lost[0].first.get(), gone[0].lsn);
}

/// A store whose second journal sync failed: one segment goes on past the first number of the next.
fn after_a_failed_sync() -> (SimDisk, u64) {
    let disk = SimDisk::new(3);
    let store = builder(&disk).open().unwrap();
    store.peer_seen(&peer(1), &[]).unwrap().wait().unwrap();
    disk.fail(Fault::new(Op::Sync).path("segment-").effect(Effect::MarkClean));
    // It is told of the failure, unless this thread is so slow that the second try is over.
    let _told = store.peer_seen(&peer(2), &[]).unwrap().wait();
    let last = store.peer_seen(&peer(3), &[]).unwrap();
    let lsn = last.lsn().get();
    // A wait may meet the failure once more; the change is written all the same.
    assert_eq!(wait_until_durable(&store).get(), lsn);
    let crashed = disk.fork();
    drop(store);
    (crashed, lsn)
}

/// `superseded`: a sync of the segment failed.
#[test]
fn superseded() {
    let (disk, last) = after_a_failed_sync();
    let path = segments(&disk).remove(0);
    let report = opened(&disk, Verdict::Superseded, Outcome::Clean);
    is_told(&report, Verdict::Superseded, &path);
    assert_eq!((report.last_lsn.get(), report.lost.len()), (last, 0), "{report}");
}

/// `overlap`: numbers come twice and no failed sync says why.
#[test]
fn overlap() {
    let (disk, last) = after_a_failed_sync();
    let path = newest(&disk);
    reseal_header(&disk, &path, |header| header[76] &= !2);
    let report = opened(&disk, Verdict::Overlap, Outcome::Salvaged);
    is_told(&report, Verdict::Overlap, &path);
    assert_eq!((report.last_lsn.get(), report.lost.len()), (last, 0), "{report}");
}

/// `foreign`: a segment of another store was copied in.
#[test]
fn foreign() {
    let (store, other) = (known(true), known(true));
    let path = Path::new(JOURNAL).join("0000000099-00000000000000000016.wal");
    let bytes = other.disk.read(newest(&other.disk)).unwrap();
    store.disk.write(&path, bytes.clone()).unwrap();
    let report = opened(&store.disk, Verdict::Foreign, Outcome::Salvaged);
    is_told(&report, Verdict::Foreign, &path);
    assert_eq!((report.last_lsn.get(), report.lost.len()), (store.last(), 0), "{report}");
    assert!(made::quarantined(&store.disk).contains(&bytes));
}

/// `misnamed`: a segment was renamed.
#[test]
fn misnamed() {
    let known = known(true);
    let path = newest(&known.disk);
    let name = Path::new(JOURNAL).join("0000000042-00000000000000000002.wal");
    known.disk.write(&name, known.disk.read(&path).unwrap()).unwrap();
    known.disk.erase(&path).unwrap();
    let report = opened(&known.disk, Verdict::Misnamed, Outcome::Salvaged);
    is_told(&report, Verdict::Misnamed, &name);
    assert_eq!((report.last_lsn.get(), report.lost.len()), (known.last(), 0), "{report}");
    // Compaction goes by the headers: twice, and only covered segments are gone.
    let store = builder(&known.disk).open().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for number in 0..3 {
        store.peer_seen(&peer(50 + number), &[]).unwrap().wait().unwrap();
        runtime.block_on(store.compact()).unwrap();
    }
    let lsn = store.view().unwrap().lsn();
    drop(store);
    let found = builder(&known.disk).open().unwrap();
    assert_eq!(found.view().unwrap().lsn(), lsn);
    assert_eq!(found.recovery().unwrap().outcome, Outcome::Clean);
}

/// `newer version`: a header of the next format version.
#[test]
fn newer_version() {
    let known = known(true);
    reseal_header(&known.disk, &newest(&known.disk), |header| header[8] = 2);
    let before = made::data_files(&known.disk);
    for on_damage in [OnDamage::Salvage, OnDamage::Refuse] {
        let error = builder(&known.disk).on_damage(on_damage).open().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NewerVersion, "`newer version`: {error:#}");
        assert!(error.to_string().contains("upgrade"), "{error:#}");
    }
    assert_eq!(made::data_files(&known.disk), before);
}

/// `first run`: nothing is there.
#[test]
fn first_run() {
    let report = opened(&SimDisk::new(1), Verdict::FirstRun, Outcome::FirstRun);
    assert_eq!((report.findings.len(), report.last_lsn.get()), (0, 0), "{report}");
}

/// `old version`: a version 1 file.
#[test]
fn old_version() {
    let disk = SimDisk::new(1);
    let row = SerializedPeer {
        peer_id: "12D3KooWTest".into(),
        addresses: vec!["nowhere".into()],
        last_seen: made::noon(),
    };
    let old = P2PState { version: 1, peers: vec![row], ..P2PState::default() };
    let bytes = serde_json::to_vec_pretty(&old).unwrap();
    disk.write(STATE, bytes.clone()).unwrap();
    let report = opened(&disk, Verdict::OldVersion, Outcome::Migrated);
    is_told(&report, Verdict::OldVersion, Path::new(STATE));
    let kept = Path::new(JOURNAL).join("snapshot-version-1.json");
    assert_eq!(disk.read(kept).unwrap(), bytes);
}

/// `stale snapshot`: the newest snapshot was removed.
#[test]
fn stale_snapshot() {
    let known = known(true);
    known.disk.erase(STATE).unwrap();
    let report = opened(&known.disk, Verdict::StaleSnapshot, Outcome::Salvaged);
    is_told(&report, Verdict::StaleSnapshot, Path::new(STATE));
    assert_eq!((report.last_lsn.get(), report.lost.len()), (known.last(), 0), "{report}");
}

/// `unsealed snapshot`: the snapshot was edited without sealing.
#[test]
fn unsealed_snapshot() {
    let known = known(true);
    let text = String::from_utf8(known.disk.read(STATE).unwrap()).unwrap();
    let edited = text.replace("/tcp/4001", "/tcp/4999");
    assert_ne!(text, edited);
    known.disk.write(STATE, edited.clone()).unwrap();
    let report = opened(&known.disk, Verdict::UnsealedSnapshot, Outcome::Salvaged);
    is_told(&report, Verdict::UnsealedSnapshot, Path::new(STATE));
    assert!(report.to_string().contains("peer-journal seal"), "{report}");
    assert_eq!((report.last_lsn.get(), report.lost.len()), (known.last(), 0), "{report}");
    assert!(made::quarantined(&known.disk).contains(&edited.into_bytes()));
}

/// `broken snapshot`: half of the snapshot is gone.
#[test]
fn broken_snapshot() {
    let known = known(true);
    let len = known.disk.read(STATE).unwrap().len() as u64;
    known.disk.truncate(STATE, len / 2).unwrap();
    let report = opened(&known.disk, Verdict::BrokenSnapshot, Outcome::Salvaged);
    is_told(&report, Verdict::BrokenSnapshot, Path::new(STATE));
    assert_eq!((report.last_lsn.get(), report.lost.len()), (known.last(), 0), "{report}");
}
