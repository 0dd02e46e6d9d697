//! The rows of a snapshot as people see them. Field names and order are format: see
//! `docs/format.md`.

use std::{borrow::Cow, fmt};

use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The whole document as it is read. Version 1 has fewer fields and no checksum.
#[derive(Debug, Deserialize)]
pub(super) struct Document<'a> {
    pub(super) version: u32,
    #[serde(borrow, default)]
    pub(super) store_id: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(super) lsn: Option<u64>,
    #[serde(default)]
    pub(super) segment: Option<u64>,
    pub(super) saved_at: DateTime<Utc>,
    #[serde(default)]
    pub(super) counts: Option<CountsRow>,
    pub(super) peers: Vec<PeerRow<'a>>,
    pub(super) reputation: Vec<ReputationRow<'a>>,
    pub(super) dht_entries: Vec<DhtRow<'a>>,
    pub(super) package_cache: Vec<CacheRow<'a>>,
    pub(super) bootstrap_nodes: Vec<Cow<'a, str>>,
    #[serde(default)]
    pub(super) bans: Vec<BanRow<'a>>,
    #[serde(default)]
    pub(super) profiles: Vec<ProfileRow<'a>>,
}

/// Number of rows of each kind, so that a person sees them first and the reader can compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CountsRow {
    pub(super) peers: usize,
    pub(super) reputation: usize,
    pub(super) dht_entries: usize,
    pub(super) package_cache: usize,
    pub(super) bootstrap_nodes: usize,
    pub(super) bans: usize,
    pub(super) profiles: usize,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PeerRow<'a> {
    #[serde(borrow)]
    pub(super) peer_id: Cow<'a, str>,
    pub(super) addresses: Vec<Cow<'a, str>>,
    pub(super) last_seen: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ReputationRow<'a> {
    #[serde(borrow)]
    pub(super) peer_id: Cow<'a, str>,
    pub(super) successful_retrievals: u64,
    pub(super) failed_retrievals: u64,
    pub(super) last_seen: DateTime<Utc>,
    pub(super) avg_response_time_ms: u64,
    pub(super) location: Option<LocationRow<'a>>,
    pub(super) packages_provided: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LocationRow<'a> {
    pub(super) latitude: f64,
    pub(super) longitude: f64,
    #[serde(borrow)]
    pub(super) region: Option<Cow<'a, str>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DhtRow<'a> {
    #[serde(borrow)]
    pub(super) key: Cow<'a, str>,
    pub(super) value: Binary<'a>,
    pub(super) stored_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct CacheRow<'a> {
    #[serde(borrow)]
    pub(super) package_id: Cow<'a, str>,
    pub(super) package_data: Binary<'a>,
    pub(super) cached_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct BanRow<'a> {
    #[serde(borrow)]
    pub(super) peer_id: Cow<'a, str>,
    pub(super) banned_at: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
    pub(super) reason: Cow<'a, str>,
    pub(super) source: Cow<'a, str>,
}

/// What is known about a peer beyond its addresses.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ProfileRow<'a> {
    #[serde(borrow)]
    pub(super) peer_id: Cow<'a, str>,
    /// We spoke to it; otherwise we only heard of it.
    pub(super) verified: bool,
    pub(super) agent: Option<Cow<'a, str>>,
    pub(super) protocols: Vec<Cow<'a, str>>,
}

/// Bytes: base64 with padding when written; when read, version 1's array of numbers as well.
#[derive(Debug)]
pub(super) struct Binary<'a>(pub(super) Cow<'a, [u8]>);

impl Serialize for Binary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&BASE64.encode_display(&self.0))
    }
}

impl<'de> Deserialize<'de> for Binary<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BinaryVisitor).map(|bytes| Self(Cow::Owned(bytes)))
    }
}

struct BinaryVisitor;

impl<'de> de::Visitor<'de> for BinaryVisitor {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("base64 text or an array of bytes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
        BASE64.decode(text.as_bytes()).map_err(|error| E::custom(format!("not base64: {error}")))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut numbers: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = numbers.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}
