//! Whom to dial after a start: a mix of the best remembered peers, spread over networks.
//!
//! Reconnecting only to the best remembered peers would let whoever filled the memory choose the
//! neighbours (an eclipse). So networks take turns in random order, some places go to peers that we
//! only heard of, and the bootstrap nodes are dialled in between.

use std::collections::{BTreeMap, VecDeque};

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{
    RegistryLimits,
    addresses::{Network, network},
    score::{last_seen, score},
};
use crate::state::{AddressRef, State, Time};

/// Of so many dials one goes to a peer that we only heard of.
const HEARD_EVERY: usize = 4;
/// Addresses of one peer that are dialled, newest first.
const ADDRESSES_MAX: usize = 8;

/// A remembered peer and where to dial it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) peer: PeerId,
    pub(super) addresses: Vec<Multiaddr>,
    /// False if we only heard of it.
    pub(super) verified: bool,
}

/// Up to `limits.redials` peers in the order to dial them; `dice` chooses among networks. Peers for
/// which `skip` holds, banned ones, and those without an address are left out.
pub(super) fn candidates(
    state: &State,
    limits: &RegistryLimits,
    now: Time,
    dice: u64,
    skip: impl Fn(&PeerId) -> bool,
) -> Vec<Candidate> {
    let mut verified: BTreeMap<u64, Group> = BTreeMap::new();
    let mut heard: BTreeMap<u64, Group> = BTreeMap::new();
    for (key, entry) in state.peers() {
        let Some(seen) = entry.seen.as_ref() else { continue };
        let Some(peer) = key.to_peer_id().filter(|peer| !skip(peer)) else { continue };
        if state.ban(key).is_some_and(|ban| ban.is_active(now)) {
            continue;
        }
        let mut addresses: Vec<Multiaddr> =
            seen.addresses.iter().filter_map(AddressRef::to_multiaddr).collect();
        addresses.reverse();
        addresses.truncate(ADDRESSES_MAX);
        let Some(first) = addresses.first() else { continue };
        let place = shuffled(&network(first), dice);
        let reputation = entry.reputation.clone().unwrap_or_default();
        let rank = score(&reputation, last_seen(entry), now, None);
        let candidate = Candidate { peer, addresses, verified: seen.verified };
        let groups = if seen.verified { &mut verified } else { &mut heard };
        groups.entry(place).or_default().push((rank, candidate));
    }
    let mut verified = in_turns(verified, limits.redials_per_network);
    let mut heard = in_turns(heard, limits.redials_per_network);
    let mut chosen = Vec::new();
    while chosen.len() < limits.redials {
        let heard_next = chosen.len() % HEARD_EVERY == HEARD_EVERY - 1;
        let next = if heard_next {
            heard.pop_front().or_else(|| verified.pop_front())
        } else {
            verified.pop_front().or_else(|| heard.pop_front())
        };
        match next {
            Some(candidate) => chosen.push(candidate),
            None => break,
        }
    }
    chosen
}

type Group = Vec<(f64, Candidate)>;

/// The best of each network, then the second of each, and so on.
fn in_turns(groups: BTreeMap<u64, Group>, most: usize) -> VecDeque<Candidate> {
    let mut groups: Vec<_> = groups
        .into_values()
        .map(|mut group| {
            group.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.peer.cmp(&b.1.peer)));
            group.truncate(most);
            group.into_iter().map(|(_, candidate)| candidate)
        })
        .collect();
    let mut turns = VecDeque::new();
    for _ in 0..most {
        turns.extend(groups.iter_mut().filter_map(Iterator::next));
    }
    turns
}

/// A number that depends on the network and on the dice, and shows no order of networks.
fn shuffled(network: &Network, dice: u64) -> u64 {
    let mut hash = dice ^ 0xcbf2_9ce4_8422_2325;
    let mut feed = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    match network {
        Network::Ip4(parts) => parts.iter().copied().for_each(&mut feed),
        Network::Ip6(parts) => parts.iter().flat_map(|part| part.to_le_bytes()).for_each(&mut feed),
        Network::Name(name) => name.bytes().for_each(&mut feed),
        Network::Other => feed(1),
    }
    // The last bytes fed have not spread yet.
    hash ^= hash >> 31;
    hash = hash.wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 29
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::state::{Address, Change, Limits};

    struct World(State);

    impl World {
        fn peer(&mut self, address: &str, verified: bool, successes: u64) -> PeerId {
            let peer = PeerId::random();
            let addresses = vec![Address::from_text(address)];
            let mut changes = vec![
                Change::PeerSeen { peer: peer.into(), at: Time::EPOCH, addresses },
                Change::PeerVerified { peer: peer.into(), verified },
                Change::RetrievalFailed { peer: peer.into(), at: Time::EPOCH },
            ];
            for _ in 0..successes {
                let at = Time::EPOCH;
                changes.push(Change::RetrievalSucceeded { peer: peer.into(), at, response_ms: 1 });
            }
            for change in changes {
                self.0.apply(&change).unwrap();
            }
            peer
        }

        fn chosen(&self, limits: &RegistryLimits, dice: u64) -> Vec<PeerId> {
            let now = chrono::Utc::now().into();
            let chosen = candidates(&self.0, limits, now, dice, |_| false);
            chosen.into_iter().map(|candidate| candidate.peer).collect()
        }
    }

    fn world() -> World {
        World(State::new(Limits::default()))
    }

    #[test]
    fn the_best_of_each_network_come_first_and_one_network_never_fills_the_list() {
        let mut world = world();
        let best: HashSet<_> = (0..4_u8)
            .map(|net| world.peer(&format!("/ip4/192.{net}.2.1/tcp/1"), true, 9))
            .collect();
        for n in 0..100_u8 {
            world.peer(&format!("/ip4/198.51.100.{n}/tcp/1"), true, 1);
        }
        let limits = RegistryLimits::default();
        let chosen = world.chosen(&limits, 7);
        assert_eq!(chosen.len(), 4 + limits.redials_per_network);
        let early: HashSet<_> = chosen[..5].iter().copied().collect();
        assert!(early.is_superset(&best), "each network has its turn");
    }

    #[test]
    fn every_fourth_place_goes_to_a_peer_that_was_only_heard_of() {
        let mut world = world();
        let mut verified = HashSet::new();
        for net in 0..40_u8 {
            verified.insert(world.peer(&format!("/ip4/10.{net}.0.1/tcp/1"), true, 1));
            world.peer(&format!("/ip4/11.{net}.0.1/tcp/1"), false, 0);
        }
        let chosen = world.chosen(&RegistryLimits::default(), 7);
        assert_eq!(chosen.len(), 32);
        for (at, peer) in chosen.iter().enumerate() {
            assert_eq!(verified.contains(peer), at % 4 != 3, "place {at}");
        }
        assert_ne!(chosen, world.chosen(&RegistryLimits::default(), 8), "the dice matter");
    }

    #[test]
    fn banned_peers_and_those_without_an_address_are_left_out() {
        let mut world = world();
        let banned = world.peer("/ip4/10.0.0.1/tcp/1", true, 1);
        world.peer("not an address", true, 1);
        let good = world.peer("/dns/example.org/tcp/1", true, 1);
        let until = (chrono::Utc::now() + chrono::TimeDelta::hours(1)).into();
        let (reason, source) = ("".into(), "".into());
        let peer = banned.into();
        let ban = Change::Banned { peer, at: Time::EPOCH, until, reason, source };
        world.0.apply(&ban).unwrap();
        assert_eq!(world.chosen(&RegistryLimits::default(), 7), [good]);
    }
}
