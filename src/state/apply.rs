//! `State::apply`: the one place where a state changes, for new changes and for replayed ones.

use std::{collections::HashSet, sync::Arc};

use super::{
    Address, AddressList, Ban, CacheEntry, Change, DhtEntry, Effect, GeoLocation, Peer, PeerKey,
    Profile, Reputation, State, Time,
    check::{self, full},
    is_expired,
    table::Slot,
};
use crate::Error;

/// Which parts of a peer's entry go.
#[derive(Clone, Copy)]
struct Parts {
    seen: bool,
    reputation: bool,
    profile: bool,
}

const ALL: Parts = Parts { seen: true, reputation: true, profile: true };
const ROW: Parts = Parts { reputation: false, ..ALL };
const REPUTATION: Parts = Parts { seen: false, reputation: true, profile: false };
const PROFILE: Parts = Parts { seen: false, reputation: false, profile: true };

/// What a peer's row becomes; `None` leaves the addresses as they are.
struct PeerEdit {
    last_seen: Time,
    verified: bool,
    addresses: Option<AddressList>,
}

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
            Change::PeerSeen { peer, at, addresses } => self.see(peer, Some(*at), addresses),
            Change::AddressesAdded { peer, addresses } => self.see(peer, None, addresses),
            Change::AddressesReplaced { peer, addresses } => self.edit_peer(peer, |old| PeerEdit {
                addresses: replaced(old, addresses),
                ..keep(old)
            }),
            Change::AddressesRemoved { peer, addresses } => self.remove_addresses(peer, addresses),
            Change::PeerProfiled { peer, agent, protocols } => {
                let (agent, protocols) = (agent.clone(), protocols.as_slice().into());
                self.set_profile(peer, Profile { agent, protocols })
            }
            Change::PeerVerified { peer, verified } => {
                self.edit_peer(peer, |old| PeerEdit { verified: *verified, ..keep(old) })
            }
            Change::PeerForgotten { peer } | Change::Evicted { peer } => Ok(self.strip(peer, ALL)),
            Change::PeerRemoved { peer } => Ok(self.strip(peer, ROW)),
            Change::PeerSet { peer, last_seen, addresses } => self.edit_peer(peer, |old| {
                PeerEdit { last_seen: *last_seen, addresses: replaced(old, addresses), ..keep(old) }
            }),
            Change::RetrievalSucceeded { peer, at, response_ms } => {
                self.edit_reputation(peer, |reputation| reputation.succeed(*at, *response_ms))
            }
            Change::RetrievalFailed { peer, at } => {
                self.edit_reputation(peer, |reputation| reputation.fail(*at))
            }
            Change::PackagesProvided { peer, count } => {
                self.edit_reputation(peer, |reputation| reputation.packages_provided = *count)
            }
            Change::LocationSet { peer, location } => self.set_location(peer, location.as_ref()),
            Change::ReputationSet { peer, reputation } => {
                self.edit_reputation(peer, |old| old.clone_from(reputation))
            }
            Change::ReputationRemoved { peer } => Ok(self.strip(peer, REPUTATION)),
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

    /// `at` is `None` for a peer that was only heard of.
    fn see(
        &mut self,
        peer: &PeerKey,
        at: Option<Time>,
        addresses: &[Address],
    ) -> Result<Effect, Error> {
        self.edit_peer(peer, |old| PeerEdit {
            last_seen: at.map_or(old.last_seen, |at| old.last_seen.max(at)),
            addresses: old.addresses.with_added(addresses),
            ..keep(old)
        })
    }

    fn remove_addresses(&mut self, peer: &PeerKey, gone: &[Address]) -> Result<Effect, Error> {
        if self.peers.get(peer).is_none_or(|entry| entry.seen.is_none()) {
            return Ok(Effect::Unchanged);
        }
        self.edit_peer(peer, |old| PeerEdit {
            addresses: old.addresses.with_removed(gone),
            ..keep(old)
        })
    }

    /// Changes a peer's row, which is made if need be: heard of, never seen.
    fn edit_peer(
        &mut self,
        peer: &PeerKey,
        edit: impl FnOnce(&Peer) -> PeerEdit,
    ) -> Result<Effect, Error> {
        let slot = self.peers.find(peer);
        let known = slot.and_then(|slot| self.peers.at(slot)).and_then(|entry| entry.seen.as_ref());
        let blank = Peer::default();
        let old = known.unwrap_or(&blank);
        let is_new = known.is_none();
        let edit = edit(old);
        if let Some(addresses) = &edit.addresses {
            let (count, most) = (addresses.len(), self.limits.addresses_per_peer);
            if count > most && count > old.addresses.len() {
                return Err(full("addresses of one peer", "addresses_per_peer", wide(most)));
            }
        }
        let same = edit.addresses.is_none()
            && edit.last_seen == old.last_seen
            && edit.verified == old.verified;
        if same && !is_new {
            return Ok(Effect::Unchanged);
        }
        self.check_room_for_peer(slot)?;
        self.peers.edit(slot, peer, |entry| {
            let row = entry.seen.get_or_insert_default();
            row.last_seen = edit.last_seen;
            row.verified = edit.verified;
            if let Some(addresses) = edit.addresses {
                row.addresses = addresses;
            }
        });
        self.seen += usize::from(is_new);
        Ok(Effect::Changed)
    }

    /// Changes a peer's reputation, which is made if need be.
    fn edit_reputation(
        &mut self,
        peer: &PeerKey,
        edit: impl FnOnce(&mut Reputation),
    ) -> Result<Effect, Error> {
        let slot = self.peers.find(peer);
        let entry = slot.and_then(|slot| self.peers.at(slot));
        let old = entry.and_then(|entry| entry.reputation.as_ref());
        let mut new = old.cloned().unwrap_or_default();
        edit(&mut new);
        if old == Some(&new) {
            return Ok(Effect::Unchanged);
        }
        let is_new = old.is_none();
        self.check_room_for_peer(slot)?;
        self.peers.edit(slot, peer, |entry| entry.reputation = Some(new));
        self.reputations += usize::from(is_new);
        Ok(Effect::Changed)
    }

    fn set_location(
        &mut self,
        peer: &PeerKey,
        location: Option<&GeoLocation>,
    ) -> Result<Effect, Error> {
        self.edit_reputation(peer, |reputation| {
            reputation.location = location.cloned().map(Box::new);
        })
    }

    fn set_profile(&mut self, peer: &PeerKey, profile: Profile) -> Result<Effect, Error> {
        if profile == Profile::default() {
            return Ok(self.strip(peer, PROFILE));
        }
        let slot = self.peers.find(peer);
        let entry = slot.and_then(|slot| self.peers.at(slot));
        let old = entry.and_then(|entry| entry.profile.as_deref());
        if old == Some(&profile) {
            return Ok(Effect::Unchanged);
        }
        let is_new = old.is_none();
        self.check_room_for_peer(slot)?;
        self.peers.edit(slot, peer, |entry| entry.profile = Some(Arc::new(profile)));
        self.profiles += usize::from(is_new);
        Ok(Effect::Changed)
    }

    fn check_room_for_peer(&self, slot: Option<Slot>) -> Result<(), Error> {
        check_room("peers", "peers", slot.is_none(), self.peers.len(), self.limits.peers)
    }

    /// Drops parts of a peer's entry, and the entry if nothing is left.
    fn strip(&mut self, peer: &PeerKey, parts: Parts) -> Effect {
        let Some(slot) = self.peers.find(peer) else { return Effect::Unchanged };
        let Some(entry) = self.peers.at(slot) else { return Effect::Unchanged };
        let seen = parts.seen && entry.seen.is_some();
        let reputation = parts.reputation && entry.reputation.is_some();
        let profile = parts.profile && entry.profile.is_some();
        if !(seen || reputation || profile) {
            return Effect::Unchanged;
        }
        let is_left = entry.seen.is_some() && !seen
            || entry.reputation.is_some() && !reputation
            || entry.profile.is_some() && !profile;
        if !is_left {
            self.peers.remove(peer);
        } else if let Some(entry) = self.peers.at_mut(slot) {
            entry.seen.take_if(|_| seen);
            entry.reputation.take_if(|_| reputation);
            entry.profile.take_if(|_| profile);
        }
        self.seen -= usize::from(seen);
        self.reputations -= usize::from(reputation);
        self.profiles -= usize::from(profile);
        Effect::Changed
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

fn keep(old: &Peer) -> PeerEdit {
    PeerEdit { last_seen: old.last_seen, verified: old.verified, addresses: None }
}

fn replaced(old: &Peer, addresses: &[Address]) -> Option<AddressList> {
    let new = AddressList::from(addresses);
    (new != old.addresses).then_some(new)
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

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
