//! Taking changes back: what it takes to give the rows that they touched their old content again.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Address, Ban, CacheEntry, Change, DhtEntry, Peer, PeerEntry, PeerKey, Profile, Reputation,
    State, Time, is_expired,
};

/// One row of a state, by its kind and its key. The bootstrap nodes are one row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RowKey {
    /// When a peer was seen, where, and whether we spoke to it.
    Peer(PeerKey),
    /// How a peer behaved.
    Reputation(PeerKey),
    /// What a peer says of itself.
    Profile(PeerKey),
    /// The ban of a peer.
    Ban(PeerKey),
    /// A DHT entry.
    DhtEntry(Box<str>),
    /// A cached package.
    Package(Box<str>),
    /// The list of bootstrap nodes.
    BootstrapNodes,
}

impl RowKey {
    /// The kind as one lower-case phrase.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Peer(_) => "peer",
            Self::Reputation(_) => "reputation",
            Self::Profile(_) => "profile",
            Self::Ban(_) => "ban",
            Self::DhtEntry(_) => "DHT entry",
            Self::Package(_) => "package",
            Self::BootstrapNodes => "bootstrap nodes",
        }
    }

    /// The peer that the row is about.
    #[must_use]
    pub const fn peer(&self) -> Option<&PeerKey> {
        match self {
            Self::Peer(key) | Self::Reputation(key) | Self::Profile(key) | Self::Ban(key) => {
                Some(key)
            }
            Self::DhtEntry(_) | Self::Package(_) | Self::BootstrapNodes => None,
        }
    }

    /// The DHT key or package id of the row.
    #[must_use]
    pub const fn name(&self) -> Option<&str> {
        match self {
            Self::DhtEntry(name) | Self::Package(name) => Some(name),
            _ => None,
        }
    }

    /// True if both states hold the same in this row.
    #[must_use]
    pub fn is_same(&self, a: &State, b: &State) -> bool {
        match self {
            Self::Peer(key) => seen(a, key) == seen(b, key),
            Self::Reputation(key) => reputation(a, key) == reputation(b, key),
            Self::Profile(key) => profile(a, key) == profile(b, key),
            Self::Ban(key) => a.ban(key) == b.ban(key),
            Self::DhtEntry(key) => a.dht_entry(key) == b.dht_entry(key),
            Self::Package(id) => a.package(id) == b.package(id),
            Self::BootstrapNodes => a.bootstrap == b.bootstrap,
        }
    }
}

/// What taking changes back comes to. Made by [`State::undo`].
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Undo {
    /// Applied in order, they give every row that is not in `conflicts` or `expired` its old
    /// content.
    pub changes: Vec<Change>,
    /// Rows that something changed again afterwards. Their old content may be no answer to what
    /// came later, so nothing in `changes` touches them.
    pub conflicts: Vec<RowKey>,
    /// Rows whose old content has run out meanwhile and stays gone: bans and cached packages.
    pub expired: Vec<RowKey>,
}

impl State {
    /// What takes back everything that turned `before` into `after`. This state is the present one,
    /// `now` the time at which bans and packages may have run out.
    #[must_use]
    pub fn undo(&self, before: &Self, after: &Self, now: Time) -> Undo {
        let mut undo = Undo::default();
        let mut wanted = BTreeSet::new();
        for row in touched(before, after) {
            if row.is_same(self, before) {
                continue;
            }
            if has_run_out(&row, before, now) {
                // Where it is gone it stays gone; where it is another one now, that one stays.
                undo.expired.push(row);
            } else if row.is_same(self, after) {
                wanted.insert(row);
            } else {
                undo.conflicts.push(row);
            }
        }
        let peers: BTreeSet<&PeerKey> = wanted.iter().filter_map(RowKey::peer).collect();
        for peer in peers {
            self.undo_peer(peer, before, &wanted, &mut undo.changes);
        }
        for row in &wanted {
            self.undo_value(row, before, &mut undo.changes);
        }
        undo
    }

    fn undo_peer(
        &self,
        peer: &PeerKey,
        before: &Self,
        wanted: &BTreeSet<RowKey>,
        changes: &mut Vec<Change>,
    ) {
        let wants = |row: fn(PeerKey) -> RowKey| wanted.contains(&row(peer.clone()));
        let source = |row| if wants(row) { before } else { self };
        let profile_wanted = profile(source(RowKey::Profile), peer);
        let mut profile_now = profile(self, peer);
        if wants(RowKey::Peer) {
            match seen(before, peer) {
                Some(old) => set_seen(peer, old, seen(self, peer), changes),
                None => {
                    changes.push(Change::PeerRemoved { peer: peer.clone() });
                    // Which takes the profile with it.
                    profile_now = None;
                }
            }
        }
        if profile_now != profile_wanted {
            let Profile { agent, protocols } = profile_wanted.cloned().unwrap_or_default();
            let (peer, protocols) = (peer.clone(), protocols.into_vec());
            changes.push(Change::PeerProfiled { peer, agent, protocols });
        }
        if wants(RowKey::Reputation) {
            let peer = peer.clone();
            changes.push(match reputation(before, &peer).cloned() {
                Some(reputation) => Change::ReputationSet { peer, reputation },
                None => Change::ReputationRemoved { peer },
            });
        }
        if wants(RowKey::Ban) {
            let peer = peer.clone();
            changes.push(match before.ban(&peer).cloned() {
                Some(Ban { at, until, reason, source }) => {
                    Change::Banned { peer, at, until, reason, source }
                }
                None => Change::Unbanned { peer },
            });
        }
    }

    fn undo_value(&self, row: &RowKey, before: &Self, changes: &mut Vec<Change>) {
        match row {
            RowKey::DhtEntry(key) => {
                let key = key.clone();
                changes.push(match before.dht_entry(&key) {
                    Some(DhtEntry { value, stored_at }) => {
                        Change::DhtPut { key, value: (**value).into(), at: *stored_at }
                    }
                    None => Change::DhtRemoved { key },
                });
            }
            RowKey::Package(id) => {
                let id = id.clone();
                changes.push(match before.package(&id) {
                    Some(CacheEntry { data, cached_at }) => {
                        Change::PackageCached { id, data: (**data).into(), at: *cached_at }
                    }
                    None => Change::PackageDropped { id },
                });
            }
            RowKey::BootstrapNodes => {
                changes.push(Change::BootstrapReplaced { nodes: before.bootstrap.to_vec() });
            }
            RowKey::Peer(_) | RowKey::Reputation(_) | RowKey::Profile(_) | RowKey::Ban(_) => {}
        }
    }
}

/// The rows that are different in two states, sorted.
pub(super) fn touched(before: &State, after: &State) -> BTreeSet<RowKey> {
    fn keys<K: Clone, V>(
        rows: &super::RowChanges<K, V>,
        row: impl Fn(K) -> RowKey + Copy,
    ) -> impl Iterator<Item = RowKey> {
        let added = rows.added.iter().map(|(key, _)| key);
        let changed = rows.changed.iter().map(|(key, ..)| key);
        let removed = rows.removed.iter().map(|(key, _)| key);
        added.chain(changed).chain(removed).map(move |key| row(key.clone()))
    }
    let difference = before.difference(after);
    let mut touched = BTreeSet::new();
    touched.extend(keys(&difference.peers, RowKey::Peer));
    touched.extend(keys(&difference.reputation, RowKey::Reputation));
    touched.extend(keys(&difference.profiles, RowKey::Profile));
    touched.extend(keys(&difference.bans, RowKey::Ban));
    touched.extend(keys(&difference.dht_entries, RowKey::DhtEntry));
    touched.extend(keys(&difference.packages, RowKey::Package));
    if before.bootstrap != after.bootstrap {
        touched.insert(RowKey::BootstrapNodes);
    }
    touched
}

fn has_run_out(row: &RowKey, before: &State, now: Time) -> bool {
    match row {
        RowKey::Ban(key) => before.ban(key).is_some_and(|ban| !ban.is_active(now)),
        RowKey::Package(id) => before.package(id).is_some_and(|entry| is_expired(entry, now)),
        _ => false,
    }
}

fn set_seen(peer: &PeerKey, old: &Peer, now: Option<&Peer>, changes: &mut Vec<Change>) {
    let blank = Peer::default();
    if now.is_none_or(|now| (now.last_seen, &now.addresses) != (old.last_seen, &old.addresses)) {
        changes.push(Change::PeerSet {
            peer: peer.clone(),
            last_seen: old.last_seen,
            addresses: old.addresses.iter().map(|one| one.to_address()).collect::<Vec<Address>>(),
        });
    }
    if now.unwrap_or(&blank).verified != old.verified {
        changes.push(Change::PeerVerified { peer: peer.clone(), verified: old.verified });
    }
}

fn seen<'a>(state: &'a State, peer: &PeerKey) -> Option<&'a Peer> {
    state.peer(peer)?.seen.as_ref()
}

fn reputation<'a>(state: &'a State, peer: &PeerKey) -> Option<&'a Reputation> {
    state.peer(peer)?.reputation.as_ref()
}

fn profile<'a>(state: &'a State, peer: &PeerKey) -> Option<&'a Profile> {
    let PeerEntry { profile, .. } = state.peer(peer)?;
    profile.as_ref().map(Arc::as_ref)
}
