//! `Change`: one fact to remember, as the program says it and as a record holds it.

use std::fmt;

use postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use super::{Address, GeoLocation, PeerKey, Reputation, Time, bytes, quick};
use crate::{Error, ErrorKind};

/// One fact to remember.
///
/// The order of the variants and of their fields is the record format: both are append-only, never
/// reordered, never removed. A change says what holds after it, so that applying it twice is the
/// same as once, but for [`RetrievalSucceeded`](Self::RetrievalSucceeded) and
/// [`RetrievalFailed`](Self::RetrievalFailed), which count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each variant says what its fields are for")]
pub enum Change {
    /// We met the peer. Its row is made if need be, `last_seen` becomes the later of the two times,
    /// new addresses go to the end.
    PeerSeen { peer: PeerKey, at: Time, addresses: Vec<Address> },
    /// We heard of these addresses. The row is made if need be, heard of and never seen.
    AddressesAdded { peer: PeerKey, addresses: Vec<Address> },
    /// The peer has these addresses and no others. The row is made if need be.
    AddressesReplaced { peer: PeerKey, addresses: Vec<Address> },
    /// The peer is not at these addresses.
    AddressesRemoved { peer: PeerKey, addresses: Vec<Address> },
    /// What the peer says of itself; replaces what it said before. Nothing said clears it.
    PeerProfiled { peer: PeerKey, agent: Option<Box<str>>, protocols: Vec<Box<str>> },
    /// Whether we spoke to the peer or only heard of it. The row is made if need be.
    PeerVerified { peer: PeerKey, verified: bool },
    /// Everything about the peer goes, but for a ban.
    PeerForgotten { peer: PeerKey },
    /// The same as forgotten, to make room.
    Evicted { peer: PeerKey },
    /// The peer's row, addresses and profile go; its reputation stays.
    PeerRemoved { peer: PeerKey },
    /// The peer's row is exactly this; its profile and whether we spoke to it stay.
    PeerSet { peer: PeerKey, last_seen: Time, addresses: Vec<Address> },
    /// A retrieval from the peer succeeded after `response_ms` milliseconds.
    RetrievalSucceeded { peer: PeerKey, at: Time, response_ms: u64 },
    /// A retrieval from the peer failed.
    RetrievalFailed { peer: PeerKey, at: Time },
    /// The peer provides this many packages.
    PackagesProvided { peer: PeerKey, count: u64 },
    /// Where the peer is, or that it is not known.
    LocationSet { peer: PeerKey, location: Option<GeoLocation> },
    /// The peer's reputation is exactly this.
    ReputationSet { peer: PeerKey, reputation: Reputation },
    /// The peer's reputation goes.
    ReputationRemoved { peer: PeerKey },
    /// The DHT has this value under the key.
    DhtPut {
        key: Box<str>,
        #[serde(with = "bytes")]
        value: Box<[u8]>,
        at: Time,
    },
    /// The DHT entry goes.
    DhtRemoved { key: Box<str> },
    /// The package was fetched and is kept for a while.
    PackageCached {
        id: Box<str>,
        #[serde(with = "bytes")]
        data: Box<[u8]>,
        at: Time,
    },
    /// The cached package goes.
    PackageDropped { id: Box<str> },
    /// A bootstrap node, at the end of the list.
    BootstrapAdded { node: Box<str> },
    /// The bootstrap node goes.
    BootstrapRemoved { node: Box<str> },
    /// The bootstrap nodes are these, in this order.
    BootstrapReplaced { nodes: Vec<Box<str>> },
    /// The peer is banned: since when, until when, why, and who or what says so.
    Banned { peer: PeerKey, at: Time, until: Time, reason: Box<str>, source: Box<str> },
    /// The ban is lifted.
    Unbanned { peer: PeerKey },
    /// As of `at`, cached packages older than five minutes and bans that have run out go.
    Expired { at: Time },
}

impl Change {
    /// The variant's name in snake case, for logs and counters.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::PeerSeen { .. } => "peer_seen",
            Self::AddressesAdded { .. } => "addresses_added",
            Self::AddressesReplaced { .. } => "addresses_replaced",
            Self::AddressesRemoved { .. } => "addresses_removed",
            Self::PeerProfiled { .. } => "peer_profiled",
            Self::PeerVerified { .. } => "peer_verified",
            Self::PeerForgotten { .. } => "peer_forgotten",
            Self::Evicted { .. } => "evicted",
            Self::PeerRemoved { .. } => "peer_removed",
            Self::PeerSet { .. } => "peer_set",
            Self::RetrievalSucceeded { .. } => "retrieval_succeeded",
            Self::RetrievalFailed { .. } => "retrieval_failed",
            Self::PackagesProvided { .. } => "packages_provided",
            Self::LocationSet { .. } => "location_set",
            Self::ReputationSet { .. } => "reputation_set",
            Self::ReputationRemoved { .. } => "reputation_removed",
            Self::DhtPut { .. } => "dht_put",
            Self::DhtRemoved { .. } => "dht_removed",
            Self::PackageCached { .. } => "package_cached",
            Self::PackageDropped { .. } => "package_dropped",
            Self::BootstrapAdded { .. } => "bootstrap_added",
            Self::BootstrapRemoved { .. } => "bootstrap_removed",
            Self::BootstrapReplaced { .. } => "bootstrap_replaced",
            Self::Banned { .. } => "banned",
            Self::Unbanned { .. } => "unbanned",
            Self::Expired { .. } => "expired",
        }
    }

    /// The peer that the change is about.
    #[must_use]
    pub const fn peer(&self) -> Option<&PeerKey> {
        match self {
            Self::PeerSeen { peer, .. }
            | Self::AddressesAdded { peer, .. }
            | Self::AddressesReplaced { peer, .. }
            | Self::AddressesRemoved { peer, .. }
            | Self::PeerProfiled { peer, .. }
            | Self::PeerVerified { peer, .. }
            | Self::PeerForgotten { peer }
            | Self::Evicted { peer }
            | Self::PeerRemoved { peer }
            | Self::PeerSet { peer, .. }
            | Self::RetrievalSucceeded { peer, .. }
            | Self::RetrievalFailed { peer, .. }
            | Self::PackagesProvided { peer, .. }
            | Self::LocationSet { peer, .. }
            | Self::ReputationSet { peer, .. }
            | Self::ReputationRemoved { peer }
            | Self::Banned { peer, .. }
            | Self::Unbanned { peer } => Some(peer),
            Self::DhtPut { .. }
            | Self::DhtRemoved { .. }
            | Self::PackageCached { .. }
            | Self::PackageDropped { .. }
            | Self::BootstrapAdded { .. }
            | Self::BootstrapRemoved { .. }
            | Self::BootstrapReplaced { .. }
            | Self::Expired { .. } => None,
        }
    }

    /// When it happened, where the change itself says so.
    #[must_use]
    pub const fn at(&self) -> Option<Time> {
        match self {
            Self::PeerSeen { at, .. }
            | Self::RetrievalSucceeded { at, .. }
            | Self::RetrievalFailed { at, .. }
            | Self::DhtPut { at, .. }
            | Self::PackageCached { at, .. }
            | Self::Banned { at, .. }
            | Self::Expired { at } => Some(*at),
            Self::AddressesAdded { .. }
            | Self::AddressesReplaced { .. }
            | Self::AddressesRemoved { .. }
            | Self::PeerProfiled { .. }
            | Self::PeerVerified { .. }
            | Self::PeerForgotten { .. }
            | Self::Evicted { .. }
            | Self::PeerRemoved { .. }
            | Self::PeerSet { .. }
            | Self::PackagesProvided { .. }
            | Self::LocationSet { .. }
            | Self::ReputationSet { .. }
            | Self::ReputationRemoved { .. }
            | Self::DhtRemoved { .. }
            | Self::PackageDropped { .. }
            | Self::BootstrapAdded { .. }
            | Self::BootstrapRemoved { .. }
            | Self::BootstrapReplaced { .. }
            | Self::Unbanned { .. } => None,
        }
    }

    /// True for [`Banned`](Self::Banned) and [`Unbanned`](Self::Unbanned), which are synced at
    /// once.
    #[must_use]
    pub const fn is_ban(&self) -> bool {
        matches!(self, Self::Banned { .. } | Self::Unbanned { .. })
    }

    /// True if the change neither looks at peers nor changes them, but for their bans.
    pub(super) const fn leaves_peers(&self) -> bool {
        matches!(
            self,
            Self::DhtPut { .. }
                | Self::DhtRemoved { .. }
                | Self::PackageCached { .. }
                | Self::PackageDropped { .. }
                | Self::BootstrapAdded { .. }
                | Self::BootstrapRemoved { .. }
                | Self::BootstrapReplaced { .. }
                | Self::Banned { .. }
                | Self::Unbanned { .. }
                | Self::Expired { .. }
        )
    }
}

/// Appends the changes to `out`, as the payload of a record holds them: one after another.
///
/// # Errors
///
/// [`ErrorKind::Invalid`] if a change cannot be encoded; `out` is then as it was.
pub fn encode(changes: &[Change], out: &mut Vec<u8>) -> Result<(), Error> {
    let before = out.len();
    for change in changes {
        if quick::encode(change, out) {
            continue;
        }
        if let Err(error) = postcard::serialize_with_flavor(change, Append(out)) {
            out.truncate(before);
            let what = format!("cannot encode a change of kind {}", change.kind());
            return Err(Error::invalid(what).because(error));
        }
    }
    Ok(())
}

/// The changes of a record's payload, in order. After an error it ends.
pub fn decode(payload: &[u8]) -> impl Iterator<Item = Result<Change, DecodeError>> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let offset = payload.len() - rest.len();
        let next = quick::decode(rest).or_else(|| postcard::take_from_bytes(rest).ok());
        let (change, after) = next.unzip();
        rest = after.unwrap_or_default();
        Some(change.ok_or(DecodeError::UnknownChange { offset }))
    })
}

/// Why a payload whose checksum held cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// This version does not know the change: a newer version wrote it.
    UnknownChange {
        /// Where in the payload it begins, in bytes.
        offset: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownChange { offset } => {
                write!(f, "the change at byte {offset} of the record is of an unknown kind")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::new(ErrorKind::NewerVersion, error.to_string())
            .next("a newer version wrote it; upgrade this program")
    }
}

/// Lets postcard write to the end of a vector that has other records before it.
struct Append<'a>(&'a mut Vec<u8>);

impl Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}
