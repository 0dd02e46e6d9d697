//! The peers of a state, in parts that may be changed side by side: a peer's part is told by its
//! id, and no change of a peer looks into another part.

mod edit;

use std::hint::black_box;

use super::{
    Change, Effect, Limits, PeerEntry, PeerKey, Time,
    batch::{addresses_in, fit},
    bulk::PartRows,
    check,
    table::{FETCHED_MAX, Table, Wanted, fetch, find_each},
};
use crate::Error;

/// Parts of the peers: as many processors can share the replay of a journal.
pub(crate) const PARTS: usize = 4;

/// All peers.
#[derive(Clone, Debug, Default)]
pub(super) struct Peers {
    parts: [PeersPart; PARTS],
}

impl Peers {
    pub(super) fn len(&self) -> usize {
        self.parts.iter().map(|part| part.rows.len()).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PeerKey, &PeerEntry)> {
        self.parts.iter().flat_map(|part| part.rows.iter())
    }

    pub(super) fn get(&self, peer: &PeerKey) -> Option<&PeerEntry> {
        self.parts.get(part_of(peer))?.rows.get(peer)
    }

    /// No peer has more addresses.
    pub(super) fn most_addresses(&self) -> usize {
        self.parts.iter().map(|part| part.most_addresses).fold(0, usize::max)
    }

    /// No peer was seen later; at least the epoch.
    pub(super) fn latest(&self) -> Time {
        self.parts.iter().map(|part| part.latest).fold(Time::EPOCH, Time::max)
    }

    /// Peers that have a row, a reputation, a profile.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        self.parts.iter().fold((0, 0, 0), |(seen, reputations, profiles), part| {
            (seen + part.seen, reputations + part.reputations, profiles + part.profiles)
        })
    }

    /// Applies a change of this peer; any other changes nothing.
    pub(super) fn apply(
        &mut self,
        peer: &PeerKey,
        change: &Change,
        limits: &Limits,
    ) -> Result<Effect, Error> {
        let all = self.len();
        let Some(part) = self.parts.get_mut(part_of(peer)) else { return Ok(Effect::Unchanged) };
        let others = all - part.rows.len();
        part.apply(change, Room { limits, others })
    }

    fn wanted<'t>(&'t self, peer: &'t PeerKey) -> Option<WantedPeer<'t>> {
        self.parts.get(part_of(peer))?.rows.wanted(peer)
    }

    /// Looks at the peers of changes that are about to be applied; see [`fetch`].
    pub(super) fn fetch(&self, changes: &[Change]) {
        fetch_all(changes.iter().filter_map(Change::peer).map(|peer| self.wanted(peer)));
    }

    /// Applies changes of peers that nothing can refuse, in order and [`FETCHED_MAX`] at most,
    /// until so many leaves were copied that a clone shares; a new peer is taken for one. Tells how
    /// many changes it applied, at least one if there is one, and how many leaves it copied.
    pub(super) fn apply_sure(&mut self, changes: &[Change], copies_max: usize) -> (usize, usize) {
        let peers = changes.iter().map(Change::peer);
        let slots = find_each(peers.map(|peer| peer.and_then(|peer| self.wanted(peer))));
        let (mut applied, mut copies, mut has_grown) = (0, 0, false);
        for (change, mut slot) in changes.iter().zip(slots) {
            if copies >= copies_max {
                break;
            }
            applied += 1;
            let Some(peer) = change.peer() else { continue };
            let Some(part) = self.parts.get_mut(part_of(peer)) else { continue };
            // A row that came in between may be the one that was not there, and may have moved
            // others.
            if has_grown {
                slot = part.rows.find(peer);
            }
            has_grown |= slot.is_none();
            let before = part.rows.copied;
            // Somebody knows that there is room for the row.
            let _sure = part.apply_at(slot, change, Room { limits: &Limits::UNBOUNDED, others: 0 });
            copies += part.rows.copied.wrapping_sub(before);
        }
        (applied, copies)
    }

    /// Gives the parts away; none are left.
    pub(super) fn take(&mut self) -> [PeersPart; PARTS] {
        std::mem::take(&mut self.parts)
    }

    /// Takes the parts back.
    pub(super) fn put(&mut self, parts: [PeersPart; PARTS]) {
        self.parts = parts;
    }
}

/// Which part a peer is in. Ids are chosen by strangers: whoever makes many for one part only takes
/// from us what several processors would have gained.
pub(super) fn part_of(peer: &PeerKey) -> usize {
    usize::from(peer.last_bytes()) % PARTS
}

/// A part of the peers.
#[derive(Clone, Debug, Default)]
pub(crate) struct PeersPart {
    rows: Table<PeerKey, PeerEntry>,
    /// Entries that have each part of one.
    seen: usize,
    reputations: usize,
    profiles: usize,
    /// No peer has more.
    most_addresses: usize,
    /// No peer was seen later; at least the epoch.
    latest: Time,
}

/// What limits a part.
#[derive(Clone, Copy)]
struct Room<'a> {
    limits: &'a Limits,
    /// Peers in other parts.
    others: usize,
}

impl PeersPart {
    /// The peers of these rows of one part.
    pub(crate) fn of<const N: usize>(pieces: [PartRows; N]) -> Self {
        let mut part = Self::default();
        let rows = pieces.map(|piece| {
            part.seen += piece.seen;
            part.reputations += piece.reputations;
            part.most_addresses = part.most_addresses.max(piece.most_addresses);
            part.latest = part.latest.max(piece.latest);
            piece.rows
        });
        part.rows = Table::of(rows);
        part
    }

    /// Applies records in order, each of changes of peers in this part, and each wholly or not at
    /// all. The fields and the addresses of a peer are all that may be refused: somebody knows that
    /// there is room for the rows.
    pub(crate) fn apply_records<'a>(
        &mut self,
        records: impl Iterator<Item = &'a [Change]>,
        limits: &Limits,
        mut refused: impl FnMut(usize, Error),
    ) {
        let mut records = records.enumerate().peekable();
        let mut ahead = Vec::with_capacity(FETCHED_MAX);
        while records.peek().is_some() {
            ahead.extend(records.by_ref().take(FETCHED_MAX));
            fetch_all(ahead.iter().map(|(_, changes)| self.rows.wanted(changes.first()?.peer()?)));
            for (number, changes) in ahead.drain(..) {
                if let Err(error) = self.apply_all(changes, limits) {
                    refused(number, error);
                }
            }
        }
    }

    fn apply_all(&mut self, changes: &[Change], limits: &Limits) -> Result<(), Error> {
        let addresses_of = |peer: &PeerKey| self.rows.get(peer).map_or(0, addresses_in);
        if changes.len() == 1 || fit(changes, limits, addresses_of) {
            return self.apply_each(changes, limits);
        }
        let before = self.clone();
        self.apply_each(changes, limits).inspect_err(|_| *self = before)
    }

    fn apply_each(&mut self, changes: &[Change], limits: &Limits) -> Result<(), Error> {
        for change in changes {
            check::fields(change)?;
            self.apply(change, Room { limits, others: 0 })?;
        }
        Ok(())
    }
}

type WantedPeer<'t> = Wanted<'t, PeerKey, PeerKey, PeerEntry>;

/// An append asks for the row, for its reputation, and for its addresses.
fn fetch_all<'t>(wanted: impl Iterator<Item = Option<WantedPeer<'t>>>) {
    let known = fetch(wanted, |entry| {
        let seen = entry.seen.as_ref();
        let is_somewhere = seen.is_some_and(|seen| !seen.addresses.is_empty());
        entry.reputation.is_some() && is_somewhere
    });
    black_box(known);
}
