//! The calls of the system that this crate replaces, with their old names and meanings.

use std::{path::PathBuf, sync::Arc};

use super::{Builder, P2PStatePersistence, engine::Engine, inspect::read_only_state, offload};
use crate::{
    Error, ErrorKind, Result,
    state::{P2PState, State},
};

impl P2PStatePersistence {
    /// A handle on `~/.ggen/p2p-state.json`. The store is opened by the first call that needs it.
    ///
    /// # Errors
    /// If there is no home folder, or the folder cannot be created.
    pub fn new() -> Result<Self> {
        let home =
            std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).ok_or_else(|| {
                Error::invalid("this user has no home folder")
                    .next("name the state file: new_with_path")
            })?;
        Self::new_with_path(home.join(".ggen").join("p2p-state.json"))
    }

    /// A handle on this state file. Creates the parent folder; the store is opened, and locked, by
    /// the first call that needs it.
    ///
    /// # Errors
    /// If the folder cannot be created or the path has no file name.
    pub fn new_with_path(state_file: PathBuf) -> Result<Self> {
        Ok(Builder::new(state_file).open_on_first_use()?)
    }

    /// The state: of this handle if it has the store open, else from disk. A missing file gives the
    /// default state. While another handle holds the store this is a read-only load that changes
    /// nothing on disk.
    ///
    /// # Errors
    /// If the files cannot be read, or were written by a newer version.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn load_state(&self) -> Result<P2PState> {
        let shared = Arc::clone(&self.shared);
        let loaded = offload(move || match shared.engine() {
            Ok(engine) => Ok(rows(engine)),
            Err(error) if may_read_only(&error) => read_only_state(&shared.options),
            Err(error) => Err(error),
        });
        Ok(loaded.await??)
    }

    /// Compaction now: writes the snapshot file. Durable when it returns.
    ///
    /// # Errors
    /// If another handle holds the store, or the disk refuses.
    ///
    /// # Cancel safety
    /// Once polled, the save goes on even if the future is dropped.
    pub async fn save_state(&self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        offload(move || shared.engine()?.compact()).await??;
        Ok(())
    }

    /// Makes `new_state` the state: journals the difference as one record, all or nothing, and
    /// returns when it is durable. What the old rows do not carry (bans, profiles) stays. Of rows
    /// with the same id the last one counts. A difference too large for one record becomes durable
    /// by a snapshot.
    ///
    /// # Errors
    /// If another handle holds the store, a limit is broken, `new_state` is of a newer version, or
    /// the disk refuses.
    ///
    /// # Cancel safety
    /// Once polled, the update is made even if the future is dropped.
    pub async fn update_state(&self, new_state: P2PState) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        offload(move || update(shared.engine()?, new_state)).await??;
        Ok(())
    }

    /// The state in memory, with everything appended so far. Otherwise as
    /// [`load_state`](Self::load_state).
    ///
    /// # Errors
    /// As for [`load_state`](Self::load_state).
    pub async fn get_state(&self) -> Result<P2PState> {
        self.load_state().await
    }

    /// Starts the auto-saver: every 60 s (see [`Builder::auto_save_every`]) it compacts the journal
    /// into a fresh snapshot, if anything changed. A second call does nothing.
    ///
    /// # Errors
    /// Outside a tokio runtime; if another handle holds the store; if it cannot be opened.
    pub async fn start_auto_save(&self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        offload(move || shared.engine().map(|_| ())).await??;
        Ok(self.start_auto_saver()?)
    }

    /// Stops the auto-saver. When it returns no auto-save is running and none will start.
    pub async fn stop_auto_save(&self) {
        self.stop_auto_saver().await;
    }

    /// Stops the auto-saver and writes a last snapshot. The handle stays usable.
    ///
    /// # Errors
    /// As for [`save_state`](Self::save_state).
    ///
    /// # Cancel safety
    /// Once polled, the save goes on even if the future is dropped.
    pub async fn persist_on_shutdown(&self) -> Result<()> {
        self.stop_auto_saver().await;
        self.save_state().await
    }
}

/// A store that may not be written can still be read.
fn may_read_only(error: &Error) -> bool {
    use std::io::ErrorKind as Io;
    error.is_locked()
        || (error.kind() == ErrorKind::Io
            && matches!(error.io_kind(), Some(Io::PermissionDenied | Io::ReadOnlyFilesystem)))
}

fn rows(engine: &Engine) -> P2PState {
    let (state, _) = engine.queue.view();
    state.to_rows(engine.jobs.status.saved_at())
}

fn update(engine: &Engine, new_state: P2PState) -> Result<(), Error> {
    let appended = loop {
        match engine.queue.append_derived(|state| state.changes_to(&new_state)) {
            // Room comes with whatever is on its way to the disk; a failure there is for its
            // waiters.
            Err(error) if error.kind() == ErrorKind::Full => drop(engine.queue.ack().wait()),
            appended => break appended?,
        }
    };
    match appended {
        Some(ack) => ack.wait().map(|_| ()),
        None => {
            let derive = move |state: &State| {
                let mut next = state.clone();
                next.apply_all(&state.changes_to(&new_state)?)?;
                Ok(next)
            };
            engine.replace(derive).map(|_| ())
        }
    }
}
