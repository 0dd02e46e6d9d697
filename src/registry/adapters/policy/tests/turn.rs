//! What is written when.

use super::*;

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
        world.accept(&peer, &address(1));
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
fn what_a_full_journal_refused_is_written_later() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    let now = world.now();
    let (gone, dialled) = (address(1), address(2));
    world.tell(Fact::Heard { peer: &peer, address: &gone });
    for fact in [
        Fact::SomebodyElse { peer: &peer, address: &gone },
        Fact::Dialled { peer: &peer, address: &dialled },
        Fact::Identified {
            peer: &peer,
            addresses: &[],
            agent: "agent",
            protocols: &[],
            record: None,
        },
    ] {
        let refused = world.policy.observe(fact, now, &world.state);
        assert!(!refused.is_empty());
        world.policy.refused(&refused);
    }
    world.wait(1);
    assert!(world.is_settled());
    let profile = world.state.peer(&PeerKey::from(&peer)).unwrap().profile.clone().unwrap();
    assert_eq!(profile.agent.as_deref(), Some("agent"));
    assert_eq!(world.journaled(&peer), [dialled.to_string()]);
    assert!(world.state.peer(&PeerKey::from(&peer)).unwrap().seen.as_ref().unwrap().verified);
}

#[test]
fn a_first_success_is_written_at_once_and_its_repetition_never() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    world.reach(&peer, &address(1).with_p2p(peer).unwrap());
    assert!(world.row(&peer).unwrap().verified);
    assert_eq!(world.records, 1);
    for _ in 0..100 {
        world.reach(&peer, &address(1));
    }
    assert_eq!(world.records, 1);
    world.clock += 60;
    world.reach(&peer, &address(1));
    assert_eq!(world.records, 2, "that it was seen, once a minute");
}

#[test]
fn inbound_peers_are_seen_without_their_ports_all_in_one_record() {
    let mut world = World::new(Config::default());
    let peers = peers::<200>();
    peers.iter().for_each(|peer| world.accept(peer, &address(54_321)));
    assert_eq!(world.records, 0);
    world.wait(60);
    assert_eq!((world.records, world.state.counts().peers), (1, 200));
    let row = world.row(&peers[0]).unwrap();
    assert!(row.addresses.is_empty() && !row.verified);
}

#[test]
fn who_says_something_new_each_time_has_ten_records_a_minute_and_the_last_word() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    for round in 0..1000_u16 {
        let listening: Vec<Multiaddr> = (1..30).map(|port| address(round * 30 + port)).collect();
        world.says(&peer, &listening, &format!("agent {round}"));
    }
    assert_eq!(world.records, 10);
    assert_eq!(world.policy.counters.coalesced, 990);
    world.wait(6);
    assert_eq!(world.records, 11);
    let profile = world.state.peer(&PeerKey::from(&peer)).unwrap().profile.clone().unwrap();
    assert_eq!(profile.agent.as_deref(), Some("agent 999"));
    assert_eq!(world.journaled(&peer).len(), 16);
    assert!(world.is_settled());
}

#[test]
fn strangers_share_a_bucket_and_the_rest_of_them_waits_for_its_minute() {
    let mut world = World::new(Config::default());
    for peer in peers::<300>() {
        world.hear(&peer, &address(1));
    }
    assert_eq!((world.records, world.state.counts().peers), (60, 60));
    world.wait(30);
    assert_eq!(world.state.counts().peers, 90, "one a second");
    world.wait(30);
    assert_eq!((world.records, world.state.counts().peers), (62, 300));
    assert!(world.is_settled());
}

#[test]
fn a_ping_shows_the_latency_and_every_ten_minutes_that_the_peer_is_there() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    world.tell(Fact::Dialled { peer: &peer, address: &address(1) });
    let ping = |world: &mut World, millis| {
        let rtt = Duration::from_millis(millis);
        world.tell(Fact::Latency { peer: &peer, rtt });
    };
    ping(&mut world, 100);
    ping(&mut world, 200);
    assert_eq!(world.policy.latency(&peer), Some(Duration::from_millis(130)));
    for _ in 0..240 {
        world.clock += 15;
        ping(&mut world, 100);
    }
    assert!((6..=7).contains(&world.records), "an hour: {} records", world.records);
}
