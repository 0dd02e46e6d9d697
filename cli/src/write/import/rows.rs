//! Rows of a state: version 1 files, exports, and other stores.

use std::fmt;

use peer_journal::{
    P2PState, View,
    state::{Address, GeoLocation, PeerEntry, PeerKey, Reputation},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    format::Format,
    found::{Found, Place, Row},
    place::{Lines, parse},
};
use crate::{
    document::{BanRow, DhtRow, PackageRow, PeerRow, ProfileRow, ReputationRow},
    failure::Failure,
};

/// A whole state; kinds of rows that are missing are empty.
#[derive(Deserialize)]
#[serde(default)]
struct Document<'a> {
    version: u32,
    #[serde(borrow)]
    peers: Vec<&'a RawValue>,
    #[serde(borrow)]
    reputation: Vec<&'a RawValue>,
    #[serde(borrow)]
    dht_entries: Vec<&'a RawValue>,
    #[serde(borrow)]
    package_cache: Vec<&'a RawValue>,
    #[serde(borrow)]
    bootstrap_nodes: Vec<&'a RawValue>,
    #[serde(borrow)]
    bans: Vec<&'a RawValue>,
    #[serde(borrow)]
    profiles: Vec<&'a RawValue>,
}

impl Default for Document<'_> {
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
    let document: Document<'_> = serde_json::from_str(text)
        .map_err(|error| Failure::usage(format!("cannot read it as a state: {error}")))?;
    if document.version > P2PState::CURRENT_VERSION {
        return Err(Failure::newer(format!(
            "written by a newer version: version={}; upgrade peer-journal",
            document.version
        )));
    }
    let mut found = Found::new(Format::State);
    let lines = Lines::of(text);
    array::<PeerRow>(&mut found, &lines, "peers", &document.peers);
    array::<ReputationRow>(&mut found, &lines, "reputation", &document.reputation);
    array::<DhtRow>(&mut found, &lines, "dht_entries", &document.dht_entries);
    array::<PackageRow>(&mut found, &lines, "package_cache", &document.package_cache);
    array::<String>(&mut found, &lines, "bootstrap_nodes", &document.bootstrap_nodes);
    array::<BanRow>(&mut found, &lines, "bans", &document.bans);
    array::<ProfileRow>(&mut found, &lines, "profiles", &document.profiles);
    Ok(found)
}

/// A row of a document that can be merged.
trait Mergeable {
    /// The text that names it.
    fn name(&self) -> &str;
    fn into_row(self) -> Row;
}

fn array<'a, T: Mergeable + DeserializeOwned>(
    found: &mut Found,
    lines: &Lines<'a>,
    member: &str,
    rows: &[&'a RawValue],
) {
    for (index, entry) in rows.iter().enumerate() {
        let line = lines.line(entry);
        match parse::<T>(entry) {
            Ok(row) => {
                let place = Place::new(line, row.name());
                found.take(place, Ok(row.into_row()));
            }
            Err(reason) => found.take(Place::new(line, format!("{member}[{index}]")), Err(reason)),
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
