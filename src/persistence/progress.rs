//! How far the journal is durable, and everybody who waits for it.
//!
//! Waiters share one list: waking them costs one lock and one wake each, and nothing is allocated
//! for a waiter once the list has grown.

mod ack;

use std::{sync::atomic::Ordering, task::Waker};

use super::sync::{
    Apart, AtomicBool, AtomicU64, Bell, Condvar, Mutex, MutexGuard, lock_short, thread::Thread,
};
use crate::{Error, ErrorKind, Lsn};

pub use ack::Ack;

pub(super) use ack::Reached;

/// What the commit thread tells everybody else.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Apart from the waiters' lock and from the count of those who hold this.
    told: Apart<Told>,
    committer: Bell,
    waiting: Apart<Mutex<Waiting>>,
    changed: Condvar,
}

/// Read by everybody all the time, and written a few times for each commit.
#[derive(Debug, Default)]
struct Told {
    durable: AtomicU64,
    /// Number of the open segment.
    segment: AtomicU64,
    /// Bytes in segments since the last snapshot.
    journal_bytes: AtomicU64,
    /// Number of failed attempts to make something durable.
    failures: AtomicU64,
    /// LSN of a large update whose snapshot has its name but may lose it in a power cut; 0 if none.
    /// Nothing may be called durable until it is settled.
    unsettled: AtomicU64,
    /// Somebody waits: sync without delay.
    demand: AtomicBool,
    /// The commit thread sleeps until it is woken, however long that takes.
    idle: AtomicBool,
    /// All whom the commit thread waits for have appended.
    gathered: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    waiters: Vec<Waiter>,
    /// Threads that block.
    blocked: usize,
    /// Waiters that will not append when they are woken.
    followers: usize,
    next_id: u64,
    error: Option<Error>,
    degraded: bool,
    closed: bool,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    lsn: Lsn,
    waker: Waker,
}

impl Progress {
    pub(super) fn new(durable: Lsn, journal_bytes: u64) -> Self {
        let progress = Self::default();
        progress.told.durable.store(durable.get(), Ordering::Release);
        progress.told.journal_bytes.store(journal_bytes, Ordering::Relaxed);
        progress
    }

    pub(super) fn durable_through(&self) -> Lsn {
        Lsn::new(self.told.durable.load(Ordering::Acquire))
    }

    pub(super) fn segment(&self) -> u64 {
        self.told.segment.load(Ordering::Relaxed)
    }

    pub(super) fn set_segment(&self, segment: u64) {
        self.told.segment.store(segment, Ordering::Relaxed);
    }

    pub(super) fn journal_bytes(&self) -> u64 {
        self.told.journal_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add_journal_bytes(&self, bytes: u64) {
        self.told.journal_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A snapshot was published: `covered` bytes of journal are not needed to read the state any
    /// more.
    pub(super) fn forget_journal_bytes(&self, covered: u64) {
        let left = |bytes: u64| Some(bytes.saturating_sub(covered));
        // The closure always gives a value, so the update cannot fail.
        let _updated =
            self.told.journal_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }

    /// A large update has its LSN, and its snapshot a name that is not durable yet.
    pub(super) fn set_unsettled(&self, lsn: Lsn) {
        self.told.unsettled.store(lsn.get(), Ordering::Release);
    }

    pub(super) fn is_unsettled(&self) -> bool {
        self.told.unsettled.load(Ordering::Acquire) != 0
    }

    /// The name is durable, and so is the large update, if there is one that waits for it.
    pub(super) fn settled(&self) {
        let lsn = self.told.unsettled.swap(0, Ordering::AcqRel);
        if lsn != 0 {
            let _waited: usize = self.publish(Lsn::new(lsn));
        }
    }

    pub(super) fn has_gathered(&self) -> bool {
        self.told.gathered.load(Ordering::Acquire)
    }

    pub(super) fn set_gathered(&self, gathered: bool) {
        self.told.gathered.store(gathered, Ordering::Release);
    }

    /// Everything up to `lsn` is durable. Wakes whoever waits for it; the disk takes writes. Gives
    /// the number of those who waited for a change of theirs, be it this one or a later one.
    pub(super) fn publish(&self, lsn: Lsn) -> usize {
        self.told.durable.fetch_max(lsn.get(), Ordering::AcqRel);
        let mut waiting = self.lock();
        waiting.degraded = false;
        let waited = waiting.waiters.len().saturating_add(waiting.blocked);
        let waited = waited.saturating_sub(waiting.followers);
        let durable = self.durable_through();
        let woken: Vec<Waker> = extract(&mut waiting.waiters, |waiter| waiter.lsn <= durable);
        drop(waiting);
        self.changed.notify_all();
        woken.into_iter().for_each(Waker::wake);
        waited
    }

    /// An attempt to make something durable failed: every waiter is told.
    pub(super) fn fail(&self, cause: &Error) {
        let error = Error::new(
            ErrorKind::Degraded,
            "the disk refused a write; the changes are in memory and will be written again",
        )
        .next("mend or free the disk and keep the process running; nothing in memory is lost")
        .because(cause.clone());
        let mut waiting = self.lock();
        self.told.failures.fetch_add(1, Ordering::AcqRel);
        waiting.error = Some(error);
        waiting.degraded = true;
        let woken = extract(&mut waiting.waiters, |_| true);
        drop(waiting);
        self.changed.notify_all();
        woken.into_iter().for_each(Waker::wake);
    }

    /// The commit thread has ended. Whoever still waits gets an error.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let woken = extract(&mut waiting.waiters, |_| true);
        drop(waiting);
        self.changed.notify_all();
        woken.into_iter().for_each(Waker::wake);
    }

    /// The cause, while the disk refuses writes.
    pub(super) fn degraded(&self) -> Option<Error> {
        let waiting = self.lock();
        waiting.error.clone().filter(|_| waiting.degraded)
    }

    /// Wakes the commit thread for a reason that it will find in the queue.
    pub(super) fn ring(&self) {
        self.committer.ring();
    }

    /// Asks for a sync without delay.
    pub(super) fn demand(&self) {
        // Looked at first: where many wait it is set nearly always, and a look shares the line.
        if !self.is_demanded() && !self.told.demand.swap(true, Ordering::AcqRel) {
            self.ring();
        }
    }

    pub(super) fn set_committer(&self, thread: Thread) {
        self.committer.set(thread);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.told.idle.load(Ordering::SeqCst)
    }

    pub(super) fn set_idle(&self, idle: bool) {
        self.told.idle.store(idle, Ordering::SeqCst);
    }

    pub(super) fn is_demanded(&self) -> bool {
        self.told.demand.load(Ordering::Acquire)
    }

    /// Takes the demand back. Done under the queue's lock when nothing is left in it, so that the
    /// demand of a later append is not lost.
    pub(super) fn clear_demand(&self) {
        self.told.demand.store(false, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        lock_short(&self.waiting)
    }
}

fn extract(waiters: &mut Vec<Waiter>, woken: impl Fn(&Waiter) -> bool) -> Vec<Waker> {
    if waiters.iter().all(&woken) {
        return waiters.drain(..).map(|waiter| waiter.waker).collect();
    }
    let mut wakers = Vec::new();
    for index in (0..waiters.len()).rev() {
        if waiters.get(index).is_some_and(&woken) {
            wakers.push(waiters.swap_remove(index).waker);
        }
    }
    wakers
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed")
        .next("open it again; what was acknowledged is there")
}
