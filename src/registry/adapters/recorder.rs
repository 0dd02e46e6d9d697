//! `Recorder`: the policy that a behaviour and an event loop share.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};

use super::{Config, Counters, Fact, Record, keeper::Keeper};
use crate::{Error, P2PStatePersistence};

/// Remembers what a swarm learns, within the limits of a [`Config`]. Cheap to clone; all clones
/// share the limits.
///
/// ```
/// # use peer_journal::{P2PStatePersistence, registry::adapters::{Config, Recorder}};
/// # fn example(store: &P2PStatePersistence, local: peer_journal::PeerId,
/// #     event: libp2p::identify::Event) -> Result<(), peer_journal::Error> {
/// let recorder = Recorder::new(store, local, Config::default())?;
/// recorder.record(&event); // whatever comes out of identify, kad, gossipsub, ping or the swarm
/// # Ok(())
/// # }
/// ```
///
/// Dropping the last clone appends what waited for its turn; drop it before the store, or call
/// [`write_rest`](Self::write_rest).
#[derive(Clone)]
pub struct Recorder(Arc<Shared>);

struct Shared {
    keeper: Mutex<Keeper>,
    /// A behaviour tells what the swarm says.
    has_behaviour: AtomicBool,
}

impl Recorder {
    /// A recorder that knows what the store knows. `local` is this node.
    ///
    /// # Errors
    /// Only on a handle that opens on first use: the errors of opening.
    pub fn new(store: &P2PStatePersistence, local: PeerId, config: Config) -> Result<Self, Error> {
        let keeper = Mutex::new(Keeper::new(store.clone(), local, config)?);
        Ok(Self(Arc::new(Shared { keeper, has_behaviour: AtomicBool::new(false) })))
    }

    /// Remembers what the event says about peers; see [`Record`] for what that is. Never blocks on
    /// the disk. Events of the swarm are passed over when a [`Behaviour`](super::Behaviour) of this
    /// recorder is in the swarm and has told them already.
    pub fn record<E: Record>(&self, event: &E) {
        if E::IS_TOLD_BY_BEHAVIOUR && self.0.has_behaviour.load(Ordering::Relaxed) {
            return;
        }
        self.tell(event);
    }

    /// Remembers one fact, for programs that learn it elsewhere than from an event.
    pub fn observe(&self, fact: Fact<'_>) {
        self.keeper().observe(fact);
    }

    /// The addresses remembered for a peer, the best first; also those that the program itself put
    /// into the store.
    #[must_use]
    pub fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let mut keeper = self.keeper();
        keeper.reconcile(peer);
        keeper.policy.addresses(peer).into_iter().flatten().cloned().collect()
    }

    /// Of these, the addresses that the peer itself named, or at which it was reached, since the
    /// start: fit to be passed on, as in a routing table.
    #[must_use]
    pub fn confirmed_addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        self.keeper().policy.confirmed_addresses(peer).cloned().collect()
    }

    /// Never evicts the peer from now on, nor removes its addresses for failures or age: like
    /// [`Config::pinned`], for peers that turn out later to be special.
    pub fn pin(&self, peer: PeerId) {
        self.keeper().policy.pin(peer);
    }

    /// True if the recorder knows this peer.
    #[must_use]
    pub fn knows(&self, peer: &PeerId) -> bool {
        self.keeper().policy.knows(peer)
    }

    /// Moving average of a peer's ping time, if pings are recorded. A restart forgets it.
    #[must_use]
    pub fn latency(&self, peer: &PeerId) -> Option<Duration> {
        self.keeper().policy.latency(peer)
    }

    /// Number of peers that the recorder knows.
    #[must_use]
    pub fn peers(&self) -> usize {
        self.keeper().policy.len()
    }

    /// What was not remembered since the start, and why.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.keeper().policy.counters
    }

    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> P2PStatePersistence {
        self.keeper().store().clone()
    }

    /// Appends the facts whose turn has come. A [`Behaviour`](super::Behaviour) does this by
    /// itself; a program without one calls it every second or so.
    pub fn write_due(&self) {
        self.keeper().tick();
    }

    /// Appends everything that waits for its turn, for a clean stop: before the store is closed.
    pub fn write_rest(&self) {
        self.keeper().write_rest();
    }

    pub(super) fn tell<E: Record>(&self, event: &E) {
        let mut keeper = self.keeper();
        event.facts(&mut |fact| keeper.observe(fact));
    }

    pub(super) fn tick_every(&self) -> Duration {
        self.keeper().policy.config.tick
    }

    pub(super) fn behaviour_is_there(&self) {
        self.0.has_behaviour.store(true, Ordering::Relaxed);
    }

    fn keeper(&self) -> MutexGuard<'_, Keeper> {
        self.0.keeper.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.keeper.get_mut().unwrap_or_else(PoisonError::into_inner).write_rest();
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder").field("peers", &self.peers()).finish_non_exhaustive()
    }
}
