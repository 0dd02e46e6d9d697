//! The rules: which facts about peers become which changes, how many, and how often.

mod age;
mod fact;
mod learn;
mod room;
#[cfg(test)]
mod tests;
mod turn;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};

use super::{
    Config, Counters,
    book::{Added, Informant, Known, Source},
    bucket::Bucket,
    clock::{AgeClock, Moment, Now},
};
use crate::{
    registry::addresses::{Network, Scope, link_scope, network, normal_address},
    state::{Change, Peer, PeerEntry, State, Time},
};

pub use fact::Fact;

/// Notes that wait for somebody to take them.
const NOTES_MAX: usize = 1024;
/// Age of the last time a peer was seen at which a ping makes it seen again.
const SEEN_BY_PING: Duration = Duration::from_secs(600);

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
    /// The peer had to make room for another, or nothing of use was left of it.
    PeerEvicted {
        peer: PeerId,
    },
}

/// Turns facts into [`Change`]s: limits, coalescing, token buckets, removal after failures and with
/// age, eviction.
///
/// Plain data: it reads no clock and touches no disk, so that its rules can be tested without a
/// swarm. It holds what it knows of each peer. Each call is given the time and what the store has,
/// and gives back the changes that make the store say what is known, as far as their turn has come.
/// They are to be appended, in order, before the next call; what the journal refuses is given back
/// with [`refused`](Self::refused).
#[derive(Clone, Debug)]
pub struct Policy {
    pub(super) config: Config,
    local: PeerId,
    pinned: HashSet<PeerId>,
    clock: AgeClock,
    book: HashMap<PeerId, Known>,
    /// The peers of the book that are not verified, by whose word they are there.
    crowds: HashMap<Informant, HashSet<PeerId>>,
    unverified: usize,
    connected: HashMap<PeerId, Link>,
    budget: Bucket,
    strangers: Bucket,
    /// Peers of which the journal lacks something.
    waiting: HashSet<PeerId>,
    /// Peers that the journal still has.
    evicted: Vec<PeerId>,
    victims: VecDeque<PeerId>,
    swept: Moment,
    notes: Option<VecDeque<Note>>,
    pub(super) counters: Counters,
}

/// The connections to one peer.
#[derive(Clone, Debug)]
struct Link {
    connections: u32,
    /// The nearest.
    reach: Scope,
    network: Network,
}

impl Policy {
    /// A policy that knows nobody. `local` is this node, of which nothing is remembered.
    #[must_use]
    pub fn new(local: PeerId, config: Config) -> Self {
        Self {
            pinned: config.pinned.iter().copied().collect(),
            config,
            local,
            clock: AgeClock::default(),
            book: HashMap::new(),
            crowds: HashMap::new(),
            unverified: 0,
            connected: HashMap::new(),
            budget: Bucket::full(),
            strangers: Bucket::full(),
            waiting: HashSet::new(),
            evicted: Vec::new(),
            victims: VecDeque::new(),
            swept: Moment::LONG_AGO,
            notes: None,
            counters: Counters::default(),
        }
    }

    /// A policy that knows the peers of a state. Where those are more than the limits allow it
    /// takes the best: those we reached, then those seen last. The rest stays in the store
    /// untouched.
    ///
    /// The store does not tell when an address was last mentioned. Those of a peer that we reached
    /// count from when it was last seen, but stay for at least an hour; all others count from
    /// `now`: for 24 h if the peer was ever seen, else for 1 h, by the defaults of [`Config`].
    #[must_use]
    pub fn restored(local: PeerId, config: Config, state: &State, now: Time) -> Self {
        let mut policy = Self::new(local, config);
        let now = policy.clock.now(now);
        let rank = |entry: &PeerEntry| {
            entry.seen.as_ref().map_or((false, Time::EPOCH), |row| (row.verified, row.last_seen))
        };
        let mut rows: Vec<_> = state.peers().collect();
        rows.sort_by_key(|(_, entry)| std::cmp::Reverse(rank(entry)));
        for (key, entry) in rows {
            let Some(peer) = key.to_peer_id().filter(|peer| *peer != local) else { continue };
            let is_crowd = !rank(entry).0 && policy.unverified >= policy.config.unverified_peers;
            if is_crowd || policy.book.len() >= policy.config.peers {
                break;
            }
            let known = policy.restore(&peer, entry, now);
            policy.enlist(peer, known);
        }
        policy
    }

    /// Never evicts the peer from now on, nor removes its addresses for failures or age.
    pub fn pin(&mut self, peer: PeerId) {
        self.pinned.insert(peer);
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

    /// Of these, the addresses that the peer itself named, or at which it was reached, since the
    /// start: fit to be passed on, as in a routing table.
    pub fn confirmed_addresses(&self, peer: &PeerId) -> impl Iterator<Item = &Multiaddr> + use<'_> {
        self.book.get(peer).into_iter().flat_map(Known::confirmed)
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

    /// True if this peer is known.
    #[must_use]
    pub fn knows(&self, peer: &PeerId) -> bool {
        self.book.contains_key(peer)
    }

    /// Moving average of the peer's ping time; forgotten at a restart.
    #[must_use]
    pub fn latency(&self, peer: &PeerId) -> Option<Duration> {
        self.book.get(peer)?.latency
    }

    /// Takes in one fact and gives the changes to append now, if any. What is told by or of a
    /// banned peer is passed over.
    #[must_use = "the changes are to be appended"]
    pub fn observe(&mut self, fact: Fact<'_>, now: Time, state: &State) -> Vec<Change> {
        let now = self.clock.now(now);
        let peer = fact.peer();
        match fact {
            Fact::Dialled { address, .. } => {
                self.connect(peer, address);
                self.dialled(peer, address, now, state);
            }
            Fact::Accepted { address, .. } => {
                self.connect(peer, address);
                let informant = Informant::Network(network(address));
                if let Some(known) = self.meet(peer, Some(informant), now, state) {
                    known.see(now.wall);
                }
            }
            Fact::Closed { .. } => {
                self.disconnect(peer);
                self.touch(peer, now, |known| known.see(now.wall));
            }
            Fact::Alive { .. } => self.touch(peer, now, |known| known.see(now.wall)),
            Fact::Latency { rtt, .. } => self.touch(peer, now, |known| {
                let old = known.latency.unwrap_or(rtt);
                known.latency = Some((old * 7 + rtt * 3) / 10);
                if now.moment(known.seen).is_past(SEEN_BY_PING, now.age) {
                    known.see(now.wall);
                }
            }),
            Fact::Heard { address, .. } => self.heard(peer, address, None, true, (now, state)),
            Fact::Candidate { address, .. } => self.heard(peer, address, None, false, (now, state)),
            Fact::Told { address, by, .. } => {
                self.heard(peer, address, Some(by), true, (now, state));
            }
            Fact::Identified { addresses, agent, protocols, record, .. } => {
                let profile = self.cut(agent, protocols);
                self.identified(peer, addresses, record, profile, (now, state));
            }
            Fact::Unreachable { address, .. } => self.unreachable(peer, address, now, state),
            Fact::SomebodyElse { address, .. } => {
                if let Some(address) = self.normal(peer, address) {
                    self.remove(peer, &address, state);
                }
            }
        }
        let mut changes = self.take_evictions();
        changes.extend(self.write(peer, now, state));
        if self.book.get(peer).is_some_and(Known::is_hard) {
            self.counters.coalesced = self.counters.coalesced.saturating_add(1);
        }
        changes
    }

    fn touch(&mut self, peer: &PeerId, now: Now, change: impl FnOnce(&mut Known)) {
        if let Some(known) = self.book.get_mut(peer) {
            known.touched = now.age;
            change(known);
        }
    }

    fn harden_if(&mut self, peer: &PeerId, is_hard: bool) {
        if let Some(known) = self.book.get_mut(peer).filter(|_| is_hard) {
            known.harden();
        }
    }

    fn connect(&mut self, peer: &PeerId, address: &Multiaddr) {
        let (reach, network) = (link_scope(address), network(address));
        let link = self.connected.entry(*peer).or_insert(Link { connections: 0, reach, network });
        link.connections = link.connections.saturating_add(1);
        link.reach = link.reach.min(reach);
    }

    fn disconnect(&mut self, peer: &PeerId) {
        let Some(link) = self.connected.get_mut(peer) else { return };
        link.connections = link.connections.saturating_sub(1);
        if link.connections == 0 {
            self.connected.remove(peer);
        }
    }

    fn normal(&self, peer: &PeerId, address: &Multiaddr) -> Option<Multiaddr> {
        normal_address(peer, address, self.config.address_bytes)
    }
}

fn is_banned(peer: &PeerId, now: Now, state: &State) -> bool {
    state.ban(&peer.into()).is_some_and(|ban| ban.is_active(now.wall))
}

fn row_of(entry: Option<&PeerEntry>) -> Option<&Peer> {
    entry?.seen.as_ref()
}
