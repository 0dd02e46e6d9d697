//! The rows of one leaf of the table, in one allocation, and a byte of each row's hash beside its
//! address.
//!
//! In a large table what a lookup costs is the memory that is not in the processor's cache. The
//! bytes lie in the page, next to the address that is read there anyway, and tell which row to look
//! at: one, and not all that come before it.

use std::{iter, sync::Arc};

use super::table::{Shared, fetch_counts};

/// Rows by which a full leaf grows; small, because unused room counts in every leaf.
const STEP: usize = 2;
/// Rows that have a tag; the few leaves with more look through the rest.
const TAGGED: usize = 16;

/// A byte of a key's hash.
pub(super) type Tag = u8;

type Places<K, V> = Arc<[Option<(K, V)>]>;

/// Rows, and behind them places for more. Clones share them until one is changed.
#[derive(Clone)]
pub(super) struct Leaf<K, V> {
    tags: [Tag; TAGGED],
    places: Places<K, V>,
}

impl<K, V> Leaf<K, V> {
    /// The rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(K, V)> {
        self.places.iter().map_while(Option::as_ref)
    }

    /// Where the row with this key is.
    pub(super) fn find(&self, tag: Tag, is_it: impl Fn(&K) -> bool) -> Option<usize> {
        let is_at = |row: usize| {
            let place = self.places.get(row)?.as_ref();
            place.is_some_and(|(key, _)| is_it(key)).then_some(row)
        };
        let mut candidates = self.tagged(tag);
        while candidates != 0 {
            let row = usize::try_from(candidates.trailing_zeros()).unwrap_or(usize::MAX);
            if let Some(row) = is_at(row) {
                return Some(row);
            }
            candidates &= candidates - 1;
        }
        (TAGGED..self.places.len()).find_map(is_at)
    }

    /// A bit for each row with this tag, and perhaps for places without a row.
    pub(super) fn tagged(&self, tag: Tag) -> u32 {
        let mut found = 0;
        for (row, known) in self.tags.iter().enumerate() {
            found |= u32::from(*known == tag) << row;
        }
        found
    }

    /// The value of a row.
    pub(super) fn get(&self, row: usize) -> Option<&V> {
        self.places.get(row)?.as_ref().map(|(_, value)| value)
    }
}

impl<K, V> Shared for Leaf<K, V> {
    fn holders(&self) -> usize {
        self.places.holders()
    }
}

impl<K: Clone, V: Clone + Shared> Leaf<K, V> {
    /// A leaf of these rows, without unused room.
    pub(super) fn of(rows: Vec<(K, V)>, tag: impl Fn(&K) -> Tag) -> Self {
        let mut leaf = Self::default();
        for (known, (key, _)) in leaf.tags.iter_mut().zip(&rows) {
            *known = tag(key);
        }
        leaf.places = rows.into_iter().map(Some).collect();
        leaf
    }

    /// The value of a row, to change.
    pub(super) fn get_mut(&mut self, row: usize) -> Option<&mut V> {
        let place = self.own().get_mut(row)?;
        place.as_mut().map(|(_, value)| value)
    }

    /// Adds a row behind the others.
    pub(super) fn push(&mut self, tag: Tag, row: (K, V)) {
        let len = self.len();
        if let Some(known) = self.tags.get_mut(len) {
            *known = tag;
        }
        if len < self.places.len() {
            if let Some(place) = self.own().get_mut(len) {
                *place = Some(row);
            }
            return;
        }
        let added = iter::once(Some(row)).chain(iter::repeat_n((), STEP - 1).map(|()| None));
        self.places = match Arc::get_mut(&mut self.places) {
            Some(rows) => rows.iter_mut().map(Option::take).chain(added).collect(),
            None => self.places.iter().cloned().chain(added).collect(),
        };
    }

    /// Takes a row out, and puts the last one into its place; `tag` tells the tag of that one.
    pub(super) fn swap_remove(&mut self, row: usize, tag: impl Fn(&K) -> Tag) -> Option<V> {
        let last = self.len().checked_sub(1)?;
        let rows = self.own();
        let moved = rows.get_mut(last)?.take();
        let removed = if row < last {
            let moved_tag = moved.as_ref().map(|(key, _)| tag(key));
            let removed = std::mem::replace(rows.get_mut(row)?, moved);
            if let Some((known, moved_tag)) = self.tags.get_mut(row).zip(moved_tag) {
                *known = moved_tag;
            }
            removed
        } else {
            moved
        };
        self.trim();
        removed.map(|(_, value)| value)
    }

    /// All rows; none are left.
    pub(super) fn take(&mut self) -> Vec<(K, V)> {
        let mut taken = std::mem::take(&mut self.places);
        match Arc::get_mut(&mut taken) {
            Some(rows) => rows.iter_mut().map_while(Option::take).collect(),
            None => taken.iter().map_while(Clone::clone).collect(),
        }
    }

    /// The rows, to change; a copy of them if another leaf shares them.
    fn own(&mut self) -> &mut [Option<(K, V)>] {
        if self.holders() > 1 {
            fetch_counts(self.iter().map(|(_, value)| value));
        }
        Arc::make_mut(&mut self.places)
    }

    fn len(&self) -> usize {
        self.places.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// Gives back the room that removed rows left.
    fn trim(&mut self) {
        if self.places.len() - self.len() > 2 * STEP {
            self.places = self.take().into_iter().map(Some).collect();
        }
    }
}

impl<K, V> Default for Leaf<K, V> {
    fn default() -> Self {
        Self { tags: [0; TAGGED], places: Arc::default() }
    }
}
