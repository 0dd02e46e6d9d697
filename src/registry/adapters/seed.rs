//! Whom to ask first after a restart: remembered peers, the proven ones first, over many networks.

use std::collections::{HashMap, VecDeque};

use chrono::{DateTime, Utc};
use libp2p::{
    Multiaddr, PeerId,
    kad::{self, store::RecordStore},
};

use crate::{
    View,
    registry::addresses::{network, normal_address},
    state::PeerEntry,
};

/// Addresses given for one peer.
const ADDRESSES_MAX: usize = 8;
const ADDRESS_BYTES_MAX: usize = 256;

/// At most `most` remembered peers to dial, each with up to eight addresses: peers that we reached
/// before those that we only heard of, those seen last first, in turn from every network (/16 of
/// IPv4, /48 of IPv6, domain), so that the owner of one network cannot fill the list. Banned peers
/// and peers without an address are left out.
///
/// Mix them with bootstrap nodes of your own choice: a node that only asks whom it knows stays in
/// the company it was in.
#[must_use]
pub fn bootstrap_candidates(
    view: &View,
    most: usize,
    now: DateTime<Utc>,
) -> Vec<(PeerId, Vec<Multiaddr>)> {
    let mut peers: Vec<_> = view
        .state()
        .peers()
        .filter_map(|(key, entry)| Some((key.to_peer_id()?, entry)))
        .filter(|(peer, _)| view.ban(peer, now).is_none())
        .filter_map(|(peer, entry)| {
            let addresses = addresses(&peer, entry);
            let network = network(addresses.first()?);
            let row = entry.seen.as_ref()?;
            Some(((row.verified, row.last_seen), network, (peer, addresses)))
        })
        .collect();
    peers.sort_by(|(a, ..), (b, ..)| b.cmp(a));
    let mut order = Vec::new();
    let mut queues: HashMap<_, VecDeque<_>> = HashMap::new();
    // What was proven is a class of its own: no hearsay comes before it, from whatever network.
    for ((verified, _), network, candidate) in peers {
        let name = (verified, network);
        let queue = queues.entry(name.clone()).or_default();
        if queue.is_empty() {
            order.push(name);
        }
        queue.push_back(candidate);
    }
    let mut chosen = Vec::new();
    for class in [true, false] {
        let mut turns: VecDeque<_> =
            order.iter().filter(|(verified, _)| *verified == class).collect();
        while let Some(name) = turns.pop_front().filter(|_| chosen.len() < most) {
            if let Some(candidate) = queues.get_mut(name).and_then(VecDeque::pop_front) {
                chosen.push(candidate);
                turns.push_back(name);
            }
        }
    }
    chosen
}

/// Gives kademlia at most `most` remembered peers, chosen as by [`bootstrap_candidates`]; returns
/// how many its routing table was given. Follow it with `kad.bootstrap()`.
pub fn seed_kad<S>(
    view: &View,
    kad: &mut kad::Behaviour<S>,
    most: usize,
    now: DateTime<Utc>,
) -> usize
where
    S: RecordStore + Send + 'static,
{
    let mut given = 0;
    for (peer, addresses) in bootstrap_candidates(view, most, now) {
        let mut is_in = false;
        for address in addresses {
            is_in |= kad.add_address(&peer, address) != kad::RoutingUpdate::Failed;
        }
        given += usize::from(is_in);
    }
    given
}

fn addresses(peer: &PeerId, entry: &PeerEntry) -> Vec<Multiaddr> {
    let Some(row) = &entry.seen else { return Vec::new() };
    let mut addresses = Vec::new();
    for address in row.addresses.iter().filter_map(|address| address.to_multiaddr()) {
        let normal = normal_address(peer, &address, ADDRESS_BYTES_MAX);
        addresses.extend(normal.filter(|normal| !addresses.contains(normal)));
        if addresses.len() >= ADDRESSES_MAX {
            break;
        }
    }
    addresses
}
