//! Syncs of folders that fail, and updates that rest on the names in them.
#![allow(clippy::panic)]

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use peer_journal::{
    ErrorKind, Lsn, P2PState, P2PStatePersistence, SerializedDHTEntry,
    state::Change,
    testing::{Effect, Fault, Op, Outcome, SimDisk},
};

use super::sim::{open, wait_until_durable};

pub(crate) fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

/// Makes each change another one, or it would not be journaled.
static NEXT: AtomicI64 = AtomicI64::new(0);

pub(crate) fn put(key: &str) -> Change {
    let nanos = NEXT.fetch_add(1, Ordering::Relaxed);
    let at = noon() + TimeDelta::nanoseconds(nanos);
    Change::DhtPut { key: key.into(), value: b"value".to_vec().into(), at: at.into() }
}

/// A state too large for one record of 1 KiB.
pub(crate) fn large() -> P2PState {
    let entry = |key: &str| SerializedDHTEntry {
        key: key.to_owned(),
        value: vec![7; 600],
        stored_at: noon(),
    };
    P2PState { dht_entries: vec![entry("large1"), entry("large2")], ..P2PState::default() }
}

/// The sync of a folder fails that comes after so many others, and what was not durable in it is
/// forgotten.
pub(crate) fn folder_sync_fails(after: u64) -> Fault {
    Fault::new(Op::SyncDir).after(after).effect(Effect::MarkClean)
}

/// What a power cut leaves if it takes everything unsynced holds each key, and says nothing of
/// damage.
pub(crate) fn survives(disk: &SimDisk, keys: &[&str], story: &str) {
    let image = disk.fork();
    image.clear_faults();
    image.power_cut(Outcome::DropUnsynced);
    let store = open(&image).unwrap();
    let report = store.recovery().unwrap();
    assert!(report.lost.is_empty() && !report.is_damaged(), "{story}: {report}");
    let view = store.view().unwrap();
    for key in keys {
        assert!(view.state().dht_entry(key).is_some(), "{story}: `{key}` is gone: {report}");
    }
}

/// Waits until a change is durable, however often it is told that the disk refuses.
pub(crate) fn append_durably(store: &P2PStatePersistence, key: &str) -> Lsn {
    let ack = store.append(put(key)).unwrap();
    let lsn = ack.lsn();
    if let Err(error) = ack.wait() {
        assert_eq!(error.kind(), ErrorKind::Degraded, "{error:#}");
        wait_until_durable(store);
    }
    lsn
}
