//! What goes by itself: addresses where nobody answers, and what was not mentioned for long.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};

use super::{Note, Now, Policy, is_banned, row_of};
use crate::state::{PeerEntry, State, Time};

/// Time between two looks at the age of everything.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

impl Policy {
    pub(super) fn unreachable(
        &mut self,
        peer: &PeerId,
        address: &Multiaddr,
        now: Now,
        state: &State,
    ) {
        let Some(address) = self.normal(peer, address) else { return };
        let most = self.config.failures;
        let others = self.connected.len() - usize::from(self.connected.contains_key(peer));
        // A node that reaches nobody learns nothing about its peers.
        let counts = others >= self.config.failures_count_with && !self.pinned.contains(peer);
        let Some(known) = self.book.get_mut(peer).filter(|_| counts) else { return };
        if known.fail(&address, most, now) {
            self.remove(peer, &address, state);
        }
    }

    /// Removes a normal address, for good reason: it is written soon.
    pub(super) fn remove(&mut self, peer: &PeerId, address: &Multiaddr, state: &State) {
        let row = row_of(state.peer(&peer.into()));
        let Some(known) = self.book.get_mut(peer) else { return };
        let at = known.position(address);
        let Some(removed) = at.and_then(|at| known.remove(at, row)) else { return };
        known.harden();
        self.tell(Note::AddressRemoved { peer: *peer, address: removed });
    }

    /// Removes what is too old, now and then.
    pub(super) fn sweep(&mut self, now: Now, state: &State) {
        if !self.swept.is_past(SWEEP_EVERY, now.age) {
            return;
        }
        self.swept = now.age;
        let peers = self.book.keys().filter(|peer| !self.pinned.contains(peer));
        for peer in peers.copied().collect::<Vec<_>>() {
            self.expire(&peer, now, state);
        }
    }

    fn expire(&mut self, peer: &PeerId, now: Now, state: &State) {
        let entry = state.peer(&peer.into());
        let is_connected = self.connected.contains_key(peer);
        let Some(known) = self.book.get_mut(peer) else { return };
        let keep_last = known.verified || has_answered(entry);
        let expired = known.expire(&self.config, (is_connected, keep_last), row_of(entry), now);
        if known.is_dirty() {
            self.waiting.insert(*peer);
        }
        let ttl = if known.verified {
            self.config.address_ttl_proven
        } else {
            self.config.address_ttl_identified
        };
        let is_only_heard = !known.verified && known.seen == Time::EPOCH;
        let is_over = known.addresses.is_empty()
            && !is_connected
            && (is_only_heard || known.touched.is_past(ttl, now.age))
            && entry.is_none_or(|entry| entry.reputation.is_none())
            && !is_banned(peer, now, state);
        let count = u64::try_from(expired.len()).unwrap_or(u64::MAX);
        self.counters.addresses_expired = self.counters.addresses_expired.saturating_add(count);
        for address in expired {
            self.tell(Note::AddressRemoved { peer: *peer, address });
        }
        if is_over {
            self.drop_peer(peer, state);
            self.counters.peers_expired = self.counters.peers_expired.saturating_add(1);
        }
    }
}

/// Rows of older versions do not say whether the peer was ever reached, but this does.
fn has_answered(entry: Option<&PeerEntry>) -> bool {
    let reputation = entry.and_then(|entry| entry.reputation.as_ref());
    reputation.is_some_and(|reputation| reputation.successful_retrievals > 0)
}
