//! peer-journal in the benchmark: with its default options.

use std::{
    path::Path,
    pin::pin,
    sync::Mutex,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use peer_journal::{Change, ErrorKind, P2PStatePersistence, state::Limits};

use crate::{engines::Result, workload::World};

/// Changes of the base that share a record.
const BASE_BATCH: usize = 500;

/// Opens the store in a folder of its own, filled with the base.
pub fn open_filled(dir: &Path, world: &World) -> Result<P2PStatePersistence> {
    std::fs::create_dir_all(dir)?;
    fill(open(dir)?, world)
}

/// Puts the base into a store.
pub fn fill(store: P2PStatePersistence, world: &World) -> Result<P2PStatePersistence> {
    for changes in base_records(world) {
        append(&store, || changes.clone())?;
    }
    Ok(store)
}

pub fn open(dir: &Path) -> Result<P2PStatePersistence> {
    Ok(P2PStatePersistence::open(dir.join("p2p-state.json"))?)
}

/// Opens the store with room for twice the peers, as a program sets that has so many: at its limit
/// a store has to look at the row of a peer before it takes a retrieval.
pub fn open_roomy(dir: &Path, peers: usize) -> Result<P2PStatePersistence> {
    std::fs::create_dir_all(dir)?;
    let mut limits = Limits::default();
    limits.peers = 2 * peers;
    Ok(P2PStatePersistence::builder(dir.join("p2p-state.json")).limits(limits).open()?)
}

/// The changes of the base, as the records that hold them.
pub fn base_records(world: &World) -> impl Iterator<Item = Vec<Change>> {
    let mut pairs = world.base_changes();
    std::iter::from_fn(move || {
        let changes: Vec<Change> = pairs.by_ref().take(BASE_BATCH).flatten().collect();
        (!changes.is_empty()).then_some(changes)
    })
}

/// A change that was made ahead of time, for one of many threads to take.
pub type Slot = Mutex<Option<Change>>;

pub fn slot(world: &World) -> Slot {
    Mutex::new(Some(world.change(world.op())))
}

pub fn take(slot: &Slot) -> Option<Change> {
    slot.lock().unwrap().take()
}

/// Appends without waiting for the disk, but for room.
pub fn append_relaxed(store: &P2PStatePersistence, change: Change) -> Result<()> {
    let mut appended = pin!(store.append_async(change));
    loop {
        match appended.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(ack) => return ack.map(drop).map_err(Into::into),
            Poll::Pending => thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn append(store: &P2PStatePersistence, changes: impl Fn() -> Vec<Change>) -> Result<()> {
    loop {
        match store.append_batch(changes()) {
            Err(error) if error.kind() == ErrorKind::Full => {
                thread::sleep(Duration::from_millis(1))
            }
            appended => return appended.map(drop).map_err(Into::into),
        }
    }
}
