//! The auto-saver: a timer that asks for a compaction.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::task::JoinHandle;

use super::{P2PStatePersistence, Shared, engine::Engine, offload, sync::AtomicBool};
use crate::{Error, ErrorKind};

/// A running auto-saver.
#[derive(Debug)]
pub(super) struct AutoSave {
    stopped: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl AutoSave {
    fn start(runtime: &tokio::runtime::Handle, engine: Arc<Engine>, every: Duration) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopped);
        let task = runtime.spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let (store, stop) = (Arc::clone(&engine), Arc::clone(&stop));
                match offload(move || store.tick(stop)).await {
                    Ok(Err(error)) if error.kind() == ErrorKind::Closed => return,
                    Err(_) => return,
                    // A failure was logged where it happened; the next tick tries again.
                    Ok(_) => {}
                }
            }
        });
        Self { stopped, task }
    }

    /// No save begins after this; one may be under way.
    pub(super) fn abort(self) {
        self.stopped.store(true, Ordering::Release);
        self.task.abort();
    }
}

impl P2PStatePersistence {
    pub(super) fn start_auto_saver(&self) -> Result<(), Error> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|error| {
            Error::invalid("the auto-saver needs a tokio runtime")
                .next("call start_auto_save from inside one, or call save_state yourself")
                .because(error)
        })?;
        let engine = Arc::clone(self.engine()?);
        let shared: &Shared = self.shared();
        let mut running = shared.auto_save.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_none_or(|running| running.task.is_finished()) {
            let every = shared.options.auto_save_every;
            *running = Some(AutoSave::start(&runtime, engine, every));
        }
        Ok(())
    }

    /// When it returns no auto-save is running and none will start.
    pub(super) async fn stop_auto_saver(&self) {
        let shared = Arc::clone(&self.shared);
        let running = shared.auto_save.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(auto_save) = running {
            auto_save.abort();
        }
        if let Some(engine) = shared.engine.get() {
            let engine = Arc::clone(engine);
            // Saves come one after the other, so a save under way ends before this does. A store
            // that is closed runs none.
            offload(move || engine.barrier().ok()).await.ok();
        }
    }
}
