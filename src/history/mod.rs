//! History: sealed segments that compaction would have deleted, and as few snapshots as make every
//! record in them restorable.
//!
//! Recovery never looks here: what it needs is in the journal folder. A file that is missing or
//! damaged here costs a look back, never a change.

use std::path::PathBuf;

use crate::snapshot::publish::Places;

/// Name of the history's folder, inside the journal folder.
const HISTORY: &str = "history";

/// The folder of a store's history.
pub(crate) fn dir(places: &Places) -> PathBuf {
    places.journal_dir.join(HISTORY)
}
