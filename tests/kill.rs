//! `kill -9` in the middle of everything: what was acknowledged is there, and nothing is made up.
//!
//! The failure this guards against is the one that the crate exists for: a program was told that a
//! change is kept, the process died without any chance to clean up, and the change was gone. A real
//! child process is killed, since no simulation knows what the page cache of this machine does.
//!
//! The child is this very program: it runs the test named `child` with its orders in the
//! environment.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex},
};

use chrono::{DateTime, Utc};
use peer_journal::{Ack, P2PStatePersistence, RecoveryReport, state::Change};

const PATH: &str = "PEER_JOURNAL_KILL_PATH";
const COUNT: &str = "PEER_JOURNAL_KILL_COUNT";
const BURST: &str = "PEER_JOURNAL_KILL_BURST";
const COMPACTS: &str = "PEER_JOURNAL_KILL_COMPACTS";
/// How many kills, for long runs; without it few.
const ROUNDS: &str = "PEER_JOURNAL_KILL_ROUNDS";
const ROUNDS_USUALLY: u64 = 12;
/// Then a new store begins, or when it holds so many numbers: every round looks at all of them, and
/// there is a limit.
const ROUNDS_OF_A_STORE: u64 = 24;
const NUMBERS_OF_A_STORE: u64 = 200_000;
const TASKS: u64 = 64;

fn key(number: u64) -> String {
    format!("{number:08}")
}

fn value(number: u64) -> [u8; 8] {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()
}

fn change(number: u64) -> Change {
    Change::DhtPut {
        key: key(number).into(),
        value: value(number).into(),
        at: DateTime::<Utc>::UNIX_EPOCH.into(),
    }
}

fn order(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One line to the parent, whole and at once.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Hands out the numbers, so that the order of the numbers is the order of the journal.
struct Counter {
    store: P2PStatePersistence,
    next: Mutex<u64>,
    end: u64,
}

impl Counter {
    /// Appends the next `burst` numbers; fewer at the end.
    fn append(&self, burst: u64) -> Vec<(u64, Ack)> {
        let mut next = self.next.lock().unwrap();
        let mut acks = Vec::new();
        while *next < self.end && (acks.len() as u64) < burst {
            acks.push((*next, self.store.append(change(*next)).unwrap()));
            *next += 1;
        }
        acks
    }
}

/// Not a test: what the parents below start. Without orders it does nothing.
#[test]
fn child() {
    let Ok(path) = std::env::var(PATH) else { return };
    let (count, burst) = (order(COUNT).unwrap(), order(BURST).unwrap());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(async {
        let store = P2PStatePersistence::builder(path).segment_bytes(64 << 10).open().unwrap();
        let known = store.view().unwrap().state().dht_entries().count() as u64;
        let next = Mutex::new(known);
        let counter = Arc::new(Counter { store: store.clone(), next, end: known + count });
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let counter = Arc::clone(&counter);
                tokio::spawn(async move {
                    loop {
                        let acks = counter.append(burst);
                        if acks.is_empty() {
                            return;
                        }
                        for (number, ack) in acks {
                            ack.await.unwrap();
                            if burst == 1 {
                                tell(&number.to_string());
                            }
                        }
                    }
                })
            })
            .collect();
        while order(COMPACTS) == Some(1) {
            store.compact().await.unwrap();
            tell("compacted");
        }
        for task in tasks {
            task.await.unwrap();
        }
        tell("all acknowledged");
        // Until the parent kills it: no close, no drop.
        std::future::pending::<()>().await;
    });
}

struct Victim {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// No child outlives a test that fails.
impl Drop for Victim {
    fn drop(&mut self) {
        self.process.kill().unwrap_or_default();
        self.process.wait().unwrap();
    }
}

impl Victim {
    fn start(path: &Path, count: u64, burst: u64, compacts: bool) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(PATH, path)
            .env(COUNT, count.to_string())
            .env(BURST, burst.to_string())
            .env(COMPACTS, u64::from(compacts).to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// The next thing that the child told.
    fn told(&mut self) -> Option<String> {
        let told = |line: std::io::Result<String>| line.ok()?.strip_prefix('@').map(str::to_owned);
        self.lines.find_map(told)
    }

    /// SIGKILL; then whatever is still in the pipe, which was acknowledged, too.
    fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        std::iter::from_fn(|| self.told()).collect()
    }
}

/// How many numbers there are: all of them from 0 on, with their values, or the test fails.
fn count_prefix(path: &Path) -> (u64, RecoveryReport) {
    let store = P2PStatePersistence::open(path).unwrap();
    let (view, report) = (store.view().unwrap(), store.recovery().unwrap().clone());
    assert!(report.lost.is_empty() && !report.is_damaged(), "{report}");
    let count = view.state().dht_entries().count() as u64;
    for number in 0..count {
        let entry = view.state().dht_entry(&key(number));
        let entry = entry.unwrap_or_else(|| panic!("{number} of {count} is missing\n{report}"));
        assert_eq!(entry.value[..], value(number), "{number}");
    }
    (count, report)
}

#[test]
fn every_acknowledged_change_survives_kill_9_round_after_round() {
    let mut folder = tempfile::tempdir().unwrap();
    let mut before = 0;
    for round in 0..order(ROUNDS).unwrap_or(ROUNDS_USUALLY) {
        if round > 0 && (round % ROUNDS_OF_A_STORE == 0 || before > NUMBERS_OF_A_STORE) {
            (folder, before) = (tempfile::tempdir().unwrap(), 0);
        }
        let path = folder.path().join("p2p-state.json");
        let compacts = round % 3 == 2;
        let wanted = 1 + (round * 397) % 1500;
        let mut victim = Victim::start(&path, u64::MAX >> 1, 1, compacts);
        let mut acknowledged: Vec<u64> = Vec::new();
        // The child goes on as fast as it can until all of them are done.
        let mut compactions = if compacts { round % ROUNDS_OF_A_STORE / 4 } else { 0 };
        while (acknowledged.len() as u64) < wanted || compactions > 0 {
            match victim.told().expect("the child ended").as_str() {
                "compacted" => compactions = compactions.saturating_sub(1),
                number => acknowledged.push(number.parse().unwrap()),
            }
        }
        acknowledged.extend(victim.kill().iter().filter_map(|line| line.parse::<u64>().ok()));
        let (count, report) = count_prefix(&path);
        println!("round {round}: {} acknowledged, {count} there, {report}", acknowledged.len());
        let missing: Vec<_> = acknowledged.iter().filter(|number| **number >= count).collect();
        assert!(missing.is_empty(), "acknowledged and gone: {missing:?}, {count} there\n{report}");
        assert!(count >= before + wanted, "{before} + {wanted} > {count}\n{report}");
        before = count;
    }
}

/// The promise as it was given: 100,000 changes through 64 tasks, all acknowledged, then SIGKILL.
#[test]
fn a_hundred_thousand_acknowledged_changes_are_exactly_what_a_reopening_shows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("p2p-state.json");
    let mut victim = Victim::start(&path, 100_000, 25, false);
    assert_eq!(victim.told().as_deref(), Some("all acknowledged"));
    assert_eq!(victim.kill(), [] as [&str; 0]);
    let (count, report) = count_prefix(&path);
    println!("{report}");
    assert_eq!(count, 100_000, "{report}");
    assert_eq!(report.last_lsn.get(), 100_000, "{report}");
    assert_eq!(report.replayed, 100_000, "{report}");
}
