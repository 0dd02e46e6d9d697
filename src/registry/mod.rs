//! libp2p on top of the store.
//!
//! [`adapters`] let any libp2p program remember what its swarm learns.

pub mod adapters;
