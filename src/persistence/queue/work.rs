//! The commit thread's side: what it takes, and for whom it waits.

use super::{
    super::{
        batch::Batch,
        sync::{Instant, thread},
    },
    Inner, Queue, Work,
};
use crate::Lsn;

/// Who is likely to append again at once: those that the last commit woke, and those that wait
/// already.
#[derive(Clone, Copy, Debug)]
pub(in crate::persistence) struct Expected {
    pub(in crate::persistence) records: u64,
    /// When waiting for them is not worth more time.
    pub(in crate::persistence) until: Instant,
}

impl Queue {
    /// Gives those who are expected a moment to append, so that one sync covers them all. Whoever
    /// waits in a loop would otherwise split into two groups, each of which waits for the sync of
    /// the other before its own begins. False if too few of them came in time to be worth it.
    pub(in crate::persistence) fn gather(&self, expected: Expected) -> bool {
        {
            let mut inner = self.lock();
            let missing = expected.records.saturating_sub(inner.open.count());
            if missing == 0 || inner.closing || !inner.closed.is_empty() {
                return true;
            }
            inner.gather_until = Some(Lsn::new(inner.last_lsn.get().saturating_add(missing)));
            self.progress.set_gathered(false);
        }
        // The demand comes right behind the append; to sleep in between would cost a wake-up.
        while !(self.progress.has_gathered() && self.progress.is_demanded()) {
            if Instant::now() >= expected.until {
                let mut inner = self.lock();
                inner.gather_until = None;
                return inner.open.count() >= expected.records / 4 * 3;
            }
            thread::yield_now();
        }
        true
    }

    /// The next thing to write. Sleeps until somebody waits, the oldest change has waited long
    /// enough, or the queue is closed; `None` when it is closed and empty.
    pub(in crate::persistence) fn next_work(&self) -> Option<Work> {
        let mut lingered = false;
        loop {
            let mut inner = self.lock();
            let now = Instant::now();
            let waited = inner.oldest_unsynced.map(|since| now.saturating_duration_since(since));
            let due = inner.closing
                || self.progress.is_demanded()
                || waited.is_some_and(|waited| waited >= self.sync_within);
            if due {
                let work = take(&mut inner);
                if inner.open.is_empty() && inner.closed.is_empty() {
                    self.progress.clear_demand();
                }
                if work.is_some() || self.progress.is_unsettled() {
                    return Some(work.unwrap_or_default());
                }
                if inner.closing {
                    return None;
                }
            }
            drop(inner);
            match waited {
                Some(waited) => thread::park_timeout(self.sync_within.saturating_sub(waited)),
                None if lingered => {
                    // Say so first, look again, and only then sleep for good: an append that comes
                    // in between either is seen here or sees the flag and rings.
                    self.progress.set_idle(true);
                    let nothing = {
                        let inner = self.lock();
                        inner.is_quiet()
                    };
                    if nothing && !self.progress.is_demanded() {
                        thread::park();
                    }
                    self.progress.set_idle(false);
                    lingered = false;
                }
                None => {
                    thread::park_timeout(self.sync_within);
                    lingered = true;
                }
            }
        }
    }

    /// All that gathered since, for a commit that failed and is tried again.
    pub(in crate::persistence) fn take_more(&self) -> Option<Work> {
        take(&mut self.lock())
    }

    /// A batch is durable: its room is free again.
    pub(in crate::persistence) fn release(&self, mut batch: Batch) {
        let mut inner = self.lock();
        inner.unsynced_bytes = inner.unsynced_bytes.saturating_sub(batch.framed_bytes());
        // A huge batch gives its memory back.
        if inner.spare.is_none() && batch.capacity() <= 4 << 20 {
            batch.clear();
            inner.spare = Some(batch);
        }
    }
}

impl Inner {
    /// True while the commit thread waits for more changes to join its commit.
    pub(super) fn is_gathering(&self) -> bool {
        self.gather_until.is_some_and(|until| until > self.last_lsn)
    }

    fn is_quiet(&self) -> bool {
        self.open.is_empty() && self.closed.is_empty() && !self.closing
    }
}

fn take(inner: &mut Inner) -> Option<Work> {
    let work = match inner.closed.pop_front() {
        Some(work) => work,
        None if inner.open.is_empty() => return None,
        None => {
            let next = inner.spare.take().unwrap_or_default();
            Work { batch: std::mem::replace(&mut inner.open, next), rotate: None }
        }
    };
    // What is left began to wait no earlier than now.
    inner.oldest_unsynced = (!inner.open.is_empty()).then(Instant::now);
    Some(work)
}
