//! The same changes once more on a simulated disk that loses everything unsynced when the power
//! fails.

use std::{path::Path, sync::Arc};

use peer_journal::{
    Lsn, P2PStatePersistence, Recorded,
    testing::{Outcome, SimDisk},
};

use super::{
    Kept,
    rivals::{Habit, Rival, kept},
    state_file,
};
use crate::Failure;

/// Replays `records` into the three stores on a simulated disk, cuts the power, and counts what a
/// restart finds.
pub(crate) async fn cut(records: &[Recorded]) -> Result<Kept, Failure> {
    let disk = SimDisk::new(1);
    let dir = Path::new("/demo");
    let store = P2PStatePersistence::builder(state_file(dir)).vfs(Arc::new(disk.mount())).open()?;
    let mounted = disk.mount();
    let mut rivals = [Habit::EverySixtySeconds, Habit::OnCleanExit]
        .map(|habit| Rival::new(&mounted, dir, habit));
    let mut last = None;
    for recorded in records {
        last = Some(store.append_batch(recorded.changes.iter().cloned())?);
        for rival in &mut rivals {
            rival.apply(recorded);
        }
    }
    if let Some(ack) = last {
        ack.await?;
    }
    // The power fails here: after the acknowledgement, before any clean exit.
    let image = disk.fork();
    drop(store);
    image.power_cut(Outcome::DropUnsynced);
    let found =
        P2PStatePersistence::builder(state_file(dir)).vfs(Arc::new(image.mount())).open()?;
    Ok(Kept {
        ours: found.view()?.lsn().get().saturating_sub(found.recovery()?.lost_records()),
        rewritten: kept(&image, dir, Habit::EverySixtySeconds),
        on_exit: kept(&image, dir, Habit::OnCleanExit),
    })
}

/// Every record of the store, in order.
pub(crate) async fn all_records(
    store: &P2PStatePersistence,
) -> Result<Vec<Recorded>, peer_journal::Error> {
    let last = store.sync().await?;
    let mut changes = store.changes_since(Lsn::ZERO)?;
    let mut records = Vec::new();
    while records.last().map_or(Lsn::ZERO, |recorded: &Recorded| recorded.lsn) < last {
        match changes.next().await {
            Some(recorded) => records.push(recorded?),
            None => break,
        }
    }
    Ok(records)
}
