//! The gate: a behaviour that refuses banned peers, inbound and outbound, and closes their
//! connections.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    fmt,
    task::{Context, Poll, Waker},
};

use chrono::Utc;
use libp2p::{
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler,
        THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
    },
};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use crate::state::Time;

/// Bans in force. It reads the wall clock whenever it decides, so that a ban ends by itself.
#[derive(Debug, Default)]
pub(super) struct Gate {
    until: HashMap<PeerId, Time>,
    to_close: VecDeque<PeerId>,
    waker: Option<Waker>,
}

impl Gate {
    /// Refuses the peer from now on and closes its connections.
    pub(super) fn ban(&mut self, peer: PeerId, until: Time) {
        self.until.insert(peer, until);
        self.to_close.push_back(peer);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn unban(&mut self, peer: &PeerId) {
        self.until.remove(peer);
    }

    pub(super) fn is_banned(&self, peer: &PeerId) -> bool {
        self.until.get(peer).is_some_and(|until| *until > Time::from(Utc::now()))
    }

    /// Forgets bans that have run out, and tells whose.
    pub(super) fn prune(&mut self) -> Vec<PeerId> {
        let now = Time::from(Utc::now());
        self.until.extract_if(|_, until| *until <= now).map(|(peer, _)| peer).collect()
    }

    fn check(&self, peer: &PeerId) -> Result<(), ConnectionDenied> {
        if self.is_banned(peer) { Err(ConnectionDenied::new(PeerBanned(*peer))) } else { Ok(()) }
    }
}

/// Why the gate refused a connection.
#[derive(Debug)]
struct PeerBanned(PeerId);

impl fmt::Display for PeerBanned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "peer {} is banned", self.0)
    }
}

impl std::error::Error for PeerBanned {}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(&peer)?;
        Ok(dummy::ConnectionHandler)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        peer.iter().try_for_each(|peer| self.check(peer))?;
        Ok(Vec::new())
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.check(&peer)?;
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

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
        if let Some(peer_id) = self.to_close.pop_front() {
            let connection = CloseConnection::All;
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection });
        }
        self.waker = Some(context.waker().clone());
        Poll::Pending
    }
}
