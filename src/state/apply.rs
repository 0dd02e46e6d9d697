//! `State::apply`: the one place where a state changes, for new changes and for replayed ones.

use std::{collections::HashSet, sync::Arc};

use super::{
    Ban, CacheEntry, Change, DhtEntry, Effect, PeerKey, State, Time,
    check::{self, full},
    is_expired, wide,
};
use crate::Error;

impl State {
    /// Applies one change, wholly or not at all.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Limit`](crate::ErrorKind::Limit) if a limit would be passed, and
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a location that is not on earth.
    /// Nothing changed then.
    pub fn apply(&mut self, change: &Change) -> Result<Effect, Error> {
        check::fields(change)?;
        match change {
            Change::PeerSeen { peer, .. }
            | Change::AddressesAdded { peer, .. }
            | Change::AddressesReplaced { peer, .. }
            | Change::AddressesRemoved { peer, .. }
            | Change::PeerProfiled { peer, .. }
            | Change::PeerVerified { peer, .. }
            | Change::PeerForgotten { peer }
            | Change::Evicted { peer }
            | Change::PeerRemoved { peer }
            | Change::PeerSet { peer, .. }
            | Change::RetrievalSucceeded { peer, .. }
            | Change::RetrievalFailed { peer, .. }
            | Change::PackagesProvided { peer, .. }
            | Change::LocationSet { peer, .. }
            | Change::ReputationSet { peer, .. }
            | Change::ReputationRemoved { peer } => self.peers.apply(peer, change, &self.limits),
            Change::DhtPut { key, value, at } => self.put_dht(key, value, *at),
            Change::DhtRemoved { key } => Ok(self.remove_dht(key)),
            Change::PackageCached { id, data, at } => self.cache_package(id, data, *at),
            Change::PackageDropped { id } => Ok(self.drop_package(id)),
            Change::BootstrapAdded { node } => self.add_bootstrap(node),
            Change::BootstrapRemoved { node } => Ok(self.remove_bootstrap(node)),
            Change::BootstrapReplaced { nodes } => self.replace_bootstrap(nodes),
            Change::Banned { peer, at, until, reason, source } => {
                let (reason, source) = (reason.clone(), source.clone());
                self.add_ban(peer, Ban { at: *at, until: *until, reason, source })
            }
            Change::Unbanned { peer } => Ok(changed(self.bans.remove(peer).is_some())),
            Change::Expired { at } => Ok(self.expire(*at)),
        }
    }

    fn put_dht(&mut self, key: &str, value: &[u8], stored_at: Time) -> Result<Effect, Error> {
        let old = self.dht.get(key);
        if old.is_some_and(|old| *old.value == *value && old.stored_at == stored_at) {
            return Ok(Effect::Unchanged);
        }
        let most = self.limits.dht_entries;
        check_room("DHT entries", "dht_entries", old.is_none(), self.dht.len(), most)?;
        self.value_bytes = self.value_bytes_with(old.map_or(0, |old| old.value.len()), value)?;
        self.dht.insert(key.into(), DhtEntry { value: value.into(), stored_at });
        Ok(Effect::Changed)
    }

    fn remove_dht(&mut self, key: &str) -> Effect {
        let Some(old) = self.dht.remove(key) else { return Effect::Unchanged };
        self.value_bytes -= wide(old.value.len());
        Effect::Changed
    }

    fn cache_package(&mut self, id: &str, data: &[u8], cached_at: Time) -> Result<Effect, Error> {
        let old = self.packages.get(id);
        if old.is_some_and(|old| *old.data == *data && old.cached_at == cached_at) {
            return Ok(Effect::Unchanged);
        }
        let most = self.limits.packages;
        check_room("packages", "packages", old.is_none(), self.packages.len(), most)?;
        self.value_bytes = self.value_bytes_with(old.map_or(0, |old| old.data.len()), data)?;
        self.packages.insert(id.into(), CacheEntry { data: data.into(), cached_at });
        Ok(Effect::Changed)
    }

    fn drop_package(&mut self, id: &str) -> Effect {
        let Some(old) = self.packages.remove(id) else { return Effect::Unchanged };
        self.value_bytes -= wide(old.data.len());
        Effect::Changed
    }

    /// The sum of all values once `new` stands in for a value of `old` bytes.
    fn value_bytes_with(&self, old: usize, new: &[u8]) -> Result<u64, Error> {
        let total = self.value_bytes - wide(old) + wide(new.len());
        let most = self.limits.value_bytes;
        if total > most && total > self.value_bytes {
            return Err(full("bytes of values", "value_bytes", most));
        }
        Ok(total)
    }

    fn add_bootstrap(&mut self, node: &str) -> Result<Effect, Error> {
        if self.bootstrap.iter().any(|known| **known == *node) {
            return Ok(Effect::Unchanged);
        }
        self.check_room_for_bootstrap(self.bootstrap.len() + 1)?;
        Arc::make_mut(&mut self.bootstrap).push(node.into());
        Ok(Effect::Changed)
    }

    fn remove_bootstrap(&mut self, node: &str) -> Effect {
        let Some(index) = self.bootstrap.iter().position(|known| **known == *node) else {
            return Effect::Unchanged;
        };
        Arc::make_mut(&mut self.bootstrap).remove(index);
        Effect::Changed
    }

    fn replace_bootstrap(&mut self, nodes: &[Box<str>]) -> Result<Effect, Error> {
        let new = distinct(nodes.iter().map(|node| &**node));
        if new == *self.bootstrap {
            return Ok(Effect::Unchanged);
        }
        self.check_room_for_bootstrap(new.len())?;
        self.bootstrap = Arc::new(new);
        Ok(Effect::Changed)
    }

    fn check_room_for_bootstrap(&self, count: usize) -> Result<(), Error> {
        let most = self.limits.bootstrap_nodes;
        if count > most && count > self.bootstrap.len() {
            return Err(full("bootstrap nodes", "bootstrap_nodes", wide(most)));
        }
        Ok(())
    }

    fn add_ban(&mut self, peer: &PeerKey, ban: Ban) -> Result<Effect, Error> {
        let old = self.bans.get(peer);
        if old == Some(&ban) {
            return Ok(Effect::Unchanged);
        }
        check_room("bans", "bans", old.is_none(), self.bans.len(), self.limits.bans)?;
        self.bans.insert(peer.clone(), ban);
        Ok(Effect::Changed)
    }

    fn expire(&mut self, now: Time) -> Effect {
        let before = (self.packages.len(), self.bans.len());
        let mut freed = 0;
        self.packages.retain(|entry| !is_expired(entry, now), |entry| freed += entry.data.len());
        self.bans.retain(|ban| ban.is_active(now), |_| ());
        self.value_bytes -= wide(freed);
        changed(before != (self.packages.len(), self.bans.len()))
    }
}

/// The texts in order, each once.
pub(super) fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Box<str>> {
    let mut known = HashSet::new();
    texts.filter(|text| known.insert(*text)).map(Into::into).collect()
}

fn check_room(
    what: &str,
    limit: &str,
    is_new: bool,
    count: usize,
    most: usize,
) -> Result<(), Error> {
    if is_new && count >= most { Err(full(what, limit, wide(most))) } else { Ok(()) }
}

fn changed(is_changed: bool) -> Effect {
    if is_changed { Effect::Changed } else { Effect::Unchanged }
}
