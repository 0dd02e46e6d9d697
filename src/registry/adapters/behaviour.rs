//! `Behaviour`: the one line in a `derive(NetworkBehaviour)`.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use chrono::{DateTime, Utc};
use futures_timer::Delay;
use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
};

use super::{Recorder, normal_address};
use crate::{Error, Lsn, Outcome, P2PStatePersistence};

/// What a [`Behaviour`] tells the event loop.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Once, at the start: what the node knows from before.
    Recovered {
        /// How the store was found.
        outcome: Outcome,
        /// Peers remembered.
        peers: usize,
    },
    /// The disk refuses writes. Changes stay in memory and are tried again; see
    /// [`Status::degraded`](crate::Status::degraded).
    Degraded {
        /// Why.
        error: Error,
    },
    /// The disk takes writes again, and nothing was lost.
    Healthy,
    /// The connections of a peer that was banned are being closed.
    Disconnected {
        /// The banned peer.
        peer: PeerId,
    },
}

/// Why a connection was denied: [`ConnectionDenied::downcast_ref`] gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Banned {
    /// The banned peer.
    pub peer: PeerId,
    /// When the ban runs out.
    pub until: DateTime<Utc>,
}

impl fmt::Display for Banned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {} is banned until {}", self.peer, self.until.format("%FT%TZ"))
    }
}

impl std::error::Error for Banned {}

/// A behaviour that remembers the peers of its swarm.
///
/// - What the swarm says about peers goes to the [`Recorder`].
/// - A dial by peer id gets the remembered addresses, the best first, unless the dial forbids it
///   (see libp2p's `extend_addresses_through_behaviour`).
/// - Banned peers are refused, inbound and outbound, and a ban closes the connections that
///   there are, within [`Config::tick`](super::Config::tick). A ban is spoken on the store:
///   [`P2PStatePersistence::ban`].
///
/// It speaks no protocol and never blocks. Put it first, so that a banned peer is refused before
/// other behaviours make room for it.
pub struct Behaviour {
    recorder: Recorder,
    store: P2PStatePersistence,
    events: VecDeque<Event>,
    timer: Delay,
    connected: HashMap<PeerId, usize>,
    closing: HashSet<PeerId>,
    to_close: VecDeque<PeerId>,
    /// How far the bans were looked at.
    looked_at: Option<Lsn>,
    is_degraded: bool,
}

impl Behaviour {
    /// A behaviour that shares this recorder's memory and limits.
    #[must_use]
    pub fn new(recorder: &Recorder) -> Self {
        recorder.behaviour_is_there();
        let store = recorder.store();
        let recovered = store
            .recovery()
            .ok()
            .map(|report| Event::Recovered { outcome: report.outcome, peers: recorder.peers() });
        Self {
            events: recovered.into_iter().collect(),
            timer: Delay::new(recorder.tick_every()),
            recorder: recorder.clone(),
            store,
            connected: HashMap::new(),
            closing: HashSet::new(),
            to_close: VecDeque::new(),
            looked_at: None,
            is_degraded: false,
        }
    }

    /// The recorder that it shares.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    fn refuse_banned(&self, peer: &PeerId) -> Result<(), ConnectionDenied> {
        let view = self.store.view().map_err(ConnectionDenied::new)?;
        match view.ban(peer, self.store.now().get()) {
            Some(ban) => Err(ConnectionDenied::new(Banned { peer: *peer, until: ban.until.get() })),
            None => Ok(()),
        }
    }

    fn tick(&mut self) {
        self.recorder.write_due();
        self.close_banned();
        let degraded = self.store.status().ok().and_then(|status| status.degraded);
        match (degraded, self.is_degraded) {
            (Some(error), false) => self.events.push_back(Event::Degraded { error }),
            (None, true) => self.events.push_back(Event::Healthy),
            (degraded, _) => {
                self.is_degraded = degraded.is_some();
                return;
            }
        }
        self.is_degraded = !self.is_degraded;
    }

    /// Looks at the bans of the connected peers if anything changed since the last time.
    fn close_banned(&mut self) {
        let Ok(view) = self.store.view() else { return };
        if self.looked_at.replace(view.lsn()) == Some(view.lsn()) {
            return;
        }
        let now = self.store.now().get();
        for peer in self.connected.keys() {
            if view.ban(peer, now).is_some() && self.closing.insert(*peer) {
                self.to_close.push_back(*peer);
                self.events.push_back(Event::Disconnected { peer: *peer });
            }
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.refuse_banned(&peer)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let Some(peer) = peer else { return Ok(Vec::new()) };
        self.refuse_banned(&peer)?;
        let mut known = self.recorder.addresses(&peer);
        // The dial's own addresses may carry the peer's id: no endpoint is dialled twice.
        let given = addresses.iter().filter_map(|given| normal_address(&peer, given, usize::MAX));
        let given: Vec<Multiaddr> = given.collect();
        known.retain(|address| !given.contains(address));
        Ok(known)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        // A dial without a peer id shows only now whom it reached.
        self.refuse_banned(&peer)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => {
                let count = self.connected.entry(event.peer_id).or_default();
                *count = event.other_established.saturating_add(1);
                // The ban may have come after the connection was let in.
                self.looked_at = None;
            }
            FromSwarm::ConnectionClosed(event) if event.remaining_established == 0 => {
                self.connected.remove(&event.peer_id);
                self.closing.remove(&event.peer_id);
            }
            _ => {}
        }
        self.recorder.tell(&event);
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(peer_id) = self.to_close.pop_front() {
                let connection = CloseConnection::All;
                return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection });
            }
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(ToSwarm::GenerateEvent(event));
            }
            if Pin::new(&mut self.timer).poll(context).is_pending() {
                return Poll::Pending;
            }
            self.timer.reset(self.recorder.tick_every());
            self.tick();
        }
    }
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Behaviour")
            .field("recorder", &self.recorder)
            .field("connected", &self.connected.len())
            .finish_non_exhaustive()
    }
}
