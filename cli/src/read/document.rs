//! A whole state as JSON: its rows are those of a snapshot file, `docs/snapshot.schema.json`.

use chrono::{DateTime, Utc};
use data_encoding::BASE64;
use peer_journal::{View, state::PeerKey};
use serde::{Serialize, Serializer};

/// The rows of a state, sorted by their ids.
#[derive(Debug, Serialize)]
pub(super) struct Rows {
    peers: Vec<PeerRow>,
    reputation: Vec<ReputationRow>,
    dht_entries: Vec<DhtRow>,
    package_cache: Vec<PackageRow>,
    bootstrap_nodes: Vec<String>,
    bans: Vec<BanRow>,
    profiles: Vec<ProfileRow>,
}

#[derive(Debug, Serialize)]
struct PeerRow {
    peer_id: String,
    addresses: Vec<String>,
    last_seen: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
struct ReputationRow {
    peer_id: String,
    successful_retrievals: u64,
    failed_retrievals: u64,
    last_seen: DateTime<Utc>,
    avg_response_time_ms: u64,
    location: Option<super::rows::LocationJson>,
    packages_provided: u64,
}

#[derive(Debug, Serialize)]
struct DhtRow {
    key: String,
    #[serde(serialize_with = "base64")]
    value: Vec<u8>,
    stored_at: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
struct PackageRow {
    package_id: String,
    #[serde(serialize_with = "base64")]
    package_data: Vec<u8>,
    cached_at: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
struct BanRow {
    peer_id: String,
    banned_at: DateTime<Utc>,
    until: DateTime<Utc>,
    reason: String,
    source: String,
}

#[derive(Debug, Serialize)]
struct ProfileRow {
    peer_id: String,
    verified: bool,
    agent: Option<String>,
    protocols: Vec<String>,
}

impl Rows {
    pub(super) fn of(view: &View) -> Self {
        // Peers, DHT entries and packages come sorted.
        let rows = view.to_rows(DateTime::UNIX_EPOCH);
        let peers = rows.peers.into_iter().map(|row| PeerRow {
            peer_id: row.peer_id,
            addresses: row.addresses,
            last_seen: row.last_seen,
        });
        let dht = rows.dht_entries.into_iter().map(|row| DhtRow {
            key: row.key,
            value: row.value,
            stored_at: row.stored_at,
        });
        let packages = rows.package_cache.into_iter().map(|row| PackageRow {
            package_id: row.package_id,
            package_data: row.package_data,
            cached_at: row.cached_at,
        });
        Self {
            peers: peers.collect(),
            reputation: reputation(view),
            dht_entries: dht.collect(),
            package_cache: packages.collect(),
            bootstrap_nodes: rows.bootstrap_nodes,
            bans: bans(view),
            profiles: profiles(view),
        }
    }
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
        location: known.location.as_deref().map(super::rows::LocationJson::new),
        packages_provided: known.packages_provided,
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

/// Rows by the text of their ids.
fn sorted<'a, T: 'a, R>(
    rows: impl Iterator<Item = (&'a PeerKey, &'a T)>,
    row: impl Fn(String, &T) -> R,
) -> Vec<R> {
    let mut rows: Vec<(String, &T)> = rows.map(|(key, one)| (key.to_string(), one)).collect();
    rows.sort_by(|(a, _), (b, _)| a.cmp(b));
    rows.into_iter().map(|(id, one)| row(id, one)).collect()
}

fn base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&BASE64.encode_display(bytes))
}
