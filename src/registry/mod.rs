//! `P2PRegistry`: a real libp2p node that remembers.
//!
//! ```no_run
//! # async fn example() -> Result<(), peer_journal::Error> {
//! use peer_journal::{P2PConfig, P2PRegistry};
//!
//! let config = P2PConfig {
//!     bootstrap_nodes: vec!["/ip4/192.0.2.1/tcp/4001".parse().expect("a multiaddr")],
//!     ..P2PConfig::default()
//! };
//! let node = P2PRegistry::new(config).await?;
//! node.start_listening().await?;
//! node.subscribe().await?;
//! node.publish_package("web/rust", "1.0.0", "a web thing", b"bytes").await?;
//! if let Some(package) = node.get_package("web/go").await? {
//!     println!("{} bytes from {:?}", package.data.len(), package.source);
//! }
//! node.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What reaches the journal
//! The node's memory is that of the [`adapters`], its rules are those of [`adapters::Policy`]. At
//! once: the first address at which a peer was dialled with success, what
//! it says of itself when that changes, addresses that turn out to be somebody else's, retrievals,
//! packages, and bans (which are durable before the call returns). Coalesced, at most once a minute
//! for each peer: when a peer was seen, and whatever exceeds the ten records a minute that one peer
//! may cause. Never: failed inbound connections, ports of inbound connections, that a peer is
//! connected. Failed dials are counted in memory, and only while two other peers are connected.
//!
//! # Packages
//! A package is signed by its publisher, kept as one DHT record under `<topic>/<id>`, and announced
//! over gossip. An id belongs to the publisher from whom a node heard it first. The largest package
//! is [`RegistryLimits::package_bytes`] (2 MiB): kademlia's default message of 16 KiB is raised to
//! hold it, and all nodes of a network must agree on it. The kademlia protocol is
//! `/ggen/kad/1.0.0`.

// Reading order: `config`, `handle`, `commands`, `start`, `node` (the task), `events` (what the
// swarm reports), `adapters` (what becomes a change, what does not, and bans), `recorder` (what the
// registry adds to that), `seed` and `dial` (whom to dial after a start), `exchange` and `announce`
// with `package`, `catalog` and `shelf` (packages), `peers` and `score`.

pub mod adapters;

mod addresses;
mod announce;
mod behaviour;
mod catalog;
mod commands;
mod config;
mod dial;
mod events;
mod exchange;
mod handle;
mod listen;
mod node;
mod package;
mod peers;
mod recorder;
mod score;
mod seed;
mod shelf;
mod start;
#[cfg(test)]
mod tests;

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
