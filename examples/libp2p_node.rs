//! A plain libp2p node with the adapters: a behaviour, a record store for kademlia, and the
//! recorder in the event loop. It meets another node on loopback, restarts, and dials it by its
//! peer id.
#![allow(clippy::print_stdout)]

use std::{error::Error, path::Path, time::Duration};

use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder, futures::StreamExt, identify, identity::Keypair, kad,
    noise, swarm::NetworkBehaviour, swarm::SwarmEvent, tcp, yamux,
};
use peer_journal::{
    P2PStatePersistence,
    registry::adapters::{self, Config, KadConfig, KadStore, Recorder},
};

#[derive(NetworkBehaviour)]
struct Node {
    // First, so that a banned peer is refused before the others make room for it.
    memory: adapters::Behaviour,
    identify: identify::Behaviour,
    kad: kad::Behaviour<KadStore>,
}

fn start(
    key: &Keypair,
    state_file: &Path,
) -> Result<(Swarm<Node>, P2PStatePersistence), Box<dyn Error>> {
    let local = key.public().to_peer_id();
    let store = P2PStatePersistence::open(state_file)?;
    let recorder = Recorder::new(&store, local, Config::default())?;
    let node = Node {
        memory: adapters::Behaviour::new(&recorder),
        identify: identify::Behaviour::new(identify::Config::new(
            "/example/1".to_owned(),
            key.public(),
        )),
        kad: kad::Behaviour::new(local, KadStore::new(&store, local, KadConfig::default())?),
    };
    let swarm = SwarmBuilder::with_existing_identity(key.clone())
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|_| node)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(10)))
        .build();
    Ok((swarm, store))
}

/// The event loop: whatever happens is offered to the recorder.
async fn until_identified(swarm: &mut Swarm<Node>) -> PeerId {
    let recorder = swarm.behaviour().memory.recorder().clone();
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(NodeEvent::Identify(event)) => {
                recorder.record(&event);
                if let identify::Event::Received { peer_id, .. } = event {
                    return peer_id;
                }
            }
            SwarmEvent::Behaviour(NodeEvent::Kad(event)) => recorder.record(&event),
            SwarmEvent::Behaviour(NodeEvent::Memory(event)) => println!("memory: {event:?}"),
            event => recorder.record(&event),
        }
    }
}

async fn listen(swarm: &mut Swarm<Node>) -> Result<Multiaddr, Box<dyn Error>> {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return Ok(address);
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let (alice_file, bob_file) = (dir.path().join("alice.json"), dir.path().join("bob.json"));
    let alice = Keypair::generate_ed25519();

    let (mut bob, _bob_store) = start(&Keypair::generate_ed25519(), &bob_file)?;
    let (bob_id, bob_address) = (*bob.local_peer_id(), listen(&mut bob).await?);
    tokio::spawn(async move { bob.for_each(|_| async {}).await });

    let (mut swarm, store) = start(&alice, &alice_file)?;
    swarm.dial(bob_address)?;
    println!("met {}", until_identified(&mut swarm).await);
    drop(swarm); // appends what waited for its turn
    store.close().await?;
    drop(store);

    let (mut swarm, store) = start(&alice, &alice_file)?;
    swarm.dial(bob_id)?; // no address given: the store has it
    println!("met {} again, from memory", until_identified(&mut swarm).await);
    println!("{:#?}", store.view()?.peer(&bob_id));
    drop(swarm);
    store.close().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tokio::time::timeout(Duration::from_secs(30), run()).await?
}
