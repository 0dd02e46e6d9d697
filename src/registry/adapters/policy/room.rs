//! The half of the policy that says no: cuts, failures, eviction, and what may be written when.

use libp2p::{Multiaddr, PeerId};

use super::{Added, Known, NOTES_MAX, Note, Policy, VICTIMS};
use crate::{
    registry::adapters::normal::normal_address,
    state::{AddressRef, Change, PeerEntry, Profile, Time},
};

impl Policy {
    /// The peer, which comes to be known if there is room. Only a peer that we dialled ourselves
    /// (`is_ours`) takes the room of another that we reached.
    pub(super) fn meet(&mut self, peer: &PeerId, is_ours: bool, now: Time) -> Option<&mut Known> {
        if *peer == self.local {
            return None;
        }
        if !self.book.contains_key(peer) {
            let is_crowd = self.unverified >= self.config.unverified_peers;
            let is_full = is_crowd || self.book.len() >= self.config.peers;
            if is_full && !self.evict(is_ours && !is_crowd) {
                self.counters.peers_refused = self.counters.peers_refused.saturating_add(1);
                return None;
            }
            self.book.insert(*peer, Known::new(now));
            self.unverified += 1;
        }
        let known = self.book.get_mut(peer)?;
        known.touched = now;
        Some(known)
    }

    /// Brings the book in line with what the store says of a peer, for programs that also write to
    /// the store themselves: it learns of peers and addresses that they added, and forgets a peer
    /// that they forgot.
    pub fn reconcile(&mut self, peer: &PeerId, entry: Option<&PeerEntry>) {
        let row = entry.and_then(|entry| entry.seen.as_ref().map(|row| (entry, row)));
        let Some((entry, row)) = row.filter(|_| *peer != self.local) else {
            let is_forgotten = |known: &Known| known.in_journal() && known.connections == 0;
            if self.book.get(peer).is_some_and(is_forgotten) {
                let known = self.book.remove(peer);
                let was_unverified = known.is_some_and(|known| !known.verified);
                self.unverified = self.unverified.saturating_sub(usize::from(was_unverified));
                self.waiting.remove(peer);
            }
            return;
        };
        let keep = |address: &Multiaddr| self.normal(peer, address);
        if let Some(known) = self.book.get(peer) {
            let most = self.most_addresses(known.verified || row.verified);
            let written = row.addresses.iter().filter_map(AddressRef::to_multiaddr);
            let normal: Vec<Multiaddr> = written.filter_map(|address| keep(&address)).collect();
            if let Some(known) = self.book.get_mut(peer) {
                known.adopt(normal.into_iter(), most);
            }
        } else if self.book.len() < self.config.peers {
            let most = self.most_addresses(row.verified);
            let known = Known::restored(row, entry.profile.as_ref(), keep, most);
            if known.waits() {
                self.waiting.insert(*peer);
            }
            self.unverified += usize::from(!known.verified);
            self.book.insert(*peer, known);
        }
    }

    /// Drops one peer; the unverified go first, then the verified if they may, the oldest first.
    fn evict(&mut self, may_be_verified: bool) -> bool {
        loop {
            if self.victims.is_empty() {
                self.choose_victims(may_be_verified);
            }
            let Some(peer) = self.victims.pop_front() else { return false };
            // It may have come into use since it was chosen.
            let may_go =
                |known: &Known| known.connections == 0 && (!known.verified || may_be_verified);
            if !self.book.get(&peer).is_some_and(may_go) {
                continue;
            }
            let Some(known) = self.book.remove(&peer) else { continue };
            self.unverified = self.unverified.saturating_sub(usize::from(!known.verified));
            self.waiting.remove(&peer);
            if known.in_journal() {
                self.evicted.push(peer);
            }
            self.counters.peers_evicted = self.counters.peers_evicted.saturating_add(1);
            self.tell(Note::PeerEvicted { peer });
            return true;
        }
    }

    fn choose_victims(&mut self, may_be_verified: bool) {
        let mut choice: Vec<_> = self
            .book
            .iter()
            .filter(|(_, known)| known.connections == 0 && (may_be_verified || !known.verified))
            .filter(|(peer, _)| !self.config.pinned.contains(peer))
            .map(|(peer, known)| (known.verified, known.touched, *peer))
            .collect();
        if choice.len() > VICTIMS {
            choice.select_nth_unstable(VICTIMS);
            choice.truncate(VICTIMS);
        }
        choice.sort_unstable();
        self.victims = choice.into_iter().map(|(_, _, peer)| peer).collect();
    }

    pub(super) fn unreachable<'a>(
        &mut self,
        peer: &'a PeerId,
        address: &Multiaddr,
        now: Time,
    ) -> &'a PeerId {
        let Some(address) = self.normal(peer, address) else { return peer };
        let most = self.config.failures;
        let is_pinned = self.config.pinned.contains(peer);
        let Some(known) = self.book.get_mut(peer) else { return peer };
        let own = usize::try_from(known.connections).unwrap_or(usize::MAX);
        let others = self.connections.saturating_sub(own);
        // A node that reaches nobody learns nothing about its peers.
        if others >= self.config.failures_count_with
            && known.fail(&address, most, now)
            && !is_pinned
        {
            self.remove(peer, &address);
        }
        peer
    }

    /// Removes a normal address, for good reason: it is written soon.
    pub(super) fn remove(&mut self, peer: &PeerId, address: &Multiaddr) {
        let Some(known) = self.book.get_mut(peer) else { return };
        let Some(removed) = known.position(address).and_then(|at| known.remove(at)) else { return };
        known.is_hard();
        self.tell(Note::AddressRemoved { peer: *peer, address: removed });
    }

    /// What the journal lacks of a peer, if its turn has come; else the peer waits.
    pub(super) fn write(&mut self, peer: &PeerId, now: Time) -> Vec<Change> {
        let Some(known) = self.book.get_mut(peer).filter(|known| known.waits()) else {
            self.waiting.remove(peer);
            return Vec::new();
        };
        let config = &self.config;
        let may_write = self.budget.is_ready(config.records_per_minute_total, now)
            && known.may_write(config.records_per_minute, config.coalesce_within, now)
            && self.budget.take(config.records_per_minute_total, now);
        if !may_write {
            self.waiting.insert(*peer);
            return Vec::new();
        }
        self.waiting.remove(peer);
        known.take_changes(peer, now)
    }

    pub(super) fn take_evictions(&mut self) -> Vec<Change> {
        // They go before anything else is written, so one that was met again gets a fresh row.
        let gone = std::mem::take(&mut self.evicted);
        gone.into_iter().map(|peer| Change::Evicted { peer: peer.into() }).collect()
    }

    pub(super) fn note(&mut self, peer: &PeerId, address: Multiaddr, added: Added) {
        match added {
            Added::Known => {}
            Added::New => self.tell(Note::AddressAdded { peer: *peer, address }),
            Added::Instead(gone) => {
                self.tell(Note::AddressRemoved { peer: *peer, address: gone });
                self.tell(Note::AddressAdded { peer: *peer, address });
            }
            Added::Refused => {
                self.counters.addresses_refused = self.counters.addresses_refused.saturating_add(1);
            }
        }
    }

    pub(super) fn tell(&mut self, note: Note) {
        let Some(notes) = &mut self.notes else { return };
        if notes.len() >= NOTES_MAX {
            notes.pop_front();
        }
        notes.push_back(note);
    }

    pub(super) fn normal(&self, peer: &PeerId, address: &Multiaddr) -> Option<Multiaddr> {
        normal_address(peer, address, self.config.address_bytes)
    }

    pub(super) fn most_addresses(&self, is_verified: bool) -> usize {
        if is_verified {
            self.config.addresses_per_peer
        } else {
            self.config.addresses_per_unverified_peer
        }
    }

    /// What a peer says of itself, within the limits.
    pub(super) fn cut(&self, agent: &str, protocols: &[&str]) -> Profile {
        let end = boundary(agent, self.config.agent_bytes);
        let agent = agent.get(..end).filter(|agent| !agent.is_empty());
        let fits = |name: &&&str| name.len() <= self.config.protocol_bytes;
        let protocols = protocols.iter().filter(fits).take(self.config.protocols);
        let mut protocols: Vec<Box<str>> = protocols.map(|name| (*name).into()).collect();
        // Some implementations list them in another order each time.
        protocols.sort_unstable();
        Profile { agent: agent.map(Into::into), protocols: protocols.into() }
    }
}

/// `str::floor_char_boundary`, which is younger than the oldest compiler that this crate supports.
fn boundary(text: &str, most: usize) -> usize {
    (0..=most.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
