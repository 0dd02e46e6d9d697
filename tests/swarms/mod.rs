//! Real nodes on loopback, for the tests of the adapters.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use std::{
    fmt::Debug,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, Utc};
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    futures::{FutureExt, StreamExt, select},
    identity::Keypair,
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use peer_journal::P2PStatePersistence;

/// Longer than any test takes on a machine that is busy with others.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A node with tcp, noise and yamux, whose idle connections stay.
pub(crate) fn swarm<B: NetworkBehaviour>(key: &Keypair, behaviour: B) -> Swarm<B> {
    SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| Ok(behaviour))
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(LIMIT))
        .build()
}

/// Starts to listen and gives the address.
pub(crate) async fn listen<B: NetworkBehaviour>(swarm: &mut Swarm<B>) -> Multiaddr {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let address = async {
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                return address;
            }
        }
    };
    tokio::time::timeout(LIMIT, address).await.expect("no listen address")
}

/// An event of the first or of the second node.
pub(crate) enum Of<A, B> {
    First(SwarmEvent<A>),
    Second(SwarmEvent<B>),
    /// Nothing happened for a moment.
    Nothing,
}

/// Runs both nodes until `done` says so, which is asked after each event and now and then.
pub(crate) async fn run<A, B>(
    first: &mut Swarm<A>,
    second: &mut Swarm<B>,
    mut done: impl FnMut(&mut Swarm<A>, &mut Swarm<B>, Of<A::ToSwarm, B::ToSwarm>) -> bool,
) where
    A: NetworkBehaviour,
    B: NetworkBehaviour,
    A::ToSwarm: Debug,
    B::ToSwarm: Debug,
{
    let work = async {
        loop {
            let event = select! {
                event = first.select_next_some() => Of::First(event),
                event = second.select_next_some() => Of::Second(event),
                () = tokio::time::sleep(Duration::from_millis(20)).fuse() => Of::Nothing,
            };
            if done(first, second, event) {
                return;
            }
        }
    };
    tokio::time::timeout(LIMIT, work).await.expect("it did not happen in time");
}

/// Dials the second node at this address and waits until both are connected.
pub(crate) async fn connect<A, B>(first: &mut Swarm<A>, second: &mut Swarm<B>, address: Multiaddr)
where
    A: NetworkBehaviour,
    B: NetworkBehaviour,
    A::ToSwarm: Debug,
    B::ToSwarm: Debug,
{
    let (one, two) = (*first.local_peer_id(), *second.local_peer_id());
    first.dial(address).unwrap();
    run(first, second, |a, b, _| a.is_connected(&two) && b.is_connected(&one)).await;
}

/// Ends the connection and waits until both know.
pub(crate) async fn disconnect<A, B>(first: &mut Swarm<A>, second: &mut Swarm<B>)
where
    A: NetworkBehaviour,
    B: NetworkBehaviour,
    A::ToSwarm: Debug,
    B::ToSwarm: Debug,
{
    let (one, two) = (*first.local_peer_id(), *second.local_peer_id());
    first.disconnect_peer_id(two).unwrap();
    run(first, second, |a, b, _| !a.is_connected(&two) && !b.is_connected(&one)).await;
}

/// A clock for stores that moves only when told.
#[derive(Clone)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000_000)))
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0.load(Ordering::SeqCst)).unwrap()
    }

    pub(crate) fn open(&self, path: &Path) -> P2PStatePersistence {
        let clock = self.clone();
        P2PStatePersistence::builder(path).clock(move || clock.now()).open().unwrap()
    }
}

/// What the store knows of a peer's addresses.
pub(crate) fn remembered(store: &P2PStatePersistence, peer: &PeerId) -> Vec<String> {
    let view = store.view().unwrap();
    let row = view.peer(peer).and_then(|entry| entry.seen.clone()).unwrap_or_default();
    row.addresses.iter().map(|address| address.to_string()).collect()
}
