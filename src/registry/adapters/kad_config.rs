//! The limits of the record store, and what it counts.

use std::time::Duration;

/// Limits of a [`KadStore`](super::KadStore). The first four are those of kademlia's own memory
/// store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KadConfig {
    /// Records held (1024).
    pub records: usize,
    /// Largest value, in bytes (66,560, which is 65 KiB).
    pub value_bytes: usize,
    /// Providers of one key (20).
    pub providers_per_key: usize,
    /// Keys that have providers (1024).
    pub provided_keys: usize,
    /// Longest key, in bytes (1024, and never more than 2048).
    pub key_bytes: usize,
    /// Addresses of one provider (16), each of at most 256 bytes.
    pub addresses_per_provider: usize,
    /// Longest life of what others publish (48 h), whatever they or the wall clock say.
    pub ttl_max: Duration,
    /// How far the expiry of an otherwise unchanged record moves before it is journaled again
    /// (10 min): a crash makes it expire that much early.
    pub expiry_drift: Duration,
    /// Records of others journaled a minute, and most at once (300). More are held in memory and
    /// journaled when their turn comes. What this node publishes is not held to it.
    pub journaled_per_minute: u32,
}

impl Default for KadConfig {
    fn default() -> Self {
        Self {
            records: 1024,
            value_bytes: 65 * 1024,
            providers_per_key: 20,
            provided_keys: 1024,
            key_bytes: 1024,
            addresses_per_provider: 16,
            ttl_max: Duration::from_secs(48 * 3600),
            expiry_drift: Duration::from_secs(600),
            journaled_per_minute: 300,
        }
    }
}

/// What a [`KadStore`](super::KadStore) dropped, and why, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KadCounters {
    /// Rows that had expired when the store was made.
    pub expired_at_start: u64,
    /// Rows of the DHT that could not be read; they were left where they are.
    pub unreadable: u64,
    /// Rows that made room for others.
    pub evicted: u64,
    /// Times that the journal was full; what it did not take is tried again.
    pub journal_full: u64,
    /// Changes that the store refused for good.
    pub changes_refused: u64,
}
