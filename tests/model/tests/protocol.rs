//! The protocol between those who append, those who wait and the commit thread, in one schedule
//! after another.
//!
//! Guards against the bugs that need an unlucky moment: a wake-up that is lost, an acknowledgement
//! that comes too early or out of order, a close that forgets a change, a waiter that never hears
//! of a failure. The whole store runs here, from `open` to `close`, on the simulated disk, but its
//! threads, locks and time are the model checker's. In a store with [`NEVER`] the time-out of the
//! commit thread does not fire, so that a lost wake-up is a deadlock, which the checker reports
//! with its schedule.
//!
//! `MODEL_SCHEDULES` says how many schedules each test runs with each of the two schedulers,
//! `MODEL_SEED` where they begin.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use peer_journal::{
    Ack, Builder, Change, Error, ErrorKind, Lsn, P2PStatePersistence, View,
    state::{PeerKey, Time},
    testing::{Fault, Op, Outcome, SimDisk},
};
use shuttle::{
    Config, Runner,
    future::block_on,
    scheduler::{PctScheduler, RandomScheduler},
    sync::Mutex,
    thread,
};

/// No time-out of this length fires in the model.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);
const SOON: Duration = Duration::from_millis(1);
/// Preemptions that PCT places in each schedule.
const PREEMPTIONS: usize = 3;

/// Runs the scenario in many schedules. A deadlock or a panic in any of them fails the test and
/// prints the schedule.
fn explore(scenario: fn()) {
    let number = |name, default| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number")),
        Err(_) => default,
    };
    let schedules = number("MODEL_SCHEDULES", 200);
    let seed = number("MODEL_SEED", 1);
    println!("{schedules} schedules, twice, from seed {seed}");
    let count = usize::try_from(schedules).unwrap();
    let config = || {
        let mut config = Config::new();
        config.stack_size = 256 << 10;
        config
    };
    Runner::new(RandomScheduler::new_from_seed(seed, count), config()).run(scenario);
    Runner::new(PctScheduler::new_from_seed(seed, PREEMPTIONS, count), config()).run(scenario);
}

fn options(disk: &SimDisk, sync_within: Duration) -> Builder {
    P2PStatePersistence::builder("/node/state.json")
        .vfs(Arc::new(disk.mount()))
        .segment_bytes(4096)
        .sync_within(sync_within)
        .clock(|| std::time::SystemTime::UNIX_EPOCH.into())
}

fn open(disk: &SimDisk, sync_within: Duration) -> P2PStatePersistence {
    options(disk, sync_within).open().unwrap()
}

fn put(store: &P2PStatePersistence, key: &str) -> Result<Ack, Error> {
    store.dht_put(key, b"value")
}

/// Counts a failed retrieval of one of a few peers: a change that is deferred.
fn fail(store: &P2PStatePersistence, peer: u64) -> Ack {
    let peer = PeerKey::from_text(&peer.to_string());
    store.append(Change::RetrievalFailed { peer, at: Time::EPOCH }).unwrap()
}

/// A view of a store in which nothing but failed retrievals was recorded: it has all of them.
fn whole_view(store: &P2PStatePersistence) -> View {
    let view = store.view().unwrap();
    let rows = view.state().peers().filter_map(|(_, row)| row.reputation.as_ref());
    let counted: u64 = rows.map(|row| row.failed_retrievals).sum();
    assert_eq!(counted, view.lsn().get());
    view
}

/// True if the key survives a power cut right now.
fn survives(disk: &SimDisk, key: &str) -> bool {
    let copy = disk.fork();
    copy.clear_faults();
    copy.power_cut(Outcome::DropUnsynced);
    let store = open(&copy, NEVER);
    store.view().unwrap().state().dht_entry(key).is_some()
}

/// Polls once, with a waker that says how often it was woken and who still holds it.
fn poll_once<F: Future>(future: Pin<&mut F>, waker: &Arc<Counting>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(waker))))
}

#[derive(Default)]
struct Counting(AtomicUsize);

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn every_waiter_is_woken_and_only_when_its_change_is_durable() {
    explore(|| {
        let disk = SimDisk::new(1);
        let store = open(&disk, NEVER);
        let mut threads = Vec::new();
        for (index, key) in ["a", "b"].into_iter().enumerate() {
            let (store, disk) = (store.clone(), disk.clone());
            threads.push(thread::spawn(move || {
                let ack = put(&store, key).unwrap();
                let lsn = if index == 0 { ack.wait() } else { block_on(ack) }.unwrap();
                assert!(store.durable_through().unwrap() >= lsn);
                assert!(survives(&disk, key), "{key} is acknowledged and not on the disk");
                // Again: now the commit thread may be busy, about to sleep, or asleep.
                put(&store, "c").unwrap().wait().unwrap();
                block_on(store.sync()).unwrap();
            }));
        }
        put(&store, "d").unwrap().wait().unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn changes_become_durable_in_the_order_of_their_numbers() {
    explore(|| {
        let disk = SimDisk::new(1);
        let store = open(&disk, NEVER);
        let acks = Arc::new(Mutex::new(Vec::<Ack>::new()));
        let mut threads = Vec::new();
        for keys in [["a", "b"], ["c", "d"]] {
            let (store, acks) = (store.clone(), Arc::clone(&acks));
            threads.push(thread::spawn(move || {
                acks.lock().unwrap().push(put(&store, keys[0]).unwrap());
                let lsn = put(&store, keys[1]).unwrap().wait().unwrap();
                for ack in acks.lock().unwrap().iter().filter(|ack| ack.lsn() < lsn) {
                    assert!(ack.is_durable(), "{} is not durable and {lsn} is", ack.lsn());
                }
            }));
        }
        let mut last = Lsn::ZERO;
        for _ in 0..6 {
            let durable = store.durable_through().unwrap();
            assert!(durable >= last, "{durable} after {last}");
            last = durable;
            thread::yield_now();
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(store.durable_through().unwrap(), Lsn::new(4));
    });
}

/// Nobody waits and nobody demands: the follower hears of a change only if the commit thread woke
/// for it, out of whatever sleep.
#[test]
fn a_change_that_nobody_waits_for_is_written_all_the_same() {
    explore(|| {
        let disk = SimDisk::new(1);
        let store = open(&disk, SOON);
        let follower = {
            let mut changes = store.changes_since(Lsn::ZERO).unwrap();
            thread::spawn(move || {
                for lsn in 1..=4 {
                    assert_eq!(block_on(changes.next()).unwrap().unwrap().lsn, Lsn::new(lsn));
                }
            })
        };
        let other = {
            let store = store.clone();
            thread::spawn(move || {
                put(&store, "a").unwrap();
                put(&store, "b").unwrap();
            })
        };
        put(&store, "c").unwrap();
        thread::yield_now();
        put(&store, "d").unwrap();
        other.join().unwrap();
        follower.join().unwrap();
    });
}

#[test]
fn a_ban_is_written_at_once_though_nobody_waits() {
    explore(|| {
        let disk = SimDisk::new(1);
        let store = open(&disk, NEVER);
        let peer = "12D3KooWR7Biy6nPgQFhk2eYP62pAkcFA6he9RUFURTDh7ewTjpo".parse().unwrap();
        let mut changes = store.changes_since(Lsn::ZERO).unwrap();
        let follower = thread::spawn(move || block_on(changes.next()).unwrap().unwrap().lsn);
        let other = {
            let store = store.clone();
            thread::spawn(move || store.ban(&peer, NEVER, "spam", "model").unwrap().lsn())
        };
        assert_eq!(follower.join().unwrap(), other.join().unwrap());
    });
}

#[test]
fn a_close_drains_what_was_appended_and_refuses_the_rest() {
    explore(|| {
        let disk = SimDisk::new(1);
        let store = open(&disk, NEVER);
        let mut threads = Vec::new();
        for key in ["a", "b"] {
            let store = store.clone();
            threads.push(thread::spawn(move || match put(&store, key) {
                // Taken before the close: it is drained, and its waiter hears of that.
                Ok(ack) => Some(ack.wait().unwrap()),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                    None
                }
            }));
        }
        let unawaited = put(&store, "c").unwrap();
        block_on(store.close()).unwrap();
        assert!(unawaited.is_durable());
        assert_eq!(put(&store, "late").unwrap_err().kind(), ErrorKind::Closed);
        assert!(survives(&disk, "c"));
        for (thread, key) in threads.into_iter().zip(["a", "b"]) {
            assert_eq!(thread.join().unwrap().is_some(), survives(&disk, key), "{key}");
        }
    });
}

/// The last handle may go anywhere, even inside a waker that the commit thread calls.
#[test]
fn the_last_handle_may_be_dropped_by_a_waker() {
    struct Holder(Mutex<Option<P2PStatePersistence>>);
    impl Wake for Holder {
        fn wake(self: Arc<Self>) {
            let store = self.0.lock().unwrap().take();
            drop(store);
        }
    }
    explore(|| {
        let disk = SimDisk::new(1);
        let store = open(&disk, NEVER);
        let mut ack = pin!(put(&store, "a").unwrap());
        let waker = Waker::from(Arc::new(Holder(Mutex::new(Some(store)))));
        if ack.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            block_on(ack).unwrap();
        }
        assert!(survives(&disk, "a"));
    });
}

#[test]
fn a_failure_reaches_every_waiter_and_the_next_try_succeeds() {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    explore(|| {
        let disk = SimDisk::new(1);
        let store = open(&disk, NEVER);
        // Files go by the name that they were opened by; segments are prepared under this one.
        disk.fail(Fault::new(Op::Sync).path("segment-"));
        let mut threads = Vec::new();
        for (index, key) in ["a", "b", "c"].into_iter().enumerate() {
            let store = store.clone();
            threads.push(thread::spawn(move || {
                let ack = put(&store, key).unwrap();
                let result = if index == 0 { block_on(ack) } else { ack.wait() };
                result.err().inspect(|error| assert_eq!(error.kind(), ErrorKind::Degraded))
            }));
        }
        let errors = threads.into_iter().filter_map(|thread| thread.join().unwrap()).count();
        assert_eq!(disk.faults_hit(), 1);
        TOLD.fetch_add(errors, Ordering::Relaxed);
        // An error does not mean undone: what is in memory is written again.
        while let Err(error) = block_on(store.sync()) {
            assert_eq!(error.kind(), ErrorKind::Degraded);
        }
        // The commit thread says so right after it has made them durable.
        while store.status().unwrap().degraded.is_some() {
            thread::yield_now();
        }
        for key in ["a", "b", "c"] {
            assert!(survives(&disk, key), "{key}");
        }
    });
    // In some schedules all of them look only when the next try has succeeded.
    assert!(TOLD.load(Ordering::Relaxed) > 0, "nobody was told of any failure");
}

/// What is demanded while a failed commit is tried again is not forgotten.
#[test]
fn changes_appended_during_a_failure_become_durable() {
    explore(|| {
        let disk = SimDisk::new(1);
        let store = open(&disk, NEVER);
        disk.fail(Fault::new(Op::Sync).path("segment-").times(2));
        let mut threads = Vec::new();
        for writer in 0..2 {
            let store = store.clone();
            threads.push(thread::spawn(move || {
                for number in 0..3 {
                    if let Err(error) = put(&store, &format!("{writer} {number}")).unwrap().wait() {
                        assert_eq!(error.kind(), ErrorKind::Degraded);
                    }
                }
            }));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        while block_on(store.sync()).is_err() {}
        assert_eq!(store.durable_through().unwrap(), Lsn::new(6));
    });
}

#[test]
fn waiters_hear_of_a_disk_that_never_recovers_and_so_does_the_close() {
    explore(|| {
        let disk = SimDisk::new(1);
        let store = open(&disk, NEVER);
        disk.fail(Fault::new(Op::Sync).path("segment-").forever());
        let mut threads = Vec::new();
        for key in ["a", "b"] {
            let store = store.clone();
            threads.push(thread::spawn(move || {
                let kind = put(&store, key).and_then(Ack::wait).unwrap_err().kind();
                assert!(matches!(kind, ErrorKind::Degraded | ErrorKind::Closed), "{kind:?}");
            }));
        }
        let ack = put(&store, "c").unwrap();
        let closer = {
            let store = store.clone();
            thread::spawn(move || {
                put(&store, "d").and_then(Ack::wait).unwrap_err();
                block_on(store.close()).unwrap_err();
            })
        };
        block_on(ack).unwrap_err();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        closer.join().unwrap();
    });
}

#[test]
fn a_wait_that_is_given_up_loses_nothing_and_leaves_no_waker() {
    explore(|| {
        let disk = SimDisk::new(1);
        let store = open(&disk, NEVER);
        let (given_up, told) = (Arc::new(Counting::default()), Arc::new(Counting::default()));
        {
            // Nothing is appended: nobody but the end of this wait takes its waker away.
            let mut changes = store.changes_since(Lsn::ZERO).unwrap();
            assert!(poll_once(Box::pin(changes.next()).as_mut(), &given_up).is_pending());
        }
        assert_eq!(Arc::strong_count(&given_up), 1, "the waker of a dropped wait is kept");
        let mut kept = pin!(put(&store, "a").unwrap());
        let was_ready = {
            let mut dropped = Box::pin(put(&store, "b").unwrap());
            let _ready = poll_once(dropped.as_mut(), &given_up);
            poll_once(kept.as_mut(), &told).is_ready()
        };
        let other = {
            let store = store.clone();
            thread::spawn(move || put(&store, "c").unwrap().wait().unwrap())
        };
        // The demand of the wait that was given up still holds, and others are not forgotten.
        if !was_ready {
            block_on(kept.as_mut()).unwrap();
        }
        other.join().unwrap();
        assert!(store.durable_through().unwrap() >= Lsn::new(2));
        block_on(store.close()).unwrap();
        assert_eq!(Arc::strong_count(&given_up), 1, "the waker of a dropped wait is kept");
        assert_eq!(Arc::strong_count(&told), 1, "the waker of a finished wait is kept");
        assert!(survives(&disk, "b"));
    });
}

#[test]
fn a_wait_for_room_ends_when_there_is_room() {
    explore(|| {
        let disk = SimDisk::new(1);
        // Room for one change at a time.
        let store = options(&disk, NEVER).max_unsynced_bytes(60).open().unwrap();
        let change = |key: &str| Change::BootstrapAdded { node: key.into() };
        let long = |key: &str| format!("/dns4/{key}{}", "x".repeat(20));
        let mut threads = Vec::new();
        for key in ["a", "b", "c"] {
            let (store, change) = (store.clone(), change(&long(key)));
            threads.push(thread::spawn(move || {
                // Given up, and then asked for again.
                let waker = Arc::new(Counting::default());
                let first = {
                    let mut room = Box::pin(store.append_async(change.clone()));
                    poll_once(room.as_mut(), &waker)
                };
                if first.is_pending() {
                    block_on(store.append_async(change)).unwrap();
                }
            }));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(store.view().unwrap().state().bootstrap_nodes().len(), 3);
        assert_eq!(block_on(store.sync()).unwrap(), Lsn::new(3));
    });
}

#[test]
fn appends_go_on_while_segments_change_and_snapshots_are_written() {
    explore(|| {
        let disk = SimDisk::new(1);
        let store = open(&disk, NEVER);
        put(&store, "a").unwrap();
        let compacting = {
            let store = store.clone();
            thread::spawn(move || block_on(store.compact()).unwrap())
        };
        let appending = {
            let store = store.clone();
            thread::spawn(move || {
                // Larger than half a segment: each commit rotates.
                for key in ["b", "c"] {
                    store.dht_put(key, &[7; 2500]).unwrap().wait().unwrap();
                }
            })
        };
        put(&store, "d").unwrap().wait().unwrap();
        appending.join().unwrap();
        assert!(compacting.join().unwrap() >= Lsn::new(1));
        drop(store);
        for key in ["a", "b", "c", "d"] {
            assert!(survives(&disk, key), "{key}");
        }
    });
}

#[test]
fn a_view_has_every_change_up_to_its_number_and_no_other() {
    explore(|| {
        // So many that some are deferred while others are applied.
        const EACH: u64 = 24;
        let disk = SimDisk::new(1);
        let store = open(&disk, NEVER);
        let mut threads = Vec::new();
        for producer in 0..2_u64 {
            let store = store.clone();
            threads.push(thread::spawn(move || {
                for number in 0..EACH {
                    let ack = fail(&store, (number + 7 * producer) % 10);
                    if number % 20 == 19 {
                        ack.wait().unwrap();
                    }
                }
            }));
        }
        // Rows that views share have to be copied.
        let views = [(); 2].map(|()| whole_view(&store));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(views);
        assert_eq!(whole_view(&store).lsn(), Lsn::new(2 * EACH));
    });
}

/// In the model a thread that applies changes stands beside the snapshot of any peer.
#[test]
fn nothing_that_is_deferred_beside_a_snapshot_is_forgotten() {
    explore(|| {
        const EACH: u64 = 20;
        let disk = SimDisk::new(1);
        let store = open(&disk, NEVER);
        fail(&store, 0);
        let compacting = {
            let store = store.clone();
            thread::spawn(move || block_on(store.compact()).unwrap())
        };
        let appending = {
            let store = store.clone();
            thread::spawn(move || (0..EACH).for_each(|number| drop(fail(&store, number % 7))))
        };
        for number in 0..EACH {
            fail(&store, number % 5);
            if number == EACH / 2 {
                whole_view(&store);
            }
        }
        appending.join().unwrap();
        let snapshot = compacting.join().unwrap();
        assert!(snapshot >= Lsn::new(1));
        // The thread is gone: those who append apply again.
        for number in 0..EACH {
            fail(&store, number);
        }
        assert_eq!(whole_view(&store).lsn(), Lsn::new(3 * EACH + 1));
        block_on(store.close()).unwrap();
        drop(store);
        disk.power_cut(Outcome::DropUnsynced);
        assert_eq!(whole_view(&open(&disk, NEVER)).lsn(), Lsn::new(3 * EACH + 1));
    });
}
