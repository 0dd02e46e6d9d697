//! Between the state and the flat rows.

use chrono::{DateTime, Utc};

use super::{
    Address, CacheEntry, Change, DhtEntry, GeoLocation, P2PState, Peer, PeerKey, Reputation,
    SerializedCacheEntry, SerializedDHTEntry, SerializedGeoLocation, SerializedPeer,
    SerializedReputation, State,
};

impl State {
    /// All rows, sorted by their text ids and keys; the bootstrap nodes in the order added.
    /// Profiles, bans and whether we spoke to a peer have no rows.
    #[must_use]
    pub fn to_rows(&self, saved_at: DateTime<Utc>) -> P2PState {
        let mut peers: Vec<_> = self
            .peers()
            .filter_map(|(key, entry)| Some(entry.seen.as_ref()?.to_row(key)))
            .collect();
        peers.sort_unstable_by(|a, b| a.peer_id.cmp(&b.peer_id));
        let mut reputation: Vec<_> = self
            .peers()
            .filter_map(|(key, entry)| Some(entry.reputation.as_ref()?.to_row(key)))
            .collect();
        reputation.sort_unstable_by(|a, b| a.peer_id.cmp(&b.peer_id));
        let mut dht_entries: Vec<_> =
            self.dht_entries().map(|(key, entry)| entry.to_row(key)).collect();
        dht_entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        let mut package_cache: Vec<_> =
            self.packages().map(|(id, entry)| entry.to_row(id)).collect();
        package_cache.sort_unstable_by(|a, b| a.package_id.cmp(&b.package_id));
        P2PState {
            version: P2PState::CURRENT_VERSION,
            peers,
            reputation,
            dht_entries,
            package_cache,
            bootstrap_nodes: self.bootstrap_nodes().iter().map(ToString::to_string).collect(),
            saved_at,
        }
    }
}

impl Peer {
    /// The row of this peer.
    #[must_use]
    pub fn to_row(&self, peer: &PeerKey) -> SerializedPeer {
        SerializedPeer {
            peer_id: peer.to_string(),
            addresses: self.addresses.iter().map(|address| address.to_string()).collect(),
            last_seen: self.last_seen.get(),
        }
    }
}

impl Reputation {
    /// The row of this reputation.
    #[must_use]
    pub fn to_row(&self, peer: &PeerKey) -> SerializedReputation {
        SerializedReputation {
            peer_id: peer.to_string(),
            successful_retrievals: self.successful_retrievals,
            failed_retrievals: self.failed_retrievals,
            last_seen: self.last_seen.get(),
            avg_response_time_ms: self.avg_response_time_ms,
            location: self.location.as_deref().map(SerializedGeoLocation::from),
            packages_provided: usize::try_from(self.packages_provided).unwrap_or(usize::MAX),
        }
    }
}

impl DhtEntry {
    /// The row of this entry.
    #[must_use]
    pub fn to_row(&self, key: &str) -> SerializedDHTEntry {
        let (value, stored_at) = (self.value.to_vec(), self.stored_at.get());
        SerializedDHTEntry { key: key.to_owned(), value, stored_at }
    }
}

impl CacheEntry {
    /// The row of this package.
    #[must_use]
    pub fn to_row(&self, id: &str) -> SerializedCacheEntry {
        SerializedCacheEntry {
            package_id: id.to_owned(),
            package_data: self.data.to_vec(),
            cached_at: self.cached_at.get(),
        }
    }
}

impl From<&GeoLocation> for SerializedGeoLocation {
    fn from(location: &GeoLocation) -> Self {
        let GeoLocation { latitude, longitude, region } = location;
        let region = region.as_deref().map(str::to_owned);
        Self { latitude: *latitude, longitude: *longitude, region }
    }
}

impl From<&SerializedGeoLocation> for GeoLocation {
    fn from(row: &SerializedGeoLocation) -> Self {
        let region = row.region.as_deref().map(Into::into);
        Self { latitude: row.latitude, longitude: row.longitude, region }
    }
}

impl From<&SerializedReputation> for Reputation {
    fn from(row: &SerializedReputation) -> Self {
        Self {
            successful_retrievals: row.successful_retrievals,
            failed_retrievals: row.failed_retrievals,
            last_seen: row.last_seen.into(),
            avg_response_time_ms: row.avg_response_time_ms,
            location: row.location.as_ref().map(|location| Box::new(location.into())),
            packages_provided: u64::try_from(row.packages_provided).unwrap_or(u64::MAX),
        }
    }
}

/// The change that makes the peer's row exactly this.
impl From<&SerializedPeer> for Change {
    fn from(row: &SerializedPeer) -> Self {
        Self::PeerSet {
            peer: PeerKey::from_text(&row.peer_id),
            last_seen: row.last_seen.into(),
            addresses: row.addresses.iter().map(|text| Address::from_text(text)).collect(),
        }
    }
}

/// The change that makes the peer's reputation exactly this.
impl From<&SerializedReputation> for Change {
    fn from(row: &SerializedReputation) -> Self {
        Self::ReputationSet { peer: PeerKey::from_text(&row.peer_id), reputation: row.into() }
    }
}

/// The change that makes the DHT entry exactly this.
impl From<&SerializedDHTEntry> for Change {
    fn from(row: &SerializedDHTEntry) -> Self {
        Self::DhtPut {
            key: row.key.as_str().into(),
            value: row.value.as_slice().into(),
            at: row.stored_at.into(),
        }
    }
}

/// The change that makes the cached package exactly this.
impl From<&SerializedCacheEntry> for Change {
    fn from(row: &SerializedCacheEntry) -> Self {
        Self::PackageCached {
            id: row.package_id.as_str().into(),
            data: row.package_data.as_slice().into(),
            at: row.cached_at.into(),
        }
    }
}
