//! What goes by itself: failures and age.

use super::*;

#[test]
fn a_failure_counts_only_while_others_are_connected_and_only_the_third_removes() {
    let mut world = World::new(Config::default());
    let (peer, others) = (PeerId::random(), [PeerId::random(), PeerId::random()]);
    world.tell(Fact::Heard { peer: &peer, address: &address(1) });
    for _ in 0..100 {
        world.tell(Fact::Unreachable { peer: &peer, address: &address(1) });
    }
    assert_eq!(world.in_memory(&peer).len(), 1, "an offline node forgets nobody");
    world.accept(&others[0], &address(9));
    world.accept(&others[0], &address(9));
    world.fail(&peer, &address(1), 100);
    assert_eq!(world.in_memory(&peer).len(), 1, "two connections to one peer are one peer");
    world.accept(&others[1], &address(9));
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
    for other in peers::<2>() {
        world.accept(&other, &address(9));
    }
    world.tell(Fact::Dialled { peer: &peer, address: &address(1) });
    world.tell(Fact::Closed { peer: &peer });
    for _ in 0..50 {
        world.tell(Fact::Unreachable { peer: &peer, address: &address(1) });
    }
    assert_eq!(world.in_memory(&peer).len(), 1);
    world.clock += 8 * 24 * 3600;
    world.tell(Fact::Unreachable { peer: &peer, address: &address(1) });
    assert_eq!(world.in_memory(&peer).len(), 1, "a leap of the clock is not eight days");
    world.wait_hours(7 * 24);
    world.tell(Fact::Unreachable { peer: &peer, address: &address(1) });
    assert!(world.in_memory(&peer).is_empty(), "not for ever");
}

#[test]
fn addresses_expire_by_how_they_were_learned_and_by_their_last_mention() {
    let mut world = World::new(Config::default());
    let [heard, told_again, said, reached, pinned] = peers();
    world.policy.pin(pinned);
    for peer in [&heard, &told_again, &pinned] {
        world.hear(peer, &address(1));
    }
    world.says(&said, &[address(2), address(3)], "agent");
    world.hear(&reached, &address(4));
    world.reach(&reached, &address(5));
    for _ in 0..3 {
        world.wait(600);
    }
    world.hear(&told_again, &address(1));
    for _ in 0..4 {
        world.wait(600);
    }
    assert!(world.row(&heard).is_none(), "an hour, and nothing was left of it");
    assert!(!world.policy.knows(&heard));
    assert_eq!(world.journaled(&told_again).len(), 1);
    assert_eq!(world.journaled(&reached), [address(5).to_string()]);
    world.hear(&said, &address(2));
    world.wait_hours(22);
    assert_eq!(world.journaled(&said).len(), 2);
    world.wait_hours(2);
    assert!(world.row(&said).is_none() && world.row(&told_again).is_none());
    world.wait_hours(40 * 24);
    assert_eq!(world.journaled(&reached), [address(5).to_string()], "the last one stays");
    assert_eq!(world.journaled(&pinned).len(), 1);
    assert!(world.is_settled());
    let counters = world.policy.counters;
    assert_eq!((counters.addresses_expired, counters.peers_expired), (5, 3));
}

#[test]
fn what_works_ages_only_after_the_last_connection() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    world.reach(&peer, &address(1));
    world.tell(Fact::Dialled { peer: &peer, address: &address(2) });
    world.wait_hours(31 * 24);
    assert_eq!(world.in_memory(&peer).len(), 2);
    world.tell(Fact::Closed { peer: &peer });
    world.wait_hours(29 * 24);
    world.reach(&peer, &address(1));
    world.wait_hours(2 * 24);
    assert_eq!(world.journaled(&peer), [address(1).to_string()]);
}

#[test]
fn a_clock_that_leaps_or_runs_back_lets_nothing_expire() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    world.hear(&peer, &address(1));
    for leap in [100 * 365 * 24 * 3600, -50 * 365 * 24 * 3600, -3600] {
        world.wait(leap);
        assert_eq!(world.journaled(&peer).len(), 1, "after {leap} s");
    }
    world.wait_hours(1);
    assert!(world.row(&peer).is_none());
}

#[test]
fn what_has_a_reputation_or_a_ban_keeps_its_row_without_addresses() {
    let mut world = World::new(Config::default());
    let [failed, banned, answered] = peers();
    for peer in [&failed, &banned, &answered] {
        world.hear(peer, &address(1));
    }
    let at = world.now();
    let until = (at.get() + chrono::TimeDelta::days(9)).into();
    let (reason, source) = ("".into(), "".into());
    world.apply(vec![
        Change::RetrievalFailed { peer: failed.into(), at },
        Change::RetrievalSucceeded { peer: answered.into(), at, response_ms: 1 },
        Change::Banned { peer: banned.into(), at, until, reason, source },
    ]);
    world.wait_hours(48);
    assert_eq!([&failed, &banned].map(|peer| world.row(peer).unwrap().addresses.len()), [0, 0]);
    assert_eq!(world.journaled(&answered).len(), 1, "it answered once: its last address stays");
    world.restart(Config::default());
    world.wait_hours(48);
    assert!(world.row(&failed).is_some() && world.row(&banned).is_some());
}

#[test]
fn after_a_restart_ages_go_on_from_what_the_rows_tell() {
    let mut world = World::new(Config::default());
    let [heard, met, reached, named] = peers();
    for peer in [&reached, &named] {
        world.reach(peer, &address(1));
        world.reach(peer, &address(2));
    }
    world.wait_hours(29 * 24);
    world.hear(&heard, &address(3));
    world.says(&met, &[address(4)], "");
    // The machine is off for two days.
    world.restart(Config::default());
    world.clock += 2 * 24 * 3600;
    world.restart(Config::default());
    world.wait(1);
    for peer in [&heard, &met, &reached, &named] {
        assert!(!world.journaled(peer).is_empty(), "none goes before it can be tried");
    }
    world.says(&named, &[address(2)], "");
    world.wait_hours(1);
    assert!(world.row(&heard).is_none());
    assert_eq!(world.journaled(&met).len(), 1);
    assert_eq!(world.journaled(&reached).len(), 1, "31 days, and the last one stays");
    assert_eq!(world.journaled(&named), [address(2).to_string()], "the other was not named");
    world.wait_hours(23);
    assert!(world.row(&met).is_none());
}
