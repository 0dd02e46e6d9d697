//! What the network says becomes what the journal says: which event is a record at once, which is
//! coalesced, which is none at all.
//!
//! Every event first lands in the peer's [`Pending`]. A hard event then writes it as one record, if
//! the peer has a token left; everything else goes out with the next coalesced write, all peers in
//! one record. What is already known is never written again. A failed dial is only counted, in
//! memory.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    time::Instant,
};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{
    RegistryLimits,
    addresses::{Scope, normalised, scope},
    budget::Budget,
    evict,
    pending::{Pending, now, profile},
};
use crate::{
    Error, ErrorKind, P2PStatePersistence,
    state::{Address, Change, Peer, State, Time},
};

/// Failed dials after which an address of a peer that we never spoke to is forgotten.
const FAILURES_UNVERIFIED: u32 = 3;
/// The same for a peer that we spoke to; its last address stays.
const FAILURES_VERIFIED: u32 = 10;
/// Other connections that must be up for a failed dial to count: offline, every dial fails.
const CONNECTIONS_TO_COUNT: usize = 2;
/// Failed addresses that are counted at once.
const FAILURES_MAX: usize = 16_384;
/// Records a minute that peers without a row can cause together; more are coalesced.
const STRANGERS_PER_MINUTE: u32 = 60;
/// Peers in one coalesced record.
const PEERS_PER_RECORD: usize = 256;
/// Age in seconds at which the time a connected peer was seen is refreshed.
const SEEN_REFRESH_SECONDS: i64 = 600;

/// Turns events into changes.
#[derive(Debug)]
pub(super) struct Recorder {
    store: P2PStatePersistence,
    limits: RegistryLimits,
    local: PeerId,
    /// Bootstrap peers: never evicted, and their failures do not count.
    pinned: HashSet<PeerId>,
    /// Peers with a connection, and how far the first one reaches.
    connected: HashMap<PeerId, Scope>,
    /// Addresses of connected peers that we dialled with success.
    proven: HashMap<PeerId, Vec<Address>>,
    failures: HashMap<(PeerId, Address), u32>,
    pending: HashMap<PeerId, Pending>,
    written: HashMap<PeerId, Instant>,
    budget: Budget,
    strangers: Budget,
    counters: Counters,
}

/// What the recorder did beside writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Records that were coalesced because a peer caused too many.
    pub coalesced: u64,
    /// Peers evicted to make room.
    pub evicted: u64,
    /// Changes that the store refused, or for which there was no room.
    pub refused: u64,
    /// Inbound connections that failed; they never reach the journal.
    pub incoming_errors: u64,
    /// Messages and records of other peers that broke a rule.
    pub invalid: u64,
}

impl Recorder {
    pub(super) fn new(store: P2PStatePersistence, limits: RegistryLimits, local: PeerId) -> Self {
        Self {
            budget: Budget::new(limits.records_per_minute),
            strangers: Budget::new(STRANGERS_PER_MINUTE),
            store,
            limits,
            local,
            pinned: HashSet::new(),
            connected: HashMap::new(),
            proven: HashMap::new(),
            failures: HashMap::new(),
            pending: HashMap::new(),
            written: HashMap::new(),
            counters: Counters::default(),
        }
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    pub(super) fn pin(&mut self, peer: PeerId) {
        self.pinned.insert(peer);
    }

    pub(super) fn is_connected(&self, peer: &PeerId) -> bool {
        self.connected.contains_key(peer)
    }

    /// We dialled the peer and it answered; `failed` are addresses that did not.
    pub(super) fn dialled(&mut self, peer: &PeerId, address: &Multiaddr, failed: &[Multiaddr]) {
        self.connected.entry(*peer).or_insert_with(|| scope(address));
        self.dials_failed(peer, failed);
        let Some(address) = normalised(address, peer, self.limits.address_bytes) else {
            return self.saw(peer);
        };
        let address = Address::from(address);
        self.failures.remove(&(*peer, address.clone()));
        let proven = self.proven.entry(*peer).or_default();
        if !proven.contains(&address) && proven.len() < self.limits.addresses_unverified {
            proven.push(address.clone());
        }
        let known = self.known(peer);
        let news =
            known.is_none_or(|old| !old.verified || !old.addresses.contains(address.as_ref()));
        self.note(peer, |pending| {
            pending.seen = Some(now());
            pending.verified = true;
            pending.add(address);
        });
        if news {
            self.write_now(peer);
        }
    }

    /// The peer dialled us. Its port is not one to dial, so that no address is kept.
    pub(super) fn answered(&mut self, peer: &PeerId, remote: &Multiaddr) {
        self.connected.entry(*peer).or_insert_with(|| scope(remote));
        self.saw(peer);
    }

    /// A connection to the peer closed.
    pub(super) fn closed(&mut self, peer: &PeerId, left: u32) {
        if left == 0 {
            self.connected.remove(peer);
            self.proven.remove(peer);
        }
        self.saw(peer);
    }

    /// The peer answered a ping: only news if it was not seen for long.
    pub(super) fn pinged(&mut self, peer: &PeerId) {
        let now = now().get();
        let old = self.known(peer).map(|old| old.last_seen.get());
        if old.is_some_and(|old| (now - old).num_seconds() > SEEN_REFRESH_SECONDS) {
            self.saw(peer);
        }
    }

    /// What the peer says of itself. Gives the addresses that pass the limits, and those that were
    /// dialled with success.
    pub(super) fn identified(
        &mut self,
        peer: &PeerId,
        agent: &str,
        protocols: &[&str],
        listening: &[Multiaddr],
    ) -> Vec<Multiaddr> {
        // Who reaches us over the internet cannot be reached at a private address.
        let reach = self.connected.get(peer).copied();
        let mut kept: Vec<Multiaddr> = Vec::new();
        for address in listening {
            if kept.len() >= self.limits.addresses_unverified {
                break;
            }
            let near = reach.is_some_and(|reach| scope(address) < reach);
            match normalised(address, peer, self.limits.address_bytes) {
                Some(address) if !near && !kept.contains(&address) => kept.push(address),
                _ => {}
            }
        }
        let profile = profile(agent, protocols, &self.limits);
        // What was proved stays, whatever the peer says.
        let proven = self.proven.get(peer).cloned().unwrap_or_default();
        let said = !kept.is_empty();
        for address in proven.iter().filter_map(Address::to_multiaddr) {
            if !kept.contains(&address) {
                kept.push(address);
            }
        }
        let addresses = kept.iter().map(Address::from).collect();
        self.note(peer, |pending| {
            pending.seen = Some(now());
            pending.profile = Some(profile);
            if said {
                pending.replace(addresses);
            }
        });
        self.write_now(peer);
        kept
    }

    /// We heard of addresses of a peer.
    pub(super) fn heard<'a>(
        &mut self,
        peer: &PeerId,
        addresses: impl Iterator<Item = &'a Multiaddr>,
    ) {
        let bytes_max = self.limits.address_bytes;
        let addresses: Vec<Address> = addresses
            .take(self.limits.addresses_unverified)
            .filter_map(|address| normalised(address, peer, bytes_max).map(Address::from))
            .collect();
        if !addresses.is_empty() {
            self.note(peer, |pending| addresses.into_iter().for_each(|one| pending.add(one)));
            self.write_now(peer);
        }
    }

    /// Dials of these addresses failed. Counts only while the node is online.
    pub(super) fn dials_failed(&mut self, peer: &PeerId, addresses: &[Multiaddr]) {
        let others = self.connected.len() - usize::from(self.connected.contains_key(peer));
        if others < CONNECTIONS_TO_COUNT || self.pinned.contains(peer) || addresses.is_empty() {
            return;
        }
        let Some(old) = self.known(peer) else { return };
        let most = if old.verified { FAILURES_VERIFIED } else { FAILURES_UNVERIFIED };
        for address in addresses {
            let Some(address) = normalised(address, peer, self.limits.address_bytes) else {
                continue;
            };
            let address = Address::from(address);
            let last = old.verified && old.addresses.len() == 1;
            if last || !old.addresses.contains(address.as_ref()) {
                continue;
            }
            if self.failures.len() >= FAILURES_MAX {
                self.failures.clear();
            }
            let count = self.failures.entry((*peer, address.clone())).or_default();
            *count += 1;
            if *count >= most {
                self.failures.remove(&(*peer, address.clone()));
                self.forget_address(peer, address);
            }
        }
    }

    /// Somebody else, or this node itself, is at this address.
    pub(super) fn misplaced(&mut self, peer: &PeerId, address: &Multiaddr) {
        let old = normalised(address, peer, self.limits.address_bytes).map(Address::from);
        let known = self.known(peer);
        if let (Some(address), Some(known)) = (old, known)
            && known.addresses.contains(address.as_ref())
        {
            self.forget_address(peer, address);
        }
    }

    /// The peer announced so many packages that we know of.
    pub(super) fn provides(&mut self, peer: &PeerId, count: usize) {
        // A stranger gets no row by announcing.
        if *peer == self.local || self.known(peer).is_some() || self.is_connected(peer) {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.note(peer, |pending| pending.provided = Some(count));
        }
    }

    /// Writes what is pending, but no peer more often than the limit says; `everything` at the end.
    pub(super) fn write_pending(&mut self, everything: bool) {
        let at = Instant::now();
        self.budget.prune(at);
        let within = self.limits.coalesce_within;
        self.written.retain(|_, written| at.saturating_duration_since(*written) < within);
        let written = &self.written;
        let due = |peer: &PeerId| everything || !written.contains_key(peer);
        let due: Vec<PeerId> = self.pending.keys().filter(|peer| due(peer)).copied().collect();
        for peers in due.chunks(PEERS_PER_RECORD) {
            let Some(state) = self.state() else { return };
            let mut news = Vec::new();
            let mut strangers = 0;
            for peer in peers {
                if let Some(pending) = self.pending.remove(peer) {
                    let new = pending.into_changes(peer, &state, &self.limits);
                    strangers += usize::from(!new.is_empty() && state.peer(&peer.into()).is_none());
                    news.extend(new);
                    self.written.insert(*peer, at);
                }
            }
            let mut changes = self.make_room(&state, strangers);
            changes.extend(news);
            drop(state);
            self.append(changes);
        }
    }

    /// Appends changes as one record; a refusal is counted, because nobody can be told.
    pub(super) fn append(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.store.append_batch(changes) {
            self.refused(&error);
        }
    }

    pub(super) fn refused(&mut self, error: &Error) {
        self.counters.refused += 1;
        if error.kind() != ErrorKind::Closed {
            tracing::warn!(error = format!("{error:#}"), "a change was not recorded");
        }
    }

    fn saw(&mut self, peer: &PeerId) {
        self.note(peer, |pending| pending.seen = Some(now()));
    }

    fn forget_address(&mut self, peer: &PeerId, address: Address) {
        if let Some(proven) = self.proven.get_mut(peer) {
            proven.retain(|known| *known != address);
        }
        self.note(peer, |pending| pending.remove(address));
        self.write_now(peer);
    }

    fn note(&mut self, peer: &PeerId, change: impl FnOnce(&mut Pending)) {
        if *peer == self.local {
            return;
        }
        let room = self.pending.len() < self.limits.peers;
        match self.pending.entry(*peer) {
            Entry::Occupied(mut entry) => change(entry.get_mut()),
            Entry::Vacant(entry) if room => change(entry.insert(Pending::default())),
            Entry::Vacant(_) => self.counters.refused += 1,
        }
    }

    /// Writes what is pending of one peer, if it changes anything and the peer has a token.
    fn write_now(&mut self, peer: &PeerId) {
        let Some(state) = self.state() else { return };
        let Some(pending) = self.pending.get(peer) else { return };
        let is_news = pending.is_news(peer, &state, &self.limits);
        if !is_news {
            return;
        }
        let at = Instant::now();
        let unknown = state.peer(&peer.into()).is_none();
        let allowed = self.budget.take(peer, at)
            && (!unknown || self.is_pinned(peer) || self.strangers.take(&self.local, at));
        if !allowed {
            self.counters.coalesced += 1;
            return;
        }
        if let Some(pending) = self.pending.remove(peer) {
            let mut changes = self.make_room(&state, usize::from(unknown));
            changes.extend(pending.into_changes(peer, &state, &self.limits));
            // A state that is held on to has to be copied where it changes.
            drop(state);
            self.append(changes);
        }
    }

    fn is_pinned(&self, peer: &PeerId) -> bool {
        self.pinned.contains(peer)
    }

    /// Evicts peers until `new` more fit. Each eviction is journaled, or replay would bring it
    /// back.
    fn make_room(&mut self, state: &State, new: usize) -> Vec<Change> {
        if new == 0 {
            return Vec::new();
        }
        let keep = |peer: &PeerId| {
            self.connected.contains_key(peer) || self.pinned.contains(peer) || *peer == self.local
        };
        let now = Time::from(chrono::Utc::now());
        let evicted = evict::victims(state, &self.limits, new, now, keep);
        self.counters.evicted += u64::try_from(evicted.len()).unwrap_or(u64::MAX);
        evicted.into_iter().map(|peer| Change::Evicted { peer }).collect()
    }

    fn known(&self, peer: &PeerId) -> Option<Peer> {
        self.store.view().ok()?.peer(peer)?.seen.clone()
    }

    fn state(&self) -> Option<State> {
        Some(self.store.view().ok()?.state().clone())
    }
}
