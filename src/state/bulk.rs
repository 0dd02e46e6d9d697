//! Many peers at once: the state that applying them one after the other gives, without a look-up
//! for each. Rows may be gathered in two lots, and parts made of them, side by side.

use std::array;

use super::{
    PeerEntry, PeerKey, Reputation, Time, check,
    limits::Limits,
    peers::{PARTS, part_of},
};

/// Peers that are to become a state. Each comes once, and none has a profile.
#[derive(Debug)]
pub(crate) struct PeerRows {
    limits: Limits,
    len: usize,
    parts: [PartRows; PARTS],
}

/// Those of one part.
#[derive(Debug, Default)]
pub(crate) struct PartRows {
    pub(super) rows: Vec<(PeerKey, PeerEntry)>,
    pub(super) seen: usize,
    pub(super) reputations: usize,
    /// No peer has more.
    pub(super) most_addresses: usize,
    /// No peer was seen later; at least the epoch.
    pub(super) latest: Time,
}

/// Where a peer was put.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    part: usize,
    row: usize,
}

impl PeerRows {
    pub(crate) fn with_room(limits: Limits, peers: usize) -> Self {
        // A part has hardly ever a sixteenth more than its share.
        let share = peers.min(limits.peers).div_ceil(PARTS);
        let rows = || Vec::with_capacity(share + share / 16);
        let parts = array::from_fn(|_| PartRows { rows: rows(), ..PartRows::default() });
        Self { limits, len: 0, parts }
    }

    /// Adds a peer that is not there yet; `None` if a limit keeps it out.
    pub(crate) fn add(&mut self, peer: PeerKey, entry: PeerEntry) -> Option<Place> {
        check::entry(&peer, &entry).ok()?;
        let addresses = entry.seen.as_ref().map_or(0, |seen| seen.addresses.len());
        if self.len >= self.limits.peers || addresses > self.limits.addresses_per_peer {
            return None;
        }
        let part = part_of(&peer);
        let rows = self.parts.get_mut(part)?;
        rows.seen += usize::from(entry.seen.is_some());
        rows.reputations += usize::from(entry.reputation.is_some());
        rows.most_addresses = rows.most_addresses.max(addresses);
        let last_seen = entry.seen.as_ref().map(|seen| seen.last_seen);
        rows.latest = rows.latest.max(last_seen.unwrap_or_default());
        let row = rows.rows.len();
        rows.rows.push((peer, entry));
        self.len += 1;
        Some(Place { part, row })
    }

    /// Gives a peer that was added its reputation; `None` if a limit keeps it out, or if it has
    /// one.
    pub(crate) fn set_reputation(&mut self, place: Place, reputation: Reputation) -> Option<()> {
        check::reputation(&reputation).ok()?;
        let part = self.parts.get_mut(place.part)?;
        let (_, entry) = part.rows.get_mut(place.row)?;
        if entry.reputation.is_some() {
            return None;
        }
        entry.reputation = Some(reputation);
        part.reputations += 1;
        Some(())
    }

    /// The rows of both lots, part by part, for [`PeersPart`](super::PeersPart). No peer may be in
    /// both. `None` if a limit keeps out so many.
    pub(crate) fn joined(self, other: Self) -> Option<[[PartRows; 2]; PARTS]> {
        if self.len.saturating_add(other.len) > self.limits.peers {
            return None;
        }
        let mut others = other.parts.into_iter();
        Some(self.parts.map(|part| [part, others.next().unwrap_or_default()]))
    }
}
