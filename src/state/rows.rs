//! The rows of the public state: text ids, text addresses, one flat list per kind.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Everything a node remembers, as flat rows.
///
/// Serialised with serde it is the version 1 file format; byte values are arrays of numbers there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct P2PState {
    /// Version of the rows; see [`CURRENT_VERSION`](Self::CURRENT_VERSION).
    pub version: u32,
    /// Known peers.
    pub peers: Vec<SerializedPeer>,
    /// How the peers behaved.
    pub reputation: Vec<SerializedReputation>,
    /// Entries of the distributed hash table.
    pub dht_entries: Vec<SerializedDHTEntry>,
    /// Cached packages.
    pub package_cache: Vec<SerializedCacheEntry>,
    /// Bootstrap nodes, in the order in which they were added.
    pub bootstrap_nodes: Vec<String>,
    /// When the rows were saved; the UNIX epoch means never.
    pub saved_at: DateTime<Utc>,
}

impl P2PState {
    /// The version that this crate writes.
    pub const CURRENT_VERSION: u32 = 2;
}

impl Default for P2PState {
    /// No rows, the current version, never saved.
    fn default() -> Self {
        Self {
            version: Self::CURRENT_VERSION,
            peers: Vec::new(),
            reputation: Vec::new(),
            dht_entries: Vec::new(),
            package_cache: Vec::new(),
            bootstrap_nodes: Vec::new(),
            saved_at: DateTime::UNIX_EPOCH,
        }
    }
}

/// A peer and where it can be reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SerializedPeer {
    /// Base58 peer id; text that is not one is kept unchanged.
    pub peer_id: String,
    /// Multiaddrs; text that is not one is kept unchanged.
    pub addresses: Vec<String>,
    /// When the peer was last seen; the UNIX epoch means heard of, never seen.
    pub last_seen: DateTime<Utc>,
}

/// How a peer behaved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SerializedReputation {
    /// Base58 peer id; text that is not one is kept unchanged.
    pub peer_id: String,
    /// Retrievals that succeeded.
    pub successful_retrievals: u64,
    /// Retrievals that failed.
    pub failed_retrievals: u64,
    /// When the peer last answered or failed to.
    pub last_seen: DateTime<Utc>,
    /// Moving average of the response time, in milliseconds.
    pub avg_response_time_ms: u64,
    /// Where the peer is, when known.
    pub location: Option<SerializedGeoLocation>,
    /// Packages that the peer provides.
    pub packages_provided: usize,
}

/// A place on earth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SerializedGeoLocation {
    /// Degrees, -90 to 90.
    pub latitude: f64,
    /// Degrees, -180 to 180.
    pub longitude: f64,
    /// Name of the region, when known.
    pub region: Option<String>,
}

/// An entry of the distributed hash table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SerializedDHTEntry {
    /// The key.
    pub key: String,
    /// The value.
    pub value: Vec<u8>,
    /// When it was stored.
    pub stored_at: DateTime<Utc>,
}

/// A cached package.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SerializedCacheEntry {
    /// The package.
    pub package_id: String,
    /// Its data.
    pub package_data: Vec<u8>,
    /// When it was cached.
    pub cached_at: DateTime<Utc>,
}
