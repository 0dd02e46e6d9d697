//! A copy-on-write hash table: cloning it is cheap at any size, and so is the next change.
//!
//! Linear hashing: rows live in leaves of about [`LOAD`], and every so many inserts split one leaf,
//! so there is no pause to rehash. Leaves hang in pages, pages in groups. A clone shares all
//! groups; the first change of a row afterwards copies one group and one page of pointers, and one
//! leaf.

use std::{
    array,
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash, RandomState},
    hint::black_box,
    sync::Arc,
};

use super::leaf::{Leaf, Tag};

/// Leaves in a page. The first change of one after the table was cloned copies the page and counts
/// one more holder of each leaf, which is seldom in the cache: the slowest append beside a snapshot
/// is the one that does so.
const PAGE: usize = 16;
/// Pages in a group: so many that a million rows are in some thirty groups, which is what a clone
/// copies.
const GROUP: usize = 256;
/// Mean rows in a leaf: fewer cost memory, more cost time to scan and to copy.
const LOAD: usize = 8;

/// Keys that are fetched at once; more would push each other out of the fastest memory.
pub(crate) const FETCHED_MAX: usize = 16;

/// Not a vector: that would be one more place in memory to wait for.
type Page<K, V> = Arc<[Leaf<K, V>; PAGE]>;
type Group<K, V> = Arc<Vec<Page<K, V>>>;

/// What copies of the table share, and count.
pub(crate) trait Shared {
    /// How many hold it: to ask memory for the count before one more is counted. One for what is
    /// copied whole.
    fn holders(&self) -> usize {
        1
    }
}

impl<T: ?Sized> Shared for Arc<T> {
    fn holders(&self) -> usize {
        Self::strong_count(self)
    }
}

/// A key, and the leaf where its row may be.
pub(super) struct Wanted<'t, Q: ?Sized, K, V> {
    key: &'t Q,
    tag: Tag,
    index: usize,
    leaf: &'t Leaf<K, V>,
}

/// The copy-on-write hash table. Rows come out in no particular order.
#[derive(Clone)]
pub(crate) struct Table<K, V> {
    groups: Vec<Group<K, V>>,
    leaves: usize,
    len: usize,
    /// Leaves that were copied to change a row, and rows that were added.
    pub(super) copied: usize,
    /// Random keys: strangers choose peer ids and must not be able to choose their leaf.
    hasher: RandomState,
}

/// Where a row is; good until the next insert or removal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    leaf: usize,
    row: usize,
}

impl<K, V> Table<K, V> {
    /// An empty table; it allocates nothing.
    pub(crate) fn new() -> Self {
        Self { groups: Vec::new(), leaves: 0, len: 0, copied: 0, hasher: RandomState::new() }
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// All rows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        let pages = self.groups.iter().flat_map(|group| group.iter());
        pages.flat_map(|page| page.iter()).flat_map(|leaf| leaf.iter()).map(pair)
    }

    /// The row at a slot.
    pub(crate) fn at(&self, slot: Slot) -> Option<&V> {
        self.leaf(slot.leaf)?.get(slot.row)
    }

    fn leaf(&self, index: usize) -> Option<&Leaf<K, V>> {
        self.page(index)?.get(index % PAGE)
    }

    fn page(&self, leaf: usize) -> Option<&Page<K, V>> {
        self.groups.get(leaf / PAGE / GROUP)?.get(leaf / PAGE % GROUP)
    }
}

impl<K: Clone + Eq + Hash, V: Clone + Shared> Table<K, V> {
    /// A table of all these rows, whose keys are distinct. No leaf is split or grows on the way,
    /// and none has unused room.
    pub(crate) fn of<const N: usize>(pieces: [Vec<(K, V)>; N]) -> Self {
        let mut table = Self::new();
        table.len = pieces.iter().map(Vec::len).sum();
        table.leaves = table.len.div_ceil(LOAD);
        let mut homes = Vec::with_capacity(table.len);
        for rows in &pieces {
            homes.extend(rows.iter().map(|(key, _)| table.leaf_of(table.hash(key))));
        }
        let mut counts = vec![0; table.leaves];
        for home in &homes {
            if let Some(count) = counts.get_mut(*home) {
                *count += 1;
            }
        }
        let mut leaves: Vec<Vec<(K, V)>> = counts.into_iter().map(Vec::with_capacity).collect();
        for (home, row) in homes.into_iter().zip(pieces.into_iter().flatten()) {
            if let Some(leaf) = leaves.get_mut(home) {
                leaf.push(row);
            }
        }
        let mut leaves = leaves.into_iter().map(|rows| table.leaf_from(rows));
        let mut pages = Vec::with_capacity(table.leaves.div_ceil(PAGE));
        pages.resize_with(table.leaves.div_ceil(PAGE), || {
            Arc::new(array::from_fn(|_| leaves.next().unwrap_or_default()))
        });
        drop(leaves);
        let mut pages = pages.into_iter();
        while pages.len() > 0 {
            table.groups.push(Arc::new(pages.by_ref().take(GROUP).collect()));
        }
        table
    }

    /// Finds a row, for [`at`](Self::at), [`at_mut`](Self::at_mut) and [`edit`](Self::edit).
    pub(crate) fn find<Q: ?Sized + Eq + Hash>(&self, key: &Q) -> Option<Slot>
    where
        K: Borrow<Q>,
    {
        let hash = self.hash(key);
        let index = self.leaf_of(hash);
        let page = self.page(index)?;
        let leaf = page.get(index % PAGE)?;
        // Whoever changes the row asks next whether it is shared: memory fetches the counts while
        // it fetches the row.
        black_box((page.holders(), leaf.holders()));
        let row = leaf.find(tag(hash), |known| known.borrow() == key)?;
        Some(Slot { leaf: index, row })
    }

    /// A key for [`find_each`] and [`fetch`].
    pub(super) fn wanted<'t, Q: ?Sized + Eq + Hash>(
        &'t self,
        key: &'t Q,
    ) -> Option<Wanted<'t, Q, K, V>>
    where
        K: Borrow<Q>,
    {
        let hash = self.hash(key);
        let index = self.leaf_of(hash);
        self.leaf(index).map(|leaf| Wanted { key, tag: tag(hash), index, leaf })
    }

    /// The value of a key.
    pub(crate) fn get<Q: ?Sized + Eq + Hash>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.at(self.find(key)?)
    }

    /// The row at a slot, to change. Copies its leaf if a clone of the table shares it.
    pub(crate) fn at_mut(&mut self, slot: Slot) -> Option<&mut V> {
        let leaf = leaf_mut(&mut self.groups, slot.leaf)?;
        self.copied += usize::from(leaf.holders() > 1);
        leaf.get_mut(slot.row)
    }

    /// Changes the row at the slot; without one, changes a default value and adds it under the key.
    pub(crate) fn edit(&mut self, slot: Option<Slot>, key: &K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        if let Some(value) = slot.and_then(|slot| self.at_mut(slot)) {
            change(value);
            return;
        }
        let mut value = V::default();
        change(&mut value);
        self.push(key.clone(), value);
    }

    /// Sets the value of a key and returns the one it had.
    pub(crate) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let slot = self.find(&key);
        match slot.and_then(|slot| self.at_mut(slot)) {
            Some(old) => Some(std::mem::replace(old, value)),
            None => {
                self.push(key, value);
                None
            }
        }
    }

    /// Removes a key and returns its value.
    pub(crate) fn remove<Q: ?Sized + Eq + Hash>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let slot = self.find(key)?;
        let Self { groups, hasher, .. } = self;
        let leaf = leaf_mut(groups, slot.leaf)?;
        let value = leaf.swap_remove(slot.row, |key| tag(hasher.hash_one(key)))?;
        self.len -= 1;
        Some(value)
    }

    /// Removes the rows that `keep` refuses, telling `dropped` of each. Leaves that lose nothing
    /// are neither copied nor written.
    pub(crate) fn retain(&mut self, keep: impl Fn(&V) -> bool, mut dropped: impl FnMut(&V)) {
        for index in 0..self.leaves {
            if self.leaf(index).is_none_or(|leaf| leaf.iter().all(|(_, value)| keep(value))) {
                continue;
            }
            let Some(leaf) = self.leaf_mut(index) else { continue };
            let mut rows = leaf.take();
            let before = rows.len();
            rows.retain(|(_, value)| {
                let kept = keep(value);
                if !kept {
                    dropped(value);
                }
                kept
            });
            self.len -= before - rows.len();
            let kept = self.leaf_from(rows);
            if let Some(leaf) = self.leaf_mut(index) {
                *leaf = kept;
            }
        }
    }

    /// Adds a row whose key is known to be absent.
    fn push(&mut self, key: K, value: V) {
        if self.len >= self.leaves * LOAD {
            self.split();
        }
        let hash = self.hash(&key);
        let index = self.leaf_of(hash);
        if let Some(leaf) = self.leaf_mut(index) {
            leaf.push(tag(hash), (key, value));
            self.len += 1;
            self.copied += 1;
        }
    }

    /// Adds one leaf, and moves to it the rows that now belong there.
    fn split(&mut self) {
        let added = self.leaves;
        self.leaves += 1;
        if added.is_multiple_of(PAGE * GROUP) {
            self.groups.push(Arc::default());
        }
        if added.is_multiple_of(PAGE)
            && let Some(group) = self.groups.last_mut()
        {
            own(group).push(Arc::new(array::from_fn(|_| Leaf::default())));
        }
        // The leaf to split is the added one without its highest bit.
        let Some(bits) = added.checked_ilog2() else { return };
        let source = added - (1 << bits);
        let Some(rows) = self.leaf_mut(source).map(Leaf::take) else { return };
        let (stay, go): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|(key, _)| self.leaf_of(self.hash(key)) != added);
        for (index, rows) in [(source, stay), (added, go)] {
            let made = self.leaf_from(rows);
            if let Some(leaf) = self.leaf_mut(index) {
                *leaf = made;
            }
        }
    }

    fn hash<Q: ?Sized + Hash>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }

    fn leaf_of(&self, hash: u64) -> usize {
        // 32 bits of hash number more leaves than memory holds.
        let hash = usize::try_from(hash & u64::from(u32::MAX)).unwrap_or_default();
        let mask = self.leaves.next_power_of_two() - 1;
        let index = hash & mask;
        if index < self.leaves { index } else { index & (mask >> 1) }
    }

    fn leaf_from(&self, rows: Vec<(K, V)>) -> Leaf<K, V> {
        Leaf::of(rows, |key| tag(self.hash(key)))
    }

    fn leaf_mut(&mut self, index: usize) -> Option<&mut Leaf<K, V>> {
        leaf_mut(&mut self.groups, index)
    }
}

fn leaf_mut<K: Clone, V: Clone + Shared>(
    groups: &mut [Group<K, V>],
    index: usize,
) -> Option<&mut Leaf<K, V>> {
    let group = own(groups.get_mut(index / PAGE / GROUP)?);
    let page = own(group.get_mut(index / PAGE % GROUP)?);
    page.get_mut(index % PAGE)
}

/// The part of a hash that does not choose the leaf.
fn tag(hash: u64) -> Tag {
    let [.., tag] = hash.to_le_bytes();
    tag
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> fmt::Debug for Table<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} rows in {} leaves)", self.len, self.leaves)
    }
}

/// A group or a page, to change; a copy of it if another table shares it.
fn own<T: Shared, N: Clone + AsRef<[T]>>(node: &mut Arc<N>) -> &mut N {
    if node.holders() > 1 {
        fetch_counts(node.as_ref().as_ref().iter());
    }
    Arc::make_mut(node)
}

/// Looks at the counts of holders that a copy is about to raise, one step for all: memory fetches
/// them at once, while raising them one after the other waits for each.
pub(super) fn fetch_counts<'a, T: Shared + 'a>(nodes: impl Iterator<Item = &'a T>) {
    black_box(nodes.map(Shared::holders).fold(0, usize::wrapping_add));
}

/// Finds the rows of several keys, of one table or of several. One step for all keys before the
/// next step: memory fetches what a step needs for all of them at once, while
/// [`find`](Table::find) has to wait at each step of each key.
pub(super) fn find_each<'t, Q: ?Sized + Eq + 't, K: Borrow<Q> + 't, V: 't>(
    wanted: impl Iterator<Item = Option<Wanted<'t, Q, K, V>>>,
) -> [Option<Slot>; FETCHED_MAX] {
    find_rows(wanted).map(|row| row.map(|(slot, _)| slot))
}

/// Looks at the rows of keys that are about to be found, as [`find_each`] does, and tells how many
/// `look` says yes to.
pub(super) fn fetch<'t, Q: ?Sized + Eq + 't, K: Borrow<Q> + 't, V: 't>(
    wanted: impl Iterator<Item = Option<Wanted<'t, Q, K, V>>>,
    look: impl Fn(&V) -> bool,
) -> usize {
    let rows = find_rows(wanted);
    rows.iter().flatten().filter(|(slot, leaf)| leaf.get(slot.row).is_some_and(&look)).count()
}

type Found<'t, K, V> = Option<(Slot, &'t Leaf<K, V>)>;

fn find_rows<'t, Q: ?Sized + Eq + 't, K: Borrow<Q> + 't, V: 't>(
    wanted: impl Iterator<Item = Option<Wanted<'t, Q, K, V>>>,
) -> [Found<'t, K, V>; FETCHED_MAX] {
    let mut rows: [Option<Wanted<'t, Q, K, V>>; FETCHED_MAX] = [const { None }; FETCHED_MAX];
    for (row, wanted) in rows.iter_mut().zip(wanted) {
        *row = wanted;
    }
    let look = |row: &Wanted<'t, Q, K, V>| {
        // Whoever changes a row asks whether its leaf is shared.
        (row.leaf.tagged(row.tag) == 0) ^ (row.leaf.holders() > 1)
    };
    black_box(rows.iter().flatten().filter(|row| look(row)).count());
    rows.map(|row| {
        let Wanted { key, tag, index, leaf } = row?;
        let row = leaf.find(tag, |known| known.borrow() == key)?;
        Some((Slot { leaf: index, row }, leaf))
    })
}

fn pair<K, V>((key, value): &(K, V)) -> (&K, &V) {
    (key, value)
}
