//! History: sealed segments that compaction would have deleted, and as few snapshots as make every
//! record in them restorable.
//!
//! Recovery never looks here: what it needs is in the journal folder. A file that is missing or
//! damaged here costs a look back, never a change. Reading order: [`policy`] (what is kept and for
//! how long; pure), [`caps`] (the file that remembers the caps), [`keep`] (moving and pruning).

pub(crate) mod caps;
pub(crate) mod keep;
mod policy;

use std::{path::PathBuf, time::Duration};

use chrono::{DateTime, Utc};

use crate::{Lsn, snapshot::publish::Places};

/// Name of the history's folder, inside the journal folder.
const HISTORY: &str = "history";

/// The folder of a store's history.
pub(crate) fn dir(places: &Places) -> PathBuf {
    places.journal_dir.join(HISTORY)
}

/// How much of the past a store keeps: [`Builder::keep_history`](crate::Builder::keep_history).
///
/// The past is kept in stretches that begin with a snapshot, and goes a stretch at a time, the
/// oldest first, as soon as a cap is passed. A stretch is about twice as long as the snapshot is
/// large, so a cap on the bytes should be several times that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Most bytes in the folder `history`. What compaction has just put there may pass it for a
    /// moment.
    pub bytes_max: u64,
    /// A stretch goes once all of it is older than this. Steps of the system's clock while the
    /// store is open do not make it older.
    pub age_max: Duration,
}

impl History {
    /// No history: the next compaction removes what there is.
    pub const OFF: Self = Self { bytes_max: 0, age_max: Duration::ZERO };

    /// True if there is a history to keep.
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.bytes_max > 0 && !self.age_max.is_zero()
    }
}

impl Default for History {
    /// 1 GiB and 30 days.
    fn default() -> Self {
        Self { bytes_max: 1 << 30, age_max: Duration::from_secs(30 * 24 * 3600) }
    }
}

/// The history of a store, as of its last compaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryStatus {
    /// The caps that hold.
    pub caps: History,
    /// Bytes in the folder.
    pub bytes: u64,
    /// The oldest restorable point: the state of every LSN from here on can be had with
    /// [`Reader::state_at`](crate::Reader::state_at). `None` if nothing has been put there yet.
    pub oldest: Option<Lsn>,
    /// When that was.
    pub oldest_at: Option<DateTime<Utc>>,
    /// Failed attempts in a row to put files there or to remove them. They stay where they are and
    /// are tried again with each compaction.
    pub failures: u64,
}
