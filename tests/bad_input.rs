//! Everything that can be wrong with the files and the disk before a store is opened, and while it
//! runs.
//!
//! Operators put folders where files belong, disks fill up, files are restored from the wrong
//! backup. Each case must end in one clear error or in a reported salvage, and in neither may a
//! byte be lost: what the store cannot use is found in the quarantine. The failure guarded against
//! is a node that panics, hangs, or starts empty and overwrites what somebody could have rescued.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use common::made;

use std::{fs, io, path::Path};

use common::made::{JOURNAL, STATE, known, look, segments};
use peer_journal::{
    Error, ErrorKind, OnDamage, Outcome, P2PStatePersistence, RecoveryReport, Verdict,
    testing::{Fault, Op, SimDisk},
};

fn refused(disk: &SimDisk) -> Error {
    made::builder(disk).open().map(drop).expect_err("this store cannot be opened")
}

fn verdicts(report: &RecoveryReport) -> Vec<Verdict> {
    report.findings.iter().map(|finding| finding.verdict).collect()
}

/// Refused under `Refuse` with nothing altered; salvaged otherwise, with the bytes in quarantine.
fn salvaged(disk: &SimDisk, bytes: &[u8], label: Verdict) -> (made::Picture, RecoveryReport) {
    let before = made::data_files(disk);
    let error = made::builder(disk).on_damage(OnDamage::Refuse).open().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(label.as_str()), "{label}: {error}");
    assert!(before == made::data_files(disk), "a refusal altered a file");
    let (state, report) = look(disk);
    assert_eq!(report.outcome, Outcome::Salvaged, "{report}");
    assert!(verdicts(&report).contains(&label), "{label}\n{report}");
    assert!(
        made::quarantined(disk).iter().any(|kept| kept == bytes),
        "the bytes are gone\n{report}"
    );
    (state, report)
}

#[tokio::test]
async fn a_folder_in_place_of_the_state_file_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    fs::create_dir(&path).unwrap();
    let error = P2PStatePersistence::open(&path).map(drop).unwrap_err();
    println!("{error:#}");
    assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(path.as_path())));
    let store = P2PStatePersistence::new_with_path(path.clone()).unwrap();
    let error = store.load_state().await.unwrap_err().to_string();
    assert!(error.contains(&*path.to_string_lossy()), "{error}");
    store.save_state().await.unwrap_err();
    assert!(path.is_dir());
}

#[test]
fn a_path_without_a_file_name_or_through_a_file_is_one_clear_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), b"text").unwrap();
    for path in [folder.path().join(".."), "/".into(), "".into()] {
        let error = P2PStatePersistence::open(&path).map(drop).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{}: {error:#}", path.display());
    }
    let error = P2PStatePersistence::open(folder.path().join("file/state.json")).map(drop);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error:#}");
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"text");
}

/// A file in the place of the journal folder, and a folder with a segment's name inside it.
#[test]
fn odd_things_in_the_place_of_the_journal_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    let journal = folder.path().join("p2p-state.journal");
    fs::write(&journal, b"mine").unwrap();
    let error = P2PStatePersistence::open(&path).map(drop).unwrap_err();
    println!("{error:#}");
    assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(journal.as_path())));
    assert_eq!(fs::read(&journal).unwrap(), b"mine");
    fs::remove_file(&journal).unwrap();
    let odd = journal.join("0000000007-00000000000000000001.wal");
    fs::create_dir_all(&odd).unwrap();
    let store = P2PStatePersistence::open(&path).unwrap();
    store.dht_put("key", b"value").unwrap();
    drop(store);
    let store = P2PStatePersistence::open(&path).unwrap();
    assert!(store.view().unwrap().state().dht_entry("key").is_some());
    assert!(odd.is_dir());
}

/// Root may read everything, so the simulated disk says what the system would say to others.
#[test]
fn no_permission_is_an_error_with_the_path_and_what_to_do() {
    let calls = [
        (Op::CreateDir, "p2p-state.journal", "p2p-state.journal"),
        (Op::Lock, "LOCK", "LOCK"),
        (Op::List, JOURNAL, "p2p-state.journal"),
        (Op::Open, STATE, "p2p-state.json"),
        (Op::Read, STATE, "p2p-state.json"),
        (Op::Create, "segment", "segment"),
    ];
    for (op, path, named) in calls {
        let disk = if op == Op::CreateDir { SimDisk::new(1) } else { known(true).disk };
        let before = made::data_files(&disk);
        disk.fail(Fault::new(op).path(path).error(io::ErrorKind::PermissionDenied).forever());
        let error = refused(&disk);
        println!("{error:#}");
        assert_eq!(error.kind(), ErrorKind::Io, "{op}: {error:#}");
        assert_eq!(error.io_kind(), Some(io::ErrorKind::PermissionDenied), "{op}: {error:#}");
        assert!(error.path().unwrap().to_string_lossy().contains(named), "{op}: {error:#}");
        assert!(error.to_string().contains("permission"), "{op}: {error:#}");
        disk.clear_faults();
        assert!(before == made::data_files(&disk), "{op}: a file was altered");
    }
}

/// The same with a real file system, where that says anything.
#[cfg(unix)]
#[tokio::test]
async fn a_folder_without_write_permission_can_still_be_loaded_from() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    let store = P2PStatePersistence::open(&path).unwrap();
    store.dht_put("key", b"value").unwrap();
    drop(store);
    let journal = folder.path().join("p2p-state.journal");
    let set = |mode: u32| {
        for entry in fs::read_dir(&journal).unwrap() {
            let path = entry.unwrap().path();
            fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o444)).unwrap();
        }
        fs::set_permissions(&journal, fs::Permissions::from_mode(mode)).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    };
    set(0o555);
    if fs::write(folder.path().join("probe"), b"").is_ok() {
        println!("skipped: this user (root?) may write without permission");
        set(0o755);
        return;
    }
    let store = P2PStatePersistence::new_with_path(path).unwrap();
    let loaded = store.load_state().await;
    let saved = store.save_state().await;
    set(0o755);
    assert_eq!(loaded.unwrap().dht_entries.len(), 1);
    assert!(saved.unwrap_err().to_string().contains("permission"));
}

#[test]
fn a_read_only_disk_is_one_clear_error_and_opens_again_once_it_is_writable() {
    let known = known(false);
    let before = made::files(&known.disk);
    known.disk.set_read_only(true);
    let error = refused(&known.disk);
    println!("{error:#}");
    assert_eq!(error.io_kind(), Some(io::ErrorKind::ReadOnlyFilesystem), "{error:#}");
    assert!(error.to_string().contains("mount the file system for writing"), "{error}");
    assert!(before == made::files(&known.disk));
    known.disk.set_read_only(false);
    assert_eq!(look(&known.disk).0, known.full());
}

/// The disk turns read-only under a running store: nothing that was appended is lost when it is
/// back.
#[tokio::test]
async fn a_disk_that_turns_read_only_and_back_loses_nothing() {
    let disk = SimDisk::new(4);
    let store = made::builder(&disk).open().unwrap();
    store.dht_put("before", b"1").unwrap().await.unwrap();
    disk.set_read_only(true);
    let ack = store.dht_put("meanwhile", b"2").unwrap();
    let error = ack.await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Degraded, "{error:#}");
    assert!(store.status().unwrap().degraded.is_some());
    assert!(store.view().unwrap().state().dht_entry("meanwhile").is_some());
    assert!(store.compact().await.is_err());
    disk.set_read_only(false);
    let ack = store.dht_put("after", b"3").unwrap();
    durable(&store, ack.lsn()).await;
    assert!(store.status().unwrap().degraded.is_none());
    let (state, report) = look(&disk.fork());
    assert_eq!(state.rows.dht_entries.len(), 3, "{report}");
    assert!(report.lost.is_empty(), "{report}");
}

/// Waits until the store has caught up with the disk.
async fn durable(store: &P2PStatePersistence, lsn: peer_journal::Lsn) {
    for _ in 0..2000 {
        if store.durable_through().unwrap() >= lsn {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("lsn {lsn} did not become durable: {:?}", store.status().unwrap());
}

fn used(disk: &SimDisk) -> u64 {
    disk.files().iter().map(|(_, len)| len).sum()
}

#[test]
fn a_full_disk_at_opening_is_one_clear_error_and_costs_nothing() {
    let known = known(true);
    let before = made::data_files(&known.disk);
    for room in [0, 50, 2000, 4000] {
        let disk = known.disk.fork();
        disk.set_capacity(Some(used(&disk) + room));
        let error = refused(&disk);
        println!("{error:#}");
        assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull), "{error:#}");
        assert!(error.to_string().contains("free some space"), "{error}");
        disk.set_capacity(None);
        assert!(
            before == made::data_files(&disk),
            "room {room}: a file was altered or left behind"
        );
        assert_eq!(look(&disk).0, known.full(), "room {room}");
    }
}

#[tokio::test]
async fn a_full_disk_under_a_running_store_loses_nothing_once_space_is_freed() {
    let disk = SimDisk::new(9);
    let store = made::builder(&disk).max_unsynced_bytes(20_000).open().unwrap();
    store.dht_put("first", b"1").unwrap().await.unwrap();
    disk.set_capacity(Some(used(&disk)));
    let (mut appended, mut errors) = (1, 0);
    let full = loop {
        match store.dht_put(&format!("key {appended}"), &[7; 500]) {
            Ok(ack) => {
                appended += 1;
                match ack.await {
                    Err(error) if error.kind() == ErrorKind::Degraded => errors += 1,
                    Err(error) => panic!("{error:#}"),
                    Ok(_) => {}
                }
            }
            Err(error) => break error,
        }
        assert!(appended < 1000, "back-pressure never came");
    };
    println!("{appended} appended, {errors} acks failed, then: {full:#}");
    assert_eq!(full.kind(), ErrorKind::Full, "{full:#}");
    assert!(errors > 0, "an ack says that it is not durable");
    assert_eq!(
        store.status().unwrap().degraded.and_then(|error| error.io_kind()),
        Some(io::ErrorKind::StorageFull)
    );
    assert!(store.compact().await.is_err());
    disk.set_capacity(None);
    durable(&store, store.view().unwrap().lsn()).await;
    let killed = disk.fork();
    store.compact().await.unwrap();
    drop(store);
    for disk in [killed, disk] {
        let (state, report) = look(&disk);
        assert_eq!(state.rows.dht_entries.len(), appended, "{report}");
        assert!(report.lost.is_empty() && !report.is_damaged(), "{report}");
    }
}

/// Closing while the disk is full cannot save what is not durable, and says so instead of hanging.
#[tokio::test]
async fn a_close_on_a_full_disk_ends_with_an_error() {
    let disk = SimDisk::new(9);
    let store = made::builder(&disk).open().unwrap();
    store.dht_put("first", b"1").unwrap().await.unwrap();
    disk.set_capacity(Some(used(&disk)));
    for number in 0..20 {
        store.dht_put(&format!("key {number}"), &[7; 500]).unwrap();
    }
    let error = store.close().await.unwrap_err();
    println!("{error:#}");
    assert_eq!(error.io_kind(), Some(io::ErrorKind::StorageFull), "{error:#}");
    disk.set_capacity(None);
    let (state, report) = look(&disk);
    assert!(!state.rows.dht_entries.is_empty() && report.lost.is_empty(), "{report}");
}

/// Files with nothing of ours in them, in the place of the newest snapshot.
#[test]
fn rubbish_in_place_of_the_snapshot_falls_back_and_is_kept() {
    let known = known(true);
    let mut deep = b"{\"version\": 2, \"peers\": ".to_vec();
    deep.extend(vec![b'['; 10_000]);
    let mut closed = deep.clone();
    closed.extend(vec![b']'; 10_000]);
    closed.extend(b"}");
    let whole = known.disk.read(STATE).unwrap();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("zeros", vec![0; 5000]),
        ("deep", deep),
        ("deep and closed", closed),
        ("half", whole[..whole.len() / 2].to_vec()),
        ("not UTF-8", vec![0xff; 100]),
        ("another document", b"[1, 2, 3]".to_vec()),
        ("version 0", b"{\"version\": 0}".to_vec()),
        ("twice", [whole.as_slice(), &whole].concat()),
    ];
    for (what, bytes) in cases {
        let disk = known.disk.fork();
        disk.write(STATE, bytes.clone()).unwrap();
        let (state, report) = salvaged(&disk, &bytes, Verdict::BrokenSnapshot);
        assert_eq!(state, known.full(), "{what}\n{report}");
        assert!(verdicts(&report).contains(&Verdict::StaleSnapshot), "{what}\n{report}");
        assert!(report.lost.is_empty(), "{what}\n{report}");
    }
}

/// There is no journal and no fallback: the node starts, and the rubbish is kept for a person.
#[test]
fn rubbish_without_any_journal_starts_an_empty_store_and_is_kept() {
    for bytes in [Vec::new(), vec![0; 5000], b"{\"peers\": [".to_vec()] {
        let disk = SimDisk::new(2);
        disk.write(STATE, bytes.clone()).unwrap();
        let (state, report) = salvaged(&disk, &bytes, Verdict::BrokenSnapshot);
        assert!(state.rows.peers.is_empty(), "{report}");
        let (_, report) = look(&disk);
        assert_ne!(report.outcome, Outcome::Salvaged, "the second opening is clean\n{report}");
    }
}

/// An edit by hand that nobody sealed is told as such, and the edited file is kept.
#[test]
fn an_edited_snapshot_that_was_not_sealed_is_reported_and_kept() {
    let known = known(true);
    let text = String::from_utf8(known.disk.read(STATE).unwrap()).unwrap();
    let edited = text.replace("bootstrap.libp2p.io", "bootstrap.libp2p.me").into_bytes();
    let disk = known.disk.fork();
    disk.write(STATE, edited.clone()).unwrap();
    let (state, report) = salvaged(&disk, &edited, Verdict::UnsealedSnapshot);
    assert_eq!(state, known.full(), "{report}");
    assert!(report.to_string().contains("peer-journal seal"), "{report}");
}

#[test]
fn a_segment_of_zeros_is_damage_with_its_numbers_and_is_kept() {
    let known = known(true);
    for path in segments(&known.disk) {
        let disk = known.disk.fork();
        let zeros = vec![0; 4096];
        disk.write(&path, zeros.clone()).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let first: u64 = name.split_once('-').unwrap().1.parse().unwrap();
        if first <= 8 {
            continue; // the snapshot has all that it held: nothing to tell
        }
        let (state, report) = salvaged(&disk, &zeros, Verdict::BadHeader);
        assert_eq!(state, known.claimed(&report), "{report}");
        let newest = Some(&path) == segments(&known.disk).last();
        assert!(newest || report.lost.iter().any(|lost| lost.first.get() == first), "{report}");
    }
}

/// A length that would take a gigabyte is bounded by the file before anything is allocated.
#[test]
fn a_record_that_claims_a_huge_length_is_skipped_and_the_next_one_is_found() {
    let known = known(true);
    let path = segments(&known.disk).pop().unwrap();
    let frames = made::frames(&known.disk.read(&path).unwrap());
    let frame = frames[0];
    // 1 GB where a length of 32 bits would be; and the largest that 24 bits can say.
    for huge in [0x4000_0000_u32, 0x01ff_ffff, 0x7fff_ffff] {
        let disk = known.disk.fork();
        disk.corrupt(&path, frame.start as u64 + 4, &huge.to_le_bytes()).unwrap();
        let bytes = disk.read(&path).unwrap()[frame.start..frame.end].to_vec();
        let (state, report) = salvaged(&disk, &bytes, Verdict::BrokenRecord);
        assert_eq!(report.lost_records(), 1, "{report}");
        assert_eq!(report.lost[0].first.get(), frame.lsn, "{report}");
        assert_eq!(state, known.claimed(&report), "{report}");
    }
}

#[test]
fn a_locked_store_names_its_holder() {
    let disk = SimDisk::new(1);
    let store = made::builder(&disk).open().unwrap();
    let error = refused(&disk);
    println!("{error:#}");
    assert!(error.is_locked(), "{error:#}");
    assert!(error.to_string().contains(&format!("pid={}", std::process::id())), "{error}");
    assert!(error.to_string().contains("host="), "{error}");
    drop(store);
    made::builder(&disk).open().unwrap();
    // Whatever somebody writes into the file reaches a terminal escaped.
    let store = made::builder(&disk).open().unwrap();
    disk.write(Path::new(JOURNAL).join("LOCK"), b"\x1b[2J\xff".to_vec()).unwrap();
    let text = refused(&disk).to_string();
    assert!(!text.contains('\u{1b}'), "{text:?}");
    drop(store);
}

/// Sound files of a newer version: a refusal under both policies, and not a byte altered.
#[test]
fn a_newer_store_is_refused_and_nothing_is_altered() {
    let known = known(false);
    let mut header = known.disk.read(segments(&known.disk).pop().unwrap()).unwrap();
    header[8] = 2;
    let crc = crc32fast_of(&[&header[..12], &header[16..96]].concat());
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    let newer_segment = known.disk.fork();
    newer_segment.write(segments(&known.disk).pop().unwrap(), header).unwrap();
    let newer_snapshot = known.disk.fork();
    newer_snapshot.write(STATE, b"{\"version\": 3, \"rows\": {}}".to_vec()).unwrap();
    let newer_fallback = known.disk.fork();
    newer_fallback.write(STATE, Vec::new()).unwrap();
    let fallback = made::fallbacks(&known.disk).remove(0);
    newer_fallback.write(&fallback, b"{\"version\": 3, \"rows\": {}}".to_vec()).unwrap();
    for (disk, version) in [(newer_segment, 2), (newer_snapshot, 3), (newer_fallback, 3)] {
        let before = made::data_files(&disk);
        for policy in [OnDamage::Salvage, OnDamage::Refuse] {
            let error = made::builder(&disk).on_damage(policy).open().map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NewerVersion, "{error:#}");
            assert!(error.to_string().contains(&format!("version={version}")), "{error}");
            assert!(error.to_string().contains("upgrade"), "{error}");
            assert!(before == made::data_files(&disk), "a file was altered: {error}");
        }
    }
}

/// CRC-32 (IEEE), bit by bit: the test's own, so that it checks the library's.
fn crc32fast_of(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// Another store with its own snapshot and `count` segments.
fn stranger(count: u64) -> SimDisk {
    let disk = SimDisk::new(77);
    for number in 0..count {
        let store = made::builder(&disk).open().unwrap();
        store.dht_put(&format!("stranger {number}"), b"not ours").unwrap().wait().unwrap();
        if number + 1 == count {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(store.compact()).unwrap();
        }
    }
    disk
}

#[test]
fn the_snapshot_of_another_store_is_set_aside_and_the_own_state_stays() {
    let known = known(true);
    let bytes = stranger(1).read(STATE).unwrap();
    known.disk.write(STATE, bytes.clone()).unwrap();
    let (state, report) = salvaged(&known.disk, &bytes, Verdict::Foreign);
    assert_eq!(state, known.full(), "{report}");
    assert!(report.lost.is_empty(), "{report}");
}

/// Segments of another store, as many as there are or more, never outvote the store itself.
#[test]
fn segments_of_another_store_are_set_aside_however_many_there_are() {
    for count in 1..=6 {
        let known = known(true);
        let other = stranger(count);
        let mut copied = Vec::new();
        for path in segments(&other) {
            let bytes = other.read(&path).unwrap();
            if known.disk.read(&path).is_ok() {
                continue; // the name is taken: a copy would replace our own
            }
            known.disk.write(&path, bytes.clone()).unwrap();
            copied.push(bytes);
        }
        println!("{count}: {} copied beside {}", copied.len(), segments(&known.disk).len());
        let (state, report) = salvaged(&known.disk, &copied[0], Verdict::Foreign);
        assert_eq!(state, known.full(), "{count} segments\n{report}");
        assert!(report.lost.is_empty(), "{report}");
        let kept = made::quarantined(&known.disk);
        assert!(copied.iter().all(|bytes| kept.contains(bytes)), "{report}");
    }
}

/// The smallest store: one segment of its own and a snapshot, against one stranger with a lower
/// name.
#[test]
fn one_segment_of_another_store_does_not_outvote_a_store_with_one_segment() {
    let disk = SimDisk::new(8);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for number in 0..4_u64 {
        let store = made::builder(&disk).open().unwrap();
        store.dht_put("own", &number.to_le_bytes()).unwrap().wait().unwrap();
        runtime.block_on(store.compact()).unwrap();
    }
    while segments(&disk).len() > 1 {
        disk.erase(segments(&disk).remove(0)).unwrap();
    }
    let own = look(&disk.fork()).0;
    let other = stranger(1);
    let path = segments(&other).remove(0);
    let bytes = other.read(&path).unwrap();
    disk.write(&path, bytes.clone()).unwrap();
    assert_eq!(segments(&disk).len(), 2);
    let (state, report) = salvaged(&disk, &bytes, Verdict::Foreign);
    assert_eq!(state, own, "{report}");
}
