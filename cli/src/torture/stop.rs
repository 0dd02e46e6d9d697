//! Ctrl-C asks for an end after what is under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::Failure;

/// True once Ctrl-C was pressed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Waits for Ctrl-C on a thread of its own, which ends with the process.
    pub(crate) fn on_ctrl_c() -> Result<Self, Failure> {
        let failed = |error| Failure::io("cannot wait for Ctrl-C", error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let stop = Self::default();
        let asked = stop.clone();
        thread::Builder::new()
            .name("ctrl-c".into())
            .spawn(move || {
                // Where there are no signals nobody can ask.
                if runtime.block_on(tokio::signal::ctrl_c()).is_ok() {
                    asked.0.store(true, Ordering::Relaxed);
                }
            })
            .map_err(failed)?;
        Ok(stop)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
