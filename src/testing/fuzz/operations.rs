//! Random operations, crashes and faults, against a plain model of what the store holds.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Checked, block_on, ensure,
    input::Input,
    store::{now, options},
};
use crate::{
    Ack, Error, ErrorKind, Outcome as Recovery, P2PStatePersistence,
    state::{Change, PeerKey, SerializedDHTEntry, State},
    testing::{Effect, Fault, Op, Outcome, SimDisk},
};

/// Most operations of one input.
const OPERATIONS_MAX: u32 = 100;
/// Waits that may fail after a fault is gone before the store counts as stuck.
const HEALING_ATTEMPTS: u32 = 100;

/// What the store shall hold, in plain maps: an independent second opinion on `State`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    dht: BTreeMap<String, Vec<u8>>,
    bans: BTreeMap<Peer, String>,
    bootstrap: Vec<String>,
    successes: BTreeMap<Peer, u64>,
    seen: BTreeSet<Peer>,
}

/// A peer as text.
type Peer = String;

impl Model {
    fn of(state: &State) -> Self {
        let dht = state.dht_entries().map(|(key, row)| (key.to_owned(), row.value.to_vec()));
        let bans = state.bans().map(|(key, ban)| (key.to_string(), ban.reason.to_string()));
        let successes = state.peers().filter_map(|(key, row)| {
            Some((key.to_string(), row.reputation.as_ref()?.successful_retrievals))
        });
        let seen = state.peers().filter(|(_, row)| row.seen.is_some());
        Self {
            dht: dht.collect(),
            bans: bans.collect(),
            bootstrap: state.bootstrap_nodes().iter().map(ToString::to_string).collect(),
            successes: successes.collect(),
            seen: seen.map(|(key, _)| key.to_string()).collect(),
        }
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::DhtPut { key, value, .. } => {
                self.dht.insert(key.to_string(), value.to_vec());
            }
            Change::DhtRemoved { key } => {
                self.dht.remove(&**key);
            }
            Change::Banned { peer, reason, .. } => {
                self.bans.insert(peer.to_string(), reason.to_string());
            }
            Change::Unbanned { peer } => {
                self.bans.remove(&peer.to_string());
            }
            Change::BootstrapAdded { node }
                if self.bootstrap.iter().all(|known| **known != **node) =>
            {
                self.bootstrap.push(node.to_string());
            }
            Change::RetrievalSucceeded { peer, .. } => {
                let count = self.successes.entry(peer.to_string()).or_default();
                *count = count.saturating_add(1);
            }
            Change::PeerSeen { peer, .. } => {
                self.seen.insert(peer.to_string());
            }
            Change::Evicted { peer } => {
                self.seen.remove(&peer.to_string());
                self.successes.remove(&peer.to_string());
            }
            _ => {}
        }
    }
}

/// Any bytes as operations. Accepted: the records that became durable.
///
/// # Errors
/// What does not hold.
pub fn operations(input: &[u8]) -> Checked {
    let mut input = Input(input);
    let disk = SimDisk::new(u64::from(input.byte()));
    let mut run = Run::start(disk)?;
    for _ in 0..OPERATIONS_MAX {
        if input.is_empty() {
            break;
        }
        run.step(&mut input)?;
        if run.disk.is_on() {
            run.compare()?;
        } else {
            run.crash(Outcome::DropUnsynced)?;
        }
    }
    run.finish()
}

/// A store, and what it was told so far.
struct Run {
    disk: SimDisk,
    /// `None` only between a crash and the next opening.
    store: Option<P2PStatePersistence>,
    /// What the store held at each LSN, from zero on.
    history: Vec<Model>,
    /// The store promised to keep so much of it.
    promised: u64,
}

impl Run {
    fn start(disk: SimDisk) -> Result<Self, String> {
        let mut run = Self { disk, store: None, history: vec![Model::default()], promised: 0 };
        run.open()?;
        Ok(run)
    }

    fn store(&self) -> Result<&P2PStatePersistence, String> {
        self.store.as_ref().ok_or_else(|| "no store is open".to_owned())
    }

    fn last(&self) -> u64 {
        (self.history.len() as u64).saturating_sub(1)
    }

    fn model(&self) -> Model {
        self.history.last().cloned().unwrap_or_default()
    }

    fn step(&mut self, input: &mut Input<'_>) -> Result<(), String> {
        match input.below(16) {
            0..=4 => self.append(&[change(input)], false),
            5 => self.append(&[change(input)], true),
            6 | 7 => {
                let changes: Vec<Change> = (0..=input.below(4)).map(|_| change(input)).collect();
                self.append(&changes, input.below(2) == 0)
            }
            8 => self.wait(),
            9 => {
                // A failing disk may refuse it; nothing depends on that.
                let _snapshot = block_on(self.store()?.compact());
                Ok(())
            }
            10 => self.update(input),
            11 => {
                let n = u64::from(input.byte());
                let outcomes =
                    [Outcome::DropUnsynced, Outcome::KeepAll, Outcome::Random(n), Outcome::Torn(n)];
                let index = usize::from(input.below(4));
                self.crash(*outcomes.get(index).unwrap_or(&Outcome::KeepAll))
            }
            12 => {
                self.disk.crash_at(self.disk.calls().saturating_add(input.byte().into()));
                Ok(())
            }
            13 => {
                self.fault(input);
                Ok(())
            }
            14 => self.heal(),
            _ => self.reopen(input.below(2) == 0),
        }
    }

    fn append(&mut self, changes: &[Change], wait: bool) -> Result<(), String> {
        let mut next = self.model();
        changes.iter().for_each(|change| next.apply(change));
        let before = self.last();
        let ack = match self.store()?.append_batch(changes.to_vec()) {
            Ok(ack) => ack,
            Err(error) => return Err(format!("{changes:?}: {error:#}")),
        };
        let lsn = ack.lsn().get();
        ensure!(lsn == before || lsn == before.saturating_add(1), "lsn {lsn} after {before}");
        if lsn == before {
            ensure!(next == self.model(), "not journaled: {changes:?}");
        } else {
            self.history.push(next);
        }
        if wait { self.settle(ack) } else { Ok(()) }
    }

    fn wait(&mut self) -> Result<(), String> {
        match block_on(self.store()?.sync()) {
            Ok(lsn) => self.promise(lsn.get()),
            Err(error) => may_fail(&error),
        }
    }

    fn settle(&mut self, ack: Ack) -> Result<(), String> {
        match ack.wait() {
            Ok(lsn) => self.promise(lsn.get()),
            Err(error) => may_fail(&error),
        }
    }

    fn promise(&mut self, lsn: u64) -> Result<(), String> {
        ensure!(lsn <= self.last(), "{lsn} is durable, and {} is the last", self.last());
        self.promised = self.promised.max(lsn);
        Ok(())
    }

    /// All rows at once: some entries go, some come.
    fn update(&mut self, input: &mut Input<'_>) -> Result<(), String> {
        let store = self.store()?;
        let mut rows = block_on(store.get_state()).map_err(|error| error.to_string())?;
        rows.dht_entries.retain(|_| input.below(3) > 0);
        if rows.dht_entries.iter().all(|row| row.key != "updated") {
            let value = vec![input.byte()];
            let row = SerializedDHTEntry { key: "updated".into(), value, stored_at: now() };
            rows.dht_entries.push(row);
        }
        rows.bootstrap_nodes.reverse();
        let mut next = self.model();
        next.dht = rows.dht_entries.iter().map(|r| (r.key.clone(), r.value.clone())).collect();
        next.bootstrap.clone_from(&rows.bootstrap_nodes);
        let updated = block_on(self.store()?.update_state(rows));
        // An error does not mean undone: the difference is appended, and waited for.
        let lsn = self.store()?.view().map_err(|error| error.to_string())?.lsn().get();
        if lsn > self.last() {
            self.history.push(next);
        }
        if updated.is_ok() {
            ensure!(lsn == self.last(), "an update made more than one record");
            self.promise(lsn)?;
        }
        Ok(())
    }

    fn fault(&mut self, input: &mut Input<'_>) {
        let ops = [Op::Sync, Op::Write, Op::Create, Op::Rename, Op::SyncDir, Op::Link];
        let op = *ops.get(usize::from(input.below(6))).unwrap_or(&Op::Sync);
        let effect = match input.below(3) {
            0 => Effect::None,
            1 => Effect::MarkClean,
            _ => Effect::Short(u64::from(input.byte())),
        };
        let fault = Fault::new(op).after(input.below(4).into()).times(input.below(4).into());
        self.disk.fail(fault.effect(effect));
    }

    /// A disk that takes writes again gets all that is in memory.
    fn heal(&mut self) -> Result<(), String> {
        self.disk.clear_faults();
        for _ in 0..HEALING_ATTEMPTS {
            if !self.disk.is_on() {
                return Ok(());
            }
            if let Ok(lsn) = block_on(self.store()?.sync()) {
                return self.promise(lsn.get());
            }
        }
        if self.disk.is_on() { Err("the disk is sound and the store stuck".into()) } else { Ok(()) }
    }

    fn crash(&mut self, outcome: Outcome) -> Result<(), String> {
        self.disk.power_off();
        // Nothing it does reaches the disk any more.
        self.store = None;
        self.disk.clear_faults();
        self.disk.power_cut(outcome);
        self.open()
    }

    fn reopen(&mut self, in_order: bool) -> Result<(), String> {
        if in_order {
            self.heal()?;
            let closed = block_on(self.store()?.close());
            if self.disk.is_on() {
                closed.map_err(|error| format!("cannot close: {error:#}"))?;
                self.promised = self.last();
            }
        } else {
            self.disk.kill();
        }
        if !self.disk.is_on() {
            return Ok(());
        }
        self.store = None;
        self.disk.clear_faults();
        self.open()
    }

    /// Opens and finds what was promised.
    fn open(&mut self) -> Result<(), String> {
        // An armed crash is for the operations, not for this.
        self.disk.power_on();
        let store = options(&self.disk).open().map_err(|error| format!("{error:#}"))?;
        let report = store.recovery().map_err(|error| error.to_string())?;
        let lsn = store.view().map_err(|error| error.to_string())?.lsn().get();
        ensure!(report.outcome != Recovery::Salvaged, "damaged: {report}");
        ensure!(report.lost.is_empty(), "lost: {report}");
        ensure!(lsn >= self.promised, "{} was promised, {lsn} is there: {report}", self.promised);
        ensure!(lsn <= self.last(), "{lsn} is there, {} was the last: {report}", self.last());
        let len = usize::try_from(lsn).map_err(|error| error.to_string())?.saturating_add(1);
        self.history.truncate(len);
        self.promised = lsn;
        self.store = Some(store);
        self.compare()
    }

    fn compare(&self) -> Result<(), String> {
        let view = self.store()?.view().map_err(|error| error.to_string())?;
        ensure!(view.lsn().get() == self.last(), "at {}, not {}", view.lsn(), self.last());
        let (held, model) = (Model::of(view.state()), self.model());
        ensure!(held == model, "the store holds {held:?}\nthe model says {model:?}");
        Ok(())
    }

    fn finish(mut self) -> Result<u64, String> {
        self.disk.power_on();
        self.reopen(true)?;
        ensure!(self.promised == self.last(), "a close left changes behind");
        Ok(self.promised)
    }
}

/// What a wait may end with while the disk fails.
fn may_fail(error: &Error) -> Result<(), String> {
    ensure!(error.kind() == ErrorKind::Degraded, "a wait ended with {error:#}");
    Ok(())
}

fn change(input: &mut Input<'_>) -> Change {
    let name = |input: &mut Input<'_>| format!("name {}", input.below(5));
    let peer = |input: &mut Input<'_>| PeerKey::from_text(&format!("peer {}", input.below(4)));
    let at = now().into();
    match input.below(9) {
        0 => {
            let (key, byte) = (name(input).into(), input.byte());
            let value = vec![byte; usize::from(byte).saturating_mul(12)];
            Change::DhtPut { key, value: value.into(), at }
        }
        1 => Change::DhtRemoved { key: name(input).into() },
        2 => Change::Banned {
            peer: peer(input),
            at,
            until: now().checked_add_signed(chrono::TimeDelta::days(9)).unwrap_or_default().into(),
            reason: name(input).into(),
            source: "fuzz".into(),
        },
        3 => Change::Unbanned { peer: peer(input) },
        4 => Change::BootstrapAdded { node: name(input).into() },
        5 | 6 => Change::RetrievalSucceeded { peer: peer(input), at, response_ms: 5 },
        7 => Change::PeerSeen { peer: peer(input), at, addresses: Vec::new() },
        _ => Change::Evicted { peer: peer(input) },
    }
}
