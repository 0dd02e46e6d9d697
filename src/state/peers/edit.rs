//! What each change does to its peer.

use std::sync::Arc;

use super::{PeersPart, Room};
use crate::{
    Error,
    state::{
        Address, AddressList, Change, Effect, GeoLocation, Peer, PeerKey, Profile, Reputation,
        Time, check::full, table::Slot, wide,
    },
};

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

impl PeersPart {
    /// Applies a change of a peer in this part whose fields have been checked; any other changes
    /// nothing.
    pub(super) fn apply(&mut self, change: &Change, room: Room<'_>) -> Result<Effect, Error> {
        match change {
            Change::PeerSeen { peer, at, addresses } => {
                self.edit_peer(room, peer, |old| see(old, Some(*at), addresses))
            }
            Change::AddressesAdded { peer, addresses } => {
                self.edit_peer(room, peer, |old| see(old, None, addresses))
            }
            Change::AddressesReplaced { peer, addresses } => self.edit_peer(room, peer, |old| {
                PeerEdit { addresses: replaced(old, addresses), ..keep(old) }
            }),
            Change::AddressesRemoved { peer, addresses } => {
                self.remove_addresses(room, peer, addresses)
            }
            Change::PeerProfiled { peer, agent, protocols } => {
                let (agent, protocols) = (agent.clone(), protocols.as_slice().into());
                self.set_profile(room, peer, Profile { agent, protocols })
            }
            Change::PeerVerified { peer, verified } => {
                self.edit_peer(room, peer, |old| PeerEdit { verified: *verified, ..keep(old) })
            }
            Change::PeerForgotten { peer } | Change::Evicted { peer } => Ok(self.strip(peer, ALL)),
            Change::PeerRemoved { peer } => Ok(self.strip(peer, ROW)),
            Change::PeerSet { peer, last_seen, addresses } => self.edit_peer(room, peer, |old| {
                PeerEdit { last_seen: *last_seen, addresses: replaced(old, addresses), ..keep(old) }
            }),
            Change::RetrievalSucceeded { peer, at, response_ms } => {
                let response_ms = Some(*response_ms);
                self.edit_reputation(room, peer, |reputation| reputation.count(*at, response_ms))
            }
            Change::RetrievalFailed { peer, at } => {
                self.edit_reputation(room, peer, |reputation| reputation.count(*at, None))
            }
            Change::PackagesProvided { peer, count } => {
                self.edit_reputation(room, peer, |reputation| reputation.packages_provided = *count)
            }
            Change::LocationSet { peer, location } => {
                self.set_location(room, peer, location.as_ref())
            }
            Change::ReputationSet { peer, reputation } => {
                self.edit_reputation(room, peer, |old| old.clone_from(reputation))
            }
            Change::ReputationRemoved { peer } => Ok(self.strip(peer, REPUTATION)),
            Change::DhtPut { .. }
            | Change::DhtRemoved { .. }
            | Change::PackageCached { .. }
            | Change::PackageDropped { .. }
            | Change::BootstrapAdded { .. }
            | Change::BootstrapRemoved { .. }
            | Change::BootstrapReplaced { .. }
            | Change::Banned { .. }
            | Change::Unbanned { .. }
            | Change::Expired { .. } => Ok(Effect::Unchanged),
        }
    }

    /// Applies a change whose fields have been checked, and that no limit can refuse, to the peer
    /// whose row is at the slot; without one, to a new peer.
    pub(super) fn apply_at(
        &mut self,
        slot: Option<Slot>,
        change: &Change,
        room: Room<'_>,
    ) -> Result<Effect, Error> {
        match change {
            Change::RetrievalSucceeded { peer, at, response_ms } => {
                self.count_at(slot, peer, *at, Some(*response_ms));
            }
            Change::RetrievalFailed { peer, at } => self.count_at(slot, peer, *at, None),
            Change::PeerSeen { peer, at, addresses } => {
                return self.edit_peer_at(slot, room, peer, |old| see(old, Some(*at), addresses));
            }
            // No other is deferred.
            other => return self.apply(other, room),
        }
        Ok(Effect::Changed)
    }

    fn remove_addresses(
        &mut self,
        room: Room<'_>,
        peer: &PeerKey,
        gone: &[Address],
    ) -> Result<Effect, Error> {
        if self.rows.get(peer).is_none_or(|entry| entry.seen.is_none()) {
            return Ok(Effect::Unchanged);
        }
        self.edit_peer(room, peer, |old| PeerEdit {
            addresses: old.addresses.with_removed(gone),
            ..keep(old)
        })
    }

    /// Changes a peer's row, which is made if need be: heard of, never seen.
    fn edit_peer(
        &mut self,
        room: Room<'_>,
        peer: &PeerKey,
        edit: impl FnOnce(&Peer) -> PeerEdit,
    ) -> Result<Effect, Error> {
        let slot = self.rows.find(peer);
        self.edit_peer_at(slot, room, peer, edit)
    }

    fn edit_peer_at(
        &mut self,
        slot: Option<Slot>,
        room: Room<'_>,
        peer: &PeerKey,
        edit: impl FnOnce(&Peer) -> PeerEdit,
    ) -> Result<Effect, Error> {
        let known = slot.and_then(|slot| self.rows.at(slot)).and_then(|entry| entry.seen.as_ref());
        let blank = Peer::default();
        let old = known.unwrap_or(&blank);
        let is_new = known.is_none();
        let edit = edit(old);
        if let Some(addresses) = &edit.addresses {
            let (count, most) = (addresses.len(), room.limits.addresses_per_peer);
            if count > most && count > old.addresses.len() {
                return Err(full("addresses of one peer", "addresses_per_peer", wide(most)));
            }
            self.most_addresses = self.most_addresses.max(count);
        }
        let same = edit.addresses.is_none()
            && edit.last_seen == old.last_seen
            && edit.verified == old.verified;
        if same && !is_new {
            return Ok(Effect::Unchanged);
        }
        self.check_room(room, slot)?;
        self.latest = self.latest.max(edit.last_seen);
        self.rows.edit(slot, peer, |entry| {
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
        room: Room<'_>,
        peer: &PeerKey,
        edit: impl FnOnce(&mut Reputation),
    ) -> Result<Effect, Error> {
        let slot = self.rows.find(peer);
        let entry = slot.and_then(|slot| self.rows.at(slot));
        let old = entry.and_then(|entry| entry.reputation.as_ref());
        let mut new = old.cloned().unwrap_or_default();
        edit(&mut new);
        if old == Some(&new) {
            return Ok(Effect::Unchanged);
        }
        let is_new = old.is_none();
        self.check_room(room, slot)?;
        self.rows.edit(slot, peer, |entry| entry.reputation = Some(new));
        self.reputations += usize::from(is_new);
        Ok(Effect::Changed)
    }

    /// Counts a retrieval of the peer whose row is at the slot; without one, of a new peer, for
    /// which there is room.
    fn count_at(&mut self, slot: Option<Slot>, peer: &PeerKey, at: Time, response_ms: Option<u64>) {
        let mut is_new = false;
        self.rows.edit(slot, peer, |entry| {
            is_new = entry.reputation.is_none();
            entry.reputation.get_or_insert_default().count(at, response_ms);
        });
        self.reputations += usize::from(is_new);
    }

    fn set_location(
        &mut self,
        room: Room<'_>,
        peer: &PeerKey,
        location: Option<&GeoLocation>,
    ) -> Result<Effect, Error> {
        self.edit_reputation(room, peer, |reputation| {
            reputation.location = location.cloned().map(Box::new);
        })
    }

    fn set_profile(
        &mut self,
        room: Room<'_>,
        peer: &PeerKey,
        profile: Profile,
    ) -> Result<Effect, Error> {
        if profile == Profile::default() {
            return Ok(self.strip(peer, PROFILE));
        }
        let slot = self.rows.find(peer);
        let entry = slot.and_then(|slot| self.rows.at(slot));
        let old = entry.and_then(|entry| entry.profile.as_deref());
        if old == Some(&profile) {
            return Ok(Effect::Unchanged);
        }
        let is_new = old.is_none();
        self.check_room(room, slot)?;
        self.rows.edit(slot, peer, |entry| entry.profile = Some(Arc::new(profile)));
        self.profiles += usize::from(is_new);
        Ok(Effect::Changed)
    }

    fn check_room(&self, room: Room<'_>, slot: Option<Slot>) -> Result<(), Error> {
        let most = room.limits.peers;
        if slot.is_none() && self.rows.len() + room.others >= most {
            return Err(full("peers", "peers", wide(most)));
        }
        Ok(())
    }

    /// Drops parts of a peer's entry, and the entry if nothing is left.
    fn strip(&mut self, peer: &PeerKey, parts: Parts) -> Effect {
        let Some(slot) = self.rows.find(peer) else { return Effect::Unchanged };
        let Some(entry) = self.rows.at(slot) else { return Effect::Unchanged };
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
            self.rows.remove(peer);
        } else if let Some(entry) = self.rows.at_mut(slot) {
            entry.seen.take_if(|_| seen);
            entry.reputation.take_if(|_| reputation);
            entry.profile.take_if(|_| profile);
        }
        self.seen -= usize::from(seen);
        self.reputations -= usize::from(reputation);
        self.profiles -= usize::from(profile);
        Effect::Changed
    }
}

fn keep(old: &Peer) -> PeerEdit {
    PeerEdit { last_seen: old.last_seen, verified: old.verified, addresses: None }
}

/// `at` is `None` for a peer that was only heard of.
fn see(old: &Peer, at: Option<Time>, addresses: &[Address]) -> PeerEdit {
    PeerEdit {
        last_seen: at.map_or(old.last_seen, |at| old.last_seen.max(at)),
        addresses: old.addresses.with_added(addresses),
        ..keep(old)
    }
}

fn replaced(old: &Peer, addresses: &[Address]) -> Option<AddressList> {
    let new = AddressList::from(addresses);
    (new != old.addresses).then_some(new)
}
