//! The adapters in real swarms on loopback: what a node learns, refuses, and knows after a restart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod swarms;

use std::{
    path::Path,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::SignedEnvelope,
    identify,
    identity::Keypair,
    multiaddr::Protocol,
    swarm::{
        ConnectionId, DialError, DialFailure, FromSwarm, ListenError, NetworkBehaviour,
        NewExternalAddrOfPeer, SwarmEvent, dummy,
    },
};
use libp2p_peer_store::Store;
use peer_journal::{
    Outcome, P2PStatePersistence,
    registry::adapters::{self, Banned, Config, Fact, Note, PeerStore, Recorder},
};
use swarms::{Clock, LIMIT, Of, connect, disconnect, listen, remembered, run, swarm};

fn open(path: &Path) -> (P2PStatePersistence, Recorder, Keypair) {
    let key = Keypair::generate_ed25519();
    let (store, recorder) = open_as(path, &key);
    (store, recorder, key)
}

fn open_as(path: &Path, key: &Keypair) -> (P2PStatePersistence, Recorder) {
    let store = P2PStatePersistence::open(path).unwrap();
    let recorder = Recorder::new(&store, key.public().to_peer_id(), Config::default()).unwrap();
    (store, recorder)
}

fn stranger() -> Swarm<dummy::Behaviour> {
    swarm(&Keypair::generate_ed25519(), dummy::Behaviour)
}

fn is_ban(cause: &libp2p::swarm::ConnectionDenied, peer: PeerId) -> bool {
    cause.downcast_ref::<Banned>().is_some_and(|banned| banned.peer == peer)
}

#[tokio::test]
async fn a_dial_by_peer_id_uses_what_was_remembered_before_the_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p2p-state.json");
    let (store, recorder, key) = open(&path);
    let mut node = swarm(&key, adapters::Behaviour::new(&recorder));
    let mut other = stranger();
    let (peer, address) = (*other.local_peer_id(), listen(&mut other).await);
    connect(&mut node, &mut other, address.clone()).await;
    drop((node, recorder));
    store.close().await.unwrap();
    drop(store);

    let (store, recorder) = open_as(&path, &key);
    let mut node = swarm(&key, adapters::Behaviour::new(&recorder));
    assert!(store.view().unwrap().peer(&peer).unwrap().seen.as_ref().unwrap().verified);
    node.dial(peer).unwrap();
    let mut recovered = None;
    run(&mut node, &mut other, |node, _, event| {
        if let Of::First(SwarmEvent::Behaviour(adapters::Event::Recovered {
            outcome, peers, ..
        })) = event
        {
            recovered = Some((outcome, peers));
        }
        node.is_connected(&peer)
    })
    .await;
    assert_eq!(recovered, Some((Outcome::Clean, 1)));
    assert_eq!(remembered(&store, &peer), [address.to_string()]);
}

#[tokio::test]
async fn a_ban_closes_the_connection_at_once_and_holds_both_ways_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p2p-state.json");
    let (store, recorder, key) = open(&path);
    let mut node = swarm(&key, adapters::Behaviour::new(&recorder));
    let mut bad = stranger();
    let (local, peer) = (*node.local_peer_id(), *bad.local_peer_id());
    let bad_address = listen(&mut bad).await;
    connect(&mut node, &mut bad, bad_address).await;

    store.ban(&peer, Duration::from_secs(3600), "spam", "test").unwrap().await.unwrap();
    run(&mut node, &mut bad, |a, b, event| {
        if let Of::First(SwarmEvent::ConnectionClosed { cause, .. }) = event {
            assert!(cause.is_none(), "nobody closed it, it ended by itself: {cause:?}");
        }
        !a.is_connected(&peer) && !b.is_connected(&local)
    })
    .await;
    refuses(&mut node, &mut bad).await;
    drop((node, recorder));
    store.close().await.unwrap();
    drop(store);

    let (store, recorder) = open_as(&path, &key);
    let mut node = swarm(&key, adapters::Behaviour::new(&recorder));
    refuses(&mut node, &mut bad).await;
    store.unban(&peer).unwrap().await.unwrap();
    node.dial(peer).unwrap();
    run(&mut node, &mut bad, |node, _, _| node.is_connected(&peer)).await;
}

/// The node neither dials the banned peer nor lets it in.
async fn refuses(node: &mut Swarm<adapters::Behaviour>, bad: &mut Swarm<dummy::Behaviour>) {
    let peer = *bad.local_peer_id();
    match node.dial(peer) {
        Err(DialError::Denied { cause }) => assert!(is_ban(&cause, peer), "{cause}"),
        other => panic!("the dial was not denied: {other:?}"),
    }
    let address = listen(node).await;
    bad.dial(address).unwrap();
    let refused = |_: &mut Swarm<_>, _: &mut Swarm<_>, event| match event {
        Of::First(SwarmEvent::IncomingConnectionError { error, .. }) => match error {
            ListenError::Denied { cause } => is_ban(&cause, peer),
            other => panic!("refused for another reason: {other}"),
        },
        Of::First(SwarmEvent::ConnectionEstablished { .. }) => panic!("it was let in"),
        _ => false,
    };
    run(node, bad, refused).await;
    assert!(!node.is_connected(&peer));
}

#[tokio::test]
async fn a_hostile_peer_grows_neither_rows_nor_journal() {
    let dir = tempfile::tempdir().unwrap();
    let (store, recorder, key) = open(&dir.path().join("p2p-state.json"));
    let mut node = swarm(&key, adapters::Behaviour::new(&recorder));
    let address = listen(&mut node).await;
    let mut hostile = stranger();
    let peer = *hostile.local_peer_id();
    for port in 1..=10_000_u16 {
        let address: Multiaddr = format!("/ip4/192.0.2.7/tcp/{port}").parse().unwrap();
        node.add_peer_address(peer, address.clone());
        node.add_peer_address(peer, address.with(Protocol::P2p(PeerId::random())));
        node.add_peer_address(
            peer,
            format!("/dns4/{}.example/tcp/1", "a".repeat(300)).parse().unwrap(),
        );
    }
    for _ in 0..200 {
        connect(&mut hostile, &mut node, address.clone()).await;
        disconnect(&mut hostile, &mut node).await;
    }
    drop(node);
    recorder.write_rest();
    assert_eq!(remembered(&store, &peer).len(), 16);
    assert_eq!(store.view().unwrap().state().counts().peers, 1);
    // A sync needs a record, so that few records are few syncs.
    let records = store.status().unwrap().last_lsn.get();
    assert!(records <= 20, "records={records}");
    assert!(recorder.counters().addresses_refused > 9_000);
}

#[tokio::test]
async fn a_failed_dial_does_not_forget_a_proven_address() {
    let dir = tempfile::tempdir().unwrap();
    let (store, recorder, key) = open(&dir.path().join("p2p-state.json"));
    let mut node = swarm(&key, adapters::Behaviour::new(&recorder));
    let mut other = stranger();
    let (peer, address) = (*other.local_peer_id(), listen(&mut other).await);
    // Dialled with the suffix, told without: one endpoint.
    connect(&mut node, &mut other, address.clone().with(Protocol::P2p(peer))).await;
    node.add_peer_address(peer, address.clone());
    drop(other);
    let mut idle = stranger();
    for _ in 0..5 {
        run(&mut node, &mut idle, |node, _, _| !node.is_connected(&peer)).await;
        node.dial(peer).unwrap();
        run(&mut node, &mut idle, |_, _, event| {
            matches!(event, Of::First(SwarmEvent::OutgoingConnectionError { .. }))
        })
        .await;
    }
    recorder.write_rest();
    assert_eq!(remembered(&store, &peer), [address.to_string()]);
}

#[tokio::test]
async fn somebody_else_or_ourselves_at_an_address_is_found_out_by_one_dial() {
    let dir = tempfile::tempdir().unwrap();
    let (store, recorder, key) = open(&dir.path().join("p2p-state.json"));
    let mut node = swarm(&key, adapters::Behaviour::new(&recorder));
    let mut other = stranger();
    let (expected, obtained) = (PeerId::random(), *other.local_peer_id());
    let theirs = listen(&mut other).await;
    node.add_peer_address(expected, theirs.clone());
    node.dial(expected).unwrap();
    run(&mut node, &mut other, |_, _, event| {
        matches!(event, Of::First(SwarmEvent::OutgoingConnectionError { .. }))
    })
    .await;
    assert!(recorder.addresses(&expected).is_empty());

    let ours: Multiaddr = "/ip4/192.0.2.1/tcp/4001".parse().unwrap();
    node.add_peer_address(expected, ours.clone());
    let error = DialError::LocalPeerId { address: ours.with(Protocol::P2p(expected)) };
    let connection_id = ConnectionId::new_unchecked(usize::MAX);
    let failure = DialFailure { peer_id: Some(expected), error: &error, connection_id };
    node.behaviour_mut().on_swarm_event(FromSwarm::DialFailure(failure));
    recorder.write_rest();
    assert!(remembered(&store, &expected).is_empty());
    assert_eq!(remembered(&store, &obtained), [theirs.to_string()], "now we know who is there");
}

#[derive(NetworkBehaviour)]
struct Identified {
    memory: adapters::Behaviour,
    identify: identify::Behaviour,
}

#[tokio::test]
async fn what_a_peer_says_of_itself_is_recorded_from_the_event_loop() {
    let dir = tempfile::tempdir().unwrap();
    let (store, recorder, key) = open(&dir.path().join("p2p-state.json"));
    let say = |key: &Keypair, agent: &str| {
        let config = identify::Config::new("/test/1".to_owned(), key.public());
        identify::Behaviour::new(config.with_agent_version(agent.to_owned()))
    };
    let memory = adapters::Behaviour::new(&recorder);
    let mut node = swarm(&key, Identified { memory, identify: say(&key, "node") });
    let other_key = Keypair::generate_ed25519();
    let mut other = swarm(&other_key, say(&other_key, &"\u{1b}[31mhostile ".repeat(100)));
    let (peer, address) = (*other.local_peer_id(), listen(&mut other).await);
    node.dial(address.clone()).unwrap();
    run(&mut node, &mut other, |_, _, event| match event {
        Of::First(SwarmEvent::Behaviour(IdentifiedEvent::Identify(event))) => {
            recorder.record(&event);
            matches!(event, identify::Event::Received { .. })
        }
        Of::First(event) => {
            recorder.record(&event);
            false
        }
        _ => false,
    })
    .await;
    let view = store.view().unwrap();
    let profile = view.peer(&peer).unwrap().profile.clone().expect("a profile");
    assert_eq!(profile.agent.as_ref().unwrap().len(), 256);
    assert!(profile.protocols.iter().any(|protocol| &**protocol == "/ipfs/id/1.0.0"));
    assert_eq!(remembered(&store, &peer), [address.to_string()]);
}

/// A signed record as identify carries it, with a number of our choice.
fn signed(key: &Keypair, number: u8, address: &Multiaddr) -> SignedEnvelope {
    let field = |tag: u8, bytes: &[u8]| {
        [&[tag << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    };
    let payload = [
        field(1, &key.public().to_peer_id().to_bytes()),
        vec![2 << 3, number],
        field(3, &field(1, &address.to_vec())),
    ];
    let kind = b"/libp2p/routing-state-record".to_vec();
    SignedEnvelope::new(key, "libp2p-routing-state".to_owned(), kind, payload.concat()).unwrap()
}

#[tokio::test]
async fn an_older_signed_record_does_not_undo_a_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, recorder, _) = open(&dir.path().join("p2p-state.json"));
    let key = Keypair::generate_ed25519();
    let peer_id = key.public().to_peer_id();
    let says = |number: u8, is_signed: bool| {
        let address: Multiaddr = format!("/ip4/192.0.2.1/tcp/{number}").parse().unwrap();
        let info = identify::Info {
            public_key: key.public(),
            protocol_version: String::new(),
            agent_version: String::new(),
            signed_peer_record: is_signed.then(|| signed(&key, number, &address)),
            listen_addrs: vec![address.clone()],
            protocols: Vec::new(),
            observed_addr: Multiaddr::empty(),
        };
        let connection_id = ConnectionId::new_unchecked(1);
        recorder.record(&identify::Event::Received { connection_id, peer_id, info });
        [address.to_string()]
    };
    let newest = says(7, true);
    says(6, true);
    assert_eq!(remembered(&store, &peer_id), newest);
    let next = says(8, true);
    assert_eq!(remembered(&store, &peer_id), next);
    let unsigned = says(1, false);
    assert_eq!(remembered(&store, &peer_id), unsigned, "the peer's word over its connection");
}

#[tokio::test]
async fn the_signed_record_of_a_real_peer_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let (store, recorder, key) = open(&dir.path().join("p2p-state.json"));
    let say = |key: &Keypair| {
        identify::Config::new_with_signed_peer_record("/test/1".to_owned(), key)
            .with_push_listen_addr_updates(true)
    };
    let memory = adapters::Behaviour::new(&recorder);
    let identify = identify::Behaviour::new(say(&key));
    let mut node = swarm(&key, Identified { memory, identify });
    let other_key = Keypair::generate_ed25519();
    let mut other = swarm(&other_key, identify::Behaviour::new(say(&other_key)));
    let (peer, address) = (*other.local_peer_id(), listen(&mut other).await);
    let outside: Multiaddr = "/ip4/192.0.2.1/tcp/4001".parse().unwrap();
    other.add_external_address(outside.clone());
    node.dial(address.clone()).unwrap();
    let mut was_signed = false;
    run(&mut node, &mut other, |_, _, event| {
        let Of::First(SwarmEvent::Behaviour(IdentifiedEvent::Identify(event))) = event else {
            return false;
        };
        recorder.record(&event);
        if let identify::Event::Received { info, .. } = &event {
            was_signed |= info.signed_peer_record.is_some();
        }
        was_signed
    })
    .await;
    let mut known = remembered(&store, &peer);
    known.sort();
    let mut expected = [address.to_string(), outside.to_string()];
    expected.sort();
    assert_eq!(known, expected);
}

#[tokio::test]
async fn the_end_writes_what_a_full_journal_did_not_take_a_moment_before() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p2p-state.json");
    let clock = Clock::new();
    drop(clock.open(&path));
    let time = clock.clone();
    let builder = P2PStatePersistence::builder(&path).clock(move || time.now());
    let store = builder.max_unsynced_bytes(1024).open().unwrap();
    let recorder = Recorder::new(&store, PeerId::random(), Config::default()).unwrap();
    let peer = PeerId::random();
    let address: Multiaddr = "/ip4/127.0.0.1/tcp/4001".parse().unwrap();
    let mut crowd = 0;
    while recorder.counters().journal_full == 0 {
        crowd += 1;
        assert!(crowd < 10_000, "it never fills");
        recorder.observe(Fact::Heard { peer: &PeerId::random(), address: &address });
    }
    recorder.observe(Fact::Dialled { peer: &peer, address: &address });
    store.sync().await.unwrap();
    recorder.write_rest();
    store.sync().await.unwrap();
    recorder.write_rest();
    assert_eq!(remembered(&store, &peer), [address.to_string()]);
}

#[tokio::test]
async fn what_the_program_tells_the_store_itself_is_dialled_and_forgotten_too() {
    let dir = tempfile::tempdir().unwrap();
    let (store, recorder, key) = open(&dir.path().join("p2p-state.json"));
    let mut node = swarm(&key, adapters::Behaviour::new(&recorder));
    let mut other = stranger();
    let (peer, address) = (*other.local_peer_id(), listen(&mut other).await);
    store.addresses_added(&peer, &[address]).unwrap();
    node.dial(peer).unwrap();
    run(&mut node, &mut other, |node, _, _| node.is_connected(&peer)).await;
    disconnect(&mut node, &mut other).await;
    store.forget_peer(&peer).unwrap();
    assert!(matches!(node.dial(peer), Err(DialError::NoAddresses)));
    recorder.write_rest();
    assert!(store.view().unwrap().peer(&peer).is_none(), "nothing brings it back");
}

#[tokio::test]
async fn whom_to_ask_first_is_spread_over_networks_proven_first_and_never_banned() {
    let dir = tempfile::tempdir().unwrap();
    let store = P2PStatePersistence::open(dir.path().join("p2p-state.json")).unwrap();
    let add = |address: &str, is_verified: bool| {
        let peer = PeerId::random();
        store.peer_seen(&peer, &[address.parse().unwrap()]).unwrap();
        store.peer_verified(&peer, is_verified).unwrap();
        peer
    };
    let lonely = [
        add("/ip4/198.51.100.1/tcp/1", true),
        add("/ip6/2001:db8:1::1/tcp/1", true),
        add("/dns4/node.example.org/tcp/1", true),
    ];
    for host in 1..=100 {
        add(&format!("/ip4/192.0.2.{host}/tcp/1"), true);
        add(&format!("/ip4/10.{host}.0.1/tcp/1"), false);
    }
    let banned = add("/ip4/203.0.113.1/tcp/1", true);
    store.ban(&banned, LIMIT, "spam", "test").unwrap();
    let view = store.view().unwrap();
    let chosen = adapters::bootstrap_candidates(&view, 20, chrono::Utc::now());
    assert_eq!(chosen.len(), 20);
    assert!(lonely.iter().all(|peer| chosen[..4].iter().any(|(chosen, _)| chosen == peer)));
    assert!(chosen.iter().all(|(peer, _)| *peer != banned));
    let is_verified = |peer| view.peer(peer).unwrap().seen.as_ref().unwrap().verified;
    assert!(chosen.iter().all(|(peer, _)| is_verified(peer)));
    assert_eq!(adapters::bootstrap_candidates(&view, 1000, chrono::Utc::now()).len(), 203);
}

#[tokio::test]
async fn an_event_loop_without_the_behaviour_records_the_swarm_too() {
    let dir = tempfile::tempdir().unwrap();
    let (store, recorder, key) = open(&dir.path().join("p2p-state.json"));
    let (mut node, mut other) = (swarm(&key, dummy::Behaviour), stranger());
    let (peer, address) = (*other.local_peer_id(), listen(&mut other).await);
    node.dial(address.clone()).unwrap();
    run(&mut node, &mut other, |node, _, event| {
        if let Of::First(event) = event {
            recorder.record(&event);
        }
        node.is_connected(&peer) && !recorder.addresses(&peer).is_empty()
    })
    .await;
    assert_eq!(remembered(&store, &peer), [address.to_string()]);
}

#[tokio::test]
async fn the_peer_store_keeps_one_form_tells_evictions_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p2p-state.json");
    let local = PeerId::random();
    let store = P2PStatePersistence::open(&path).unwrap();
    let mut config = Config::default();
    (config.peers, config.unverified_peers) = (3, 3);
    let mut peers = PeerStore::new(&store, local, config.clone()).unwrap();
    let ids: Vec<PeerId> = (0..4).map(|_| PeerId::random()).collect();
    let address: Multiaddr = "/ip4/127.0.0.1/tcp/4001".parse().unwrap();
    for peer_id in &ids {
        let suffixed = address.clone().with(Protocol::P2p(*peer_id));
        for addr in [&address, &suffixed] {
            let event = NewExternalAddrOfPeer { peer_id: *peer_id, addr };
            peers.on_swarm_event(&FromSwarm::NewExternalAddrOfPeer(event));
        }
    }
    let event = NewExternalAddrOfPeer { peer_id: local, addr: &address };
    peers.on_swarm_event(&FromSwarm::NewExternalAddrOfPeer(event));
    assert!(peers.addresses_of_peer(&local).is_none(), "not of ourselves");
    let mut notes = Vec::new();
    while let Poll::Ready(note) = peers.poll(&mut Context::from_waker(Waker::noop())) {
        notes.push(note);
    }
    let added = |note: &&Note| matches!(note, Note::AddressAdded { .. });
    assert_eq!(notes.iter().filter(added).count(), 4);
    assert!(notes.iter().any(|note| matches!(note, Note::PeerEvicted { .. })), "{notes:?}");
    drop(peers);
    assert_eq!(store.view().unwrap().state().counts().peers, 3, "the eviction is journaled");
    store.close().await.unwrap();
    drop(store);

    let store = P2PStatePersistence::open(&path).unwrap();
    let peers = PeerStore::new(&store, local, config).unwrap();
    let last = peers.addresses_of_peer(&ids[3]).expect("the newest stayed");
    assert_eq!(last.collect::<Vec<_>>(), [&address]);
    let known = ids.iter().filter(|id| peers.addresses_of_peer(id).is_some()).count();
    assert_eq!(known, 3);
}

#[tokio::test]
async fn the_peer_store_serves_dials_of_the_published_behaviour() {
    let dir = tempfile::tempdir().unwrap();
    let key = Keypair::generate_ed25519();
    let store = P2PStatePersistence::open(dir.path().join("p2p-state.json")).unwrap();
    let peers = PeerStore::new(&store, key.public().to_peer_id(), Config::default()).unwrap();
    let mut node = swarm(&key, libp2p_peer_store::Behaviour::new(peers));
    let mut other = stranger();
    let (peer, address) = (*other.local_peer_id(), listen(&mut other).await);
    node.add_peer_address(peer, address.clone());
    node.dial(peer).unwrap();
    run(&mut node, &mut other, |node, _, _| node.is_connected(&peer)).await;
    assert_eq!(remembered(&store, &peer), [address.to_string()]);
    drop(other);
    run(&mut node, &mut stranger(), |node, _, _| !node.is_connected(&peer)).await;
    node.dial(peer).unwrap();
    run(&mut node, &mut stranger(), |_, _, event| {
        matches!(event, Of::First(SwarmEvent::OutgoingConnectionError { .. }))
    })
    .await;
    assert_eq!(
        node.behaviour().address_of_peer(&peer).unwrap().count(),
        1,
        "not after one failure"
    );
}

#[tokio::test]
async fn what_a_full_journal_does_not_take_is_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p2p-state.json");
    let clock = Clock::new();
    drop(clock.open(&path));
    let time = clock.clone();
    let store = P2PStatePersistence::builder(&path)
        .clock(move || time.now())
        .max_unsynced_bytes(256)
        .open()
        .unwrap();
    let recorder = Recorder::new(&store, PeerId::random(), Config::default()).unwrap();
    let peers: Vec<PeerId> = (0..200).map(|_| PeerId::random()).collect();
    let address: Multiaddr = "/ip4/127.0.0.1/tcp/4001".parse().unwrap();
    for peer in &peers {
        recorder.observe(Fact::Heard { peer, address: &address });
    }
    assert!(recorder.counters().journal_full > 0);
    let started = Instant::now();
    while store.view().unwrap().state().counts().peers < peers.len() {
        assert!(started.elapsed() < LIMIT, "{:?}", recorder.counters());
        clock.advance(2);
        store.sync().await.unwrap();
        recorder.write_due();
    }
    assert_eq!(recorder.counters().changes_refused, 0);
}
