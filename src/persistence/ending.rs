//! The end of an open store: its threads, one after the other, and then the lock.
//!
//! A waker may run anything on the thread that calls it, even the drop of the last handle. On a
//! thread of the store that cannot wait for the store's threads: a thread made for that does.

use std::{
    fmt,
    sync::{Arc, PoisonError},
};

use super::{
    jobs::Jobs,
    queue::Queue,
    sync::{
        Condvar, Mutex, MutexGuard,
        thread::{self, JoinHandle, ThreadId},
    },
};
use crate::{Error, ErrorKind, vfs::VfsLock};

/// See the module.
pub(super) struct Ending {
    stage: Mutex<Stage>,
    ended: Condvar,
}

struct Stage {
    /// The store's own threads.
    own: Vec<ThreadId>,
    /// What is still to end; taken by whoever ends it.
    running: Option<Running>,
    /// How it ended.
    result: Option<Result<(), Error>>,
}

/// What ends, in this order.
struct Running {
    compactor: Option<JoinHandle<()>>,
    committer: Option<JoinHandle<Result<(), Error>>>,
    /// Released when it is dropped.
    lock: Box<dyn VfsLock>,
}

impl Ending {
    pub(super) fn new(lock: Box<dyn VfsLock>) -> Self {
        let running = Running { compactor: None, committer: None, lock };
        let stage = Stage { own: Vec::new(), running: Some(running), result: None };
        Self { stage: Mutex::new(stage), ended: Condvar::new() }
    }

    pub(super) fn add_committer(&self, thread: JoinHandle<Result<(), Error>>) {
        let mut stage = self.lock();
        stage.own.push(thread.thread().id());
        if let Some(running) = &mut stage.running {
            running.committer = Some(thread);
        }
    }

    pub(super) fn add_compactor(&self, thread: JoinHandle<()>) {
        let mut stage = self.lock();
        stage.own.push(thread.thread().id());
        if let Some(running) = &mut stage.running {
            running.compactor = Some(thread);
        }
    }

    /// Ends the threads and releases the lock; waits for that, but on a thread of the store.
    pub(super) fn close(self: &Arc<Self>, jobs: &Jobs, queue: &Arc<Queue>) -> Result<(), Error> {
        let mut stage = self.lock();
        if stage.own.contains(&thread::current().id()) {
            let is_running = stage.running.is_some();
            drop(stage);
            if is_running {
                self.end_elsewhere(jobs, queue);
            }
            return Ok(());
        }
        if let Some(running) = stage.running.take() {
            drop(stage);
            return self.end(running, jobs, queue);
        }
        loop {
            if let Some(result) = &stage.result {
                return result.clone();
            }
            stage = self.ended.wait(stage).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn end(&self, running: Running, jobs: &Jobs, queue: &Queue) -> Result<(), Error> {
        let Running { compactor, committer, lock } = running;
        let mut result = Ok(());
        if let Some(compactor) = compactor {
            jobs.stop();
            result = compactor.join().map_err(|_| panicked("compaction"));
        }
        if let Some(committer) = committer {
            queue.close();
            result = result.and(committer.join().unwrap_or_else(|_| Err(panicked("commit"))));
        }
        drop(lock);
        self.lock().result = Some(result.clone());
        self.ended.notify_all();
        result
    }

    fn end_elsewhere(self: &Arc<Self>, jobs: &Jobs, queue: &Arc<Queue>) {
        let (ending, its_jobs, its_queue) = (Arc::clone(self), jobs.clone(), Arc::clone(queue));
        let spawned = thread::Builder::new().name("peer-journal-close".into()).spawn(move || {
            let running = ending.lock().running.take();
            let ended = running.map(|running| ending.end(running, &its_jobs, &its_queue));
            if let Some(Err(error)) = ended {
                tracing::error!(error = format!("{error:#}"), "the store was not closed cleanly");
            }
        });
        if let Err(error) = spawned {
            tracing::error!(%error, "no thread to close the store; it stays locked");
            jobs.stop();
            queue.close();
            // Its threads may write for a while: nobody else may open it before this process ends.
            std::mem::forget(Arc::clone(self));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending").finish_non_exhaustive()
    }
}

fn panicked(which: &str) -> Error {
    Error::new(ErrorKind::Io, format!("the {which} thread ended with a panic"))
        .next("report it as a bug; what was acknowledged is on disk")
}
