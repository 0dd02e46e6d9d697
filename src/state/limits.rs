//! The store's own limits. They only protect memory and disk from absurd input; a program that
//! takes in what strangers send wants tighter ones of its own.

/// Longest peer id, in bytes of text.
pub const PEER_ID_BYTES_MAX: usize = 256;
/// Longest address, in bytes of text; bootstrap nodes are held to it too.
pub const ADDRESS_BYTES_MAX: usize = 1024;
/// Most protocols of one peer.
pub const PROTOCOLS_MAX: usize = 1024;
/// Longest protocol name, in bytes.
pub const PROTOCOL_BYTES_MAX: usize = 256;
/// Longest agent version, in bytes.
pub const AGENT_BYTES_MAX: usize = 1024;
/// Longest DHT key and package id, in bytes.
pub const KEY_BYTES_MAX: usize = 4096;
/// Longest name of a region, in bytes.
pub const REGION_BYTES_MAX: usize = 256;
/// Longest reason of a ban, in bytes.
pub const REASON_BYTES_MAX: usize = 1024;
/// Longest source of a ban, in bytes.
pub const SOURCE_BYTES_MAX: usize = 256;
/// Largest DHT value and package, in bytes.
pub const VALUE_BYTES_MAX: usize = 15 << 20;

/// Age at which a cached package expires, in seconds.
pub const PACKAGE_SECONDS_MAX: i64 = 300;

/// How much a state may hold.
///
/// A limit only refuses growth: what is already past a lowered one can still be updated and
/// removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Peers of which anything is known but a ban (1,000,000).
    pub peers: usize,
    /// Addresses of one peer (1024).
    pub addresses_per_peer: usize,
    /// DHT entries (1,000,000).
    pub dht_entries: usize,
    /// Cached packages (100,000).
    pub packages: usize,
    /// Bootstrap nodes (10,000).
    pub bootstrap_nodes: usize,
    /// Bans (100,000).
    pub bans: usize,
    /// Bytes of all DHT values and cached packages together (1 GiB).
    pub value_bytes: u64,
}

impl Limits {
    /// No limits but the fixed ones: for a tool that works on the store of another program, whose
    /// limits it does not know and must not trim to its own.
    pub const UNBOUNDED: Self = Self {
        peers: usize::MAX,
        addresses_per_peer: usize::MAX,
        dht_entries: usize::MAX,
        packages: usize::MAX,
        bootstrap_nodes: usize::MAX,
        bans: usize::MAX,
        value_bytes: u64::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers: 1_000_000,
            addresses_per_peer: 1024,
            dht_entries: 1_000_000,
            packages: 100_000,
            bootstrap_nodes: 10_000,
            bans: 100_000,
            value_bytes: 1 << 30,
        }
    }
}
