//! The handle, and all threads and locks.
//!
//! Reading order, the life of a change: [`journaled`] (append, views), [`queue`] (check, number,
//! apply, gather), [`progress`] (the acknowledgement), [`commit`] (write, sync, rotate),
//! [`preparer`] (the next segment), [`compact`] (snapshot and deletion), [`engine`] (from open to
//! close). [`state_api`] holds the calls of the system that this crate replaces, [`auto_save`] the
//! 60 s timer, [`changes`] the stream for followers, [`inspect`] reading without a lock, [`sync`]
//! where threads and locks come from.

mod auto_save;
mod batch;
mod changes;
mod commit;
mod compact;
mod ending;
mod engine;
mod folders;
pub(crate) mod holder;
pub(crate) mod inspect;
mod jobs;
mod journaled;
pub(crate) mod options;
mod preparer;
mod progress;
mod queue;
mod state_api;
mod status;
mod sync;
mod typed;
mod view;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, OnceLock, PoisonError},
};

use crate::Error;

use auto_save::AutoSave;
use engine::Engine;
use sync::Mutex;

pub use changes::{Changes, Recorded};
pub use holder::Holder;
pub use inspect::{Inspection, inspect, seal_snapshot};
pub use options::Builder;
pub use progress::Ack;
pub use status::Status;
pub use view::View;

/// The one handle on a store: the journaled calls and the calls of the system it replaces.
///
/// It is cheap to clone and may be shared between threads and tasks. Made by [`open`](Self::open)
/// or [`builder`](Self::builder), the store is open when the call returns. Made by
/// [`new`](Self::new) or [`new_with_path`](Self::new_with_path), it is opened, and locked, by the
/// first call that needs it; that one call touches the disk.
///
/// # Closing
/// Dropping the last clone syncs what is unsynced and releases the lock before it returns, which
/// takes about one sync. [`close`](Self::close) does the same and reports errors.
///
/// # Panics
/// No call panics.
#[derive(Clone, Debug)]
pub struct P2PStatePersistence {
    shared: Arc<Shared>,
}

/// What the clones of one handle share.
#[derive(Debug)]
pub(crate) struct Shared {
    options: Builder,
    engine: OnceLock<Arc<Engine>>,
    /// True once the handle was closed.
    opening: Mutex<bool>,
    auto_save: Mutex<Option<AutoSave>>,
}

impl P2PStatePersistence {
    /// Opens the store of `state_file` with default options, or makes a new one.
    ///
    /// # Errors
    /// As for [`Builder::open`].
    pub fn open(state_file: impl AsRef<Path>) -> Result<Self, Error> {
        Self::builder(state_file).open()
    }

    /// Options for the store of `state_file`. Its journal is kept in a folder beside it: for
    /// `p2p-state.json` that is `p2p-state.journal`.
    pub fn builder(state_file: impl AsRef<Path>) -> Builder {
        Builder::new(state_file.as_ref().to_owned())
    }

    /// The snapshot file: what people open and read.
    #[must_use]
    pub fn state_file(&self) -> &Path {
        &self.shared.options.state_file
    }

    /// The folder with the journal, the fallback snapshot, the lock and the quarantine.
    #[must_use]
    pub fn journal_dir(&self) -> PathBuf {
        crate::snapshot::name::journal_dir(&self.shared.options.state_file)
    }

    /// Syncs what is unsynced, ends the journal, stops the threads and releases the lock. Later
    /// calls on this handle and its clones return [`ErrorKind::Closed`](crate::ErrorKind::Closed).
    ///
    /// # Errors
    /// If the disk refused the last changes: they are lost when the process ends.
    ///
    /// # Cancel safety
    /// Once polled, the closing goes on even if the future is dropped.
    pub async fn close(&self) -> Result<(), Error> {
        self.stop_auto_save().await;
        let shared = Arc::clone(&self.shared);
        offload(move || shared.close()).await?
    }

    fn from_builder(options: Builder) -> Self {
        let shared = Shared {
            options,
            engine: OnceLock::new(),
            opening: Mutex::new(false),
            auto_save: Mutex::new(None),
        };
        Self { shared: Arc::new(shared) }
    }

    fn shared(&self) -> &Shared {
        &self.shared
    }

    fn engine(&self) -> Result<&Arc<Engine>, Error> {
        self.shared.engine()
    }
}

impl Shared {
    /// The open store; opens it if this is the first use.
    fn engine(&self) -> Result<&Arc<Engine>, Error> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let closed = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        if *closed {
            return Err(progress::closed());
        }
        let engine = Arc::new(Engine::open(&self.options)?);
        Ok(self.engine.get_or_init(|| engine))
    }

    fn close(&self) -> Result<(), Error> {
        *self.opening.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.engine.get().map_or(Ok(()), |engine| engine.close())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // Its task must not outlive the store; it holds no handle, so it ends by itself too.
        let auto_save = self.auto_save.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(auto_save) = auto_save {
            auto_save.abort();
        }
        if let Err(error) = self.close() {
            tracing::error!(error = format!("{error:#}"), "the store was not closed cleanly");
        }
    }
}

/// Runs a blocking call where it does not hold up other tasks: on the runtime's threads for
/// blocking work, or right here when there is no runtime.
async fn offload<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => runtime.spawn_blocking(call).await.map_err(|error| {
            Error::new(crate::ErrorKind::Closed, "the runtime ended while the disk was asked")
                .because(error)
        }),
        Err(_) => Ok(call()),
    }
}
