//! `P2PRegistry`: a real libp2p node that remembers.
//!
//! One task owns the swarm; handles ask it through a bounded channel. Reading order: [`config`],
//! [`commands`], [`node`] (the task), [`events`] (what the swarm reports), [`recorder`] with
//! [`pending`], [`budget`] and [`evict`] (what becomes a change, and what does not), [`seed`] and
//! [`dial`] (whom to dial after a start), [`gate`] (bans), [`exchange`] and [`announce`] with
//! [`package`], [`catalog`] and [`shelf`] (packages), [`score`](mod@score). [`adapters`] let any
//! other libp2p program use the store.

pub mod adapters;

mod addresses;
mod announce;
mod behaviour;
mod budget;
mod catalog;
mod commands;
mod config;
mod dial;
mod events;
mod evict;
mod exchange;
mod gate;
mod handle;
mod listen;
mod node;
mod package;
mod peers;
mod pending;
mod recorder;
mod score;
mod seed;
mod shelf;
mod start;

/// The identity of a node, from libp2p.
pub use libp2p::identity::Keypair;

pub use commands::{Bootstrapped, Published};
pub use config::{P2PConfig, PACKAGES_TOPIC, RegistryLimits};
pub use handle::{P2PRegistry, RegistryStatus};
pub use package::{
    PACKAGE_DESCRIPTION_BYTES_MAX, PACKAGE_ID_BYTES_MAX, PACKAGE_VERSION_BYTES_MAX, Package,
    PackageInfo, PackageSource,
};
pub use peers::RankedPeer;
pub use recorder::Counters;
pub use score::{distance_km, score};

use crate::{Error, ErrorKind};

/// The node's task is gone.
fn ended() -> Error {
    Error::new(ErrorKind::Closed, "the registry was shut down").next("make a new one")
}
