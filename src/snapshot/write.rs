//! A state to the bytes of a snapshot: pretty JSON, rows sorted, a checksum last. The names and
//! their order are format: see `docs/format.md`.

use std::io;

use super::{
    Meta,
    json::{Json, Sink},
};
use crate::state::{Ban, GeoLocation, P2PState, PeerEntry, Reputation, State, Time};

/// A peer's text id, and what is known of it.
type PeerRow<'a> = (String, &'a PeerEntry);

/// Writes the document. The checksum at its end is the CRC-32 of every byte before its opening
/// quote.
pub(crate) fn write(state: &State, meta: &Meta, sink: &mut Sink<'_>) -> io::Result<()> {
    let peers = sorted(state.peers().map(|(key, entry)| (key.to_string(), entry)));
    let mut json = Json::new(sink);
    json.begin('{');
    json.key("version");
    json.number(P2PState::CURRENT_VERSION.into());
    json.key("store_id");
    json.string(&meta.store_id.to_string())?;
    json.key("lsn");
    json.number(meta.lsn.get());
    json.key("segment");
    json.number(meta.segment);
    json.key("saved_at");
    json.time(meta.saved_at.into());
    json.key("counts");
    counts(&mut json, state, peers.iter().filter(|row| has_profile(row)).count());
    list(&mut json, "peers", &peers, peer)?;
    list(&mut json, "reputation", &peers, reputation)?;
    list(&mut json, "dht_entries", &sorted(state.dht_entries()), |json, (key, entry)| {
        json.item()?;
        value(json, ["key", "value", "stored_at"], key, &entry.value, entry.stored_at)
    })?;
    list(&mut json, "package_cache", &sorted(state.packages()), |json, (id, entry)| {
        json.item()?;
        let names = ["package_id", "package_data", "cached_at"];
        value(json, names, id, &entry.data, entry.cached_at)
    })?;
    list(&mut json, "bootstrap_nodes", state.bootstrap_nodes(), |json, node| {
        json.item()?;
        json.string(node)
    })?;
    let bans = sorted(state.bans().map(|(key, ban)| (key.to_string(), ban)));
    list(&mut json, "bans", &bans, ban)?;
    list(&mut json, "profiles", &peers, profile)?;
    json.key("checksum");
    let crc = json.checksum()?;
    json.string(&format!("crc32:{crc:08x}"))?;
    json.end('}');
    json.finish()
}

fn sorted<K: Ord, V>(rows: impl Iterator<Item = (K, V)>) -> Vec<(K, V)> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    rows
}

fn list<'a, 'b, T>(
    json: &mut Json<'a, 'b>,
    name: &str,
    rows: &[T],
    row: impl Fn(&mut Json<'a, 'b>, &T) -> io::Result<()>,
) -> io::Result<()> {
    json.key(name);
    json.begin('[');
    rows.iter().try_for_each(|item| row(json, item))?;
    json.end(']');
    Ok(())
}

fn counts(json: &mut Json<'_, '_>, state: &State, profiles: usize) {
    let counts = state.counts();
    json.begin('{');
    for (name, count) in [
        ("peers", counts.peers),
        ("reputation", counts.reputation),
        ("dht_entries", counts.dht_entries),
        ("package_cache", counts.packages),
        ("bootstrap_nodes", counts.bootstrap_nodes),
        ("bans", counts.bans),
        ("profiles", profiles),
    ] {
        json.key(name);
        json.count(count);
    }
    json.end('}');
}

fn peer(json: &mut Json<'_, '_>, (peer_id, entry): &PeerRow<'_>) -> io::Result<()> {
    let Some(seen) = &entry.seen else { return Ok(()) };
    json.item()?;
    json.begin('{');
    json.key("peer_id");
    json.string(peer_id)?;
    json.key("addresses");
    json.begin('[');
    for address in seen.addresses.iter() {
        json.item()?;
        json.text_by(|text| address.push_text(text))?;
    }
    json.end(']');
    json.key("last_seen");
    json.time(seen.last_seen);
    json.end('}');
    Ok(())
}

fn reputation(json: &mut Json<'_, '_>, (peer_id, entry): &PeerRow<'_>) -> io::Result<()> {
    let Some(reputation) = &entry.reputation else { return Ok(()) };
    let Reputation {
        successful_retrievals,
        failed_retrievals,
        last_seen,
        avg_response_time_ms,
        location,
        packages_provided,
    } = reputation;
    json.item()?;
    json.begin('{');
    json.key("peer_id");
    json.string(peer_id)?;
    json.key("successful_retrievals");
    json.number(*successful_retrievals);
    json.key("failed_retrievals");
    json.number(*failed_retrievals);
    json.key("last_seen");
    json.time(*last_seen);
    json.key("avg_response_time_ms");
    json.number(*avg_response_time_ms);
    json.key("location");
    match location {
        None => json.null(),
        Some(location) => place(json, location)?,
    }
    json.key("packages_provided");
    json.number(*packages_provided);
    json.end('}');
    Ok(())
}

fn place(json: &mut Json<'_, '_>, location: &GeoLocation) -> io::Result<()> {
    json.begin('{');
    json.key("latitude");
    json.other(&location.latitude)?;
    json.key("longitude");
    json.other(&location.longitude)?;
    json.key("region");
    optional(json, location.region.as_deref())?;
    json.end('}');
    Ok(())
}

/// A row of bytes under a text key.
fn value(
    json: &mut Json<'_, '_>,
    [key_name, value_name, time_name]: [&str; 3],
    key: &str,
    bytes: &[u8],
    at: Time,
) -> io::Result<()> {
    json.begin('{');
    json.key(key_name);
    json.string(key)?;
    json.key(value_name);
    json.bytes(bytes)?;
    json.key(time_name);
    json.time(at);
    json.end('}');
    Ok(())
}

fn ban(json: &mut Json<'_, '_>, (peer_id, ban): &(String, &Ban)) -> io::Result<()> {
    json.item()?;
    json.begin('{');
    json.key("peer_id");
    json.string(peer_id)?;
    json.key("banned_at");
    json.time(ban.at);
    json.key("until");
    json.time(ban.until);
    json.key("reason");
    json.string(&ban.reason)?;
    json.key("source");
    json.string(&ban.source)?;
    json.end('}');
    Ok(())
}

/// There is a row where there is something to say beyond addresses.
fn has_profile((_, entry): &PeerRow<'_>) -> bool {
    entry.profile.is_some() || entry.seen.as_ref().is_some_and(|seen| seen.verified)
}

fn profile(json: &mut Json<'_, '_>, row: &PeerRow<'_>) -> io::Result<()> {
    if !has_profile(row) {
        return Ok(());
    }
    let (peer_id, entry) = row;
    let profile = entry.profile.as_deref();
    json.item()?;
    json.begin('{');
    json.key("peer_id");
    json.string(peer_id)?;
    json.key("verified");
    json.bool(entry.seen.as_ref().is_some_and(|seen| seen.verified));
    json.key("agent");
    optional(json, profile.and_then(|profile| profile.agent.as_deref()))?;
    json.key("protocols");
    json.begin('[');
    for protocol in profile.iter().flat_map(|profile| &profile.protocols) {
        json.item()?;
        json.string(protocol)?;
    }
    json.end(']');
    json.end('}');
    Ok(())
}

fn optional(json: &mut Json<'_, '_>, text: Option<&str>) -> io::Result<()> {
    match text {
        None => json.null(),
        Some(text) => json.string(text)?,
    }
    Ok(())
}
