//! What a node remembers: the rows, the changes, and the state that they add up to.
//!
//! No I/O, no clock, no threads, no locks: [`State::apply`] gives the same result wherever and
//! whenever it runs, which is what makes a journal of [`Change`]s a memory.

mod address;
mod apply;
mod base58;
mod batch;
mod bulk;
mod bytes;
mod change;
mod check;
mod convert;
mod deferred;
mod diff;
mod difference;
mod entry;
mod key;
mod leaf;
pub mod limits;
mod live;
mod packer;
mod peers;
mod plain;
mod quick;
mod redact;
mod rows;
mod shares;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod time;
mod undo;

use std::{fmt, sync::Arc};

pub use rows::{
    P2PState, SerializedCacheEntry, SerializedDHTEntry, SerializedGeoLocation, SerializedPeer,
    SerializedReputation,
};

pub use text::{multiaddr_to_string, peer_id_to_string, string_to_multiaddr, string_to_peer_id};

pub(crate) use text::push_decimal;

pub use key::PeerKey;

pub use address::{Address, AddressList, AddressRef};

pub(crate) use bulk::{PeerRows, Place};

pub(crate) use packer::AddressPacker;

pub use time::Time;

pub use change::{Change, DecodeError, decode, encode};

pub use difference::{Difference, RowChanges};

pub use entry::{Ban, CacheEntry, DhtEntry, GeoLocation, Peer, PeerEntry, Profile, Reputation};

pub use limits::Limits;

pub(crate) use live::{LivePeers, LiveState, part};

pub use undo::{RowKey, Undo};

pub(crate) use redact::Redactor;

pub(crate) use peers::{PARTS, PeersPart};

pub(crate) use shares::{Ledger, Shares};

use deferred::Deferred;
use peers::Peers;
use table::Table;

pub(crate) use table::FETCHED_MAX;

/// Everything a node remembers, in memory.
///
/// A clone is cheap at any size and never changes with the original: the two share what neither has
/// changed since.
#[derive(Clone, Default)]
pub struct State {
    limits: Limits,
    peers: Peers,
    dht: Table<Box<str>, DhtEntry>,
    packages: Table<Box<str>, CacheEntry>,
    bans: Table<PeerKey, Ban>,
    bootstrap: Arc<Vec<Box<str>>>,
    value_bytes: u64,
}

impl State {
    /// An empty state.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// What is known of a peer, but for a ban.
    #[must_use]
    pub fn peer(&self, peer: &PeerKey) -> Option<&PeerEntry> {
        self.peers.get(peer)
    }

    /// All peers of which anything is known but a ban, in no particular order.
    pub fn peers(&self) -> impl Iterator<Item = (&PeerKey, &PeerEntry)> {
        self.peers.iter()
    }

    /// The ban of a peer, run out or not; see [`Ban::is_active`].
    #[must_use]
    pub fn ban(&self, peer: &PeerKey) -> Option<&Ban> {
        self.bans.get(peer)
    }

    /// All bans, in no particular order.
    pub fn bans(&self) -> impl Iterator<Item = (&PeerKey, &Ban)> {
        self.bans.iter()
    }

    /// The DHT entry under a key.
    #[must_use]
    pub fn dht_entry(&self, key: &str) -> Option<&DhtEntry> {
        self.dht.get(key)
    }

    /// All DHT entries, in no particular order.
    pub fn dht_entries(&self) -> impl Iterator<Item = (&str, &DhtEntry)> {
        self.dht.iter().map(|(key, entry)| (&**key, entry))
    }

    /// A cached package, expired or not.
    #[must_use]
    pub fn package(&self, id: &str) -> Option<&CacheEntry> {
        self.packages.get(id)
    }

    /// All cached packages, in no particular order.
    pub fn packages(&self) -> impl Iterator<Item = (&str, &CacheEntry)> {
        self.packages.iter().map(|(id, entry)| (&**id, entry))
    }

    /// The bootstrap nodes, in the order in which they were added.
    #[must_use]
    pub fn bootstrap_nodes(&self) -> &[Box<str>] {
        &self.bootstrap
    }

    /// How many rows of each kind there are; takes no time to tell.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let (peers, reputation, profiles) = self.peers.counts();
        Counts {
            peers,
            reputation,
            dht_entries: self.dht.len(),
            packages: self.packages.len(),
            bootstrap_nodes: self.bootstrap.len(),
            bans: self.bans.len(),
            profiles,
        }
    }

    /// Peers of which anything is known but a ban.
    pub(crate) fn known_peers(&self) -> usize {
        self.peers.len()
    }

    /// Bytes of all DHT values and cached packages.
    #[must_use]
    pub fn value_bytes(&self) -> u64 {
        self.value_bytes
    }

    /// The limits that [`apply`](Self::apply) holds to.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// True if [`Change::Expired`] with this time would drop something. Looks at every package and
    /// ban.
    #[must_use]
    pub fn has_expired(&self, now: Time) -> bool {
        self.packages.iter().any(|(_, entry)| is_expired(entry, now))
            || self.bans.iter().any(|(_, ban)| !ban.is_active(now))
    }
}

/// The counts, not the rows.
impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("counts", &self.counts())
            .field("value_bytes", &self.value_bytes)
            .finish_non_exhaustive()
    }
}

/// How many rows of each kind a [`State`] has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Peers that were seen or heard of.
    pub peers: usize,
    /// Peers that have a reputation.
    pub reputation: usize,
    /// DHT entries.
    pub dht_entries: usize,
    /// Cached packages.
    pub packages: usize,
    /// Bootstrap nodes.
    pub bootstrap_nodes: usize,
    /// Bans, run out or not.
    pub bans: usize,
    /// Peers that told of themselves.
    pub profiles: usize,
}

/// What [`State::apply`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The state is another one now.
    Changed,
    /// The state is what it was: the change said nothing new.
    Unchanged,
}

fn is_expired(entry: &CacheEntry, now: Time) -> bool {
    entry.cached_at.is_older_than(limits::PACKAGE_SECONDS_MAX, now)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
