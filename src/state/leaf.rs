//! The rows of one leaf of the table, in one allocation.
//!
//! In a large table what a lookup costs is the memory that is not in the processor's cache. A
//! vector behind a counter would be two such places for each leaf; this is one.

use std::{iter, sync::Arc};

use super::table::{Shared, fetch_counts};

/// Rows by which a full leaf grows; small, because unused room counts in every leaf.
const STEP: usize = 2;

/// Rows, and behind them places for more. Clones share them until one is changed.
#[derive(Clone)]
pub(super) struct Leaf<K, V>(Arc<[Option<(K, V)>]>);

impl<K, V> Leaf<K, V> {
    /// The rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.0.iter().map_while(Option::as_ref)
    }

    /// True if there is no row.
    pub(super) fn is_empty(&self) -> bool {
        self.0.first().is_none_or(Option::is_none)
    }

    /// The value of a row.
    pub(super) fn get(&self, row: usize) -> Option<&V> {
        self.0.get(row)?.as_ref().map(|(_, value)| value)
    }
}

impl<K, V> Shared for Leaf<K, V> {
    fn holders(&self) -> usize {
        self.0.holders()
    }
}

impl<K: Clone, V: Clone + Shared> Leaf<K, V> {
    /// The value of a row, to change.
    pub(super) fn get_mut(&mut self, row: usize) -> Option<&mut V> {
        let place = self.own().get_mut(row)?;
        place.as_mut().map(|(_, value)| value)
    }

    /// Adds a row behind the others.
    pub(super) fn push(&mut self, row: (K, V)) {
        let len = self.len();
        if len < self.0.len() {
            if let Some(place) = self.own().get_mut(len) {
                *place = Some(row);
            }
            return;
        }
        let added = iter::once(Some(row)).chain(iter::repeat_n((), STEP - 1).map(|()| None));
        self.0 = match Arc::get_mut(&mut self.0) {
            Some(rows) => rows.iter_mut().map(Option::take).chain(added).collect(),
            None => self.0.iter().cloned().chain(added).collect(),
        };
    }

    /// Takes a row out, and puts the last one into its place.
    pub(super) fn swap_remove(&mut self, row: usize) -> Option<V> {
        let last = self.len().checked_sub(1)?;
        let rows = self.own();
        if row >= last {
            let removed = rows.get_mut(row)?.take();
            self.trim();
            return removed.map(|(_, value)| value);
        }
        let moved = rows.get_mut(last)?.take();
        let removed = std::mem::replace(rows.get_mut(row)?, moved);
        self.trim();
        removed.map(|(_, value)| value)
    }

    /// All rows; none are left.
    pub(super) fn take(&mut self) -> Vec<(K, V)> {
        let mut taken = std::mem::take(&mut self.0);
        match Arc::get_mut(&mut taken) {
            Some(rows) => rows.iter_mut().map_while(Option::take).collect(),
            None => taken.iter().map_while(Clone::clone).collect(),
        }
    }

    /// The rows, to change; a copy of them if another leaf shares them.
    fn own(&mut self) -> &mut [Option<(K, V)>] {
        if self.0.holders() > 1 {
            fetch_counts(self.iter().map(|(_, value)| value));
        }
        Arc::make_mut(&mut self.0)
    }

    fn len(&self) -> usize {
        self.0.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// Gives back the room that removed rows left.
    fn trim(&mut self) {
        if self.0.len() - self.len() > 2 * STEP {
            *self = Self::from(self.take());
        }
    }
}

/// Without unused room.
impl<K, V> From<Vec<(K, V)>> for Leaf<K, V> {
    fn from(rows: Vec<(K, V)>) -> Self {
        Self(rows.into_iter().map(Some).collect())
    }
}

impl<K, V> Default for Leaf<K, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}
