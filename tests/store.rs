//! The store as a program uses it: append, acknowledge, close, open again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{address, peer};
use peer_journal::{
    ErrorKind, Lsn, Outcome, P2PStatePersistence, PeerId, View,
    state::{Change, PeerKey, Time},
};

#[tokio::test]
async fn acknowledged_changes_are_there_after_a_close_and_after_a_drop() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sub/p2p-state.json");
    let peer = peer(1);
    let store = P2PStatePersistence::open(&path).unwrap();
    assert_eq!(store.recovery().unwrap().outcome, Outcome::FirstRun);
    let ack = store.peer_seen(&peer, &[address(4001)]).unwrap();
    assert_eq!(ack.lsn(), Lsn::new(1));
    assert_eq!(ack.await.unwrap(), Lsn::new(1));
    assert_eq!(store.durable_through().unwrap(), Lsn::new(1));
    store.retrieval_succeeded(&peer, Duration::from_millis(100)).unwrap();
    store.close().await.unwrap();
    assert_eq!(store.retrieval_failed(&peer).unwrap_err().kind(), ErrorKind::Closed);
    drop(store);

    let store = P2PStatePersistence::open(&path).unwrap();
    println!("{}", store.recovery().unwrap());
    assert_eq!(store.recovery().unwrap().outcome, Outcome::Clean);
    assert_eq!(store.recovery().unwrap().replayed, 2);
    let reputation = store.view().unwrap().peer(&peer).unwrap().reputation.clone().unwrap();
    assert_eq!(reputation.successful_retrievals, 1);
    store.retrieval_succeeded(&peer, Duration::from_millis(200)).unwrap();
    drop(store);

    let store = P2PStatePersistence::open(&path).unwrap();
    println!("{}", store.recovery().unwrap());
    let reputation = store.view().unwrap().peer(&peer).unwrap().reputation.clone().unwrap();
    assert_eq!(reputation.avg_response_time_ms, 130);
    assert_eq!(store.compact().await.unwrap(), Lsn::new(3));
    store.retrieval_failed(&peer).unwrap().await.unwrap();
    drop(store);
    let store = P2PStatePersistence::open(&path).unwrap();
    println!("{}", store.recovery().unwrap());
    assert_eq!(store.recovery().unwrap().snapshot_lsn, Some(Lsn::new(3)));
    assert_eq!(store.recovery().unwrap().replayed, 1);
    let reputation = store.view().unwrap().peer(&peer).unwrap().reputation.clone().unwrap();
    assert_eq!((reputation.successful_retrievals, reputation.failed_retrievals), (2, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p2p-state.json");
    let store = P2PStatePersistence::builder(&path).segment_bytes(64 << 10).open().unwrap();
    let peers: Arc<Vec<PeerId>> = Arc::new((0..50).map(peer).collect());
    let mut tasks = Vec::new();
    for task in 0..64 {
        let (store, peers) = (store.clone(), Arc::clone(&peers));
        tasks.push(tokio::spawn(async move {
            for index in 0..100 {
                let peer = &peers[(task * 7 + index) % peers.len()];
                store.retrieval_failed(peer).unwrap().await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.durable_through().unwrap(), Lsn::new(6400));
    drop(store);
    let store = P2PStatePersistence::open(&path).unwrap();
    println!("{}", store.recovery().unwrap());
    let total: u64 = store
        .view()
        .unwrap()
        .state()
        .peers()
        .map(|(_, entry)| entry.reputation.as_ref().unwrap().failed_retrievals)
        .sum();
    assert_eq!(total, 6400);
}

#[tokio::test]
async fn followers_get_every_record_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p2p-state.json");
    let store = P2PStatePersistence::builder(&path).segment_bytes(4096).open().unwrap();
    let mut changes = store.changes_since(Lsn::ZERO).unwrap();
    let peer = peer(1);
    for _ in 0..300 {
        store.retrieval_failed(&peer).unwrap();
    }
    for lsn in 1..=300 {
        let recorded = changes.next().await.unwrap().unwrap();
        assert_eq!(recorded.lsn, Lsn::new(lsn));
        assert!(matches!(recorded.changes[..], [Change::RetrievalFailed { .. }]));
    }
    let waiting = tokio::spawn(async move { changes.next().await.map(|r| r.unwrap().lsn) });
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.retrieval_failed(&peer).unwrap();
    assert_eq!(waiting.await.unwrap(), Some(Lsn::new(301)));
    store.compact().await.unwrap();
    store.retrieval_failed(&peer).unwrap().await.unwrap();
    store.compact().await.unwrap();
    let mut late = store.changes_since(Lsn::ZERO).unwrap();
    assert_eq!(late.next().await.unwrap().unwrap_err().kind(), ErrorKind::Compacted);
    assert!(late.next().await.is_none());
    let mut live = store.changes_since(Lsn::new(302)).unwrap();
    store.close().await.unwrap();
    assert!(live.next().await.is_none());
}

/// Failed retrievals of all peers.
fn counted(view: &View) -> u64 {
    let rows = view.state().peers().filter_map(|(_, row)| row.reputation.as_ref());
    rows.map(|row| row.failed_retrievals).sum()
}

#[test]
fn a_view_beside_appends_has_every_change_up_to_its_number_and_no_other() {
    const EACH: u64 = 4000;
    let dir = tempfile::tempdir().unwrap();
    let store = P2PStatePersistence::open(dir.path().join("p2p-state.json")).unwrap();
    let peers: Vec<PeerId> = (0..40).map(peer).collect();
    std::thread::scope(|scope| {
        for producer in 0..2 {
            let (store, peers) = (&store, &peers);
            scope.spawn(move || {
                for (number, peer) in (0..EACH).zip(peers.iter().cycle().skip(producer * 7)) {
                    let ack = store.retrieval_failed(peer).unwrap();
                    if number % 500 == 0 {
                        ack.wait().unwrap();
                    }
                }
            });
        }
        let mut kept = Vec::new();
        while kept.last().is_none_or(|view: &View| view.lsn().get() < 2 * EACH) {
            let view = store.view().unwrap();
            assert_eq!(counted(&view), view.lsn().get());
            kept.push(view);
        }
        for view in kept {
            assert_eq!(counted(&view), view.lsn().get(), "it changed later");
        }
    });
}

/// So many peers that a thread beside the snapshot applies what is appended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_appended_beside_the_snapshot_of_many_peers_is_there_before_and_after() {
    const PEERS: u64 = 5000;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("p2p-state.json");
    let store = P2PStatePersistence::open(&path).unwrap();
    let failed = |number: u64| Change::RetrievalFailed {
        peer: PeerKey::from_text(&(number % PEERS).to_string()),
        at: Time::EPOCH,
    };
    for number in 0..PEERS {
        store.append_async(failed(number)).await.unwrap();
    }
    for _ in 0..3 {
        let before = store.view().unwrap().lsn().get();
        let compacting = tokio::spawn({
            let store = store.clone();
            async move { store.compact().await.unwrap() }
        });
        let mut number = before;
        while number < before + 100 || !compacting.is_finished() {
            number += 1;
            assert_eq!(store.append_async(failed(7 * number)).await.unwrap().lsn().get(), number);
            if number.is_multiple_of(40) {
                let view = store.view().unwrap();
                assert_eq!((counted(&view), view.lsn().get()), (number, number));
            }
        }
        assert!(compacting.await.unwrap().get() >= before);
    }
    let view = store.view().unwrap();
    store.close().await.unwrap();
    let opened = P2PStatePersistence::open(&path).unwrap().view().unwrap();
    assert_eq!((counted(&opened), opened.lsn()), (view.lsn().get(), view.lsn()));
}
