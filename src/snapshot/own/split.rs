//! Where a document can be cut into two pieces that are read side by side.
//!
//! A raw line end cannot stand in a string of JSON, so what begins a row begins one wherever it
//! stands: rows are found by their bytes, from any place. Peers and reputations are both in the
//! order of the ids, and both are cut at the same id: no reputation needs a peer of the other
//! piece. Only a few rows are looked at. Whether the order holds everywhere is found out by those
//! who read the pieces.

use std::{borrow::Cow, ops::Range};

use memchr::memmem;

use super::Text;

/// What a row of a peer begins with, in any list of the document.
pub(super) const ROW: &[u8; 24] = b"\n    {\n      \"peer_id\": ";

/// A part of the rows of both lists.
#[derive(Clone, Copy, Default)]
pub(super) struct Rows<'a> {
    pub(super) peers: &'a [u8],
    pub(super) reputations: &'a [u8],
}

impl<'a> Rows<'a> {
    /// Cuts these rows at the peer in the middle. Gives its id, too; `None` if they cannot be cut.
    /// The last reputation of the first piece comes before that id, the first of the second does
    /// not: both were looked at.
    pub(super) fn cut(self) -> Option<([Self; 2], Cow<'a, [u8]>)> {
        let middle = next_row(self.peers, self.peers.len() / 2..self.peers.len())?;
        let pivot = Text { rest: self.peers.get(middle + ROW.len()..)? }.id()?;
        let low = behind_last(self.reputations, |row| row.id().is_some_and(|id| id < pivot));
        let end = self.reputations.len();
        let other = next_row(self.reputations, low..end).unwrap_or(end);
        let (peers, reputations) = (cut_at(self.peers, middle)?, cut_at(self.reputations, other)?);
        let first = Self { peers: peers.0, reputations: reputations.0 };
        Some(([first, Self { peers: peers.1, reputations: reputations.1 }], pivot))
    }
}

/// The rows before and behind the comma before this place. Where there are none on one side there
/// is no comma.
fn cut_at(rows: &[u8], at: usize) -> Option<(&[u8], &[u8])> {
    let (before, behind) = rows.split_at_checked(at)?;
    if before.is_empty() || behind.is_empty() {
        return Some((before, behind));
    }
    let before = before.strip_suffix(b",").filter(|before| !before.is_empty())?;
    Some((before, behind))
}

/// A place behind the beginning of the last row for which `is_before` says yes, and not behind that
/// of the next row. It says yes for all rows up to some place, and no for all others; it is given
/// what follows [`ROW`].
pub(super) fn behind_last(text: &[u8], is_before: impl Fn(&mut Text<'_>) -> bool) -> usize {
    let (mut low, mut high) = (0, text.len());
    while low < high {
        let middle = low.midpoint(high);
        let row = next_row(text, middle..high).filter(|row| {
            let rest = text.get(row + ROW.len()..).unwrap_or_default();
            is_before(&mut Text { rest })
        });
        match row {
            Some(row) => low = row + 1,
            None => high = middle,
        }
    }
    low
}

/// Where the first row begins that begins in this range.
fn next_row(text: &[u8], within: Range<usize>) -> Option<usize> {
    let end = text.len().min(within.end.saturating_add(ROW.len() - 1));
    let found = memmem::find(text.get(within.start..end)?, ROW)?;
    Some(within.start + found)
}
