//! The state, and the batch that gathers what the commit thread writes next, under one short lock.

use std::{cell::Cell, collections::VecDeque, sync::Arc, time::Duration};

use super::{
    batch::Batch,
    progress::{Ack, Progress, closed},
    sync::{Apart, Instant, Mutex, MutexGuard, lock_short, mpsc, thread},
};
use crate::{
    Error, ErrorKind, Lsn,
    journal::format::{PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES},
    state::{self, Change, Effect, LiveState, State},
};

/// Times that a large difference is worked out without the lock.
const DERIVE_ATTEMPTS: u32 = 3;

/// A payload's buffer that a thread keeps; a larger one gives its memory back.
const PAYLOAD_BYTES_KEPT: usize = 64 << 10;

thread_local! {
    /// Where a change is encoded before the lock is taken, so that no append allocates for it.
    static PAYLOAD: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Told when the segment that held everything up to a pinned LSN is sealed.
pub(super) type RotateReply = mpsc::SyncSender<Result<(), Error>>;

/// What the commit thread does next.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) batch: Batch,
    /// Seal the segment behind this batch and start another.
    pub(super) rotate: Option<RotateReply>,
}

#[derive(Debug)]
struct Inner {
    state: LiveState,
    last_lsn: Lsn,
    open: Batch,
    /// Batches closed by a request to rotate, oldest first.
    closed: VecDeque<Work>,
    spare: Option<Batch>,
    /// Bytes of records that are not durable yet.
    unsynced_bytes: usize,
    oldest_unsynced: Option<Instant>,
    /// The commit thread waits for this record.
    gather_until: Option<Lsn>,
    closing: bool,
}

/// Who is likely to append again at once: those that the last commit woke, and those that wait
/// already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) records: u64,
    /// When waiting for them is not worth more time.
    pub(super) until: Instant,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    /// Apart from the lock's own word, which others write while they try to get it.
    inner: Mutex<Apart<Inner>>,
    progress: Arc<Progress>,
    sync_within: Duration,
    unsynced_bytes_max: usize,
    /// Largest difference that becomes one record.
    pub(super) update_bytes_max: usize,
}

impl Queue {
    pub(super) fn new(
        state: State,
        last_lsn: Lsn,
        progress: &Arc<Progress>,
        sync_within: Duration,
        unsynced_bytes_max: usize,
    ) -> Self {
        let inner = Inner {
            state: LiveState::new(state),
            last_lsn,
            open: Batch::default(),
            closed: VecDeque::new(),
            spare: None,
            unsynced_bytes: 0,
            oldest_unsynced: None,
            gather_until: None,
            closing: false,
        };
        let progress = Arc::clone(progress);
        let update_bytes_max = PAYLOAD_BYTES_MAX;
        let inner = Mutex::new(Apart(inner));
        Self { inner, progress, sync_within, unsynced_bytes_max, update_bytes_max }
    }

    /// Checks, numbers, applies and queues the changes as one record: all of them or none.
    pub(super) fn append(&self, changes: &[Change]) -> Result<Ack, Error> {
        // A thread that is about to end has no buffer any more.
        let mut payload = PAYLOAD.try_with(Cell::take).unwrap_or_default();
        let ack = self.encode_and_append(changes, &mut payload);
        if payload.capacity() <= PAYLOAD_BYTES_KEPT {
            payload.clear();
            PAYLOAD.try_with(|kept| kept.set(payload)).ok();
        }
        ack
    }

    fn encode_and_append(&self, changes: &[Change], payload: &mut Vec<u8>) -> Result<Ack, Error> {
        state::encode(changes, payload)?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::limit(format!(
                "the changes are too large for one record: bytes={}, limit={PAYLOAD_BYTES_MAX}",
                payload.len()
            ))
            .next("append them in several batches"));
        }
        self.append_encoded(self.lock(), changes, payload)
    }

    /// Appends what `derive` makes of the current state; nothing comes in between. `None` if that
    /// is too large for one record.
    pub(super) fn append_derived(
        &self,
        derive: impl Fn(&State) -> Result<Vec<Change>, Error>,
    ) -> Result<Option<Ack>, Error> {
        let derive = |state: &State| {
            let changes = derive(state)?;
            let mut payload = Vec::new();
            state::encode(&changes, &mut payload)?;
            Ok::<_, Error>((changes, payload))
        };
        // Comparing large states takes long: first without the lock, in the hope that nothing comes
        // in between; if something does every time, with it.
        for _ in 0..DERIVE_ATTEMPTS {
            let (state, lsn) = self.view();
            let (changes, payload) = derive(&state)?;
            let inner = self.lock();
            if inner.last_lsn == lsn {
                return self.append_if_it_fits(inner, &changes, &payload);
            }
        }
        let mut inner = self.lock();
        let (changes, payload) = derive(inner.state.get())?;
        self.append_if_it_fits(inner, &changes, &payload)
    }

    fn append_if_it_fits(
        &self,
        inner: MutexGuard<'_, Apart<Inner>>,
        changes: &[Change],
        payload: &[u8],
    ) -> Result<Option<Ack>, Error> {
        if payload.len() > self.update_bytes_max {
            return Ok(None);
        }
        self.append_encoded(inner, changes, payload).map(Some)
    }

    fn append_encoded(
        &self,
        mut inner: MutexGuard<'_, Apart<Inner>>,
        changes: &[Change],
        payload: &[u8],
    ) -> Result<Ack, Error> {
        self.refuse(&inner, payload.len())?;
        if inner.state.apply_all(changes)? == Effect::Unchanged {
            return Ok(Ack::new(inner.last_lsn, &self.progress));
        }
        let lsn = inner.last_lsn.next();
        inner.last_lsn = lsn;
        inner.open.push(lsn, payload);
        let was_empty = inner.oldest_unsynced.is_none();
        if was_empty {
            inner.oldest_unsynced = Some(Instant::now());
        }
        let bytes = payload.len().saturating_add(RECORD_HEADER_BYTES);
        inner.unsynced_bytes = inner.unsynced_bytes.saturating_add(bytes);
        let filling = inner.unsynced_bytes > self.unsynced_bytes_max / 4;
        let gathered = inner.gather_until == Some(lsn);
        drop(inner);
        if gathered {
            self.progress.set_gathered(true);
        }
        if filling || changes.iter().any(Change::is_ban) {
            self.progress.demand();
        } else if was_empty && self.progress.is_idle() {
            self.progress.ring();
        }
        Ok(Ack::new(lsn, &self.progress))
    }

    fn refuse(&self, inner: &Inner, bytes: usize) -> Result<(), Error> {
        if inner.closing {
            return Err(closed());
        }
        let bytes = bytes.saturating_add(RECORD_HEADER_BYTES);
        let full = inner.unsynced_bytes.saturating_add(bytes) > self.unsynced_bytes_max;
        if full && inner.unsynced_bytes > 0 {
            return Err(Error::new(
                ErrorKind::Full,
                format!(
                    "too many bytes wait for the disk: waiting={}, limit={}",
                    inner.unsynced_bytes, self.unsynced_bytes_max
                ),
            )
            .next("await an earlier ack, or use append_async, which waits"));
        }
        Ok(())
    }

    /// The state and its LSN, consistent.
    pub(super) fn view(&self) -> (State, Lsn) {
        let mut inner = self.lock();
        (inner.state.get().clone(), inner.last_lsn)
    }

    pub(super) fn last_lsn(&self) -> Lsn {
        self.lock().last_lsn
    }

    /// An ack for everything appended so far.
    pub(super) fn ack(&self) -> Ack {
        let lsn = self.last_lsn();
        Ack::new(lsn, &self.progress)
    }

    /// Number and bytes of the changes that a power cut would take now, and the age of the oldest.
    pub(super) fn unsynced(&self) -> (u64, usize, Duration) {
        let inner = self.lock();
        let durable = self.progress.durable_through();
        let count = inner.last_lsn.get().saturating_sub(durable.get());
        let age = inner.oldest_unsynced.filter(|_| count > 0).map(|since| since.elapsed());
        (count, inner.unsynced_bytes, age.unwrap_or_default())
    }

    /// Pins a view and has the segment sealed right behind it.
    pub(super) fn rotate(&self, reply: RotateReply) -> Result<(State, Lsn), Error> {
        let mut inner = self.lock();
        if inner.closing {
            return Err(closed());
        }
        let next = inner.spare.take().unwrap_or_default();
        let batch = std::mem::replace(&mut inner.open, next);
        inner.closed.push_back(Work { batch, rotate: Some(reply) });
        let pinned = (inner.state.get().clone(), inner.last_lsn);
        drop(inner);
        self.progress.demand();
        Ok(pinned)
    }

    /// Replaces the state as of `lsn` by the one that `publish` puts in place as of the LSN after
    /// it. Appends wait meanwhile, and nothing is durable until that is settled. `None` if
    /// something was appended since.
    pub(super) fn replace(
        &self,
        lsn: Lsn,
        state: State,
        publish: impl FnOnce(&State, Lsn) -> Result<(), Error>,
    ) -> Result<Option<Lsn>, Error> {
        let mut inner = self.lock();
        if inner.closing {
            return Err(closed());
        }
        if inner.last_lsn != lsn || self.progress.durable_through() < lsn {
            return Ok(None);
        }
        publish(&state, lsn.next())?;
        inner.state = LiveState::new(state);
        inner.last_lsn = lsn.next();
        // Under the lock: no later record may be called durable before this is.
        self.progress.set_unsettled(lsn.next());
        Ok(Some(lsn.next()))
    }

    /// Gives those who are expected a moment to append, so that one sync covers them all. Whoever
    /// waits in a loop would otherwise split into two groups, each of which waits for the sync of
    /// the other before its own begins. False if too few of them came in time to be worth it.
    pub(super) fn gather(&self, expected: Expected) -> bool {
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
                return self.lock().open.count() >= expected.records / 4 * 3;
            }
            thread::yield_now();
        }
        true
    }

    /// The next thing to write. Sleeps until somebody waits, the oldest change has waited long
    /// enough, or the queue is closed; `None` when it is closed and empty.
    pub(super) fn next_work(&self) -> Option<Work> {
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
    pub(super) fn take_more(&self) -> Option<Work> {
        take(&mut self.lock())
    }

    /// A batch is durable: its room is free again.
    pub(super) fn release(&self, mut batch: Batch) {
        let mut inner = self.lock();
        inner.unsynced_bytes = inner.unsynced_bytes.saturating_sub(batch.framed_bytes());
        // A huge batch gives its memory back.
        if inner.spare.is_none() && batch.capacity() <= 4 << 20 {
            batch.clear();
            inner.spare = Some(batch);
        }
    }

    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.progress.ring();
    }

    pub(super) fn is_closing(&self) -> bool {
        self.lock().closing
    }

    fn lock(&self) -> MutexGuard<'_, Apart<Inner>> {
        lock_short(&self.inner)
    }
}

impl Inner {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Limits;

    #[test]
    fn batches_are_taken_in_the_order_in_which_they_were_closed() {
        let progress = Arc::new(Progress::new(Lsn::ZERO, 0));
        let state = State::new(Limits::default());
        let queue = Queue::new(state, Lsn::ZERO, &progress, Duration::from_secs(1), 1 << 20);
        for key in ["first", "second"] {
            let at = chrono::DateTime::UNIX_EPOCH.into();
            let put = Change::DhtPut { key: key.into(), value: vec![1].into(), at };
            queue.append(&[put]).unwrap();
            let (reply, _told) = mpsc::sync_channel(1);
            queue.rotate(reply).unwrap();
        }
        let lsns: Vec<_> = std::iter::from_fn(|| queue.take_more())
            .map(|work| (work.batch.last_lsn().get(), work.rotate.is_some()))
            .collect();
        assert_eq!(lsns, [(1, true), (2, true)]);
    }
}
