//! Whether the fields of a change are within the limits; asked before anything is changed.

use super::{
    Address, AddressRef, Change, GeoLocation, PeerEntry, PeerKey, Reputation, limits as max,
};
use crate::Error;

/// Checks every field that has a limit of its own.
pub(super) fn fields(change: &Change) -> Result<(), Error> {
    if let Some(peer) = change.peer() {
        peer_id(peer)?;
    }
    match change {
        Change::PeerSeen { addresses, .. }
        | Change::AddressesAdded { addresses, .. }
        | Change::AddressesReplaced { addresses, .. }
        | Change::AddressesRemoved { addresses, .. }
        | Change::PeerSet { addresses, .. } => {
            addresses.iter().map(Address::as_ref).try_for_each(address)
        }
        Change::PeerProfiled { agent, protocols, .. } => profile(agent.as_deref(), protocols),
        Change::LocationSet { location, .. } => location.iter().try_for_each(place),
        Change::ReputationSet { reputation: row, .. } => reputation(row),
        Change::DhtPut { key, value, .. } => {
            dht_key(key)?;
            bytes("a DHT value", value.len(), max::VALUE_BYTES_MAX)
        }
        Change::DhtRemoved { key } => dht_key(key),
        Change::PackageCached { id, data, .. } => {
            package_id(id)?;
            bytes("a package", data.len(), max::VALUE_BYTES_MAX)
        }
        Change::PackageDropped { id } => package_id(id),
        Change::BootstrapAdded { node } | Change::BootstrapRemoved { node } => bootstrap(node),
        Change::BootstrapReplaced { nodes } => nodes.iter().try_for_each(|node| bootstrap(node)),
        Change::Banned { reason, source, .. } => {
            bytes("the reason of a ban", reason.len(), max::REASON_BYTES_MAX)?;
            bytes("the source of a ban", source.len(), max::SOURCE_BYTES_MAX)
        }
        Change::PeerVerified { .. }
        | Change::PeerForgotten { .. }
        | Change::Evicted { .. }
        | Change::PeerRemoved { .. }
        | Change::RetrievalSucceeded { .. }
        | Change::RetrievalFailed { .. }
        | Change::PackagesProvided { .. }
        | Change::ReputationRemoved { .. }
        | Change::Unbanned { .. }
        | Change::Expired { .. } => Ok(()),
    }
}

/// Checks the fields of a whole entry, but for its profile.
pub(super) fn entry(peer: &PeerKey, entry: &PeerEntry) -> Result<(), Error> {
    peer_id(peer)?;
    if let Some(seen) = &entry.seen {
        seen.addresses.iter().try_for_each(address)?;
    }
    entry.reputation.iter().try_for_each(reputation)
}

/// Checks the fields of a reputation.
pub(super) fn reputation(reputation: &Reputation) -> Result<(), Error> {
    reputation.location.iter().try_for_each(|location| place(location))
}

/// The error of one row more than a limit allows; `limit` is the field of
/// [`Limits`](super::Limits).
pub(super) fn full(what: &str, limit: &str, value: u64) -> Error {
    Error::limit(format!("no room for more {what}: the limit `{limit}` is {value}"))
        .next(format!("forget some, or raise `Limits::{limit}`"))
}

fn peer_id(peer: &PeerKey) -> Result<(), Error> {
    bytes("a peer id", peer.text_len(), max::PEER_ID_BYTES_MAX)
}

fn address(address: AddressRef<'_>) -> Result<(), Error> {
    if address.is_longer_than(max::ADDRESS_BYTES_MAX) {
        return bytes("an address", address.text_len(), max::ADDRESS_BYTES_MAX);
    }
    Ok(())
}

fn profile(agent: Option<&str>, protocols: &[Box<str>]) -> Result<(), Error> {
    bytes("an agent version", agent.map_or(0, str::len), max::AGENT_BYTES_MAX)?;
    if protocols.len() > max::PROTOCOLS_MAX {
        let (count, most) = (protocols.len(), max::PROTOCOLS_MAX);
        return Err(Error::limit(format!("a peer with {count} protocols; the limit is {most}"))
            .next("leave some out"));
    }
    protocols
        .iter()
        .try_for_each(|name| bytes("a protocol name", name.len(), max::PROTOCOL_BYTES_MAX))
}

fn place(location: &GeoLocation) -> Result<(), Error> {
    degrees("latitude", location.latitude, 90.0)?;
    degrees("longitude", location.longitude, 180.0)?;
    let region = location.region.as_deref().map_or(0, str::len);
    bytes("the name of a region", region, max::REGION_BYTES_MAX)
}

fn dht_key(key: &str) -> Result<(), Error> {
    bytes("a DHT key", key.len(), max::KEY_BYTES_MAX)
}

fn package_id(id: &str) -> Result<(), Error> {
    bytes("a package id", id.len(), max::KEY_BYTES_MAX)
}

fn bootstrap(node: &str) -> Result<(), Error> {
    bytes("a bootstrap node", node.len(), max::ADDRESS_BYTES_MAX)
}

fn bytes(what: &str, len: usize, most: usize) -> Result<(), Error> {
    if len <= most {
        return Ok(());
    }
    Err(Error::limit(format!("{what} of {len} bytes; the limit is {most}")).next("shorten it"))
}

/// Also refuses what is not a number.
fn degrees(what: &str, value: f64, most: f64) -> Result<(), Error> {
    if (-most..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("a {what} of {value} degrees"))
        .next(format!("give one from -{most} to {most}")))
}
