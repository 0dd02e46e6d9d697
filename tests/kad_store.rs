//! The record store: what kademlia puts into it survives a restart, shortened by the time away.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod swarms;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, Swarm,
    identity::Keypair,
    kad::{
        self, ProviderRecord, QueryResult, Quorum, Record, RecordKey,
        store::{Error as StoreError, RecordStore},
    },
    swarm::SwarmEvent,
};
use peer_journal::{
    P2PStatePersistence,
    registry::adapters::{KadConfig, KadStore, seed_kad},
};
use swarms::{Clock, Of, connect, listen, run, swarm};

fn record(key: &str, seconds: u64) -> Record {
    Record {
        key: RecordKey::new(&key),
        value: key.as_bytes().to_vec(),
        publisher: Some(PeerId::random()),
        expires: Instant::now().checked_add(Duration::from_secs(seconds)),
    }
}

fn provider(key: &str, provider: PeerId, seconds: u64) -> ProviderRecord {
    let address: Multiaddr = "/ip4/127.0.0.1/tcp/4001".parse().unwrap();
    ProviderRecord {
        key: RecordKey::new(&key),
        provider,
        expires: Instant::now().checked_add(Duration::from_secs(seconds)),
        addresses: vec![address],
    }
}

fn left(expires: Option<Instant>) -> u64 {
    expires.unwrap().saturating_duration_since(Instant::now()).as_secs()
}

/// Closes the store and opens it again, `seconds` later by its clock.
async fn restart(
    (kad, store): (KadStore, P2PStatePersistence),
    path: &Path,
    local: PeerId,
    clock: &Clock,
    seconds: i64,
) -> (KadStore, P2PStatePersistence) {
    drop(kad);
    store.close().await.unwrap();
    drop(store);
    clock.advance(seconds);
    let store = clock.open(path);
    (KadStore::new(&store, local, KadConfig::default()).unwrap(), store)
}

#[tokio::test]
async fn expiry_goes_on_while_the_node_is_down_and_survives_clock_jumps() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p2p-state.json");
    let (clock, local) = (Clock::new(), PeerId::random());
    let store = clock.open(&path);
    store.dht_put("somebody else's key", b"kept").unwrap();
    store.dht_put("kad/record/AAAA", b"\xff not ours").unwrap();
    let mut kad = KadStore::new(&store, local, KadConfig::default()).unwrap();
    assert_eq!(kad.counters().unreadable, 1);
    kad.put(record("short", 50)).unwrap();
    kad.put(record("long", 1000)).unwrap();
    kad.put(record("greedy", 1_000_000_000)).unwrap();
    let own = Record { publisher: Some(local), expires: None, ..record("own", 0) };
    kad.put(own.clone()).unwrap();
    kad.add_provider(provider("provided", local, 1000)).unwrap();
    let other = PeerId::random();
    kad.add_provider(provider("provided", other, 1000)).unwrap();
    kad.add_provider(provider("gone", other, 1000)).unwrap();
    kad.remove_provider(&RecordKey::new(&"gone"), &other);
    let most = left(kad.get(&RecordKey::new(&"greedy")).unwrap().expires);
    assert!(most <= 48 * 3600, "a stranger's record lasts 48 h at most: {most}");

    let (kad, store) = restart((kad, store), &path, local, &clock, 100).await;
    assert!(kad.get(&RecordKey::new(&"short")).is_none());
    assert_eq!(kad.counters().expired_at_start, 1);
    let long = kad.get(&RecordKey::new(&"long")).unwrap().into_owned();
    assert_eq!(long.value, b"long");
    assert!((890..=900).contains(&left(long.expires)), "{}", left(long.expires));
    assert_eq!(*kad.get(&own.key).unwrap(), own);
    assert!(kad.providers(&RecordKey::new(&"gone")).is_empty());
    let providers = kad.providers(&RecordKey::new(&"provided"));
    assert_eq!(providers.len(), 2);
    assert!(providers.iter().all(|record| (890..=900).contains(&left(record.expires))));
    assert_eq!(providers[0].addresses.len(), 1);
    let provided: Vec<_> = kad.provided().map(|record| record.provider).collect();
    assert_eq!(provided, [local]);

    // The clock is set back by a year: nothing lives longer than it was meant to at first.
    let (kad, store) = restart((kad, store), &path, local, &clock, -365 * 24 * 3600).await;
    assert!(left(kad.get(&long.key).unwrap().expires) <= 1000);
    // And forward: what has an end has ended.
    let (kad, store) = restart((kad, store), &path, local, &clock, 730 * 24 * 3600).await;
    assert_eq!(kad.records().count(), 1);
    assert_eq!(kad.provided().count(), 0);
    let view = store.view().unwrap();
    assert!(view.state().dht_entry("somebody else's key").is_some());
    let ours = view.state().dht_entries().filter(|(key, _)| key.starts_with("kad/")).count();
    assert_eq!(ours, 2, "our own record, and the row that could not be read");
}

#[tokio::test]
async fn a_flood_makes_room_from_what_expires_first_and_is_journaled_by_the_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let (clock, local) = (Clock::new(), PeerId::random());
    let store = clock.open(&dir.path().join("p2p-state.json"));
    let mut config = KadConfig::default();
    (config.records, config.provided_keys, config.providers_per_key) = (10, 10, 3);
    let mut kad = KadStore::new(&store, local, config).unwrap();
    let own = Record { publisher: Some(local), expires: None, ..record("own", 0) };
    kad.put(own.clone()).unwrap();
    kad.add_provider(provider("own", local, 10)).unwrap();
    for number in 0..5_000_u64 {
        kad.put(record(&format!("record {number}"), 1000 + number)).unwrap();
        let key = format!("provider {number}");
        kad.add_provider(provider(&key, PeerId::random(), 1000 + number)).unwrap();
        kad.add_provider(provider("own", PeerId::random(), 9000)).unwrap();
    }
    assert_eq!(kad.records().count(), 10);
    assert!(kad.get(&own.key).is_some(), "what we publish stays");
    assert_eq!(kad.provided().count(), 1);
    assert_eq!(kad.providers(&RecordKey::new(&"own")).len(), 3);
    assert!(kad.get(&RecordKey::new(&"record 4999")).is_some());
    assert!(matches!(kad.put(record("brief", 1)), Err(StoreError::MaxRecords)));
    let big = Record { value: vec![0; 66_561], ..record("big", 1000) };
    assert!(matches!(kad.put(big), Err(StoreError::ValueTooLarge)));
    let key = "k".repeat(2000);
    assert!(matches!(kad.put(record(&key, 1000)), Err(StoreError::ValueTooLarge)));
    let lsn = store.status().unwrap().last_lsn.get();
    assert!(lsn < 700, "300 a minute and their evictions: {lsn}");

    // An unchanged record that is put again and again is one record in the journal.
    clock.advance(120);
    kad.write_due();
    let same = record("same", 99_999);
    kad.put(same.clone()).unwrap();
    let before = store.status().unwrap().last_lsn;
    for seconds in 0..300 {
        let expires = same.expires.unwrap().checked_add(Duration::from_secs(seconds));
        kad.put(Record { expires, ..same.clone() }).unwrap();
    }
    assert_eq!(store.status().unwrap().last_lsn, before);
    clock.advance(3600);
    kad.write_due();
    drop(kad);
    let rows = store.view().unwrap().state().counts().dht_entries;
    assert!(rows <= 10 + 10 + 3, "the journal has what memory has: {rows}");
}

fn dht(key: &Keypair, store: &P2PStatePersistence) -> Swarm<kad::Behaviour<KadStore>> {
    let local = key.public().to_peer_id();
    let records = KadStore::new(store, local, KadConfig::default()).unwrap();
    let mut kad = kad::Behaviour::new(local, records);
    kad.set_mode(Some(kad::Mode::Server));
    swarm(key, kad)
}

#[tokio::test]
async fn values_and_providers_of_a_real_dht_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (path, key) = (dir.path().join("p2p-state.json"), Keypair::generate_ed25519());
    let store = P2PStatePersistence::open(&path).unwrap();
    let mut keeper = dht(&key, &store);
    let keeper_id = *keeper.local_peer_id();
    let address = listen(&mut keeper).await;

    let publisher_store = P2PStatePersistence::open(dir.path().join("other.json")).unwrap();
    let mut publisher = dht(&Keypair::generate_ed25519(), &publisher_store);
    let publisher_id = *publisher.local_peer_id();
    let listens = listen(&mut publisher).await;
    publisher.add_external_address(listens.clone());
    publisher.behaviour_mut().add_address(&keeper_id, address.clone());
    connect(&mut publisher, &mut keeper, address).await;
    let name = RecordKey::new(&"name");
    publisher.behaviour_mut().put_record(Record::new(name.clone(), vec![42]), Quorum::One).unwrap();
    publisher.behaviour_mut().start_providing(name.clone()).unwrap();
    run(&mut publisher, &mut keeper, |_, keeper, _| {
        let records = keeper.behaviour_mut().store_mut();
        records.get(&name).is_some() && !records.providers(&name).is_empty()
    })
    .await;
    store.peer_seen(&publisher_id, &[listens]).unwrap();
    drop((keeper, publisher));
    store.close().await.unwrap();
    drop(store);

    // The keeper is back, the publisher is not; somebody who knows only the keeper asks.
    let store = P2PStatePersistence::open(&path).unwrap();
    let mut keeper = dht(&key, &store);
    let expires = keeper.behaviour_mut().store_mut().get(&name).unwrap().expires;
    assert!((1..=48 * 3600).contains(&left(expires)));
    let now = chrono::Utc::now();
    let seeded = seed_kad(&store.view().unwrap(), keeper.behaviour_mut(), 20, now);
    assert_eq!(seeded, 1);
    let address = listen(&mut keeper).await;
    let asker_store = P2PStatePersistence::open(dir.path().join("asker.json")).unwrap();
    let mut asker = dht(&Keypair::generate_ed25519(), &asker_store);
    asker.behaviour_mut().add_address(&keeper_id, address.clone());
    connect(&mut asker, &mut keeper, address).await;
    asker.behaviour_mut().get_record(name.clone());
    asker.behaviour_mut().get_providers(name.clone());
    let (mut value, mut providers) = (None, Vec::new());
    run(&mut asker, &mut keeper, |_, _, event| {
        if let Of::First(SwarmEvent::Behaviour(kad::Event::OutboundQueryProgressed {
            result,
            ..
        })) = event
        {
            match result {
                QueryResult::GetRecord(Ok(kad::GetRecordOk::FoundRecord(found))) => {
                    value = Some(found.record.value);
                }
                QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders {
                    providers: found,
                    ..
                })) => providers.extend(found),
                _ => {}
            }
        }
        value.is_some() && !providers.is_empty()
    })
    .await;
    assert_eq!(value, Some(vec![42]));
    assert_eq!(providers, [publisher_id]);
}
