//! How a registry is set up: [`P2PConfig`], and the limits on what strangers may cause.

use std::{fmt, path::PathBuf, time::Duration};

use libp2p::identity::Keypair;
use multiaddr::Multiaddr;

use super::dial::shape_fault;
use crate::{Error, P2PStatePersistence};

/// The gossip topic of package announcements.
pub const PACKAGES_TOPIC: &str = "/ggen/packages/v1";

/// Largest package that a limit may allow, in bytes: what fits into a record with room to spare.
const PACKAGE_BYTES_CEILING: usize = 8 << 20;

/// Configuration of a [`P2PRegistry`](super::P2PRegistry). Every field has a default.
#[derive(Clone)]
pub struct P2PConfig {
    /// Nodes to join the network through; they are remembered beside those that the store knows
    /// already, and are never evicted. An address without `/p2p/<peer id>` works too, and so do
    /// `/dns`, `/dns4`, `/dns6` and `/dnsaddr` ones if the crate was built with the feature `dns`;
    /// without it they are skipped, and `bootstrap` says why.
    pub bootstrap_nodes: Vec<Multiaddr>,
    /// The gossip topic of announcements; nodes find each other's packages only on the same one.
    pub packages_topic: String,
    /// True (the default) to answer the DHT queries of others, false to only ask.
    pub dht_server_mode: bool,
    /// Where [`start_listening`](super::P2PRegistry::start_listening) listens. By default any TCP
    /// port on every IPv4 interface.
    pub listen_addresses: Vec<Multiaddr>,
    /// Longest time that a query may take (default 30 s).
    pub query_timeout: Duration,
    /// The identity of the node. `None`, the default, makes a new one: keep it in a file of your
    /// own to have the same peer id after a restart.
    pub keypair: Option<Keypair>,
    /// The state file. `None`, the default, is `~/.ggen/p2p-state.json`.
    pub state_file: Option<PathBuf>,
    /// Limits on what other peers may cause.
    pub limits: RegistryLimits,
}

impl Default for P2PConfig {
    fn default() -> Self {
        let any = Multiaddr::empty()
            .with(multiaddr::Protocol::Ip4(std::net::Ipv4Addr::UNSPECIFIED))
            .with(multiaddr::Protocol::Tcp(0));
        Self {
            bootstrap_nodes: Vec::new(),
            packages_topic: PACKAGES_TOPIC.to_owned(),
            dht_server_mode: true,
            listen_addresses: vec![any],
            query_timeout: Duration::from_secs(30),
            keypair: None,
            state_file: None,
            limits: RegistryLimits::default(),
        }
    }
}

impl fmt::Debug for P2PConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.keypair.as_ref().map(|keypair| keypair.public().to_peer_id());
        f.debug_struct("P2PConfig")
            .field("bootstrap_nodes", &self.bootstrap_nodes)
            .field("packages_topic", &self.packages_topic)
            .field("dht_server_mode", &self.dht_server_mode)
            .field("listen_addresses", &self.listen_addresses)
            .field("query_timeout", &self.query_timeout)
            .field("keypair", &id)
            .field("state_file", &self.state_file)
            .field("limits", &self.limits)
            .finish()
    }
}

impl P2PConfig {
    /// Opens the store that the configuration names. Blocks while it is recovered.
    pub(super) fn open_store(&self) -> Result<P2PStatePersistence, Error> {
        let store = match &self.state_file {
            Some(path) => P2PStatePersistence::open(path)?,
            None => {
                let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty());
                let home = home.ok_or_else(|| {
                    Error::invalid("this user has no home folder").next("set P2PConfig::state_file")
                })?;
                P2PStatePersistence::open(home.join(".ggen").join("p2p-state.json"))?
            }
        };
        Ok(store)
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let limits = &self.limits;
        let wrong = [
            (self.query_timeout.is_zero(), "query_timeout must be more than 0"),
            (self.packages_topic.is_empty(), "packages_topic must not be empty"),
            (self.packages_topic.len() > 256, "packages_topic must have at most 256 bytes"),
            (limits.peers == 0, "limits.peers must be more than 0"),
            (limits.addresses_unverified == 0, "limits.addresses_unverified must be more than 0"),
            (
                limits.addresses_total < limits.addresses_unverified,
                "limits.addresses_total must not be less than limits.addresses_unverified",
            ),
            (limits.package_bytes == 0, "limits.package_bytes must be more than 0"),
            (
                limits.package_bytes > PACKAGE_BYTES_CEILING,
                "limits.package_bytes must be at most 8 MiB",
            ),
            (limits.dials_at_once == 0, "limits.dials_at_once must be more than 0"),
        ];
        if let Some((_, message)) = wrong.iter().find(|(holds, _)| *holds) {
            return Err(Error::invalid(*message).next("correct the configuration"));
        }
        for node in &self.bootstrap_nodes {
            if let Some(fault) = shape_fault(node) {
                let what = format!("the bootstrap node {node} cannot be dialled: {fault}");
                return Err(Error::invalid(what).next("correct the list of bootstrap nodes"));
            }
        }
        Ok(())
    }
}

/// Limits on what other peers may cause: rows, bytes and records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryLimits {
    /// Peers remembered (10,000). Past it peers are evicted: those never spoken to first, the
    /// oldest first, then those of the lowest score; never banned, connected or bootstrap ones.
    pub peers: usize,
    /// Of these, peers that we only heard of (5000).
    pub peers_unverified: usize,
    /// Addresses of a peer that was never dialled with success (16).
    pub addresses_unverified: usize,
    /// Addresses of any peer (32).
    pub addresses_total: usize,
    /// Longest address, in bytes of text (256).
    pub address_bytes: usize,
    /// Protocols of a peer (128).
    pub protocols: usize,
    /// Longest name of a protocol, in bytes (256). Longer ones are left out.
    pub protocol_bytes: usize,
    /// Longest agent version, in bytes (256). Longer ones are cut.
    pub agent_bytes: usize,
    /// Bans (4096). Past it the ban that runs out soonest goes.
    pub bans: usize,
    /// Records a minute that one peer can cause at once (10); what is more is coalesced.
    pub records_per_minute: u32,
    /// Shortest time between two coalesced records about one peer (60 s).
    pub coalesce_within: Duration,
    /// Largest package, in bytes (2 MiB, at most 8 MiB). Nodes of one network must agree on it.
    pub package_bytes: usize,
    /// Packages of others that this node keeps for the DHT (1024).
    pub dht_records: usize,
    /// Their bytes together (64 MiB).
    pub dht_bytes: usize,
    /// Packages a minute that one peer can put into this node's part of the DHT (60).
    pub dht_puts_per_minute: u32,
    /// How long they are kept without being published again (48 h).
    pub dht_ttl: Duration,
    /// Bytes of packages kept in the cache (64 MiB); each stays for at most 5 minutes.
    pub cache_bytes: usize,
    /// Announced packages remembered for searches (10,000, in memory only).
    pub catalog: usize,
    /// Of these, packages of one publisher (256).
    pub catalog_per_publisher: usize,
    /// Open connections (256).
    pub connections: u32,
    /// Open connections to one peer (3).
    pub connections_per_peer: u32,
    /// Remembered peers that are dialled after a start (32), a few at a time.
    pub redials: usize,
    /// Of these, peers in one network: a /16 of IPv4, a /48 of IPv6, one DNS name (8).
    pub redials_per_network: usize,
    /// Dials of remembered peers that are under way at once (4).
    pub dials_at_once: usize,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self {
            peers: 10_000,
            peers_unverified: 5000,
            addresses_unverified: 16,
            addresses_total: 32,
            address_bytes: 256,
            protocols: 128,
            protocol_bytes: 256,
            agent_bytes: 256,
            bans: 4096,
            records_per_minute: 10,
            coalesce_within: Duration::from_secs(60),
            package_bytes: 2 << 20,
            dht_records: 1024,
            dht_bytes: 64 << 20,
            dht_puts_per_minute: 60,
            dht_ttl: Duration::from_secs(48 * 3600),
            cache_bytes: 64 << 20,
            catalog: 10_000,
            catalog_per_publisher: 256,
            connections: 256,
            connections_per_peer: 3,
            redials: 32,
            redials_per_network: 8,
            dials_at_once: 4,
        }
    }
}
