//! Many peers at once: the state that applying them one after the other gives, without a look-up
//! for each.

use super::{PeerEntry, PeerKey, State, check, limits::Limits, table::Table};

impl State {
    /// A state of these peers. The keys are distinct, and no entry has a profile. `None` if a limit
    /// keeps any of it out.
    pub(crate) fn of_peers(limits: Limits, peers: Vec<(PeerKey, PeerEntry)>) -> Option<Self> {
        if peers.len() > limits.peers {
            return None;
        }
        let (mut seen, mut reputations) = (0, 0);
        for (peer, entry) in &peers {
            check::entry(peer, entry).ok()?;
            reputations += usize::from(entry.reputation.is_some());
            if let Some(row) = &entry.seen {
                seen += 1;
                if row.addresses.len() > limits.addresses_per_peer {
                    return None;
                }
            }
        }
        Some(Self { limits, peers: Table::of(peers), seen, reputations, ..Self::default() })
    }
}
