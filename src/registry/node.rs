//! The node's task: it owns the swarm, and everything that happens to it happens here.

use std::{
    collections::{HashMap, HashSet},
    io,
    time::{Duration, Instant},
};

use chrono::Utc;
use libp2p::{
    Swarm, TransportError,
    core::transport::ListenerId,
    futures::StreamExt,
    gossipsub::IdentTopic,
    kad,
    swarm::{DialError, dial_opts::DialOpts},
};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    P2PConfig,
    adapters::Buckets,
    addresses::named_peer,
    behaviour::Protocols,
    catalog::Catalog,
    commands::{Bootstrapped, Command, DialWait, ListenWait, Reply, Snapshot, answer},
    dial::{DialQueue, Target, dial_fault},
    exchange::{GetWait, PutWait},
    listen,
    recorder::Recorder,
    seed,
    shelf::Shelf,
};
use crate::{Error, ErrorKind, P2PStatePersistence, state::Change};

/// Time between two dials of the queue.
const DIAL_EVERY: Duration = Duration::from_millis(100);
/// Time between two rounds of upkeep.
const UPKEEP_EVERY: Duration = Duration::from_secs(1);
/// Rounds of upkeep between two looks for what has expired.
const SWEEP_ROUNDS: u64 = 60;
/// With fewer connections than this the node looks for more.
const CONNECTIONS_WANTED: usize = 4;
/// Bootstrap nodes that are dialled by one call.
const BOOTSTRAP_MAX: usize = 64;

/// Everything the task owns.
pub(super) struct NodeTask {
    pub(super) swarm: Swarm<Protocols>,
    pub(super) store: P2PStatePersistence,
    pub(super) config: P2PConfig,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) recorder: Recorder,
    pub(super) dials: DialQueue,
    pub(super) catalog: Catalog,
    pub(super) shelf: Shelf,
    /// Packages that each peer may put.
    pub(super) puts_budget: Buckets,
    /// Withdrawals that strangers may have journaled together.
    pub(super) withdrawals_budget: Buckets,
    pub(super) topic: IdentTopic,
    /// What the DHT keys of packages begin with.
    pub(super) prefix: String,
    pub(super) bootstrap: Vec<Multiaddr>,
    /// Peers whose gossip is ignored.
    pub(super) banned: HashSet<PeerId>,
    pub(super) subscribed: bool,
    pub(super) listens: Vec<ListenWait>,
    pub(super) dial_waits: Vec<DialWait>,
    pub(super) gets: HashMap<kad::QueryId, GetWait>,
    pub(super) puts: HashMap<kad::QueryId, PutWait>,
    /// Addresses of connected peers that were put into the routing table.
    pub(super) routed: HashMap<PeerId, Vec<Multiaddr>>,
    pub(super) announce_at: Option<Instant>,
    pub(super) announced_at: Option<Instant>,
    pub(super) replicate_at: Instant,
    pub(super) rounds: u64,
}

impl NodeTask {
    /// Runs until a handle asks for the end, or the last handle is gone.
    pub(super) async fn run(mut self) {
        let mut dialling = interval(DIAL_EVERY);
        dialling.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut upkeep = interval(UPKEEP_EVERY);
        upkeep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.follow_bans();
        self.fill_dials();
        let reply = loop {
            tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown { reply }) => break Some(reply),
                    Some(command) => self.obey(command),
                    None => break None,
                },
                event = self.swarm.select_next_some() => self.on_event(event),
                _ = dialling.tick() => self.dial_next(),
                _ = upkeep.tick() => self.keep_up(),
            }
        };
        let result = self.end().await;
        match reply {
            Some(reply) => answer(reply, result),
            None => {
                if let Err(error) = result {
                    tracing::error!(error = format!("{error:#}"), "the node did not end cleanly");
                }
            }
        }
    }

    /// Closes every connection, then saves and closes the store.
    async fn end(mut self) -> Result<(), Error> {
        self.recorder.write_pending(true);
        drop(self.swarm);
        // What `persist_on_shutdown` does, with the error's kind kept.
        self.store.stop_auto_save().await;
        let saved = self.store.compact().await;
        self.store.close().await?;
        saved.map(|_| ())
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Listen { addresses, reply } => self.listen(addresses, reply),
            Command::Dial { address, reply } => self.dial_all(vec![address], reply),
            Command::Bootstrap { reply } => {
                let nodes = self.bootstrap.iter().take(BOOTSTRAP_MAX).cloned().collect();
                self.dial_all(nodes, reply);
            }
            Command::Subscribe { reply } => answer(reply, self.subscribe()),
            Command::Publish { package, reply } => self.publish(package, reply),
            Command::Unpublish { id, reply } => answer(reply, self.unpublish(&id)),
            Command::Get { id, reply } => self.get(id, reply),
            Command::Search { text, limit, reply } => {
                answer(reply, Ok(self.catalog.search(&text, limit)));
            }
            Command::Ban { peer, duration, reason, reply } => {
                answer(reply, self.ban(peer, duration, &reason));
            }
            Command::Unban { peer, reply } => answer(reply, self.unban(&peer)),
            Command::Snapshot { reply } => answer(reply, Ok(self.snapshot())),
            // The loop has taken it.
            Command::Shutdown { reply } => answer(reply, Err(super::ended())),
        }
    }

    fn subscribe(&mut self) -> Result<(), Error> {
        self.swarm.behaviour_mut().gossip.subscribe(&self.topic).map_err(|error| {
            Error::invalid("cannot subscribe to the packages topic").because(error)
        })?;
        self.subscribed = true;
        Ok(())
    }

    fn snapshot(&mut self) -> Snapshot {
        let table = self.swarm.behaviour_mut().kad.kbuckets();
        let routing_table = table.map(|bucket| bucket.num_entries()).sum();
        Snapshot {
            listen_addresses: self.swarm.listeners().cloned().collect(),
            connected_peers: self.swarm.connected_peers().copied().collect(),
            routing_table,
            subscribed: self.subscribed,
            catalog: self.catalog.len(),
            published: self.shelf.owned().count(),
            counters: self.recorder.counters(),
        }
    }

    /// Opens all the listeners, or none.
    fn listen(&mut self, addresses: Vec<Multiaddr>, reply: Reply<Vec<Multiaddr>>) {
        let mut opened = Vec::new();
        for address in addresses {
            let listener = listen::check_free(&address).and_then(|()| {
                let listener = self.swarm.listen_on(address.clone());
                listener.map_err(|error| listen::refused(&address, error))
            });
            match listener {
                Ok(id) => opened.push(id),
                Err(error) => {
                    self.close_listeners(&opened);
                    return answer(reply, Err(error));
                }
            }
        }
        if opened.is_empty() {
            return answer(reply, Ok(Vec::new()));
        }
        let left = opened.iter().copied().collect();
        self.listens.push(ListenWait { left, all: opened, addresses: Vec::new(), reply });
    }

    pub(super) fn close_listeners(&mut self, listeners: &[ListenerId]) {
        for id in listeners {
            self.swarm.remove_listener(*id);
        }
    }

    /// Dials these addresses at once and answers when all are settled.
    fn dial_all(&mut self, addresses: Vec<Multiaddr>, reply: Reply<Bootstrapped>) {
        let mut wait = DialWait { left: Vec::new(), outcome: Bootstrapped::default(), reply };
        for address in addresses {
            if let Some(fault) = dial_fault(&address) {
                wait.outcome.failed.push((address, fault.to_owned()));
                continue;
            }
            let connected = named_peer(&address).filter(|peer| self.swarm.is_connected(peer));
            if let Some(peer) = connected {
                wait.outcome.connected.push(peer);
                continue;
            }
            let options = match named_peer(&address) {
                // Also while another dial of the peer is under way: this one has an address.
                Some(peer) => DialOpts::peer_id(peer)
                    .condition(libp2p::swarm::dial_opts::PeerCondition::Always)
                    .addresses(vec![address.clone()])
                    .build(),
                None => Target::Bootstrap(address.clone()).options(),
            };
            let id = options.connection_id();
            match self.swarm.dial(options) {
                Ok(()) => wait.left.push((id, address)),
                Err(error) => wait.outcome.failed.push((address, dial_text(&error))),
            }
        }
        if wait.left.is_empty() {
            self.settle(wait);
        } else {
            self.dial_waits.push(wait);
        }
    }

    pub(super) fn settle(&self, wait: DialWait) {
        let DialWait { outcome, reply, .. } = wait;
        let alone = outcome.connected.is_empty() && self.swarm.connected_peers().next().is_none();
        if !alone || outcome.failed.is_empty() {
            return answer(reply, Ok(outcome));
        }
        let why: Vec<String> =
            outcome.failed.iter().map(|(node, why)| format!("{node}: {why}")).collect();
        let error =
            Error::new(ErrorKind::Network, format!("no peer answered ({})", why.join("; ")))
                .next("check the addresses and the connection; the node goes on and tries again");
        answer(reply, Err(error));
    }

    fn ban(&mut self, peer: PeerId, duration: Duration, reason: &str) -> Result<crate::Ack, Error> {
        self.make_room_for_ban(&peer)?;
        let ack = self.store.ban(&peer, duration, reason, "registry")?;
        self.follow_bans();
        Ok(ack)
    }

    fn unban(&mut self, peer: &PeerId) -> Result<crate::Ack, Error> {
        let ack = self.store.unban(peer)?;
        self.follow_bans();
        Ok(ack)
    }

    /// At the limit the ban that runs out soonest goes.
    fn make_room_for_ban(&mut self, peer: &PeerId) -> Result<(), Error> {
        let view = self.store.view()?;
        let state = view.state();
        if state.ban(&peer.into()).is_some() || state.counts().bans < self.config.limits.bans {
            return Ok(());
        }
        let soonest = state.bans().min_by_key(|(_, ban)| ban.until).map(|(peer, _)| peer.clone());
        if let Some(soonest) = soonest {
            self.store.append(Change::Unbanned { peer: soonest })?;
        }
        Ok(())
    }

    /// Chooses whom to dial among the remembered peers and the bootstrap nodes.
    fn fill_dials(&mut self) {
        let Ok(view) = self.store.view() else { return };
        // Without randomness the choice is the same each time, which is no reason to fail.
        let dice = getrandom::u64().unwrap_or_default();
        let local = *self.swarm.local_peer_id();
        let limits = &self.config.limits;
        let skip = |peer: &PeerId| *peer == local || self.swarm.is_connected(peer);
        let remembered = seed::candidates(view.state(), limits, Utc::now().into(), dice, skip);
        // Those that we only heard of enter the routing table, and so the answers to others, when
        // they have said who they are.
        for candidate in remembered.iter().filter(|candidate| candidate.verified) {
            for address in &candidate.addresses {
                self.swarm.behaviour_mut().kad.add_address(&candidate.peer, address.clone());
            }
        }
        self.dials.fill(remembered, self.bootstrap.clone());
    }

    fn dial_next(&mut self) {
        let now = Instant::now();
        let Some(target) = self.dials.next(now) else { return };
        if target.peer().is_some_and(|peer| self.swarm.is_connected(&peer)) {
            return;
        }
        let options = target.options();
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => self.dials.started(id, now),
            Err(DialError::DialPeerConditionFalse(_)) => {}
            Err(error) => tracing::debug!(%error, "a remembered peer cannot be dialled"),
        }
    }

    /// What has to be done now and then.
    fn keep_up(&mut self) {
        self.rounds += 1;
        self.recorder.write_pending(false);
        let connections = self.swarm.connected_peers().count();
        if connections >= CONNECTIONS_WANTED {
            self.dials.reset();
        } else if self.dials.is_due(Instant::now()) {
            self.fill_dials();
        }
        self.announce_again();
        if connections > 0 {
            self.replicate_next();
        }
        self.follow_bans();
        self.write_withdrawals();
        self.swarm.behaviour_mut().kad.store_mut().write_due();
        if self.rounds >= SWEEP_ROUNDS {
            self.rounds = 0;
            self.drop_expired();
        }
    }

    /// The memory refuses banned peers; the routing table and gossip have to be told of them.
    fn follow_bans(&mut self) {
        let Ok(view) = self.store.view() else { return };
        let now = Utc::now().into();
        let active = view.state().bans().filter(|(_, ban)| ban.is_active(now));
        let banned: HashSet<PeerId> = active.filter_map(|(peer, _)| peer.to_peer_id()).collect();
        let behaviour = self.swarm.behaviour_mut();
        for peer in banned.difference(&self.banned) {
            behaviour.kad.remove_peer(peer);
            behaviour.gossip.blacklist_peer(peer);
        }
        for peer in self.banned.difference(&banned) {
            behaviour.gossip.remove_blacklisted_peer(peer);
        }
        self.banned = banned;
    }
}

/// Why a dial failed, in the words of the lowest error, without what a remote sent.
pub(super) fn dial_text(error: &DialError) -> String {
    let text = match error {
        DialError::Transport(errors) => {
            let mut texts: Vec<String> =
                errors.iter().map(|(_, error)| transport_text(error)).collect();
            texts.dedup();
            texts.join(", ")
        }
        DialError::WrongPeerId { obtained, .. } => format!("peer {obtained} is there instead"),
        DialError::Denied { cause } => match std::error::Error::source(cause) {
            Some(why) => format!("refused here: {why}"),
            None => format!("refused here: {cause}"),
        },
        error => error.to_string(),
    };
    let escaped = |c: char| match c {
        '"' | '\'' => c.to_string(),
        c => c.escape_debug().to_string(),
    };
    text.chars().map(escaped).collect()
}

/// What the transport says, on one line. Its own error shows nothing of the one below it.
fn transport_text(error: &TransportError<io::Error>) -> String {
    match error {
        TransportError::MultiaddrNotSupported(_) => {
            "not an address of this transport; give one such as /ip4/192.0.2.1/tcp/4001".to_owned()
        }
        TransportError::Other(error) => {
            let text = error.to_string();
            let lines = text.lines().map(|line| line.trim_start_matches(" - ").trim_end());
            let mut lines: Vec<&str> = lines.filter(|line| !line.ends_with(':')).collect();
            lines.dedup();
            lines.join(", ")
        }
    }
}
