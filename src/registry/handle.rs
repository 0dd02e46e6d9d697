//! The handle: what a program calls.

use std::time::Duration;

use chrono::{DateTime, Utc};
use libp2p::identity::Keypair;
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

use super::{
    P2PConfig, Package, PackageInfo, adapters,
    commands::{Bootstrapped, Command, Published, Reply, Snapshot},
    ended,
    exchange::{cached, local, timed_out},
    package::{Checked, check_id},
    recorder::Counters,
    start,
    withdrawn::withdrawn_ms,
};
use crate::{Error, P2PStatePersistence, Status};

/// What a handle waits beyond the query's own time, so that the query's own error comes first.
const REPLY_SLACK: Duration = Duration::from_secs(5);

/// A libp2p node that remembers: peers with their addresses and reputation, bans, and packages
/// survive a crash, and after a restart it rejoins the network from what it remembered.
///
/// It is cheap to clone, and may be shared between tasks. The node runs until
/// [`shutdown`](Self::shutdown) or until the last handle is dropped; either way it then saves and
/// closes the store.
///
/// # Cancel safety Of every call: once polled, what was asked is done even if the future is
/// dropped; only the answer is lost.
#[derive(Clone, Debug)]
pub struct P2PRegistry {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) store: P2PStatePersistence,
    pub(super) memory: adapters::Recorder,
    pub(super) key: Keypair,
    pub(super) config: P2PConfig,
    pub(super) local: PeerId,
    pub(super) prefix: String,
}

/// How a registry is right now.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistryStatus {
    /// The node's peer id.
    pub local_peer_id: PeerId,
    /// Where it listens.
    pub listen_addresses: Vec<Multiaddr>,
    /// Peers with an open connection.
    pub connected_peers: Vec<PeerId>,
    /// Peers in the DHT's routing table.
    pub routing_table: usize,
    /// True once the node follows announcements.
    pub subscribed: bool,
    /// Packages known, for searches.
    pub known_packages: usize,
    /// Packages that this node publishes.
    pub published_packages: usize,
    /// What was coalesced, evicted, expired, refused and ignored.
    pub counters: Counters,
    /// How the store is.
    pub store: Status,
}

impl P2PRegistry {
    /// Opens the store, starts its auto-save, and starts the node: it begins to dial remembered
    /// peers and bootstrap nodes, a few at a time. It listens once
    /// [`start_listening`](Self::start_listening) is called.
    ///
    /// # Errors
    /// `Invalid` for a configuration that cannot work or outside a tokio runtime; the errors of
    /// [`Builder::open`](crate::Builder::open), such as `Locked`.
    pub async fn new(config: P2PConfig) -> Result<Self, Error> {
        start::registry(config, None).await
    }

    /// The same on a store that is open already, with options of its own. The registry starts its
    /// auto-save, and closes it at the end.
    ///
    /// # Errors
    /// As for [`new`](Self::new), but for the opening.
    pub async fn with_store(config: P2PConfig, store: P2PStatePersistence) -> Result<Self, Error> {
        start::registry(config, Some(store)).await
    }

    /// The node's peer id.
    #[must_use]
    pub fn local_peer_id(&self) -> PeerId {
        self.local
    }

    /// The store that the registry writes to: to follow its changes, look at its rows, or append to
    /// it.
    #[must_use]
    pub fn store(&self) -> &P2PStatePersistence {
        &self.store
    }

    /// Listens on the configured addresses, all or none. Gives the addresses with their real ports.
    ///
    /// # Errors
    /// `Io` with the reason, such as a port in use, and `Invalid` for an address of another
    /// transport. The node goes on.
    pub async fn start_listening(&self) -> Result<Vec<Multiaddr>, Error> {
        let addresses = self.config.listen_addresses.clone();
        self.ask("start_listening", |reply| Command::Listen { addresses, reply }).await
    }

    /// Listens on one more address.
    ///
    /// # Errors
    /// As for [`start_listening`](Self::start_listening).
    pub async fn listen_on(&self, address: Multiaddr) -> Result<Vec<Multiaddr>, Error> {
        let addresses = vec![address];
        self.ask("listen_on", |reply| Command::Listen { addresses, reply }).await
    }

    /// Dials the bootstrap nodes and waits until each has answered or failed. The DHT fills its
    /// routing table from then on by itself.
    ///
    /// # Errors
    /// `Network` if none answered and no other peer is connected; the node goes on and tries again.
    pub async fn bootstrap(&self) -> Result<Bootstrapped, Error> {
        self.ask("bootstrap", |reply| Command::Bootstrap { reply }).await
    }

    /// Dials one address, and waits until it has answered or failed.
    ///
    /// # Errors
    /// As for [`bootstrap`](Self::bootstrap).
    pub async fn dial(&self, address: Multiaddr) -> Result<Bootstrapped, Error> {
        self.ask("dial", |reply| Command::Dial { address, reply }).await
    }

    /// Follows announcements of packages, and helps to pass them on.
    ///
    /// # Errors
    /// `Closed` after a shutdown.
    pub async fn subscribe(&self) -> Result<(), Error> {
        self.ask("subscribe", |reply| Command::Subscribe { reply }).await
    }

    /// Publishes a package, or a newer version of it: signs it, stores it here and in the DHT, and
    /// announces it. It is durable here when the call returns, also if no other node could be
    /// reached; it is handed over as soon as one is.
    ///
    /// # Errors `Limit` if the payload is larger than `limits.package_bytes`; `Invalid` for an id,
    /// version or description that breaks a rule, or an id that belongs to another publisher;
    /// `Degraded` if the disk refuses.
    pub async fn publish_package(
        &self,
        id: &str,
        version: &str,
        description: &str,
        data: &[u8],
    ) -> Result<Published, Error> {
        let bytes_max = self.config.limits.package_bytes;
        let parts = (id, version, description);
        let mut now = Utc::now();
        // Later than its withdrawal, or the new one would count as withdrawn, too.
        let view = self.store.view()?;
        let gone = withdrawn_ms(&view, &self.prefix, &self.local, id);
        let after = gone.and_then(|ms| DateTime::from_timestamp_millis(ms.checked_add(1)?));
        now = after.map_or(now, |after| after.max(now));
        drop(view);
        let package = Checked::sign(&self.key, parts, data, now, bytes_max)?;
        let (ack, published) =
            self.ask("publish_package", |reply| Command::Publish { package, reply }).await?;
        ack.await?;
        Ok(published)
    }

    /// Takes back a package of this node: here, and at all nodes that hear of it, now or when they
    /// come back. Copies at nodes that hear nothing expire within `limits.dht_ttl`. Durable here
    /// when it returns. The page of the module says what this can promise and what not.
    ///
    /// # Errors
    /// `Invalid` if this node does not publish it.
    pub async fn unpublish_package(&self, id: &str) -> Result<(), Error> {
        let id = id.to_owned();
        self.ask("unpublish_package", |reply| Command::Unpublish { id, reply }).await?.await?;
        Ok(())
    }

    /// Fetches a package: from the cache, else from this node's own store, else from the DHT.
    /// Whether the peer that answered sent the package, and how long it took, counts towards its
    /// reputation. `None` if nobody has it.
    ///
    /// # Errors
    /// `Invalid` for an id that cannot be one; `Network` if the query took too long.
    pub async fn get_package(&self, id: &str) -> Result<Option<Package>, Error> {
        check_id(id)?;
        let bytes_max = self.config.limits.package_bytes;
        let view = self.store.view()?;
        let near = cached(&view, id, bytes_max);
        if let Some(package) = near.or_else(|| local(&view, &self.prefix, id, bytes_max)) {
            return Ok(Some(package));
        }
        let id = id.to_owned();
        self.ask("get_package", |reply| Command::Get { id, reply }).await
    }

    /// Packages that this node knows of, published or announced, whose id or description has the
    /// text; at most `limit`, sorted by id. Asks no other node.
    ///
    /// # Errors
    /// `Closed` after a shutdown.
    pub async fn search_packages(
        &self,
        text: &str,
        limit: usize,
    ) -> Result<Vec<PackageInfo>, Error> {
        let text = text.to_owned();
        self.ask("search_packages", |reply| Command::Search { text, limit, reply }).await
    }

    /// Bans a peer for `duration` of wall-clock time: its connections are closed within a fifth of
    /// a second, and it is refused in both directions, also after a restart. Durable when it
    /// returns. A ban that the program speaks on the [`store`](Self::store) itself is enforced too.
    ///
    /// # Errors `Invalid` for this node itself; `Limit` for a reason that is too long; `Degraded`
    /// if the disk refuses, in which case the ban is in force but not durable yet.
    pub async fn ban(&self, peer: &PeerId, duration: Duration, reason: &str) -> Result<(), Error> {
        if *peer == self.local {
            return Err(Error::invalid("a node cannot ban itself").next("name another peer"));
        }
        let (peer, reason) = (*peer, reason.to_owned());
        let ack = self.ask("ban", |reply| Command::Ban { peer, duration, reason, reply }).await?;
        ack.await?;
        Ok(())
    }

    /// Lifts a ban. Durable when it returns.
    ///
    /// # Errors
    /// `Degraded` if the disk refuses.
    pub async fn unban(&self, peer: &PeerId) -> Result<(), Error> {
        let peer = *peer;
        self.ask("unban", |reply| Command::Unban { peer, reply }).await?.await?;
        Ok(())
    }

    /// How the registry is right now.
    ///
    /// # Errors
    /// `Closed` after a shutdown.
    pub async fn status(&self) -> Result<RegistryStatus, Error> {
        let snapshot = self.snapshot("status").await?;
        Ok(RegistryStatus {
            local_peer_id: self.local,
            listen_addresses: snapshot.listen_addresses,
            connected_peers: snapshot.connected_peers,
            routing_table: snapshot.routing_table,
            subscribed: snapshot.subscribed,
            known_packages: snapshot.catalog,
            published_packages: snapshot.published,
            counters: snapshot.counters,
            store: self.store.status()?,
        })
    }

    /// Peers with an open connection.
    ///
    /// # Errors
    /// `Closed` after a shutdown.
    pub async fn connected_peers(&self) -> Result<Vec<PeerId>, Error> {
        Ok(self.snapshot("connected_peers").await?.connected_peers)
    }

    /// Where the node listens.
    ///
    /// # Errors
    /// `Closed` after a shutdown.
    pub async fn listen_addresses(&self) -> Result<Vec<Multiaddr>, Error> {
        Ok(self.snapshot("listen_addresses").await?.listen_addresses)
    }

    /// Ends the node: closes its connections, writes what is pending, saves a snapshot and closes
    /// the store. Every later call on any handle returns `Closed`.
    ///
    /// # Errors
    /// If the disk refuses; `Closed` if it was shut down already.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Shutdown { reply }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    async fn snapshot(&self, what: &str) -> Result<Snapshot, Error> {
        self.ask(what, |reply| Command::Snapshot { reply }).await
    }

    async fn ask<T>(
        &self,
        what: &str,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let command = command(reply);
        let asked = async {
            self.commands.send(command).await.map_err(|_| ended())?;
            answer.await.map_err(|_| ended())?
        };
        let limit = self.config.query_timeout.saturating_add(REPLY_SLACK);
        timeout(limit, asked).await.unwrap_or_else(|_| Err(timed_out(what)))
    }
}
