//! Who is in the book: making room, and forgetting whom the program forgot.

use std::collections::VecDeque;

use libp2p::{Multiaddr, PeerId};

use super::{Informant, Known, NOTES_MAX, Note, Now, Policy, is_banned, row_of};
use crate::{
    registry::{
        adapters::book::Added,
        addresses::{Network, network, normal_address},
        score::{last_seen, score},
    },
    state::{PeerEntry, State, Time},
};

/// Peers chosen at once to make room, so that a flood does not cost a search each.
const VICTIMS: usize = 64;

impl Policy {
    /// The peer, which comes to be known if there is room. Only one that we dialled ourselves (no
    /// `informant`) takes the room of another that we reached.
    pub(super) fn meet(
        &mut self,
        peer: &PeerId,
        informant: Option<Informant>,
        now: Now,
        state: &State,
    ) -> Option<&mut Known> {
        if *peer == self.local {
            return None;
        }
        if !self.book.contains_key(peer) {
            // Its eviction was not journaled yet, and is not needed any more.
            self.evicted.retain(|evicted| evicted != peer);
            let is_ours = informant.is_none();
            let informant = informant.unwrap_or(Informant::Network(Network::Other));
            let known = match state.peer(&peer.into()) {
                Some(entry) => self.restore(peer, entry, now).told_by(informant),
                None => Known::new(informant, now),
            };
            if !self.make_room(&known, is_ours, now, state) {
                self.counters.peers_refused = self.counters.peers_refused.saturating_add(1);
                return None;
            }
            self.enlist(*peer, known);
        }
        let known = self.book.get_mut(peer)?;
        known.touched = now.age;
        Some(known)
    }

    /// Brings the book in line with what the store says of a peer, for programs that also write to
    /// the store themselves: it learns of peers and addresses that they added, and forgets a peer
    /// that they forgot.
    pub fn reconcile(&mut self, peer: &PeerId, now: Time, state: &State) {
        let now = self.clock.now(now);
        let Some(entry) = state.peer(&peer.into()) else { return self.forget_with_store(peer) };
        if !self.book.contains_key(peer) {
            if *peer != self.local && self.book.len() < self.config.peers {
                let known = self.restore(peer, entry, now);
                self.enlist(*peer, known);
            }
            return;
        }
        let Some(row) = row_of(Some(entry)) else { return };
        let bytes_max = self.config.address_bytes;
        let keep = |address: &Multiaddr| normal_address(peer, address, bytes_max);
        if let Some(known) = self.book.get_mut(peer) {
            let most = self.config.most_addresses(known.verified || row.verified);
            known.adopt(row, keep, most, now);
        }
    }

    /// The store has nothing of the peer. If it had, the program wants it forgotten.
    pub(super) fn forget_with_store(&mut self, peer: &PeerId) {
        let is_connected = self.connected.contains_key(peer);
        let Some(known) = self.book.get_mut(peer).filter(|known| known.has_row) else { return };
        known.has_row = false;
        if !is_connected {
            self.dismiss(peer);
        }
    }

    pub(super) fn restore(&self, peer: &PeerId, entry: &PeerEntry, now: Now) -> Known {
        let keep = |address: &Multiaddr| self.normal(peer, address);
        let mut known = Known::restored(entry, keep, &self.config, now);
        if let Some(first) = known.addresses.first() {
            known.informant = Informant::Network(network(&first.address));
        }
        known
    }

    pub(super) fn enlist(&mut self, peer: PeerId, known: Known) {
        if !known.verified {
            self.unverified += 1;
            self.crowds.entry(known.informant.clone()).or_default().insert(peer);
        }
        if known.is_dirty() {
            self.waiting.insert(peer);
        }
        self.book.insert(peer, known);
    }

    pub(super) fn leave_crowd(&mut self, peer: &PeerId, informant: &Informant) {
        self.unverified = self.unverified.saturating_sub(1);
        let Some(crowd) = self.crowds.get_mut(informant) else { return };
        crowd.remove(peer);
        if crowd.is_empty() {
            self.crowds.remove(informant);
        }
    }

    fn dismiss(&mut self, peer: &PeerId) {
        let Some(known) = self.book.remove(peer) else { return };
        if !known.verified {
            self.leave_crowd(peer, &known.informant);
        }
        self.waiting.remove(peer);
    }

    /// Out of the book, and out of the store if it is there: or replay would bring it back.
    pub(super) fn drop_peer(&mut self, peer: &PeerId, state: &State) {
        self.dismiss(peer);
        if state.peer(&peer.into()).is_some() {
            self.evicted.push(*peer);
        }
        self.tell(Note::PeerEvicted { peer: *peer });
    }

    fn make_room(&mut self, new: &Known, is_ours: bool, now: Now, state: &State) -> bool {
        let is_hearsay = !new.verified && !is_ours;
        if is_hearsay {
            let most = self.config.unverified_per_informant;
            let crowd = self.crowds.get(&new.informant);
            let is_full = crowd.is_some_and(|crowd| crowd.len() >= most);
            if most == 0 || is_full && !self.evict_from(&new.informant, now, state) {
                return false;
            }
        }
        let is_crowd = is_hearsay && self.unverified >= self.config.unverified_peers;
        let is_full = self.book.len() >= self.config.peers;
        !(is_crowd || is_full) || self.evict(is_ours, now, state)
    }

    fn may_go(&self, peer: &PeerId, now: Now, state: &State) -> bool {
        !self.connected.contains_key(peer)
            && !self.pinned.contains(peer)
            && !is_banned(peer, now, state)
    }

    /// Evicts the oldest peer of a crowd.
    fn evict_from(&mut self, informant: &Informant, now: Now, state: &State) -> bool {
        let crowd = self.crowds.get(informant).into_iter().flatten();
        let oldest = crowd
            .filter(|peer| self.may_go(peer, now, state))
            .filter_map(|peer| Some((self.book.get(peer)?.touched, *peer)))
            .min();
        let Some((_, peer)) = oldest else { return false };
        self.evict_peer(&peer, state);
        true
    }

    /// Evicts one peer; the unverified go first, then the verified if they may.
    fn evict(&mut self, may_be_verified: bool, now: Now, state: &State) -> bool {
        if self.victims.is_empty() {
            self.choose_victims(may_be_verified, now, state);
        }
        while let Some(peer) = self.victims.pop_front() {
            // It may have come into use since it was chosen.
            let is_verified = self.book.get(&peer).map(|known| known.verified);
            if is_verified.is_some_and(|verified| !verified || may_be_verified)
                && self.may_go(&peer, now, state)
            {
                self.evict_peer(&peer, state);
                return true;
            }
            if self.victims.is_empty() {
                self.choose_victims(may_be_verified, now, state);
            }
        }
        false
    }

    fn evict_peer(&mut self, peer: &PeerId, state: &State) {
        self.drop_peer(peer, state);
        self.counters.peers_evicted = self.counters.peers_evicted.saturating_add(1);
    }

    /// Those never reached, the oldest first; if there are none, those of the lowest score.
    fn choose_victims(&mut self, may_be_verified: bool, now: Now, state: &State) {
        let crowds = self.crowds.values().flatten();
        let mut heard: Vec<_> = crowds
            .filter(|peer| self.may_go(peer, now, state))
            .filter_map(|peer| Some((self.book.get(peer)?.touched, *peer)))
            .collect();
        if !heard.is_empty() {
            self.victims = first(&mut heard, Ord::cmp);
        } else if may_be_verified {
            let rank = |peer: &PeerId| {
                let entry = state.peer(&peer.into()).cloned().unwrap_or_default();
                let reputation = entry.reputation.clone().unwrap_or_default();
                score(&reputation, last_seen(&entry), now.wall, None)
            };
            let reached = self.book.iter().filter(|(_, known)| known.verified);
            let mut reached: Vec<_> = reached
                .filter(|(peer, _)| self.may_go(peer, now, state))
                .map(|(peer, _)| (rank(peer), *peer))
                .collect();
            self.victims =
                first(&mut reached, |a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
        }
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
}

/// The peers that come first, in order.
fn first<R>(
    choice: &mut Vec<(R, PeerId)>,
    order: impl Fn(&(R, PeerId), &(R, PeerId)) -> std::cmp::Ordering,
) -> VecDeque<PeerId> {
    if choice.len() > VICTIMS {
        choice.select_nth_unstable_by(VICTIMS, &order);
        choice.truncate(VICTIMS);
    }
    choice.sort_unstable_by(&order);
    choice.iter().map(|(_, peer)| *peer).collect()
}
