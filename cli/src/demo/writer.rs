//! The child of the demo: a program that remembers peers in three stores until it is killed.

use std::{
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use peer_journal::{
    Lsn, Multiaddr, P2PStatePersistence, PeerId,
    vfs::{OsVfs, Vfs},
};

use super::rivals::{Habit, Rival};
use crate::Failure;

/// Tasks that append and wait for their acknowledgement.
const TASKS: u64 = 16;
const PEERS: u64 = 200;

/// Runs until it is killed, or until nobody reads what it prints.
pub(crate) fn run(dir: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the runtime", error))?;
    runtime.block_on(write(dir))
}

async fn write(dir: &Path) -> Result<(), Failure> {
    let store = P2PStatePersistence::open(super::state_file(dir))?;
    store.start_auto_save().await?;
    let mut changes = store.changes_since(Lsn::ZERO)?;
    for task in 0..TASKS {
        let store = store.clone();
        tokio::spawn(async move {
            for turn in 0_u64.. {
                if append(&store, task, turn).await.is_err() {
                    return;
                }
            }
        });
    }
    let disk: &dyn Vfs = &OsVfs;
    let mut rivals =
        [Habit::EverySixtySeconds, Habit::OnCleanExit].map(|habit| Rival::new(disk, dir, habit));
    let mut told = Instant::now();
    while let Some(recorded) = changes.next().await {
        let recorded = recorded?;
        let elapsed = std::mem::replace(&mut told, Instant::now()).elapsed();
        for rival in &mut rivals {
            rival.apply(&recorded);
            rival.tick(elapsed).map_err(|error| Failure::io("cannot write a JSON file", error))?;
        }
        // The stream shows only what is durable, so this line is an acknowledgement.
        if writeln!(io::stdout(), "{}", recorded.lsn).is_err() {
            break;
        }
    }
    for rival in &mut rivals {
        rival.exit().map_err(|error| Failure::io("cannot write a JSON file", error))?;
    }
    Ok(store.close().await?)
}

/// What a node would append: a peer is seen, answers, or fails to.
async fn append(store: &P2PStatePersistence, task: u64, turn: u64) -> Result<Lsn, Failure> {
    let number = task.wrapping_mul(31).wrapping_add(turn.wrapping_mul(7)) % PEERS;
    let peer = peer(number)?;
    let ack = match turn % 4 {
        0 => store.peer_seen(&peer, &[address(number)?])?,
        1 | 2 => store.retrieval_succeeded(&peer, Duration::from_millis(20 + number % 80))?,
        _ => store.retrieval_failed(&peer)?,
    };
    Ok(ack.await?)
}

/// A valid id that belongs to nobody.
fn peer(number: u64) -> Result<PeerId, Failure> {
    let mut bytes = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    for part in 0..4_u64 {
        let mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bytes.extend_from_slice(&mixed.wrapping_add(part).to_be_bytes());
    }
    PeerId::from_bytes(&bytes)
        .map_err(|error| Failure::negative(format!("unexpected, please report it: {error}")))
}

fn address(number: u64) -> Result<Multiaddr, Failure> {
    format!("/ip4/127.0.0.1/tcp/{}", 4000 + number)
        .parse()
        .map_err(|error| Failure::negative(format!("unexpected, please report it: {error}")))
}
