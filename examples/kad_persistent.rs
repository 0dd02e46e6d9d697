//! A DHT node that is restarted: its values, and what it provides, are still there.
#![allow(clippy::print_stdout)]

use std::error::Error;

use libp2p::{
    PeerId,
    kad::{self, Quorum, Record, RecordKey, store::RecordStore},
};
use peer_journal::{
    P2PStatePersistence,
    registry::adapters::{KadConfig, KadStore, seed_kad},
};

type Kad = kad::Behaviour<KadStore>;

fn kademlia(store: &P2PStatePersistence, local: PeerId) -> Result<Kad, Box<dyn Error>> {
    let mut kad = kad::Behaviour::new(local, KadStore::new(store, local, KadConfig::default())?);
    // The routing table, too: the best remembered peers, spread over networks.
    let seeded = seed_kad(&store.view()?, &mut kad, 20, chrono::Utc::now());
    println!("kademlia starts with {seeded} remembered peers");
    Ok(kad)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("p2p-state.json");
    let (local, peer) = (PeerId::random(), PeerId::random());
    let key = RecordKey::new(&"greeting");

    let store = P2PStatePersistence::open(&path)?;
    store.peer_seen(&peer, &["/ip4/192.0.2.1/tcp/4001".parse()?])?;
    let mut kad = kademlia(&store, local)?;
    kad.put_record(Record::new(key.clone(), b"hello".to_vec()), Quorum::One)?;
    kad.start_providing(key.clone())?;
    store.sync().await?; // from here on a power cut takes nothing
    drop(kad);
    store.close().await?;
    drop(store);

    let store = P2PStatePersistence::open(&path)?;
    let mut kad = kademlia(&store, local)?;
    let records = kad.store_mut();
    let record = records.get(&key).ok_or("the record was forgotten")?;
    println!("value after the restart: {}", String::from_utf8_lossy(&record.value));
    println!("still provided: {} key(s)", records.provided().count());
    drop(kad);
    store.close().await?;
    Ok(())
}
