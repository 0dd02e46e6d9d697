//! The recorder against a real store: what reaches the journal, and what does not.

use std::time::Duration;

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{RegistryLimits, recorder::Recorder};
use crate::{P2PStatePersistence, state::Peer};

struct World {
    recorder: Recorder,
    store: P2PStatePersistence,
    _dir: tempfile::TempDir,
}

impl World {
    fn new(limits: RegistryLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = P2PStatePersistence::open(dir.path().join("p2p-state.json")).unwrap();
        let recorder = Recorder::new(store.clone(), limits, PeerId::random());
        Self { recorder, store, _dir: dir }
    }

    fn lsn(&self) -> u64 {
        self.store.status().unwrap().last_lsn.get()
    }

    fn row(&self, peer: &PeerId) -> Option<Peer> {
        self.store.view().unwrap().peer(peer).and_then(|entry| entry.seen.clone())
    }

    fn addresses(&self, peer: &PeerId) -> Vec<String> {
        let row = self.row(peer).unwrap_or_default();
        row.addresses.iter().map(|address| address.to_string()).collect()
    }

    fn rows(&self) -> usize {
        self.store.status().unwrap().counts.peers
    }
}

fn at(host: u8, port: usize) -> Multiaddr {
    format!("/ip4/198.51.100.{host}/tcp/{port}").parse().unwrap()
}

fn default() -> World {
    World::new(RegistryLimits::default())
}

#[test]
fn a_first_success_is_written_at_once_and_its_repetition_never() {
    let mut world = default();
    let peer = PeerId::random();
    let address = at(1, 1).with_p2p(peer).unwrap();
    world.recorder.dialled(&peer, &address, &[]);
    let row = world.row(&peer).unwrap();
    assert!(row.verified);
    assert_eq!(world.addresses(&peer), [at(1, 1).to_string()], "without the own peer id");
    let lsn = world.lsn();
    for _ in 0..100 {
        world.recorder.dialled(&peer, &address, &[]);
        world.recorder.closed(&peer, 0);
    }
    assert_eq!(world.lsn(), lsn);
    world.recorder.write_pending(false);
    assert_eq!(world.lsn(), lsn + 1, "that it was seen, once");
    world.recorder.closed(&peer, 0);
    world.recorder.write_pending(false);
    assert_eq!(world.lsn(), lsn + 1, "and not again within a minute");
    world.recorder.write_pending(true);
    assert!(world.lsn() <= lsn + 2, "at the end everything is written");
}

#[test]
fn an_inbound_peer_is_seen_without_its_port() {
    let mut world = default();
    let peers: Vec<PeerId> = (0..200).map(|_| PeerId::random()).collect();
    for peer in &peers {
        world.recorder.answered(peer, &at(1, 54_321));
    }
    assert_eq!(world.lsn(), 0);
    world.recorder.write_pending(false);
    assert_eq!((world.lsn(), world.rows()), (1, 200), "one record for all of them");
    let row = world.row(&peers[0]).unwrap();
    assert!(row.addresses.is_empty() && !row.verified);
}

#[test]
fn what_a_peer_says_replaces_what_it_said_and_what_was_proved_stays() {
    let mut world = default();
    let peer = PeerId::random();
    world.recorder.dialled(&peer, &at(1, 1), &[]);
    let listening: Vec<Multiaddr> = (2..200).map(|port| at(1, port)).collect();
    world.recorder.identified(&peer, "agent", &["/b", "/a"], &listening);
    assert_eq!(world.addresses(&peer).len(), 17, "16 claimed and one proved");
    let lsn = world.lsn();
    let mut shuffled = listening[..16].to_vec();
    shuffled.reverse();
    world.recorder.identified(&peer, "agent", &["/a", "/b"], &shuffled);
    assert_eq!(world.lsn(), lsn, "the same in another order is nothing new");
    let private = ["/ip4/10.0.0.1/tcp/1".parse().unwrap(), at(9, 9)];
    world.recorder.identified(&peer, "agent", &["/a", "/b"], &private);
    let mut left = world.addresses(&peer);
    left.sort();
    assert_eq!(left, [at(1, 1).to_string(), at(9, 9).to_string()], "nothing private");
    world.recorder.identified(&peer, "agent", &["/a", "/b"], &[]);
    assert_eq!(world.addresses(&peer).len(), 2, "nothing said takes nothing away");
}

#[test]
fn a_peer_that_tells_something_new_each_time_has_ten_records_a_minute() {
    let mut world = default();
    let peer = PeerId::random();
    for round in 0..1000_usize {
        let listening: Vec<Multiaddr> = (1..30).map(|port| at(1, round * 30 + port)).collect();
        world.recorder.identified(&peer, &format!("agent {round}"), &["/a"], &listening);
    }
    assert_eq!(world.lsn(), 10);
    world.recorder.write_pending(false);
    assert_eq!(world.lsn(), 11, "the last word is not lost");
    let agent = world.store.view().unwrap().peer(&peer).unwrap().profile.clone().unwrap();
    assert_eq!(agent.agent.as_deref(), Some("agent 999"));
    assert_eq!(world.addresses(&peer).len(), 16);
    assert_eq!(world.recorder.counters().coalesced, 990);
}

#[test]
fn dials_that_fail_count_only_while_the_node_is_online() {
    let mut world = default();
    let [heard, spoken, pinned] = [(); 3].map(|()| PeerId::random());
    world.recorder.heard(&heard, [at(1, 1), at(1, 2)].iter());
    world.recorder.dialled(&spoken, &at(2, 1), &[]);
    world.recorder.closed(&spoken, 0);
    world.recorder.pin(pinned);
    world.recorder.heard(&pinned, [at(3, 1)].iter());
    let lsn = world.lsn();
    let fail = |world: &mut World, times| {
        for _ in 0..times {
            world.recorder.dials_failed(&heard, &[at(1, 1).with_p2p(heard).unwrap()]);
            world.recorder.dials_failed(&spoken, &[at(2, 1)]);
            world.recorder.dials_failed(&pinned, &[at(3, 1)]);
        }
    };
    fail(&mut world, 100);
    assert_eq!(world.lsn(), lsn, "offline, every dial fails");
    for _ in 0..2 {
        world.recorder.answered(&PeerId::random(), &at(9, 1));
    }
    fail(&mut world, 2);
    assert_eq!(world.addresses(&heard).len(), 2);
    fail(&mut world, 1);
    assert_eq!(world.addresses(&heard), [at(1, 2).to_string()], "three strikes");
    fail(&mut world, 100);
    assert_eq!(world.addresses(&spoken).len(), 1, "its last address stays");
    assert_eq!(world.addresses(&pinned).len(), 1, "a bootstrap node is for ever");
    assert_eq!(world.lsn(), lsn + 1);
}

#[test]
fn an_address_of_somebody_else_goes_at_once() {
    let mut world = default();
    let peer = PeerId::random();
    world.recorder.heard(&peer, [at(1, 1), at(1, 2)].iter());
    let lsn = world.lsn();
    world.recorder.misplaced(&peer, &at(1, 1).with_p2p(peer).unwrap());
    assert_eq!(world.addresses(&peer), [at(1, 2).to_string()]);
    world.recorder.misplaced(&peer, &at(7, 7));
    assert_eq!(world.lsn(), lsn + 1);
}

#[test]
fn at_the_cap_peers_go_that_nobody_spoke_to_and_never_those_that_matter() {
    let limits = RegistryLimits { peers: 100, peers_unverified: 60, ..RegistryLimits::default() };
    let mut world = World::new(limits);
    let [connected, banned, pinned, spoken] = [(); 4].map(|()| PeerId::random());
    world.recorder.pin(pinned);
    for peer in [&connected, &banned, &pinned] {
        world.recorder.heard(peer, [at(1, 1)].iter());
    }
    world.recorder.dialled(&spoken, &at(2, 2), &[]);
    world.recorder.closed(&spoken, 0);
    world.recorder.answered(&connected, &at(1, 1));
    world.store.ban(&banned, Duration::from_secs(60), "", "").unwrap();
    for round in 0..50 {
        for _ in 0..20 {
            world.recorder.heard(&PeerId::random(), [at(3, 3)].iter());
        }
        world.recorder.write_pending(false);
        assert!(world.rows() <= 61, "round {round}: {}", world.rows());
    }
    for peer in [connected, banned, pinned, spoken] {
        assert!(world.row(&peer).is_some());
    }
    for _ in 0..200 {
        let peer = PeerId::random();
        world.recorder.dialled(&peer, &at(4, 4), &[]);
        world.recorder.closed(&peer, 0);
        world.recorder.write_pending(false);
    }
    assert_eq!(world.rows(), 100);
    for peer in [connected, banned, pinned] {
        assert!(world.row(&peer).is_some());
    }
    assert!(world.recorder.counters().evicted > 900);
}
