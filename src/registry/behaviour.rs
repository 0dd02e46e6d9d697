//! The protocols of the node, and how the swarm is put together.

use std::{io, time::Duration};

use libp2p::{
    StreamProtocol, Swarm, SwarmBuilder, connection_limits, gossipsub, identify, identity::Keypair,
    kad, noise, ping, swarm::NetworkBehaviour, tcp, yamux,
};

use super::{
    P2PConfig, RegistryLimits, adapters,
    package::{ANNOUNCEMENT_BYTES_MAX, ENVELOPE_BYTES_EXTRA},
    records::Records,
};
use crate::{Error, P2PStatePersistence};

/// A network of its own: the default is the public one of IPFS.
pub(super) const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/ggen/kad/1.0.0");
/// Room in a kademlia message for what comes with a record: the closer peers and their addresses.
const KAD_BYTES_EXTRA: usize = 64 << 10;
/// Time that a connection which no protocol uses stays open.
const IDLE: Duration = Duration::from_secs(300);
/// Handshakes in either direction that are under way at once.
const PENDING_CONNECTIONS: u32 = 64;
/// Room in a gossip message for topic, signature and key.
const GOSSIP_BYTES_EXTRA: usize = 3 << 10;

/// The memory comes first: it refuses banned peers, which then cost the others nothing.
#[derive(NetworkBehaviour)]
pub(super) struct Protocols {
    pub(super) memory: adapters::Behaviour,
    pub(super) limits: connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    pub(super) kad: kad::Behaviour<Records>,
    pub(super) gossip: gossipsub::Behaviour,
    pub(super) ping: ping::Behaviour,
}

pub(super) fn swarm(
    key: &Keypair,
    config: &P2PConfig,
    store: &P2PStatePersistence,
    memory: &adapters::Recorder,
) -> Result<Swarm<Protocols>, Error> {
    let protocols = protocols(key, config, store, memory)?;
    let tcp = || {
        SwarmBuilder::with_existing_identity(key.clone())
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                noise::Config::new,
                yamux::Config::default,
            )
            .map_err(|error| setup("the noise handshake").because(error))
    };
    let idle = |swarm: libp2p::swarm::Config| swarm.with_idle_connection_timeout(IDLE);
    #[cfg(feature = "dns")]
    match tcp()?.with_dns() {
        Ok(named) => {
            let named = named.with_behaviour(|_| protocols).map_err(|_| setup("the protocols"))?;
            return Ok(named.with_swarm_config(idle).build());
        }
        // A system without a list of name servers does not keep the node from starting.
        Err(error) => {
            tracing::warn!(%error, "cannot look up names: addresses with a name will not work");
        }
    }
    let plain = tcp()?.with_behaviour(|_| protocols).map_err(|_| setup("the protocols"))?;
    Ok(plain.with_swarm_config(idle).build())
}

fn protocols(
    key: &Keypair,
    config: &P2PConfig,
    store: &P2PStatePersistence,
    memory: &adapters::Recorder,
) -> Result<Protocols, Error> {
    let local = key.public().to_peer_id();
    let limits = &config.limits;
    let agent = concat!("peer-journal/", env!("CARGO_PKG_VERSION")).to_owned();
    // Its cache only serves other behaviours; the registry takes the addresses from the event.
    let identify = identify::Config::new("/ggen/1.0.0".to_owned(), key.public())
        .with_agent_version(agent)
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    let records = Records::new(store, local, limits)?;
    let mut kad = kad::Behaviour::with_config(local, records, kad_config(config));
    let mode = if config.dht_server_mode { kad::Mode::Server } else { kad::Mode::Client };
    kad.set_mode(Some(mode));
    let gossip_config = gossipsub::ConfigBuilder::default()
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(ANNOUNCEMENT_BYTES_MAX + GOSSIP_BYTES_EXTRA)
        .build()
        .map_err(|error| setup("gossip").because(error))?;
    let authenticity = gossipsub::MessageAuthenticity::Signed(key.clone());
    let gossip = gossipsub::Behaviour::new(authenticity, gossip_config)
        .map_err(|error| setup("gossip").because(io::Error::other(error)))?;
    let connections = connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_CONNECTIONS))
        .with_max_pending_outgoing(Some(PENDING_CONNECTIONS))
        .with_max_established_incoming(Some(limits.connections - limits.connections / 4))
        .with_max_established(Some(limits.connections))
        .with_max_established_per_peer(Some(limits.connections_per_peer));
    Ok(Protocols {
        memory: adapters::Behaviour::new(memory),
        limits: connection_limits::Behaviour::new(connections),
        identify: identify::Behaviour::new(identify),
        kad,
        gossip,
        ping: ping::Behaviour::default(),
    })
}

/// Largest value of a DHT record.
pub(super) const fn record_bytes_max(limits: &RegistryLimits) -> usize {
    limits.package_bytes.saturating_add(ENVELOPE_BYTES_EXTRA)
}

fn kad_config(config: &P2PConfig) -> kad::Config {
    let limits = &config.limits;
    let mut kad = kad::Config::new(KAD_PROTOCOL);
    kad.set_query_timeout(config.query_timeout)
        .set_substreams_timeout(config.query_timeout)
        // The default of 16 KiB would cut off all but the smallest packages.
        .set_max_packet_size(record_bytes_max(limits).saturating_add(KAD_BYTES_EXTRA))
        .set_record_ttl(Some(limits.dht_ttl))
        // Records are checked before they are kept.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        // Addresses are checked and counted before they enter the routing table.
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        // A found package is cached by the registry, not pushed to strangers.
        .set_caching(kad::Caching::Disabled);
    kad
}

fn setup(what: &str) -> Error {
    Error::invalid(format!("cannot set up {what} of the node")).next("check the key and the limits")
}
