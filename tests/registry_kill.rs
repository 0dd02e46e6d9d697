//! Reputation after `kill -9`: what a node was told is remembered is what a restart finds.
//!
//! The failure this guards against is the one of the replaced system, whose reputation lived in
//! memory between two saves. A real node in a child process fetches packages from two other nodes
//! on loopback, an honest one and one that lies, and is killed in the middle, round after round.
//!
//! The child is this very program: it runs the test named `child` with its orders in the
//! environment.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/nodes.rs"]
mod nodes;

use std::{
    io::{BufRead, BufReader, Lines, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use libp2p::{
    Swarm, SwarmBuilder,
    futures::StreamExt,
    identify,
    identity::Keypair,
    kad::{self, store::RecordStore},
    noise,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use nodes::{LIMIT, Seat, until, within};
use peer_journal::{
    Multiaddr, P2PConfig, P2PRegistry, P2PStatePersistence, PeerId, state::Reputation,
};

const STATE: &str = "PEER_JOURNAL_KILL_STATE";
const NODES: &str = "PEER_JOURNAL_KILL_NODES";
const FIRST: &str = "PEER_JOURNAL_KILL_FIRST";
const TOPIC: &str = "/ggen/packages/v1";
/// Packages in each round, of each kind; more than a round asks for.
const PER_ROUND: u64 = 25;
/// Answers that the parent waits for in each round before it kills.
const KILL_AFTER: [u64; 4] = [3, 24, 1, 11];

/// One line to the parent, whole and at once.
fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The child's node: a client, or others would put their packages on it before it asks.
fn config(state_file: PathBuf, bootstrap: Vec<Multiaddr>) -> P2PConfig {
    P2PConfig {
        bootstrap_nodes: bootstrap,
        listen_addresses: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        dht_server_mode: false,
        state_file: Some(state_file),
        query_timeout: Duration::from_secs(10),
        ..P2PConfig::default()
    }
}

/// Not a test: what the parent below starts. Without orders it does nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(state) = std::env::var(STATE) else { return };
    let nodes = std::env::var(NODES).unwrap();
    let nodes: Vec<Multiaddr> = nodes.split(',').map(|node| node.parse().unwrap()).collect();
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let node = P2PRegistry::new(config(state.into(), nodes)).await.unwrap();
    node.bootstrap().await.unwrap();
    until("both are in the DHT", || async { node.status().await.unwrap().routing_table == 2 })
        .await;
    for number in first.. {
        for kind in ["true", "false"] {
            tell("ask");
            let found = node.get_package(&format!("{kind}/{number}")).await.unwrap();
            assert_eq!(found.is_some(), kind == "true", "{kind}/{number}");
            let view = node.store().view().unwrap();
            node.store().sync().await.unwrap();
            // What the view shows was appended before the sync, and is durable now.
            for (peer, entry) in view.state().peers() {
                let Some(known) = &entry.reputation else { continue };
                let (good, bad) = (known.successful_retrievals, known.failed_retrievals);
                tell(&format!("row {peer} {good} {bad} {}", known.avg_response_time_ms));
            }
            tell("done");
        }
    }
}

/// What the child has said so far.
#[derive(Default)]
struct Told {
    asked: u64,
    done: u64,
    /// By peer: successes, failures, average response in milliseconds.
    rows: std::collections::BTreeMap<PeerId, [u64; 3]>,
}

struct Victim {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// No child outlives a test that fails.
impl Drop for Victim {
    fn drop(&mut self) {
        self.process.kill().unwrap_or_default();
        self.process.wait().unwrap();
    }
}

impl Victim {
    fn start(state: &Path, nodes: &[Multiaddr], first: u64) -> Self {
        let nodes: Vec<String> = nodes.iter().map(Multiaddr::to_string).collect();
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads=1"])
            .env(STATE, state)
            .env(NODES, nodes.join(","))
            .env(FIRST, first.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// Reads one line; false at the end.
    fn listen(&mut self, told: &mut Told) -> bool {
        let line = |line: std::io::Result<String>| line.ok()?.strip_prefix('@').map(str::to_owned);
        let Some(line) = self.lines.find_map(line) else { return false };
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["ask"] => told.asked += 1,
            ["done"] => told.done += 1,
            ["row", peer, counts @ ..] => {
                let counts: Vec<u64> = counts.iter().map(|count| count.parse().unwrap()).collect();
                told.rows.insert(peer.parse().unwrap(), counts.try_into().unwrap());
            }
            // Cut off by the kill.
            _ => {}
        }
        true
    }

    /// SIGKILL; then whatever is still in the pipe, which was acknowledged, too.
    fn kill(mut self, told: &mut Told) {
        self.process.kill().unwrap();
        while self.listen(told) {}
    }
}

#[derive(NetworkBehaviour)]
struct Liar {
    identify: identify::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
}

/// A node of the DHT that has rubbish under the names of packages.
async fn liar(rounds: u64) -> (Swarm<Liar>, Multiaddr) {
    let key = Keypair::generate_ed25519();
    let local = key.public().to_peer_id();
    let config = kad::Config::new(libp2p::StreamProtocol::new("/ggen/kad/1.0.0"));
    let mut kad = kad::Behaviour::with_config(local, kad::store::MemoryStore::new(local), config);
    kad.set_mode(Some(kad::Mode::Server));
    for number in 0..rounds * PER_ROUND {
        let key = kad::RecordKey::new(&format!("{TOPIC}/false/{number}"));
        kad.store_mut().put(kad::Record::new(key, b"rubbish".to_vec())).unwrap();
    }
    let identify = identify::Config::new("/liar/1".to_owned(), key.public());
    let liar = Liar { identify: identify::Behaviour::new(identify), kad };
    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|_| liar)
        .unwrap()
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(LIMIT))
        .build();
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    let at = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            break address.with_p2p(local).unwrap();
        }
    };
    (swarm, at)
}

fn counts(known: &Reputation) -> [u64; 3] {
    [known.successful_retrievals, known.failed_retrievals, known.avg_response_time_ms]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reputation_after_kill_9_is_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let rounds = KILL_AFTER.len() as u64;
    let (honest, honest_at) = Seat::new(dir.path(), "honest").start(&[]).await;
    let published: Vec<_> = (0..rounds * PER_ROUND)
        .map(|number| {
            let honest = honest.clone();
            tokio::spawn(async move {
                within(honest.publish_package(&format!("true/{number}"), "1", "", b"x")).await
            })
        })
        .collect();
    for published in published {
        published.await.unwrap().unwrap();
    }
    let (mut swarm, liar_at) = within(liar(rounds)).await;
    let (honest_id, liar_id) = (honest.local_peer_id(), *swarm.local_peer_id());
    let lying = tokio::spawn(async move {
        loop {
            swarm.select_next_some().await;
        }
    });
    let state = dir.path().join("victim").join("p2p-state.json");
    let nodes = [honest_at, liar_at];
    let mut before = Told::default();
    for (round, kill_after) in (0_u64..).zip(KILL_AFTER) {
        let (path, nodes) = (state.clone(), nodes.clone());
        let listened = tokio::task::spawn_blocking(move || {
            let mut victim = Victim::start(&path, &nodes, round * PER_ROUND);
            let mut told = Told::default();
            while told.done < kill_after {
                assert!(victim.listen(&mut told), "the child ended");
            }
            victim.kill(&mut told);
            told
        });
        let told = within(listened).await.unwrap();
        let store = P2PStatePersistence::open(&state).unwrap();
        let report = store.recovery().unwrap().clone();
        assert!(report.lost.is_empty() && !report.is_damaged(), "{report}");
        let view = store.view().unwrap();
        let mut outcomes = 0;
        for peer in [honest_id, liar_id] {
            let entry = view.peer(&peer).unwrap();
            let found = counts(&entry.reputation.clone().unwrap_or_default());
            let said = told.rows.get(&peer).copied().unwrap_or_default();
            println!("round {round}: {said:?} acknowledged, {found:?} there");
            assert!(found[0] >= said[0] && found[1] >= said[1], "{said:?} {found:?}\n{report}");
            if found[..2] == said[..2] {
                assert_eq!(found[2], said[2], "the average goes with the counts");
            }
            let old = before.rows.get(&peer).copied().unwrap_or_default();
            outcomes += found[0] + found[1] - old[0] - old[1];
            before.rows.insert(peer, found);
        }
        assert!(outcomes >= told.done, "{outcomes} outcomes of {} requests\n{report}", told.done);
        assert!(outcomes <= told.asked, "{outcomes} outcomes of {} requests", told.asked);
        drop(view);
        drop(store);

        // And a node that starts on it thinks the same of its peers.
        let node = within(P2PRegistry::new(config(state.clone(), Vec::new()))).await.unwrap();
        for peer in [honest_id, liar_id] {
            let ranked = node.reputation(&peer).unwrap().unwrap();
            assert_eq!(counts(&ranked.reputation), before.rows[&peer], "round {round}");
        }
        within(node.shutdown()).await.unwrap();
    }
    let [honest_row, liar_row] = [honest_id, liar_id].map(|peer| before.rows[&peer]);
    assert!(honest_row[0] > 0 && honest_row[1] == 0, "{honest_row:?}");
    assert!(liar_row[1] > 0 && liar_row[0] == 0, "{liar_row:?}");
    lying.abort();
    within(honest.shutdown()).await.unwrap();
}
