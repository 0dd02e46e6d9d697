//! Crash exploration: a workload that is recorded call by call, the model of what it saw, and the
//! check of what recovery makes of a disk.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use peer_journal::{
    Ack, Change, Error, ErrorKind, Lsn, Outcome as Recovery, P2PStatePersistence, RecoveryReport,
    SerializedPeer, Verdict, View,
    testing::{Effect, Fault, Op, Outcome, SimDisk},
};

use super::{
    address, peer,
    sim::{STATE_FILE, block_on, builder, fingerprint},
};

/// True if the environment asks for the long run: no strides, more seeds.
pub(crate) fn is_long() -> bool {
    std::env::var_os("PEER_JOURNAL_LONG").is_some_and(|value| value != "0")
}

/// A number for the quick run, or for the long one.
pub(crate) fn quick_or_long<T>(quick: T, long: T) -> T {
    if is_long() { long } else { quick }
}

/// Works through the items on two threads, for the two cores that tests have.
pub(crate) fn in_two<T: Sync>(items: &[T], work: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            work(item);
        }
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(run);
        run();
        if let Err(panic) = other.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// Opens the store of the workload: a difference of 700 bytes is too large for one record.
pub(crate) fn open(disk: &SimDisk) -> Result<P2PStatePersistence, Error> {
    builder(disk).max_update_record_bytes(700).open()
}

/// What the workload saw: the state at each LSN, and when it was told that changes are durable.
#[derive(Default)]
pub(crate) struct Oracle {
    pub(crate) seen: BTreeMap<Lsn, String>,
    /// The number of the disk's last call at that time, and the LSN.
    acks: Vec<(u64, Lsn)>,
    /// The calls in which the large update was made: in their midst one snapshot alone holds it.
    pub(crate) large_update: Range<u64>,
}

impl Oracle {
    /// The LSN that was acknowledged before the call after this one.
    pub(crate) fn acknowledged(&self, calls: u64) -> Lsn {
        let told = self.acks.iter().filter(|(at, _)| *at <= calls);
        told.map(|(_, lsn)| *lsn).max().unwrap_or(Lsn::ZERO)
    }

    fn check(&self, acknowledged: Lsn, view: &View, report: &RecoveryReport, story: &str) {
        assert!(view.lsn() >= acknowledged, "{story}: acknowledged {acknowledged} lost: {report}");
        assert_eq!(report.lost, [], "{story}: {report}");
        assert_ne!(report.outcome, Recovery::Salvaged, "{story}: {report}");
        self.was_seen(view, report, story);
    }

    /// Whole batches only: the state is one that the workload saw.
    pub(crate) fn was_seen(&self, view: &View, report: &RecoveryReport, story: &str) {
        match self.seen.get(&view.lsn()) {
            Some(seen) => assert_eq!(&fingerprint(view), seen, "{story}: {report}"),
            None => assert_eq!(view.lsn(), Lsn::ZERO, "{story}: a state nobody saw: {report}"),
        }
    }
}

/// Why the workload ended: the machine went off.
type Stopped = Box<dyn std::error::Error>;

/// The workload on its disk, and what it sees.
pub(crate) struct Worker<'a> {
    pub(crate) disk: &'a SimDisk,
    pub(crate) oracle: &'a mut Oracle,
}

impl Worker<'_> {
    fn note(&mut self, store: &P2PStatePersistence) {
        let view = store.view().unwrap();
        self.oracle.seen.entry(view.lsn()).or_insert_with(|| fingerprint(&view));
    }

    fn acknowledge(&mut self, lsn: Lsn) {
        self.oracle.acks.push((self.disk.calls(), lsn));
    }

    /// Notes the change of an append and waits for its ack.
    fn durable(&mut self, store: &P2PStatePersistence, ack: Ack) -> Result<(), Stopped> {
        self.note(store);
        self.acknowledge(ack.wait()?);
        Ok(())
    }

    /// Asks until the disk takes writes again; gives up when the machine is off.
    fn durable_at_last(&mut self, store: &P2PStatePersistence) -> Result<(), Stopped> {
        loop {
            match block_on(store.sync()) {
                Ok(lsn) => {
                    self.acknowledge(lsn);
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::Degraded && self.disk.is_on() => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes these rows the state.
    fn update(
        &mut self,
        store: &P2PStatePersistence,
        id: &str,
        address: &str,
    ) -> Result<(), Stopped> {
        let mut rows = store.view()?.to_rows(DateTime::<Utc>::UNIX_EPOCH);
        rows.peers.push(SerializedPeer {
            peer_id: id.into(),
            addresses: vec![address.into()],
            last_seen: DateTime::<Utc>::UNIX_EPOCH,
        });
        let updated = block_on(store.update_state(rows));
        self.note(store);
        updated?;
        self.acknowledge(store.view()?.lsn());
        Ok(())
    }

    /// Appends, batches, a ban, rotation, compaction, an eviction, a small and a large update.
    fn first_session(&mut self) -> Result<(), Stopped> {
        let store = open(self.disk)?;
        self.note(&store);
        for number in 0..3 {
            let ack = store.peer_seen(&peer(number), &[address(4000)])?;
            self.durable(&store, ack)?;
        }
        store.retrieval_succeeded(&peer(1), Duration::from_millis(40))?;
        self.note(&store);
        let batch = store.append_batch([
            Change::PeerVerified { peer: peer(2).into(), verified: true },
            Change::PackagesProvided { peer: peer(2).into(), count: 7 },
            Change::BootstrapAdded { node: "/ip4/127.0.0.1/tcp/1".into() },
        ])?;
        self.durable(&store, batch)?;
        let ban = store.ban(&peer(0), Duration::from_secs(60), "spam", "test")?;
        self.durable(&store, ban)?;
        let lsn = block_on(store.compact())?;
        self.acknowledge(lsn);
        for number in 0..6 {
            // Fills more than one segment.
            let ack = store.dht_put(&format!("key {number}"), &vec![number; 900])?;
            self.note(&store);
            if number % 2 == 0 {
                self.durable(&store, ack)?;
            }
        }
        let lsn = block_on(store.compact())?;
        self.acknowledge(lsn);
        let ack = store.evict_peer(&peer(1))?;
        self.durable(&store, ack)?;
        self.update(&store, "a text that is no id", "nor an address")?;
        let before = self.disk.calls();
        self.update(&store, "too large for one record", &"x".repeat(800))?;
        self.oracle.large_update = before..self.disk.calls();
        let ack = store.dht_put("behind it", b"1")?;
        self.durable(&store, ack)?;
        let lsn = block_on(store.compact())?;
        self.acknowledge(lsn);
        Ok(block_on(store.close())?)
    }

    /// Syncs that fail and forget, that fail and do not, and a short write; each time the disk
    /// comes back.
    fn session_on_a_bad_disk(&mut self) -> Result<(), Stopped> {
        let store = open(self.disk)?;
        let ack = store.unban(&peer(0))?;
        self.durable(&store, ack)?;
        let faults = [
            Fault::new(Op::Sync).path("segment-").effect(Effect::MarkClean).times(2),
            Fault::new(Op::Sync).path("segment-"),
            Fault::new(Op::Write).path("segment-").effect(Effect::Short(30)),
        ];
        for (number, fault) in faults.into_iter().enumerate() {
            self.disk.fail(fault);
            for part in 0..2 {
                store.dht_put(&format!("bad disk {number}.{part}"), &[1; 100])?;
                self.note(&store);
            }
            self.durable_at_last(&store)?;
            let ack = store.dht_remove(&format!("bad disk {number}.0"))?;
            self.durable(&store, ack)?;
        }
        // As on a disk without hard links: the fallback is a copy.
        self.disk.fail(Fault::new(Op::Link));
        let lsn = block_on(store.compact())?;
        self.acknowledge(lsn);
        // Dropped, not closed: that must do the same.
        store.peer_seen(&peer(9), &[address(4009)])?;
        self.note(&store);
        let lsn = store.view()?.lsn();
        drop(store);
        if self.disk.is_on() {
            self.acknowledge(lsn);
        }
        Ok(())
    }

    /// Killed with changes in the air, then opened again.
    fn killed_session(&mut self) -> Result<(), Stopped> {
        let store = open(self.disk)?;
        let ack = store.peer_seen(&peer(10), &[address(4010)])?;
        self.durable(&store, ack)?;
        store.dht_put("in the air", b"1")?;
        self.note(&store);
        self.disk.kill();
        drop(store);
        let store = open(self.disk)?;
        let lsn = store.view()?.lsn();
        self.acknowledge(lsn);
        if !self.oracle.seen.contains_key(&lsn.next()) {
            // What was in the air has arrived; else its number is given again, to another change.
            let ack = store.peer_seen(&peer(11), &[address(4011)])?;
            self.durable(&store, ack)?;
        }
        Ok(block_on(store.close())?)
    }

    pub(crate) fn work(&mut self) -> Result<(), Stopped> {
        self.first_session()?;
        self.session_on_a_bad_disk()?;
        self.killed_session()
    }
}

/// One whole run of the workload, recorded: the disk before each of its calls and at the end.
pub(crate) struct Run {
    pub(crate) images: Vec<SimDisk>,
    pub(crate) oracle: Oracle,
    pub(crate) faults_hit: u64,
}

impl Run {
    pub(crate) fn record(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let mut oracle = Oracle::default();
        disk.record_images();
        Worker { disk: &disk, oracle: &mut oracle }.work().expect("the whole run");
        let mut images = disk.take_images();
        images.push(disk.fork());
        for image in &images {
            image.clear_faults();
        }
        Self { images, oracle, faults_hit: disk.faults_hit() }
    }
}

/// What a crash left in call number `image.calls() + 1`, for the message of a failed check.
pub(crate) fn told(image: &SimDisk, outcome: Outcome) -> String {
    let last = image.trace().last().map_or("the start".to_owned(), ToString::to_string);
    format!("disk seed {}, cut after {last}, {outcome:?}", image.seed())
}

/// A fingerprint of all files.
pub(crate) fn digest(disk: &SimDisk) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut mix = |word: u64| {
        hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    };
    for (path, len) in disk.files() {
        path.to_string_lossy().bytes().for_each(|byte| mix(u64::from(byte)));
        mix(len);
        for word in disk.read(&path).unwrap().chunks(8) {
            let mut bytes = [0; 8];
            bytes[..word.len()].copy_from_slice(word);
            mix(u64::from_le_bytes(bytes));
        }
    }
    hash
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

fn files(disk: &SimDisk) -> Files {
    disk.files().into_iter().map(|(path, _)| (path.clone(), disk.read(&path).unwrap())).collect()
}

/// Checks what recovery makes of disks that a crash left; each different disk once.
pub(crate) struct Checker<'a> {
    oracle: &'a Oracle,
    /// What was recovered from the disk with this digest.
    known: Mutex<HashMap<u64, Lsn>>,
    looked_at: AtomicUsize,
}

impl<'a> Checker<'a> {
    pub(crate) fn new(oracle: &'a Oracle) -> Self {
        Self { oracle, known: Mutex::default(), looked_at: AtomicUsize::new(0) }
    }

    /// How many disks were looked at, and how many of them were different.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.looked_at.load(Ordering::Relaxed), self.known.lock().unwrap().len())
    }

    /// The oracle: what was acknowledged is there, the state is one that was seen, the report is
    /// true, a second recovery changes nothing, and the store goes on (looked at for every fourth
    /// disk, unless the run is long).
    pub(crate) fn check(&self, disk: &SimDisk, acknowledged: Lsn, story: &str) {
        self.looked_at.fetch_add(1, Ordering::Relaxed);
        let digest = digest(disk);
        let known = self.known.lock().unwrap().get(&digest).copied();
        if let Some(lsn) = known {
            assert!(lsn >= acknowledged, "{story}: acknowledged {acknowledged}, recovered {lsn}");
            return;
        }
        let before = files(disk);
        let store = open(disk).unwrap_or_else(|error| panic!("{story}: {error:#}"));
        let (view, report) = (store.view().unwrap(), store.recovery().unwrap());
        self.oracle.check(acknowledged, &view, report, story);
        is_true(report, &view, &before, disk, story);
        drop(store);
        let between = files(disk);
        let store = open(disk).unwrap_or_else(|error| panic!("{story}, again: {error:#}"));
        let again = store.recovery().unwrap();
        let same = store.view().unwrap();
        assert_eq!(same.lsn(), view.lsn(), "{story}: a second recovery differs: {again}");
        assert_eq!(fingerprint(&same), fingerprint(&view), "{story}: a second recovery differs");
        assert_eq!(again.outcome, Recovery::Clean, "{story}: {again}");
        changed_nothing(&between, &files(disk), story);
        if is_long() || digest & 3 == 0 {
            self.goes_on(disk, &store, story);
        }
        drop(store);
        self.known.lock().unwrap().insert(digest, view.lsn());
    }

    /// The next change gets a number that was never acknowledged, and survives the next crash.
    fn goes_on(&self, disk: &SimDisk, store: &P2PStatePersistence, story: &str) {
        let before = store.view().unwrap().lsn();
        let ack = store.dht_put("after recovery", b"new").unwrap();
        assert_eq!(ack.wait().unwrap(), before.next(), "{story}");
        let expected = fingerprint(&store.view().unwrap());
        let crashed = disk.fork();
        crashed.power_cut(Outcome::DropUnsynced);
        let store = open(&crashed).unwrap_or_else(|error| panic!("{story}, later: {error:#}"));
        let (view, report) = (store.view().unwrap(), store.recovery().unwrap());
        assert_eq!(
            (view.lsn(), fingerprint(&view)),
            (before.next(), expected),
            "{story}: {report}"
        );
        assert!(!report.is_damaged(), "{story}: {report}");
    }
}

/// What the report says is what can be seen in the files.
fn is_true(report: &RecoveryReport, view: &View, before: &Files, disk: &SimDisk, story: &str) {
    let story = format!("{story}: {report}");
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let segments = before.keys().filter(|path| name(path).ends_with(".wal")).count();
    let snapshots = before.iter().filter(|(path, _)| {
        path.as_path() == std::path::Path::new(STATE_FILE)
            || (name(path).starts_with("snapshot-") && name(path).ends_with(".json"))
    });
    let newest = snapshots
        .filter_map(|(_, bytes)| {
            // Half a copy is none; the snapshot in place is the newer one then.
            let document: serde_json::Value = serde_json::from_slice(bytes).ok()?;
            Some(Lsn::new(document["lsn"].as_u64()?))
        })
        .max();
    assert_eq!(report.snapshot_lsn, newest, "{story}");
    assert_eq!(report.last_lsn, view.lsn(), "{story}");
    let from_snapshot = newest.unwrap_or(Lsn::ZERO).get();
    assert_eq!(report.replayed, view.lsn().get() - from_snapshot, "{story}");
    assert!(!report.end_unknown && report.skipped == 0, "{story}");
    let is_first = segments == 0 && newest.is_none();
    assert_eq!(report.outcome == Recovery::FirstRun, is_first, "{story}");
    let torn = [Verdict::TornTail, Verdict::Unborn];
    let found_torn = report.findings.iter().any(|finding| torn.contains(&finding.verdict));
    assert_eq!(report.outcome == Recovery::TornTail, found_torn, "{story}");
    for finding in &report.findings {
        assert!(
            torn.contains(&finding.verdict) || finding.verdict == Verdict::Superseded,
            "{story}"
        );
        let bytes = before.get(&finding.path).unwrap_or_else(|| panic!("{story}: no such file"));
        if let Some(kept) = &finding.quarantined {
            let kept = disk.read(kept).unwrap();
            assert!(!kept.is_empty(), "{story}: nothing was kept");
            let mut windows = bytes.windows(kept.len());
            assert!(windows.any(|window| window == kept), "{story}: other bytes were kept");
        } else {
            assert_eq!(finding.verdict, Verdict::Superseded, "{story}: bytes are gone");
        }
    }
}

/// A second recovery adds its own segment, removes empty ones, and touches nothing else.
fn changed_nothing(before: &Files, after: &Files, story: &str) {
    let kept = |path: &PathBuf| !path.ends_with("LOCK");
    let paths: BTreeSet<&PathBuf> = before.keys().chain(after.keys()).collect();
    for path in paths.into_iter().filter(|path| kept(path)) {
        match (before.get(path), after.get(path)) {
            (Some(old), Some(new)) => {
                assert!(old == new, "{story}: {} was changed", path.display());
            }
            (Some(_), None) | (None, Some(_)) => {
                let is_segment = path.extension().is_some_and(|extension| extension == "wal");
                let is_prepared = path.extension().is_some_and(|extension| extension == "tmp");
                assert!(is_segment || is_prepared, "{story}: {} came or went", path.display());
            }
            (None, None) => {}
        }
    }
}
