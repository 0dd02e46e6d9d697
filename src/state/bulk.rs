//! Many peers at once: the state that applying them one after the other gives, without a look-up
//! for each.

use super::{PeerEntry, PeerKey, Reputation, State, check, limits::Limits, peers::Peers};

/// Peers that are to become a state. Each comes once, and none has a profile.
#[derive(Debug)]
pub(crate) struct PeerRows {
    limits: Limits,
    rows: Vec<(PeerKey, PeerEntry)>,
    most_addresses: usize,
}

impl PeerRows {
    pub(crate) fn with_room(limits: Limits, peers: usize) -> Self {
        let rows = Vec::with_capacity(peers.min(limits.peers));
        Self { limits, rows, most_addresses: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Adds a peer that is not there yet; `None` if a limit keeps it out.
    pub(crate) fn add(&mut self, peer: PeerKey, entry: PeerEntry) -> Option<()> {
        check::entry(&peer, &entry).ok()?;
        let addresses = entry.seen.as_ref().map_or(0, |seen| seen.addresses.len());
        let is_full = self.rows.len() >= self.limits.peers;
        if is_full || addresses > self.limits.addresses_per_peer {
            return None;
        }
        self.most_addresses = self.most_addresses.max(addresses);
        self.rows.push((peer, entry));
        Some(())
    }

    /// Gives the peer that was added as this one its reputation; `None` if a limit keeps it out, or
    /// if it has one.
    pub(crate) fn set_reputation(&mut self, index: usize, reputation: Reputation) -> Option<()> {
        check::reputation(&reputation).ok()?;
        let (_, entry) = self.rows.get_mut(index)?;
        if entry.reputation.is_some() {
            return None;
        }
        entry.reputation = Some(reputation);
        Some(())
    }

    pub(crate) fn into_state(self) -> State {
        State {
            limits: self.limits,
            peers: Peers::of(self.rows, self.most_addresses),
            ..State::default()
        }
    }
}
