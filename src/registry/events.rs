//! What the swarm reports: each event to the recorder, and to whoever waits for it.

use libp2p::{
    core::ConnectedPoint,
    gossipsub, identify, kad,
    swarm::{ConnectionId, DialError, SwarmEvent},
};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::{
    adapters,
    addresses::plain,
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
            SwarmEvent::Behaviour(ProtocolsEvent::Ping(event)) => {
                self.recorder.memory().record(&event);
            }
            SwarmEvent::Behaviour(ProtocolsEvent::Memory(event)) => on_memory(&event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                self.routed.remove(&peer_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, peer_id, error } => {
                self.dials.settled(connection_id);
                tracing::debug!(peer = ?peer_id, error = dial_text(&error), "a dial failed");
                self.on_dial_settled(connection_id, Err(&error));
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
            _ => {}
        }
    }

    fn on_connected(&mut self, peer: PeerId, connection: ConnectionId, endpoint: &ConnectedPoint) {
        self.dials.settled(connection);
        if let ConnectedPoint::Dialer { address, .. } = endpoint
            && self.bootstrap.contains(&plain(address))
        {
            self.recorder.memory().pin(peer);
        }
        self.on_dial_settled(connection, Ok(peer));
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
        let identify::Event::Received { peer_id, info, .. } = &event else { return };
        if self.banned.contains(peer_id) || !self.swarm.is_connected(peer_id) {
            return;
        }
        self.recorder.memory().record(&event);
        if info.protocols.contains(&KAD_PROTOCOL) {
            let mut addresses = self.recorder.memory().confirmed_addresses(peer_id);
            // Others may speak transports that this node does not.
            addresses.retain(listen::is_tcp);
            self.route(*peer_id, addresses);
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

/// What a user should know of the node's memory.
fn on_memory(event: &adapters::Event) {
    match event {
        adapters::Event::Degraded { error } => {
            tracing::warn!(error = format!("{error:#}"), "the disk refuses to remember");
        }
        adapters::Event::Healthy => tracing::info!("the disk remembers again"),
        adapters::Event::Disconnected { peer } => {
            tracing::info!(%peer, "the connections of a banned peer are closed");
        }
        _ => {}
    }
}
