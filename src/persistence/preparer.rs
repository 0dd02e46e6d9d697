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
pub(super) const FIRST_SEGMENT_BYTES: u64 = 256 << 10;

/// Prepares one segment at a time, on request.
#[derive(Debug)]
pub(super) struct Preparer {
    request: Option<SyncSender<u64>>,
    ready: Receiver<Result<Prepared, Error>>,
    requested: bool,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    capacity_bytes: u64,
    prepared: u64,
}

impl Preparer {
    pub(super) fn start(
        vfs: &Arc<dyn Vfs>,
        dir: &Path,
        capacity_bytes: u64,
    ) -> std::io::Result<Self> {
        let (request, requests) = sync_channel::<u64>(1);
        let (finished, ready) = sync_channel(1);
        let stop = Arc::new(AtomicBool::new(false));
        let (on_disk, folder, stopped) = (Arc::clone(vfs), dir.to_owned(), Arc::clone(&stop));
        let thread =
            thread::Builder::new().name("peer-journal-prepare".into()).spawn(move || {
                for number in requests {
                    let path = folder.join(prepared_name(number));
                    let stop = || stopped.load(Ordering::Relaxed);
                    let vfs = on_disk.as_ref();
                    let prepared = Prepared::create(vfs, &path, capacity_bytes, &stop)
                        .and_then(|prepared| prepared.sync(vfs));
                    if finished.send(prepared).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            request: Some(request),
            ready,
            requested: false,
            stop,
            thread: Some(thread),
            vfs: Arc::clone(vfs),
            dir: dir.to_owned(),
            capacity_bytes,
            prepared: 0,
        })
    }

    /// Starts preparing one segment, unless one is ready or on its way.
    pub(super) fn request(&mut self) {
        if !self.requested {
            self.prepared = self.prepared.saturating_add(1);
            let sent = self.request.as_ref().map(|request| request.try_send(self.prepared));
            self.requested = matches!(sent, Some(Ok(())));
        }
    }

    /// A prepared segment: the one that was requested, or one made on the spot. The latter is
    /// small: somebody waits for it, and a rotation that comes this early leaves segments nearly
    /// empty anyway.
    pub(super) fn take(&mut self) -> Result<Prepared, Error> {
        if std::mem::take(&mut self.requested)
            && let Ok(Ok(prepared)) = self.ready.recv()
        {
            return Ok(prepared);
        }
        self.prepared = self.prepared.saturating_add(1);
        let path = self.dir.join(prepared_name(self.prepared));
        let small = FIRST_SEGMENT_BYTES.min(self.capacity_bytes);
        Prepared::create(self.vfs.as_ref(), &path, small, &|| false)
    }
}

/// Stops in the middle of zero-filling if need be, and leaves no file behind.
impl Drop for Preparer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.request = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the segment-preparing thread panicked");
        }
        for prepared in self.ready.try_iter().flatten() {
            prepared.discard(self.vfs.as_ref());
        }
    }
}
