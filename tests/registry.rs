//! The registry as its users run it: real nodes on loopback that lose each other, crash the rules,
//! and come back.
#![cfg(feature = "registry")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "common/nodes.rs"]
mod nodes;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use nodes::{Seat, connected, start, until, within};
use peer_journal::{
    Change, ErrorKind, Lsn, Multiaddr, P2PConfig, P2PRegistry, P2PStatePersistence, PeerId,
    registry::{PackageSource, RegistryLimits},
    state::GeoLocation,
};

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_rejoins_from_memory_when_the_bootstrap_node_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let seats = ["boot", "b", "c"].map(|name| Seat::new(dir.path(), name));
    let (boot, boot_at) = seats[0].start(&[]).await;
    let (b, _) = seats[1].start(std::slice::from_ref(&boot_at)).await;
    let (c, _) = seats[2].start(std::slice::from_ref(&boot_at)).await;
    let joined = within(b.bootstrap()).await.unwrap();
    assert_eq!(joined.connected, [boot.local_peer_id()]);
    within(c.bootstrap()).await.unwrap();
    let c_id = c.local_peer_id();
    until("b remembers where c is", || async {
        let view = b.store().view().unwrap();
        let row = view.peer(&c_id).and_then(|entry| entry.seen.clone());
        row.is_some_and(|row| !row.addresses.is_empty())
    })
    .await;
    within(boot.shutdown()).await.unwrap();
    within(b.shutdown()).await.unwrap();
    until("c has noticed", || async { c.connected_peers().await.unwrap().is_empty() }).await;

    // "Connected" is never restored: the new node starts alone.
    let b = within(P2PRegistry::new(seats[1].config(&[]))).await.unwrap();
    until("b is back with c", || connected(&b, &c_id)).await;
    assert_eq!(b.local_peer_id(), seats[1].peer());
    within(b.shutdown()).await.unwrap();
    within(c.shutdown()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_are_published_fetched_searched_and_withdrawn() {
    let dir = tempfile::tempdir().unwrap();
    let seats = ["a", "b", "c"].map(|name| Seat::new(dir.path(), name));
    let (a, a_at) = seats[0].start(&[]).await;
    let (b, _) = seats[1].start(std::slice::from_ref(&a_at)).await;
    within(b.bootstrap()).await.unwrap();
    until("a knows b in the DHT", || async { a.status().await.unwrap().routing_table > 0 }).await;
    let payload = vec![7_u8; 1 << 20];
    let published =
        within(a.publish_package("web/rust", "1.2.0", "a web thing", &payload)).await.unwrap();
    assert_eq!(published.replicas, 1, "{published:?}");
    assert_eq!(published.info.publisher, a.local_peer_id());
    let own = within(a.get_package("web/rust")).await.unwrap().unwrap();
    assert_eq!((own.source, own.data.len()), (PackageSource::Local, payload.len()));

    // A third node comes late, and hears of the package all the same.
    let (c, _) = seats[2].start(std::slice::from_ref(&a_at)).await;
    within(c.bootstrap()).await.unwrap();
    until("c knows others in the DHT", || async { c.status().await.unwrap().routing_table > 0 })
        .await;
    until("c has heard of the package", || async {
        !c.search_packages("WEB", 10).await.unwrap().is_empty()
    })
    .await;
    let fetched = within(c.get_package("web/rust")).await.unwrap().unwrap();
    assert_eq!((fetched.data, fetched.info.version.as_str()), (payload.clone(), "1.2.0"));
    let PackageSource::Dht(answered) = fetched.source else { panic!("{:?}", fetched.source) };
    let again = within(c.get_package("web/rust")).await.unwrap().unwrap();
    assert_eq!((again.source, again.data), (PackageSource::Cache, payload));
    let ranked = c.reputation(&answered).unwrap().unwrap();
    assert_eq!(ranked.reputation.successful_retrievals, 1);
    let best = c.select_best_peers(0.5, 10, None).unwrap();
    assert!(best.iter().any(|peer| peer.peer == answered), "{best:?}");
    assert!(within(c.get_package("unknown")).await.unwrap().is_none());

    let refused = within(b.unpublish_package("web/rust")).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Invalid, "{refused}");
    let stolen = within(c.publish_package("web/rust", "9", "", b"mine")).await.unwrap_err();
    assert!(stolen.to_string().contains("belongs to peer"), "{stolen}");
    within(a.unpublish_package("web/rust")).await.unwrap();
    for node in [&a, &b, &c] {
        until("the package is gone", || async {
            node.search_packages("web", 10).await.unwrap().is_empty()
                && node.get_package("web/rust").await.unwrap().is_none()
        })
        .await;
    }
    for node in [a, b, c] {
        within(node.shutdown()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packages_and_reputation_are_the_same_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let seats = ["a", "b"].map(|name| Seat::new(dir.path(), name));
    let (a, a_at) = seats[0].start(&[]).await;
    // Nobody is there to take it: it is handed over later.
    let published = within(a.publish_package("lonely", "1", "", b"x")).await.unwrap();
    assert_eq!((published.replicas, published.announced), (0, false));
    let (b, _) = seats[1].start(std::slice::from_ref(&a_at)).await;
    within(b.bootstrap()).await.unwrap();
    until("b knows a in the DHT", || async { b.status().await.unwrap().routing_table > 0 }).await;
    let a_id = a.local_peer_id();
    until("b has fetched it", || async { b.get_package("lonely").await.unwrap().is_some() }).await;
    until("b keeps it for the DHT", || async {
        b.store().status().unwrap().counts.dht_entries == 1
    })
    .await;
    // What is acknowledged is what a kill -9 at this moment would leave.
    within(b.store().sync()).await.unwrap();
    let crashed = crash_copy(&seats[1].state_file, &dir.path().join("crashed"));
    let before = b.reputation(&a_id).unwrap();
    let left = P2PStatePersistence::open(&crashed).unwrap();
    let left = left.view().unwrap().peer(&a_id).and_then(|entry| entry.reputation.clone());
    assert_eq!(left, before.clone().map(|peer| peer.reputation));
    assert_eq!(left.unwrap().successful_retrievals, 1);
    let rows = b.store().view().unwrap().to_rows(never());
    within(a.shutdown()).await.unwrap();
    drop(b);
    // The last handle is gone: the store is closed when its file can be opened again.
    until("the store of b is free", || async {
        P2PStatePersistence::open(&seats[1].state_file).is_ok()
    })
    .await;

    let (b, _) = seats[1].start(&[]).await;
    let after = b.store().view().unwrap().to_rows(never());
    assert_eq!(after.reputation, rows.reputation);
    assert_eq!(after.dht_entries, rows.dht_entries);
    let after = b.reputation(&a_id).unwrap();
    assert_eq!(after.map(|peer| peer.reputation), before.map(|peer| peer.reputation));
    let found = within(b.search_packages("lonely", 1)).await.unwrap();
    assert_eq!(found.len(), 1, "what it keeps it knows");
    let (a, _) = seats[0].start(&[]).await;
    assert_eq!(within(a.status()).await.unwrap().published_packages, 1);
    let package = within(a.get_package("lonely")).await.unwrap().unwrap();
    assert_eq!((package.source, package.data), (PackageSource::Local, b"x".to_vec()));
}

/// The files as they are while the node runs.
fn crash_copy(state_file: &Path, to: &Path) -> PathBuf {
    let journal = state_file.with_extension("journal");
    std::fs::create_dir_all(to.join("p2p-state.journal")).unwrap();
    for entry in std::fs::read_dir(journal).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            let copy = to.join("p2p-state.journal").join(entry.file_name());
            std::fs::copy(entry.path(), copy).unwrap();
        }
    }
    if state_file.exists() {
        std::fs::copy(state_file, to.join("p2p-state.json")).unwrap();
    }
    to.join("p2p-state.json")
}

fn never() -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::UNIX_EPOCH
}

/// Fails unless the records that are durable now have this ban among them.
async fn is_banned_durably(store: &P2PStatePersistence, peer: PeerId) {
    let durable = store.durable_through().unwrap();
    let mut changes = store.changes_since(Lsn::ZERO).unwrap();
    loop {
        let record = within(changes.next()).await.unwrap().unwrap();
        assert!(record.lsn <= durable, "durable before it returned");
        let is_ban = |change: &Change| {
            let Change::Banned { peer: banned, .. } = change else { return false };
            *banned == peer.into()
        };
        if record.changes.iter().any(is_ban) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ban_closes_survives_a_restart_is_enforced_both_ways_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let seats = ["a", "b"].map(|name| Seat::new(dir.path(), name));
    let (a, _) = seats[0].start(&[]).await;
    let (b, b_at) = seats[1].start(&[]).await;
    let (a_id, b_id) = (a.local_peer_id(), b.local_peer_id());
    assert_eq!(within(a.dial(b_at.clone())).await.unwrap().connected, [b_id]);
    within(a.ban(&b_id, HOUR, "spam \u{1b}[31m")).await.unwrap();
    is_banned_durably(a.store(), b_id).await;
    until("the connection is closed", || async { !connected(&a, &b_id).await }).await;
    let own = within(a.ban(&a_id, HOUR, "")).await.unwrap_err();
    assert_eq!(own.kind(), ErrorKind::Invalid);
    within(a.shutdown()).await.unwrap();
    until("b has noticed", || async { !connected(&b, &a_id).await }).await;

    let (a, a_at) = seats[0].start(&[]).await;
    let refused = within(a.dial(b_at.clone())).await.unwrap_err();
    assert!(refused.to_string().contains("is banned"), "outbound: {refused}");
    // To the dialling side a connection may seem up until the other one has refused it.
    let inbound = within(b.dial(a_at.clone())).await;
    until("b is turned away", || async { !connected(&b, &a_id).await }).await;
    assert!(!connected(&a, &b_id).await, "inbound: {inbound:?}");
    let refusals = within(a.status()).await.unwrap().counters.incoming_errors;
    assert!(refusals >= 1, "the gate has said no");

    within(a.unban(&b_id)).await.unwrap();
    assert_eq!(within(a.dial(b_at.clone())).await.unwrap().connected, [b_id]);
    a.store().ban(&b_id, HOUR, "by the program", "test").unwrap();
    until("a ban spoken on the store is enforced too", || async { !connected(&a, &b_id).await })
        .await;
    within(a.unban(&b_id)).await.unwrap();
    assert_eq!(within(a.dial(b_at.clone())).await.unwrap().connected, [b_id]);
    within(a.ban(&b_id, Duration::from_secs(1), "a second")).await.unwrap();
    until("the connection is closed again", || async { !connected(&a, &b_id).await }).await;
    until("the ban has run out", || async {
        a.dial(b_at.clone()).await.is_ok_and(|dialled| dialled.connected == [b_id])
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_input_is_a_clear_error_and_the_node_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let seat = Seat::new(dir.path(), "a");
    let broken =
        P2PConfig { bootstrap_nodes: vec!["/ip4/127.0.0.1".parse().unwrap()], ..seat.config(&[]) };
    let error = within(P2PRegistry::new(broken)).await.unwrap_err();
    assert!(error.to_string().contains("/ip4/127.0.0.1 cannot be dialled"), "{error}");

    // A port where nobody answers, and one that is in use by somebody who is no node.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dead: Multiaddr = format!("/ip4/127.0.0.1/tcp/{free}").parse().unwrap();
    let limits = RegistryLimits { package_bytes: 1000, ..RegistryLimits::default() };
    let config = P2PConfig { limits, ..seat.config(std::slice::from_ref(&dead)) };
    let (node, _) = start(config).await;
    let error = within(node.bootstrap()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.to_string().contains(&format!("{dead}: Connection refused")), "{error}");
    let error = within(node.listen_on(format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap())).await;
    let error = error.unwrap_err();
    assert_eq!(error.io_kind(), Some(std::io::ErrorKind::AddrInUse), "{error:?}");
    assert!(error.to_string().contains("give another port"), "{error}");
    let error = within(node.listen_on("/memory/1".parse().unwrap())).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let own = node.listen_addresses().await.unwrap();
    let shared = within(node.listen_on(own[0].clone())).await.unwrap_err();
    assert!(shared.to_string().contains("give another port"), "two nodes on one port: {shared}");

    let error = within(node.publish_package("big", "1", "", &[0; 1001])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("1001 bytes; the limit is 1000"), "{error}");
    for id in ["", "a b", "\u{1b}[2J"] {
        let error = within(node.get_package(id)).await.unwrap_err();
        assert!(!error.to_string().contains('\u{1b}'), "{error}");
    }
    let locked = within(P2PRegistry::new(seat.config(&[]))).await.unwrap_err();
    assert!(locked.is_locked(), "{locked}");

    within(node.publish_package("small", "1", "", &[0; 1000])).await.unwrap();
    assert_eq!(node.listen_addresses().await.unwrap(), own, "it goes on");
    within(node.shutdown()).await.unwrap();
    assert_eq!(within(node.status()).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(within(node.shutdown()).await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_peer_id_is_an_error_that_names_who_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let seats = ["a", "b"].map(|name| Seat::new(dir.path(), name));
    let (a, a_at) = seats[0].start(&[]).await;
    let (b, b_at) = seats[1].start(&[]).await;
    let mut plain = b_at.clone();
    plain.pop();
    let nobody = Seat::new(dir.path(), "nobody").peer();
    let wrong = plain.clone().with_p2p(nobody).unwrap();
    let error = within(a.dial(wrong)).await.unwrap_err();
    let there = format!("peer {} is there instead", b.local_peer_id());
    assert!(error.to_string().contains(&there), "{error}");
    let view = a.store().view().unwrap();
    assert!(view.peer(&nobody).is_none());
    let found = view.peer(&b.local_peer_id()).unwrap().seen.clone().unwrap();
    assert!(!found.verified, "heard of, not spoken to");

    let itself = within(a.dial(a_at)).await.unwrap_err();
    assert_eq!(itself.kind(), ErrorKind::Network, "{itself}");
    assert_eq!(within(a.dial(plain)).await.unwrap().connected, [b.local_peer_id()]);
    let view = a.store().view().unwrap();
    assert!(view.peer(&b.local_peer_id()).unwrap().seen.clone().unwrap().verified);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn locations_are_remembered_and_count() {
    let dir = tempfile::tempdir().unwrap();
    let seats = ["a", "b"].map(|name| Seat::new(dir.path(), name));
    let (a, _) = seats[0].start(&[]).await;
    let (b, b_at) = seats[1].start(&[]).await;
    let b_id = b.local_peer_id();
    within(a.dial(b_at)).await.unwrap();
    let berlin = GeoLocation { latitude: 52.52, longitude: 13.40, region: None };
    let paris = GeoLocation { latitude: 48.86, longitude: 2.35, region: Some("fr".into()) };
    let score = |here: Option<&GeoLocation>| {
        a.select_best_peers(0.0, 1, here).unwrap().first().map(|peer| (peer.peer, peer.score))
    };
    let plain = score(None).unwrap();
    assert_eq!(plain.0, b_id);
    until("a ping was measured", || async { a.reputation(&b_id).unwrap().unwrap().ping.is_some() })
        .await;
    within(a.set_peer_location(&b_id, Some(paris.clone()))).await.unwrap();
    within(a.set_location(Some(berlin.clone()))).await.unwrap();
    assert!(score(None).unwrap().1 <= plain.1, "too far for a bonus");
    assert!(score(Some(&paris)).unwrap().1 > plain.1 + 0.09, "next door");
    let nowhere = GeoLocation { latitude: 91.0, ..berlin };
    assert!(a.select_best_peers(0.0, 1, Some(&nowhere)).is_err());
    assert!(within(a.set_location(Some(nowhere))).await.is_err());
    within(a.shutdown()).await.unwrap();
    let (a, _) = seats[0].start(&[]).await;
    let remembered = a.reputation(&b_id).unwrap().unwrap().reputation;
    assert_eq!(remembered.location.as_deref(), Some(&paris));
    assert!(a.select_best_peers(1.1, 9, None).unwrap().is_empty());
}
