//! Following the journal: every change after a point, in order and without a gap, once it is
//! durable.
#![allow(clippy::print_stdout)]

use std::error::Error;

use peer_journal::{P2PStatePersistence, PeerId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let store = P2PStatePersistence::open(dir.path().join("p2p-state.json"))?;
    let peer = PeerId::random();
    store.peer_seen(&peer, &[])?;

    // A view, and everything that comes after it: together they miss nothing.
    let view = store.view()?;
    println!("{} peer(s) as of change {}", view.state().counts().peers, view.lsn());
    let mut changes = store.changes_since(view.lsn())?;
    let follower = tokio::spawn(async move {
        while let Some(record) = changes.next().await {
            let record = record?;
            for change in &record.changes {
                println!("change {}: {}", record.lsn, change.kind());
            }
        }
        Ok::<_, peer_journal::Error>(()) // the store was closed
    });

    store.retrieval_failed(&peer)?;
    store.addresses_added(&peer, &["/ip4/192.0.2.1/tcp/4001".parse()?])?;
    store.forget_peer(&peer)?;
    store.close().await?;
    follower.await??;
    Ok(())
}
