//! A state to the bytes of a snapshot: pretty JSON, rows sorted, a checksum last. The names and
//! their order are format: see `docs/format.md`.

use std::{hint::black_box, io};

use super::{
    Meta,
    json::{Json, Sink},
};
use crate::state::{Ban, GeoLocation, P2PState, PeerEntry, PeerKey, Reputation, State, Time};

/// A peer, and what is known of it. What can be told without a look at the entry stands beside it:
/// in the order of the texts the entries lie all over memory.
struct PeerRow<'a> {
    /// The first bytes of a usual key.
    prefix: u64,
    has_profile: bool,
    key: &'a PeerKey,
    entry: &'a PeerEntry,
}

/// Writes the document. The checksum at its end is the CRC-32 of every byte before its opening
/// quote. Gives the checksum of all that was written.
pub(crate) fn write(state: &State, meta: &Meta, sink: &mut Sink<'_>) -> io::Result<u32> {
    let peers = in_order(state);
    let mut json = Json::new(sink);
    json.begin(b'{');
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
    counts(&mut json, state, peers.iter().filter(|row| row.has_profile).count());
    list_fetched(&mut json, "peers", &peers, peer)?;
    list_fetched(&mut json, "reputation", &peers, reputation)?;
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
    json.end(b'}');
    json.finish()
}

/// The peers in the order of their texts.
fn in_order(state: &State) -> Vec<PeerRow<'_>> {
    let counts = state.counts();
    let mut rows = Vec::with_capacity(counts.peers.max(counts.reputation));
    let mut others = Vec::new();
    for (key, entry) in state.peers() {
        let has_profile = has_profile(entry);
        match key.usual_prefix() {
            Some(prefix) => rows.push(PeerRow { prefix, has_profile, key, entry }),
            None => {
                others.push((key.to_string(), PeerRow { prefix: 0, has_profile, key, entry }));
            }
        }
    }
    rows.sort_unstable_by(|a, b| a.prefix.cmp(&b.prefix).then_with(|| a.key.cmp_text(b.key)));
    if others.is_empty() {
        return rows;
    }
    others.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    let mut others = others.into_iter().map(|(_, row)| row).peekable();
    let mut merged = Vec::with_capacity(rows.len() + others.len());
    for row in rows {
        while let Some(other) = others.next_if(|other| other.key.cmp_text(row.key).is_lt()) {
            merged.push(other);
        }
        merged.push(row);
    }
    merged.extend(others);
    merged
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
    json.begin(b'[');
    rows.iter().try_for_each(|item| row(json, item))?;
    json.end(b']');
    Ok(())
}

/// As [`list`], for rows that lie all over memory: it is asked for several of them at once, and
/// would have been waited for at each.
fn list_fetched<'a, 'b>(
    json: &mut Json<'a, 'b>,
    name: &str,
    rows: &[PeerRow<'_>],
    row: impl Fn(&mut Json<'a, 'b>, &PeerRow<'_>) -> io::Result<()>,
) -> io::Result<()> {
    const AT_ONCE: usize = 16;
    json.key(name);
    json.begin(b'[');
    for rows in rows.chunks(AT_ONCE) {
        let has_both = |row: &&PeerRow<'_>| {
            let seen = row.entry.seen.as_ref();
            seen.is_some_and(|seen| seen.addresses.iter().next().is_some())
                && row.entry.reputation.is_some()
        };
        black_box(rows.iter().filter(has_both).count());
        rows.iter().try_for_each(|item| row(json, item))?;
    }
    json.end(b']');
    Ok(())
}

fn counts(json: &mut Json<'_, '_>, state: &State, profiles: usize) {
    let counts = state.counts();
    json.begin(b'{');
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
    json.end(b'}');
}

fn peer(json: &mut Json<'_, '_>, row: &PeerRow<'_>) -> io::Result<()> {
    let Some(seen) = &row.entry.seen else { return Ok(()) };
    json.item()?;
    json.raw("{\n      \"peer_id\": ");
    json.peer_id(row.key)?;
    json.raw(",\n      \"addresses\": [");
    let mut before = "\n        ";
    for address in seen.addresses.iter() {
        json.raw(before);
        json.address(address)?;
        before = ",\n        ";
    }
    let end = if seen.addresses.is_empty() { "]" } else { "\n      ]" };
    json.raw(end);
    json.raw(",\n      \"last_seen\": ");
    json.time(seen.last_seen);
    json.raw("\n    }");
    Ok(())
}

fn reputation(json: &mut Json<'_, '_>, row: &PeerRow<'_>) -> io::Result<()> {
    let Some(reputation) = &row.entry.reputation else { return Ok(()) };
    let Reputation {
        successful_retrievals,
        failed_retrievals,
        last_seen,
        avg_response_time_ms,
        location,
        packages_provided,
    } = reputation;
    json.item()?;
    json.raw("{\n      \"peer_id\": ");
    json.peer_id(row.key)?;
    json.raw(",\n      \"successful_retrievals\": ");
    json.number(*successful_retrievals);
    json.raw(",\n      \"failed_retrievals\": ");
    json.number(*failed_retrievals);
    json.raw(",\n      \"last_seen\": ");
    json.time(*last_seen);
    json.raw(",\n      \"avg_response_time_ms\": ");
    json.number(*avg_response_time_ms);
    json.raw(",\n      \"location\": ");
    match location {
        None => json.null(),
        Some(location) => place(json, location)?,
    }
    json.raw(",\n      \"packages_provided\": ");
    json.number(*packages_provided);
    json.raw("\n    }");
    Ok(())
}

fn place(json: &mut Json<'_, '_>, location: &GeoLocation) -> io::Result<()> {
    json.raw("{\n        \"latitude\": ");
    json.other(&location.latitude)?;
    json.raw(",\n        \"longitude\": ");
    json.other(&location.longitude)?;
    json.raw(",\n        \"region\": ");
    optional(json, location.region.as_deref())?;
    json.raw("\n      }");
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
    json.begin(b'{');
    json.key(key_name);
    json.string(key)?;
    json.key(value_name);
    json.bytes(bytes)?;
    json.key(time_name);
    json.time(at);
    json.end(b'}');
    Ok(())
}

fn ban(json: &mut Json<'_, '_>, (peer_id, ban): &(String, &Ban)) -> io::Result<()> {
    json.item()?;
    json.begin(b'{');
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
    json.end(b'}');
    Ok(())
}

/// There is a row where there is something to say beyond addresses.
fn has_profile(entry: &PeerEntry) -> bool {
    entry.profile.is_some() || entry.seen.as_ref().is_some_and(|seen| seen.verified)
}

fn profile(json: &mut Json<'_, '_>, row: &PeerRow<'_>) -> io::Result<()> {
    if !row.has_profile {
        return Ok(());
    }
    let entry = row.entry;
    let profile = entry.profile.as_deref();
    json.item()?;
    json.begin(b'{');
    json.key("peer_id");
    json.peer_id(row.key)?;
    json.key("verified");
    json.bool(entry.seen.as_ref().is_some_and(|seen| seen.verified));
    json.key("agent");
    optional(json, profile.and_then(|profile| profile.agent.as_deref()))?;
    json.key("protocols");
    json.begin(b'[');
    for protocol in profile.iter().flat_map(|profile| &profile.protocols) {
        json.item()?;
        json.string(protocol)?;
    }
    json.end(b']');
    json.end(b'}');
    Ok(())
}

fn optional(json: &mut Json<'_, '_>, text: Option<&str>) -> io::Result<()> {
    match text {
        None => json.null(),
        Some(text) => json.string(text)?,
    }
    Ok(())
}
