//! A store under load for hours: kills, faults on the real disk, compactions, followers.
//!
//! The failure this guards against grows slowly: memory that is never given back, files that pile
//! up, a disk that fills, a record that is lost once in a million. A child process writes through a
//! [`FaultVfs`] and is killed at random moments; the parent looks at its memory and its files and
//! compares what is there with what was acknowledged.
//!
//! `cargo test` runs it for a few seconds. For long: `PEER_JOURNAL_SOAK_SECONDS=3600 cargo test
//! --release --test soak -- --ignored --nocapture`. The child is this very program, as in
//! `tests/kill.rs`.
#![cfg(target_os = "linux")]
#![allow(clippy::print_stdout)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use peer_journal::{
    Ack, Builder, ErrorKind, Lsn, P2PStatePersistence, inspect,
    testing::{FaultVfs, Prng, Step, Workload, difference},
    vfs::OsVfs,
};
use tokio::sync::Mutex;

const SECONDS: &str = "PEER_JOURNAL_SOAK_SECONDS";
const DIR: &str = "PEER_JOURNAL_SOAK_DIR";
const SEED: &str = "PEER_JOURNAL_SOAK_SEED";
const WRITERS: u64 = 4;
/// While the weather is bad one call in so many fails.
const FAULT_ONE_IN: u64 = 25;
/// Far longer than it takes until each thing has happened once, on any machine.
const WATCHDOG: Duration = Duration::from_secs(120);
/// Above these nothing may grow, however long it runs. What the store holds fits into one.
const DISK_BYTES_MAX: u64 = 128 << 20;
const FILES_MAX: u64 = 1000;
/// After two compactions: two snapshots, the lock, a few segments.
const FILES_AT_REST_MAX: u64 = 10;
/// Memory may grow by a half and this much after the warm-up.
const GROWTH_BYTES: u64 = 32 << 20;

fn order<T: std::str::FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn builder(dir: &Path) -> Builder {
    P2PStatePersistence::builder(dir.join("p2p-state.json"))
        .segment_bytes(64 << 10)
        .sync_within(Duration::from_millis(20))
        .auto_save_every(Duration::from_millis(700))
        .clock(Workload::clock)
}

#[test]
fn a_few_seconds_of_everything_at_once_lose_nothing_and_leave_nothing_behind() {
    if order::<String>(DIR).is_none() {
        soak(Duration::from_secs(4), Duration::from_millis(1500));
    }
}

#[test]
#[ignore = "takes an hour, or PEER_JOURNAL_SOAK_SECONDS"]
fn hours_of_everything_at_once_lose_nothing_and_leave_nothing_behind() {
    let seconds = Duration::from_secs(order(SECONDS).unwrap_or(3600));
    soak(seconds, (seconds / 5).max(Duration::from_secs(3)));
}

/// Not a test: what the parent below starts. Without orders it does nothing.
#[test]
fn child() {
    let Some(dir) = order::<String>(DIR) else { return };
    let seed: u64 = order(SEED).unwrap();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.unwrap().block_on(live(Path::new(&dir), seed));
}

/// One line to the parent, whole and at once.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

async fn live(dir: &Path, seed: u64) {
    let mut random = Prng::new(seed ^ u64::from(std::process::id()));
    let disk = FaultVfs::new(Arc::new(OsVfs));
    let store = builder(dir).vfs(Arc::new(disk.clone())).open().unwrap();
    let view = store.view().unwrap();
    let workload = Workload::resume(seed, view.lsn(), view.state().clone());
    let shared = Arc::new(Mutex::new(workload.clone()));
    store.start_auto_save().await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        tasks.spawn(write(store.clone(), Arc::clone(&shared), Prng::new(random.next_u64())));
    }
    tasks.spawn(compact(store.clone()));
    tasks.spawn(follow(store.clone(), workload, seed));
    tasks.spawn(weather(store, disk, random));
    // None of them ends but by a panic.
    tasks.join_next().await.unwrap().unwrap();
}

/// Appends the next records, one after the other.
async fn write(store: P2PStatePersistence, shared: Arc<Mutex<Workload>>, mut random: Prng) {
    loop {
        let (lsn, checksum, ack) = append(&store, &shared).await;
        if random.chance(1, 3) {
            continue;
        }
        match ack {
            None => {}
            Some(ack) => match ack.await {
                Ok(durable) => {
                    assert_eq!(durable, lsn);
                    tell(&format!("durable {lsn} {checksum}"));
                }
                Err(error) => assert_eq!(error.kind(), ErrorKind::Degraded, "{error:#}"),
            },
        }
    }
}

async fn append(store: &P2PStatePersistence, shared: &Mutex<Workload>) -> (Lsn, u32, Option<Ack>) {
    let mut workload = shared.lock().await;
    loop {
        let lsn = workload.lsn().next();
        let ack = match workload.step() {
            Step::Append(changes) => match store.append_batch(changes) {
                Ok(ack) => Some(ack),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Full, "{error:#}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
            Step::Update(rows) => {
                // An error does not mean undone: the number tells.
                store.update_state(rows).await.ok();
                if store.view().unwrap().lsn() < lsn {
                    continue;
                }
                None
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(store.view().unwrap().lsn(), lsn);
        return (lsn, workload.advance().unwrap(), ack);
    }
}

async fn compact(store: P2PStatePersistence) {
    loop {
        tokio::time::sleep(Duration::from_millis(250)).await;
        match store.compact().await {
            Ok(lsn) => tell(&format!("compacted {lsn}")),
            Err(error) => {
                let kind = error.kind();
                assert!(matches!(kind, ErrorKind::Io | ErrorKind::Degraded), "{error:#}");
            }
        }
    }
}

/// Every record that becomes durable is the one that seed and LSN tell, without a gap.
async fn follow(store: P2PStatePersistence, mut workload: Workload, seed: u64) {
    loop {
        let mut changes = store.changes_since(workload.lsn()).unwrap();
        loop {
            match changes.next().await.expect("the store is open") {
                Ok(record) => {
                    assert_eq!(record.lsn, workload.lsn().next());
                    let expected = match workload.step() {
                        Step::Append(changes) => changes,
                        Step::Update(rows) => workload.state().changes_to(&rows).unwrap(),
                        other => panic!("{other:?}"),
                    };
                    assert_eq!(record.changes, expected, "{}", record.lsn);
                    workload.advance().unwrap();
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Compacted, "{error:#}");
                    break;
                }
            }
        }
        let view = store.view().unwrap();
        workload = Workload::resume(seed, view.lsn(), view.state().clone());
    }
}

/// Good and bad weather by turns; tells how much was durable and how many calls failed.
async fn weather(store: P2PStatePersistence, disk: FaultVfs, mut random: Prng) {
    loop {
        for one_in in [0, FAULT_ONE_IN] {
            disk.fail_randomly(random.next_u64(), one_in);
            tokio::time::sleep(Duration::from_millis(50 + random.below(200))).await;
            let durable = store.durable_through().unwrap();
            tell(&format!("through {durable} {}", disk.faults_hit()));
        }
    }
}

/// What a life of the child showed.
#[derive(Default)]
struct Life {
    durable: Vec<(u64, u32)>,
    promised: u64,
    compactions: u64,
    faults: u64,
    rss: Vec<u64>,
    most_files: u64,
    most_bytes: u64,
}

impl Life {
    fn hear(&mut self, line: &str) {
        let words: Vec<&str> = line.split(' ').collect();
        let lsn: u64 = words[1].parse().unwrap();
        self.promised = self.promised.max(lsn);
        match words[0] {
            "durable" => self.durable.push((lsn, words[2].parse().unwrap())),
            "compacted" => self.compactions += 1,
            "through" => self.faults = words[2].parse().unwrap(),
            other => panic!("{other}"),
        }
    }

    fn look(&mut self, child: u32, dir: &Path) {
        let folder = Folder::of(dir);
        self.most_files = self.most_files.max(folder.files);
        self.most_bytes = self.most_bytes.max(folder.bytes);
        self.rss.push(rss(child));
    }
}

/// Resident bytes of a process.
fn rss(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/statm")).unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4096
}

/// What lies in the store's folder.
#[derive(Default)]
struct Folder {
    /// All but the quarantine: nothing there is ever removed.
    files: u64,
    quarantined: u64,
    temporary: u64,
    bytes: u64,
}

impl Folder {
    fn of(dir: &Path) -> Self {
        let mut found = Self::default();
        let mut folders = vec![dir.to_owned()];
        while let Some(folder) = folders.pop() {
            // Files come and go while we look.
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_dir() {
                    folders.push(entry.path());
                    continue;
                }
                found.bytes += metadata.len();
                let name = entry.file_name();
                found.temporary += u64::from(name.to_string_lossy().ends_with(".tmp"));
                if folder.ends_with("quarantine") {
                    found.quarantined += 1;
                } else {
                    found.files += 1;
                }
            }
        }
        found
    }
}

/// A running child. Dropping it kills it.
struct Victim(Child);

impl Drop for Victim {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().unwrap();
    }
}

/// Lets a child live for a while, kills it, and gives what it said.
fn life_and_death(dir: &Path, seed: u64, time: Duration) -> Life {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .env(SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn();
    let mut victim = Victim(child.unwrap());
    let (told, lines) = mpsc::channel();
    let stdout = BufReader::new(victim.0.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        let mut stdout = stdout;
        let mut line = String::new();
        // A last line without its end was cut off by the kill.
        while stdout.read_line(&mut line).unwrap() > 0 && line.ends_with('\n') {
            if let Some(line) = line.trim_end().strip_prefix('@') {
                told.send(line.to_owned()).unwrap();
            }
            line.clear();
        }
    });
    let mut life = Life::default();
    let begun = Instant::now();
    let mut looked = Instant::now();
    while begun.elapsed() < time {
        match lines.recv_timeout(Duration::from_millis(20)) {
            Ok(line) => life.hear(&line),
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => panic!("the child ended by itself"),
        }
        if looked.elapsed() > Duration::from_millis(50) {
            looked = Instant::now();
            life.look(victim.0.id(), dir);
        }
    }
    assert!(victim.0.try_wait().unwrap().is_none(), "the child ended by itself");
    drop(victim);
    reader.join().unwrap();
    lines.try_iter().for_each(|line| life.hear(&line));
    life
}

fn soak(time: Duration, longest_life: Duration) {
    let seed = order(SEED).unwrap_or_else(|| u64::from(std::process::id()));
    println!("seed {seed} ({SEED} chooses another)");
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut random = Prng::new(seed);
    let mut model = Workload::new(seed);
    let (mut kills, mut acknowledged, mut compactions, mut faults) = (0_u64, 0, 0, 0);
    let (mut most_files, mut most_bytes, mut most_memory) = (0, 0, 0);
    let mut own = Vec::new();
    let begun = Instant::now();
    // On a slow machine it takes longer until there was something of everything.
    let is_little = |all: [u64; 3]| all.contains(&0) && begun.elapsed() < WATCHDOG;
    while begun.elapsed() < time || kills < 2 || is_little([acknowledged, compactions, faults]) {
        let longest = u64::try_from(longest_life.as_millis()).unwrap();
        let millis = longest / 4 + random.below(longest * 3 / 4);
        let life = life_and_death(dir, seed, Duration::from_millis(millis));
        kills += 1;
        check(dir, &mut model, &life, kills);
        acknowledged += life.durable.len() as u64;
        compactions += life.compactions;
        faults += life.faults;
        most_files = most_files.max(life.most_files);
        most_bytes = most_bytes.max(life.most_bytes);
        most_memory = most_memory.max(life.rss.iter().copied().max().unwrap_or_default());
        drop(life);
        own.push(rss(std::process::id()));
    }
    println!(
        "{:.0} s: {kills} kills, {acknowledged} acknowledged, {} records, {compactions} \
         compactions, {faults} failed calls; at most {most_files} files, {} KiB on disk, {} KiB in \
         memory",
        begun.elapsed().as_secs_f64(),
        model.lsn(),
        most_bytes >> 10,
        most_memory >> 10,
    );
    assert!(acknowledged > 0 && compactions > 0 && faults > 0, "it had something to do");
    is_flat(&own, "the parent's memory");
}

/// Compares what a life left with what it had been told, and sees that nothing piles up.
fn check(dir: &Path, model: &mut Workload, life: &Life, kills: u64) {
    let path = dir.join("p2p-state.json");
    let read = inspect(&path).unwrap();
    let store = builder(dir).open().unwrap();
    let (view, report) = (store.view().unwrap(), store.recovery().unwrap());
    assert!(view.lsn().get() >= life.promised, "{} was durable: {report}", life.promised);
    assert!(report.lost.is_empty() && !report.is_damaged() && report.skipped == 0, "{report}");
    assert_eq!(read.view.lsn(), view.lsn(), "reading and opening differ: {report}");
    let mut told = life.durable.clone();
    told.sort_unstable();
    let mut told = told.into_iter().peekable();
    while model.lsn() < view.lsn() {
        let checksum = model.advance().unwrap();
        while let Some((lsn, said)) = told.next_if(|(lsn, _)| *lsn <= model.lsn().get()) {
            assert_eq!((lsn, said), (model.lsn().get(), checksum), "another record: {report}");
        }
    }
    assert_eq!(difference(model.state(), view.state()), None, "{report}");
    assert!(life.most_files < FILES_MAX, "{} files", life.most_files);
    assert!(life.most_bytes < DISK_BYTES_MAX, "{} bytes on disk", life.most_bytes);
    is_flat(&life.rss, "the memory of the child");
    rest(&store, model);
    drop(store);
    let folder = Folder::of(dir);
    assert!(folder.files <= FILES_AT_REST_MAX, "{} files at rest", folder.files);
    assert_eq!(folder.temporary, 0, "leftovers");
    assert!(folder.quarantined <= 4 * kills, "{} in quarantine", folder.quarantined);
}

/// Two compactions with a record each: then two snapshots cover all that was before.
fn rest(store: &P2PStatePersistence, model: &mut Workload) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for _ in 0..2 {
        match model.step() {
            Step::Append(changes) => drop(store.append_batch(changes).unwrap()),
            Step::Update(rows) => runtime.block_on(store.update_state(rows)).unwrap(),
            other => panic!("{other:?}"),
        }
        model.advance().unwrap();
        assert_eq!(runtime.block_on(store.compact()).unwrap(), model.lsn());
    }
}

/// The first quarter is the warm-up.
fn is_flat(samples: &[u64], what: &str) {
    let (warm, rest) = samples.split_at(samples.len().div_ceil(4));
    let (warm, most) = (warm.iter().max(), rest.iter().max());
    let (Some(warm), Some(most)) = (warm, most) else { return };
    let bound = warm + warm / 2 + GROWTH_BYTES;
    assert!(*most <= bound, "{what} grew from {} to {} KiB", warm >> 10, most >> 10);
}

#[test]
fn memory_that_grows_is_noticed() {
    let mebibyte = 1 << 20;
    let flat: Vec<u64> = (0..100).map(|n| (10 + n % 7) * mebibyte).collect();
    is_flat(&flat, "flat");
    let growing: Vec<u64> = (0..100).map(|n| (10 + n) * mebibyte).collect();
    let noticed = std::panic::catch_unwind(|| is_flat(&growing, "growing"));
    assert!(noticed.is_err());
}
