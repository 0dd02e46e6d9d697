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
//!
//! A publisher puts its packages into the DHT again after each start and every 22 hours. A copy
//! ends [`RegistryLimits::dht_ttl`] after its publisher last did, however often it was passed on
//! and whether or not the node that holds it was up. Provider records that others put here are
//! kept over a restart and handed out; this node puts none, since each package is its own DHT
//! value.
//!
//! # What unpublishing can promise
//! When [`unpublish_package`](P2PRegistry::unpublish_package) returns, the publisher itself will
//! never serve that copy again, also after a crash. Every node that hears of it drops its copies
//! and refuses older ones; it remembers so over restarts, for `dht_ttl`, within which every copy
//! runs out. A node hears of it while it is subscribed and reached by gossip, or later, when it is
//! subscribed at the same time as the publisher: the publisher tells newcomers what it withdrew,
//! for as long as it remembers. Publishing the id again makes a new package, which is not affected.
//!
//! It cannot promise that nobody has a copy: a node that hears nothing serves its own until it runs
//! out, one that was cut off from the publisher may pass it to nodes that never knew the package,
//! and a node that breaks the rules can keep and hand out what was signed for ever. At most 4096
//! withdrawals are remembered, 256 of one other publisher; the oldest go first, this node's own
//! last.
//!
//! In the store a withdrawal is a DHT entry of 8 bytes, the time in milliseconds, little-endian,
//! under `withdrawn:<topic>/<publisher>/<id>`.

// Reading order: `config`, `handle`, `commands`, `start`, `node` (the task), `events` (what the
// swarm reports), `adapters` (what becomes a change, what does not, and bans), `recorder` (what the
// registry adds to that), `seed` and `dial` (whom to dial after a start), `exchange` and `announce`
// with `package`, `catalog`, `withdrawn`, `shelf` and `records` (packages), `peers` and `score`.

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
mod records;
mod score;
mod seed;
mod shelf;
mod start;
#[cfg(test)]
mod tests;
mod withdrawn;

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
