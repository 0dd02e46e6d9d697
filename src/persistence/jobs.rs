//! What is asked of the compaction thread, and what others may know of it.

use std::{
    fmt,
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use chrono::{DateTime, Utc};

use super::{
    progress::{Progress, closed},
    sync::{
        AtomicBool, AtomicU64, Mutex,
        mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel},
        thread,
    },
};
use crate::{Error, Lsn, history::HistoryStatus, state::State};

/// While a large update is not durable: somebody waits already, and the disk is in trouble.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The LSN of the snapshot.
type Answer = Result<Lsn, Error>;
/// Told the answer.
pub(super) type Reply = SyncSender<Answer>;
/// Makes a new state of the current one.
pub(super) type Derive = dyn Fn(&State) -> Result<State, Error> + Send;

/// What is asked of the compaction thread.
pub(super) enum Job {
    /// A snapshot now. Without a reply it is a wish of the journal or of recovery, which pauses
    /// after failures.
    Compact(Option<Reply>),
    /// An auto-save, unless it was stopped meanwhile: pauses after failures, and is amortised for
    /// large states.
    Tick(Arc<AtomicBool>, Reply),
    /// Nothing: told when everything before it is done.
    Barrier(Reply),
    /// Make this the state by a snapshot, because the difference is too large for one record. The
    /// closure derives the new state from the current one.
    Replace(Box<Derive>, Reply),
    /// Make the names of the snapshots durable: the commit thread may acknowledge nothing before.
    Settle(Reply),
    Stop,
}

/// What others may ask about compaction.
#[derive(Debug, Default)]
pub(super) struct CompactionStatus {
    /// LSN of the newest snapshot.
    pub(super) snapshot_lsn: AtomicU64,
    /// Its size in bytes; 0 if there is none.
    pub(super) snapshot_bytes: AtomicU64,
    /// Failed attempts in a row.
    pub(super) failures: AtomicU64,
    /// A wish to compact is on its way already.
    pub(super) wished: AtomicBool,
    /// Stop what you do: the store is being closed.
    pub(super) stop: AtomicBool,
    saved_at: Mutex<DateTime<Utc>>,
    history: Mutex<Option<HistoryStatus>>,
}

impl CompactionStatus {
    /// When the newest snapshot was written; the UNIX epoch if there is none.
    pub(super) fn saved_at(&self) -> DateTime<Utc> {
        *self.saved_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The history as of the last compaction; `None` if none is kept.
    pub(super) fn history(&self) -> Option<HistoryStatus> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_history(&self, history: Option<HistoryStatus>) {
        *self.history.lock().unwrap_or_else(PoisonError::into_inner) = history;
    }

    pub(super) fn set_saved_at(&self, saved_at: DateTime<Utc>) {
        *self.saved_at.lock().unwrap_or_else(PoisonError::into_inner) = saved_at;
    }
}

/// The way to the compaction thread; clones lead to the same one.
#[derive(Clone)]
pub(super) struct Jobs {
    sender: Sender<Job>,
    pub(super) status: Arc<CompactionStatus>,
}

impl Jobs {
    /// The way, and its end for the thread.
    pub(super) fn new() -> (Self, Receiver<Job>) {
        let (sender, jobs) = channel();
        (Self { sender, status: Arc::default() }, jobs)
    }

    /// Asks and waits for the answer. Blocks.
    pub(super) fn ask(&self, job: impl FnOnce(Reply) -> Job) -> Result<Lsn, Error> {
        self.begin(job)?.recv().map_err(|_| closed())?
    }

    /// Has a large update made durable. Blocks until it is, or until that has failed.
    ///
    /// For the commit thread, which must not wait for the answer alone: a job that came first may
    /// make it durable and then wait for that thread's seal, ahead of this one.
    pub(super) fn settle(&self, progress: &Progress) -> Result<(), Error> {
        let answer = self.begin(Job::Settle)?;
        while progress.is_unsettled() {
            match answer.try_recv() {
                Ok(settled) => return settled.map(drop),
                Err(TryRecvError::Disconnected) => return Err(closed()),
                Err(TryRecvError::Empty) => thread::park_timeout(LOOK_AGAIN),
            }
        }
        Ok(())
    }

    fn begin(&self, job: impl FnOnce(Reply) -> Job) -> Result<Receiver<Answer>, Error> {
        let (reply, answer) = sync_channel(1);
        self.sender.send(job(reply)).map_err(|_| closed())?;
        Ok(answer)
    }

    /// Asks for a compaction without waiting for it, once.
    pub(super) fn wish(&self) {
        if !self.status.wished.swap(true, Ordering::AcqRel) {
            self.sender.send(Job::Compact(None)).ok();
        }
    }

    /// Has the thread stop what it does, and end.
    pub(super) fn stop(&self) {
        self.status.stop.store(true, Ordering::Relaxed);
        self.sender.send(Job::Stop).ok();
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("status", &self.status).finish_non_exhaustive()
    }
}
