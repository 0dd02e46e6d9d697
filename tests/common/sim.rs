//! A store on the simulated disk.
#![allow(dead_code, clippy::panic)]

use std::{
    future::Future,
    path::Path,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::Duration,
};

use chrono::{DateTime, Utc};
use peer_journal::{
    Builder, Error, ErrorKind, Lsn, P2PStatePersistence, View,
    testing::{Outcome, SimDisk},
};

use super::{address, peer};

pub(crate) const STATE_FILE: &str = "/node/p2p-state.json";

/// Options for a store with small segments, short waits and a clock that stands still.
pub(crate) fn builder(disk: &SimDisk) -> Builder {
    P2PStatePersistence::builder(Path::new(STATE_FILE))
        .vfs(Arc::new(disk.mount()))
        .segment_bytes(4096)
        .sync_within(Duration::from_millis(1))
        .clock(|| DateTime::from_timestamp(1_790_000_000, 0).unwrap())
}

pub(crate) fn open(disk: &SimDisk) -> Result<P2PStatePersistence, Error> {
    builder(disk).open()
}

/// Everything that a view holds, as text.
pub(crate) fn fingerprint(view: &View) -> String {
    let mut text = serde_json::to_string(&view.to_rows(DateTime::<Utc>::UNIX_EPOCH)).unwrap();
    let mut more: Vec<String> = Vec::new();
    for (key, ban) in view.state().bans() {
        more.push(format!("{key} {ban:?}"));
    }
    for (key, entry) in view.state().peers() {
        let verified = entry.seen.as_ref().map(|seen| seen.verified);
        more.push(format!("{key} {verified:?} {:?}", entry.profile));
    }
    more.sort();
    text.push_str(&more.join("\n"));
    text
}

/// Polls a future on this thread until it is ready.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Waits until the disk has taken everything, as an operator would: by asking again.
pub(crate) fn wait_until_durable(store: &P2PStatePersistence) -> Lsn {
    for _ in 0..1000 {
        match block_on(store.sync()) {
            Ok(lsn) => return lsn,
            Err(error) => assert_eq!(error.kind(), ErrorKind::Degraded, "{error:#}"),
        }
    }
    panic!("the store did not come back: {:?}", store.status());
}

/// Everything may be durable while the segment for what comes next still has to be started.
pub(crate) fn wait_until_healthy(store: &P2PStatePersistence) {
    for _ in 0..2000 {
        if store.status().unwrap().degraded.is_none() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the store stays degraded: {:?}", store.status());
}

/// After a power cut that keeps only what was synced, the store is as it was in memory.
pub(crate) fn survives_a_power_cut(disk: &SimDisk, store: P2PStatePersistence, story: &str) {
    disk.clear_faults();
    let view = store.view().unwrap();
    let image = disk.fork();
    drop(store);
    for disk in [image, disk.clone()] {
        disk.power_cut(Outcome::DropUnsynced);
        let store = open(&disk).unwrap();
        let report = store.recovery().unwrap();
        let found = store.view().unwrap();
        assert_eq!(found.lsn(), view.lsn(), "{story}: {report}");
        assert_eq!(fingerprint(&found), fingerprint(&view), "{story}: {report}");
        assert_eq!(report.lost, [], "{story}: {report}");
        assert!(!report.is_damaged(), "{story}: {report}");
    }
}

/// Eight threads append and wait while one call on the journal fails.
pub(crate) fn eight_writers(disk: &SimDisk, story: &str) {
    let store = open(disk).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                let mut durable = Lsn::ZERO;
                for number in 0..6 {
                    let ack = store.peer_seen(&peer(thread), &[address(number + 1)]).unwrap();
                    let lsn = ack.lsn();
                    match ack.wait() {
                        Ok(lsn) => {
                            assert!(store.durable_through().unwrap() >= lsn);
                            if thread == 0 {
                                is_there(disk, lsn, story);
                            }
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Degraded, "{error:#}"),
                    }
                    let now = store.durable_through().unwrap();
                    assert!(now >= durable, "durable_through went back");
                    durable = now;
                    assert!(lsn > Lsn::ZERO);
                }
            });
        }
    });
    assert_eq!(wait_until_durable(&store), Lsn::new(48));
    wait_until_healthy(&store);
    survives_a_power_cut(disk, store, story);
}

/// What was acknowledged survives a power cut right now.
pub(crate) fn is_there(disk: &SimDisk, lsn: Lsn, story: &str) {
    let image = disk.fork();
    image.clear_faults();
    image.power_cut(Outcome::DropUnsynced);
    let store = open(&image).unwrap_or_else(|error| panic!("{story}: {error:#}"));
    let report = store.recovery().unwrap();
    assert!(report.last_lsn >= lsn, "{story}: {lsn} was acknowledged: {report}");
    assert!(!report.is_damaged() && report.lost.is_empty(), "{story}: {report}");
}
