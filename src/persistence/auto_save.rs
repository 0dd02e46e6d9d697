//! The auto-saver: a timer that asks for a compaction.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use super::{P2PStatePersistence, Shared, engine::Engine, offload};
use crate::{Error, ErrorKind};

/// A running auto-saver.
#[derive(Debug)]
pub(super) struct AutoSave {
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl AutoSave {
    fn start(runtime: &tokio::runtime::Handle, engine: Arc<Engine>, every: Duration) -> Self {
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let task = runtime.spawn(async move {
            loop {
                let next = Instant::now() + every;
                if timeout_at(next, stopped.notified()).await.is_ok() {
                    return;
                }
                let store = Arc::clone(&engine);
                match offload(move || store.tick()).await {
                    Ok(Err(error)) if error.kind() == ErrorKind::Closed => return,
                    Err(_) => return,
                    // A failure was logged where it happened; the next tick tries again.
                    Ok(_) => {}
                }
            }
        });
        Self { stop, task }
    }

    pub(super) fn abort(self) {
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
        let shared: &Shared = self.shared();
        let running = shared.auto_save.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(AutoSave { stop, task }) = running {
            stop.notify_one();
            if let Err(error) = task.await {
                tracing::debug!(%error, "the auto-saver had ended already");
            }
        }
    }
}
