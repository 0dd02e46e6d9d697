//! What the swarm reports: each event to the recorder, and to whoever waits for it.

use libp2p::{
    core::ConnectedPoint,
    gossipsub, identify, kad,
    swarm::{ConnectionId, DialError, SwarmEvent},
};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{
    addresses::named_peer,
    behaviour::{KAD_PROTOCOL, ProtocolsEvent},
    commands::answer,
    listen,
    node::{NodeTask, dial_text},
};

impl NodeTask {
    pub(super) fn on_event(&mut self, event: SwarmEvent<ProtocolsEvent>) {
        match event {
            SwarmEvent::Behaviour(ProtocolsEvent::Identify(event)) => self.on_identify(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Kad(event)) => self.on_kad(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Gossip(event)) => self.on_gossip(event),
            SwarmEvent::Behaviour(ProtocolsEvent::Ping(event)) if event.result.is_ok() => {
                self.recorder.pinged(&event.peer);
            }
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                concurrent_dial_errors,
                ..
            } => {
                let failed = concurrent_dial_errors.unwrap_or_default();
                let failed: Vec<Multiaddr> = failed.into_iter().map(|(at, _)| at).collect();
                self.on_connected(peer_id, connection_id, &endpoint, &failed);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established, .. } => {
                self.recorder.closed(&peer_id, num_established);
                if num_established == 0 {
                    self.routed.remove(&peer_id);
                }
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.on_dial_failed(connection_id, peer_id, &error);
            }
            // A stranger can cause as many as it likes: counted, never journaled.
            SwarmEvent::IncomingConnectionError { .. } => {
                self.recorder.counters_mut().incoming_errors += 1;
            }
            SwarmEvent::NewListenAddr { listener_id, address } => {
                tracing::info!(%address, "listening");
                self.on_listening(listener_id, Some(address));
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let Err(error) = reason {
                    tracing::warn!(%error, "a listener closed");
                    self.on_listener_failed(listener_id, error);
                } else {
                    self.on_listening(listener_id, None);
                }
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener has trouble");
            }
            SwarmEvent::NewExternalAddrOfPeer { peer_id, address } => {
                self.recorder.heard(&peer_id, std::iter::once(&address));
            }
            _ => {}
        }
    }

    fn on_connected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        failed: &[Multiaddr],
    ) {
        self.dials.settled(connection);
        match endpoint {
            ConnectedPoint::Dialer { address, .. } => {
                self.recorder.dialled(&peer, address, failed);
                if self.bootstrap.contains(&plain(address)) {
                    self.recorder.pin(peer);
                }
            }
            ConnectedPoint::Listener { send_back_addr, .. } => {
                self.recorder.answered(&peer, send_back_addr);
            }
        }
        self.on_dial_settled(connection, Ok(peer));
    }

    fn on_dial_failed(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        error: &DialError,
    ) {
        self.dials.settled(connection);
        tracing::debug!(peer = ?peer, error = dial_text(error), "a dial failed");
        if let Some(peer) = peer {
            match error {
                DialError::Transport(errors) => {
                    let failed: Vec<Multiaddr> = errors.iter().map(|(at, _)| at.clone()).collect();
                    self.recorder.dials_failed(&peer, &failed);
                }
                DialError::WrongPeerId { obtained, address } => {
                    self.recorder.misplaced(&peer, address);
                    self.recorder.heard(obtained, std::iter::once(&plain(address)));
                }
                DialError::LocalPeerId { address } => self.recorder.misplaced(&peer, address),
                // The rest is our own doing: refused by a limit or a ban, or dialled already.
                _ => {}
            }
        }
        self.on_dial_settled(connection, Err(error));
    }

    fn on_dial_settled(&mut self, connection: ConnectionId, result: Result<PeerId, &DialError>) {
        let of_wait = |wait: &super::commands::DialWait| {
            wait.left.iter().any(|(waiting, _)| *waiting == connection)
        };
        let Some(at) = self.dial_waits.iter().position(of_wait) else { return };
        let mut wait = self.dial_waits.swap_remove(at);
        let address = wait
            .left
            .iter()
            .position(|(waiting, _)| *waiting == connection)
            .map(|at| wait.left.swap_remove(at).1);
        match (result, address) {
            (Ok(peer), _) => wait.outcome.connected.push(peer),
            (Err(error), Some(address)) => wait.outcome.failed.push((address, dial_text(error))),
            (Err(_), None) => {}
        }
        if wait.left.is_empty() {
            self.settle(wait);
        } else {
            self.dial_waits.push(wait);
        }
    }

    fn on_listening(
        &mut self,
        listener: libp2p::core::transport::ListenerId,
        address: Option<Multiaddr>,
    ) {
        let Some(at) = self.listens.iter().position(|wait| wait.all.contains(&listener)) else {
            return;
        };
        if let Some(wait) = self.listens.get_mut(at) {
            wait.left.remove(&listener);
            wait.addresses.extend(address);
            if wait.left.is_empty() {
                let wait = self.listens.swap_remove(at);
                answer(wait.reply, Ok(wait.addresses));
            }
        }
    }

    fn on_listener_failed(
        &mut self,
        listener: libp2p::core::transport::ListenerId,
        error: std::io::Error,
    ) {
        let Some(at) = self.listens.iter().position(|wait| wait.all.contains(&listener)) else {
            return;
        };
        let wait = self.listens.swap_remove(at);
        self.close_listeners(&wait.all);
        let address = wait.addresses.first().cloned().unwrap_or_else(Multiaddr::empty);
        answer(wait.reply, Err(listen::cannot(&address, error)));
    }

    fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { peer_id, info, .. } = event else { return };
        if self.swarm.behaviour().gate.is_banned(&peer_id) || !self.swarm.is_connected(&peer_id) {
            return;
        }
        let protocols: Vec<&str> = info.protocols.iter().map(AsRef::as_ref).collect();
        let addresses =
            self.recorder.identified(&peer_id, &info.agent_version, &protocols, &info.listen_addrs);
        if info.protocols.contains(&KAD_PROTOCOL) {
            self.route(peer_id, addresses);
        }
    }

    /// Makes these the addresses of the peer in the routing table, which by itself has no limit.
    fn route(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let kad = &mut self.swarm.behaviour_mut().kad;
        let mut stale: Vec<Multiaddr> = self.routed.remove(&peer).unwrap_or_default();
        if let Some(bucket) = kad.kbucket(peer) {
            let entry = bucket.iter().find(|entry| *entry.node.key.preimage() == peer);
            stale.extend(entry.iter().flat_map(|entry| entry.node.value.iter()).map(plain));
        }
        for address in &addresses {
            kad.add_address(&peer, address.clone());
        }
        for address in stale.iter().filter(|address| !addresses.contains(address)) {
            kad.remove_address(&peer, address);
        }
        self.routed.insert(peer, addresses);
    }

    fn on_kad(&mut self, event: kad::Event) {
        match event {
            // Its addresses come from identify or from memory, where they were recorded.
            kad::Event::RoutingUpdated { is_new_peer: true, .. } => {
                // Somebody new may take the packages that nobody took so far.
                self.replicate_at = std::time::Instant::now();
            }
            kad::Event::InboundRequest {
                request: kad::InboundRequest::PutRecord { source, record: Some(record), .. },
            } => self.on_put(&source, record),
            kad::Event::InboundRequest {
                request: kad::InboundRequest::AddProvider { record: Some(record) },
            } => self.on_provider(record),
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => match result {
                kad::QueryResult::GetRecord(result) => self.on_get_progress(id, result, step.last),
                kad::QueryResult::PutRecord(result) => self.on_put_done(id, result),
                _ => {}
            },
            _ => {}
        }
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let verdict = self.on_announcement(&message);
                self.swarm.behaviour_mut().gossip.report_message_validation_result(
                    &message_id,
                    &propagation_source,
                    verdict,
                );
            }
            gossipsub::Event::Subscribed { topic, .. } if topic == self.topic.hash() => {
                self.announce_soon();
            }
            _ => {}
        }
    }
}

/// The address without a peer id at its end.
fn plain(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if named_peer(&address).is_some() {
        address.pop();
    }
    address
}
