//! What is to be written about one peer, and the changes that it comes to.

use std::collections::HashSet;

use chrono::Utc;
use libp2p_identity::PeerId;

use super::{RegistryLimits, addresses::cut};
use crate::state::{Address, AddressRef, Change, Peer, PeerKey, State, Time};

pub(super) type Profile = (Option<Box<str>>, Vec<Box<str>>);

/// News about one peer that are not written yet. They replace or join each other, so that any
/// number of events takes the room of one.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) seen: Option<Time>,
    pub(super) verified: bool,
    pub(super) profile: Option<Profile>,
    pub(super) provided: Option<u64>,
    replaced: Option<Vec<Address>>,
    added: Vec<Address>,
    removed: Vec<Address>,
}

/// Now, to the millisecond: all that a row needs.
pub(super) fn now() -> Time {
    let now = Utc::now();
    chrono::DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now).into()
}

/// What a peer says of itself, within the limits and in one order: peers send protocols in any.
pub(super) fn profile(agent: &str, protocols: &[&str], limits: &RegistryLimits) -> Profile {
    let mut protocols: Vec<Box<str>> = protocols
        .iter()
        .filter(|name| name.len() <= limits.protocol_bytes)
        .take(limits.protocols)
        .map(|name| (*name).into())
        .collect();
    protocols.sort_unstable();
    protocols.dedup();
    let agent = cut(agent, limits.agent_bytes);
    ((!agent.is_empty()).then(|| agent.into()), protocols)
}

impl Pending {
    /// Most addresses that wait; a peer's row has fewer.
    const ADDRESSES_MAX: usize = 64;

    pub(super) fn add(&mut self, address: Address) {
        self.removed.retain(|removed| *removed != address);
        if !self.added.contains(&address) && self.added.len() < Self::ADDRESSES_MAX {
            self.added.push(address);
        }
    }

    pub(super) fn remove(&mut self, address: Address) {
        self.added.retain(|added| *added != address);
        if !self.removed.contains(&address) && self.removed.len() < Self::ADDRESSES_MAX {
            self.removed.push(address);
        }
    }

    /// The peer's own word on where it is: what was heard before does not matter any more.
    pub(super) fn replace(&mut self, addresses: Vec<Address>) {
        self.added.clear();
        self.removed.clear();
        self.replaced = Some(addresses);
    }

    /// True if it says more than that the peer was seen once again.
    pub(super) fn is_news(&self, peer: &PeerId, state: &State, limits: &RegistryLimits) -> bool {
        let entry = state.peer(&peer.into());
        let old = entry.and_then(|entry| entry.seen.as_ref());
        self.verified && old.is_none_or(|old| !old.verified)
            || self.new_addresses(old, limits).is_some()
            || self.new_profile(peer, state).is_some()
    }

    /// The changes that make the rows say it; none if they do already.
    pub(super) fn into_changes(
        self,
        peer: &PeerId,
        state: &State,
        limits: &RegistryLimits,
    ) -> Vec<Change> {
        let key = PeerKey::from(peer);
        let entry = state.peer(&key);
        let old = entry.and_then(|entry| entry.seen.as_ref());
        let mut changes = Vec::new();
        if let Some(change) = self.new_addresses(old, limits) {
            changes.push(change.into_change(&key));
        }
        if let Some(at) = self.seen.filter(|at| old.is_none_or(|old| old.last_seen < *at)) {
            changes.push(Change::PeerSeen { peer: key.clone(), at, addresses: Vec::new() });
        }
        if self.verified && old.is_none_or(|old| !old.verified) {
            changes.push(Change::PeerVerified { peer: key.clone(), verified: true });
        }
        if let Some((agent, protocols)) = self.new_profile(peer, state).cloned() {
            changes.push(Change::PeerProfiled { peer: key.clone(), agent, protocols });
        }
        let reputation = entry.and_then(|entry| entry.reputation.as_ref());
        let provided = reputation.map_or(0, |reputation| reputation.packages_provided);
        if let Some(count) = self.provided.filter(|count| *count != provided) {
            changes.push(Change::PackagesProvided { peer: key, count });
        }
        changes
    }

    fn new_profile(&self, peer: &PeerId, state: &State) -> Option<&Profile> {
        let (agent, protocols) = self.profile.as_ref()?;
        let entry = state.peer(&peer.into());
        let same = match entry.and_then(|entry| entry.profile.as_deref()) {
            Some(old) => old.agent == *agent && *old.protocols == **protocols,
            None => agent.is_none() && protocols.is_empty(),
        };
        if same { None } else { self.profile.as_ref() }
    }

    fn new_addresses(&self, old: Option<&Peer>, limits: &RegistryLimits) -> Option<NewAddresses> {
        let blank = Peer::default();
        let old = old.unwrap_or(&blank);
        let verified = self.verified || old.verified;
        let most = if verified { limits.addresses_total } else { limits.addresses_unverified };
        let known: HashSet<AddressRef<'_>> = old.addresses.iter().collect();
        let base: Vec<Address> = match &self.replaced {
            Some(replaced) => replaced.clone(),
            None => old.addresses.iter().map(AddressRef::to_address).collect(),
        };
        let mut target: Vec<Address> = Vec::new();
        for address in base {
            if !self.removed.contains(&address) && !target.contains(&address) {
                target.push(address);
            }
        }
        // For a peer that we spoke to what is new is what just worked, and the oldest makes room.
        for address in self.added.iter().filter(|added| !known.contains(&added.as_ref())) {
            if verified && target.len() >= most {
                target.remove(0);
            }
            if !target.contains(address) {
                target.push(address.clone());
            }
        }
        target.truncate(most);
        let fresh: Vec<Address> =
            target.iter().filter(|address| !known.contains(&address.as_ref())).cloned().collect();
        if target.len() - fresh.len() < known.len() {
            Some(NewAddresses::Replaced(target))
        } else {
            (!fresh.is_empty()).then_some(NewAddresses::Added(fresh))
        }
    }
}

enum NewAddresses {
    Added(Vec<Address>),
    Replaced(Vec<Address>),
}

impl NewAddresses {
    fn into_change(self, peer: &PeerKey) -> Change {
        let peer = peer.clone();
        match self {
            Self::Added(addresses) => Change::AddressesAdded { peer, addresses },
            Self::Replaced(addresses) => Change::AddressesReplaced { peer, addresses },
        }
    }
}
