//! `verify` must never promise more than is there, nor less: what it says of a store that was
//! damaged in any one place is held against the known history of the store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]
#![allow(clippy::cast_possible_truncation, clippy::print_stdout)]

#[path = "../../tests/common/mod.rs"]
mod common;
#[path = "common/mod.rs"]
mod fixture;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use common::made::{self, Frame, Known, STATE, frames, known, segments};
use fixture::Fixture;
use peer_journal::{Reader, testing::SimDisk, vfs::Vfs};
use peer_journal_cli::read::{
    health::Word,
    verify::{Verified, verify},
};

/// LSN of the newest snapshot of the known store.
const SNAPSHOT: u64 = 8;

fn look(disk: &SimDisk) -> Verified {
    let reader = Reader::options(STATE).vfs(Arc::new(disk.mount())).attempts(1).open().unwrap();
    verify(&reader, false).unwrap()
}

/// The record that a byte of a segment belongs to; seals belong to nobody.
fn record_at(frames: &[Frame], offset: usize) -> Option<u64> {
    let frame = frames.iter().find(|frame| (frame.start..frame.end).contains(&offset))?;
    (!frame.is_seal).then_some(frame.lsn)
}

/// All content, and every 61st of the zeros behind it.
fn offsets(bytes: &[u8]) -> impl Iterator<Item = usize> + use<> {
    let content = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    let len = bytes.len();
    (0..content).chain((content..len).step_by(61))
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

/// What the model says of one flipped byte.
struct Expected {
    lost: Vec<u64>,
    word: Word,
}

/// What was durable in the known store is known, so a flip can be judged without the tool.
fn expected(known: &Known, is_closed: bool, path: &Path, offset: usize) -> Expected {
    let paths = segments(&known.disk);
    if !paths.contains(&path.to_owned()) {
        // A snapshot: the other one and the journal hold everything, but it has to be told.
        return Expected { lost: Vec::new(), word: Word::Damaged };
    }
    let bytes = known.disk.read(path).unwrap();
    let frames = frames(&bytes);
    let newest = paths.last() == Some(&path.to_owned());
    let hit = record_at(&frames, offset);
    let last_record = frames.iter().rev().find(|frame| !frame.is_seal);
    let end = last_record.map_or(made::HEADER_BYTES, |frame| frame.end);
    if newest && offset >= end {
        // Behind everything that a record needs: it looks like a write that was cut off.
        return Expected { lost: Vec::new(), word: Word::Recoverable };
    }
    let is_last = hit == Some(known.last());
    if newest && !is_closed && is_last {
        // Nothing vouches for it yet.
        return Expected { lost: Vec::new(), word: Word::Recoverable };
    }
    let lost = hit.filter(|lsn| *lsn > SNAPSHOT).into_iter().collect();
    Expected { lost, word: Word::Damaged }
}

/// Every byte of the newest segment, and every `step`th of the others.
fn check_every_byte(is_closed: bool, step: usize) {
    let known = known(is_closed);
    assert_eq!(look(&known.disk).verdict, Word::Ok, "{:?}", look(&known.disk));
    let mut flips: Vec<(PathBuf, usize)> = Vec::new();
    let newest = segments(&known.disk).pop();
    for (path, bytes) in made::data_files(&known.disk) {
        let step = if newest.as_ref() == Some(&path) { 1 } else { step };
        flips.extend(offsets(&bytes).step_by(step).map(|offset| (path.clone(), offset)));
    }
    println!("{} flips", flips.len());
    assert!(flips.len() > 1000);
    let wrong = Mutex::new(Vec::new());
    in_two(&flips, |(path, offset)| {
        let disk = known.disk.fork();
        disk.flip_bit(path, (offset * 8 + offset % 8) as u64).unwrap();
        let told = look(&disk);
        let model = expected(&known, is_closed, path, *offset);
        let lost: Vec<u64> = told.lost.iter().flat_map(|range| range.first..=range.last).collect();
        let code = u8::from(told.verdict == Word::Damaged);
        if lost != model.lost || told.verdict != model.word || told.exit_code != code {
            let (model, lost) = (model.word, (model.lost, lost));
            let file = path.file_name().unwrap().to_string_lossy();
            wrong.lock().unwrap().push(format!(
                "byte {offset} of {file}: expected {model:?}, lost {lost:?}: {told:?}"
            ));
        }
    });
    let wrong = wrong.into_inner().unwrap();
    for line in &wrong {
        println!("{line:.300}");
    }
    assert!(wrong.is_empty(), "{} of {}: {}", wrong.len(), flips.len(), wrong[0]);
}

/// `PEER_JOURNAL_LONG=1` tries every offset, otherwise every so manieth is enough.
fn step(usual: usize) -> usize {
    if std::env::var_os("PEER_JOURNAL_LONG").is_some() { 1 } else { usual }
}

#[test]
fn verify_of_a_closed_store_damaged_at_any_byte_agrees_with_the_model() {
    check_every_byte(true, step(5));
}

/// The files of a running store, as a crash leaves them; only the newest segment is another one.
#[test]
fn verify_of_a_store_that_was_killed_agrees_with_the_model_at_any_byte() {
    check_every_byte(false, step(7));
}

/// Cuts each segment off at offsets `step` apart. What is missing from a sealed segment is called
/// lost, exactly; of the newest one nothing is promised that is not there, and nothing hidden.
fn check_every_cut(is_closed: bool, step: usize) {
    let known = known(is_closed);
    let paths = segments(&known.disk);
    let content = |path: &Path| known.disk.read(path).unwrap();
    let cuts: Vec<(&PathBuf, usize)> = paths
        .iter()
        .flat_map(|path| offsets(&content(path)).step_by(step).map(move |at| (path, at)))
        .collect();
    assert!(cuts.len() > 100);
    in_two(&cuts, |(path, at)| {
        let disk = known.disk.fork();
        disk.mount().open(path).unwrap().set_len(*at as u64).unwrap();
        let told = look(&disk);
        let place = format!("{} bytes of {}: {told:?}", at, path.display());
        let records = frames(&content(path)).into_iter().filter(|frame| !frame.is_seal);
        let is_cut = |frame: &Frame| frame.end > *at || *at < made::HEADER_BYTES;
        let gone: Vec<u64> =
            records.filter(is_cut).map(|frame| frame.lsn).filter(|lsn| *lsn > SNAPSHOT).collect();
        let lost: Vec<u64> = told.lost.iter().flat_map(|range| range.first..=range.last).collect();
        assert_eq!(told.exit_code, u8::from(told.verdict == Word::Damaged), "{place}");
        if paths.last() == Some(*path) {
            let missing: Vec<u64> = gone.iter().copied().filter(|lsn| *lsn <= told.lsn).collect();
            assert_eq!(lost, missing, "{place}");
            let whole = (SNAPSHOT + 1..=known.last()).filter(|lsn| !gone.contains(lsn));
            assert!(told.lsn >= whole.max().unwrap_or(SNAPSHOT), "{place}");
        } else {
            assert_eq!(lost, gone, "{place}");
            assert!(gone.is_empty() || told.verdict == Word::Damaged, "{place}");
            assert_eq!(told.lsn, known.last(), "{place}");
        }
    });
}

#[test]
fn verify_of_a_store_cut_off_at_any_byte_promises_no_more_than_is_there() {
    check_every_cut(true, step(11));
    check_every_cut(false, step(11));
}

/// Copies a simulated disk into a real folder, for the processes that know real files only.
fn pour(disk: &SimDisk, folder: &Path) -> PathBuf {
    for (path, bytes) in made::data_files(disk) {
        let real = folder.join(path.strip_prefix("/").unwrap());
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::write(real, bytes).unwrap();
    }
    folder.join(STATE.trim_start_matches('/'))
}

#[test]
fn the_command_says_and_exits_as_the_model_says() {
    let known = known(true);
    let newest = segments(&known.disk).pop().unwrap();
    let whole = known.disk.read(&newest).unwrap();
    let frame = frames(&whole).into_iter().rev().find(|frame| !frame.is_seal).unwrap();
    for (offset, code, word, lost) in [
        (frame.start + 21, 1, "DAMAGED", vec![frame.lsn]),
        (frame.end + 3, 0, "RECOVERABLE", vec![]),
        (10, 1, "DAMAGED", vec![]),
    ] {
        let disk = known.disk.fork();
        disk.flip_bit(&newest, offset as u64 * 8).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let state = pour(&disk, folder.path());
        let ran = fixture::run(&["verify", state.to_str().unwrap(), "--json"]);
        let told = ran.json();
        assert_eq!((ran.code, told["verdict"].as_str()), (code, Some(word)), "{}", ran.out);
        let firsts: Vec<u64> = told["lost"]
            .as_array()
            .unwrap()
            .iter()
            .map(|range| range["first"].as_u64().unwrap())
            .collect();
        assert_eq!(firsts, lost, "{}", ran.out);
        let strict = fixture::run(&["verify", state.to_str().unwrap(), "--strict"]);
        assert_eq!(strict.code, 1, "a torn tail too: {}", strict.out);
        assert!(strict.out.contains(word), "{}", strict.out);
    }
}

#[test]
fn exit_codes_tell_what_is_the_matter() {
    let verify = |path: &Path| fixture::run(&["verify", path.to_str().unwrap()]);
    let market = Fixture::market();
    assert_eq!(verify(&market.state_file).code, 0);
    assert_eq!(verify(market.folder.path()).code, 0, "named by its folder");
    assert_eq!(verify(&market.journal()).code, 0, "named by its journal");

    let lone = market.folder.path().join("copy.json");
    fs::copy(&market.state_file, &lone).unwrap();
    let ran = verify(&lone);
    assert_eq!(ran.code, 0, "a lone snapshot: {}{}", ran.out, ran.err);

    let nothing = verify(&market.folder.path().join("nothing.json"));
    assert_eq!(nothing.code, 2, "{}", nothing.err);
    assert!(nothing.err.contains("there is no store here"), "{}", nothing.err);

    let old = market.folder.path().join("old.json");
    let rows = peer_journal::P2PState { version: 1, ..Default::default() };
    fs::write(&old, serde_json::to_string_pretty(&rows).unwrap()).unwrap();
    let ran = verify(&old);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("old version") && ran.out.contains("migrates it"), "{}", ran.out);

    let broken = market.folder.path().join("broken.json");
    fs::write(&broken, "{ no snapshot").unwrap();
    let ran = verify(&broken);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("UNRECOVERABLE") && ran.out.contains("backup"), "{}", ran.out);
    let status = fixture::run(&["status", broken.to_str().unwrap()]);
    assert!(status.out.contains("unknown: nothing verifies"), "{}", status.out);

    let newer = market.folder.path().join("newer.json");
    fs::write(&newer, "{\"version\": 9}").unwrap();
    let ran = verify(&newer);
    assert_eq!((ran.code, ran.out.as_str()), (6, ""), "{}", ran.err);
    assert!(ran.err.contains("upgrade"), "{}", ran.err);

    // A file stands where the journal folder belongs: the system refuses to list it.
    fs::write(market.folder.path().join("file.journal"), "").unwrap();
    let ran = verify(&market.folder.path().join("file.json"));
    assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{}", ran.err);
}

/// Each label of the recovery table has its place in the output, with the page that explains it.
#[test]
fn findings_name_the_page_that_explains_them() {
    let market = Fixture::market();
    fixture::break_record(market.folder.path(), 15);
    let told = market.run(&["verify", "--json"]).json();
    let help = told["findings"][0]["help"].as_str().unwrap();
    assert_eq!(help, "docs/troubleshooting.md#broken-record");
    let out = market.run(&["verify"]).out;
    assert!(out.contains(help), "{out}");
    let noted = market.run(&["peers"]);
    assert_eq!(noted.code, 0);
    assert!(noted.err.contains("peer-journal verify"), "{}", noted.err);
}
