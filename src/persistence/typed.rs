//! Typed helpers: one call for each fact, ids and addresses checked by their types, times from the
//! store's clock.

use std::time::Duration;

use chrono::TimeDelta;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{Ack, P2PStatePersistence};
use crate::{
    Error,
    state::{Address, Change, GeoLocation, PeerKey, Time},
};

/// Every helper appends one [`Change`] and has the errors of
/// [`append`](P2PStatePersistence::append).
impl P2PStatePersistence {
    /// The peer was seen now, with these addresses; they join the known ones.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn peer_seen(&self, peer: &PeerId, addresses: &[Multiaddr]) -> Result<Ack, Error> {
        let (peer, at) = (peer.into(), self.now());
        self.append(Change::PeerSeen { peer, at, addresses: known(addresses) })
    }

    /// The peer has these addresses too. It does not count as seen.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn addresses_added(&self, peer: &PeerId, addresses: &[Multiaddr]) -> Result<Ack, Error> {
        self.append(Change::AddressesAdded { peer: peer.into(), addresses: known(addresses) })
    }

    /// The peer has these addresses and no others.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn addresses_replaced(&self, peer: &PeerId, addresses: &[Multiaddr]) -> Result<Ack, Error> {
        self.append(Change::AddressesReplaced { peer: peer.into(), addresses: known(addresses) })
    }

    /// The peer does not have these addresses any more.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn addresses_removed(&self, peer: &PeerId, addresses: &[Multiaddr]) -> Result<Ack, Error> {
        self.append(Change::AddressesRemoved { peer: peer.into(), addresses: known(addresses) })
    }

    /// What the peer told about itself; replaces what it told before.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn peer_profiled<P: AsRef<str>>(
        &self,
        peer: &PeerId,
        agent: Option<&str>,
        protocols: &[P],
    ) -> Result<Ack, Error> {
        let protocols = protocols.iter().map(|protocol| protocol.as_ref().into()).collect();
        self.append(Change::PeerProfiled {
            peer: peer.into(),
            agent: agent.map(Into::into),
            protocols,
        })
    }

    /// We spoke to the peer (`true`), or only heard of it (`false`).
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn peer_verified(&self, peer: &PeerId, verified: bool) -> Result<Ack, Error> {
        self.append(Change::PeerVerified { peer: peer.into(), verified })
    }

    /// Forgets everything about the peer but a ban.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn forget_peer(&self, peer: &PeerId) -> Result<Ack, Error> {
        self.append(Change::PeerForgotten { peer: peer.into() })
    }

    /// Forgets the peer to make room; a ban stays.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn evict_peer(&self, peer: &PeerId) -> Result<Ack, Error> {
        self.append(Change::Evicted { peer: peer.into() })
    }

    /// The peer answered a retrieval now, after `response` (counted in whole milliseconds).
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn retrieval_succeeded(&self, peer: &PeerId, response: Duration) -> Result<Ack, Error> {
        let response_ms = u64::try_from(response.as_millis()).unwrap_or(u64::MAX);
        let (peer, at) = (peer.into(), self.now());
        self.append(Change::RetrievalSucceeded { peer, at, response_ms })
    }

    /// A retrieval from the peer failed now.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn retrieval_failed(&self, peer: &PeerId) -> Result<Ack, Error> {
        self.append(Change::RetrievalFailed { peer: peer.into(), at: self.now() })
    }

    /// The peer provides this many packages.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn packages_provided(&self, peer: &PeerId, count: u64) -> Result<Ack, Error> {
        self.append(Change::PackagesProvided { peer: peer.into(), count })
    }

    /// Where the peer says it is, in degrees; `None` takes it back.
    ///
    /// # Errors
    /// As for [`append`](Self::append); `Invalid` for degrees outside the globe.
    pub fn set_location(&self, peer: &PeerId, location: Option<GeoLocation>) -> Result<Ack, Error> {
        self.append(Change::LocationSet { peer: peer.into(), location })
    }

    /// Bans the peer for `duration` from now. The journal is synced at once, whether or not the ack
    /// is awaited; await it before you tell anybody.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn ban(
        &self,
        peer: &PeerId,
        duration: Duration,
        reason: &str,
        source: &str,
    ) -> Result<Ack, Error> {
        let now = (self.shared().options.clock)();
        let until = TimeDelta::from_std(duration)
            .ok()
            .and_then(|duration| now.checked_add_signed(duration))
            .unwrap_or(chrono::DateTime::<chrono::Utc>::MAX_UTC);
        self.append(Change::Banned {
            peer: PeerKey::from(peer),
            at: now.into(),
            until: until.into(),
            reason: reason.into(),
            source: source.into(),
        })
    }

    /// Lifts a ban.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn unban(&self, peer: &PeerId) -> Result<Ack, Error> {
        self.append(Change::Unbanned { peer: peer.into() })
    }

    /// Remembers a DHT entry, stored now.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn dht_put(&self, key: &str, value: &[u8]) -> Result<Ack, Error> {
        self.append(Change::DhtPut { key: key.into(), value: value.into(), at: self.now() })
    }

    /// Forgets a DHT entry.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn dht_remove(&self, key: &str) -> Result<Ack, Error> {
        self.append(Change::DhtRemoved { key: key.into() })
    }

    /// Caches a package now. The entry is dropped at a save or load more than 5 minutes later.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn package_cached(&self, id: &str, data: &[u8]) -> Result<Ack, Error> {
        self.append(Change::PackageCached { id: id.into(), data: data.into(), at: self.now() })
    }

    /// Drops a package from the cache.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn package_dropped(&self, id: &str) -> Result<Ack, Error> {
        self.append(Change::PackageDropped { id: id.into() })
    }

    /// Adds a bootstrap node, behind the others.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn bootstrap_added(&self, node: &Multiaddr) -> Result<Ack, Error> {
        self.append(Change::BootstrapAdded { node: node.to_string().into() })
    }

    /// Removes a bootstrap node.
    ///
    /// # Errors
    /// As for [`append`](Self::append).
    pub fn bootstrap_removed(&self, node: &Multiaddr) -> Result<Ack, Error> {
        self.append(Change::BootstrapRemoved { node: node.to_string().into() })
    }

    /// Now, to the millisecond: all that the facts need, and shorter in the journal.
    pub(crate) fn now(&self) -> Time {
        let now = (self.shared().options.clock)();
        let whole = chrono::DateTime::from_timestamp_millis(now.timestamp_millis());
        whole.unwrap_or(now).into()
    }
}

fn known(addresses: &[Multiaddr]) -> Vec<Address> {
    addresses.iter().map(Address::from).collect()
}
