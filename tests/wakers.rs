//! A waker may run anything on the thread that calls it. One that drops the last handle runs on a
//! thread of the store, which then must not wait for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
    task::{Context, Wake, Waker},
    thread::sleep,
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use common::sim::{block_on, builder};
use peer_journal::{
    ErrorKind, Lsn, P2PState, P2PStatePersistence, SerializedDHTEntry,
    state::Change,
    testing::{Fault, Op, SimDisk},
};

/// Far longer than any of it takes, so that only a hang reaches it.
const WATCHDOG: Duration = Duration::from_secs(60);

fn put(key: &str) -> Change {
    Change::DhtPut { key: key.into(), value: b"value".to_vec().into(), at: noon().into() }
}

fn noon() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

/// Drops the handle that it holds on the thread that wakes it, and tells that thread's name.
struct Dropping {
    store: Mutex<Option<P2PStatePersistence>>,
    dropped: Sender<String>,
}

impl Wake for Dropping {
    fn wake(self: Arc<Self>) {
        if let Some(store) = self.store.lock().unwrap().take() {
            drop(store);
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            self.dropped.send(name).ok();
        }
    }
}

fn dropping(store: &P2PStatePersistence) -> (Waker, Receiver<String>) {
    let (dropped, told) = channel();
    let waker = Dropping { store: Mutex::new(Some(store.clone())), dropped };
    (Waker::from(Arc::new(waker)), told)
}

fn is_pending<F: Future>(future: Pin<&mut F>, waker: &Waker) -> bool {
    future.poll(&mut Context::from_waker(waker)).is_pending()
}

/// The store closes by itself, and holds the keys.
fn can_be_opened(disk: &SimDisk, keys: &[&str]) {
    let begun = Instant::now();
    let store = loop {
        match builder(disk).open() {
            Ok(store) => break store,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Locked, "{error:#}"),
        }
        assert!(begun.elapsed() < WATCHDOG, "the lock is never released");
        sleep(Duration::from_millis(1));
    };
    assert!(!store.recovery().unwrap().is_damaged());
    let view = store.view().unwrap();
    for key in keys {
        assert!(view.state().dht_entry(key).is_some(), "`{key}` is gone");
    }
}

/// The compaction thread waited for a seal, the commit thread for the compaction thread.
#[test]
fn the_commit_thread_drops_the_last_handle_while_a_compaction_wants_a_seal() {
    let disk = SimDisk::new(1);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap();
    // Nothing but the auto-save writes the record, in the batch that its seal ends.
    let never = Duration::from_secs(3600);
    let quickly = Duration::from_millis(200);
    let store = builder(&disk).sync_within(never).auto_save_every(quickly).open().unwrap();
    let mut changes = store.changes_since(Lsn::ZERO).unwrap();
    let mut next = Box::pin(changes.next());
    store.append(put("kept")).unwrap();
    let (waker, told) = dropping(&store);
    assert!(is_pending(next.as_mut(), &waker));
    runtime.block_on(store.start_auto_save()).unwrap();
    drop(store);
    let thread = told.recv_timeout(WATCHDOG).expect("the drop hangs");
    assert_eq!(thread, "peer-journal-commit");
    drop(next);
    drop(changes);
    can_be_opened(&disk, &["kept"]);
}

/// The compaction thread waited for itself.
#[test]
fn the_compaction_thread_drops_the_last_handle() {
    let entry = |key: &str| SerializedDHTEntry {
        key: key.to_owned(),
        value: vec![7; 600],
        stored_at: noon(),
    };
    let dht_entries = vec![entry("large1"), entry("large2")];
    let large = P2PState { dht_entries, ..P2PState::default() };
    let begun = Instant::now();
    let (disk, told, ack) = loop {
        let disk = SimDisk::new(1);
        let store = builder(&disk).max_update_record_bytes(1024).open().unwrap();
        store.append(put("small")).unwrap().wait().unwrap();
        // The name of the large update cannot be made durable at once: whoever waits has it done.
        disk.fail(Fault::new(Op::SyncDir).after(1));
        block_on(store.update_state(large.clone())).unwrap_err();
        let mut ack = Box::pin(store.append_batch([]).unwrap());
        let (waker, told) = dropping(&store);
        drop(store);
        if is_pending(ack.as_mut(), &waker) {
            break (disk, told, ack);
        }
        // On a busy machine the store may have made it durable before anybody waits.
        assert!(begun.elapsed() < WATCHDOG, "it never has to wait");
    };
    let thread = told.recv_timeout(WATCHDOG).expect("the drop hangs");
    assert_eq!(thread, "peer-journal-compact");
    drop(ack);
    can_be_opened(&disk, &["large1", "large2"]);
}

/// A handle that goes with the waker that holds it.
struct Holding(#[expect(dead_code, reason = "dropped, that is all")] P2PStatePersistence);

impl Wake for Holding {
    fn wake(self: Arc<Self>) {}
}

/// The list of waiters was locked while a waker was dropped, and the commit thread needs it to end.
#[test]
fn the_last_handle_goes_with_a_waker_that_nobody_wakes() {
    for is_polled_again in [false, true] {
        let disk = SimDisk::new(1);
        let store = builder(&disk).open().unwrap();
        let mut changes = store.changes_since(Lsn::ZERO).unwrap();
        let mut next = Box::pin(async move { changes.next().await.is_some() });
        assert!(is_pending(next.as_mut(), &Waker::from(Arc::new(Holding(store)))));
        let (dropped, told) = channel();
        std::thread::spawn(move || {
            if is_polled_again {
                assert!(is_pending(next.as_mut(), Waker::noop()));
            }
            drop(next);
            dropped.send(()).ok();
        });
        told.recv_timeout(WATCHDOG).expect("the drop hangs");
        can_be_opened(&disk, &[]);
    }
}
