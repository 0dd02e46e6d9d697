//! What other nodes put on a registry's DHT survives its restart, and what was withdrawn stays
//! away.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/nodes.rs"]
mod nodes;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
    futures::StreamExt,
    identity::Keypair,
    kad::{self, store::MemoryStore},
    noise,
    swarm::SwarmEvent,
    tcp, yamux,
};
use nodes::{LIMIT, Seat, until, within};
use peer_journal::{
    P2PConfig, P2PRegistry,
    registry::{PackageSource, RegistryLimits},
};

const TOPIC: &str = "/ggen/packages/v1";
const HOUR: Duration = Duration::from_secs(3600);

type Kad = kad::Behaviour<MemoryStore>;

/// A node that speaks kademlia and nothing else.
fn plain(key: &Keypair) -> Swarm<Kad> {
    let local = key.public().to_peer_id();
    let mut config = kad::Config::new(StreamProtocol::new("/ggen/kad/1.0.0"));
    config.set_max_packet_size(4 << 20);
    let kad = Kad::with_config(local, MemoryStore::new(local), config);
    SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| kad)
        .unwrap()
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(LIMIT))
        .build()
}

/// Joins through this node, and waits until it is in the routing table.
async fn join(swarm: &mut Swarm<Kad>, peer: PeerId, at: &Multiaddr) {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    swarm.behaviour_mut().add_address(&peer, at.clone());
    swarm.dial(peer).unwrap();
    let connected = async {
        while !matches!(
            swarm.select_next_some().await,
            SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == peer
        ) {}
    };
    within(connected).await;
}

/// Runs the swarm until this query is done, and gives what it came to.
async fn answer(swarm: &mut Swarm<Kad>, query: kad::QueryId) -> Vec<kad::QueryResult> {
    let mut results = Vec::new();
    let done = async {
        loop {
            let event = swarm.select_next_some().await;
            let SwarmEvent::Behaviour(kad::Event::OutboundQueryProgressed {
                id, result, step, ..
            }) = event
            else {
                continue;
            };
            if id == query {
                results.push(result);
                if step.last {
                    return;
                }
            }
        }
    };
    within(done).await;
    results
}

async fn providers(swarm: &mut Swarm<Kad>, key: &kad::RecordKey) -> Vec<PeerId> {
    let query = swarm.behaviour_mut().get_providers(key.clone());
    let mut found = Vec::new();
    for result in answer(swarm, query).await {
        if let kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders {
            providers,
            ..
        })) = result
        {
            found.extend(providers);
        }
    }
    found
}

async fn value(swarm: &mut Swarm<Kad>, key: &kad::RecordKey) -> Option<Vec<u8>> {
    let query = swarm.behaviour_mut().get_record(key.clone());
    answer(swarm, query).await.into_iter().find_map(|result| match result {
        kad::QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(found))) => {
            Some(found.record.value)
        }
        _ => None,
    })
}

fn key_of(id: &str) -> kad::RecordKey {
    kad::RecordKey::new(&format!("{TOPIC}/{id}"))
}

/// A package as it travels: published by a node that nobody knows.
async fn signed(dir: &Path, id: &str) -> Vec<u8> {
    let (node, _) = Seat::new(dir, "publisher").start(&[]).await;
    within(node.publish_package(id, "1", "", b"payload")).await.unwrap();
    let view = node.store().view().unwrap();
    let value = view.state().dht_entry(&format!("{TOPIC}/{id}")).unwrap().value.to_vec();
    within(node.shutdown()).await.unwrap();
    value
}

fn providers_stored(node: &P2PRegistry) -> usize {
    let view = node.store().view().unwrap();
    view.state().dht_entries().filter(|(key, _)| key.starts_with("kad/provider/")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn values_and_provider_records_of_others_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let envelope = signed(dir.path(), "a/b").await;
    let seat = Seat::new(dir.path(), "a");
    let (node, at) = seat.start(&[]).await;
    let peer = node.local_peer_id();
    let key = Keypair::generate_ed25519();
    let mut other = plain(&key);
    join(&mut other, peer, &at).await;
    let record = kad::Record::new(key_of("a/b"), envelope.clone());
    other.behaviour_mut().put_record(record, kad::Quorum::One).unwrap();
    // Providers without an address are not passed on.
    other.add_external_address("/ip4/127.0.0.1/tcp/9".parse().unwrap());
    other.behaviour_mut().start_providing(key_of("a/b")).unwrap();
    // Neither is a key of a package.
    other.behaviour_mut().start_providing(kad::RecordKey::new(b"/other/a/b")).unwrap();
    other.behaviour_mut().start_providing(key_of("\u{1b}[2J")).unwrap();
    let driving = tokio::spawn(async move {
        loop {
            other.select_next_some().await;
        }
    });
    until("the node keeps both", || async {
        let invalid = node.status().await.unwrap().counters.invalid;
        let view = node.store().view().unwrap();
        view.state().dht_entry(&format!("{TOPIC}/a/b")).is_some()
            && providers_stored(&node) == 1
            && invalid == 2
    })
    .await;
    driving.abort();
    within(node.shutdown()).await.unwrap();

    let (node, at) = seat.start(&[]).await;
    let mut third = plain(&Keypair::generate_ed25519());
    join(&mut third, peer, &at).await;
    assert_eq!(value(&mut third, &key_of("a/b")).await, Some(envelope));
    assert_eq!(providers(&mut third, &key_of("a/b")).await, [key.public().to_peer_id()]);
    assert!(providers(&mut third, &kad::RecordKey::new(b"/other/a/b")).await.is_empty());
    within(node.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_passed_on_is_as_old_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let envelope = signed(dir.path(), "old").await;
    let (node, at) = Seat::new(dir.path(), "a").start(&[]).await;
    let mut other = plain(&Keypair::generate_ed25519());
    join(&mut other, node.local_peer_id(), &at).await;
    let mut record = kad::Record::new(key_of("old"), envelope);
    record.expires = Instant::now().checked_add(HOUR);
    let query = other.behaviour_mut().put_record(record, kad::Quorum::One).unwrap();
    answer(&mut other, query).await;
    let stored_at = || {
        let view = node.store().view().unwrap();
        let entry = view.state().dht_entry(&format!("{TOPIC}/old"));
        entry.map(|entry| entry.stored_at.get())
    };
    until("the node keeps it", || async { stored_at().is_some() }).await;
    // One of its 48 hours is left, after a restart too.
    let age = chrono::Utc::now() - stored_at().unwrap();
    assert!(age.num_minutes() >= 46 * 60, "{age}");
    within(node.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_withdrawn_package_stays_away_over_restarts_and_reaches_nodes_that_were_down() {
    let dir = tempfile::tempdir().unwrap();
    let seats = ["a", "b", "c"].map(|name| Seat::new(dir.path(), name));
    let (a, a_at) = seats[0].start(&[]).await;
    let nodes = [&seats[1], &seats[2]];
    let (b, _) = nodes[0].start(std::slice::from_ref(&a_at)).await;
    let (c, _) = nodes[1].start(std::slice::from_ref(&a_at)).await;
    for node in [&b, &c] {
        within(node.bootstrap()).await.unwrap();
    }
    until("a knows both in the DHT", || async { a.status().await.unwrap().routing_table == 2 })
        .await;
    let published = within(a.publish_package("gone", "1", "", b"x")).await.unwrap();
    assert_eq!(published.replicas, 2);
    let has_copy = |node: &P2PRegistry| {
        node.store().view().unwrap().state().dht_entry(&format!("{TOPIC}/gone")).is_some()
    };
    until("both have a copy", || async { has_copy(&b) && has_copy(&c) }).await;
    let copy = {
        let view = c.store().view().unwrap();
        view.state().dht_entry(&format!("{TOPIC}/gone")).unwrap().value.to_vec()
    };
    within(c.shutdown()).await.unwrap();
    within(a.unpublish_package("gone")).await.unwrap();
    until("b has heard of it", || async { !has_copy(&b) }).await;
    // Each of those that heard of it starts again, the publisher among them.
    let b_id = b.local_peer_id();
    for node in [a, b] {
        within(node.shutdown()).await.unwrap();
    }
    let (b, b_at) = seats[1].start(&[]).await;
    let mut stale = plain(&Keypair::generate_ed25519());
    join(&mut stale, b_id, &b_at).await;
    let record = kad::Record::new(key_of("gone"), copy);
    let query = stale.behaviour_mut().put_record(record, kad::Quorum::One).unwrap();
    answer(&mut stale, query).await;
    until("b has refused it", || async { b.status().await.unwrap().counters.invalid == 1 }).await;
    assert!(!has_copy(&b));
    assert!(within(b.get_package("gone")).await.unwrap().is_none());
    drop(stale);

    // The node that was down still has its copy, until the publisher tells it.
    let (c, c_at) = seats[2].start(&[]).await;
    assert!(has_copy(&c));
    let (a, _) = seats[0].start(std::slice::from_ref(&c_at)).await;
    assert!(within(a.get_package("gone")).await.unwrap().is_none(), "the publisher remembers");
    until("c has heard of it", || async { !has_copy(&c) }).await;
    assert!(within(c.search_packages("gone", 1)).await.unwrap().is_empty());

    // The id is free for its publisher, and what is published now is no copy of what is gone.
    within(a.publish_package("gone", "2", "", b"y")).await.unwrap();
    until("c gets the new one", || async {
        let found = c.get_package("gone").await.unwrap();
        found.is_some_and(|package| package.data == b"y")
    })
    .await;
    for node in [a, b, c] {
        within(node.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cached_copy_goes_too_and_withdrawals_run_out() {
    let dir = tempfile::tempdir().unwrap();
    let seats = ["a", "b"].map(|name| Seat::new(dir.path(), name));
    let (a, a_at) = seats[0].start(&[]).await;
    // A client keeps nothing for the DHT: what it has it has in its cache.
    let client = |bootstrap: &[Multiaddr]| P2PConfig {
        dht_server_mode: false,
        limits: RegistryLimits { dht_ttl: Duration::from_secs(2), ..RegistryLimits::default() },
        ..seats[1].config(bootstrap)
    };
    let (b, _) = nodes::start(client(std::slice::from_ref(&a_at))).await;
    within(b.bootstrap()).await.unwrap();
    until("b knows a in the DHT", || async { b.status().await.unwrap().routing_table == 1 }).await;
    within(a.publish_package("gone", "1", "", b"x")).await.unwrap();
    let got = within(b.get_package("gone")).await.unwrap().unwrap();
    assert_eq!(got.source, PackageSource::Dht(a.local_peer_id()));
    within(b.shutdown()).await.unwrap();
    let (b, _) = nodes::start(client(&[])).await;
    let got = within(b.get_package("gone")).await.unwrap().unwrap();
    assert_eq!(got.source, PackageSource::Cache, "after a restart it knows what it has");
    let a_id = a.local_peer_id();
    until("both are connected", || nodes::connected(&b, &a_id)).await;
    until("b hears what a announces", || async {
        a.publish_package("marker", "1", "", b"").await.unwrap();
        !b.search_packages("marker", 1).await.unwrap().is_empty()
    })
    .await;
    within(a.unpublish_package("gone")).await.unwrap();
    until("the cached copy is gone", || async { b.get_package("gone").await.unwrap().is_none() })
        .await;
    let withdrawals = |node: &P2PRegistry| {
        let view = node.store().view().unwrap();
        view.state().dht_entries().filter(|(key, _)| key.starts_with("withdrawn:")).count()
    };
    until("b remembers it", || async { withdrawals(&b) == 1 }).await;
    within(b.shutdown()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (b, _) = nodes::start(client(&[])).await;
    assert_eq!(withdrawals(&b), 0, "its two seconds are over");
    assert_eq!(withdrawals(&a), 1, "these last 48 hours");
    for node in [a, b] {
        within(node.shutdown()).await.unwrap();
    }
}
