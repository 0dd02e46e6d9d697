//! What a libp2p program puts beside its own behaviours so that its node remembers.
//!
//! | you have | you add | what survives a crash |
//! |---|---|---|
//! | a `derive(NetworkBehaviour)` | [`Behaviour`] | peers, addresses, bans in force |
//! | an event loop | [`Recorder::record`] | what identify, kad and gossipsub tell |
//! | kademlia | [`KadStore`], [`seed_kad`] | DHT values, provider records, the routing table |
//! | `libp2p-peer-store` | [`PeerStore`] | peers and addresses, behind that crate's trait |
//!
//! ```no_run
//! use libp2p::{identify, kad, swarm::NetworkBehaviour};
//! use peer_journal::registry::adapters;
//!
//! #[derive(NetworkBehaviour)]
//! struct Node {
//!     // First, so that a banned peer is refused before the others make room for it.
//!     memory: adapters::Behaviour,
//!     identify: identify::Behaviour,
//!     kad: kad::Behaviour<adapters::KadStore>,
//! }
//! ```
//!
//! # What strangers can do
//! All adapters but [`KadStore`], which has limits of its own, go through one [`Policy`], and so
//! does [`P2PRegistry`](crate::P2PRegistry). It holds the number of peers and addresses to the
//! limits of a [`Config`], writes a fact again only when it changed, gathers soft facts (such as
//! "seen again") for a minute, and writes no more records for a peer, for those that the store does
//! not know yet, and for all of them together, than a token bucket gives. What waits for its turn
//! is held in memory, once, however often it is told. Nothing here blocks or syncs inside a poll:
//! changes are appended to the journal, whose own thread syncs them within
//! [`sync_within`](crate::Builder::sync_within). When the journal is full they wait, too.
//!
//! | told or seen | what becomes of it |
//! |---|---|
//! | an address that nobody can dial, is too long, or names another peer | never kept |
//! | a private address, by a peer that reaches us over the internet | not kept |
//! | more addresses than a peer may have | the surest stay |
//! | a new list from the peer itself (identify) | replaces its last one; what was reached stays |
//! | an address of an older signed record of the peer | not kept (numbers are in memory only) |
//! | three failed dials, or ten over a week where it once worked | the address goes |
//! | not mentioned for 1 h, 24 h (the peer's own word), 30 days (reached) | the address goes |
//! | nothing left of a peer: no address, reputation or ban | its row goes |
//! | too many unreached peers by one informant, or in all | the oldest of them goes |
//! | too many peers | the unreached go, the oldest first, then those of the lowest score |
//!
//! The last address of a peer that was reached does not age. Pinned, banned and connected peers are
//! never evicted, and what a banned peer says is passed over. Every removal is journaled. Ages
//! follow the wall clock, but neither backwards nor in leaps of more than ten minutes, so that a
//! clock that is set makes nothing out of date.
//!
//! # Two at a time
//! Use either [`Behaviour`] with its [`Recorder`], or [`PeerStore`]. Both on one store work, but
//! each has its own buckets and its own idea of which addresses failed.

mod behaviour;
mod book;
mod bucket;
mod clock;
mod config;
mod facts;
mod kad_config;
mod kad_mirror;
mod kad_rows;
mod kad_store;
mod keeper;
mod peer_store;
mod policy;
mod recorder;
mod seed;

pub use super::addresses::normal_address;
pub use behaviour::{Banned, Behaviour, Event};
pub(super) use bucket::Buckets;
pub use config::Config;
pub use facts::Record;
pub use kad_config::{KadConfig, KadCounters};
pub use kad_mirror::{KadProvided, KadRecords};
pub use kad_store::KadStore;
pub use keeper::Counters;
pub use peer_store::{PeerStore, StoreEvent};
pub use policy::{Fact, Note, Policy};
pub use recorder::Recorder;
pub use seed::{bootstrap_candidates, seed_kad};
