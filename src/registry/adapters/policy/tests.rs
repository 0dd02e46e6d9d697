//! The rules, without a swarm.

use super::*;
use crate::{
    registry::adapters::Config,
    state::{Effect, Limits},
};

struct World {
    policy: Policy,
    state: State,
    records: usize,
    clock: i64,
}

impl World {
    fn new(config: Config) -> Self {
        let policy = Policy::new(PeerId::random(), config);
        Self { policy, state: State::new(Limits::default()), records: 0, clock: 0 }
    }

    fn now(&self) -> Time {
        chrono::DateTime::from_timestamp(1_800_000_000 + self.clock, 0).unwrap().into()
    }

    fn tell(&mut self, fact: Fact<'_>) {
        let changes = self.policy.observe(fact, self.now());
        self.apply(changes);
    }

    fn wait(&mut self, seconds: i64) {
        self.clock += seconds;
        let changes = self.policy.due(self.now());
        self.apply(changes);
    }

    /// As a store does: what changes nothing is no record.
    fn apply(&mut self, changes: Vec<Change>) {
        let mut is_record = false;
        for change in changes {
            is_record |= self.state.apply(&change).unwrap() == Effect::Changed;
        }
        self.records += usize::from(is_record);
    }

    fn journaled(&self, peer: &PeerId) -> Vec<String> {
        let row = self.state.peer(&peer.into()).and_then(|entry| entry.seen.clone());
        let row = row.unwrap_or_default();
        row.addresses.iter().map(|address| address.to_string()).collect()
    }

    fn in_memory(&self, peer: &PeerId) -> Vec<String> {
        let known = self.policy.addresses(peer);
        known.into_iter().flatten().map(ToString::to_string).collect()
    }
}

fn address(port: u16) -> Multiaddr {
    format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
}

#[test]
fn one_endpoint_is_one_address_with_and_without_its_suffix() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    let suffixed = address(1).with_p2p(peer).unwrap();
    world.tell(Fact::Heard { peer: &peer, address: &address(1) });
    world.tell(Fact::Heard { peer: &peer, address: &suffixed });
    world.tell(Fact::Dialled { peer: &peer, address: &suffixed });
    assert_eq!(world.journaled(&peer), [address(1).to_string()]);
    world.tell(Fact::SomebodyElse { peer: &peer, address: &suffixed });
    assert!(world.journaled(&peer).is_empty(), "the suffix does not hide it from removal");
}

#[test]
fn a_failure_counts_only_while_others_are_connected_and_only_the_third_removes() {
    let mut world = World::new(Config::default());
    let (peer, others) = (PeerId::random(), [PeerId::random(), PeerId::random()]);
    world.tell(Fact::Heard { peer: &peer, address: &address(1) });
    for _ in 0..100 {
        world.tell(Fact::Unreachable { peer: &peer, address: &address(1) });
    }
    assert_eq!(world.in_memory(&peer).len(), 1, "an offline node forgets nobody");
    others.iter().for_each(|peer| world.tell(Fact::Accepted { peer }));
    world.tell(Fact::Unreachable { peer: &peer, address: &address(1) });
    world.tell(Fact::Unreachable { peer: &peer, address: &address(1) });
    assert_eq!(world.journaled(&peer).len(), 1);
    world.tell(Fact::Unreachable { peer: &peer, address: &address(1) });
    assert!(world.journaled(&peer).is_empty());
}

#[test]
fn a_proven_address_outlives_many_failures() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    for other in [PeerId::random(), PeerId::random()] {
        world.tell(Fact::Accepted { peer: &other });
    }
    world.tell(Fact::Dialled { peer: &peer, address: &address(1) });
    world.tell(Fact::Closed { peer: &peer });
    for _ in 0..50 {
        world.tell(Fact::Unreachable { peer: &peer, address: &address(1) });
    }
    assert_eq!(world.in_memory(&peer).len(), 1);
    world.clock += 8 * 24 * 3600;
    world.tell(Fact::Unreachable { peer: &peer, address: &address(1) });
    assert!(world.in_memory(&peer).is_empty(), "not for ever");
}

#[test]
fn floods_of_addresses_and_reconnects_stay_within_the_limits() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    for port in 1..10_000 {
        world.tell(Fact::Heard { peer: &peer, address: &address(port) });
    }
    assert_eq!(world.in_memory(&peer).len(), 16);
    assert!(world.records <= 10, "records={}", world.records);
    let before = world.records;
    for _ in 0..200 {
        world.tell(Fact::Accepted { peer: &peer });
        world.tell(Fact::Closed { peer: &peer });
    }
    world.wait(30);
    assert!(world.records <= before + 1);
    world.wait(60);
    assert_eq!(world.journaled(&peer).len(), 16, "what waited is written, once");
    assert!(world.records <= before + 3, "records={}", world.records);
}

#[test]
fn soft_facts_are_written_once_a_minute() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    world.tell(Fact::Dialled { peer: &peer, address: &address(1) });
    assert_eq!(world.records, 1);
    for _ in 0..600 {
        world.clock += 1;
        world.tell(Fact::Alive { peer: &peer });
    }
    assert_eq!(world.records, 11);
}

#[test]
fn identify_replaces_what_it_said_and_keeps_what_was_proven() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    let says = |world: &mut World, addresses: &[Multiaddr], agent: &str| {
        let protocols = &["/b", "/a"];
        world.tell(Fact::Identified { peer: &peer, addresses, agent, protocols });
    };
    world.tell(Fact::Dialled { peer: &peer, address: &address(1) });
    says(&mut world, &[address(2), address(3)], "one");
    says(&mut world, &[address(4)], "one");
    assert_eq!(world.journaled(&peer), [address(1), address(4)].map(|a| a.to_string()));
    let before = world.records;
    says(&mut world, &[address(4)], "one");
    assert_eq!(world.records, before, "nothing new, nothing written");
    says(&mut world, &[address(4)], &"\u{e9}\u{1b}[2J".repeat(200_000));
    let entry = world.state.peer(&PeerKey::from(&peer)).unwrap();
    let profile = entry.profile.clone().unwrap();
    assert!(profile.agent.as_ref().unwrap().len() <= 256);
    assert_eq!(profile.protocols.len(), 2);
    let crowd: Vec<_> = (100..10_000).map(address).collect();
    says(&mut world, &crowd, "one");
    assert_eq!(world.in_memory(&peer).len(), 32);
    assert_eq!(world.in_memory(&peer).first(), Some(&address(1).to_string()), "proof comes first");
}

#[test]
fn hearsay_makes_room_for_hearsay_and_never_evicts_the_proven_or_the_connected() {
    let mut config = Config::default();
    (config.peers, config.unverified_peers) = (100, 50);
    let mut world = World::new(config);
    let proven: Vec<PeerId> = (0..60).map(|_| PeerId::random()).collect();
    for peer in &proven {
        world.tell(Fact::Dialled { peer, address: &address(1) });
        world.tell(Fact::Closed { peer });
    }
    let guest = PeerId::random();
    world.tell(Fact::Accepted { peer: &guest });
    for _ in 0..2_000 {
        let peer = PeerId::random();
        world.tell(Fact::Heard { peer: &peer, address: &address(2) });
    }
    world.wait(3600);
    world.wait(3600);
    assert!(world.policy.len() <= 100);
    assert_eq!(world.state.counts().peers, world.policy.len(), "evictions are journaled");
    assert!(proven.iter().all(|peer| world.policy.addresses(peer).is_some()));
    assert!(world.policy.addresses(&guest).is_some());
    assert!(world.policy.counters.peers_evicted > 1_900);
}

#[test]
fn what_a_full_journal_refused_is_written_later() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    let now = world.now();
    let (gone, dialled) = (address(1), address(2));
    world.tell(Fact::Heard { peer: &peer, address: &gone });
    let mut refused = world.policy.observe(Fact::SomebodyElse { peer: &peer, address: &gone }, now);
    refused.extend(world.policy.observe(Fact::Dialled { peer: &peer, address: &dialled }, now));
    assert!(refused.len() >= 3, "{refused:?}");
    world.policy.refused(&refused);
    world.wait(1);
    assert_eq!(world.journaled(&peer), [dialled.to_string()]);
    assert!(world.state.peer(&PeerKey::from(&peer)).unwrap().seen.as_ref().unwrap().verified);
}

#[test]
fn a_restored_policy_knows_the_best_and_mends_old_names() {
    let mut state = State::new(Limits::default());
    let peers: Vec<PeerId> = (0..20).map(|_| PeerId::random()).collect();
    let mut world = World::new(Config::default());
    for peer in &peers {
        let addresses = vec![address(1).with_p2p(*peer).unwrap().into(), address(1).into()];
        let change = Change::PeerSeen { peer: peer.into(), at: world.now(), addresses };
        state.apply(&change).unwrap();
    }
    state.apply(&Change::PeerVerified { peer: peers[0].into(), verified: true }).unwrap();
    let mut config = Config::default();
    (config.peers, config.unverified_peers) = (10, 5);
    world.policy = Policy::restored(PeerId::random(), config, &state);
    world.state = state;
    assert_eq!(world.policy.len(), 6);
    assert_eq!(world.in_memory(&peers[0]), [address(1).to_string()]);
    world.wait(120);
    assert_eq!(world.journaled(&peers[0]), [address(1).to_string()], "one endpoint, one name");
    assert_eq!(world.state.counts().peers, 20, "what is beyond the limits stays in the store");
}
