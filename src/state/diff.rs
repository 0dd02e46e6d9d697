//! What turns a state into given rows: `update_state` journals this difference.

use std::collections::{BTreeMap, HashSet};

use super::{
    Address, AddressList, Change, P2PState, PeerKey, Reputation, SerializedCacheEntry,
    SerializedDHTEntry, SerializedPeer, SerializedReputation, State, apply::distinct,
};
use crate::{Error, ErrorKind};

/// New rows by key; of rows with the same key the last one wins.
struct Rows<'a> {
    peers: BTreeMap<PeerKey, &'a SerializedPeer>,
    reputation: BTreeMap<PeerKey, &'a SerializedReputation>,
    dht: BTreeMap<&'a str, &'a SerializedDHTEntry>,
    packages: BTreeMap<&'a str, &'a SerializedCacheEntry>,
}

impl<'a> Rows<'a> {
    fn of(new: &'a P2PState) -> Self {
        Self {
            peers: last_of(new.peers.iter().map(|row| (PeerKey::from_text(&row.peer_id), row))),
            reputation: last_of(
                new.reputation.iter().map(|row| (PeerKey::from_text(&row.peer_id), row)),
            ),
            dht: last_of(new.dht_entries.iter().map(|row| (row.key.as_str(), row))),
            packages: last_of(new.package_cache.iter().map(|row| (row.package_id.as_str(), row))),
        }
    }
}

impl State {
    /// The changes that turn this state into one with exactly these rows, the fewest that do.
    ///
    /// Rows that are as they were give none. Bans, profiles and whether we spoke to a peer stay,
    /// but a peer whose row goes loses its profile. Of rows with the same key the last one counts.
    /// Applied in order, the changes pass no limit that the rows themselves are within.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::NewerVersion`] if the rows are of a newer version than this crate knows.
    pub fn changes_to(&self, new: &P2PState) -> Result<Vec<Change>, Error> {
        if new.version > P2PState::CURRENT_VERSION {
            let (theirs, ours) = (new.version, P2PState::CURRENT_VERSION);
            let what = format!("a state of version {theirs}; this program knows up to {ours}");
            return Err(Error::new(ErrorKind::NewerVersion, what).next("upgrade this program"));
        }
        let rows = Rows::of(new);
        // What goes comes first, so that the state never holds more than it does before or after.
        let mut changes = self.removed_peers(&rows);
        let gone =
            self.dht.iter().map(|(key, _)| key).filter(|key| !rows.dht.contains_key(&***key));
        changes.extend(sorted(gone).map(|key| Change::DhtRemoved { key }));
        let gone =
            self.packages.iter().map(|(id, _)| id).filter(|id| !rows.packages.contains_key(&***id));
        changes.extend(sorted(gone).map(|id| Change::PackageDropped { id }));
        self.set_peers(&rows, &mut changes);
        self.set_values(&rows, &mut changes);
        self.set_bootstrap(new, &mut changes);
        Ok(changes)
    }

    fn removed_peers(&self, rows: &Rows<'_>) -> Vec<Change> {
        let mut changes = Vec::new();
        for (peer, entry) in self.peers.iter() {
            let seen = entry.seen.is_some() && !rows.peers.contains_key(peer);
            let reputation = entry.reputation.is_some() && !rows.reputation.contains_key(peer);
            let peer = peer.clone();
            match (seen, reputation) {
                (true, true) => changes.push(Change::PeerForgotten { peer }),
                (true, false) => changes.push(Change::PeerRemoved { peer }),
                (false, true) => changes.push(Change::ReputationRemoved { peer }),
                (false, false) => {}
            }
        }
        changes.sort_unstable_by(|a, b| a.peer().cmp(&b.peer()));
        changes
    }

    fn set_peers(&self, rows: &Rows<'_>, changes: &mut Vec<Change>) {
        for (peer, &row) in &rows.peers {
            let old = self.peers.get(peer).and_then(|entry| entry.seen.as_ref());
            let last_seen = row.last_seen.into();
            // Reading an address takes longer than writing it, and most rows are as they were.
            if old.is_some_and(|old| {
                old.last_seen == last_seen && old.addresses.is_written_as(&row.addresses)
            }) {
                continue;
            }
            let addresses: Vec<_> = row.addresses.iter().map(|a| Address::from_text(a)).collect();
            let list = AddressList::from(addresses.as_slice());
            if old.is_none_or(|old| old.last_seen != last_seen || old.addresses != list) {
                changes.push(Change::PeerSet { peer: peer.clone(), last_seen, addresses });
            }
        }
        for (peer, &row) in &rows.reputation {
            let old = self.peers.get(peer).and_then(|entry| entry.reputation.as_ref());
            let reputation = Reputation::from(row);
            if old != Some(&reputation) {
                changes.push(Change::ReputationSet { peer: peer.clone(), reputation });
            }
        }
    }

    /// Values that do not grow first, for the sake of the limit on their sum.
    fn set_values(&self, rows: &Rows<'_>, changes: &mut Vec<Change>) {
        let mut growing = Vec::new();
        for (&key, &row) in &rows.dht {
            let old = self.dht.get(key);
            if old
                .is_some_and(|old| *old.value == *row.value && old.stored_at.get() == row.stored_at)
            {
                continue;
            }
            let grows = old.is_none_or(|old| old.value.len() < row.value.len());
            if grows { &mut growing } else { &mut *changes }.push(row.into());
        }
        for (&id, &row) in &rows.packages {
            let old = self.packages.get(id);
            if old.is_some_and(|old| {
                *old.data == *row.package_data && old.cached_at.get() == row.cached_at
            }) {
                continue;
            }
            let grows = old.is_none_or(|old| old.data.len() < row.package_data.len());
            if grows { &mut growing } else { &mut *changes }.push(row.into());
        }
        changes.append(&mut growing);
    }

    /// Nodes added at the end or taken out one by one; any other difference replaces the list.
    fn set_bootstrap(&self, new: &P2PState, changes: &mut Vec<Change>) {
        let old: Vec<&str> = self.bootstrap.iter().map(|node| &**node).collect();
        let new = distinct(new.bootstrap_nodes.iter().map(String::as_str));
        let wanted: HashSet<&str> = new.iter().map(|node| &**node).collect();
        let (kept, removed): (Vec<&str>, Vec<&str>) =
            old.into_iter().partition(|node| wanted.contains(node));
        if !new.iter().take(kept.len()).map(|node| &**node).eq(kept.iter().copied()) {
            changes.push(Change::BootstrapReplaced { nodes: new });
            return;
        }
        let removed = removed.into_iter().map(Into::into);
        changes.extend(removed.map(|node| Change::BootstrapRemoved { node }));
        let added = new.into_iter().skip(kept.len());
        changes.extend(added.map(|node| Change::BootstrapAdded { node }));
    }
}

fn last_of<'a, K: Ord, R>(rows: impl Iterator<Item = (K, &'a R)>) -> BTreeMap<K, &'a R> {
    let mut last = BTreeMap::new();
    for (key, row) in rows {
        last.insert(key, row);
    }
    last
}

/// The same order in every run, whatever order the table has.
fn sorted<'a>(keys: impl Iterator<Item = &'a Box<str>>) -> impl Iterator<Item = Box<str>> {
    let mut keys: Vec<_> = keys.cloned().collect();
    keys.sort_unstable();
    keys.into_iter()
}
