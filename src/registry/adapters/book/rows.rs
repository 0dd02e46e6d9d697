//! Between what is known of a peer and its rows in the store.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};

use super::{Informant, Known, Source};
use crate::{
    registry::{
        adapters::{
            Config,
            clock::{Moment, Now},
        },
        addresses::Network,
    },
    state::{Address, AddressRef, Change, Peer, PeerEntry, PeerKey, Profile, Time},
};

/// How long an address from an earlier life stays at least.
const GRACE: Duration = Duration::from_secs(3600);

impl Known {
    /// From the store's rows; only addresses that `keep` gives back. The rows do not tell when an
    /// address was last mentioned: those of a peer that we reached count from when it was last
    /// seen, with at least an hour left, all others from now.
    pub(in super::super) fn restored(
        entry: &PeerEntry,
        keep: impl Fn(&Multiaddr) -> Option<Multiaddr>,
        config: &Config,
        now: Now,
    ) -> Self {
        let mut known = Self::new(Informant::Network(Network::Other), now);
        known.has_row = true;
        known.written_at = Moment::LONG_AGO;
        known.touched = Moment::LONG_AGO;
        let Some(row) = &entry.seen else { return known };
        known.verified = row.verified;
        known.seen = row.last_seen;
        known.touched = now.moment(row.last_seen);
        let (source, mentioned) = if row.verified {
            let oldest = now.age.minus(config.address_ttl_proven.saturating_sub(GRACE));
            (Source::Restored, known.touched.max(oldest))
        } else if row.last_seen > Time::EPOCH {
            (Source::Identify, now.age)
        } else {
            (Source::Heard, now.age)
        };
        for written in row.addresses.iter() {
            let Some(address) = written.to_multiaddr() else { continue };
            let Some(normal) = keep(&address) else { continue };
            let is_other_name = normal != address;
            known.add(normal, source, config.most_addresses(row.verified), mentioned, Some(row));
            if is_other_name {
                // One endpoint under two names: only the normal one stays.
                known.gone.push(written.to_address());
                known.dirty = true;
            }
        }
        known.addresses.iter_mut().for_each(|known| known.confirmed = false);
        known
    }

    /// Takes in addresses that the program itself put into the row.
    pub(in super::super) fn adopt(
        &mut self,
        row: &Peer,
        keep: impl Fn(&Multiaddr) -> Option<Multiaddr>,
        most: usize,
        now: Now,
    ) {
        let addresses = row.addresses.iter().filter_map(AddressRef::to_multiaddr);
        for address in addresses.filter_map(|address| keep(&address)) {
            let is_known = self.position(&address).is_some();
            if !is_known && !self.gone.contains(&Address::from(&address)) {
                self.add(address, Source::Restored, most, now.age, Some(row));
            }
        }
    }

    /// The changes that make the rows say what is known.
    pub(in super::super) fn changes(
        &mut self,
        id: &PeerId,
        entry: Option<&PeerEntry>,
    ) -> Vec<Change> {
        let key = PeerKey::from(id);
        let row = entry.and_then(|entry| entry.seen.as_ref());
        let has =
            |address: &Address| row.is_some_and(|row| row.addresses.contains(address.as_ref()));
        let mut changes = Vec::new();
        self.gone.retain(has);
        if !self.gone.is_empty() {
            let addresses = self.gone.clone();
            changes.push(Change::AddressesRemoved { peer: key.clone(), addresses });
        }
        let addresses = self.addresses.iter().map(|known| Address::from(&known.address));
        let addresses: Vec<Address> = addresses.filter(|address| !has(address)).collect();
        if row.map_or(Time::EPOCH, |row| row.last_seen) < self.seen {
            changes.push(Change::PeerSeen { peer: key.clone(), at: self.seen, addresses });
        } else if !addresses.is_empty() {
            changes.push(Change::AddressesAdded { peer: key.clone(), addresses });
        }
        if self.verified && row.is_none_or(|row| !row.verified) {
            changes.push(Change::PeerVerified { peer: key.clone(), verified: true });
        }
        if let Some(profile) = self.profile.as_ref().filter(|profile| is_news(profile, entry)) {
            let Profile { agent, protocols } = profile.clone();
            changes.push(Change::PeerProfiled { peer: key, agent, protocols: protocols.into() });
        }
        changes
    }

    /// The rows say what is known, now or as soon as the changes are appended.
    pub(in super::super) fn settle(&mut self) {
        self.profile = None;
        self.dirty = false;
        self.hard = false;
    }

    pub(in super::super) fn written(&mut self, now: Now) {
        self.settle();
        self.has_row = true;
        self.written_at = now.age;
    }

    /// The journal did not take this change: it waits again.
    pub(in super::super) fn unwrite(&mut self, change: &Change) {
        if let (Change::PeerProfiled { agent, protocols, .. }, None) = (change, &self.profile) {
            let (agent, protocols) = (agent.clone(), protocols.as_slice().into());
            self.profile = Some(Profile { agent, protocols });
        }
        self.has_row = false;
        self.dirty = true;
        self.hard = true;
    }
}

pub(super) fn is_news(profile: &Profile, entry: Option<&PeerEntry>) -> bool {
    match entry.and_then(|entry| entry.profile.as_deref()) {
        Some(old) => old != profile,
        None => *profile != Profile::default(),
    }
}
