//! What is different between two states, row by row, for people.

use super::{Ban, CacheEntry, DhtEntry, Peer, PeerEntry, PeerKey, Profile, Reputation, State};

/// What one state has that the other has not, by kind of row. Made by
/// [`State::difference`] or [`diff`](crate::diff).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Difference {
    /// Peers: when they were seen, where, and whether we spoke to them.
    pub peers: RowChanges<PeerKey, Peer>,
    /// Reputation.
    pub reputation: RowChanges<PeerKey, Reputation>,
    /// What peers say of themselves.
    pub profiles: RowChanges<PeerKey, Profile>,
    /// Bans.
    pub bans: RowChanges<PeerKey, Ban>,
    /// DHT entries.
    pub dht_entries: RowChanges<Box<str>, DhtEntry>,
    /// Cached packages.
    pub packages: RowChanges<Box<str>, CacheEntry>,
    /// Bootstrap nodes that were added, in their order.
    pub bootstrap_added: Vec<Box<str>>,
    /// Bootstrap nodes that are gone, in their order.
    pub bootstrap_removed: Vec<Box<str>>,
    /// The bootstrap nodes that both have stand in another order.
    pub bootstrap_reordered: bool,
}

/// Rows of one kind that are different, each list sorted by the text of the keys.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RowChanges<K, V> {
    /// Rows that only the newer state has.
    pub added: Vec<(K, V)>,
    /// Rows that both have and that are different: key, older row, newer row.
    pub changed: Vec<(K, V, V)>,
    /// Rows that only the older state has.
    pub removed: Vec<(K, V)>,
}

impl<K, V> RowChanges<K, V> {
    /// True if no row is different.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }

    /// Number of rows that are different.
    #[must_use]
    pub fn len(&self) -> usize {
        self.added.len() + self.changed.len() + self.removed.len()
    }
}

impl<K, V> Default for RowChanges<K, V> {
    fn default() -> Self {
        Self { added: Vec::new(), changed: Vec::new(), removed: Vec::new() }
    }
}

impl Difference {
    /// True if the states hold the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0 && !self.bootstrap_reordered
    }

    /// Number of rows that are different.
    #[must_use]
    pub fn len(&self) -> usize {
        self.peers.len()
            + self.reputation.len()
            + self.profiles.len()
            + self.bans.len()
            + self.dht_entries.len()
            + self.packages.len()
            + self.bootstrap_added.len()
            + self.bootstrap_removed.len()
    }
}

impl State {
    /// What `newer` has that this state has not, what is gone, and what is different.
    #[must_use]
    pub fn difference(&self, newer: &Self) -> Difference {
        let seen = |entry: &PeerEntry| entry.seen.clone();
        let reputation = |entry: &PeerEntry| entry.reputation.clone();
        let profile = |entry: &PeerEntry| entry.profile.as_deref().cloned();
        let (old, new) = (self.bootstrap_nodes(), newer.bootstrap_nodes());
        let old_set: std::collections::HashSet<&str> = old.iter().map(|node| &**node).collect();
        let new_set: std::collections::HashSet<&str> = new.iter().map(|node| &**node).collect();
        let kept_old = old.iter().filter(|node| new_set.contains(&***node));
        let kept_new = new.iter().filter(|node| old_set.contains(&***node));
        Difference {
            peers: self.peer_parts(newer, seen),
            reputation: self.peer_parts(newer, reputation),
            profiles: self.peer_parts(newer, profile),
            bans: rows(self.bans(), newer.bans(), |key| newer.ban(key), |key| self.ban(key)),
            dht_entries: rows(
                self.dht.iter(),
                newer.dht.iter(),
                |key| newer.dht_entry(key),
                |key| self.dht_entry(key),
            ),
            packages: rows(
                self.packages.iter(),
                newer.packages.iter(),
                |key| newer.package(key),
                |key| self.package(key),
            ),
            bootstrap_reordered: !kept_old.eq(kept_new),
            bootstrap_added: new.iter().filter(|n| !old_set.contains(&***n)).cloned().collect(),
            bootstrap_removed: old.iter().filter(|n| !new_set.contains(&***n)).cloned().collect(),
        }
    }

    /// One part of each peer's entry.
    fn peer_parts<V: PartialEq>(
        &self,
        newer: &Self,
        part: impl Fn(&PeerEntry) -> Option<V>,
    ) -> RowChanges<PeerKey, V> {
        let mut changes = RowChanges::default();
        for (key, entry) in self.peers() {
            // What both share in memory is the same, and most of it is shared or equal.
            let other = newer.peer(key);
            if other == Some(entry) {
                continue;
            }
            match (part(entry), other.and_then(&part)) {
                (Some(old), Some(new)) if old != new => {
                    changes.changed.push((key.clone(), old, new));
                }
                (Some(old), None) => changes.removed.push((key.clone(), old)),
                _ => {}
            }
        }
        for (key, entry) in newer.peers() {
            if self.peer(key).and_then(&part).is_none()
                && let Some(new) = part(entry)
            {
                changes.added.push((key.clone(), new));
            }
        }
        changes.sort();
        changes
    }
}

fn rows<'a, K, V>(
    older: impl Iterator<Item = (&'a K, &'a V)>,
    newer: impl Iterator<Item = (&'a K, &'a V)>,
    in_newer: impl Fn(&K) -> Option<&'a V>,
    in_older: impl Fn(&K) -> Option<&'a V>,
) -> RowChanges<K, V>
where
    K: Clone + ToString + 'a,
    V: Clone + PartialEq + 'a,
{
    let mut changes = RowChanges::default();
    for (key, old) in older {
        match in_newer(key) {
            Some(new) if new != old => {
                changes.changed.push((key.clone(), old.clone(), new.clone()));
            }
            Some(_) => {}
            None => changes.removed.push((key.clone(), old.clone())),
        }
    }
    for (key, new) in newer {
        if in_older(key).is_none() {
            changes.added.push((key.clone(), new.clone()));
        }
    }
    changes.sort();
    changes
}

impl<K: ToString, V> RowChanges<K, V> {
    fn sort(&mut self) {
        self.added.sort_by_cached_key(|(key, _)| key.to_string());
        self.changed.sort_by_cached_key(|(key, _, _)| key.to_string());
        self.removed.sort_by_cached_key(|(key, _)| key.to_string());
    }
}
