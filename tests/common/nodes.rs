//! Real nodes on loopback, for the tests of the registry.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};

use libp2p::{Swarm, SwarmBuilder, identify, identity::Keypair, noise, tcp, yamux};
use peer_journal::{Multiaddr, P2PConfig, P2PRegistry, PeerId};

/// Longest time that anything in these tests may take: twice the wait between two rounds of
/// announcements.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Bounded, so that a hang is a failure.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.expect("it takes longer than 60 s")
}

/// Polls until the condition holds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let polled = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, polled).await.is_ok(), "not within 60 s: {what}");
}

/// One node of a test: what is needed to start it again.
pub(crate) struct Seat {
    pub(crate) key: Keypair,
    pub(crate) state_file: PathBuf,
}

impl Seat {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let state_file = dir.join(name).join("p2p-state.json");
        Self { key: Keypair::generate_ed25519(), state_file }
    }

    pub(crate) fn peer(&self) -> PeerId {
        self.key.public().to_peer_id()
    }

    pub(crate) fn config(&self, bootstrap: &[Multiaddr]) -> P2PConfig {
        P2PConfig {
            bootstrap_nodes: bootstrap.to_vec(),
            listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            keypair: Some(self.key.clone()),
            state_file: Some(self.state_file.clone()),
            query_timeout: Duration::from_secs(10),
            ..P2PConfig::default()
        }
    }

    /// Started, listening, subscribed; the address has the peer id in it.
    pub(crate) async fn start(&self, bootstrap: &[Multiaddr]) -> (P2PRegistry, Multiaddr) {
        start(self.config(bootstrap)).await
    }
}

pub(crate) async fn start(config: P2PConfig) -> (P2PRegistry, Multiaddr) {
    let node = within(P2PRegistry::new(config)).await.unwrap();
    let listening = within(node.start_listening()).await.unwrap();
    within(node.subscribe()).await.unwrap();
    let address = listening[0].clone().with_p2p(node.local_peer_id()).unwrap();
    (node, address)
}

pub(crate) async fn connected(node: &P2PRegistry, peer: &PeerId) -> bool {
    node.connected_peers().await.unwrap().contains(peer)
}

/// A node that is no registry: it speaks identify and nothing else, and says what it is told to.
pub(crate) fn stranger(agent: &str, key: &Keypair) -> Swarm<identify::Behaviour> {
    let config = identify::Config::new("/stranger/1".to_owned(), key.public())
        .with_agent_version(agent.to_owned());
    SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| identify::Behaviour::new(config))
        .unwrap()
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(LIMIT))
        .build()
}
