//! The constructor: opens the store, restores what it remembers, starts the task.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Instant,
};

use chrono::Utc;
use libp2p::{gossipsub::IdentTopic, identity::Keypair};
use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use tokio::{runtime::Handle, sync::mpsc};

use super::{
    P2PConfig, P2PRegistry,
    adapters::{self, Buckets},
    addresses::named_peer,
    behaviour,
    catalog::Catalog,
    dial::{DialQueue, dial_fault},
    node::NodeTask,
    package::Checked,
    recorder::{Recorder, memory_config},
    shelf::{self, Shelf},
    withdrawn::Withdrawn,
};
use crate::{
    Error, ErrorKind, P2PStatePersistence,
    state::{Change, State, Time},
};

/// Requests that wait for the task at once.
const COMMANDS_MAX: usize = 64;
/// Bootstrap nodes remembered from configurations.
const BOOTSTRAP_NODES_MAX: usize = 256;
/// Withdrawals by others that are journaled in a minute, where this node has no copy.
const WITHDRAWALS_PER_MINUTE: u32 = 60;

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
        Restored::from(store, task_config)
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
    cached: Vec<Checked>,
    withdrawn: Withdrawn,
    changes: Vec<Change>,
}

impl Restored {
    fn from(store: P2PStatePersistence, mut config: P2PConfig) -> Result<Self, Error> {
        let key = config.keypair.take().unwrap_or_else(Keypair::generate_ed25519);
        let local = key.public().to_peer_id();
        let prefix = format!("{}/", config.packages_topic);
        let (view, limits, now) = (store.view()?, &config.limits, Utc::now());
        let (withdrawn, mut changes) =
            Withdrawn::restore(view.state(), &prefix, local, shelf::ttl(limits), now.into());
        let (packages, dropped) =
            shelf::restore(view.state(), &prefix, &local, &withdrawn, limits, now);
        changes.extend(dropped);
        // Known, so that a withdrawal reaches them.
        let cached = view.state().packages().filter_map(|(_, entry)| {
            Checked::read(Arc::clone(&entry.data), now, limits.package_bytes).ok()
        });
        let cached = cached.collect();
        drop(view);
        Ok(Self { store, config, key, prefix, packages, cached, withdrawn, changes })
    }

    async fn start(self, runtime: &Handle) -> Result<P2PRegistry, Error> {
        let Self { store, mut config, key, prefix, packages, cached, withdrawn, mut changes } =
            self;
        let local = key.public().to_peer_id();
        let limits = config.limits.clone();
        let memory = adapters::Recorder::new(&store, local, memory_config(&limits))?;
        let mut recorder = Recorder::new(memory.clone(), store.clone(), &limits);
        changes.extend(bootstrap_changes(&config, &store)?);
        recorder.append(changes);
        let view = store.view()?;
        let bootstrap = bootstrap_nodes(view.state(), &local);
        bootstrap.iter().filter_map(named_peer).for_each(|peer| memory.pin(peer));
        let mut swarm = behaviour::swarm(&key, &config, &store, &memory)?;
        let mut catalog =
            Catalog::new(local, withdrawn, limits.catalog, limits.catalog_per_publisher);
        let mut shelf = Shelf::default();
        for (stored, at) in packages {
            let own = stored.package.info.publisher == local;
            if let Ok(package) = stored.put(swarm.behaviour_mut().kad.store_mut()) {
                shelf.insert(&package, own, at);
                catalog.add(package.info, package.published_ms);
            }
        }
        for package in cached {
            catalog.add(package.info, package.published_ms);
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
            puts_budget: Buckets::new(limits.dht_puts_per_minute),
            withdrawals_budget: Buckets::new(WITHDRAWALS_PER_MINUTE),
            topic: IdentTopic::new(config.packages_topic.clone()),
            prefix: prefix.clone(),
            bootstrap,
            banned: HashSet::new(),
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
        Ok(P2PRegistry { commands, store, memory, key, config, local, prefix })
    }
}

/// The bootstrap nodes that are remembered; those that cannot be dialled are named in the log.
fn bootstrap_nodes(state: &State, local: &PeerId) -> Vec<Multiaddr> {
    let nodes = state.bootstrap_nodes().iter();
    let nodes: Vec<Multiaddr> = nodes
        .filter_map(|node| crate::string_to_multiaddr(node).ok())
        .filter(|node| named_peer(node) != Some(*local))
        .collect();
    for (node, why) in nodes.iter().filter_map(|node| Some((node, dial_fault(node)?))) {
        tracing::warn!(%node, why, "a bootstrap node cannot be dialled");
    }
    nodes
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
