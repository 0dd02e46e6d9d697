//! A state to the bytes of a snapshot: pretty JSON, rows sorted, a checksum last.

use std::{
    borrow::Cow,
    cell::RefCell,
    io::{self, Write},
    rc::Rc,
};

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::{
    Meta,
    document::{
        BanRow, Binary, CacheRow, CountsRow, DhtRow, LocationRow, PeerRow, ProfileRow,
        ReputationRow,
    },
};
use crate::state::{P2PState, PeerEntry, Reputation, State};

/// Bytes are handed on in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// Where the document's bytes go, piece by piece. An error stops the writing.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Writes the document. The checksum at its end is the CRC-32 of every byte before its opening
/// quote.
pub(crate) fn write(state: &State, meta: &Meta, sink: &mut Sink<'_>) -> io::Result<()> {
    let output = Rc::new(RefCell::new(Output {
        buffer: Vec::with_capacity(PIECE_BYTES),
        hasher: crc32fast::Hasher::new(),
        sink,
    }));
    let mut writer = Writer(Rc::clone(&output));
    let mut serializer = serde_json::Serializer::pretty(&mut writer);
    let checksum = || output.borrow_mut().checksum();
    let document = Document { state, meta, checksum: &checksum };
    document.serialize(&mut serializer).map_err(io::Error::from)?;
    writer.write_all(b"\n")?;
    output.borrow_mut().hand_on()
}

struct Output<'a, 'b> {
    buffer: Vec<u8>,
    hasher: crc32fast::Hasher,
    sink: &'a mut Sink<'b>,
}

impl Output<'_, '_> {
    fn hand_on(&mut self) -> io::Result<()> {
        self.hasher.update(&self.buffer);
        let handed = (self.sink)(&self.buffer);
        self.buffer.clear();
        handed
    }

    /// The checksum of all bytes so far.
    fn checksum(&mut self) -> io::Result<u32> {
        self.hand_on()?;
        Ok(self.hasher.clone().finalize())
    }
}

struct Writer<'a, 'b>(Rc<RefCell<Output<'a, 'b>>>);

impl Write for Writer<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut output = self.0.borrow_mut();
        output.buffer.extend_from_slice(bytes);
        if output.buffer.len() >= PIECE_BYTES {
            output.hand_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Document<'a> {
    state: &'a State,
    meta: &'a Meta,
    checksum: &'a dyn Fn() -> io::Result<u32>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { state, meta, .. } = self;
        let peers = sorted(state.peers().map(|(key, entry)| (key.to_string(), entry)));
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("version", &P2PState::CURRENT_VERSION)?;
        map.serialize_entry("store_id", &meta.store_id.to_string())?;
        map.serialize_entry("lsn", &meta.lsn)?;
        map.serialize_entry("segment", &meta.segment)?;
        map.serialize_entry("saved_at", &meta.saved_at)?;
        let profiles = peers.iter().filter_map(profile_row).count();
        map.serialize_entry("counts", &counts(state, profiles))?;
        map.serialize_entry("peers", &Rows(|| peers.iter().filter_map(peer_row)))?;
        map.serialize_entry("reputation", &Rows(|| peers.iter().filter_map(reputation_row)))?;
        let dht = sorted(state.dht_entries());
        map.serialize_entry(
            "dht_entries",
            &Rows(|| {
                dht.iter().map(|(key, entry)| DhtRow {
                    key: Cow::Borrowed(key),
                    value: Binary(Cow::Borrowed(&entry.value)),
                    stored_at: entry.stored_at.into(),
                })
            }),
        )?;
        let packages = sorted(state.packages());
        map.serialize_entry(
            "package_cache",
            &Rows(|| {
                packages.iter().map(|(id, entry)| CacheRow {
                    package_id: Cow::Borrowed(id),
                    package_data: Binary(Cow::Borrowed(&entry.data)),
                    cached_at: entry.cached_at.into(),
                })
            }),
        )?;
        map.serialize_entry("bootstrap_nodes", state.bootstrap_nodes())?;
        let bans = sorted(state.bans().map(|(key, ban)| (key.to_string(), ban)));
        map.serialize_entry(
            "bans",
            &Rows(|| {
                bans.iter().map(|(peer_id, ban)| BanRow {
                    peer_id: Cow::Borrowed(peer_id),
                    banned_at: ban.at.into(),
                    until: ban.until.into(),
                    reason: Cow::Borrowed(&ban.reason),
                    source: Cow::Borrowed(&ban.source),
                })
            }),
        )?;
        map.serialize_entry("profiles", &Rows(|| peers.iter().filter_map(profile_row)))?;
        map.serialize_entry("checksum", &Checksum(self.checksum))?;
        map.end()
    }
}

/// Asks for the checksum at the moment it is written, when all bytes before it have gone out.
struct Checksum<'a>(&'a dyn Fn() -> io::Result<u32>);

impl Serialize for Checksum<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let crc = (self.0)().map_err(serde::ser::Error::custom)?;
        serializer.collect_str(&format_args!("crc32:{crc:08x}"))
    }
}

/// A sequence of rows made one at a time.
struct Rows<F>(F);

impl<F, I> Serialize for Rows<F>
where
    F: Fn() -> I,
    I: Iterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

fn sorted<K: Ord, V>(rows: impl Iterator<Item = (K, V)>) -> Vec<(K, V)> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    rows
}

fn counts(state: &State, profiles: usize) -> CountsRow {
    let counts = state.counts();
    CountsRow {
        peers: counts.peers,
        reputation: counts.reputation,
        dht_entries: counts.dht_entries,
        package_cache: counts.packages,
        bootstrap_nodes: counts.bootstrap_nodes,
        bans: counts.bans,
        profiles,
    }
}

fn peer_row<'a>((peer_id, entry): &'a (String, &PeerEntry)) -> Option<PeerRow<'a>> {
    let seen = entry.seen.as_ref()?;
    Some(PeerRow {
        peer_id: Cow::Borrowed(peer_id),
        addresses: seen.addresses.iter().map(|address| Cow::Owned(address.to_string())).collect(),
        last_seen: seen.last_seen.into(),
    })
}

fn reputation_row<'a>((peer_id, entry): &'a (String, &PeerEntry)) -> Option<ReputationRow<'a>> {
    let reputation: &Reputation = entry.reputation.as_ref()?;
    Some(ReputationRow {
        peer_id: Cow::Borrowed(peer_id),
        successful_retrievals: reputation.successful_retrievals,
        failed_retrievals: reputation.failed_retrievals,
        last_seen: reputation.last_seen.into(),
        avg_response_time_ms: reputation.avg_response_time_ms,
        location: reputation.location.as_ref().map(|location| LocationRow {
            latitude: location.latitude,
            longitude: location.longitude,
            region: location.region.as_deref().map(Cow::Borrowed),
        }),
        packages_provided: reputation.packages_provided,
    })
}

fn profile_row<'a>((peer_id, entry): &'a (String, &PeerEntry)) -> Option<ProfileRow<'a>> {
    let verified = entry.seen.as_ref().is_some_and(|seen| seen.verified);
    let profile = entry.profile.as_ref();
    if !verified && profile.is_none() {
        return None;
    }
    Some(ProfileRow {
        peer_id: Cow::Borrowed(peer_id),
        verified,
        agent: profile.and_then(|profile| profile.agent.as_deref()).map(Cow::Borrowed),
        protocols: profile
            .map(|profile| profile.protocols.iter().map(|p| Cow::Borrowed(&**p)).collect())
            .unwrap_or_default(),
    })
}
