//! Guards reading from outside: a reader that writes, locks, raises a false alarm beside a live
//! node, or tells another story than an opening would.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

mod common;

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use chrono::{DateTime, TimeDelta, Utc};
use common::{
    hooked::{Hooked, Hooks},
    made::{self, HEADER_BYTES, Known, STATE, builder, frames, known, noon, picture},
    peer,
    sim::block_on,
    stop::Stop,
};
use peer_journal::{
    Change, Difference, Error, ErrorKind, FileKind, Journal, LogRecord, Lsn, OnDamage, Outcome,
    P2PStatePersistence, Reader, RepairAction, Verdict, diff, repair, repair_plan,
    state::{Limits, PeerKey},
    testing::{Prng, SimDisk},
    vfs::Vfs,
};

fn reader(disk: &SimDisk) -> Reader {
    Reader::options(STATE).vfs(Arc::new(disk.mount())).open().unwrap()
}

fn journal(disk: &SimDisk) -> Journal {
    Journal::on(Arc::new(disk.mount()), STATE).unwrap()
}

fn lsns(records: &[LogRecord]) -> Vec<u64> {
    records.iter().map(|record| record.lsn.get()).collect()
}

fn lsn(number: u64) -> Lsn {
    Lsn::new(number)
}

/// What the log holds: numbers, and a cross for what is missing.
fn story(log: impl Iterator<Item = Result<LogRecord, Error>>) -> Vec<String> {
    log.map(|entry| match entry {
        Ok(record) if record.is_large_update => format!("{} large", record.lsn),
        Ok(record) => record.lsn.to_string(),
        Err(error) => format!("{}", error.kind()),
    })
    .collect()
}

#[test]
fn no_store_is_an_error_of_its_own_and_makes_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    for error in [
        Reader::open(&path).unwrap_err(),
        Journal::open(&path).unwrap_err(),
        repair_plan(&path).unwrap_err(),
        repair(&path).unwrap_err(),
        P2PStatePersistence::builder(&path).must_exist().open().unwrap_err(),
        P2PStatePersistence::builder(path.join("deeper")).must_exist().open().unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NoStore);
        assert!(error.to_string().contains("there is no store here"), "{error}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "looking made a file");
    // A folder that a process left before it had made a store in it.
    fs::create_dir(path.with_extension("journal")).unwrap();
    fs::write(path.with_extension("journal").join("LOCK"), "").unwrap();
    let open = || P2PStatePersistence::builder(&path).must_exist().open();
    assert_eq!(open().unwrap_err().kind(), ErrorKind::NoStore);
    drop(P2PStatePersistence::open(&path).unwrap());
    open().unwrap();
}

#[test]
fn a_snapshot_alone_a_version_1_file_and_a_newer_one_are_told_apart() {
    let known = known(true);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lone.json");
    fs::write(&path, known.disk.read(STATE).unwrap()).unwrap();
    let lone = Reader::open(&path).unwrap();
    assert_eq!((lone.view().lsn(), lone.report().outcome), (lsn(8), Outcome::Clean));
    assert_eq!(lone.snapshot().unwrap().path, path);
    assert_eq!(lone.saved_at(), noon());
    assert!(lone.store_id().is_some() && lone.holder().unwrap().is_none());
    assert_eq!(lone.log(..).unwrap().count(), 0);
    assert_eq!(lone.oldest_restorable().unwrap(), lsn(8));
    assert_eq!(lone.state_at(lsn(7)).unwrap_err().kind(), ErrorKind::Compacted);
    assert_eq!(lone.lsn_at(noon()).unwrap(), lsn(8));
    assert_eq!(lone.lsn_at(noon() - TimeDelta::days(1)).unwrap_err().kind(), ErrorKind::Compacted);

    let old = lone.view().to_rows(noon());
    let old = peer_journal::P2PState { version: 1, ..old };
    fs::write(&path, serde_json::to_string_pretty(&old).unwrap()).unwrap();
    let old = Reader::open(&path).unwrap();
    assert_eq!((old.report().outcome, old.store_id()), (Outcome::Migrated, None));
    assert_eq!(old.files().unwrap()[0].verdict, Verdict::OldVersion);
    let plan = repair_plan(&path).unwrap();
    assert_eq!(plan.steps.iter().map(|s| s.action).collect::<Vec<_>>(), [RepairAction::Migrate]);

    fs::write(&path, "{\"version\": 9, \"shape\": []}").unwrap();
    assert_eq!(Reader::open(&path).unwrap_err().kind(), ErrorKind::NewerVersion);
    assert_eq!(Journal::open(&path).unwrap_err().kind(), ErrorKind::NewerVersion);
}

#[test]
fn the_log_is_complete_from_either_end_and_says_where_each_record_stands() {
    let known = known(true);
    let reader = reader(&known.disk);
    let forward: Vec<LogRecord> = reader.log(..).unwrap().map(Result::unwrap).collect();
    assert_eq!(lsns(&forward), (6..=15).collect::<Vec<u64>>());
    for record in &forward {
        assert_eq!(record.changes, known.history[record.lsn.get() as usize - 1]);
        let bytes = known.disk.read(&record.file).unwrap();
        let frame = frames(&bytes).into_iter().find(|f| f.lsn == record.lsn.get()).unwrap();
        assert_eq!(
            (frame.start as u64, frame.end as u64 - frame.start as u64),
            (record.offset, record.bytes)
        );
        let own = record.changes.iter().filter_map(Change::at).max().map(DateTime::<Utc>::from);
        assert_eq!((record.at_is_exact, record.at), (own.is_some(), Some(own.unwrap_or(noon()))));
    }
    let mut backward: Vec<LogRecord> = reader.log(..).unwrap().rev().map(Result::unwrap).collect();
    backward.reverse();
    assert_eq!(backward, forward);
    let mut log = reader.log(lsn(7)..lsn(14)).unwrap();
    let mut meeting = Vec::new();
    for turn in 0.. {
        let entry = if turn % 3 == 0 { log.next_back() } else { log.next() };
        let Some(entry) = entry else { break };
        meeting.push(entry.unwrap().lsn.get());
    }
    meeting.sort_unstable();
    assert_eq!(meeting, (7..=13).collect::<Vec<u64>>(), "from both ends at once");
    assert_eq!(reader.log(lsn(9)..=lsn(9)).unwrap().count(), 1);
    assert_eq!(reader.log(lsn(9)..lsn(9)).unwrap().count(), 0);
}

#[test]
fn a_log_of_some_changes_is_the_log_without_the_others() {
    let known = known(true);
    let reader = reader(&known.disk);
    let is_wanted = |change: &Change| change.at().is_none();
    let wanted = |record: &LogRecord| record.changes.iter().any(is_wanted);
    let filtered: Vec<LogRecord> =
        reader.log(lsn(7)..).unwrap().map(Result::unwrap).filter(wanted).collect();
    assert!(!filtered.is_empty() && filtered.len() < 9, "{:?}", lsns(&filtered));
    let only = || reader.log(lsn(7)..).unwrap().only(is_wanted);
    assert_eq!(only().map(Result::unwrap).collect::<Vec<_>>(), filtered, "with the same times");
    let mut backward: Vec<LogRecord> = only().rev().map(Result::unwrap).collect();
    backward.reverse();
    assert_eq!(backward, filtered);
    let path = made::segments(&known.disk).into_iter().nth(1).unwrap();
    let bytes = known.disk.read(&path).unwrap();
    let frame = frames(&bytes).into_iter().find(|frame| frame.lsn == 10).unwrap();
    known.disk.flip_bit(&path, (frame.start as u64 + 25) * 8).unwrap();
    assert_eq!(story(reader.log(..).unwrap().only(|_| false)), ["corrupt"], "errors stay");
}

#[test]
fn a_record_that_cannot_be_read_is_an_error_in_its_place() {
    let known = known(true);
    let path = made::segments(&known.disk).into_iter().nth(1).unwrap();
    let bytes = known.disk.read(&path).unwrap();
    let frame = frames(&bytes).into_iter().find(|frame| frame.lsn == 10).unwrap();
    known.disk.flip_bit(&path, (frame.start as u64 + 25) * 8).unwrap();
    let reader = reader(&known.disk);
    let mut told = story(reader.log(lsn(9)..=lsn(11)).unwrap());
    assert_eq!(told, ["9", "corrupt", "11"]);
    told = story(reader.log(lsn(9)..=lsn(11)).unwrap().rev());
    assert_eq!(told, ["11", "corrupt", "9"]);
    assert_eq!(reader.proof().lost, [peer_journal::LsnRange { first: lsn(10), last: lsn(10) }]);
    let files = reader.files().unwrap();
    let file = files.iter().find(|file| file.path == path).unwrap();
    assert_eq!((file.verdict, file.damage.len()), (Verdict::BrokenRecord, 1));
    let damage = &file.damage[0];
    assert_eq!(
        (damage.offset, damage.bytes),
        (frame.start as u64, (frame.end - frame.start) as u64)
    );
    let checksums = damage.record.unwrap();
    assert!(checksums.written != checksums.computed && checksums.lsn == lsn(10));
    assert!(!damage.is_torn_tail);
    // The state after the loss is the one that recovery makes of the rest.
    let report = reader.report().clone();
    assert_eq!(picture(reader.view().state()), known.claimed(&report));
    let eleven = reader.state_at(lsn(11)).unwrap();
    assert_eq!(picture(eleven.state()), known.state_of(|n| n <= 11 && n != 10));
}

#[test]
fn the_state_at_every_lsn_in_reach_is_the_one_of_then() {
    let known = known(true);
    let reader = reader(&known.disk);
    let oldest = reader.oldest_restorable().unwrap();
    assert_eq!(oldest, lsn(5), "the fallback and the segments behind it");
    for number in 5..=known.last() {
        let view = reader.state_at(lsn(number)).unwrap();
        assert_eq!(
            (view.lsn(), picture(view.state())),
            (lsn(number), known.state_of(|n| n <= number))
        );
    }
    let error = reader.state_at(lsn(4)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Compacted);
    assert!(error.to_string().contains("the oldest that can is lsn=5"), "{error}");
    assert_eq!(reader.state_at(lsn(16)).unwrap_err().kind(), ErrorKind::Invalid);
    assert_eq!(reader.lsn_at(noon()).unwrap(), lsn(15));
    assert_eq!(
        reader.lsn_at(noon() - TimeDelta::seconds(1)).unwrap_err().kind(),
        ErrorKind::Compacted
    );
}

#[test]
fn a_time_finds_the_last_record_before_it() {
    let disk = SimDisk::new(1);
    let time = Arc::new(std::sync::Mutex::new(noon()));
    let clock = Arc::clone(&time);
    let store = builder(&disk).clock(move || *clock.lock().unwrap()).open().unwrap();
    for minute in 1..=20_i64 {
        *time.lock().unwrap() = noon() + TimeDelta::minutes(minute);
        // Every fourth record has no time of its own.
        let number = minute.unsigned_abs();
        let value = vec![7; 700];
        if minute % 4 == 0 {
            store.peer_verified(&peer(number), true).unwrap().wait().unwrap();
        } else {
            store.dht_put(&format!("{minute}"), &value).unwrap().wait().unwrap();
        }
    }
    let reader = reader(&disk);
    assert!(reader.files().unwrap().len() > 3, "more than one segment");
    for minute in 1..=20_i64 {
        let at = noon() + TimeDelta::minutes(minute) + TimeDelta::seconds(30);
        let found = reader.lsn_at(at).unwrap().get().cast_signed();
        // A record without a time of its own counts with the one before it.
        // If a segment begins between the two, that may be made before the clock goes on or after.
        let wanted = [minute, if minute % 4 == 3 { minute + 1 } else { minute }];
        assert!(wanted.contains(&found), "at minute {minute}: {found}");
    }
    for record in reader.log(..).unwrap().map(Result::unwrap) {
        let minute = record.lsn.get().cast_signed();
        assert_eq!(record.at_is_exact, minute % 4 != 0);
        let told = record.at.unwrap();
        assert!(
            told == noon() + TimeDelta::minutes(minute - i64::from(minute % 4 == 0))
                || (told == noon() + TimeDelta::minutes(minute) && minute % 4 == 0),
            "{record:?}"
        );
    }
    drop(store);
}

#[test]
fn following_survives_rotation_compaction_and_a_restart() {
    let disk = SimDisk::new(3);
    let store = builder(&disk).open().unwrap();
    let mut follow = journal(&disk).follow(Lsn::ZERO);
    let mut seen = Vec::new();
    let catch_up = |follow: &mut peer_journal::Follow, seen: &mut Vec<u64>| loop {
        let records = follow.poll().unwrap();
        if records.is_empty() {
            return;
        }
        seen.extend(lsns(&records));
    };
    catch_up(&mut follow, &mut seen);
    assert!(seen.is_empty());
    for number in 1..=60_u64 {
        store.dht_put(&format!("{number}"), &[7; 300]).unwrap().wait().unwrap();
        if number % 7 == 0 {
            catch_up(&mut follow, &mut seen);
            assert_eq!(seen.len() as u64, number);
            block_on(store.compact()).unwrap();
        }
    }
    block_on(store.close()).unwrap();
    let store = builder(&disk).open().unwrap();
    store.dht_put("after", b"the restart").unwrap().wait().unwrap();
    catch_up(&mut follow, &mut seen);
    assert_eq!(seen, (1..=61).collect::<Vec<u64>>());
    assert!(follow.poll().unwrap().is_empty());

    // Who was away for too long is told so once, and goes on with what there is.
    let mut late = journal(&disk).follow(Lsn::ZERO);
    assert_eq!(late.poll().unwrap_err().kind(), ErrorKind::Compacted);
    seen.clear();
    catch_up(&mut late, &mut seen);
    assert_eq!(seen.last(), Some(&61));
}

#[test]
fn following_goes_on_behind_damage_but_waits_for_a_write_in_flight() {
    let disk = SimDisk::new(4);
    let store = builder(&disk).segment_bytes(64 << 10).open().unwrap();
    for number in 1..=5_u64 {
        store.dht_put(&format!("{number}"), &[7; 100]).unwrap().wait().unwrap();
    }
    let path = made::segments(&disk).pop().unwrap();
    let frame = frames(&disk.read(&path).unwrap())[2];
    // The third record: behind it the fifth vouches for the fourth.
    disk.flip_bit(&path, (frame.start as u64 + 30) * 8).unwrap();
    let mut follow = journal(&disk).follow(Lsn::ZERO);
    assert_eq!(lsns(&follow.poll().unwrap()), [1, 2]);
    assert_eq!(follow.poll().unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(lsns(&follow.poll().unwrap()), [4, 5]);
    // Half of a record that nothing vouches for.
    let end = frames(&disk.read(&path).unwrap()).last().unwrap().end as u64;
    disk.corrupt(&path, end, &[9; 30]).unwrap();
    assert!(follow.poll().unwrap().is_empty());
    drop(store);
}

#[test]
fn the_holder_is_named_and_its_lock_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    let store = P2PStatePersistence::open(&path).unwrap();
    store.dht_put("key", b"value").unwrap().wait().unwrap();
    let reader = Reader::open(&path).unwrap();
    let holder = reader.holder().unwrap().unwrap();
    assert_eq!(holder.pid, Some(std::process::id()));
    assert!(holder.since.is_some() && holder.host.is_some());
    if cfg!(target_os = "linux") {
        assert_eq!(holder.is_held, Some(true));
    }
    let error = repair(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    drop(store);
    let holder = reader.holder().unwrap().unwrap();
    if cfg!(target_os = "linux") {
        assert_eq!(holder.is_held, Some(false), "the text is left behind");
    }
    let lock = folder.path().join("p2p-state.journal/LOCK");
    fs::write(&lock, "pid=1 host=another-machine.invalid since=2026-01-01T00:00:00Z\n").unwrap();
    assert_eq!(reader.holder().unwrap().unwrap().is_held, None, "nobody can tell from here");
}

/// Every file of a damaged store, and the plan, against what an opening then does.
#[test]
fn the_plan_is_what_a_repair_does_and_the_quarantine_lists_it() {
    let known = known(false);
    let mut random = Prng::new(11);
    let paths = made::data_files(&known.disk);
    for round in 0..16_u64 {
        let disk = known.disk.fork();
        let (path, bytes) = paths.iter().nth(random.below(paths.len() as u64) as usize).unwrap();
        let content = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0) as u64 + 1;
        let bit = random.below(content * 8);
        let story = format!("seed 11, round {round}: bit {bit} of {}", path.display());
        disk.flip_bit(path, bit).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let state_file = pour(&disk, folder.path());
        let before = Reader::open(&state_file).unwrap();
        let files = before.files().unwrap();
        let plan = repair_plan(&state_file).unwrap();
        assert_eq!(&plan.report, before.report(), "{story}");
        let damaged = files.iter().any(|file| file.verdict.is_damage());
        assert!(plan.is_needed() || !damaged, "{story}: {files:#?}");
        assert!(before.quarantine().unwrap().is_empty());

        let report = repair(&state_file).unwrap();
        assert_eq!(report.lost, plan.report.lost, "{story}");
        let after = Reader::open(&state_file).unwrap();
        assert!(!after.report().is_damaged(), "{story}: {}", after.report());
        let left = after.files().unwrap().into_iter().filter(|file| !file.damage.is_empty());
        assert_eq!(
            left.map(|file| file.path).collect::<Vec<_>>(),
            [] as [std::path::PathBuf; 0],
            "{story}"
        );
        assert!(!repair_plan(&state_file).unwrap().is_needed(), "{story}");
        assert_eq!(after.proof().unvouched_records, 0, "{story}");
        let kept = after.quarantine().unwrap();
        let planned = plan.steps.iter().filter(|step| {
            matches!(step.action, RepairAction::CopyToQuarantine | RepairAction::MoveToQuarantine)
        });
        let mut planned: Vec<u64> = planned.map(|step| step.bytes).collect();
        let mut found: Vec<u64> = kept.iter().map(|file| file.bytes).collect();
        planned.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, planned, "{story}: {:#?}", plan.steps);
        for file in kept {
            assert!(file.origin.is_some() && file.note.is_some() && file.set_aside.is_some());
            let label = file.label.unwrap();
            assert!(Verdict::ALL.iter().any(|verdict| verdict.as_str() == label), "{label}");
        }
    }
}

/// Copies a simulated disk into a real folder.
fn pour(disk: &SimDisk, folder: &Path) -> std::path::PathBuf {
    for (path, bytes) in made::files(disk) {
        let to = folder.join(path.strip_prefix("/").unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
    folder.join(STATE.trim_start_matches('/'))
}

#[test]
fn the_files_add_up_to_the_store() {
    let known = known(false);
    let reader = reader(&known.disk);
    let files = reader.files().unwrap();
    let kinds: Vec<FileKind> = files.iter().map(|file| file.kind).collect();
    assert_eq!(kinds[..2], [FileKind::Snapshot, FileKind::Fallback]);
    assert!(kinds[2..].iter().all(|kind| *kind == FileKind::Segment));
    assert_eq!((files[0].last_lsn, files[1].last_lsn), (Some(lsn(8)), Some(lsn(5))));
    let segments = || files.iter().filter(|file| file.kind == FileKind::Segment);
    assert_eq!(segments().map(|file| file.records).sum::<u64>(), 10);
    for file in segments() {
        let bytes = known.disk.read(&file.path).unwrap();
        let end = frames(&bytes).last().map_or(HEADER_BYTES, |frame| frame.end);
        assert_eq!((file.bytes, file.zero_bytes), (bytes.len() as u64, (bytes.len() - end) as u64));
        assert_eq!(file.is_sealed, frames(&bytes).last().is_some_and(|frame| frame.is_seal));
    }
    let proof = reader.proof();
    assert_eq!((proof.last, proof.vouched, proof.unvouched_records), (lsn(15), lsn(14), 1));
    assert_eq!((proof.lost.len(), proof.torn_bytes, proof.end_unknown), (0, 0, false));
    let end = frames(&known.disk.read(&files.last().unwrap().path).unwrap()).last().unwrap().end;
    known.disk.corrupt(&files.last().unwrap().path, end as u64, b"torn").unwrap();
    let torn = self::reader(&known.disk);
    assert_eq!(torn.proof().torn_bytes, 4);
    let last = torn.files().unwrap().pop().unwrap();
    assert_eq!(last.verdict, Verdict::TornTail);
    assert!(last.damage[0].is_torn_tail);
}

#[test]
fn a_difference_lists_every_row_once() {
    let Known { disk, .. } = known(true);
    let reader = reader(&disk);
    let (five, last) = (reader.state_at(lsn(5)).unwrap(), reader.view());
    let Difference { peers, reputation, profiles, bans, dht_entries, .. } = diff(&five, last);
    let key = |number: u64| PeerKey::from(peer(number));
    assert_eq!(peers.added.len(), 1, "the odd one");
    assert_eq!(peers.changed.iter().map(|row| row.0.clone()).collect::<Vec<_>>(), [key(1)]);
    assert_eq!((reputation.added.len(), reputation.changed.len()), (1, 1));
    assert_eq!((profiles.added.len(), bans.added.len()), (1, 1));
    assert_eq!((dht_entries.added.len(), dht_entries.removed.len()), (2, 1));
    let back = diff(last, &five);
    assert_eq!(back.dht_entries.removed, dht_entries.added);
    assert_eq!(back.len(), diff(&five, last).len());
    assert!(diff(last, last).is_empty() && !back.is_empty());
}

/// The promise to operators: looking at a live store never cries wolf.
#[test]
fn a_reader_beside_a_live_node_sees_no_damage_and_no_step_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    let store = P2PStatePersistence::builder(&path).segment_bytes(8192).open().unwrap();
    let stop = Stop::default();
    std::thread::scope(|scope| {
        let stopped = stop.at_the_end();
        let writer = scope.spawn(|| {
            let mut number = 0_u64;
            while !stop.is_asked() {
                number += 1;
                let ack =
                    store.dht_put(&format!("{}", number % 50), &number.to_le_bytes()).unwrap();
                if number.is_multiple_of(5) {
                    ack.wait().unwrap();
                }
                if number.is_multiple_of(300) {
                    block_on(store.compact()).unwrap();
                }
            }
            number
        });
        let mut last = Lsn::ZERO;
        let mut follow = Journal::open(&path).unwrap().follow(Lsn::ZERO);
        let mut followed = 0;
        for round in 0..60 {
            let reader = Reader::open(&path).unwrap();
            let report = reader.report();
            assert!(!report.is_damaged() && report.lost.is_empty(), "round {round}: {report}");
            assert!(reader.view().lsn() >= last, "round {round}: {report}");
            last = reader.view().lsn();
            for file in reader.files().unwrap() {
                assert!(!file.verdict.is_damage(), "round {round}: {file:?}");
            }
            for record in follow.poll().unwrap_or_default() {
                assert!(record.lsn.get() > followed, "round {round}: {}", record.lsn);
                followed = record.lsn.get();
            }
            for entry in reader.log(..).unwrap() {
                // A segment may go while it is read; nothing else may be wrong with it.
                if let Err(error) = entry {
                    assert_eq!(error.kind(), ErrorKind::Compacted, "round {round}: {error}");
                }
            }
        }
        drop(stopped);
        assert!(writer.join().unwrap() > 0);
    });
}

/// Removes each snapshot of the journal folder right before somebody opens it.
#[derive(Debug, Default)]
struct Removing(AtomicBool);

impl Hooks for Removing {
    fn before_open(&self, disk: &SimDisk, path: &Path) {
        if self.0.load(Ordering::Relaxed) && path.to_string_lossy().contains("snapshot-") {
            disk.remove(path).unwrap();
        }
    }
}

#[test]
fn a_snapshot_that_compaction_removes_meanwhile_is_no_damage() {
    let known = known(false);
    let hooks = Arc::new(Removing::default());
    let disk = Hooked::new(&known.disk, Arc::clone(&hooks) as Arc<dyn Hooks>);
    let reader = Reader::options(STATE).vfs(Arc::new(disk)).open().unwrap();
    reader.state_at(lsn(5)).unwrap();
    hooks.0.store(true, Ordering::Relaxed);
    let error = reader.state_at(lsn(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Compacted, "{error:#}");
    assert!(format!("{error:#}").contains("removed meanwhile"), "{error:#}");
}

#[test]
fn reading_changes_no_byte_and_needs_no_right_to_write() {
    let known = known(false);
    let before = made::files(&known.disk);
    known.disk.set_read_only(true);
    let reader = reader(&known.disk);
    reader.files().unwrap();
    reader.state_at(lsn(7)).unwrap();
    assert_eq!(reader.log(..).unwrap().count(), 10);
    assert_eq!(reader.holder().unwrap().unwrap().is_held, None, "a simulated disk does not say");
    assert!(reader.quarantine().unwrap().is_empty());
    assert!(before == made::files(&known.disk), "reading changed a file");
    assert!(builder(&known.disk).on_damage(OnDamage::Refuse).open().is_err());
}

#[test]
fn a_repair_drops_nothing_that_a_program_with_higher_limits_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p2p-state.json");
    let mut limits = Limits::default();
    limits.addresses_per_peer = 4096;
    let open = || P2PStatePersistence::builder(&path).limits(limits).open().unwrap();
    let addresses: Vec<_> = (1..=1100).map(common::address).collect();
    let store = open();
    store.peer_seen(&peer(1), &addresses).unwrap().wait().unwrap();
    drop(store);
    assert_eq!(repair(&path).unwrap().skipped, 0);
    let kept = open().view().unwrap().peer(&peer(1)).unwrap().seen.clone().unwrap();
    assert_eq!(kept.addresses.iter().count(), 1100);
}
