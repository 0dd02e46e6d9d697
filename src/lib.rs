//! A memory for a libp2p node that survives crashes.
//!
//! Peers with their addresses, reputation, bans, DHT entries, the package cache and the bootstrap
//! nodes live in RAM. Every change is appended as a checksummed record to a write-ahead journal;
//! every 60 s an auto-saver compacts the journal into an atomic JSON snapshot that people can read;
//! recovery replays snapshot plus journal, so that what happened between two saves is kept.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let path = dir.path().join("p2p-state.json");
//! use peer_journal::{P2PStatePersistence, PeerId};
//! use std::time::Duration;
//!
//! let store = P2PStatePersistence::open(path)?;
//! println!("{}", store.recovery()?);
//! store.start_auto_save().await?;
//!
//! let peer: PeerId = "12D3KooWR7Biy6nPgQFhk2eYP62pAkcFA6he9RUFURTDh7ewTjpo".parse()?;
//! store.peer_seen(&peer, &["/ip4/127.0.0.1/tcp/4001".parse()?])?;
//! let ack = store.retrieval_succeeded(&peer, Duration::from_millis(38))?;
//! ack.await?; // survives a power cut from here on, and so does everything before it
//!
//! assert!(store.view()?.peer(&peer).is_some());
//! store.close().await?;
//! # Ok(())
//! # }
//! # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
//! ```
//!
//! Start with [`P2PStatePersistence`]: the one handle, with the journaled calls and the calls of
//! the system that this crate replaces. [`state::Change`] lists what can be remembered. The format
//! on disk, the durability guarantees and the recovery table are in the `docs` folder of the
//! repository.
//!
//! # Features
//! - `registry` (default): [`P2PRegistry`], a libp2p node built on the store, and the
//!   [adapters](registry::adapters) that let any other libp2p program use it.
//! - `dns` (default, brings `registry`): the node looks up addresses with a name, such as
//!   `/dns4/example.org/tcp/4001` and `/dnsaddr/example.org`. Pure Rust.
//! - `testing`: a simulated disk that loses what was not synced, for tests of programs that use
//!   the store.
#![cfg_attr(doctest, doc = include_str!("../README.md"))]

mod error;
mod ids;
pub mod state;
pub mod vfs;

mod journal;
mod snapshot;

mod recovery;

mod history;

mod persistence;

mod reader;

mod mend;

#[cfg(feature = "registry")]
pub mod registry;

#[cfg(feature = "testing")]
pub mod testing;

pub use libp2p_identity::PeerId;
pub use multiaddr::Multiaddr;

pub use error::{Error, ErrorKind, MarketplaceError, Result};
pub use history::{History, HistoryStatus};
pub use ids::{Lsn, StoreId};
pub use mend::{
    Redaction, RedactionAction, RedactionPlan, RedactionStep, Repair, RepairPlan, repair,
    repair_plan,
};
pub use persistence::{
    Ack, Builder, Changes, Holder, Inspection, P2PStatePersistence, Recorded, Status, View,
    inspect, seal_snapshot,
};
pub use reader::{
    Checksums, Damage, FileKind, FileReport, Follow, Journal, Log, LogRecord, Proof, Quarantined,
    ReadOptions, Reader, SnapshotInfo, diff,
};
pub use recovery::{
    OnDamage,
    plan::LsnRange,
    report::{Finding, Outcome, RecoveryReport},
    steps::{RepairAction, RepairStep},
    verdict::Verdict,
};
#[cfg(feature = "registry")]
pub use registry::{P2PConfig, P2PRegistry};
pub use snapshot::name::journal_dir;
pub use state::{
    Change, Difference, P2PState, SerializedCacheEntry, SerializedDHTEntry, SerializedGeoLocation,
    SerializedPeer, SerializedReputation, multiaddr_to_string, peer_id_to_string,
    string_to_multiaddr, string_to_peer_id,
};
