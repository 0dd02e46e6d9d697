//! The fields of each kind of row as text, to tell what differs.

use peer_journal::state::{Ban, CacheEntry, DhtEntry, Peer, Profile, Reputation};
use serde::Serialize;

use crate::{json, show};

/// Fields of a row in a fixed order, as text that is not escaped yet.
pub(super) type Fields = Vec<(&'static str, String)>;

/// One field that differs.
#[derive(Debug, Serialize)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
}

/// What differs between a row before and after; a row that was not there has no fields.
pub(super) fn differences(before: Option<Fields>, after: Option<Fields>) -> Vec<Field> {
    let (before, mut after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let mut found = Vec::new();
    for (name, old) in before {
        let at = after.iter().position(|(other, _)| *other == name);
        let new = at.map(|at| after.remove(at).1);
        if new.as_ref() != Some(&old) {
            found.push(Field { name, before: Some(old), after: new });
        }
    }
    found.extend(after.into_iter().map(|(name, new)| Field {
        name,
        before: None,
        after: Some(new),
    }));
    found
}

pub(super) fn peer(row: &Peer) -> Fields {
    let addresses = show::list(row.addresses.iter());
    vec![
        ("last_seen", show::time(row.last_seen.into())),
        ("addresses", addresses),
        ("verified", row.verified.to_string()),
    ]
}

pub(super) fn profile(row: &Profile) -> Fields {
    let mut fields = vec![("protocols", show::list(row.protocols.iter()))];
    if let Some(agent) = &row.agent {
        fields.insert(0, ("agent", agent.to_string()));
    }
    fields
}

pub(super) fn reputation(row: &Reputation) -> Fields {
    let mut fields = vec![
        ("successful_retrievals", row.successful_retrievals.to_string()),
        ("failed_retrievals", row.failed_retrievals.to_string()),
        ("last_seen", show::time(row.last_seen.into())),
        ("avg_response_time_ms", row.avg_response_time_ms.to_string()),
        ("packages_provided", row.packages_provided.to_string()),
    ];
    if let Some(place) = row.location.as_deref() {
        let region = place.region.as_deref().map(|region| format!(" {region}"));
        let place = format!("{},{}", place.latitude, place.longitude);
        fields.push(("location", place + &region.unwrap_or_default()));
    }
    fields
}

pub(super) fn ban(row: &Ban) -> Fields {
    vec![
        ("at", json::time(row.at.into())),
        ("until", json::time(row.until.into())),
        ("reason", row.reason.to_string()),
        ("source", row.source.to_string()),
    ]
}

pub(super) fn dht(row: &DhtEntry) -> Fields {
    vec![("value", value(&row.value)), ("stored_at", show::time(row.stored_at.into()))]
}

pub(super) fn package(row: &CacheEntry) -> Fields {
    vec![("data", value(&row.data)), ("cached_at", show::time(row.cached_at.into()))]
}

/// Bytes by their length and checksum.
fn value(bytes: &[u8]) -> String {
    format!("{} bytes, crc32 {:08x}", bytes.len(), crc32fast::hash(bytes))
}
