//! Rows of a state: version 1 files, exports, and other stores.

use std::fmt;

use peer_journal::{
    P2PState, View,
    state::{Address, GeoLocation, PeerEntry, PeerKey, Reputation},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;

use super::{
    format::Format,
    found::{Found, Place, Row},
    place::Lines,
};
use crate::{
    document::{BanRow, DhtRow, PackageRow, PeerRow, ProfileRow, ReputationRow},
    failure::Failure,
};

/// A row, or what is wrong with it: one bad row is no reason to refuse the others.
struct Lenient<T>(Result<T, String>);

impl<'de, T: DeserializeOwned> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Self(serde_json::from_value(value).map_err(|error| error.to_string())))
    }
}

/// A whole state; kinds of rows that are missing are empty.
#[derive(Deserialize)]
#[serde(default)]
struct Document {
    version: u32,
    peers: Vec<Lenient<PeerRow>>,
    reputation: Vec<Lenient<ReputationRow>>,
    dht_entries: Vec<Lenient<DhtRow>>,
    package_cache: Vec<Lenient<PackageRow>>,
    bootstrap_nodes: Vec<Lenient<String>>,
    bans: Vec<Lenient<BanRow>>,
    profiles: Vec<Lenient<ProfileRow>>,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            version: P2PState::CURRENT_VERSION,
            peers: Vec::new(),
            reputation: Vec::new(),
            dht_entries: Vec::new(),
            package_cache: Vec::new(),
            bootstrap_nodes: Vec::new(),
            bans: Vec::new(),
            profiles: Vec::new(),
        }
    }
}

pub(super) fn state(text: &str) -> Result<Found, Failure> {
    let document: Document = serde_json::from_str(text)
        .map_err(|error| Failure::usage(format!("cannot read it as a state: {error}")))?;
    if document.version > P2PState::CURRENT_VERSION {
        return Err(Failure::newer(format!(
            "written by a newer version: version={}; upgrade peer-journal",
            document.version
        )));
    }
    let mut found = Found::new(Format::State);
    let mut lines = Lines::of(text);
    array(&mut found, &mut lines, "peers", document.peers);
    array(&mut found, &mut lines, "reputation", document.reputation);
    array(&mut found, &mut lines, "dht_entries", document.dht_entries);
    array(&mut found, &mut lines, "package_cache", document.package_cache);
    array(&mut found, &mut lines, "bootstrap_nodes", document.bootstrap_nodes);
    array(&mut found, &mut lines, "bans", document.bans);
    array(&mut found, &mut lines, "profiles", document.profiles);
    Ok(found)
}

/// A row of a document that can be merged.
trait Mergeable {
    /// The text that names it.
    fn name(&self) -> &str;
    fn into_row(self) -> Row;
}

fn array<T: Mergeable>(
    found: &mut Found,
    lines: &mut Lines<'_>,
    member: &str,
    rows: Vec<Lenient<T>>,
) {
    lines.enter(member);
    for (index, Lenient(row)) in rows.into_iter().enumerate() {
        match row {
            Ok(row) => {
                let place = Place::new(lines.find_text(row.name()), row.name());
                found.take(place, Ok(row.into_row()));
            }
            Err(reason) => found.take(Place::new(None, format!("{member}[{index}]")), Err(reason)),
        }
    }
}

impl Mergeable for PeerRow {
    fn name(&self) -> &str {
        &self.peer_id
    }

    fn into_row(self) -> Row {
        Row::Peer {
            peer: PeerKey::from_text(&self.peer_id),
            addresses: self.addresses.iter().map(|text| Address::from_text(text)).collect(),
            last_seen: self.last_seen.into(),
        }
    }
}

impl Mergeable for ReputationRow {
    fn name(&self) -> &str {
        &self.peer_id
    }

    fn into_row(self) -> Row {
        let location = self.location.map(|place| {
            let region = place.region.map(String::into_boxed_str);
            Box::new(GeoLocation { latitude: place.latitude, longitude: place.longitude, region })
        });
        Row::Reputation {
            peer: PeerKey::from_text(&self.peer_id),
            reputation: Reputation {
                successful_retrievals: self.successful_retrievals,
                failed_retrievals: self.failed_retrievals,
                last_seen: self.last_seen.into(),
                avg_response_time_ms: self.avg_response_time_ms,
                location,
                packages_provided: self.packages_provided,
            },
        }
    }
}

impl Mergeable for DhtRow {
    fn name(&self) -> &str {
        &self.key
    }

    fn into_row(self) -> Row {
        Row::Dht { key: self.key.into(), value: self.value.into(), at: self.stored_at.into() }
    }
}

impl Mergeable for PackageRow {
    fn name(&self) -> &str {
        &self.package_id
    }

    fn into_row(self) -> Row {
        let (id, data) = (self.package_id.into(), self.package_data.into());
        Row::Package { id, data, at: self.cached_at.into() }
    }
}

/// A bootstrap node; text that is no multiaddr is kept, as everywhere in rows.
impl Mergeable for String {
    fn name(&self) -> &str {
        self
    }

    fn into_row(self) -> Row {
        Row::Bootstrap { node: self.into() }
    }
}

impl Mergeable for BanRow {
    fn name(&self) -> &str {
        &self.peer_id
    }

    fn into_row(self) -> Row {
        Row::Ban {
            peer: PeerKey::from_text(&self.peer_id),
            at: self.banned_at.into(),
            until: self.until.into(),
            reason: self.reason.into(),
            source: self.source.into(),
        }
    }
}

impl Mergeable for ProfileRow {
    fn name(&self) -> &str {
        &self.peer_id
    }

    fn into_row(self) -> Row {
        Row::Profile {
            peer: PeerKey::from_text(&self.peer_id),
            verified: self.verified,
            agent: self.agent.map(String::into_boxed_str),
            protocols: self.protocols.into_iter().map(String::into_boxed_str).collect(),
        }
    }
}

/// A line of an export: a row with its kind.
#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Line {
    Peer(PeerRow),
    Reputation(ReputationRow),
    Dht(DhtRow),
    Package(PackageRow),
    Bootstrap { node: String },
    Ban(BanRow),
    Profile(ProfileRow),
}

pub(super) fn json_lines(text: &str) -> Found {
    let mut found = Found::new(Format::Jsonl);
    for (line, number) in text.lines().zip(1_u64..).filter(|(line, _)| !line.trim().is_empty()) {
        let read = serde_json::from_str::<Line>(line);
        let row = read.map(|line| match line {
            Line::Peer(row) => named(row),
            Line::Reputation(row) => named(row),
            Line::Dht(row) => named(row),
            Line::Package(row) => named(row),
            Line::Bootstrap { node } => named(node),
            Line::Ban(row) => named(row),
            Line::Profile(row) => named(row),
        });
        match row {
            Ok((name, row)) => found.take(Place::new(Some(number), name), Ok(row)),
            Err(error) => {
                let reason = format!("no row of an export: {error}");
                found.take(Place::new(Some(number), line), Err(reason));
            }
        }
    }
    found
}

fn named(row: impl Mergeable) -> (String, Row) {
    (row.name().to_owned(), row.into_row())
}

/// Every row of another store.
pub(super) fn store(view: &View) -> Found {
    let mut found = Found::new(Format::Store);
    let mut take = |name: &dyn fmt::Display, row| {
        found.take(Place::new(None, name.to_string()), Ok(row));
    };
    let state = view.state();
    for (peer, entry) in state.peers() {
        rows_of(peer, entry).for_each(|row| take(peer, row));
    }
    for (key, entry) in state.dht_entries() {
        let value = entry.value.to_vec().into();
        take(&key, Row::Dht { key: key.into(), value, at: entry.stored_at });
    }
    for (id, entry) in state.packages() {
        let data = entry.data.to_vec().into();
        take(&id, Row::Package { id: id.into(), data, at: entry.cached_at });
    }
    for node in state.bootstrap_nodes() {
        take(node, Row::Bootstrap { node: node.clone() });
    }
    for (peer, ban) in state.bans() {
        let (reason, source) = (ban.reason.clone(), ban.source.clone());
        take(peer, Row::Ban { peer: peer.clone(), at: ban.at, until: ban.until, reason, source });
    }
    found
}

fn rows_of(peer: &PeerKey, entry: &PeerEntry) -> impl Iterator<Item = Row> {
    let seen = entry.seen.as_ref().map(|seen| Row::Peer {
        peer: peer.clone(),
        addresses: seen.addresses.iter().map(|address| address.to_address()).collect(),
        last_seen: seen.last_seen,
    });
    let reputation = entry
        .reputation
        .clone()
        .map(|reputation| Row::Reputation { peer: peer.clone(), reputation });
    let verified = entry.seen.as_ref().is_some_and(|seen| seen.verified);
    let profile = entry.profile.as_deref();
    let profile = (verified || profile.is_some()).then(|| Row::Profile {
        peer: peer.clone(),
        verified,
        agent: profile.and_then(|profile| profile.agent.clone()),
        protocols: profile.map(|profile| profile.protocols.to_vec()).unwrap_or_default(),
    });
    seen.into_iter().chain(reputation).chain(profile)
}
