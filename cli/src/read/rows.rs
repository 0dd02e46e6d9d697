//! What several commands show of a peer.

use chrono::{DateTime, Utc};
use peer_journal::{
    registry::score,
    state::{Ban, GeoLocation, PeerEntry, PeerKey, Reputation, State, Time},
};
use serde::Serialize;

use crate::json;

/// A peer's score at a time, without the bonus for being near; `None` if it was only heard of.
pub(super) fn score_of(entry: &PeerEntry, now: DateTime<Utc>) -> Option<f64> {
    let spoken = entry.seen.as_ref().is_some_and(|seen| seen.verified);
    let asked = |known: &Reputation| known.successful_retrievals > 0 || known.failed_retrievals > 0;
    if !spoken && !entry.reputation.as_ref().is_some_and(asked) {
        return None;
    }
    let reputation = entry.reputation.clone().unwrap_or_default();
    Some(score(&reputation, last_seen(entry).into(), now.into(), None))
}

/// The later of what row and reputation say.
pub(super) fn last_seen(entry: &PeerEntry) -> DateTime<Utc> {
    let row = entry.seen.as_ref().map_or(Time::EPOCH, |seen| seen.last_seen);
    let answered = entry.reputation.as_ref().map_or(Time::EPOCH, |known| known.last_seen);
    row.max(answered).into()
}

/// The response time, if there ever was a response.
pub(super) fn response_time(known: &Reputation) -> String {
    match known.successful_retrievals {
        0 => String::new(),
        _ => format!("{} ms", known.avg_response_time_ms),
    }
}

/// A peer as JSON.
#[derive(Debug, Serialize)]
pub(super) struct PeerJson {
    peer_id: String,
    score: Option<f64>,
    last_seen: Option<String>,
    verified: bool,
    addresses: Vec<String>,
    agent: Option<String>,
    protocols: Vec<String>,
    reputation: Option<ReputationJson>,
    ban: Option<BanJson>,
}

impl PeerJson {
    pub(super) fn new(
        peer: &PeerKey,
        entry: &PeerEntry,
        ban: Option<&Ban>,
        now: DateTime<Utc>,
    ) -> Self {
        let seen = entry.seen.as_ref();
        let profile = entry.profile.as_deref();
        Self {
            peer_id: peer.to_string(),
            score: score_of(entry, now).map(rounded),
            last_seen: json::seen(last_seen(entry)),
            verified: seen.is_some_and(|seen| seen.verified),
            addresses: seen
                .map(|seen| seen.addresses.iter().map(|address| address.to_string()).collect())
                .unwrap_or_default(),
            agent: profile.and_then(|profile| profile.agent.as_deref()).map(str::to_owned),
            protocols: profile
                .map(|profile| profile.protocols.iter().map(|text| text.to_string()).collect())
                .unwrap_or_default(),
            reputation: entry.reputation.as_ref().map(ReputationJson::new),
            ban: ban.map(|ban| BanJson::new(ban, now)),
        }
    }
}

/// No more digits than a score deserves.
pub(super) fn rounded(score: f64) -> f64 {
    (score * 10_000.0).round() / 10_000.0
}

/// How a peer behaved, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct ReputationJson {
    successful_retrievals: u64,
    failed_retrievals: u64,
    last_seen: Option<String>,
    avg_response_time_ms: u64,
    packages_provided: u64,
    location: Option<LocationJson>,
}

impl ReputationJson {
    pub(super) fn new(known: &Reputation) -> Self {
        Self {
            successful_retrievals: known.successful_retrievals,
            failed_retrievals: known.failed_retrievals,
            last_seen: json::seen(known.last_seen.into()),
            avg_response_time_ms: known.avg_response_time_ms,
            packages_provided: known.packages_provided,
            location: known.location.as_deref().map(LocationJson::new),
        }
    }
}

/// A place on earth, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct LocationJson {
    latitude: f64,
    longitude: f64,
    region: Option<String>,
}

impl LocationJson {
    pub(super) fn new(place: &GeoLocation) -> Self {
        Self {
            latitude: place.latitude,
            longitude: place.longitude,
            region: place.region.as_deref().map(str::to_owned),
        }
    }
}

/// A ban, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct BanJson {
    at: String,
    until: String,
    active: bool,
    left_seconds: i64,
    reason: String,
    source: String,
}

impl BanJson {
    pub(super) fn new(ban: &Ban, now: DateTime<Utc>) -> Self {
        let left = ban.until.get().signed_duration_since(now).num_seconds().max(0);
        Self {
            at: json::time(ban.at.into()),
            until: json::time(ban.until.into()),
            active: ban.is_active(now.into()),
            left_seconds: left,
            reason: ban.reason.to_string(),
            source: ban.source.to_string(),
        }
    }
}

/// The ban of a peer that holds at a time.
pub(super) fn ban_now<'a>(state: &'a State, peer: &PeerKey, now: DateTime<Utc>) -> Option<&'a Ban> {
    state.ban(peer).filter(|ban| ban.is_active(now.into()))
}
