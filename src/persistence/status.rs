//! How a store is right now.

use std::{sync::atomic::Ordering, time::Duration};

use super::engine::Engine;
use crate::{Error, Lsn, history::HistoryStatus, state::Counts};

/// How a store is right now. Fields are read one after the other: it is no consistent picture.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status {
    /// Number of the last change appended.
    pub last_lsn: Lsn,
    /// Every change up to this number survives a power cut.
    pub durable_through: Lsn,
    /// Number of changes that a power cut would take now.
    pub unsynced_changes: u64,
    /// Their size in bytes.
    pub unsynced_bytes: usize,
    /// How long the oldest change that is not being written yet has waited.
    pub unsynced_age: Duration,
    /// LSN of the newest snapshot; zero if there is none.
    pub snapshot_lsn: Lsn,
    /// Size of the newest snapshot in bytes.
    pub snapshot_bytes: u64,
    /// Bytes of journal since that snapshot.
    pub journal_bytes: u64,
    /// Number of the open segment.
    pub segment: u64,
    /// Why the disk refuses writes, while it does. Changes stay in memory and are tried again.
    pub degraded: Option<Error>,
    /// Failed compactions in a row.
    pub compaction_failures: u64,
    /// How far the past is kept; `None` if it is not.
    pub history: Option<HistoryStatus>,
    /// Number of rows of each kind.
    pub counts: Counts,
}

impl Status {
    pub(super) fn of(engine: &Engine) -> Self {
        let (unsynced_changes, unsynced_bytes, unsynced_age) = engine.queue.unsynced();
        let (state, last_lsn) = engine.queue.view();
        Self {
            last_lsn,
            durable_through: engine.progress.durable_through(),
            unsynced_changes,
            unsynced_bytes,
            unsynced_age,
            snapshot_lsn: Lsn::new(engine.jobs.status.snapshot_lsn.load(Ordering::Relaxed)),
            snapshot_bytes: engine.jobs.status.snapshot_bytes.load(Ordering::Relaxed),
            journal_bytes: engine.progress.journal_bytes(),
            segment: engine.progress.segment(),
            degraded: engine.progress.degraded(),
            compaction_failures: engine.jobs.status.failures.load(Ordering::Relaxed),
            history: engine.jobs.status.history(),
            counts: state.counts(),
        }
    }
}
