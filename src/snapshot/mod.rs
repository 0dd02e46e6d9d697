//! The snapshot: one pretty JSON document with the whole state as of an LSN.
//!
//! Knows rows and JSON, but no segment and, but for [`both`], no thread. Reading order:
//! [`document`] (the rows as people see them), [`json`] and [`write`] (state to bytes), [`read`]
//! (bytes to state, older versions too), [`own`] (the same for what this crate wrote),
//! [`temporary`] (write, sync, read back), [`publish`] (rename, sync the folder; in that order).
//!
//! A snapshot file is never changed in place: it is written beside the old one and renamed over it.

mod both;
mod document;
mod json;
pub(crate) mod name;
mod own;
pub(crate) mod publish;
pub(crate) mod read;
mod temporary;
pub(crate) mod write;

use chrono::{DateTime, Utc};

use crate::{Lsn, StoreId};

/// What a snapshot says of itself beside the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) store_id: StoreId,
    /// The state holds every record up to this number.
    pub(crate) lsn: Lsn,
    /// The largest segment number in use when it was written; a later segment gets a larger one.
    pub(crate) segment: u64,
    pub(crate) saved_at: DateTime<Utc>,
}
