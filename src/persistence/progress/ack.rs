//! The futures that wait for the journal to become durable.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, atomic::Ordering},
    task::{Context, Poll},
};

use super::{super::sync::MutexGuard, Progress, Waiter, Waiting, closed};
use crate::{Error, Lsn};

/// Acknowledgement of one append: knows its LSN at once, and resolves when it is durable.
///
/// Await it, or block on [`wait`](Ack::wait). A later change that is durable makes all earlier ones
/// durable, so waiting for the last of several is enough.
///
/// # Cancel safety
/// Dropping it, polled or not, cancels nothing: the change is applied and will be written.
///
/// # Errors
/// [`ErrorKind::Degraded`](crate::ErrorKind::Degraded) when the disk refused a write since the
/// append: the change is still in memory and will be written again,
/// [`durable_through`](crate::P2PStatePersistence::durable_through) tells when it is.
/// [`ErrorKind::Closed`](crate::ErrorKind::Closed) when the store was closed before it became
/// durable.
#[derive(Debug)]
pub struct Ack {
    lsn: Lsn,
    progress: Arc<Progress>,
    failures_seen: u64,
    registered: Option<u64>,
}

impl Ack {
    pub(in crate::persistence) fn new(lsn: Lsn, progress: &Arc<Progress>) -> Self {
        let failures_seen = progress.told.failures.load(Ordering::Acquire);
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
            waiting.blocked = waiting.blocked.saturating_add(1);
            waiting = self.progress.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            waiting.blocked = waiting.blocked.saturating_sub(1);
        }
    }

    fn result(&self, waiting: &Waiting) -> Option<Result<Lsn, Error>> {
        if self.is_durable() {
            return Some(Ok(self.lsn));
        }
        if waiting.closed {
            return Some(Err(closed()));
        }
        if self.progress.told.failures.load(Ordering::Acquire) > self.failures_seen {
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
        let waiting = this.progress.lock();
        if let Some(result) = this.result(&waiting) {
            this.registered = None;
            return Poll::Ready(result);
        }
        register(waiting, &mut this.registered, this.lsn, context);
        Poll::Pending
    }
}

/// Resolves when `lsn` is durable or the store is closed; asks for nothing and survives failures.
#[derive(Debug)]
pub(in crate::persistence) struct Reached {
    lsn: Lsn,
    progress: Arc<Progress>,
    registered: Option<u64>,
}

impl Reached {
    pub(in crate::persistence) fn new(lsn: Lsn, progress: &Arc<Progress>) -> Self {
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
            if this.registered.take().is_some() {
                waiting.followers = waiting.followers.saturating_sub(1);
            }
            return Poll::Ready(reached);
        }
        if this.registered.is_none() {
            waiting.followers = waiting.followers.saturating_add(1);
        }
        register(waiting, &mut this.registered, this.lsn, context);
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
        if self.registered.is_some() {
            let mut waiting = self.progress.lock();
            waiting.followers = waiting.followers.saturating_sub(1);
        }
        deregister(&self.progress, self.registered);
    }
}

fn deregister(progress: &Progress, registered: Option<u64>) {
    let Some(id) = registered else { return };
    let mut waiting = progress.lock();
    let index = waiting.waiters.iter().position(|waiter| waiter.id == id);
    let given_up = index.map(|index| waiting.waiters.swap_remove(index));
    // First the lock: with its waker a task may go that holds the last handle, whose drop waits for
    // the commit thread, which needs the lock.
    drop(waiting);
    drop(given_up);
}

/// Puts a waker on the list, or renews the one that is there from an earlier poll.
fn register(
    mut waiting: MutexGuard<'_, Waiting>,
    slot: &mut Option<u64>,
    lsn: Lsn,
    context: &Context<'_>,
) {
    let earlier = slot.and_then(|id| waiting.waiters.iter_mut().find(|waiter| waiter.id == id));
    if let Some(waiter) = earlier {
        if !waiter.waker.will_wake(context.waker()) {
            let renewed = std::mem::replace(&mut waiter.waker, context.waker().clone());
            // In this order, as above.
            drop(waiting);
            drop(renewed);
        }
        return;
    }
    let id = waiting.next_id;
    waiting.next_id = id.wrapping_add(1);
    waiting.waiters.push(Waiter { id, lsn, waker: context.waker().clone() });
    *slot = Some(id);
}
