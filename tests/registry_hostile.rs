//! What strangers send must fill neither the journal, nor the memory, nor cost a sync per packet.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/counting.rs"]
mod counting;
#[path = "common/hooked.rs"]
mod hooked;
#[path = "common/nodes.rs"]
mod nodes;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use counting::Counting;
use hooked::Hooked;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    futures::StreamExt,
    gossipsub, identify,
    identity::Keypair,
    kad, noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use nodes::{LIMIT, Seat, stranger, until, within};
use peer_journal::{
    P2PConfig, P2PRegistry, P2PStatePersistence, registry::RegistryLimits, state::PeerEntry,
    testing::SimDisk,
};

fn entry(node: &P2PRegistry, peer: &PeerId) -> Option<PeerEntry> {
    node.store().view().unwrap().peer(peer).cloned()
}

fn lsn(node: &P2PRegistry) -> u64 {
    node.store().status().unwrap().last_lsn.get()
}

/// Dials, and waits until the node has been told who is there.
async fn introduce(swarm: &mut Swarm<identify::Behaviour>, at: &Multiaddr) {
    swarm.dial(at.clone()).unwrap();
    let told = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::Behaviour(identify::Event::Sent { .. }) => return,
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    };
    within(told).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stranger_says_of_itself_is_cut_to_the_limits_and_escaped() {
    let dir = tempfile::tempdir().unwrap();
    let seat = Seat::new(dir.path(), "a");
    let (node, at) = seat.start(&[]).await;
    let key = Keypair::generate_ed25519();
    let agent = "\u{1b}]0;owned\u{7}\u{202e}".repeat(60);
    let mut loud = stranger(&agent, &key);
    // As many addresses as an identify message has room for.
    for port in 0..200_u16 {
        loud.add_external_address(format!("/ip4/127.0.0.1/tcp/{}", 20_000 + port).parse().unwrap());
    }
    loud.add_external_address(format!("/dns/{}/tcp/1", "a".repeat(300)).parse().unwrap());
    introduce(&mut loud, &at).await;
    let peer = key.public().to_peer_id();
    let polling = tokio::spawn(async move {
        loop {
            loud.select_next_some().await;
        }
    });
    until("the profile is there", || async {
        entry(&node, &peer).is_some_and(|entry| entry.profile.is_some())
    })
    .await;
    let known = entry(&node, &peer).unwrap();
    let profile = known.profile.unwrap();
    assert!(profile.agent.as_ref().unwrap().len() <= 256);
    let seen = known.seen.unwrap();
    assert_eq!((seen.addresses.len(), seen.verified), (16, false));
    assert!(!format!("{profile:?}").contains('\u{1b}'));
    within(node.store().compact()).await.unwrap();
    let text = std::fs::read_to_string(&seat.state_file).unwrap();
    assert!(!text.contains('\u{1b}'), "nobody's terminal is at risk from the state file");
    polling.abort();

    // A megabyte of agent does not even pass the protocol.
    let key = Keypair::generate_ed25519();
    let mut huge = stranger(&"x".repeat(1 << 20), &key);
    huge.dial(at).unwrap();
    let before = lsn(&node);
    let until_closed = tokio::time::timeout(Duration::from_secs(1), async {
        loop {
            huge.select_next_some().await;
        }
    });
    assert!(until_closed.await.is_err());
    assert!(entry(&node, &key.public().to_peer_id()).is_none_or(|entry| entry.profile.is_none()));
    assert!(lsn(&node) - before <= 5, "{} records", lsn(&node) - before);
    within(node.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reconnects_with_ever_new_claims_cost_a_handful_of_records() {
    let dir = tempfile::tempdir().unwrap();
    let (node, at) = Seat::new(dir.path(), "a").start(&[]).await;
    let key = Keypair::generate_ed25519();
    let peer = key.public().to_peer_id();
    let before = lsn(&node);
    let begun = Instant::now();
    for round in 0..200_u16 {
        let mut swarm = stranger(&format!("agent {round}"), &key);
        for port in 0..20_u16 {
            let address = format!("/ip4/127.0.0.1/tcp/{}", 10_000 + round * 20 + port);
            swarm.add_external_address(address.parse().unwrap());
        }
        introduce(&mut swarm, &at).await;
    }
    let minutes = begun.elapsed().as_secs() / 60 + 1;
    until("the loop has ended", || async { node.connected_peers().await.unwrap().is_empty() })
        .await;
    let records = lsn(&node) - before;
    // Ten at once, ten more a minute, one coalesced record a minute.
    assert!(records <= 10 + 11 * minutes, "{records} records for 200 reconnects");
    let status = node.status().await.unwrap();
    let counts = status.store.counts;
    assert_eq!((counts.peers, counts.profiles), (1, 1));
    assert!(entry(&node, &peer).unwrap().seen.unwrap().addresses.len() <= 16);
    assert!(status.counters.coalesced > 20, "{:?}", status.counters);
    within(node.shutdown()).await.unwrap();
}

#[derive(NetworkBehaviour)]
struct Hostile {
    identify: identify::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
    gossip: gossipsub::Behaviour,
}

fn hostile(key: &Keypair) -> Swarm<Hostile> {
    let local = key.public().to_peer_id();
    let identify = identify::Config::new("/hostile/1".to_owned(), key.public());
    let mut config = kad::Config::new(StreamProtocol::new("/ggen/kad/1.0.0"));
    config.set_max_packet_size(4 << 20);
    let mut kad = kad::Behaviour::with_config(local, kad::store::MemoryStore::new(local), config);
    kad.set_mode(Some(kad::Mode::Server));
    let gossip = gossipsub::Behaviour::new(
        gossipsub::MessageAuthenticity::Signed(key.clone()),
        gossipsub::Config::default(),
    );
    let hostile =
        Hostile { identify: identify::Behaviour::new(identify), kad, gossip: gossip.unwrap() };
    SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| hostile)
        .unwrap()
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(LIMIT))
        .build()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_for_the_dht_and_for_gossip_leaves_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let (node, at) = Seat::new(dir.path(), "a").start(&[]).await;
    let key = Keypair::generate_ed25519();
    let mut swarm = hostile(&key);
    let topic = gossipsub::IdentTopic::new("/ggen/packages/v1");
    swarm.behaviour_mut().gossip.subscribe(&topic).unwrap();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let nobodies = add_crowd(&mut swarm);
    swarm.dial(at).unwrap();
    let victim = node.local_peer_id();
    let mut subscribed = false;
    let mut sent = 0_u32;
    let mut round = tokio::time::interval(Duration::from_millis(10));
    let flood = async {
        while sent < 200 {
            tokio::select! {
                event = swarm.select_next_some() => if let SwarmEvent::Behaviour(
                    HostileEvent::Gossip(gossipsub::Event::Subscribed { .. })
                ) = event { subscribed = true; },
                _ = round.tick() => if subscribed {
                    sent += 1;
                    let keys = [
                        format!("/ggen/packages/v1/p{sent}"),
                        format!("\u{1b}[2J{sent}"),
                    ];
                    for key in keys {
                        let record = kad::Record::new(key.into_bytes(), vec![0xff; 4000]);
                        let kad = &mut swarm.behaviour_mut().kad;
                        kad.put_record_to(record, [victim].into_iter(), kad::Quorum::One);
                    }
                    let garbage = format!("garbage {sent}");
                    let gossip = &mut swarm.behaviour_mut().gossip;
                    let _ = gossip.publish(topic.clone(), garbage.into_bytes());
                }
            }
        }
    };
    within(flood).await;
    let driving = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    until("the node has looked at it", || async {
        let counters = node.status().await.unwrap().counters;
        counters.invalid >= 60 && counters.coalesced > 0
    })
    .await;
    let status = node.status().await.unwrap();
    assert!(status.connected_peers.contains(&key.public().to_peer_id()));
    assert_eq!((status.known_packages, status.store.counts.dht_entries), (0, 0));
    assert!(status.store.counts.peers <= 2, "{:?}", status.store.counts);
    for nobody in &nobodies {
        assert!(entry(&node, nobody).is_none(), "nobody spoke to it");
    }
    assert!(status.store.last_lsn.get() <= 15, "{} records", status.store.last_lsn);
    driving.abort();
    within(node.shutdown()).await.unwrap();
}

/// What a flood cost.
#[derive(Debug)]
struct Cost {
    records: u64,
    syncs: u64,
    bytes: u64,
    /// Begun minutes that the flood took: each gives every peer new tokens.
    minutes: u64,
}

/// Everything that strangers can send, `packets` times each but for the reconnects, against a node
/// whose disk is counted.
async fn flood(packets: u64) -> Cost {
    let counting = Arc::new(Counting::default());
    let disk = Arc::new(Hooked::new(&SimDisk::new(packets), counting.clone()));
    let builder = P2PStatePersistence::builder("/node/p2p-state.json").vfs(disk);
    let store = builder.auto_save_every(Duration::from_secs(3600)).open().unwrap();
    let limits = RegistryLimits { dht_puts_per_minute: 10, ..RegistryLimits::default() };
    let config = P2PConfig {
        listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        limits,
        ..P2PConfig::default()
    };
    let node = within(P2PRegistry::with_store(config, store)).await.unwrap();
    let at = within(node.start_listening()).await.unwrap().remove(0);
    within(node.subscribe()).await.unwrap();
    let (records, (syncs, bytes)) = (lsn(&node), counting.counts());
    let begun = Instant::now();
    let mut driven: Vec<_> = [noisy("x", 10_000), noisy(&"x".repeat(1 << 20), 0)]
        .into_iter()
        .map(|mut swarm| {
            swarm.dial(at.clone()).unwrap();
            drive(swarm)
        })
        .collect();
    for round in 0..packets / 10 {
        let mut swarm = stranger(&format!("agent {round}"), &loop_key());
        introduce(&mut swarm, &at).await;
    }
    let mut crowd = hostile(&Keypair::generate_ed25519());
    add_crowd(&mut crowd);
    crowd.dial(at.clone()).unwrap();
    driven.push(drive(crowd));
    let mut swarm = hostile(&Keypair::generate_ed25519());
    spam(&mut swarm, node.local_peer_id(), &at, packets).await;
    driven.push(drive(swarm));
    until("the node has looked at it", || async {
        let counters = node.status().await.unwrap().counters;
        counters.invalid + counters.coalesced >= packets
    })
    .await;
    within(node.store().sync()).await.unwrap();
    let status = node.status().await.unwrap();
    assert!(status.store.counts.peers <= 5, "{:?}", status.store.counts);
    let (syncs_now, bytes_now) = counting.counts();
    driven.iter().for_each(tokio::task::JoinHandle::abort);
    within(node.shutdown()).await.unwrap();
    Cost {
        records: status.store.last_lsn.get() - records,
        syncs: syncs_now - syncs,
        bytes: bytes_now - bytes,
        minutes: begun.elapsed().as_secs() / 60 + 1,
    }
}

/// The one who reconnects is always the same.
fn loop_key() -> Keypair {
    Keypair::ed25519_from_bytes([7; 32]).unwrap()
}

fn noisy(agent: &str, addresses: u16) -> Swarm<identify::Behaviour> {
    let mut swarm = stranger(agent, &Keypair::generate_ed25519());
    for port in 0..addresses {
        let address = format!("/ip4/127.0.0.1/tcp/{}", 1 + port).parse().unwrap();
        swarm.add_external_address(address);
    }
    swarm
}

fn drive<B>(mut swarm: Swarm<B>) -> tokio::task::JoinHandle<()>
where
    B: NetworkBehaviour<ToSwarm: Send> + Send,
{
    tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    })
}

/// Ten thousand addresses, of as many peers that do not exist as an answer has room for, for
/// whoever asks.
fn add_crowd(swarm: &mut Swarm<Hostile>) -> Vec<PeerId> {
    let nobodies: Vec<PeerId> =
        (0..20).map(|_| Keypair::generate_ed25519().public().to_peer_id()).collect();
    for nobody in &nobodies {
        for port in 1..=500_u16 {
            let address = format!("/ip4/127.9.9.9/tcp/{port}").parse().unwrap();
            swarm.behaviour_mut().kad.add_address(nobody, address);
        }
    }
    nobodies
}

/// New addresses, provider records, rubbish for the DHT and for gossip, each so many times. The
/// next are sent when the DHT has answered the last, so that none is lost on the way.
async fn spam(swarm: &mut Swarm<Hostile>, victim: PeerId, at: &Multiaddr, packets: u64) {
    let topic = gossipsub::IdentTopic::new("/ggen/packages/v1");
    swarm.behaviour_mut().gossip.subscribe(&topic).unwrap();
    swarm.behaviour_mut().kad.add_address(&victim, at.clone());
    swarm.dial(at.clone()).unwrap();
    let (mut sent, mut answered, mut claimed) = (0, 0, None);
    let flood = async {
        while answered < packets {
            let event = swarm.select_next_some().await;
            let SwarmEvent::Behaviour(event) = event else { continue };
            match event {
                HostileEvent::Gossip(gossipsub::Event::Subscribed { .. }) if sent == 0 => {}
                HostileEvent::Kad(kad::Event::OutboundQueryProgressed {
                    result: kad::QueryResult::PutRecord(result),
                    ..
                }) => {
                    result.unwrap();
                    answered += 1;
                }
                _ => continue,
            }
            sent += 1;
            let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", 1000 + sent).parse().unwrap();
            swarm.add_external_address(address.clone());
            if let Some(old) = claimed.replace(address) {
                swarm.remove_external_address(&old);
            }
            let hostile = swarm.behaviour_mut();
            hostile.identify.push([victim]);
            let key = format!("/ggen/packages/v1/p{sent}").into_bytes();
            hostile.kad.start_providing(key.clone().into()).unwrap();
            hostile.kad.stop_providing(&key.clone().into());
            let record = kad::Record::new(key, vec![0xff; 100]);
            hostile.kad.put_record_to(record, [victim].into_iter(), kad::Quorum::One);
            let garbage = format!("garbage {sent}");
            let _ = hostile.gossip.publish(topic.clone(), garbage.into_bytes());
        }
    };
    within(flood).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_costs_no_more_syncs_and_bytes_when_it_is_four_times_as_large() {
    for packets in [60, 240] {
        let cost = flood(packets).await;
        println!("{packets} packets: {cost:?}");
        // Five strangers with ten tokens each, and ten provider records; more each minute.
        let records = 60 + 65 * cost.minutes;
        assert!(cost.records <= records, "{packets} packets: {cost:?}");
        assert!(cost.syncs <= records, "{packets} packets: {cost:?}");
        assert!(cost.bytes <= records * 1024, "{packets} packets: {cost:?}");
        assert!(cost.records >= 5, "the flood did not reach the recorder: {cost:?}");
    }
}
