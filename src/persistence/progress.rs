//! How far the journal is durable, and everybody who waits for it.
//!
//! Waiters share one list: waking them costs one lock and one wake each, and nothing is allocated
//! for a waiter once the list has grown.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, atomic::Ordering},
    task::{Context, Poll, Waker},
};

use super::sync::{AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, lock_short, thread::Thread};
use crate::{Error, ErrorKind, Lsn};

/// What the commit thread tells everybody else.
#[derive(Debug, Default)]
pub(super) struct Progress {
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
    committer: Mutex<Option<Thread>>,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    waiters: Vec<Waiter>,
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
        progress.durable.store(durable.get(), Ordering::Release);
        progress.journal_bytes.store(journal_bytes, Ordering::Relaxed);
        progress
    }

    pub(super) fn durable_through(&self) -> Lsn {
        Lsn::new(self.durable.load(Ordering::Acquire))
    }

    pub(super) fn segment(&self) -> u64 {
        self.segment.load(Ordering::Relaxed)
    }

    pub(super) fn set_segment(&self, segment: u64) {
        self.segment.store(segment, Ordering::Relaxed);
    }

    pub(super) fn journal_bytes(&self) -> u64 {
        self.journal_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add_journal_bytes(&self, bytes: u64) {
        self.journal_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A snapshot was published: `covered` bytes of journal are not needed to read the state any
    /// more.
    pub(super) fn forget_journal_bytes(&self, covered: u64) {
        let left = |bytes: u64| Some(bytes.saturating_sub(covered));
        // The closure always gives a value, so the update cannot fail.
        let _updated = self.journal_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left);
    }

    /// A large update has its LSN, and its snapshot a name that is not durable yet.
    pub(super) fn set_unsettled(&self, lsn: Lsn) {
        self.unsettled.store(lsn.get(), Ordering::Release);
    }

    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled.load(Ordering::Acquire) != 0
    }

    /// The name is durable, and so is the large update, if there is one that waits for it.
    pub(super) fn settled(&self) {
        let lsn = self.unsettled.swap(0, Ordering::AcqRel);
        if lsn != 0 {
            self.publish(Lsn::new(lsn));
        }
    }

    /// Everything up to `lsn` is durable. Wakes whoever waits for it; the disk takes writes.
    pub(super) fn publish(&self, lsn: Lsn) {
        self.durable.fetch_max(lsn.get(), Ordering::AcqRel);
        let mut waiting = self.lock();
        waiting.degraded = false;
        let durable = self.durable_through();
        let woken: Vec<Waker> = extract(&mut waiting.waiters, |waiter| waiter.lsn <= durable);
        drop(waiting);
        self.changed.notify_all();
        woken.into_iter().for_each(Waker::wake);
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
        self.failures.fetch_add(1, Ordering::AcqRel);
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
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = committer.as_ref() {
            thread.unpark();
        }
    }

    /// Asks for a sync without delay.
    pub(super) fn demand(&self) {
        // Looked at first: where many wait it is set nearly always, and a look shares the line.
        if !self.is_demanded() && !self.demand.swap(true, Ordering::AcqRel) {
            self.ring();
        }
    }

    pub(super) fn set_committer(&self, thread: Thread) {
        *self.committer.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.idle.load(Ordering::SeqCst)
    }

    pub(super) fn set_idle(&self, idle: bool) {
        self.idle.store(idle, Ordering::SeqCst);
    }

    pub(super) fn is_demanded(&self) -> bool {
        self.demand.load(Ordering::Acquire)
    }

    /// Takes the demand back. Done under the queue's lock when nothing is left in it, so that the
    /// demand of a later append is not lost.
    pub(super) fn clear_demand(&self) {
        self.demand.store(false, Ordering::Release);
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

/// Acknowledgement of one append: knows its LSN at once, and resolves when it is durable.
///
/// Await it, or block on [`wait`](Ack::wait). A later change that is durable makes all earlier ones
/// durable, so waiting for the last of several is enough.
///
/// # Cancel safety
/// Dropping it, polled or not, cancels nothing: the change is applied and will be written.
///
/// # Errors
/// [`ErrorKind::Degraded`] when the disk refused a write since the append: the change is still in
/// memory and will be written again,
/// [`durable_through`](crate::P2PStatePersistence::durable_through) tells when it is.
/// [`ErrorKind::Closed`] when the store was closed before it became durable.
#[derive(Debug)]
pub struct Ack {
    lsn: Lsn,
    progress: Arc<Progress>,
    failures_seen: u64,
    registered: Option<u64>,
}

impl Ack {
    pub(super) fn new(lsn: Lsn, progress: &Arc<Progress>) -> Self {
        let failures_seen = progress.failures.load(Ordering::Acquire);
        Self { lsn, progress: Arc::clone(progress), failures_seen, registered: None }
    }

    /// The number of the change's record. It is known before the record is durable.
    #[must_use]
    pub const fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// True once the change survives a power cut. Never waits.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.progress.durable_through() >= self.lsn
    }

    /// Blocks this thread until the change is durable. For programs without an async runtime; in a
    /// task, await the `Ack` instead.
    ///
    /// # Errors
    /// As for awaiting it.
    pub fn wait(self) -> Result<Lsn, Error> {
        if self.is_durable() {
            return Ok(self.lsn);
        }
        self.progress.demand();
        let mut waiting = self.progress.lock();
        loop {
            if let Some(result) = self.result(&waiting) {
                return result;
            }
            waiting = self.progress.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn result(&self, waiting: &Waiting) -> Option<Result<Lsn, Error>> {
        if self.is_durable() {
            return Some(Ok(self.lsn));
        }
        if waiting.closed {
            return Some(Err(closed()));
        }
        if self.progress.failures.load(Ordering::Acquire) > self.failures_seen {
            return waiting.error.clone().map(Err);
        }
        None
    }
}

impl Future for Ack {
    type Output = Result<Lsn, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_durable() {
            self.registered = None;
            return Poll::Ready(Ok(self.lsn));
        }
        self.progress.demand();
        let this = &mut *self;
        let mut waiting = this.progress.lock();
        if let Some(result) = this.result(&waiting) {
            this.registered = None;
            return Poll::Ready(result);
        }
        register(&mut waiting, &mut this.registered, this.lsn, context);
        Poll::Pending
    }
}

/// Resolves when `lsn` is durable or the store is closed; asks for nothing and survives failures.
#[derive(Debug)]
pub(super) struct Reached {
    lsn: Lsn,
    progress: Arc<Progress>,
    registered: Option<u64>,
}

impl Reached {
    pub(super) fn new(lsn: Lsn, progress: &Arc<Progress>) -> Self {
        Self { lsn, progress: Arc::clone(progress), registered: None }
    }
}

impl Future for Reached {
    /// False when the store was closed before.
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let this = &mut *self;
        let mut waiting = this.progress.lock();
        let reached = this.progress.durable_through() >= this.lsn;
        if reached || waiting.closed {
            this.registered = None;
            return Poll::Ready(reached);
        }
        register(&mut waiting, &mut this.registered, this.lsn, context);
        Poll::Pending
    }
}

/// A wait that was given up leaves no waker behind.
impl Drop for Ack {
    fn drop(&mut self) {
        deregister(&self.progress, self.registered);
    }
}

impl Drop for Reached {
    fn drop(&mut self) {
        deregister(&self.progress, self.registered);
    }
}

fn deregister(progress: &Progress, registered: Option<u64>) {
    if let Some(id) = registered {
        progress.lock().waiters.retain(|waiter| waiter.id != id);
    }
}

/// Puts a waker on the list, or renews the one that is there from an earlier poll.
fn register(waiting: &mut Waiting, slot: &mut Option<u64>, lsn: Lsn, context: &Context<'_>) {
    let earlier = slot.and_then(|id| waiting.waiters.iter_mut().find(|waiter| waiter.id == id));
    if let Some(waiter) = earlier {
        waiter.waker.clone_from(context.waker());
        return;
    }
    let id = waiting.next_id;
    waiting.next_id = id.wrapping_add(1);
    waiting.waiters.push(Waiter { id, lsn, waker: context.waker().clone() });
    *slot = Some(id);
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the store is closed")
        .next("open it again; what was acknowledged is there")
}
