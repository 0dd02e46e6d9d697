//! What is remembered of one peer, one DHT key, one package and one ban.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{AddressList, Time, table::Shared};

/// Everything about one peer but a ban. At least one part is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PeerEntry {
    /// The peer's row: when it was seen, and where.
    pub seen: Option<Peer>,
    /// How it behaved.
    pub reputation: Option<Reputation>,
    /// What it says of itself.
    pub profile: Option<Arc<Profile>>,
}

/// When a peer was seen, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peer {
    /// When it was last seen; [`Time::EPOCH`] if it was only heard of.
    pub last_seen: Time,
    /// Where it can be reached, in the order learned.
    pub addresses: AddressList,
    /// True if we spoke to it, false if others told us of it.
    pub verified: bool,
}

/// What a peer says of itself (libp2p identify).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Its agent version.
    pub agent: Option<Box<str>>,
    /// The protocols that it speaks.
    pub protocols: Box<[Box<str>]>,
}

/// How a peer behaved. The order of the fields is part of the record format.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Reputation {
    /// Retrievals that succeeded.
    pub successful_retrievals: u64,
    /// Retrievals that failed.
    pub failed_retrievals: u64,
    /// When it last answered or failed to; [`Time::EPOCH`] if it was never asked.
    pub last_seen: Time,
    /// Moving average of the response time, in milliseconds.
    pub avg_response_time_ms: u64,
    /// Where it is, when known.
    pub location: Option<Box<GeoLocation>>,
    /// Packages that it provides.
    pub packages_provided: u64,
}

impl Reputation {
    /// Counts a retrieval. It took so many milliseconds, of which the average takes three tenths;
    /// `None` if it failed.
    pub(super) fn count(&mut self, at: Time, response_ms: Option<u64>) {
        if let Some(new) = response_ms {
            self.avg_response_time_ms = if self.successful_retrievals == 0 {
                new
            } else {
                let (old, new) = (u128::from(self.avg_response_time_ms), u128::from(new));
                u64::try_from((7 * old + 3 * new) / 10).unwrap_or(u64::MAX)
            };
            self.successful_retrievals = self.successful_retrievals.saturating_add(1);
        } else {
            self.failed_retrievals = self.failed_retrievals.saturating_add(1);
        }
        self.last_seen = self.last_seen.max(at);
    }
}

/// A place on earth. The order of the fields is part of the record format.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GeoLocation {
    /// Degrees, -90 to 90.
    pub latitude: f64,
    /// Degrees, -180 to 180.
    pub longitude: f64,
    /// Name of the region, when known.
    pub region: Option<Box<str>>,
}

/// Equal bit for bit, so that a change of a zero's sign is one too.
impl PartialEq for GeoLocation {
    fn eq(&self, other: &Self) -> bool {
        self.latitude.to_bits() == other.latitude.to_bits()
            && self.longitude.to_bits() == other.longitude.to_bits()
            && self.region == other.region
    }
}

impl Eq for GeoLocation {}

/// An entry of the distributed hash table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DhtEntry {
    /// The value; copies of the state share it.
    pub value: Arc<[u8]>,
    /// When it was stored.
    pub stored_at: Time,
}

/// A cached package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// Its data; copies of the state share it.
    pub data: Arc<[u8]>,
    /// When it was cached.
    pub cached_at: Time,
}

/// A ban of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// When it was spoken.
    pub at: Time,
    /// When it runs out.
    pub until: Time,
    /// Why.
    pub reason: Box<str>,
    /// Who or what banned the peer.
    pub source: Box<str>,
}

impl Ban {
    /// True until the ban runs out.
    #[must_use]
    pub fn is_active(&self, now: Time) -> bool {
        self.until > now
    }
}

impl Shared for PeerEntry {
    fn holders(&self) -> usize {
        self.seen.as_ref().map_or(0, |seen| seen.addresses.holders())
    }
}

impl Shared for DhtEntry {
    fn holders(&self) -> usize {
        self.value.holders()
    }
}

impl Shared for CacheEntry {
    fn holders(&self) -> usize {
        self.data.holders()
    }
}

impl Shared for Ban {}
