//! What the events of libp2p say about peers.

use libp2p::{
    Multiaddr, PeerId,
    core::{ConnectedPoint, PeerRecord, transport::TransportError},
    gossipsub, identify, kad, ping,
    swarm::{DialError, FromSwarm, SwarmEvent},
};

use super::Fact;
use crate::registry::addresses::plain;

/// An event that [`Recorder::record`](super::Recorder::record) takes: that of a protocol, or of the
/// swarm.
///
/// - `identify::Event::Received`: the peer's addresses (instead of those that it named before), its
///   agent and its protocols, where they changed. If the addresses are those of a signed record,
///   they are passed over when a newer record of the peer is known; the numbers of records are
///   held in memory only.
/// - `kad::Event::RoutingUpdated`: addresses heard. `RoutablePeer` and `PendingRoutablePeer`: the
///   same, soft.
/// - `gossipsub::Event::Message` and `Subscribed`: the peer was seen, soft.
/// - `ping::Event`: a latency, kept in memory, and, once in ten minutes, that the peer was seen.
/// - `SwarmEvent`: connections and failed dials, unless a [`Behaviour`](super::Behaviour) in the
///   swarm has told them.
///
/// Every other event becomes nothing. DHT records are the matter of [`KadStore`](super::KadStore).
pub trait Record {
    /// True if a [`Behaviour`](super::Behaviour) in the same swarm has told these facts already.
    const IS_TOLD_BY_BEHAVIOUR: bool = false;

    /// Tells the facts of this event.
    fn facts(&self, tell: &mut dyn FnMut(Fact<'_>));
}

impl Record for identify::Event {
    fn facts(&self, tell: &mut dyn FnMut(Fact<'_>)) {
        if let Self::Received { peer_id, info, .. } = self {
            let protocols: Vec<&str> = info.protocols.iter().map(AsRef::as_ref).collect();
            let signed = info.signed_peer_record.clone();
            let record = signed.and_then(|signed| PeerRecord::from_signed_envelope(signed).ok());
            // A push changes the addresses and leaves the older record where it is.
            let record = record.filter(|record| {
                record.peer_id() == *peer_id && record.addresses() == info.listen_addrs
            });
            tell(Fact::Identified {
                peer: peer_id,
                addresses: &info.listen_addrs,
                agent: &info.agent_version,
                protocols: &protocols,
                record: record.map(|record| record.seq()),
            });
        }
    }
}

impl Record for kad::Event {
    fn facts(&self, tell: &mut dyn FnMut(Fact<'_>)) {
        match self {
            Self::RoutingUpdated { peer, addresses, .. } => {
                // kad itself has no limit here.
                for address in addresses.iter().take(64) {
                    tell(Fact::Heard { peer, address });
                }
            }
            Self::RoutablePeer { peer, address } | Self::PendingRoutablePeer { peer, address } => {
                tell(Fact::Candidate { peer, address });
            }
            _ => {}
        }
    }
}

impl Record for ping::Event {
    fn facts(&self, tell: &mut dyn FnMut(Fact<'_>)) {
        if let Ok(rtt) = self.result {
            tell(Fact::Latency { peer: &self.peer, rtt });
        }
    }
}

impl Record for gossipsub::Event {
    fn facts(&self, tell: &mut dyn FnMut(Fact<'_>)) {
        if let Self::Message { propagation_source: peer, .. }
        | Self::Subscribed { peer_id: peer, .. } = self
        {
            tell(Fact::Alive { peer });
        }
    }
}

impl<T> Record for SwarmEvent<T> {
    const IS_TOLD_BY_BEHAVIOUR: bool = true;

    fn facts(&self, tell: &mut dyn FnMut(Fact<'_>)) {
        match self {
            Self::ConnectionEstablished { peer_id, endpoint, concurrent_dial_errors, .. } => {
                established(peer_id, endpoint, tell);
                for (address, error) in concurrent_dial_errors.iter().flatten() {
                    failed(peer_id, address, error, tell);
                }
            }
            Self::ConnectionClosed { peer_id, .. } => tell(Fact::Closed { peer: peer_id }),
            Self::OutgoingConnectionError { peer_id, error, .. } => {
                dial_failure(peer_id.as_ref(), error, tell);
            }
            Self::NewExternalAddrOfPeer { peer_id, address } => {
                tell(Fact::Heard { peer: peer_id, address });
            }
            _ => {}
        }
    }
}

impl Record for FromSwarm<'_> {
    fn facts(&self, tell: &mut dyn FnMut(Fact<'_>)) {
        match self {
            FromSwarm::ConnectionEstablished(event) => {
                established(&event.peer_id, event.endpoint, tell);
                for address in event.failed_addresses {
                    tell(Fact::Unreachable { peer: &event.peer_id, address });
                }
            }
            FromSwarm::ConnectionClosed(event) => tell(Fact::Closed { peer: &event.peer_id }),
            FromSwarm::DialFailure(event) => {
                dial_failure(event.peer_id.as_ref(), event.error, tell);
            }
            FromSwarm::NewExternalAddrOfPeer(event) => {
                tell(Fact::Heard { peer: &event.peer_id, address: event.addr });
            }
            _ => {}
        }
    }
}

fn established(peer: &PeerId, endpoint: &ConnectedPoint, tell: &mut dyn FnMut(Fact<'_>)) {
    tell(match endpoint {
        ConnectedPoint::Dialer { address, .. } => Fact::Dialled { peer, address },
        ConnectedPoint::Listener { send_back_addr, .. } => {
            Fact::Accepted { peer, address: send_back_addr }
        }
    });
}

/// What was aborted, refused by ourselves, or had no address says nothing about the peer.
fn dial_failure(peer: Option<&PeerId>, error: &DialError, tell: &mut dyn FnMut(Fact<'_>)) {
    let Some(peer) = peer else { return };
    match error {
        DialError::Transport(errors) => {
            for (address, error) in errors {
                failed(peer, address, error, tell);
            }
        }
        DialError::WrongPeerId { obtained, address } => {
            tell(Fact::SomebodyElse { peer, address });
            // The dialled address names the peer that was expected there.
            tell(Fact::Heard { peer: obtained, address: &plain(address) });
        }
        DialError::LocalPeerId { address } => tell(Fact::SomebodyElse { peer, address }),
        _ => {}
    }
}

fn failed<E>(
    peer: &PeerId,
    address: &Multiaddr,
    error: &TransportError<E>,
    tell: &mut dyn FnMut(Fact<'_>),
) {
    // That this node does not speak the transport says nothing about the address.
    if !matches!(error, TransportError::MultiaddrNotSupported(_)) {
        tell(Fact::Unreachable { peer, address });
    }
}
