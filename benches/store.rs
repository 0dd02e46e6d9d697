//! What opening, saving and holding a store costs: `cargo bench --bench store`.
//!
//! Each figure is the median of several runs on a fresh store in the system's temporary folder
//! (`TMPDIR` chooses another disk).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss
)]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use peer_journal::{Change, P2PStatePersistence, PeerId, state::Address};

const RUNS: usize = 11;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("{:<44}{:>12}{:>12}{:>12}", "", "min", "median", "max");
    for peers in [1_000, 100_000] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p2p-state.json");
        fill(&path, 0..peers);
        report(&format!("open {peers} peers, all in the journal"), || time(|| drop(open(&path))));
        runtime.block_on(open(&path).compact()).unwrap();
        report(&format!("open {peers} peers from the snapshot"), || {
            let started = Instant::now();
            let store = open(&path);
            let took = started.elapsed();
            drop(store);
            took
        });
        let store = open(&path);
        let mut number = 0;
        report(&format!("save {peers} peers after one change"), || {
            number += 1;
            store.retrieval_succeeded(&peer(number), Duration::from_millis(9)).unwrap();
            time(|| assert!(runtime.block_on(store.compact()).is_ok()))
        });
    }
    memory_per_peer();
}

fn open(path: &Path) -> P2PStatePersistence {
    P2PStatePersistence::open(path).unwrap()
}

fn time(work: impl FnOnce()) -> Duration {
    let started = Instant::now();
    work();
    started.elapsed()
}

fn report(what: &str, mut run: impl FnMut() -> Duration) {
    let mut times: Vec<Duration> = (0..RUNS).map(|_| run()).collect();
    times.sort_unstable();
    let [min, median, max] = [0, RUNS / 2, RUNS - 1].map(|at| times.get(at).copied().unwrap());
    let show = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1000.0);
    println!("{what:<44}{:>12}{:>12}{:>12}", show(min), show(median), show(max));
}

/// Appends one peer with three addresses and a reputation for each number.
fn fill(path: &Path, numbers: std::ops::Range<u64>) {
    let store = open(path);
    let now = chrono::Utc::now();
    for number in numbers {
        let addresses = (0..3).map(|host| {
            let [_, _, _, _, _, a, b, c] = number.to_be_bytes();
            Address::from_text(&format!("/ip4/10.{a}.{b}.{c}/tcp/{}", 4001 + host))
        });
        let seen = Change::PeerSeen {
            peer: peer(number).into(),
            at: now.into(),
            addresses: addresses.collect(),
        };
        let answered = Change::RetrievalSucceeded {
            peer: peer(number).into(),
            at: now.into(),
            response_ms: 40,
        };
        store.append_batch([seen, answered]).unwrap();
    }
}

/// A counting allocator would need unsafe code, so this measures what the process holds: the growth
/// of its resident memory while states of known size are added one by one.
fn memory_per_peer() {
    const PEERS: u64 = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p2p-state.json");
    fill(&path, 0..PEERS);
    let mut held = Vec::new();
    let mut grown = Vec::new();
    for _ in 0..6 {
        let before = resident_bytes();
        held.push(open(&path).view().unwrap());
        grown.push(resident_bytes().saturating_sub(before) / PEERS);
    }
    // The first ones also grow the allocator's pools for the journal's bytes.
    let last = grown.split_off(2);
    println!("resident bytes per peer with three addresses and a reputation: {last:?}");
}

/// Resident memory of this process, from Linux's own account; 0 elsewhere.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

fn peer(number: u64) -> PeerId {
    let mut bytes = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    for part in 1..=4_u32 {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(part * 11);
        bytes.extend_from_slice(&mixed.wrapping_mul(u64::from(part)).to_be_bytes());
    }
    PeerId::from_bytes(&bytes).unwrap()
}
