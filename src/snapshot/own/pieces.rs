//! The peers and reputations of a document in two pieces, and the state that they become.

use std::{borrow::Cow, mem};

use crc32fast::Hasher;

use super::{super::both::both, Text, peers::Peers, split::Rows};
use crate::state::{Limits, PeersPart, State};

/// No row of a peer is shorter: room is made for no more rows than the bytes can hold.
const PEER_BYTES_MIN: usize = 90;

/// What is to be read. The second piece is empty where it is not to be shared.
pub(super) struct Pieces<'a> {
    first: Piece<'a>,
    second: Piece<'a>,
    /// The first id of the second piece, where both have rows.
    pivot: Option<Cow<'a, [u8]>>,
}

/// What one thread reads.
#[derive(Default)]
struct Piece<'a> {
    rows: Rows<'a>,
    /// Some bytes of the document, for its checksum.
    hashed: &'a [u8],
}

impl<'a> Pieces<'a> {
    /// These rows, in two pieces if they are to be shared and can be cut. `hashed` is what the
    /// checksum is to be of.
    pub(super) fn of(rows: Rows<'a>, hashed: &'a [u8], is_shared: bool) -> Self {
        let cut = if is_shared { rows.cut() } else { None };
        let Some(([first, second], pivot)) = cut else {
            return Self { first: Piece { rows, hashed }, second: Piece::default(), pivot: None };
        };
        let halves = hashed.split_at(hashed.len() / 2);
        let first = Piece { rows: first, hashed: halves.0 };
        Self { first, second: Piece { rows: second, hashed: halves.1 }, pivot: Some(pivot) }
    }

    /// Reads them, and gives the state of these peers and the checksum; `None` if they are to be
    /// read in general, or if there are not so many peers.
    pub(super) fn read(&self, limits: Limits, count: usize) -> Option<(State, u32)> {
        let room = if self.pivot.is_some() { count.div_ceil(2) } else { count };
        let (first, second) =
            self.share(|| self.first.read(limits, room), || self.second.read(limits, room));
        let ((first, mut hasher), (second, behind)) = (first?, second?);
        hasher.combine(&behind);
        // Of the reputations those beside the cut have been looked at when it was made.
        let is_in_order = self.pivot.as_ref().is_none_or(|pivot| first.are_before(pivot));
        if !is_in_order || first.seen_len() + second.seen_len() != count {
            return None;
        }
        let [a, b, c, d] = first.rows.joined(second.rows)?;
        let mut others = [c, d];
        let ([a, b], [c, d]) =
            self.share(|| [a, b].map(PeersPart::of), || mem::take(&mut others).map(PeersPart::of));
        let mut state = State::new(limits);
        state.take_back([a, b, c, d]);
        Some((state, hasher.finalize()))
    }

    /// Does both, side by side if there is work for two.
    fn share<A, B: Send>(
        &self,
        here: impl FnOnce() -> A,
        mut there: impl FnMut() -> B + Send,
    ) -> (A, B) {
        if self.pivot.is_some() {
            both("peer-journal-read", here, there)
        } else {
            (here(), there())
        }
    }
}

impl Piece<'_> {
    fn read(&self, limits: Limits, room: usize) -> Option<(Peers, Hasher)> {
        let mut hasher = Hasher::new();
        hasher.update(self.hashed);
        let Rows { peers, reputations } = self.rows;
        let mut read = Peers::with_room(limits, room.min(peers.len() / PEER_BYTES_MIN));
        all(peers, |text| read.seen(text))?;
        all(reputations, |text| read.reputation(text))?;
        Some((read, hasher))
    }
}

/// Reads rows with a comma between them, and nothing else.
fn all(rows: &[u8], mut row: impl FnMut(&mut Text<'_>) -> Option<()>) -> Option<()> {
    if rows.is_empty() {
        return Some(());
    }
    let mut text = Text { rest: rows };
    row(&mut text)?;
    while !text.rest.is_empty() {
        text.skip(b",")?;
        row(&mut text)?;
    }
    Some(())
}
