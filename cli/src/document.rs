//! A whole state as JSON, and read back: its rows are those of a snapshot file,
//! `docs/snapshot.schema.json`.

use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use peer_journal::{
    View,
    state::{GeoLocation, PeerKey},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A kind of row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Peers: their addresses, and when they were seen.
    Peer,
    /// How the peers behaved.
    Reputation,
    /// Entries of the distributed hash table.
    Dht,
    /// Cached packages.
    Package,
    /// Bootstrap nodes.
    Bootstrap,
    /// Bans.
    Ban,
    /// What peers say of themselves, and whether the node spoke to them.
    Profile,
}

impl Kind {
    /// Every kind, in the order in which they stand in a document.
    pub const ALL: &'static [Self] = &[
        Self::Peer,
        Self::Reputation,
        Self::Dht,
        Self::Package,
        Self::Bootstrap,
        Self::Ban,
        Self::Profile,
    ];
}

/// The rows of a state, sorted by their ids; those of a kind that was not asked for are absent.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Rows {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peers: Option<Vec<PeerRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reputation: Option<Vec<ReputationRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dht_entries: Option<Vec<DhtRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) package_cache: Option<Vec<PackageRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bootstrap_nodes: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bans: Option<Vec<BanRow>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) profiles: Option<Vec<ProfileRow>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PeerRow {
    pub(crate) peer_id: String,
    pub(crate) addresses: Vec<String>,
    pub(crate) last_seen: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ReputationRow {
    pub(crate) peer_id: String,
    pub(crate) successful_retrievals: u64,
    pub(crate) failed_retrievals: u64,
    pub(crate) last_seen: DateTime<Utc>,
    pub(crate) avg_response_time_ms: u64,
    pub(crate) location: Option<PlaceRow>,
    pub(crate) packages_provided: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PlaceRow {
    pub(crate) latitude: f64,
    pub(crate) longitude: f64,
    pub(crate) region: Option<String>,
}

impl PlaceRow {
    fn new(place: &GeoLocation) -> Self {
        Self {
            latitude: place.latitude,
            longitude: place.longitude,
            region: place.region.as_deref().map(str::to_owned),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct DhtRow {
    pub(crate) key: String,
    #[serde(serialize_with = "base64", deserialize_with = "bytes")]
    pub(crate) value: Vec<u8>,
    pub(crate) stored_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PackageRow {
    pub(crate) package_id: String,
    #[serde(serialize_with = "base64", deserialize_with = "bytes")]
    pub(crate) package_data: Vec<u8>,
    pub(crate) cached_at: DateTime<Utc>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BanRow {
    pub(crate) peer_id: String,
    pub(crate) banned_at: DateTime<Utc>,
    pub(crate) until: DateTime<Utc>,
    pub(crate) reason: String,
    pub(crate) source: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ProfileRow {
    pub(crate) peer_id: String,
    pub(crate) verified: bool,
    pub(crate) agent: Option<String>,
    pub(crate) protocols: Vec<String>,
}

impl Rows {
    /// The rows of these kinds.
    pub(crate) fn of(view: &View, kinds: &[Kind]) -> Self {
        let wants = |kind| kinds.contains(&kind);
        Self {
            peers: wants(Kind::Peer).then(|| peers(view)),
            reputation: wants(Kind::Reputation).then(|| reputation(view)),
            dht_entries: wants(Kind::Dht).then(|| dht_entries(view)),
            package_cache: wants(Kind::Package).then(|| packages(view)),
            bootstrap_nodes: wants(Kind::Bootstrap).then(|| {
                view.state().bootstrap_nodes().iter().map(|node| node.to_string()).collect()
            }),
            bans: wants(Kind::Ban).then(|| bans(view)),
            profiles: wants(Kind::Profile).then(|| profiles(view)),
        }
    }
}

fn peers(view: &View) -> Vec<PeerRow> {
    let seen = view.state().peers().filter_map(|(key, entry)| Some((key, entry.seen.as_ref()?)));
    sorted(seen, |peer_id, seen| PeerRow {
        peer_id,
        addresses: seen.addresses.iter().map(|address| address.to_string()).collect(),
        last_seen: seen.last_seen.into(),
    })
}

fn reputation(view: &View) -> Vec<ReputationRow> {
    let peers = view.state().peers();
    let known = peers.filter_map(|(key, entry)| Some((key, entry.reputation.as_ref()?)));
    sorted(known, |peer_id, known| ReputationRow {
        peer_id,
        successful_retrievals: known.successful_retrievals,
        failed_retrievals: known.failed_retrievals,
        last_seen: known.last_seen.into(),
        avg_response_time_ms: known.avg_response_time_ms,
        location: known.location.as_deref().map(PlaceRow::new),
        packages_provided: known.packages_provided,
    })
}

fn dht_entries(view: &View) -> Vec<DhtRow> {
    sorted(view.state().dht_entries(), |key, entry| DhtRow {
        key,
        value: entry.value.to_vec(),
        stored_at: entry.stored_at.into(),
    })
}

fn packages(view: &View) -> Vec<PackageRow> {
    sorted(view.state().packages(), |package_id, entry| PackageRow {
        package_id,
        package_data: entry.data.to_vec(),
        cached_at: entry.cached_at.into(),
    })
}

fn bans(view: &View) -> Vec<BanRow> {
    sorted(view.state().bans(), |peer_id, ban| BanRow {
        peer_id,
        banned_at: ban.at.into(),
        until: ban.until.into(),
        reason: ban.reason.to_string(),
        source: ban.source.to_string(),
    })
}

fn profiles(view: &View) -> Vec<ProfileRow> {
    let told = view.state().peers().filter(|(_, entry)| {
        entry.profile.is_some() || entry.seen.as_ref().is_some_and(|seen| seen.verified)
    });
    sorted(told, |peer_id, entry| {
        let profile = entry.profile.as_deref();
        ProfileRow {
            peer_id,
            verified: entry.seen.as_ref().is_some_and(|seen| seen.verified),
            agent: profile.and_then(|profile| profile.agent.as_deref()).map(str::to_owned),
            protocols: profile
                .map(|profile| profile.protocols.iter().map(|text| text.to_string()).collect())
                .unwrap_or_default(),
        }
    })
}

/// A key that is written as text.
trait Key {
    fn text(&self) -> String;
}

impl Key for &PeerKey {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Key for &str {
    fn text(&self) -> String {
        (*self).to_owned()
    }
}

/// Rows by the text of their keys.
fn sorted<'a, K: Key, T: 'a, R>(
    rows: impl Iterator<Item = (K, &'a T)>,
    row: impl Fn(String, &T) -> R,
) -> Vec<R> {
    let mut rows: Vec<(String, &T)> = rows.map(|(key, one)| (key.text(), one)).collect();
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    rows.into_iter().map(|(key, one)| row(key, one)).collect()
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&BASE64.encode_display(bytes))
}

/// Base64, or version 1's array of numbers.
fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "base64, or an array of bytes")]
    enum Value {
        Text(String),
        Numbers(Vec<u8>),
    }
    match Value::deserialize(deserializer)? {
        Value::Text(text) => BASE64
            .decode(text.as_bytes())
            .map_err(|error| D::Error::custom(format!("this is no base64: {error}"))),
        Value::Numbers(bytes) => Ok(bytes),
    }
}
