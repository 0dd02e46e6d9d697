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
    /// Failed dials after which an address that never worked is removed (3). An address that worked
    /// takes 10, over at least 7 days.
    pub failures: u32,
    /// Connections to other peers that must be up for a failed dial to count (2): a node that is
    /// offline must not forget its peers.
    pub failures_count_with: usize,
    /// Peers that are never evicted and whose addresses no failure removes (none).
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
            addresses_per_unverified_peer: 16,
            addresses_per_peer: 32,
            address_bytes: 256,
            agent_bytes: 256,
            protocols: 128,
            protocol_bytes: 256,
            coalesce_within: Duration::from_secs(60),
            records_per_minute: 10,
            records_per_minute_total: 1200,
            failures: 3,
            failures_count_with: 2,
            pinned: Vec::new(),
            tick: Duration::from_millis(200),
        }
    }
}
