//! The store in twenty lines, without a network: remember, restart, still there.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use peer_journal::{P2PStatePersistence, PeerId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("p2p-state.json");
    let peer: PeerId = "12D3KooWR7Biy6nPgQFhk2eYP62pAkcFA6he9RUFURTDh7ewTjpo".parse()?;

    let store = P2PStatePersistence::open(&path)?;
    store.peer_seen(&peer, &["/ip4/192.0.2.1/tcp/4001".parse()?])?;
    let ack = store.retrieval_succeeded(&peer, Duration::from_millis(38))?;
    println!("change {} is in memory", ack.lsn());
    println!("and through change {} everything survives a power cut", ack.await?);
    drop(store);

    let store = P2PStatePersistence::open(&path)?;
    println!("{}", store.recovery()?);
    let view = store.view()?;
    let entry = view.peer(&peer).ok_or("the peer was forgotten")?;
    println!("{peer}: {entry:#?}");
    store.close().await?;
    Ok(())
}
