//! The limits on what strangers tell, with their defaults and reasons.

use std::time::Duration;

use libp2p::PeerId;

/// Limits of a [`Policy`](super::Policy).
///
/// Much tighter than the store's own [`Limits`](crate::state::Limits), which only guard against the
/// absurd and also bind the program itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Peers remembered (10,000). For a new one the oldest unverified one goes.
    pub peers: usize,
    /// Peers remembered that we never reached (5,000), so that hearsay cannot crowd out proof.
    pub unverified_peers: usize,
    /// Of these, peers on the word of one informant (312, a sixteenth): of one peer
    /// ([`Fact::Told`](super::Fact::Told)), or, where nobody knows who said so, of one network that
    /// they are said to be in (a /16 of IPv4, a /48 of IPv6, a domain). For one more the oldest of
    /// the same informant goes, so that one hostile peer cannot fill the book.
    pub unverified_per_informant: usize,
    /// Addresses of a peer that we never reached (16).
    pub addresses_per_unverified_peer: usize,
    /// Addresses of any peer (32).
    pub addresses_per_peer: usize,
    /// Longest address, in bytes of text (256).
    pub address_bytes: usize,
    /// Longest agent version, in bytes (256); a longer one is cut.
    pub agent_bytes: usize,
    /// Protocols of one peer (128); the first ones are kept.
    pub protocols: usize,
    /// Longest protocol name, in bytes (256); longer ones are left out.
    pub protocol_bytes: usize,
    /// A peer's soft facts are written at most once in this time (60 s).
    pub coalesce_within: Duration,
    /// Records a minute for one peer, and most at once (10).
    pub records_per_minute: u32,
    /// Records a minute for all peers together, and most at once (1200).
    pub records_per_minute_total: u32,
    /// Records a minute for peers of which the store knows nothing yet, and most at once (60); the
    /// others of them wait for [`coalesce_within`](Self::coalesce_within).
    pub records_per_minute_strangers: u32,
    /// Failed dials after which an address that never worked is removed (3). An address that
    /// worked, and after a restart any address of a peer that was reached, takes 10 over at least 7
    /// days.
    pub failures: u32,
    /// Other peers that must be connected for a failed dial to count (2): a node that is offline
    /// must not forget its peers.
    pub failures_count_with: usize,
    /// Time after which an address that was only heard of goes, from its last mention (1 h).
    pub address_ttl_heard: Duration,
    /// The same for one that the peer itself named (24 h).
    pub address_ttl_identified: Duration,
    /// The same for one at which the peer was reached, from the end of its last connection (30
    /// days). The last address of a peer that was reached stays.
    pub address_ttl_proven: Duration,
    /// Peers that are never evicted, and of whose addresses neither failures nor age remove any
    /// (none).
    pub pinned: Vec<PeerId>,
    /// Longest time until a ban spoken on the store closes the peer's connections (200 ms). Also
    /// how often facts that wait are looked at.
    pub tick: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            peers: 10_000,
            unverified_peers: 5_000,
            unverified_per_informant: 312,
            addresses_per_unverified_peer: 16,
            addresses_per_peer: 32,
            address_bytes: 256,
            agent_bytes: 256,
            protocols: 128,
            protocol_bytes: 256,
            coalesce_within: Duration::from_secs(60),
            records_per_minute: 10,
            records_per_minute_total: 1200,
            records_per_minute_strangers: 60,
            failures: 3,
            failures_count_with: 2,
            address_ttl_heard: Duration::from_secs(3600),
            address_ttl_identified: Duration::from_secs(24 * 3600),
            address_ttl_proven: Duration::from_secs(30 * 24 * 3600),
            pinned: Vec::new(),
            tick: Duration::from_millis(200),
        }
    }
}

impl Config {
    pub(super) fn most_addresses(&self, is_verified: bool) -> usize {
        if is_verified { self.addresses_per_peer } else { self.addresses_per_unverified_peer }
    }
}
