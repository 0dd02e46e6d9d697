//! A file of the system that this crate replaces: opening it is all that the move takes.
#![allow(clippy::print_stdout)]

use std::error::Error;

use peer_journal::P2PStatePersistence;

const VERSION_1: &str = r#"{
  "version": 1,
  "peers": [
    {
      "peer_id": "12D3KooWR7Biy6nPgQFhk2eYP62pAkcFA6he9RUFURTDh7ewTjpo",
      "addresses": ["/ip4/192.0.2.1/tcp/4001"],
      "last_seen": "2025-01-02T03:04:05Z"
    }
  ],
  "reputation": [],
  "dht_entries": [
    { "key": "greeting", "value": [104, 105], "stored_at": "2025-01-02T03:04:05Z" }
  ],
  "package_cache": [],
  "bootstrap_nodes": ["/ip4/192.0.2.2/tcp/4001"],
  "saved_at": "2025-01-02T03:04:06Z"
}"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("p2p-state.json");
    std::fs::write(&path, VERSION_1)?;

    let store = P2PStatePersistence::open(&path)?;
    println!("{}", store.recovery()?);
    // Programs written against the old calls go on as they are.
    let state = store.load_state().await?;
    println!("{} peer(s), {} DHT entries", state.peers.len(), state.dht_entries.len());
    store.save_state().await?;
    store.close().await?;

    let written = std::fs::read_to_string(&path)?;
    println!("the file now begins:");
    written.lines().take(4).for_each(|line| println!("{line}"));
    Ok(())
}
