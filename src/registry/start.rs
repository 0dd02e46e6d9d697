//! The constructor: opens the store, restores what it remembers, starts the task.

use std::{collections::HashMap, time::Instant};

use chrono::Utc;
use libp2p::{gossipsub::IdentTopic, identity::Keypair};
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    P2PConfig, P2PRegistry,
    addresses::named_peer,
    behaviour,
    budget::Budget,
    catalog::Catalog,
    dial::{DialQueue, dial_fault},
    node::NodeTask,
    recorder::Recorder,
    shelf::{self, Shelf},
};
use crate::{
    Error, ErrorKind, P2PStatePersistence,
    state::{Change, Time},
};

/// Requests that wait for the task at once.
const COMMANDS_MAX: usize = 64;
/// Bootstrap nodes remembered from configurations.
const BOOTSTRAP_NODES_MAX: usize = 256;

pub(super) async fn registry(
    config: P2PConfig,
    store: Option<P2PStatePersistence>,
) -> Result<P2PRegistry, Error> {
    config.check()?;
    let runtime = Handle::try_current().map_err(|error| {
        Error::invalid("the registry needs a tokio runtime").because(error).next("start one")
    })?;
    // Recovery reads files, and packages are verified again: both take their time.
    let task_config = config.clone();
    let built = runtime.spawn_blocking(move || {
        let store = match store {
            Some(store) => store,
            None => task_config.open_store()?,
        };
        Ok::<_, Error>(Restored::from(store, task_config))
    });
    let restored = built.await.map_err(|error| {
        Error::new(ErrorKind::Closed, "the runtime ended while the store was opened").because(error)
    })??;
    restored.start(&runtime).await
}

/// What the blocking part of the start found.
struct Restored {
    store: P2PStatePersistence,
    config: P2PConfig,
    key: Keypair,
    prefix: String,
    packages: Vec<(shelf::Stored, Time)>,
    changes: Vec<Change>,
}

impl Restored {
    fn from(store: P2PStatePersistence, mut config: P2PConfig) -> Self {
        let key = config.keypair.take().unwrap_or_else(Keypair::generate_ed25519);
        let local = key.public().to_peer_id();
        let prefix = format!("{}/", config.packages_topic);
        let (packages, changes) = match store.view() {
            Ok(view) => shelf::restore(view.state(), &prefix, &local, &config.limits, Utc::now()),
            Err(_) => (Vec::new(), Vec::new()),
        };
        Self { store, config, key, prefix, packages, changes }
    }

    async fn start(self, runtime: &Handle) -> Result<P2PRegistry, Error> {
        let Self { store, mut config, key, prefix, packages, mut changes } = self;
        let local = key.public().to_peer_id();
        let limits = config.limits.clone();
        let mut recorder = Recorder::new(store.clone(), limits.clone(), local);
        changes.extend(bootstrap_changes(&config, &store)?);
        recorder.append(changes);
        let view = store.view()?;
        let nodes = view.state().bootstrap_nodes().iter();
        let bootstrap: Vec<_> = nodes
            .filter_map(|node| crate::string_to_multiaddr(node).ok())
            .filter(|node| named_peer(node) != Some(local))
            .collect();
        bootstrap.iter().filter_map(named_peer).for_each(|peer| recorder.pin(peer));
        for (node, why) in bootstrap.iter().filter_map(|node| Some((node, dial_fault(node)?))) {
            tracing::warn!(%node, why, "a bootstrap node cannot be dialled");
        }
        let mut swarm = behaviour::swarm(&key, &config)?;
        let mut catalog = Catalog::new(local, limits.catalog, limits.catalog_per_publisher);
        let mut shelf = Shelf::default();
        let now = Utc::now();
        for (peer, ban) in view.state().bans().filter(|(_, ban)| ban.is_active(now.into())) {
            if let Some(peer) = peer.to_peer_id() {
                swarm.behaviour_mut().gate.ban(peer, ban.until);
                swarm.behaviour_mut().gossip.blacklist_peer(&peer);
            }
        }
        for (stored, at) in packages {
            let own = stored.package.info.publisher == local;
            if let Ok(package) = stored.put(swarm.behaviour_mut().kad.store_mut()) {
                shelf.insert(&package, own, at);
                catalog.add(package.info, package.published_ms);
            }
        }
        store.start_auto_save().await.map_err(|error| {
            Error::new(ErrorKind::Io, "cannot start the auto-save").because(error)
        })?;
        let (commands, requests) = mpsc::channel(COMMANDS_MAX);
        config.keypair = Some(key.clone());
        let task = NodeTask {
            swarm,
            store: store.clone(),
            commands: requests,
            recorder,
            dials: DialQueue::new(limits.dials_at_once),
            catalog,
            shelf,
            puts_budget: Budget::new(limits.dht_puts_per_minute),
            topic: IdentTopic::new(config.packages_topic.clone()),
            prefix: prefix.clone(),
            bootstrap,
            subscribed: false,
            listens: Vec::new(),
            dial_waits: Vec::new(),
            gets: HashMap::new(),
            puts: HashMap::new(),
            routed: HashMap::new(),
            announce_at: None,
            announced_at: None,
            replicate_at: Instant::now(),
            rounds: 0,
            config: config.clone(),
        };
        runtime.spawn(task.run());
        Ok(P2PRegistry { commands, store, key, config, local, prefix })
    }
}

/// Remembers the bootstrap nodes of the configuration.
fn bootstrap_changes(
    config: &P2PConfig,
    store: &P2PStatePersistence,
) -> Result<Vec<Change>, Error> {
    let mut room =
        BOOTSTRAP_NODES_MAX.saturating_sub(store.view()?.state().counts().bootstrap_nodes);
    let mut changes = Vec::new();
    for node in &config.bootstrap_nodes {
        if room > 0 {
            room -= 1;
            changes.push(Change::BootstrapAdded { node: node.to_string().into() });
        }
    }
    Ok(changes)
}
