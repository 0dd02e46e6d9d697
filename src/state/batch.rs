//! Several changes that stand or fall together, and many that come one after the other.

use super::{
    Address, Change, Effect, Limits, PeerEntry, PeerKey, State, check, shares::Headroom,
    table::FETCHED_MAX,
};
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
        let addresses_of = |peer: &PeerKey| self.peer(peer).map_or(0, addresses_in);
        Headroom::of(self).take(changes) && fit(changes, &self.limits, addresses_of)
    }

    /// Looks at the peers of changes that are about to be applied, the first few of them. It
    /// changes nothing and tells nothing; see `table::fetch`.
    pub(crate) fn fetch(&self, changes: &[Change]) {
        if changes.len() < 2 {
            return;
        }
        self.peers.fetch(changes);
    }
}

/// True if each field is within its limit, and no peer can get more addresses than it may have, for
/// any order of the changes.
pub(super) fn fit(
    changes: &[Change],
    limits: &Limits,
    addresses_of: impl Fn(&PeerKey) -> usize,
) -> bool {
    let most: usize = changes.iter().map(|change| added(change).len()).sum();
    changes.iter().all(|change| {
        let has_room = |peer| addresses_of(peer).saturating_add(most) <= limits.addresses_per_peer;
        check::fields(change).is_ok()
            && (added(change).is_empty() || change.peer().is_none_or(has_room))
    })
}

/// Addresses of a peer.
pub(super) fn addresses_in(entry: &PeerEntry) -> usize {
    entry.seen.as_ref().map_or(0, |seen| seen.addresses.len())
}

/// The addresses that a change may give to its peer.
pub(super) fn added(change: &Change) -> &[Address] {
    match change {
        Change::PeerSeen { addresses, .. }
        | Change::AddressesAdded { addresses, .. }
        | Change::AddressesReplaced { addresses, .. }
        | Change::PeerSet { addresses, .. } => addresses,
        _ => &[],
    }
}
