//! A store on the simulated disk.

use std::{
    future::Future,
    path::Path,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::Duration,
};

use chrono::{DateTime, Utc};
use peer_journal::{Builder, Error, P2PStatePersistence, View, testing::SimDisk};

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
