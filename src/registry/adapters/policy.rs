//! The rules: which facts about peers become which changes, how many, and how often.

mod room;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};

use super::{
    Config, Counters,
    book::{Added, Known, Source},
    bucket::Bucket,
};
use crate::state::{Change, PeerKey, Profile, State, Time};

/// Peers chosen at once to make room, so that a flood does not cost a search each.
const VICTIMS: usize = 64;
/// Most peers whose waiting facts one call writes.
const DUE_MAX: usize = 256;
/// Notes that wait for somebody to take them.
const NOTES_MAX: usize = 1024;

/// One thing that a program learns of a peer.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant says what its fields are for")]
pub enum Fact<'a> {
    /// We dialled the address and the peer was there: hard the first time, soft after.
    Dialled { peer: &'a PeerId, address: &'a Multiaddr },
    /// The peer dialled us: soft. Its port says nothing of where it listens.
    Accepted { peer: &'a PeerId },
    /// A connection ended: soft.
    Closed { peer: &'a PeerId },
    /// The peer did something: soft.
    Alive { peer: &'a PeerId },
    /// It took a ping this long to come back: kept in memory only.
    Latency { peer: &'a PeerId, rtt: Duration },
    /// Somebody says that the peer is there: hard at first sight.
    Heard { peer: &'a PeerId, address: &'a Multiaddr },
    /// The same, but a mere candidate: soft.
    Candidate { peer: &'a PeerId, address: &'a Multiaddr },
    /// The peer says of itself where it listens (instead of what it said before), what it runs and
    /// what it speaks: hard where it changed.
    Identified {
        peer: &'a PeerId,
        addresses: &'a [Multiaddr],
        agent: &'a str,
        protocols: &'a [&'a str],
    },
    /// Nobody answered there: counted, and after some the address goes.
    Unreachable { peer: &'a PeerId, address: &'a Multiaddr },
    /// Somebody else is there: hard.
    SomebodyElse { peer: &'a PeerId, address: &'a Multiaddr },
}

/// What a [`Policy`] changed in its book, for those who show it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub enum Note {
    AddressAdded {
        peer: PeerId,
        address: Multiaddr,
    },
    AddressRemoved {
        peer: PeerId,
        address: Multiaddr,
    },
    /// The peer had to make room for another.
    PeerEvicted {
        peer: PeerId,
    },
}

/// Turns facts into [`Change`]s: limits, coalescing, token buckets, removal after failures,
/// eviction.
///
/// Plain data: it reads no clock and touches no disk, so that its rules can be tested without a
/// swarm. It holds what it knows of each peer, and of that what the journal does not have yet.
/// Every call that returns changes expects them to be appended, in order; what the journal refuses
/// is given back with [`refused`](Self::refused).
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) config: Config,
    local: PeerId,
    book: HashMap<PeerId, Known>,
    unverified: usize,
    connections: usize,
    budget: Bucket,
    /// Peers of which the journal lacks something.
    waiting: HashSet<PeerId>,
    /// Peers that the journal still has.
    evicted: Vec<PeerId>,
    victims: VecDeque<PeerId>,
    notes: Option<VecDeque<Note>>,
    pub(super) counters: Counters,
}

impl Policy {
    /// A policy that knows nobody. `local` is this node, of which nothing is remembered.
    #[must_use]
    pub fn new(local: PeerId, config: Config) -> Self {
        Self {
            config,
            local,
            book: HashMap::new(),
            unverified: 0,
            connections: 0,
            budget: Bucket::full(),
            waiting: HashSet::new(),
            evicted: Vec::new(),
            victims: VecDeque::new(),
            notes: None,
            counters: Counters::default(),
        }
    }

    /// A policy that knows the peers of a state. Where those are more than the limits allow it
    /// takes the best: those we reached, then those seen last. The rest stays in the store
    /// untouched.
    #[must_use]
    pub fn restored(local: PeerId, config: Config, state: &State) -> Self {
        let mut policy = Self::new(local, config);
        let mut rows: Vec<_> = state
            .peers()
            .filter_map(|(key, entry)| Some((key, entry, entry.seen.as_ref()?)))
            .collect();
        rows.sort_by_key(|(_, _, row)| std::cmp::Reverse((row.verified, row.last_seen)));
        for (key, entry, row) in rows {
            let Some(peer) = key.to_peer_id().filter(|peer| *peer != local) else { continue };
            let is_crowd = !row.verified && policy.unverified >= policy.config.unverified_peers;
            if is_crowd || policy.book.len() >= policy.config.peers {
                break;
            }
            let keep = |address: &Multiaddr| policy.normal(&peer, address);
            let most = policy.most_addresses(row.verified);
            let known = Known::restored(row, entry.profile.as_ref(), keep, most);
            if known.waits() {
                policy.waiting.insert(peer);
            }
            policy.unverified += usize::from(!known.verified);
            policy.book.insert(peer, known);
        }
        policy
    }

    /// Keeps [`Note`]s from now on; see [`take_note`](Self::take_note).
    pub fn keep_notes(&mut self) {
        self.notes.get_or_insert_default();
    }

    /// The oldest note that nobody took. At most 1024 wait; older ones are forgotten.
    pub fn take_note(&mut self) -> Option<Note> {
        self.notes.as_mut()?.pop_front()
    }

    /// The peer's addresses, the best first; `None` if it is not known.
    pub fn addresses(&self, peer: &PeerId) -> Option<impl Iterator<Item = &Multiaddr> + use<'_>> {
        Some(self.book.get(peer)?.addresses.iter().map(|known| &known.address))
    }

    /// Number of peers known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.book.len()
    }

    /// True if no peer is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.book.is_empty()
    }

    /// Moving average of the peer's ping time; forgotten at a restart.
    #[must_use]
    pub fn latency(&self, peer: &PeerId) -> Option<Duration> {
        self.book.get(peer)?.latency
    }

    /// Takes in one fact and gives the changes to append now, if any.
    #[must_use = "the changes are to be appended"]
    pub fn observe(&mut self, fact: Fact<'_>, now: Time) -> Vec<Change> {
        let peer = match fact {
            Fact::Dialled { peer, address } => self.dialled(peer, address, now),
            Fact::Accepted { peer } => {
                self.connections = self.connections.saturating_add(1);
                if let Some(known) = self.meet(peer, false, now) {
                    known.connections = known.connections.saturating_add(1);
                    known.seen = known.seen.max(now);
                }
                peer
            }
            Fact::Closed { peer } => {
                self.connections = self.connections.saturating_sub(1);
                if let Some(known) = self.book.get_mut(peer) {
                    known.connections = known.connections.saturating_sub(1);
                    known.seen = known.seen.max(now);
                }
                peer
            }
            Fact::Alive { peer } => {
                if let Some(known) = self.book.get_mut(peer) {
                    known.seen = known.seen.max(now);
                    known.touched = now;
                }
                peer
            }
            Fact::Latency { peer, rtt } => {
                if let Some(known) = self.book.get_mut(peer) {
                    let old = known.latency.unwrap_or(rtt);
                    known.latency = Some((old * 7 + rtt * 3) / 10);
                }
                return Vec::new();
            }
            Fact::Heard { peer, address } => self.heard(peer, address, true, now),
            Fact::Candidate { peer, address } => self.heard(peer, address, false, now),
            Fact::Identified { peer, addresses, agent, protocols } => {
                let profile = self.cut(agent, protocols);
                self.identified(peer, addresses, profile, now)
            }
            Fact::Unreachable { peer, address } => self.unreachable(peer, address, now),
            Fact::SomebodyElse { peer, address } => {
                if let Some(address) = self.normal(peer, address) {
                    self.remove(peer, &address);
                }
                peer
            }
        };
        let mut changes = self.take_evictions();
        changes.extend(self.write(peer, now));
        changes
    }

    /// The changes whose turn has come: soft facts after their minute, and whatever a bucket had no
    /// token for. Call it about every [`tick`](Config::tick).
    #[must_use = "the changes are to be appended"]
    pub fn due(&mut self, now: Time) -> Vec<Change> {
        let mut changes = self.take_evictions();
        if !self.budget.is_ready(self.config.records_per_minute_total, now) {
            return changes;
        }
        let waiting: Vec<PeerId> = self.waiting.iter().copied().collect();
        let mut written = 0;
        for peer in waiting {
            let more = self.write(&peer, now);
            written += usize::from(!more.is_empty());
            changes.extend(more);
            if written >= DUE_MAX {
                break;
            }
        }
        changes
    }

    /// Everything that waits, whatever the buckets say: for the end of the program.
    #[must_use = "the changes are to be appended"]
    pub fn rest(&mut self, now: Time) -> Vec<Change> {
        let mut changes = self.take_evictions();
        for peer in std::mem::take(&mut self.waiting) {
            if let Some(known) = self.book.get_mut(&peer) {
                changes.extend(known.take_changes(&peer, now));
            }
        }
        changes
    }

    /// The journal had no room for these changes: they wait again.
    pub fn refused(&mut self, changes: &[Change]) {
        for change in changes {
            let Some(peer) = change.peer().and_then(PeerKey::to_peer_id) else { continue };
            if let Change::Evicted { .. } = change {
                self.evicted.push(peer);
            } else if let Some(known) = self.book.get_mut(&peer) {
                known.unwrite(change);
                self.waiting.insert(peer);
            }
        }
    }

    fn dialled<'a>(&mut self, peer: &'a PeerId, address: &Multiaddr, now: Time) -> &'a PeerId {
        self.connections = self.connections.saturating_add(1);
        let normal = self.normal(peer, address);
        let most = self.config.addresses_per_peer;
        let Some(known) = self.meet(peer, true, now) else { return peer };
        known.connections = known.connections.saturating_add(1);
        known.seen = known.seen.max(now);
        let is_first = !known.verified;
        known.verified = true;
        if is_first {
            known.is_hard();
        }
        if let Some(address) = normal {
            let added = known.add(address.clone(), Source::Proven, most);
            known.prove(&address);
            if !matches!(added, Added::Known | Added::Refused) {
                known.is_hard();
            }
            self.note(peer, address, added);
        }
        self.unverified = self.unverified.saturating_sub(usize::from(is_first));
        peer
    }

    fn heard<'a>(
        &mut self,
        peer: &'a PeerId,
        address: &Multiaddr,
        is_hard: bool,
        now: Time,
    ) -> &'a PeerId {
        let Some(address) = self.normal(peer, address) else { return peer };
        let Some(known) = self.meet(peer, false, now) else { return peer };
        let is_verified = known.verified;
        let most = self.most_addresses(is_verified);
        let Some(known) = self.book.get_mut(peer) else { return peer };
        let added = known.add(address.clone(), Source::Heard, most);
        if is_hard && !matches!(added, Added::Known | Added::Refused) {
            known.is_hard();
        }
        self.note(peer, address, added);
        peer
    }

    fn identified<'a>(
        &mut self,
        peer: &'a PeerId,
        addresses: &[Multiaddr],
        profile: Profile,
        now: Time,
    ) -> &'a PeerId {
        let Some(known) = self.meet(peer, false, now) else { return peer };
        known.seen = known.seen.max(now);
        let most = if known.verified {
            self.config.addresses_per_peer
        } else {
            self.config.addresses_per_unverified_peer
        };
        let mut says: Vec<Multiaddr> = Vec::new();
        // A list of thousands is not even looked through.
        for address in addresses.iter().take(most.saturating_mul(4)) {
            let normal = self.normal(peer, address).filter(|normal| !says.contains(normal));
            says.extend(normal.filter(|_| says.len() < most));
        }
        let Some(known) = self.book.get_mut(peer) else { return peer };
        let retracted = known.retract(&says);
        if known.set_profile(profile) || !retracted.is_empty() {
            known.is_hard();
        }
        for address in retracted {
            self.tell(Note::AddressRemoved { peer: *peer, address });
        }
        for address in says {
            let Some(known) = self.book.get_mut(peer) else { break };
            let added = known.add(address.clone(), Source::Identify, most);
            if !matches!(added, Added::Known | Added::Refused) {
                known.is_hard();
            }
            self.note(peer, address, added);
        }
        peer
    }
}
