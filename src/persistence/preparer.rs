//! The thread that makes the next segment ready while the open one fills.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use super::sync::{
    AtomicBool,
    mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};
use crate::{
    Error,
    journal::{name::prepared_name, segment::Prepared},
    vfs::Vfs,
};

/// Size of a segment that is made while somebody waits: at opening, and for an early rotation.
pub(super) const FIRST_SEGMENT_BYTES: u64 = 64 << 10;

/// Prepares one segment at a time, on request.
#[derive(Debug)]
pub(super) struct Preparer {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    capacity_bytes: u64,
    /// Files named so far.
    named: u64,
    /// A segment is ready or on its way.
    requested: bool,
    /// Started with the first request: a store that is opened for a few changes needs none.
    worker: Option<Worker>,
}

impl Preparer {
    pub(super) fn new(vfs: &Arc<dyn Vfs>, dir: &Path, capacity_bytes: u64) -> Self {
        let (vfs, dir) = (Arc::clone(vfs), dir.to_owned());
        Self { vfs, dir, capacity_bytes, named: 0, requested: false, worker: None }
    }

    /// Starts preparing one segment, unless one is ready or on its way.
    pub(super) fn request(&mut self) {
        if self.requested {
            return;
        }
        let path = self.next_path();
        if self.worker.is_none() {
            match Worker::start(&self.vfs, self.capacity_bytes) {
                Ok(worker) => self.worker = Some(worker),
                // Segments are made on the spot then, and the next request tries again.
                Err(error) => tracing::warn!(%error, "cannot start the segment-preparing thread"),
            }
        }
        self.requested = self.worker.as_ref().is_some_and(|worker| worker.request(path));
    }

    /// A prepared segment: the one that was requested, or one made on the spot. The latter is
    /// small: somebody waits for it, and a rotation that comes this early leaves segments nearly
    /// empty anyway.
    pub(super) fn take(&mut self) -> Result<Prepared, Error> {
        if std::mem::take(&mut self.requested)
            && let Some(prepared) = self.worker.as_ref().and_then(Worker::finished)
        {
            return Ok(prepared);
        }
        let path = self.next_path();
        let small = FIRST_SEGMENT_BYTES.min(self.capacity_bytes);
        Prepared::create(self.vfs.as_ref(), &path, small, &|| false)
    }

    fn next_path(&mut self) -> PathBuf {
        self.named = self.named.saturating_add(1);
        self.dir.join(prepared_name(self.named))
    }
}

/// The thread.
#[derive(Debug)]
struct Worker {
    /// Taken when the thread is to end.
    requests: Option<SyncSender<PathBuf>>,
    ready: Receiver<Result<Prepared, Error>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    vfs: Arc<dyn Vfs>,
}

impl Worker {
    fn start(vfs: &Arc<dyn Vfs>, capacity_bytes: u64) -> std::io::Result<Self> {
        let (requests, requested) = sync_channel::<PathBuf>(1);
        let (finished, ready) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let (on_disk, stopped) = (Arc::clone(vfs), Arc::clone(&stop));
        let thread =
            thread::Builder::new().name("peer-journal-prepare".into()).spawn(move || {
                for path in requested {
                    let stop = || stopped.load(Ordering::Relaxed);
                    let vfs = on_disk.as_ref();
                    let prepared = Prepared::create(vfs, &path, capacity_bytes, &stop)
                        .and_then(|prepared| prepared.sync(vfs));
                    if finished.send(prepared).is_err() {
                        return;
                    }
                }
            })?;
        let (requests, thread) = (Some(requests), Some(thread));
        Ok(Self { requests, ready, stop, thread, vfs: Arc::clone(vfs) })
    }

    fn request(&self, path: PathBuf) -> bool {
        self.requests.as_ref().is_some_and(|requests| requests.try_send(path).is_ok())
    }

    /// Waits for what was requested. `None` if it failed.
    fn finished(&self) -> Option<Prepared> {
        self.ready.recv().ok()?.ok()
    }
}

/// Stops in the middle of zero-filling if need be, and leaves no file behind.
impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.requests = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the segment-preparing thread panicked");
        }
        for prepared in self.ready.try_iter().flatten() {
            prepared.discard(self.vfs.as_ref());
        }
    }
}
