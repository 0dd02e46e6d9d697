//! One node of the demo, a process of its own: a real libp2p node that publishes and fetches
//! packages and keeps three stores of the same changes.
//!
//! It tells its parent what happens, a line each: `listening ADDRESS`, `peers COUNT`, and
//! `acknowledged LSN` when a change is durable. It stops when its standard input ends.

use std::{
    io::Read,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use peer_journal::{
    Changes, Multiaddr, P2PConfig, P2PRegistry, P2PStatePersistence,
    vfs::{OsVfs, Vfs},
};

use super::{
    MEMBERS,
    rivals::{Habit, Rival},
    state_file,
};
use crate::{Failure, identity, out};

/// Time between two packages of one node, and between two fetches.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);
const FETCH_EVERY: Duration = Duration::from_millis(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Run one node of the demo
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to keep the three stores
    #[arg(long)]
    dir: PathBuf,
    /// Which of the nodes this is
    #[arg(long)]
    number: u64,
    /// Node to join the network through; without one it goes by what it remembers
    #[arg(long)]
    bootstrap: Option<Multiaddr>,
    /// Only join and stay: nothing is published or fetched, and there is one store
    #[arg(long)]
    quiet: bool,
}

/// Runs until standard input ends.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the runtime", error))?;
    runtime.block_on(live(args))
}

async fn live(args: &Args) -> Result<(), Failure> {
    let state_file = state_file(&args.dir);
    let keypair = identity::load_or_create(&identity::default_path(&state_file))?;
    let store = P2PStatePersistence::open(&state_file)?;
    let changes = store.changes_since(store.view()?.lsn())?;
    let config = P2PConfig {
        keypair: Some(keypair),
        bootstrap_nodes: args.bootstrap.iter().cloned().collect(),
        listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse().map_err(|error| {
            Failure::negative(format!("unexpected, please report it: {error}"))
        })?],
        query_timeout: QUERY_TIMEOUT,
        ..P2PConfig::default()
    };
    let node = P2PRegistry::with_store(config, store.clone()).await?;
    for address in node.start_listening().await? {
        out::line(format_args!("listening {address}/p2p/{}", node.local_peer_id()))?;
    }
    node.subscribe().await?;
    if args.bootstrap.is_some() {
        // Who does not answer now is found later, or finds us.
        node.bootstrap().await.ok();
    }
    tokio::spawn(tell_peers(node.clone()));
    let following = (!args.quiet).then(|| {
        tokio::spawn(publish(node.clone(), args.number));
        tokio::spawn(fetch(node.clone(), args.number));
        tokio::spawn(follow(changes, args.dir.clone()))
    });
    end_of_input().await;
    node.shutdown().await?;
    store.close().await?;
    match following {
        Some(task) => task.await.unwrap_or(Ok(())),
        None => Ok(()),
    }
}

/// Publishes one small package after the other.
async fn publish(node: P2PRegistry, number: u64) {
    for turn in 0_u64.. {
        let id = format!("demo/node-{number}/{turn}");
        let data = format!("package {turn} of node {number}").repeat(8);
        // A query that found nobody is tried again with the next package.
        node.publish_package(&id, "1.0.0", "a package of the demo", data.as_bytes()).await.ok();
        tokio::time::sleep(PUBLISH_EVERY).await;
    }
}

/// Fetches what the others announce; answers and their times become reputation.
async fn fetch(node: P2PRegistry, number: u64) {
    for turn in 0_u64.. {
        let other = (number + 1 + turn % (MEMBERS - 1)) % MEMBERS;
        let id = format!("demo/node-{other}/{}", turn / (MEMBERS - 1));
        node.get_package(&id).await.ok();
        tokio::time::sleep(FETCH_EVERY).await;
    }
}

/// Feeds the rivals with each change that is durable, and acknowledges it to the parent.
async fn follow(mut changes: Changes, dir: PathBuf) -> Result<(), Failure> {
    let disk: &dyn Vfs = &OsVfs;
    let dir: &Path = &dir;
    let mut rivals =
        [Habit::EverySixtySeconds, Habit::OnCleanExit].map(|habit| Rival::new(disk, dir, habit));
    let cannot = |error| Failure::io("cannot write a JSON file", error);
    let mut told = Instant::now();
    while let Some(recorded) = changes.next().await {
        let recorded = recorded?;
        let elapsed = std::mem::replace(&mut told, Instant::now()).elapsed();
        for rival in &mut rivals {
            rival.apply(&recorded);
            rival.tick(elapsed).map_err(cannot)?;
        }
        out::line(format_args!("acknowledged {}", recorded.lsn))?;
    }
    for rival in &rivals {
        rival.exit().map_err(cannot)?;
    }
    Ok(())
}

async fn tell_peers(node: P2PRegistry) -> Result<(), Failure> {
    let mut before = 0;
    loop {
        let count = node.connected_peers().await?.len();
        if count != before {
            out::line(format_args!("peers {count}"))?;
            before = count;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The parent closes the pipe to end this node as it should, and dies with it open.
async fn end_of_input() {
    let ended = tokio::task::spawn_blocking(|| {
        let mut input = std::io::stdin().lock();
        let mut byte = [0];
        while input.read(&mut byte).is_ok_and(|count| count > 0) {}
    });
    // It can fail only with the runtime, and then all is over anyway.
    ended.await.ok();
}
