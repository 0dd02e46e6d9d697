//! Records that are decoded and not applied yet, and what came of those that were.

use crate::{
    Error, Lsn,
    state::{self, Change, DecodeError, FETCHED_MAX, Ledger, Shares, State},
};

/// Records, in order.
#[derive(Debug, Default)]
pub(super) struct Block {
    pub(super) changes: Vec<Change>,
    /// Each record's number, and how many changes there are up to its end.
    pub(super) ends: Vec<(Lsn, usize)>,
    /// Bytes of their payloads.
    pub(super) bytes: usize,
}

impl Block {
    pub(super) fn add(&mut self, lsn: Lsn, payload: &[u8]) -> Result<(), DecodeError> {
        for change in state::decode(payload) {
            self.changes.push(change?);
        }
        self.ends.push((lsn, self.changes.len()));
        self.bytes = self.bytes.saturating_add(payload.len());
        Ok(())
    }

    pub(super) fn lsn(&self, record: usize) -> Lsn {
        self.ends.get(record).map_or(Lsn::ZERO, |(lsn, _)| *lsn)
    }

    /// Shares out the records, and takes room for them; see [`Shares::of`].
    pub(super) fn share(&self, ledger: &mut Ledger) -> Option<Shares> {
        Shares::of(&self.changes, self.ends.iter().map(|(_, end)| *end), ledger)
    }

    /// Applies one record after the other.
    pub(super) fn apply(&self, state: &mut State, refused: &mut Refused) {
        let (mut start, mut fetched) = (0, 0);
        for (lsn, end) in &self.ends {
            if fetched < *end {
                fetched = end.saturating_add(FETCHED_MAX).saturating_sub(1);
                let ahead = start..fetched.min(self.changes.len());
                state.fetch(self.changes.get(ahead).unwrap_or_default());
            }
            let changes = self.changes.get(start..*end).unwrap_or_default();
            if let Err(error) = state.apply_all(changes) {
                refused.add(*lsn, &error);
            }
            start = *end;
        }
    }
}

/// Records that a limit kept out.
#[derive(Debug, Default)]
pub(super) struct Refused {
    pub(super) count: u64,
    /// The first of them, and why.
    pub(super) first: Option<(Lsn, String)>,
}

impl Refused {
    pub(super) fn add(&mut self, lsn: Lsn, error: &Error) {
        let is_first = self.first.as_ref().is_none_or(|(first, _)| lsn < *first);
        let first = is_first.then(|| (lsn, error.to_string()));
        self.add_all(Self { count: 1, first });
    }

    pub(super) fn add_all(&mut self, others: Self) {
        self.count = self.count.saturating_add(others.count);
        let first = [self.first.take(), others.first].into_iter().flatten();
        self.first = first.min_by_key(|(lsn, _)| *lsn);
    }
}
