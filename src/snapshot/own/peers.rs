//! Peers and reputations, put together while they are read.

use super::{ROW, Text, key};
use crate::state::{AddressPacker, Limits, Peer, PeerEntry, PeerRows, Place};

/// Peers with their reputations. Both lists are in the order of the ids, so that no reputation has
/// to look for its peer and no id comes twice.
pub(super) struct Peers {
    pub(super) rows: PeerRows,
    ids: Ids,
    packer: AddressPacker,
    /// The place in `ids` that reputations have come to.
    next: usize,
    /// The last id that has a reputation and is not in `ids`.
    last_other: Option<Box<[u8]>>,
}

/// The ids in the list of peers, side by side: in the document they lie far apart.
struct Ids {
    bytes: Vec<u8>,
    /// Where each begins, and where the last one ends.
    bounds: Vec<usize>,
    /// Where the peer of each was put.
    places: Vec<Place>,
}

impl Ids {
    fn with_room(ids: usize) -> Self {
        // An id of the commoner kind has 52 bytes.
        let bytes = Vec::with_capacity(ids.saturating_mul(52));
        let bounds = Vec::with_capacity(ids.saturating_add(1));
        Self { bytes, bounds, places: Vec::with_capacity(ids) }
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        self.bytes.get(*self.bounds.get(index)?..*self.bounds.get(index + 1)?)
    }

    /// Adds an id, which must come behind all others.
    fn push(&mut self, id: &[u8], place: Place) -> Option<()> {
        let last = self.bounds.len().checked_sub(2).and_then(|last| self.get(last));
        if last.is_some_and(|last| last >= id) {
            return None;
        }
        if self.bounds.is_empty() {
            self.bounds.push(0);
        }
        self.bytes.extend_from_slice(id);
        self.bounds.push(self.bytes.len());
        self.places.push(place);
        Some(())
    }
}

impl Peers {
    pub(super) fn with_room(limits: Limits, peers: usize) -> Self {
        Self {
            rows: PeerRows::with_room(limits, peers),
            ids: Ids::with_room(peers),
            packer: AddressPacker::default(),
            next: 0,
            last_other: None,
        }
    }

    /// Peers that are in the list of peers.
    pub(super) fn seen_len(&self) -> usize {
        self.ids.places.len()
    }

    /// Whether all ids in the list of peers come before this one.
    pub(super) fn are_before(&self, id: &[u8]) -> bool {
        let last = self.seen_len().checked_sub(1).and_then(|last| self.ids.get(last));
        last.is_none_or(|last| last < id)
    }

    pub(super) fn seen(&mut self, text: &mut Text<'_>) -> Option<()> {
        text.skip(ROW)?;
        let id = text.id()?;
        text.list_at(b",\n      \"addresses\": [", b"\n      ]", |text| {
            text.skip(b"\n        ")?;
            self.packer.push(&text.id()?)
        })?;
        text.skip(b",\n      \"last_seen\": ")?;
        let last_seen = text.time()?;
        text.skip(b"\n    }")?;
        let seen = Peer { last_seen, addresses: self.packer.take()?, verified: false };
        let entry = PeerEntry { seen: Some(seen), ..PeerEntry::default() };
        let place = self.rows.add(key(&id)?, entry)?;
        self.ids.push(&id, place)
    }

    pub(super) fn reputation(&mut self, text: &mut Text<'_>) -> Option<()> {
        text.skip(ROW)?;
        let id = text.id()?;
        let reputation = text.reputation()?;
        let id: &[u8] = &id;
        while self.ids.get(self.next).is_some_and(|known| known < id) {
            self.next += 1;
        }
        if self.ids.get(self.next) == Some(id) {
            self.rows.set_reputation(*self.ids.places.get(self.next)?, reputation)?;
            self.next += 1;
            return Some(());
        }
        let before = self.next.checked_sub(1).and_then(|before| self.ids.get(before));
        let last = self.last_other.as_deref();
        if before.is_some_and(|before| before >= id) || last.is_some_and(|last| last >= id) {
            return None;
        }
        self.last_other = Some(id.into());
        let entry = PeerEntry { reputation: Some(reputation), ..PeerEntry::default() };
        self.rows.add(key(id)?, entry).map(|_| ())
    }
}
