//! Any bytes in the place of segments, headers, snapshots and whole stores, and any operations.
//!
//! Guards against a parser that panics, hangs, allocates what a length on disk asks for, accepts
//! what it would not write, or alters what it only reads; and against a recovery that finds
//! something else the second time. The bodies are in `src/testing/fuzz`; `fuzz/run.sh` runs the
//! same ones for long and with coverage guidance, and what it finds joins `fuzz/corpus`. Here the
//! inputs are those of the corpus and mutations of them. `FUZZ_SEED` and `FUZZ_CASES` change which
//! and how many.
#![allow(clippy::print_stdout)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use common::made;
use peak_alloc::PeakAlloc;
use peer_journal::testing::{
    SimDisk,
    fuzz::{TARGETS, Target, operations, pack, recover, unpack},
};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner},
};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;
/// One input at a time, or one test's memory would count as another's.
static ALONE: Mutex<()> = Mutex::new(());

/// Most memory that an input may take beyond what was in use: so much, and so much for each byte.
const BYTES_MAX: usize = 8 << 20;
const BYTES_MAX_PER_BYTE: usize = 400;

fn corpus_of(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = corpus_of(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut inputs: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect();
    inputs.sort();
    inputs
}

fn target(name: &str) -> Target {
    TARGETS.iter().find(|(known, _)| *known == name).expect("a target of this name").1
}

/// Runs one input under the cap on memory.
fn check(target: Target, input: &[u8]) -> Result<u64, String> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let accepted = target(input)?;
    let taken = MEMORY.peak_usage().saturating_sub(before);
    let most = BYTES_MAX + BYTES_MAX_PER_BYTE * input.len();
    if taken > most {
        return Err(format!("{taken} bytes of memory for an input of {}", input.len()));
    }
    Ok(accepted)
}

#[test]
fn the_corpus_passes() {
    for (name, target) in TARGETS {
        let inputs = corpus(name);
        assert!(inputs.len() >= 3, "{name} has {} inputs", inputs.len());
        let mut accepted = 0;
        for (path, input) in &inputs {
            let result = check(target, input);
            accepted += result.unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        }
        println!("{name}: {} inputs, {accepted} accepted", inputs.len());
        assert!(accepted > 0, "{name}: no input gets past a checksum");
    }
}

/// How an input of the corpus is changed.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Remove(Index, u8),
    Copy(Index, Index, u8),
    Insert(Index, Vec<u8>),
}

impl Edit {
    fn any() -> impl Strategy<Value = Self> {
        let at = any::<Index>;
        prop_oneof![
            6 => (at(), any::<u8>()).prop_map(|(at, byte)| Self::Set(at, byte)),
            6 => (at(), 0..8_u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            1 => at().prop_map(Self::Cut),
            2 => (at(), any::<u8>()).prop_map(|(at, len)| Self::Remove(at, len)),
            3 => (at(), at(), any::<u8>()).prop_map(|(from, to, len)| Self::Copy(from, to, len)),
            2 => (at(), vec(any::<u8>(), 1..12)).prop_map(|(at, new)| Self::Insert(at, new)),
        ]
    }

    fn make(&self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let len = bytes.len();
        match self {
            Self::Set(at, byte) => *at.get_mut(bytes) = *byte,
            Self::Flip(at, bit) => *at.get_mut(bytes) ^= 1 << bit,
            Self::Cut(at) => bytes.truncate(at.index(len)),
            Self::Remove(at, count) => {
                let start = at.index(len);
                bytes.drain(start..len.min(start + usize::from(*count)));
            }
            Self::Copy(from, to, count) => {
                let start = from.index(len);
                let piece = bytes[start..len.min(start + usize::from(*count))].to_vec();
                let to = to.index(len);
                bytes.splice(to..to, piece);
            }
            Self::Insert(at, new) => {
                let at = at.index(len);
                bytes.splice(at..at, new.iter().copied());
            }
        }
    }
}

/// Runs mutations of the corpus. All but an eighth have their checksums renewed.
fn mutate(name: &str, cases: u32) {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("FUZZ_SEED").unwrap_or(1);
    let cases = number("FUZZ_CASES").map_or(cases, |cases| u32::try_from(cases).unwrap());
    let mut seeds = [0; 32];
    seeds[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &seeds);
    let (inputs, target) = (corpus(name), target(name));
    let (mut total, mut passed) = (0_u64, 0_u64);
    let strategy = (any::<Index>(), 0..8_u8, vec(Edit::any(), 0..6));
    let result = {
        let totals = Mutex::new((&mut total, &mut passed));
        TestRunner::new_with_rng(config, random).run(&strategy, |(which, mode, edits)| {
            let mut input = which.get(&inputs).1.clone();
            edits.iter().for_each(|edit| edit.make(&mut input));
            if let Some(first) = input.first_mut() {
                *first = if mode == 0 { 0 } else { 1 | (mode & 2) };
            }
            let accepted = check(target, &input).map_err(TestCaseError::fail)?;
            let mut totals = totals.lock().unwrap();
            *totals.0 += 1;
            *totals.1 += u64::from(accepted > 0);
            Ok(())
        })
    };
    if let Err(error) = result {
        panic!("{name}, FUZZ_SEED={seed}: {error}");
    }
    println!("{name}: FUZZ_SEED={seed}, {total} inputs, {passed} got past the checksums");
    assert!(passed * 8 > total, "{name}: only {passed} of {total} got past the checksums");
}

#[test]
fn any_bytes_may_stand_in_a_segment() {
    mutate("scan_segment", 3000);
}

#[test]
fn any_bytes_may_stand_in_a_segment_header() {
    mutate("read_header", 3000);
}

#[test]
fn any_bytes_may_stand_in_a_snapshot() {
    mutate("read_snapshot", 1500);
}

#[test]
fn any_files_may_stand_in_the_folder() {
    mutate("recover", 600);
}

#[test]
fn any_operations_keep_what_was_promised() {
    mutate("operations", 300);
}

/// The files of a store, where the fuzz targets keep theirs.
fn packable(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let moved = |path: PathBuf| Path::new("/node").join(path.strip_prefix("/data").unwrap());
    made::data_files(disk).into_iter().map(|(path, bytes)| (moved(path), bytes)).collect()
}

/// The cap itself can be broken.
#[test]
fn an_input_that_takes_too_much_memory_is_caught() {
    fn greedy(input: &[u8]) -> Result<u64, String> {
        Ok(vec![1_u8; BYTES_MAX + BYTES_MAX_PER_BYTE * input.len() + 1].len() as u64)
    }
    assert!(check(greedy, b"input").unwrap_err().contains("bytes of memory"));
    assert!(recover(b"").is_ok() && operations(b"").is_ok());
}

#[test]
fn a_packed_store_is_unpacked_again() {
    let files = packable(&made::known(true).disk);
    assert!(files.len() >= 3);
    assert_eq!(unpack(&pack(1, &files)), files);
}

/// Writes the hand-made part of the corpus; the fuzzer adds the rest. Run it when the format grows:
/// `cargo test --test fuzz -- --ignored`. Store ids are random, so the bytes differ each time.
#[test]
#[ignore = "it writes into the repository"]
fn write_the_seeds() {
    let save = |target: &str, name: &str, bytes: &[u8]| {
        fs::create_dir_all(corpus_of(target)).unwrap();
        fs::write(corpus_of(target).join(format!("seed-{name}")), bytes).unwrap();
    };
    let stores = [("closed", made::known(true).disk), ("crashed", made::known(false).disk)];
    let golden = SimDisk::new(1);
    for name in [
        "p2p-state.json",
        "p2p-state.journal/0000000001-00000000000000000001.wal",
        "p2p-state.journal/0000000002-00000000000000000032.wal",
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(name);
        golden.write(Path::new("/data").join(name), fs::read(path).unwrap()).unwrap();
    }
    for (name, disk) in stores.into_iter().chain([("golden", golden)]) {
        let files = packable(&disk);
        save("recover", name, &pack(1, &files));
        for (index, (path, bytes)) in files.iter().enumerate() {
            let with_mode = |bytes: &[u8]| [&[3], bytes].concat();
            if path.extension().is_some_and(|extension| extension == "wal") {
                let end = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 9;
                let content = &bytes[..end.min(bytes.len())];
                let records = &content[made::HEADER_BYTES..];
                save("read_header", &format!("{name}-{index}"), &with_mode(&content[..96]));
                save("scan_segment", &format!("{name}-{index}"), &with_mode(records));
                save("recover", &format!("{name}-only-{index}"), &pack(1, &files[index..=index]));
            } else {
                save("read_snapshot", &format!("{name}-{index}"), &with_mode(bytes));
            }
        }
    }
    let version_1 = br#"{"version": 1, "peers": [], "reputation": [], "dht_entries": [{"key": "k",
        "value": [1, 2], "stored_at": "2026-03-01T12:00:00Z"}], "package_cache": [],
        "bootstrap_nodes": ["/dns4/a"], "saved_at": "2026-03-01T12:00:00Z"}"#;
    save("read_snapshot", "version-1", &[&[1], version_1.as_slice()].concat());
    let path = PathBuf::from("/node/p2p-state.json");
    save("recover", "version-1", &pack(1, &[(path, version_1.to_vec())]));
    let mut random = peer_journal::testing::Prng::new(1);
    for number in 0..6 {
        let mut bytes = vec![0; 120];
        random.fill(&mut bytes);
        save("operations", &number.to_string(), &bytes);
    }
}
