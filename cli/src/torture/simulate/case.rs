//! One simulated run: a few lives of a program, each with its crash, and what must hold after it.

use std::{io, sync::Arc, time::Duration};

use peer_journal::{
    Error, ErrorKind, Lsn, Outcome as Opened, P2PStatePersistence, RecoveryReport,
    testing::{Effect, Fault, Op, Outcome, Prng, SimDisk, Step, Workload, difference},
};
use tokio::runtime::Runtime;

use super::super::{lie, summary::Simulated};

const STATE_FILE: &str = "/torture/p2p-state.json";
const SEGMENT_BYTES: [u64; 3] = [4096, 4096, 32 << 10];
/// Differences above it become durable by a snapshot: none, most, or half of them.
const UPDATE_BYTES: [usize; 3] = [usize::MAX, 100, 1000];
/// Within how many calls on the disk the crash comes: some come early, some late.
const CRASH_WITHIN: [u64; 4] = [12, 60, 250, 1000];
const STEPS_MAX: u64 = 120;
const LIVES_MAX: u64 = 3;
/// The calls that may fail, with the text in their path.
const FAILING: [(Op, &str); 12] = [
    (Op::Write, "segment-"),
    (Op::Write, "segment-"),
    (Op::Sync, "segment-"),
    (Op::Sync, "segment-"),
    (Op::Create, "segment-"),
    (Op::Rename, "segment-"),
    (Op::SyncDir, "journal"),
    (Op::SyncDir, "torture"),
    (Op::Write, ".json.tmp"),
    (Op::Sync, ".json.tmp"),
    (Op::Rename, ".json"),
    (Op::Remove, ".wal"),
];

/// What was lost or is wrong, in words.
type Loss = String;

/// Runs the case of a seed.
pub(super) fn run(seed: u64, runtime: &Runtime) -> Result<Simulated, Loss> {
    let mut random = Prng::new(seed);
    let mut case = Case {
        runtime,
        disk: SimDisk::new(random.next_u64()),
        model: Workload::new(seed),
        promised: Lsn::ZERO,
        faults_before: 0,
        lies: lie().is_some(),
        counts: Simulated { cases: 1, ..Simulated::default() },
        random,
    };
    for _ in 0..=case.random.below(LIVES_MAX) {
        case.live()?;
        case.crash_in_recovery();
    }
    case.check_twice()?;
    case.counts.faults = case.disk.faults_hit();
    Ok(case.counts)
}

struct Case<'a> {
    runtime: &'a Runtime,
    random: Prng,
    disk: SimDisk,
    /// The state as of what was found last.
    model: Workload,
    /// Everything up to here was called durable.
    promised: Lsn,
    /// Calls that faults had failed before this life.
    faults_before: u64,
    lies: bool,
    counts: Simulated,
}

/// How a life goes on.
enum Next {
    Step,
    Ended,
}

impl Case<'_> {
    fn open(&mut self) -> Result<P2PStatePersistence, Error> {
        let segment_bytes = self.random.pick(&SEGMENT_BYTES).copied().unwrap_or(4096);
        let update_bytes = self.random.pick(&UPDATE_BYTES).copied().unwrap_or(usize::MAX);
        P2PStatePersistence::builder(STATE_FILE)
            .vfs(Arc::new(self.disk.mount()))
            .segment_bytes(segment_bytes)
            .sync_within(Duration::from_millis(1))
            .clock(Workload::clock)
            .max_update_record_bytes(update_bytes)
            .open()
    }

    /// One life of the program: it opens the store, which may fail, and writes until something
    /// ends it.
    fn live(&mut self) -> Result<(), Loss> {
        self.faults_before = self.disk.faults_hit();
        let within = self.random.pick(&CRASH_WITHIN).copied().unwrap_or(60);
        if self.random.chance(4, 5) {
            self.disk.crash_at(self.disk.calls() + 1 + self.random.below(within));
        }
        if self.random.chance(2, 3) {
            for _ in 0..=self.random.below(4) {
                self.arm();
            }
        }
        let store = match self.open() {
            Ok(store) => store,
            // The machine is off, or a fault hit the opening.
            Err(error) if error.kind() == ErrorKind::Io && self.is_in_trouble() => {
                self.crash();
                return Ok(());
            }
            Err(error) => return Err(format!("the store does not open: {error:#}")),
        };
        self.check(&store)?;
        let mut live = self.model.clone();
        for _ in 0..self.random.below(STEPS_MAX) {
            if let Next::Ended = self.step(&store, &mut live)? {
                break;
            }
        }
        // The last look before the crash: what is called durable now is promised.
        self.promise(store.durable_through().unwrap_or_default());
        // The store is still open; its threads belong to the life that is over.
        self.crash();
        Ok(())
    }

    /// Some calls on the disk will fail, in one of the ways in which they do.
    fn arm(&mut self) {
        let Some(&(op, path)) = self.random.pick(&FAILING) else { return };
        let full = self.random.chance(1, 2) && !matches!(op, Op::Sync | Op::SyncDir | Op::Remove);
        let error = if full { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        let effect = match op {
            Op::Write => Effect::Short(self.random.below(700)),
            Op::Sync | Op::SyncDir if self.random.chance(1, 2) => Effect::MarkClean,
            _ => Effect::None,
        };
        let fault = Fault::new(op).path(path).error(error).effect(effect);
        let times = self.random.below(3) + 1;
        self.disk.fail(fault.after(self.random.below(25)).times(times));
    }

    /// The next record, or a compaction, or a clean restart.
    fn step(&mut self, store: &P2PStatePersistence, live: &mut Workload) -> Result<Next, Loss> {
        if !self.disk.is_on() {
            return Ok(Next::Ended);
        }
        if self.random.chance(1, 25) {
            return match self.runtime.block_on(store.compact()) {
                Ok(lsn) => Ok(self.promise(lsn)),
                Err(error) => self.tolerate(&error).map(|()| Next::Step),
            };
        }
        if self.random.chance(1, 100) {
            let closed = self.runtime.block_on(store.close());
            if closed.is_ok() {
                self.promise(live.lsn());
            }
            return Ok(Next::Ended);
        }
        self.append(store, live)?;
        self.promise(store.durable_through().map_err(|error| format!("{error:#}"))?);
        Ok(Next::Step)
    }

    fn append(&mut self, store: &P2PStatePersistence, live: &mut Workload) -> Result<(), Loss> {
        let lsn = live.lsn().next();
        match live.step() {
            Step::Append(changes) => {
                let ack = store.append_batch(changes);
                let ack = ack.map_err(|error| format!("LSN {lsn} was refused: {error:#}"))?;
                if ack.lsn() != lsn {
                    return Err(format!("LSN {lsn} was expected, {} was given", ack.lsn()));
                }
                if self.lies {
                    self.promise(lsn);
                } else if self.random.chance(2, 3) {
                    match ack.wait() {
                        Ok(durable) => drop(self.promise(durable)),
                        Err(error) => self.tolerate(&error)?,
                    }
                }
            }
            Step::Update(rows) => {
                // An error does not mean undone.
                match self.runtime.block_on(store.update_state(rows)) {
                    Ok(()) => drop(self.promise(lsn)),
                    Err(_) if self.is_in_trouble() => {}
                    Err(error) => return Err(format!("an error without a cause: {error}")),
                }
                if store.view().is_ok_and(|view| view.lsn() < lsn) {
                    return Ok(());
                }
            }
            other => return Err(format!("a step of an unknown kind: {other:?}")),
        }
        live.advance().map(drop).map_err(|error| format!("the workload stops: {error:#}"))
    }

    fn promise(&mut self, lsn: Lsn) -> Next {
        self.promised = self.promised.max(lsn);
        Next::Step
    }

    /// Errors that a disk in trouble may cause.
    fn tolerate(&self, error: &Error) -> Result<(), Loss> {
        match error.kind() {
            ErrorKind::Degraded | ErrorKind::Io if self.is_in_trouble() => Ok(()),
            _ => Err(format!("an error without a cause: {error:#}")),
        }
    }

    fn is_in_trouble(&self) -> bool {
        !self.disk.is_on() || self.disk.faults_hit() > self.faults_before
    }

    /// The power fails, or the process is killed: also after a sync that failed and made the disk
    /// forget what reads still show.
    fn crash(&mut self) {
        self.disk.clear_faults();
        if self.random.chance(1, 5) {
            self.counts.kills += 1;
            self.disk.power_on();
            self.disk.kill();
            return;
        }
        self.counts.power_cuts += 1;
        let seed = self.random.next_u64();
        let outcome = match self.random.below(6) {
            0 => Outcome::DropUnsynced,
            1 => Outcome::KeepAll,
            2 | 3 => Outcome::Random(seed),
            _ => Outcome::Torn(seed),
        };
        self.disk.power_cut(outcome);
        self.disk.power_on();
    }

    /// Up to two crashes in a row inside a recovery.
    fn crash_in_recovery(&mut self) {
        for _ in 0..self.random.below(3) {
            let call = self.disk.calls() + 1 + self.random.below(60);
            self.disk.crash_at(call);
            drop(self.open());
            self.counts.in_recovery += u64::from(!self.disk.is_on());
            self.crash();
        }
    }

    /// What an opening finds is what was promised, or more, and all of it is right.
    fn check(&mut self, store: &P2PStatePersistence) -> Result<(), Loss> {
        let view = store.view().map_err(|error| format!("{error:#}"))?;
        let report = store.recovery().map_err(|error| format!("{error:#}"))?;
        let wrong = |what: String| Err(format!("{what}: {report}\n{}", self.story()));
        if view.lsn() < self.promised {
            return wrong(format!("LSN {} was durable, {} are there", self.promised, view.lsn()));
        }
        if let Some(damage) = damage(report) {
            return wrong(damage);
        }
        self.counts.acknowledged += self.promised.get().saturating_sub(self.model.lsn().get());
        self.counts.whole += view.lsn().get().saturating_sub(self.promised.get());
        self.counts.torn_tails += u64::from(report.outcome == Opened::TornTail);
        let advanced = self.model.advance_to(view.lsn());
        advanced.map_err(|error| format!("the workload stops: {error:#}"))?;
        if let Some(difference) = difference(self.model.state(), view.state()) {
            return Err(format!("{difference}: {report}\n{}", self.story()));
        }
        self.promised = view.lsn();
        Ok(())
    }

    /// The second opening finds nothing to mend.
    fn check_twice(&mut self) -> Result<(), Loss> {
        for again in [false, true] {
            let store = self.open().map_err(|error| format!("it does not open: {error:#}"))?;
            self.check(&store)?;
            let report = store.recovery().map_err(|error| format!("{error:#}"))?;
            if again && report.outcome != Opened::Clean {
                return Err(format!("the second opening is not clean: {report}"));
            }
        }
        Ok(())
    }

    /// The last calls on the disk.
    fn story(&self) -> String {
        let calls = self.disk.trace();
        let last = calls.iter().rev().take(12).rev().map(ToString::to_string);
        last.collect::<Vec<_>>().join("\n")
    }
}

/// Crashes and failed calls are no damage.
fn damage(report: &RecoveryReport) -> Option<String> {
    if report.lost.is_empty() && !report.is_damaged() && report.skipped == 0 {
        return None;
    }
    Some("a crash is no damage, and yet".to_owned())
}
