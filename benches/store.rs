//! What each call of a store costs: `cargo bench --bench store`.
//!
//! Every store lies in the system's temporary folder; `TMPDIR` chooses another disk. Beside other
//! stores, and against the bare disk: `benches/peers`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    missing_docs
)]

use std::{
    cell::Cell,
    hint::black_box,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use criterion::{Criterion, Throughput, criterion_group};
use peer_journal::{
    Change, ErrorKind, P2PStatePersistence, PeerId, inspect,
    state::{Address, PeerKey},
};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const PEERS: u64 = 100_000;
const RECORDS: u64 = 200_000;

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = appends, durable, relaxed, views, journal, snapshots, opening, compaction
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
    memory_per_peer();
}

/// Encode, apply and queue, at 100,000 peers.
fn appends(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append");
    group.throughput(Throughput::Elements(1));
    let (_dir, store) = filled(PEERS);
    let number = Cell::new(0);
    let next = || number.replace(number.get() + 1);
    group.bench_function("reputation", |bencher| {
        bencher.iter(|| append(&store, succeeded(next())));
    });
    group.bench_function("peer_seen", |bencher| {
        bencher.iter(|| append(&store, seen(next() % PEERS, at(next()), 1)));
    });
    group.bench_function("unchanged", |bencher| {
        let change = seen(1, at(u64::from(u32::MAX)), 3);
        append(&store, change.clone());
        bencher.iter(|| append(&store, change.clone()));
    });
}

/// A change that is waited for: one after the other, and from many tasks at once.
fn durable(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("durable append");
    group.throughput(Throughput::Elements(1));
    let (_dir, store) = filled(PEERS);
    let runtime = Runtime::new().unwrap();
    for tasks in [1, 64, 1024] {
        group.bench_function(format!("{tasks} waiters"), |bencher| {
            bencher.iter_custom(|times| {
                let each = times.div_ceil(tasks);
                let started = Instant::now();
                let running: Vec<_> = (0..tasks)
                    .map(|task| {
                        let store = store.clone();
                        runtime.spawn(async move {
                            for turn in 0..each {
                                let change = succeeded(task * 101 + turn);
                                store.append(change).unwrap().await.unwrap();
                            }
                        })
                    })
                    .collect();
                for task in running {
                    runtime.block_on(task).unwrap();
                }
                started.elapsed().mul_f64(times as f64 / (each * tasks) as f64)
            });
        });
    }
}

/// Changes that nobody waits for, from one thread and from two; the last one is synced.
fn relaxed(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("relaxed append");
    group.throughput(Throughput::Elements(1));
    let (_dir, store) = filled(PEERS);
    for producers in [1, 2] {
        group.bench_function(format!("{producers} producers"), |bencher| {
            bencher.iter_custom(|times| {
                let each = times.div_ceil(producers);
                let started = Instant::now();
                thread::scope(|scope| {
                    for producer in 0..producers {
                        let store = &store;
                        scope.spawn(move || {
                            for turn in 0..each {
                                append(store, succeeded(producer * 50_000 + turn));
                            }
                        });
                    }
                });
                store.append(succeeded(0)).unwrap().wait().unwrap();
                started.elapsed().mul_f64(times as f64 / (each * producers) as f64)
            });
        });
    }
}

fn views(criterion: &mut Criterion) {
    let (_dir, store) = filled(PEERS);
    criterion.bench_function("view", |bencher| bencher.iter(|| black_box(store.view().unwrap())));
    let view = store.view().unwrap();
    let id = peer(77);
    criterion.bench_function("view, one peer", |bencher| {
        bencher.iter(|| black_box(view.peer(&id)).is_some());
    });
}

/// Reading a journal. A snapshot covers the records of the first store, so that they are read and
/// verified but not replayed.
fn journal(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("journal");
    group.throughput(Throughput::Elements(RECORDS));
    let (_scanned_dir, scanned) = with_records(1);
    Runtime::new().unwrap().block_on(open(&scanned).compact()).unwrap();
    group.bench_function("scan", |bencher| bencher.iter(|| inspect(&scanned).unwrap()));
    let (_replayed_dir, replayed) = with_records(PEERS);
    group.bench_function("scan and replay", |bencher| {
        bencher.iter(|| assert!(inspect(&replayed).unwrap().report.replayed >= RECORDS));
    });
}

fn snapshots(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("snapshot of 100,000 peers");
    group.throughput(Throughput::Elements(PEERS));
    let runtime = Runtime::new().unwrap();
    let (dir, store) = filled(PEERS);
    let number = Cell::new(0);
    group.bench_function("write", |bencher| {
        bencher.iter(|| {
            append(&store, succeeded(number.replace(number.get() + 1)));
            runtime.block_on(store.compact()).unwrap()
        });
    });
    drop(store);
    group.bench_function("load", |bencher| {
        bencher.iter(|| inspect(dir.path().join("p2p-state.json")).unwrap());
    });
}

fn opening(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("open");
    for peers in [1000, PEERS] {
        let (dir, store) = filled(peers);
        compact_twice(&store);
        drop(store);
        let path = dir.path().join("p2p-state.json");
        group.bench_function(format!("{peers} peers"), |bencher| {
            bencher.iter_custom(|times| {
                (0..times)
                    .map(|_| {
                        let started = Instant::now();
                        let store = open(&path);
                        let took = started.elapsed();
                        drop(store);
                        took
                    })
                    .sum()
            });
        });
    }
}

/// Appends while a snapshot of 100,000 peers is being written in the background.
fn compaction(criterion: &mut Criterion) {
    let (_dir, store) = filled(PEERS);
    let runtime = Runtime::new().unwrap();
    let number = Cell::new(0);
    criterion.bench_function("append during compaction", |bencher| {
        bencher.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            let mut left = times;
            while left > 0 {
                append(&store, succeeded(number.replace(number.get() + 1)));
                let compaction = runtime.spawn({
                    let store = store.clone();
                    async move { store.compact().await }
                });
                while left > 0 && !compaction.is_finished() {
                    let change = succeeded(number.replace(number.get() + 1));
                    let started = Instant::now();
                    append(&store, change);
                    spent += started.elapsed();
                    left -= 1;
                }
                runtime.block_on(compaction).unwrap().unwrap();
            }
            spent
        });
    });
}

/// A counting allocator would need unsafe code, so this measures what the process holds: the growth
/// of its resident memory while states of known size are added one by one.
fn memory_per_peer() {
    let (dir, store) = filled(PEERS);
    compact_twice(&store);
    drop(store);
    let mut held = Vec::new();
    let mut grown = Vec::new();
    for _ in 0..6 {
        let before = resident_bytes();
        held.push(open(&dir.path().join("p2p-state.json")).view().unwrap());
        grown.push(resident_bytes().saturating_sub(before) / PEERS);
    }
    // The first ones also grow the allocator's pools.
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

/// A store whose newest snapshot and its fallback cover everything, so that its journal is empty.
fn compact_twice(store: &P2PStatePersistence) {
    let runtime = Runtime::new().unwrap();
    for number in 0..2 {
        append(store, succeeded(number));
        runtime.block_on(store.compact()).unwrap();
    }
}

/// A closed store with many single records about this many peers.
fn with_records(peers: u64) -> (TempDir, PathBuf) {
    let (dir, store) = filled(peers);
    for number in 0..RECORDS {
        append(&store, succeeded(number % peers));
    }
    drop(store);
    let path = dir.path().join("p2p-state.json");
    (dir, path)
}

/// A store with this many peers, each with three addresses and a reputation.
fn filled(peers: u64) -> (TempDir, P2PStatePersistence) {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("p2p-state.json"));
    let mut numbers = 0..peers;
    while !numbers.is_empty() {
        let changes = numbers.by_ref().take(200);
        let changes = changes.flat_map(|number| [seen(number, at(0), 3), succeeded(number)]);
        store.append_batch(changes).unwrap();
    }
    store.append(succeeded(0)).unwrap().wait().unwrap();
    (dir, store)
}

fn open(path: &Path) -> P2PStatePersistence {
    P2PStatePersistence::open(path).unwrap()
}

/// Waits only where too much waits for the disk.
fn append(store: &P2PStatePersistence, change: Change) {
    loop {
        match store.append(change.clone()) {
            Err(error) if error.kind() == ErrorKind::Full => {
                thread::sleep(Duration::from_millis(1))
            }
            appended => return drop(appended.unwrap()),
        }
    }
}

fn succeeded(number: u64) -> Change {
    let (peer, at) = (key(number % PEERS), at(number));
    Change::RetrievalSucceeded { peer, at, response_ms: 20 + number % 100 }
}

fn seen(number: u64, at: peer_journal::state::Time, addresses: u64) -> Change {
    let addresses = (0..addresses).map(|host| {
        let [_, _, _, _, _, a, b, c] = number.to_be_bytes();
        Address::from_text(&format!("/ip4/10.{a}.{b}.{c}/tcp/{}", 4001 + host))
    });
    Change::PeerSeen { peer: key(number), at, addresses: addresses.collect() }
}

fn at(ms: u64) -> peer_journal::state::Time {
    let start = Duration::from_millis(1_767_225_600_000 + ms);
    chrono::DateTime::from(std::time::UNIX_EPOCH + start).into()
}

fn key(number: u64) -> PeerKey {
    peer(number).into()
}

fn peer(number: u64) -> PeerId {
    let mut bytes = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    for part in 1..=4_u32 {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(part * 11);
        bytes.extend_from_slice(&mixed.wrapping_mul(u64::from(part)).to_be_bytes());
    }
    PeerId::from_bytes(&bytes).unwrap()
}
