//! Records that can be applied side by side: those of each part of the peers, and all others.
//!
//! Changes of different peers do not touch each other, except where a limit on their number is
//! reached and where a record has several changes that stand or fall together. So records are
//! shared out only while there is room for all of them, and where no record can fail by halves.

use super::{
    Change, Limits, State,
    batch::added,
    check,
    peers::{PARTS, PeersPart, part_of},
    wide,
};

/// How many more rows the limits let in, of each kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct Headroom {
    peers: usize,
    dht_entries: usize,
    packages: usize,
    bans: usize,
    bootstrap_nodes: usize,
    value_bytes: u64,
}

impl Headroom {
    pub(super) fn of(state: &State) -> Self {
        let Limits { peers, dht_entries, packages, bans, bootstrap_nodes, value_bytes, .. } =
            state.limits;
        Self {
            peers: peers.saturating_sub(state.peers.len()),
            dht_entries: dht_entries.saturating_sub(state.dht.len()),
            packages: packages.saturating_sub(state.packages.len()),
            bans: bans.saturating_sub(state.bans.len()),
            bootstrap_nodes: bootstrap_nodes.saturating_sub(state.bootstrap.len()),
            value_bytes: value_bytes.saturating_sub(state.value_bytes),
        }
    }

    /// Takes what the changes need at most; false if there is not as much, for any order of them.
    pub(super) fn take(&mut self, changes: &[Change]) -> bool {
        changes.iter().all(|change| self.take_for(change).is_some())
    }

    fn take_for(&mut self, change: &Change) -> Option<()> {
        let mut bytes = 0;
        let (room, rows) = match change {
            Change::DhtPut { value, .. } => {
                bytes = wide(value.len());
                (&mut self.dht_entries, 1)
            }
            Change::PackageCached { data, .. } => {
                bytes = wide(data.len());
                (&mut self.packages, 1)
            }
            Change::Banned { .. } => (&mut self.bans, 1),
            Change::BootstrapAdded { .. } => (&mut self.bootstrap_nodes, 1),
            Change::BootstrapReplaced { nodes } => (&mut self.bootstrap_nodes, nodes.len()),
            _ if change.part_peer().is_some() => (&mut self.peers, 1),
            _ => return Some(()),
        };
        *room = room.checked_sub(rows)?;
        self.value_bytes = self.value_bytes.checked_sub(bytes)?;
        Some(())
    }
}

/// What the limits let in while the peers are away, and cannot be asked.
#[derive(Debug)]
pub(crate) struct Ledger {
    headroom: Headroom,
    limit: usize,
    /// No peer had more addresses when the peers left.
    most: usize,
    /// Addresses that some peers may have been given since, by two bytes of their ids: each has
    /// been given no more.
    given: Vec<u16>,
}

impl Ledger {
    pub(crate) fn of(state: &State) -> Self {
        Self {
            headroom: Headroom::of(state),
            limit: state.limits.addresses_per_peer,
            most: state.peers.most_addresses(),
            given: vec![0; 1 << 16],
        }
    }

    /// Notes what a change gives to its peer.
    fn give(&mut self, change: &Change) {
        let count = u16::try_from(added(change).len()).unwrap_or(u16::MAX);
        if count > 0
            && let Some(given) = self.given_to(change)
        {
            *given = given.saturating_add(count);
        }
    }

    /// True if the peer can have no more addresses than it may, all that were noted included.
    fn is_sure_of(&mut self, change: &Change) -> bool {
        let (limit, most) = (self.limit, self.most);
        added(change).is_empty()
            || self.given_to(change).is_none_or(|given| {
                *given < u16::MAX && most.saturating_add(usize::from(*given)) <= limit
            })
    }

    fn given_to(&mut self, change: &Change) -> Option<&mut u16> {
        self.given.get_mut(usize::from(change.peer()?.last_bytes()))
    }
}

/// Changes of a record, or all of it.
#[derive(Debug)]
pub(crate) struct Piece {
    /// The record, by its place among those that were shared out.
    pub(crate) record: usize,
    start: usize,
    end: usize,
}

impl Piece {
    /// Its changes, of those that were shared out.
    pub(crate) fn of<'a>(&self, changes: &'a [Change]) -> &'a [Change] {
        changes.get(self.start..self.end).unwrap_or_default()
    }
}

/// Records, shared out.
#[derive(Debug)]
pub(crate) struct Shares {
    /// Those of each part of the peers, in order.
    pub(crate) parts: [Vec<Piece>; PARTS],
    /// Those of everything else, in order.
    pub(crate) rest: Vec<Piece>,
}

impl Shares {
    /// Shares out records, which end at these places of `changes`. `None` if they have to be
    /// applied one after the other; the ledger is of no use any more then.
    pub(crate) fn of(
        changes: &[Change],
        ends: impl Iterator<Item = usize>,
        ledger: &mut Ledger,
    ) -> Option<Self> {
        if !ledger.headroom.take(changes) {
            return None;
        }
        changes.iter().for_each(|change| ledger.give(change));
        let mut shares = Self { parts: Default::default(), rest: Vec::new() };
        let mut start = 0;
        for (record, end) in ends.enumerate() {
            shares.add(changes, Piece { record, start, end }, ledger)?;
            start = end;
        }
        Some(shares)
    }

    fn add(&mut self, changes: &[Change], piece: Piece, ledger: &mut Ledger) -> Option<()> {
        let all = piece.of(changes);
        let mut places = all.iter().map(Change::part);
        let Some(first) = places.next() else { return Some(()) };
        if places.all(|place| place == first) {
            self.list(first).push(piece);
            return Some(());
        }
        // Nothing refuses any of these, so nobody has to wait for the others.
        if !all.iter().all(|change| ledger.is_sure_of(change) && check::fields(change).is_ok()) {
            return None;
        }
        for (start, change) in (piece.start..).zip(all) {
            let piece = Piece { record: piece.record, start, end: start + 1 };
            self.list(change.part()).push(piece);
        }
        Some(())
    }

    fn list(&mut self, part: Option<usize>) -> &mut Vec<Piece> {
        part.and_then(|part| self.parts.get_mut(part)).unwrap_or(&mut self.rest)
    }
}

impl State {
    /// Gives its peers away, in parts that can be changed side by side; it has none then.
    pub(crate) fn lend_peers(&mut self) -> [PeersPart; PARTS] {
        self.peers.take()
    }

    /// Takes back the peers that it gave away.
    pub(crate) fn take_back(&mut self, parts: [PeersPart; PARTS]) {
        self.peers.put(parts);
    }
}

impl Change {
    /// The part of the peers that it changes, if it is one of theirs.
    fn part(&self) -> Option<usize> {
        self.part_peer().map(part_of)
    }

    fn part_peer(&self) -> Option<&super::PeerKey> {
        match self {
            Self::Banned { .. } | Self::Unbanned { .. } => None,
            _ => self.peer(),
        }
    }
}
