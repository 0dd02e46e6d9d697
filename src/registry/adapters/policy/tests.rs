//! The rules, without a swarm.

mod age;
mod room;
mod turn;

use super::*;
use crate::{
    registry::adapters::Config,
    state::{Effect, Limits, PeerKey},
};

struct World {
    policy: Policy,
    state: State,
    records: usize,
    /// Seconds.
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
        let changes = self.policy.observe(fact, self.now(), &self.state);
        self.apply(changes);
    }

    fn hear(&mut self, peer: &PeerId, address: &Multiaddr) {
        self.tell(Fact::Heard { peer, address });
    }

    fn accept(&mut self, peer: &PeerId, from: &Multiaddr) {
        self.tell(Fact::Accepted { peer, address: from });
    }

    /// Dialled with success, and closed again.
    fn reach(&mut self, peer: &PeerId, address: &Multiaddr) {
        self.tell(Fact::Dialled { peer, address });
        self.tell(Fact::Closed { peer });
    }

    fn fail(&mut self, peer: &PeerId, address: &Multiaddr, times: usize) {
        for _ in 0..times {
            self.tell(Fact::Unreachable { peer, address });
        }
    }

    fn says(&mut self, peer: &PeerId, addresses: &[Multiaddr], agent: &str) {
        self.says_signed(peer, addresses, agent, None);
    }

    fn says_signed(&mut self, peer: &PeerId, told: &[Multiaddr], agent: &str, record: Option<u64>) {
        let protocols = &["/b", "/a"];
        self.tell(Fact::Identified { peer, addresses: told, agent, protocols, record });
    }

    fn wait(&mut self, seconds: i64) {
        self.clock += seconds;
        let changes = self.policy.due(self.now(), &self.state);
        self.apply(changes);
    }

    /// A tick every ten minutes, so that all of the time counts.
    fn wait_hours(&mut self, hours: i64) {
        for _ in 0..hours * 6 {
            self.wait(600);
        }
    }

    fn restart(&mut self, config: Config) {
        let rest = self.policy.rest(self.now(), &self.state);
        self.apply(rest);
        self.policy = Policy::restored(PeerId::random(), config, &self.state, self.now());
    }

    /// As a store does: what changes nothing is no record.
    fn apply(&mut self, changes: Vec<Change>) {
        let mut is_record = false;
        for change in changes {
            is_record |= self.state.apply(&change).unwrap() == Effect::Changed;
        }
        self.records += usize::from(is_record);
    }

    fn row(&self, peer: &PeerId) -> Option<Peer> {
        self.state.peer(&peer.into()).and_then(|entry| entry.seen.clone())
    }

    fn journaled(&self, peer: &PeerId) -> Vec<String> {
        let row = self.row(peer).unwrap_or_default();
        row.addresses.iter().map(|address| address.to_string()).collect()
    }

    fn in_memory(&self, peer: &PeerId) -> Vec<String> {
        let known = self.policy.addresses(peer);
        known.into_iter().flatten().map(ToString::to_string).collect()
    }

    /// Nothing waits: the store says what is known.
    fn is_settled(&self) -> bool {
        self.policy.waiting.is_empty() && self.state.counts().peers == self.policy.len()
    }
}

fn address(port: u16) -> Multiaddr {
    format!("/ip4/192.0.2.1/tcp/{port}").parse().unwrap()
}

/// In a network of its own.
fn elsewhere(number: u16) -> Multiaddr {
    let [a, b] = number.to_be_bytes();
    format!("/ip6/2001:db8:{a:x}{b:02x}::1/tcp/1").parse().unwrap()
}

fn peers<const N: usize>() -> [PeerId; N] {
    [(); N].map(|()| PeerId::random())
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
fn identify_replaces_what_it_said_and_keeps_what_was_proven() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    world.tell(Fact::Dialled { peer: &peer, address: &address(1) });
    world.says(&peer, &[address(2), address(3)], "one");
    world.says(&peer, &[address(4)], "one");
    assert_eq!(world.journaled(&peer), [address(1), address(4)].map(|a| a.to_string()));
    let before = world.records;
    world.says(&peer, &[address(4)], "one");
    assert_eq!(world.records, before, "nothing new, nothing written");
    world.says(&peer, &[address(4)], &"\u{e9}\u{1b}[2J".repeat(200_000));
    let entry = world.state.peer(&PeerKey::from(&peer)).unwrap();
    let profile = entry.profile.clone().unwrap();
    assert!(profile.agent.as_ref().unwrap().len() <= 256);
    assert_eq!(profile.protocols.len(), 2);
    let crowd: Vec<_> = (100..10_000).map(address).collect();
    world.says(&peer, &crowd, "one");
    assert_eq!(world.in_memory(&peer).len(), 32);
    assert_eq!(world.in_memory(&peer).first(), Some(&address(1).to_string()), "proof comes first");
}

#[test]
fn who_names_nothing_of_use_takes_nothing_back() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    world.says(&peer, &[address(1)], "");
    world.says(&peer, &[], "");
    world.says(&peer, &["/ip4/0.0.0.0/tcp/0".parse().unwrap()], "");
    assert_eq!(world.journaled(&peer), [address(1).to_string()]);
}

#[test]
fn private_addresses_are_kept_only_from_those_who_are_as_near() {
    let told = ["/ip4/127.0.0.1/tcp/1", "/ip4/10.1.1.1/tcp/1", "/ip4/192.0.2.9/tcp/1"];
    let told = told.map(|text| text.parse::<Multiaddr>().unwrap());
    for (link, kept) in [
        ("/ip4/127.0.0.1/tcp/50000", 3),
        ("/memory/5", 3),
        ("/ip4/192.168.0.7/tcp/50000", 2),
        ("/ip4/198.51.100.7/tcp/50000", 1),
        ("/dns/example.org/tcp/4001", 1),
    ] {
        let mut world = World::new(Config::default());
        let [says, heard, relayed, other] = peers();
        for peer in [&says, &heard] {
            world.accept(peer, &link.parse().unwrap());
        }
        world.says(&says, &told, "");
        told.iter().for_each(|address| world.hear(&heard, address));
        for address in &told {
            world.tell(Fact::Told { peer: &other, address, by: &says });
        }
        for peer in [&says, &heard, &other] {
            assert_eq!(
                world.in_memory(peer),
                &told.each_ref().map(ToString::to_string)[3 - kept..]
            );
        }
        let relay = format!("{link}/p2p/{}/p2p-circuit", PeerId::random());
        world.accept(&relayed, &relay.parse().unwrap());
        world.says(&relayed, &told, "");
        assert_eq!(world.in_memory(&relayed).len(), 1, "behind a relay anybody may be");
    }
}

#[test]
fn what_a_banned_peer_tells_and_what_is_told_of_it_is_passed_over() {
    let mut world = World::new(Config::default());
    let [banned, other] = peers();
    let at = world.now();
    let until = (at.get() + chrono::TimeDelta::hours(1)).into();
    let (reason, source) = ("".into(), "".into());
    world.apply(vec![Change::Banned { peer: banned.into(), at, until, reason, source }]);
    world.hear(&banned, &address(1));
    world.says(&banned, &[address(1)], "agent");
    world.tell(Fact::Told { peer: &other, address: &address(2), by: &banned });
    assert!(world.policy.is_empty());
    world.clock += 3600;
    world.hear(&banned, &address(1));
    assert!(world.policy.knows(&banned), "the ban has run out");
}

#[test]
fn an_older_signed_record_changes_no_address() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    world.says_signed(&peer, &[address(1)], "one", Some(7));
    world.says_signed(&peer, &[address(2)], "two", Some(6));
    assert_eq!(world.journaled(&peer), [address(1).to_string()]);
    world.says_signed(&peer, &[address(3)], "two", Some(8));
    assert_eq!(world.journaled(&peer), [address(3).to_string()]);
    world.says(&peer, &[address(4)], "two");
    assert_eq!(world.journaled(&peer), [address(4).to_string()], "a push carries no record");
    world.says_signed(&peer, &[address(1)], "two", Some(7));
    assert_eq!(world.journaled(&peer), [address(4).to_string()]);
}

#[test]
fn only_what_was_confirmed_since_the_start_is_passed_on() {
    let mut world = World::new(Config::default());
    let peer = PeerId::random();
    world.reach(&peer, &address(1));
    world.says(&peer, &[address(2)], "");
    world.hear(&peer, &address(3));
    let confirmed = |world: &World| -> Vec<Multiaddr> {
        world.policy.confirmed_addresses(&peer).cloned().collect()
    };
    assert_eq!(confirmed(&world), [address(1), address(2)]);
    world.restart(Config::default());
    assert_eq!(world.in_memory(&peer).len(), 3);
    assert!(confirmed(&world).is_empty());
    world.reach(&peer, &address(3));
    assert_eq!(confirmed(&world), [address(3)]);
    world.says(&peer, &[address(2)], "");
    assert_eq!(confirmed(&world), [address(3), address(2)]);
    let unverified = PeerId::random();
    world.says(&unverified, &[address(4)], "");
    world.restart(Config::default());
    assert_eq!(world.in_memory(&unverified).len(), 1);
    assert_eq!(world.policy.confirmed_addresses(&unverified).count(), 0);
}
