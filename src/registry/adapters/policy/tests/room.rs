//! Who and what gets a place.

use super::*;

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
    world.accept(&guest, &address(9));
    for _ in 0..2_000 {
        let peer = PeerId::random();
        world.tell(Fact::Heard { peer: &peer, address: &address(2) });
    }
    world.wait(3600);
    world.wait(3600);
    assert!(world.policy.len() <= 100);
    assert!(world.is_settled(), "evictions are journaled");
    assert!(proven.iter().all(|peer| world.policy.addresses(peer).is_some()));
    assert!(world.policy.addresses(&guest).is_some());
    assert!(world.policy.counters.peers_evicted > 1_900);
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
    world.policy = Policy::restored(PeerId::random(), config, &state, world.now());
    world.state = state;
    assert_eq!(world.policy.len(), 6);
    assert_eq!(world.in_memory(&peers[0]), [address(1).to_string()]);
    world.wait(120);
    assert_eq!(world.journaled(&peers[0]), [address(1).to_string()], "one endpoint, one name");
    assert_eq!(world.state.counts().peers, 20, "what is beyond the limits stays in the store");
}

#[test]
fn one_informant_and_one_network_fill_only_their_share() {
    let mut config = Config::default();
    (config.unverified_peers, config.unverified_per_informant) = (50, 10);
    let mut world = World::new(config);
    let (liar, honest) = (PeerId::random(), peers::<5>());
    for (number, peer) in (0..).zip(&honest) {
        world.tell(Fact::Told { peer, address: &elsewhere(number), by: &PeerId::random() });
    }
    for number in 100..1000 {
        world.clock += 1;
        let (one, two) = (PeerId::random(), PeerId::random());
        world.tell(Fact::Told { peer: &one, address: &elsewhere(number), by: &liar });
        // Whoever reconnects with ever new keys, or tells it in ways that hide who did.
        world.accept(&two, &address(number));
        world.tell(Fact::Closed { peer: &two });
        world.hear(&PeerId::random(), &address(number));
        assert!(world.policy.len() <= 25, "{}", world.policy.len());
    }
    assert!(honest.iter().all(|peer| world.policy.knows(peer)));
    // A peer that turns out to be there takes nobody's place.
    let found = PeerId::random();
    world.tell(Fact::Told { peer: &found, address: &elsewhere(7), by: &liar });
    world.reach(&found, &elsewhere(7));
    for number in 100..200 {
        let peer = PeerId::random();
        world.tell(Fact::Told { peer: &peer, address: &elsewhere(number), by: &liar });
    }
    assert_eq!(world.policy.len(), 26);
    assert!(world.policy.knows(&found));
    world.wait(3600);
    world.wait(60);
    assert!(world.is_settled(), "each eviction is journaled");
}

#[test]
fn at_the_cap_the_lowest_score_goes_and_never_the_pinned_banned_or_connected() {
    let mut config = Config::default();
    (config.peers, config.unverified_peers) = (100, 60);
    let mut world = World::new(config);
    let [connected, banned, pinned, good] = peers();
    world.policy.pin(pinned);
    for peer in [&connected, &banned, &pinned, &good] {
        world.reach(peer, &address(1));
    }
    world.accept(&connected, &address(1));
    let at = world.now();
    let until = (at.get() + chrono::TimeDelta::days(9)).into();
    let (reason, source) = ("".into(), "".into());
    let mut changes = vec![Change::Banned { peer: banned.into(), at, until, reason, source }];
    for peer in [&connected, &banned, &pinned] {
        changes.extend((0..9).map(|_| Change::RetrievalFailed { peer: peer.into(), at }));
    }
    let peer = PeerKey::from(&good);
    changes.push(Change::PackagesProvided { peer, count: 10 });
    world.apply(changes);
    let mut bad = Vec::new();
    for round in 0..300 {
        let peer = PeerId::random();
        world.reach(&peer, &address(2));
        if round < 90 {
            world.apply(vec![Change::RetrievalFailed { peer: (&peer).into(), at }]);
            bad.push(peer);
        }
        world.wait(1);
        assert!(world.policy.len() <= 100 && world.state.counts().peers <= 100);
    }
    for peer in [connected, banned, pinned, good] {
        assert!(world.row(&peer).is_some());
    }
    assert!(bad.iter().all(|peer| world.row(peer).is_none()));
    let heard = PeerId::random();
    world.hear(&heard, &address(3));
    assert!(!world.policy.knows(&heard), "hearsay takes no place of one that was reached");
    assert!(world.is_settled());
}

#[test]
fn a_full_list_takes_what_just_worked_for_what_worked_longest_ago() {
    let mut world = World::new(Config { addresses_per_peer: 3, ..Config::default() });
    let peer = PeerId::random();
    for port in 1..=4 {
        world.clock += 60;
        world.reach(&peer, &address(port));
    }
    assert_eq!(world.journaled(&peer), [2, 3, 4].map(|port| address(port).to_string()));
    world.hear(&peer, &address(5));
    assert_eq!(world.in_memory(&peer).len(), 3);
    assert_eq!(world.policy.counters.addresses_refused, 1);
}

#[test]
fn an_eviction_that_the_journal_refused_is_journaled_later_or_not_needed_any_more() {
    let mut config = Config::default();
    (config.peers, config.unverified_peers) = (2, 2);
    let mut world = World::new(config);
    let [a, b, c] = peers();
    for peer in [&a, &b] {
        world.clock += 1;
        world.hear(peer, &address(1));
    }
    let fact = Fact::Heard { peer: &c, address: &address(1) };
    let refused = world.policy.observe(fact, world.now(), &world.state);
    assert!(matches!(refused.first(), Some(Change::Evicted { .. })), "{refused:?}");
    world.policy.refused(&refused);
    // It comes back before its eviction was written, and somebody else goes.
    world.clock += 1;
    world.hear(&a, &address(2));
    world.wait(60);
    assert!(world.is_settled());
    assert_eq!(world.journaled(&a).len(), 2);
    assert!(world.row(&b).is_none() && world.row(&c).is_some());
}
