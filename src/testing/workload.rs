//! A seeded stream of changes, and the state that they add up to: the oracle of a crash test.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use libp2p_identity::PeerId;

use super::Prng;
use crate::{
    Error, Lsn,
    state::{
        Address, Change, Effect, GeoLocation, Limits, P2PState, PeerKey, SerializedPeer, State,
        Time, encode,
    },
};

/// What the store's clock shows: 2026-01-01, in milliseconds since the UNIX epoch.
const START_MS: i64 = 1_767_225_600_000;
const PEERS: u64 = 96;
const PORTS: u64 = 12;
const KEYS: u64 = 40;
const PACKAGES: u64 = 12;
const BOOTSTRAP_NODES: u64 = 8;
const VALUE_BYTES: u64 = 1500;
const PACKAGE_BYTES: u64 = 6000;
const BATCH_CHANGES: u64 = 6;
const BAN_SECONDS: u64 = 600;
/// A package is dropped by a change of its own this long after it was cached.
const PACKAGE_MS: i64 = 3000;
const EXPIRY_MS: i64 = 300_000;

/// What a [`Workload`] does next.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// Append these changes as one record.
    Append(Vec<Change>),
    /// Make these rows the state, with `update_state`.
    Update(P2PState),
}

/// A seeded stream of changes, one record for each LSN, and the state that they add up to.
///
/// The record of an LSN is told by the seed and the LSN alone: whoever knows both knows what the
/// store must hold, also in another process, and also after the process that wrote it was killed.
/// Every record changes something, so that LSNs are dense, and what the records hold is bounded:
/// the state does not grow for ever.
///
/// Give the store [`Workload::clock`] as its clock; then nothing expires but by the records.
///
/// ```
/// use std::sync::Arc;
///
/// use peer_journal::P2PStatePersistence;
/// use peer_journal::testing::{Outcome, SimDisk, Step, Workload, difference};
///
/// # fn main() -> Result<(), peer_journal::Error> {
/// let disk = SimDisk::new(1);
/// let open = |disk: &SimDisk| {
///     let builder = P2PStatePersistence::builder("/data/p2p-state.json");
///     builder.vfs(Arc::new(disk.mount())).clock(Workload::clock).open()
/// };
/// let store = open(&disk)?;
/// let mut written = Workload::new(7);
/// for _ in 0..50 {
///     if let Step::Append(changes) = written.step() {
///         store.append_batch(changes)?;
///     } else {
///         break; // an update: `store.update_state(rows).await`
///     }
///     written.advance()?;
/// }
/// let acknowledged = written.lsn();
/// store.append_batch([])?.wait()?; // an ack for all before it
///
/// let crashed = disk.fork();
/// crashed.power_cut(Outcome::Random(3));
/// let found = open(&crashed)?.view()?;
/// assert!(found.lsn() >= acknowledged);
/// let mut expected = Workload::new(7);
/// expected.advance_to(found.lsn())?;
/// assert_eq!(difference(expected.state(), found.state()), None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Workload {
    seed: u64,
    lsn: Lsn,
    state: State,
}

impl Workload {
    /// The workload of a seed, before its first record.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, lsn: Lsn::ZERO, state: State::new(Limits::default()) }
    }

    /// Goes on behind a store's last record, in a process that did not write the records before.
    #[must_use]
    pub fn resume(seed: u64, lsn: Lsn, state: State) -> Self {
        Self { seed, lsn, state }
    }

    /// The time for the store's clock. It stands still.
    #[must_use]
    pub fn clock() -> DateTime<Utc> {
        DateTime::from_timestamp_millis(START_MS).unwrap_or_default()
    }

    /// LSN of the last record so far.
    #[must_use]
    pub const fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// What all records so far add up to.
    #[must_use]
    pub const fn state(&self) -> &State {
        &self.state
    }

    /// What the next record says: the one behind [`lsn`](Self::lsn). The same at every call.
    #[must_use]
    pub fn step(&self) -> Step {
        let number = self.lsn.next().get();
        let mut draw = Draw::new(self.seed, number);
        match draw.random.below(40) {
            0 => return Step::Update(draw.rows(&self.state)),
            1..=6 => {
                let count = draw.random.below(BATCH_CHANGES - 1) + 2;
                let changes: Vec<_> = (0..count).map(|_| draw.change()).collect();
                if self.changes_something(&changes) {
                    return Step::Append(changes);
                }
            }
            _ => {
                let changes = vec![draw.change()];
                if self.changes_something(&changes) {
                    return Step::Append(changes);
                }
            }
        }
        // Times only grow, so this one always says something new.
        Step::Append(vec![draw.seen()])
    }

    /// Takes the next record in and gives a checksum of what it says.
    ///
    /// # Errors
    /// Those of [`State::apply`], if the state that was resumed from is close to a limit.
    pub fn advance(&mut self) -> Result<u32, Error> {
        let changes = match self.step() {
            Step::Append(changes) => changes,
            Step::Update(rows) => self.state.changes_to(&rows)?,
        };
        let mut bytes = Vec::new();
        encode(&changes, &mut bytes)?;
        self.state.apply_all(&changes)?;
        self.lsn = self.lsn.next();
        Ok(crc32fast::hash(&bytes))
    }

    /// Takes all records up to an LSN in. Does nothing if they are in already.
    ///
    /// # Errors
    /// As for [`advance`](Self::advance).
    pub fn advance_to(&mut self, lsn: Lsn) -> Result<(), Error> {
        while self.lsn < lsn {
            self.advance()?;
        }
        Ok(())
    }

    fn changes_something(&self, changes: &[Change]) -> bool {
        let mut state = self.state.clone();
        state.apply_all(changes).is_ok_and(|effect| effect == Effect::Changed)
    }
}

/// Where it stands; the rows are in [`Workload::state`].
impl fmt::Debug for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workload")
            .field("seed", &self.seed)
            .field("lsn", &self.lsn)
            .finish_non_exhaustive()
    }
}

/// The first row in which two states differ, in words; `None` if they hold the same.
#[must_use]
pub fn difference(expected: &State, found: &State) -> Option<String> {
    let told = |what: &str, name: &dyn fmt::Display, of: &dyn fmt::Debug, is: String| {
        Some(format!("{what} {name} should be {of:?} and is {is}"))
    };
    for (key, entry) in expected.peers() {
        if found.peer(key) != Some(entry) {
            return told("peer", key, entry, format!("{:?}", found.peer(key)));
        }
    }
    for (key, ban) in expected.bans() {
        if found.ban(key) != Some(ban) {
            return told("the ban of", key, ban, format!("{:?}", found.ban(key)));
        }
    }
    for (key, entry) in expected.dht_entries() {
        if found.dht_entry(key) != Some(entry) {
            return told("DHT entry", &key, entry, format!("{:?}", found.dht_entry(key)));
        }
    }
    for (id, entry) in expected.packages() {
        if found.package(id) != Some(entry) {
            return told("package", &id, entry, format!("{:?}", found.package(id)));
        }
    }
    let (nodes, are) = (expected.bootstrap_nodes(), found.bootstrap_nodes());
    if nodes != are {
        return Some(format!("the bootstrap nodes should be {nodes:?} and are {are:?}"));
    }
    let (counts, are) = (expected.counts(), found.counts());
    let extra = counts != are || expected.peers().count() != found.peers().count();
    extra.then(|| format!("there are rows that nobody made: {counts:?} are expected, not {are:?}"))
}

/// The chance and the time of one record.
struct Draw {
    random: Prng,
    at: Time,
}

impl Draw {
    fn new(seed: u64, number: u64) -> Self {
        let mut mixed = Prng::new(number);
        let random = Prng::new(seed ^ mixed.next_u64());
        Self { random, at: moment(i64::try_from(number).unwrap_or(i64::MAX)) }
    }

    fn change(&mut self) -> Change {
        match self.random.below(100) {
            0..=24 => self.seen(),
            25..=39 => self.retrieval(),
            40..=54 => {
                Change::DhtPut { key: self.key(), value: self.bytes(VALUE_BYTES), at: self.at }
            }
            55..=61 => Change::PackageCached {
                id: self.package(),
                data: self.bytes(PACKAGE_BYTES),
                at: self.at,
            },
            62..=67 => Change::Evicted { peer: self.peer() },
            68..=71 => self.ban(),
            _ => self.rare_change(),
        }
    }

    fn rare_change(&mut self) -> Change {
        let peer = self.peer();
        match self.random.below(16) {
            0 => Change::Unbanned { peer },
            1 => Change::DhtRemoved { key: self.key() },
            2 => Change::PackageDropped { id: self.package() },
            3 => Change::BootstrapAdded { node: self.node() },
            4 => Change::BootstrapRemoved { node: self.node() },
            5 => Change::BootstrapReplaced { nodes: vec![self.node(), self.node()] },
            6 => Change::AddressesAdded { peer, addresses: self.addresses() },
            7 => Change::AddressesReplaced { peer, addresses: self.addresses() },
            8 => Change::AddressesRemoved { peer, addresses: self.addresses() },
            9 => Change::PeerProfiled {
                peer,
                agent: Some(format!("agent/{}", self.random.below(9)).into()),
                protocols: vec!["/ipfs/kad/1.0.0".into(), "/ping".into()],
            },
            10 => Change::PeerVerified { peer, verified: self.random.chance(1, 2) },
            11 => Change::PeerForgotten { peer },
            12 => Change::LocationSet { peer, location: self.location() },
            13 => Change::ReputationRemoved { peer },
            14 => Change::PackagesProvided { peer, count: self.random.below(50) },
            _ => Change::Expired { at: later(self.at, EXPIRY_MS - PACKAGE_MS) },
        }
    }

    fn seen(&mut self) -> Change {
        Change::PeerSeen { peer: self.peer(), at: self.at, addresses: self.addresses() }
    }

    fn retrieval(&mut self) -> Change {
        let (peer, at) = (self.peer(), self.at);
        if self.random.chance(1, 4) {
            return Change::RetrievalFailed { peer, at };
        }
        Change::RetrievalSucceeded { peer, at, response_ms: self.random.below(3000) }
    }

    fn ban(&mut self) -> Change {
        let seconds = i64::try_from(self.random.below(BAN_SECONDS) + 1).unwrap_or(1);
        Change::Banned {
            peer: self.peer(),
            at: self.at,
            until: later(self.at, seconds * 1000),
            reason: "spam".into(),
            source: "workload".into(),
        }
    }

    /// The rows of a state with some of them changed; the time of one row always is.
    fn rows(&mut self, state: &State) -> P2PState {
        let mut rows = state.to_rows(DateTime::UNIX_EPOCH);
        let gone = self.random.index(rows.peers.len());
        if gone < rows.peers.len() {
            rows.peers.remove(gone);
        }
        let peer_id = self.peer().to_string();
        rows.peers.retain(|row| row.peer_id != peer_id);
        rows.peers.push(SerializedPeer {
            peer_id,
            addresses: vec!["not an address".into(), "/ip4/192.0.2.7/tcp/4001".into()],
            last_seen: self.at.get(),
        });
        if let Some(row) = rows.dht_entries.first_mut() {
            row.value.push(7);
            row.value.truncate(usize::try_from(VALUE_BYTES).unwrap_or_default());
        }
        rows.dht_entries.truncate(30);
        rows.bootstrap_nodes.reverse();
        if let Some(row) = rows.reputation.first_mut() {
            row.packages_provided = row.packages_provided.wrapping_add(1) % 64;
        }
        rows
    }

    fn peer(&mut self) -> PeerKey {
        let number = self.random.below(PEERS);
        if number < 3 {
            return PeerKey::from_text(&format!("no peer id {number}"));
        }
        let mut bytes = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
        let mut key = [0; 32];
        Prng::new(number).fill(&mut key);
        bytes.extend_from_slice(&key);
        PeerId::from_bytes(&bytes)
            .map_or_else(|_| PeerKey::from_text(&format!("peer {number}")), PeerKey::from)
    }

    fn addresses(&mut self) -> Vec<Address> {
        let count = self.random.below(3) + 1;
        (0..count)
            .map(|_| {
                let port = 4000 + self.random.below(PORTS);
                Address::from_text(&format!("/ip4/192.0.2.1/tcp/{port}"))
            })
            .collect()
    }

    fn location(&mut self) -> Option<GeoLocation> {
        let degrees = u32::try_from(self.random.below(90)).unwrap_or_default();
        (degrees > 10).then(|| GeoLocation {
            latitude: f64::from(degrees) + 0.5,
            longitude: -f64::from(degrees),
            region: Some("somewhere".into()),
        })
    }

    fn key(&mut self) -> Box<str> {
        format!("key {}", self.random.below(KEYS)).into()
    }

    fn package(&mut self) -> Box<str> {
        format!("package {}", self.random.below(PACKAGES)).into()
    }

    fn node(&mut self) -> Box<str> {
        format!("/dns4/node-{}.example/tcp/4001", self.random.below(BOOTSTRAP_NODES)).into()
    }

    fn bytes(&mut self, most: u64) -> Box<[u8]> {
        let mut bytes = vec![0; self.random.index(usize::try_from(most).unwrap_or_default())];
        self.random.fill(&mut bytes);
        bytes.into()
    }
}

/// So many milliseconds after the clock's time.
fn moment(ms: i64) -> Time {
    DateTime::from_timestamp_millis(START_MS.saturating_add(ms)).unwrap_or_default().into()
}

fn later(time: Time, ms: i64) -> Time {
    let delta = TimeDelta::try_milliseconds(ms).unwrap_or_default();
    time.get().checked_add_signed(delta).unwrap_or_default().into()
}
