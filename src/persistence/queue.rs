//! The state, and the batch that gathers what the commit thread writes next, under short locks.

mod applier;
mod work;

use std::{cell::Cell, collections::VecDeque, sync::Arc, time::Duration};

use self::applier::Applying;
use super::{
    batch::Batch,
    progress::{Ack, Progress, closed},
    sync::{Apart, Instant, Mutex, MutexGuard, lock_short, mpsc},
};
use crate::{
    Error, ErrorKind, Lsn,
    journal::format::{PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES},
    state::{self, Change, Effect, LivePeers, LiveState, State},
};

/// Times that a large difference is worked out without the lock.
const DERIVE_ATTEMPTS: u32 = 3;

/// A payload's buffer that a thread keeps; a larger one gives its memory back.
const PAYLOAD_BYTES_KEPT: usize = 64 << 10;

thread_local! {
    /// Where a change is encoded before the lock is taken, so that no append allocates for it.
    static PAYLOAD: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

pub(super) use applier::Applier;
pub(super) use work::Expected;

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

/// See the module.
#[derive(Debug)]
pub(super) struct Queue {
    /// Apart from the lock's own word, which others write while they try to get it.
    inner: Mutex<Apart<Inner>>,
    /// Taken behind the other lock or alone, and kept without it by whoever applies what was
    /// deferred.
    peers: Mutex<Apart<LivePeers>>,
    applying: Apart<Applying>,
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
        let (state, peers) = state::part(state);
        let inner = Inner {
            state,
            last_lsn,
            open: Batch::default(),
            closed: VecDeque::new(),
            spare: None,
            unsynced_bytes: 0,
            oldest_unsynced: None,
            gather_until: None,
            closing: false,
        };
        Self {
            inner: Mutex::new(Apart(inner)),
            peers: Mutex::new(Apart(peers)),
            applying: Apart::default(),
            progress: Arc::clone(progress),
            sync_within,
            unsynced_bytes_max,
            update_bytes_max: PAYLOAD_BYTES_MAX,
        }
    }

    /// Checks, numbers, applies and queues the change as one record. After an error it is still
    /// there.
    pub(super) fn append_one(&self, change: &mut Option<Change>) -> Result<Ack, Error> {
        let is_urgent = change.as_ref().is_some_and(Change::is_ban);
        with_buffer(|payload| {
            encode(change.as_slice(), payload)?;
            let mut inner = self.lock();
            self.refuse(&inner, payload.len())?;
            let is_new = inner.state.defer(change)?
                || self.apply(&mut inner, change.as_slice())? == Effect::Changed;
            Ok(self.number(inner, is_new.then_some(payload), is_urgent))
        })
    }

    /// Checks, numbers, applies and queues the changes as one record: all of them or none.
    pub(super) fn append(&self, changes: &[Change]) -> Result<Ack, Error> {
        with_buffer(|payload| {
            encode(changes, payload)?;
            self.append_encoded(self.lock(), changes, payload)
        })
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
        let (state, _) = self.pin(&mut inner);
        let (changes, payload) = derive(&state)?;
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
        let effect = self.apply(&mut inner, changes)?;
        let is_urgent = changes.iter().any(Change::is_ban);
        Ok(self.number(inner, (effect == Effect::Changed).then_some(payload), is_urgent))
    }

    fn apply(&self, inner: &mut Inner, changes: &[Change]) -> Result<Effect, Error> {
        if let Some(effect) = inner.state.apply_apart(changes) {
            return effect;
        }
        inner.state.apply_all(&mut self.peers(), changes)
    }

    /// Numbers a record and queues it; without a payload there is nothing new to record.
    fn number(
        &self,
        mut inner: MutexGuard<'_, Apart<Inner>>,
        payload: Option<&[u8]>,
        is_urgent: bool,
    ) -> Ack {
        let Some(payload) = payload else { return Ack::new(inner.last_lsn, &self.progress) };
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
        let task = self.task(&mut inner);
        drop(inner);
        if gathered {
            self.progress.set_gathered(true);
        }
        if filling || is_urgent {
            self.progress.demand();
        } else if was_empty && self.progress.is_idle() {
            self.progress.ring();
        }
        self.carry_out(task);
        Ack::new(lsn, &self.progress)
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
        self.pin(&mut inner)
    }

    fn pin(&self, inner: &mut Inner) -> (State, Lsn) {
        (inner.state.view(&mut self.peers()), inner.last_lsn)
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
        let pinned = self.pin(&mut inner);
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
        let (state, peers) = state::part(state);
        inner.state = state;
        **self.peers() = peers;
        inner.last_lsn = lsn.next();
        // Under the lock: no later record may be called durable before this is.
        self.progress.set_unsettled(lsn.next());
        Ok(Some(lsn.next()))
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

/// Calls with the thread's buffer.
fn with_buffer(append: impl FnOnce(&mut Vec<u8>) -> Result<Ack, Error>) -> Result<Ack, Error> {
    // A thread that is about to end has no buffer any more.
    let mut payload = PAYLOAD.try_with(Cell::take).unwrap_or_default();
    let ack = append(&mut payload);
    if payload.capacity() <= PAYLOAD_BYTES_KEPT {
        payload.clear();
        PAYLOAD.try_with(|kept| kept.set(payload)).ok();
    }
    ack
}

fn encode(changes: &[Change], payload: &mut Vec<u8>) -> Result<(), Error> {
    state::encode(changes, payload)?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(Error::limit(format!(
            "the changes are too large for one record: bytes={}, limit={PAYLOAD_BYTES_MAX}",
            payload.len()
        ))
        .next("append them in several batches"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::state::{
        Limits,
        tests::random::{content, often_deferred},
    };

    pub(super) fn queue(limits: Limits) -> Queue {
        let progress = Arc::new(Progress::new(Lsn::ZERO, 0));
        Queue::new(State::new(limits), Lsn::ZERO, &progress, Duration::from_secs(1), 64 << 20)
    }

    proptest! {
        #[test]
        fn appends_do_what_their_changes_do_one_after_the_other(
            records in prop::collection::vec(prop::collection::vec(often_deferred(), 1..3), 0..80),
            peers in prop_oneof![1..9_usize, 50..70_usize],
            look in 0..80_usize,
        ) {
            let limits = Limits { peers, addresses_per_peer: 3, ..Limits::default() };
            let (queue, mut state) = (queue(limits), State::new(limits));
            let mut lsn = Lsn::ZERO;
            for (number, changes) in records.iter().enumerate() {
                let mut one = changes.first().cloned();
                let ack = match changes.as_slice() {
                    [_] => queue.append_one(&mut one),
                    changes => queue.append(changes),
                };
                match state.apply_all(changes) {
                    Ok(effect) => {
                        lsn = if effect == Effect::Changed { lsn.next() } else { lsn };
                        prop_assert_eq!(ack.unwrap().lsn(), lsn);
                    }
                    Err(error) => {
                        prop_assert_eq!(ack.unwrap_err().to_string(), error.to_string());
                        prop_assert_eq!(one.as_ref(), changes.first(), "it can be tried again");
                    }
                }
                if number == look {
                    prop_assert_eq!(content(&queue.view().0), content(&state));
                }
            }
            let (view, last_lsn) = queue.view();
            prop_assert_eq!((content(&view), last_lsn), (content(&state), lsn));
        }
    }

    #[test]
    fn batches_are_taken_in_the_order_in_which_they_were_closed() {
        let queue = queue(Limits::default());
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
