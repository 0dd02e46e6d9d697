//! Several changes that stand or fall together, and many that come one after the other.

use std::hint::black_box;

use super::{Address, Change, Effect, PeerKey, State, check, table::FETCHED_MAX};
use crate::Error;

impl State {
    /// Applies several changes in order: all of them, or none.
    ///
    /// # Errors
    /// Those of [`apply`](Self::apply), for the first change that it refuses; nothing changed then.
    pub fn apply_all(&mut self, changes: &[Change]) -> Result<Effect, Error> {
        if changes.len() == 1 || self.is_sure_of(changes) {
            return self.apply_each(changes);
        }
        // A copy shares all that the changes do not touch, and is dropped if one of them fails.
        let mut next = self.clone();
        let effect = next.apply_each(changes)?;
        *self = next;
        Ok(effect)
    }

    fn apply_each(&mut self, changes: &[Change]) -> Result<Effect, Error> {
        let mut effect = Effect::Unchanged;
        for changes in changes.chunks(FETCHED_MAX) {
            self.fetch(changes);
            for change in changes {
                if self.apply(change)? == Effect::Changed {
                    effect = Effect::Changed;
                }
            }
        }
        Ok(effect)
    }

    /// True if no limit can refuse any of the changes, whatever the others do: told from sums that
    /// they cannot exceed, so that nothing has to be copied for the case that one fails.
    pub(super) fn is_sure_of(&self, changes: &[Change]) -> bool {
        let limits = &self.limits;
        let counts = [
            (self.peers.len(), limits.peers),
            (self.dht.len(), limits.dht_entries),
            (self.packages.len(), limits.packages),
            (self.bans.len(), limits.bans),
        ];
        let most_addresses: usize = changes.iter().map(|change| added(change).len()).sum();
        let mut value_bytes = self.value_bytes;
        let mut has_room_for = |value: &[u8]| {
            let len = u64::try_from(value.len()).unwrap_or(u64::MAX);
            value_bytes = value_bytes.saturating_add(len);
            value_bytes <= limits.value_bytes
        };
        counts.iter().all(|(count, most)| count.saturating_add(changes.len()) <= *most)
            && changes.iter().all(|change| {
                check::fields(change).is_ok()
                    && match change {
                        Change::PeerSet { peer, .. }
                        | Change::AddressesReplaced { peer, .. }
                        | Change::PeerSeen { peer, .. }
                        | Change::AddressesAdded { peer, .. } => {
                            added(change).is_empty()
                                || self.addresses_of(peer) + most_addresses
                                    <= limits.addresses_per_peer
                        }
                        Change::DhtPut { value, .. } => has_room_for(value),
                        Change::PackageCached { data, .. } => has_room_for(data),
                        Change::BootstrapAdded { .. } | Change::BootstrapReplaced { .. } => false,
                        _ => true,
                    }
            })
    }

    fn addresses_of(&self, peer: &PeerKey) -> usize {
        let seen = self.peers.get(peer).and_then(|entry| entry.seen.as_ref());
        seen.map_or(0, |seen| seen.addresses.len())
    }

    /// Looks at the peers of changes that are about to be applied, the first few of them. It
    /// changes nothing and tells nothing; see `Table::fetch`.
    pub(crate) fn fetch(&self, changes: &[Change]) {
        if changes.len() < 2 {
            return;
        }
        let known = self.peers.fetch(changes.iter().filter_map(Change::peer), |entry| {
            let seen = entry.seen.as_ref();
            let is_somewhere = seen.is_some_and(|seen| !seen.addresses.is_empty());
            entry.reputation.is_some() && is_somewhere
        });
        black_box(known);
    }
}

/// The addresses that a change may give to its peer.
fn added(change: &Change) -> &[Address] {
    match change {
        Change::PeerSeen { addresses, .. }
        | Change::AddressesAdded { addresses, .. }
        | Change::AddressesReplaced { addresses, .. }
        | Change::PeerSet { addresses, .. } => addresses,
        _ => &[],
    }
}
