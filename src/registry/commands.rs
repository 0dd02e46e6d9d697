//! What a handle asks of the node's task, and what it gets back.

use std::{collections::HashSet, time::Duration};

use libp2p::{core::transport::ListenerId, swarm::ConnectionId};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::sync::oneshot;

use super::{
    package::{Checked, Package, PackageInfo},
    recorder::Counters,
};
use crate::{Ack, Error};

/// Where an answer goes. The one who asked may have gone.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// One request to the node's task.
pub(super) enum Command {
    Listen { addresses: Vec<Multiaddr>, reply: Reply<Vec<Multiaddr>> },
    Dial { address: Multiaddr, reply: Reply<Bootstrapped> },
    Bootstrap { reply: Reply<Bootstrapped> },
    Subscribe { reply: Reply<()> },
    Publish { package: Checked, reply: Reply<(Ack, Published)> },
    Unpublish { id: String, reply: Reply<Ack> },
    Get { id: String, reply: Reply<Option<Package>> },
    Search { text: String, limit: usize, reply: Reply<Vec<PackageInfo>> },
    Ban { peer: PeerId, duration: Duration, reason: String, reply: Reply<Ack> },
    Unban { peer: PeerId, reply: Reply<Ack> },
    Snapshot { reply: Reply<Snapshot> },
    Shutdown { reply: Reply<()> },
}

/// What became of joining the network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bootstrapped {
    /// The nodes that answered, or were connected already.
    pub connected: Vec<PeerId>,
    /// The nodes that did not, and why.
    pub failed: Vec<(Multiaddr, String)>,
}

/// What became of a package that was published. It is durable on this node in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published {
    /// The metadata row.
    pub info: PackageInfo,
    /// Other nodes that took the package. With none, it is handed over once a node is met.
    pub replicas: usize,
    /// True if somebody was there to hear the announcement. It is repeated when peers subscribe.
    pub announced: bool,
}

/// The node as its task knows it.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) listen_addresses: Vec<Multiaddr>,
    pub(super) connected_peers: Vec<PeerId>,
    pub(super) routing_table: usize,
    pub(super) subscribed: bool,
    pub(super) catalog: usize,
    pub(super) published: usize,
    pub(super) counters: Counters,
}

/// Somebody waits until listeners have addresses.
pub(super) struct ListenWait {
    pub(super) left: HashSet<ListenerId>,
    pub(super) all: Vec<ListenerId>,
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) reply: Reply<Vec<Multiaddr>>,
}

/// Somebody waits until dials are settled.
pub(super) struct DialWait {
    pub(super) left: Vec<(ConnectionId, Multiaddr)>,
    pub(super) outcome: Bootstrapped,
    pub(super) reply: Reply<Bootstrapped>,
}

/// Answers; that nobody waits for the answer any more is no error.
pub(super) fn answer<T>(reply: Reply<T>, result: Result<T, Error>) {
    if reply.send(result).is_err() {
        tracing::trace!("nobody waits for the answer any more");
    }
}
