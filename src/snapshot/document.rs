//! The rows of a snapshot as they are read. Field names and order are format: see
//! `docs/format.md`.

use std::{borrow::Cow, fmt, marker::PhantomData};

use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, de};

use crate::state::{Address, PeerKey, Time};

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
    pub(super) peers: Vec<PeerRow>,
    pub(super) reputation: Vec<ReputationRow<'a>>,
    pub(super) dht_entries: Vec<DhtRow<'a>>,
    pub(super) package_cache: Vec<CacheRow<'a>>,
    pub(super) bootstrap_nodes: Vec<Box<str>>,
    #[serde(default)]
    pub(super) bans: Vec<BanRow<'a>>,
    #[serde(default)]
    pub(super) profiles: Vec<ProfileRow<'a>>,
}

/// Number of rows of each kind, so that a person sees them first and the reader can compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct CountsRow {
    pub(super) peers: usize,
    pub(super) reputation: usize,
    pub(super) dht_entries: usize,
    pub(super) package_cache: usize,
    pub(super) bootstrap_nodes: usize,
    pub(super) bans: usize,
    pub(super) profiles: usize,
}

#[derive(Debug, Deserialize)]
pub(super) struct PeerRow {
    pub(super) peer_id: Parsed<PeerKey>,
    pub(super) addresses: Vec<Parsed<Address>>,
    pub(super) last_seen: Parsed<Time>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ReputationRow<'a> {
    pub(super) peer_id: Parsed<PeerKey>,
    pub(super) successful_retrievals: u64,
    pub(super) failed_retrievals: u64,
    pub(super) last_seen: Parsed<Time>,
    pub(super) avg_response_time_ms: u64,
    #[serde(borrow)]
    pub(super) location: Option<LocationRow<'a>>,
    pub(super) packages_provided: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct LocationRow<'a> {
    pub(super) latitude: f64,
    pub(super) longitude: f64,
    #[serde(borrow)]
    pub(super) region: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DhtRow<'a> {
    #[serde(borrow)]
    pub(super) key: Cow<'a, str>,
    pub(super) value: Binary,
    pub(super) stored_at: Parsed<Time>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CacheRow<'a> {
    #[serde(borrow)]
    pub(super) package_id: Cow<'a, str>,
    pub(super) package_data: Binary,
    pub(super) cached_at: Parsed<Time>,
}

#[derive(Debug, Deserialize)]
pub(super) struct BanRow<'a> {
    pub(super) peer_id: Parsed<PeerKey>,
    pub(super) banned_at: Parsed<Time>,
    pub(super) until: Parsed<Time>,
    #[serde(borrow)]
    pub(super) reason: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) source: Cow<'a, str>,
}

/// What is known about a peer beyond its addresses.
#[derive(Debug, Deserialize)]
pub(super) struct ProfileRow<'a> {
    pub(super) peer_id: Parsed<PeerKey>,
    /// We spoke to it; otherwise we only heard of it.
    pub(super) verified: bool,
    #[serde(borrow)]
    pub(super) agent: Option<Cow<'a, str>>,
    pub(super) protocols: Vec<Box<str>>,
}

/// Text that becomes what it stands for while it is read, without a copy in between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parsed<T>(pub(super) T);

/// What a text of the document may stand for.
pub(super) trait FromText: Sized {
    fn from_text(text: &str) -> Result<Self, chrono::ParseError>;
}

impl FromText for PeerKey {
    fn from_text(text: &str) -> Result<Self, chrono::ParseError> {
        Ok(Self::from_text(text))
    }
}

impl FromText for Address {
    fn from_text(text: &str) -> Result<Self, chrono::ParseError> {
        Ok(Self::from_text(text))
    }
}

impl FromText for Time {
    fn from_text(text: &str) -> Result<Self, chrono::ParseError> {
        Self::from_text(text)
    }
}

impl<'de, T: FromText> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData)).map(Self)
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromText> de::Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        T::from_text(text).map_err(E::custom)
    }
}

/// Bytes: base64 with padding; in version 1 an array of numbers.
#[derive(Debug)]
pub(super) struct Binary(pub(super) Box<[u8]>);

impl<'de> Deserialize<'de> for Binary {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BinaryVisitor).map(|bytes| Self(bytes.into()))
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
