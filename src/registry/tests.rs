//! What the registry adds to the rules of the adapters, against a real store.

use libp2p_identity::PeerId;

use super::{
    RegistryLimits, adapters,
    recorder::{Recorder, memory_config},
};
use crate::{P2PStatePersistence, registry::adapters::Fact};

struct World {
    recorder: Recorder,
    store: P2PStatePersistence,
    _dir: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = P2PStatePersistence::open(dir.path().join("p2p-state.json")).unwrap();
        let limits = RegistryLimits::default();
        let config = memory_config(&limits);
        let memory = adapters::Recorder::new(&store, PeerId::random(), config).unwrap();
        let recorder = Recorder::new(memory, store.clone(), &limits);
        Self { recorder, store, _dir: dir }
    }

    fn hear_of(&self, peer: &PeerId) {
        let address = &"/ip4/198.51.100.1/tcp/1".parse().unwrap();
        self.recorder.memory().observe(Fact::Heard { peer, address });
    }

    fn lsn(&self) -> u64 {
        self.store.status().unwrap().last_lsn.get()
    }

    fn provided(&self, peer: &PeerId) -> Option<u64> {
        let view = self.store.view().unwrap();
        Some(view.peer(peer)?.reputation.as_ref()?.packages_provided)
    }
}

#[test]
fn how_many_packages_a_peer_provides_is_written_once_a_minute_and_at_the_end() {
    let mut world = World::new();
    let peer = PeerId::random();
    world.hear_of(&peer);
    world.recorder.provides(&peer, 1);
    world.recorder.write_pending(false);
    assert_eq!(world.provided(&peer), Some(1));
    let lsn = world.lsn();
    for count in 2..500 {
        world.recorder.provides(&peer, count);
        world.recorder.write_pending(false);
    }
    assert_eq!(world.lsn(), lsn, "not again within a minute");
    world.recorder.write_pending(true);
    assert_eq!((world.lsn(), world.provided(&peer)), (lsn + 1, Some(499)));
    world.recorder.provides(&peer, 499);
    world.recorder.write_pending(true);
    assert_eq!(world.lsn(), lsn + 1, "the same again is nothing new");
}

#[test]
fn announcing_makes_nobody_known_and_brings_nobody_back() {
    let mut world = World::new();
    let (stranger, gone) = (PeerId::random(), PeerId::random());
    world.recorder.provides(&stranger, 7);
    world.hear_of(&gone);
    world.recorder.provides(&gone, 7);
    world.store.forget_peer(&gone).unwrap();
    world.recorder.write_pending(true);
    assert_eq!(world.store.status().unwrap().counts.peers, 0);
    assert_eq!(world.store.status().unwrap().counts.reputation, 0);
}

#[test]
fn the_limits_of_the_registry_are_those_of_its_memory() {
    let limits = RegistryLimits {
        peers: 1,
        peers_unverified: 2,
        addresses_unverified: 3,
        addresses_total: 4,
        address_bytes: 5,
        protocols: 6,
        protocol_bytes: 7,
        agent_bytes: 8,
        records_per_minute: 9,
        coalesce_within: std::time::Duration::from_secs(10),
        ..RegistryLimits::default()
    };
    let mut expected = adapters::Config::default();
    (expected.peers, expected.unverified_peers) = (1, 2);
    (expected.addresses_per_unverified_peer, expected.addresses_per_peer) = (3, 4);
    (expected.address_bytes, expected.protocols, expected.protocol_bytes) = (5, 6, 7);
    (expected.agent_bytes, expected.records_per_minute) = (8, 9);
    expected.coalesce_within = limits.coalesce_within;
    assert_eq!(memory_config(&limits), expected);
    let many = RegistryLimits { peers_unverified: 160_000, ..RegistryLimits::default() };
    assert_eq!(memory_config(&many).unverified_per_informant, 10_000);
}
