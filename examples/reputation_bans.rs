//! Reputation and bans: what a peer did survives a restart, and so does what it got for it.
#![allow(clippy::print_stdout)]

use std::{error::Error, time::Duration};

use peer_journal::{P2PStatePersistence, PeerId};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("p2p-state.json");
    let (good, bad) = (PeerId::random(), PeerId::random());

    let store = P2PStatePersistence::open(&path)?;
    for response_ms in [38, 45, 31] {
        store.retrieval_succeeded(&good, Duration::from_millis(response_ms))?;
    }
    store.packages_provided(&good, 4)?;
    for _ in 0..3 {
        store.retrieval_failed(&bad)?;
    }
    // A ban is synced at once; when the ack is there it holds, whatever happens next.
    let day = Duration::from_secs(24 * 3600);
    store.ban(&bad, day, "three broken packages", "example")?.await?;
    drop(store); // or a crash

    let store = P2PStatePersistence::open(&path)?;
    let (view, now) = (store.view()?, chrono::Utc::now());
    for peer in [good, bad] {
        let reputation = view.peer(&peer).and_then(|entry| entry.reputation.clone());
        let reputation = reputation.unwrap_or_default();
        println!(
            "{peer}: {} good, {} failed, {} ms",
            reputation.successful_retrievals,
            reputation.failed_retrievals,
            reputation.avg_response_time_ms
        );
        if let Some(ban) = view.ban(&peer, now) {
            // What others had a hand in is escaped before a person sees it.
            println!("  banned until {}: {}", ban.until, ban.reason.escape_debug());
        }
    }
    store.unban(&bad)?.await?;
    println!("banned now: {}", store.view()?.ban(&bad, now).is_some());
    store.close().await?;
    Ok(())
}
