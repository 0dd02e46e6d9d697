//! The bytes of a snapshot to a state. Checks everything before it hands anything over.

use std::borrow::Cow;

use super::{
    Meta,
    document::{Document, LocationRow, PeerRow, ReputationRow},
    own,
};
use crate::{
    Lsn, StoreId,
    ids::NUMBER_MAX,
    state::{
        Change, GeoLocation, Limits, P2PState, PeerKey, Reputation, State,
        limits::ADDRESS_BYTES_MAX,
    },
};

/// Largest snapshot that is read into memory.
pub(crate) const SNAPSHOT_BYTES_MAX: u64 = 8 << 30;

const CHECKSUM_KEY: &[u8] = b"\"checksum\": ";
/// `"crc32:xxxxxxxx"`, a line end, a brace, a line end.
const CHECKSUM_BYTES: usize = 19;

/// A state read from a snapshot.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) meta: Meta,
    /// Rows that a limit kept out, each with its reason (the first few), and their number.
    pub(crate) skipped: Skipped,
}

/// What a limit of the store kept out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) count: u64,
    /// Why the first of them was kept out.
    pub(crate) first: Option<String>,
}

impl Skipped {
    pub(crate) fn add(&mut self, reason: impl std::fmt::Display) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert_with(|| reason.to_string());
    }

    /// So many records, of which this is the first.
    pub(crate) fn add_records(&mut self, count: u64, first: Option<(Lsn, String)>) {
        let Some((lsn, reason)) = first else { return };
        self.add(format_args!("lsn {lsn}: {reason}"));
        self.count = self.count.saturating_add(count.saturating_sub(1));
    }
}

/// What the bytes of a snapshot file turn out to be.
#[derive(Debug)]
pub(crate) enum Reading {
    /// The checksum holds.
    Whole(Box<Loaded>),
    /// A version 1 file: no checksum, no LSN, no store id.
    Version1(Box<Loaded>),
    /// Written by a newer version.
    Newer(u32),
    /// A whole document whose checksum does not hold: edited by hand, or damaged.
    Unsealed(String),
    /// Not a snapshot, or not all of one.
    Broken(String),
}

/// Reads a snapshot of any version up to the current one.
pub(crate) fn read(bytes: &[u8], limits: Limits) -> Reading {
    match own::read(bytes, limits) {
        Some(loaded) => Reading::Whole(Box::new(loaded)),
        None => read_in_general(bytes, limits),
    }
}

/// As [`read`], for documents that need not stand as this crate writes them.
pub(crate) fn read_in_general(bytes: &[u8], limits: Limits) -> Reading {
    let document: Document<'_> = match serde_json::from_slice(bytes) {
        Ok(document) => document,
        Err(error) => {
            return match newer_version(bytes) {
                Some(version) => Reading::Newer(version),
                None => Reading::Broken(describe(bytes, &error)),
            };
        }
    };
    match document.version {
        1 => Reading::Version1(Box::new(load(document, None, limits))),
        P2PState::CURRENT_VERSION => {
            let Some(meta) = meta(&document) else {
                return Reading::Broken("store id, lsn or segment is missing or absurd".into());
            };
            if let Err(reason) = check_seal(bytes) {
                return Reading::Unsealed(reason);
            }
            if document.counts.is_some_and(|counts| counts.peers != document.peers.len()) {
                return Reading::Unsealed("the counts differ from the rows".into());
            }
            Reading::Whole(Box::new(load(document, Some(meta), limits)))
        }
        // A bit of our own version flipped: the seal is ours and does not hold.
        version if version > P2PState::CURRENT_VERSION && is_ours(bytes) => {
            Reading::Broken(format!("there is no version {version} with these fields"))
        }
        version if version > P2PState::CURRENT_VERSION => Reading::Newer(version),
        version => Reading::Broken(format!("there is no version {version}")),
    }
}

/// What a snapshot file is, told without its rows: its checksum speaks for them.
#[derive(Debug)]
pub(crate) enum Check {
    Whole(Meta),
    Version1,
    Newer(u32),
    Unsealed(String),
    Broken(String),
}

/// Checks a snapshot without building its state, in a fraction of the time of [`read`].
pub(crate) fn check(bytes: &[u8]) -> Check {
    #[derive(serde::Deserialize)]
    struct Head<'a> {
        version: u32,
        #[serde(borrow, default)]
        store_id: Option<Cow<'a, str>>,
        lsn: Option<u64>,
        segment: Option<u64>,
        saved_at: chrono::DateTime<chrono::Utc>,
    }
    let head: Head<'_> = match serde_json::from_slice(bytes) {
        Ok(head) => head,
        Err(error) => {
            return match newer_version(bytes) {
                Some(version) => Check::Newer(version),
                None => Check::Broken(describe(bytes, &error)),
            };
        }
    };
    match head.version {
        1 => return Check::Version1,
        P2PState::CURRENT_VERSION => {}
        version if version > P2PState::CURRENT_VERSION && !is_ours(bytes) => {
            return Check::Newer(version);
        }
        version => return Check::Broken(format!("there is no version {version}")),
    }
    let meta = || {
        Some(Meta {
            store_id: StoreId::parse(head.store_id.as_deref()?)?,
            lsn: Lsn::new(head.lsn?),
            segment: head.segment?,
            saved_at: head.saved_at,
        })
    };
    match (check_seal(bytes), meta()) {
        (Err(reason), _) => Check::Unsealed(reason),
        (Ok(()), None) => Check::Broken("store id, lsn or segment is missing".into()),
        (Ok(()), Some(meta)) => Check::Whole(meta),
    }
}

/// Reads a document of the current version without asking for its checksum: for sealing it anew
/// after a deliberate edit.
pub(crate) fn read_unsealed(bytes: &[u8], limits: Limits) -> Result<Loaded, String> {
    let document: Document<'_> =
        serde_json::from_slice(bytes).map_err(|error| describe(bytes, &error))?;
    if document.version != P2PState::CURRENT_VERSION {
        return Err(format!(
            "version {} cannot be sealed, only version {}",
            document.version,
            P2PState::CURRENT_VERSION
        ));
    }
    let meta = meta(&document).ok_or("store id, lsn or segment is missing or absurd")?;
    Ok(load(document, Some(meta), limits))
}

fn describe(bytes: &[u8], error: &serde_json::Error) -> String {
    if bytes.is_empty() {
        "the file is empty".into()
    } else if bytes.iter().all(|&byte| byte == 0) {
        "the file holds only zeros".into()
    } else {
        format!("not a snapshot: {error}")
    }
}

/// A document of a newer version need not parse as one of ours, but it says its version.
fn newer_version(bytes: &[u8]) -> Option<u32> {
    #[derive(serde::Deserialize)]
    struct Probe {
        version: u32,
    }
    let probe: Probe = serde_json::from_slice(bytes).ok()?;
    (probe.version > P2PState::CURRENT_VERSION).then_some(probe.version)
}

/// True if the bytes are sealed as ours are once the version reads as the current one.
fn is_ours(bytes: &[u8]) -> bool {
    let start = format!("{{\n  \"version\": {}", P2PState::CURRENT_VERSION).into_bytes();
    let rest = bytes.get(start.len()..).unwrap_or_default();
    check_seal(&[start.as_slice(), rest].concat()).is_ok()
}

fn check_seal(bytes: &[u8]) -> Result<(), String> {
    let seal = Seal::of(bytes)?;
    seal.check(crc32fast::hash(seal.bytes))
}

/// What stands at the end of a document, not checked yet.
pub(super) struct Seal<'a> {
    /// What it is the checksum of.
    pub(super) bytes: &'a [u8],
    written: &'a str,
}

impl<'a> Seal<'a> {
    pub(super) fn of(document: &'a [u8]) -> Result<Self, String> {
        let missing = || "the checksum is missing from its end".to_owned();
        let (bytes, end) = document
            .len()
            .checked_sub(CHECKSUM_BYTES)
            .and_then(|at| document.split_at_checked(at))
            .filter(|(before, _)| before.ends_with(CHECKSUM_KEY))
            .ok_or_else(missing)?;
        let written = end
            .strip_prefix(b"\"crc32:")
            .and_then(|rest| rest.strip_suffix(b"\"\n}\n"))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .ok_or_else(missing)?;
        Ok(Self { bytes, written })
    }

    /// Compares it with the checksum that the bytes have.
    pub(super) fn check(&self, crc: u32) -> Result<(), String> {
        let written = self.written;
        let computed = format!("{crc:08x}");
        if written != computed {
            return Err(format!("the checksum is {written}, the bytes have {computed}"));
        }
        Ok(())
    }
}

fn meta(document: &Document<'_>) -> Option<Meta> {
    let is_believed = |number: &u64| *number <= NUMBER_MAX;
    Some(Meta {
        store_id: StoreId::parse(document.store_id.as_deref()?)?,
        lsn: Lsn::new(document.lsn.filter(is_believed)?),
        segment: document.segment.filter(is_believed)?,
        saved_at: document.saved_at,
    })
}

/// A state that is filled with rows: they become changes and go through the same `apply` as
/// everything else, so that every limit holds here too.
pub(super) struct Filling {
    state: State,
    skipped: Skipped,
}

impl Filling {
    pub(super) fn of(state: State) -> Self {
        Self { state, skipped: Skipped::default() }
    }

    pub(super) fn put(&mut self, change: Change) {
        if let Err(error) = self.state.apply(&change) {
            self.skipped.add(error);
        }
    }

    /// One by one where the whole list is refused: one node too many must not cost all of them.
    pub(super) fn put_nodes(&mut self, nodes: Vec<Box<str>>) {
        let refused = self.state.limits().bootstrap_nodes < nodes.len()
            || nodes.iter().any(|node| node.len() > ADDRESS_BYTES_MAX);
        if refused {
            nodes.into_iter().for_each(|node| self.put(Change::BootstrapAdded { node }));
        } else if !nodes.is_empty() {
            self.put(Change::BootstrapReplaced { nodes });
        }
    }

    pub(super) fn put_profile(
        &mut self,
        peer: PeerKey,
        verified: bool,
        agent: Option<Box<str>>,
        protocols: Vec<Box<str>>,
    ) {
        if verified {
            self.put(Change::PeerVerified { peer: peer.clone(), verified: true });
        }
        if agent.is_some() || !protocols.is_empty() {
            self.put(Change::PeerProfiled { peer, agent, protocols });
        }
    }

    pub(super) fn loaded(self, meta: Meta) -> Loaded {
        Loaded { state: self.state, meta, skipped: self.skipped }
    }
}

fn load(document: Document<'_>, meta: Option<Meta>, limits: Limits) -> Loaded {
    let meta = meta.unwrap_or(Meta {
        store_id: StoreId::from_bytes([0; 16]),
        lsn: Lsn::ZERO,
        segment: 0,
        saved_at: document.saved_at,
    });
    let mut filling = Filling::of(State::new(limits));
    for row in document.peers {
        filling.put(peer_set(row));
    }
    for row in document.reputation {
        filling.put(reputation_set(row));
    }
    for row in document.dht_entries {
        let key = boxed(row.key);
        filling.put(Change::DhtPut { key, value: row.value.0, at: row.stored_at.0 });
    }
    for row in document.package_cache {
        let id = boxed(row.package_id);
        filling.put(Change::PackageCached { id, data: row.package_data.0, at: row.cached_at.0 });
    }
    filling.put_nodes(document.bootstrap_nodes);
    for row in document.bans {
        filling.put(Change::Banned {
            peer: row.peer_id.0,
            at: row.banned_at.0,
            until: row.until.0,
            reason: boxed(row.reason),
            source: boxed(row.source),
        });
    }
    for row in document.profiles {
        let agent = row.agent.map(boxed);
        filling.put_profile(row.peer_id.0, row.verified, agent, row.protocols);
    }
    filling.loaded(meta)
}

fn peer_set(row: PeerRow) -> Change {
    Change::PeerSet {
        peer: row.peer_id.0,
        last_seen: row.last_seen.0,
        addresses: row.addresses.into_iter().map(|address| address.0).collect(),
    }
}

fn reputation_set(row: ReputationRow<'_>) -> Change {
    Change::ReputationSet {
        peer: row.peer_id.0,
        reputation: Reputation {
            successful_retrievals: row.successful_retrievals,
            failed_retrievals: row.failed_retrievals,
            last_seen: row.last_seen.0,
            avg_response_time_ms: row.avg_response_time_ms,
            location: row.location.map(|location: LocationRow<'_>| {
                Box::new(GeoLocation {
                    latitude: location.latitude,
                    longitude: location.longitude,
                    region: location.region.map(boxed),
                })
            }),
            packages_provided: row.packages_provided,
        },
    }
}

fn boxed(text: Cow<'_, str>) -> Box<str> {
    text.into_owned().into_boxed_str()
}
