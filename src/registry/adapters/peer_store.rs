//! `PeerStore`: the store behind the trait of `libp2p-peer-store`.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_timer::Delay;
use libp2p::{Multiaddr, PeerId, swarm::FromSwarm};
use libp2p_peer_store::Store;

use super::{Config, Counters, Fact, Note, Record, keeper::Keeper};
use crate::{Error, P2PStatePersistence};

/// What a [`PeerStore`] did to what it remembers. Every removal shows, those that make room too.
pub type StoreEvent = Note;

/// A [`libp2p_peer_store::Store`] that survives a crash: for programs that use that crate's
/// `Behaviour`.
///
/// ```no_run
/// # use peer_journal::{P2PStatePersistence, registry::adapters::{Config, PeerStore}};
/// # fn example(store: &P2PStatePersistence, local: peer_journal::PeerId)
/// # -> Result<(), peer_journal::Error> {
/// let store = PeerStore::new(store, local, Config::default())?;
/// let behaviour = libp2p_peer_store::Behaviour::new(store);
/// # Ok(())
/// # }
/// ```
///
/// Unlike that crate's memory store it keeps one form of each address, counts failures before it
/// gives an address up, drops an address at which this node found itself, and tells and journals
/// whatever it evicts. The trait has no way to refuse a connection: to have bans enforced use
/// [`Behaviour`](super::Behaviour).
///
/// It answers from its own memory: peers that the program appends to the store by itself are known
/// to it after the next start.
///
/// Dropping it appends what waited for its turn.
pub struct PeerStore {
    keeper: Keeper,
    timer: Delay,
}

impl PeerStore {
    /// A store that knows what `store` knows. `local` is this node.
    ///
    /// # Errors
    /// Only on a handle that opens on first use: the errors of opening.
    pub fn new(store: &P2PStatePersistence, local: PeerId, config: Config) -> Result<Self, Error> {
        let timer = Delay::new(config.tick);
        let mut keeper = Keeper::new(store.clone(), local, config)?;
        keeper.policy.keep_notes();
        Ok(Self { keeper, timer })
    }

    /// Remembers what an event of a protocol says about peers; see [`Record`]. Those of the swarm
    /// come through the trait already and are passed over.
    pub fn record<E: Record>(&mut self, event: &E) {
        if !E::IS_TOLD_BY_BEHAVIOUR {
            event.facts(&mut |fact| self.keeper.observe(fact));
        }
    }

    /// Remembers one fact.
    pub fn observe(&mut self, fact: Fact<'_>) {
        self.keeper.observe(fact);
    }

    /// What was not remembered since the start, and why.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.keeper.policy.counters
    }

    /// Appends everything that waits for its turn, for a clean stop: before the store is closed.
    pub fn write_rest(&mut self) {
        self.keeper.write_rest();
    }
}

impl Store for PeerStore {
    type Event = StoreEvent;

    fn on_swarm_event(&mut self, event: &FromSwarm<'_>) {
        event.facts(&mut |fact| self.keeper.observe(fact));
    }

    fn addresses_of_peer(&self, peer: &PeerId) -> Option<impl Iterator<Item = &Multiaddr>> {
        self.keeper.policy.addresses(peer)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Self::Event> {
        loop {
            if let Some(note) = self.keeper.policy.take_note() {
                return Poll::Ready(note);
            }
            if Pin::new(&mut self.timer).poll(context).is_pending() {
                return Poll::Pending;
            }
            self.timer.reset(self.keeper.policy.config.tick);
            self.keeper.tick();
        }
    }
}

impl Drop for PeerStore {
    fn drop(&mut self) {
        self.keeper.write_rest();
    }
}

impl fmt::Debug for PeerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerStore")
            .field("peers", &self.keeper.policy.len())
            .finish_non_exhaustive()
    }
}
