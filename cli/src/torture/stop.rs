//! Ctrl-C or SIGTERM asks for an end after what is under way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::{Failure, signals::Signals};

/// True once somebody asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Waits for a signal on a thread of its own, which ends with the process. None that comes
    /// after the return is missed.
    pub(crate) fn on_signal() -> Result<Self, Failure> {
        let failed = |error| Failure::io("cannot wait for signals", error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let mut signals = runtime.block_on(async { Signals::catch() })?;
        let stop = Self::default();
        let asked = stop.clone();
        let wait = move || {
            runtime.block_on(signals.asked());
            asked.0.store(true, Ordering::Relaxed);
        };
        thread::Builder::new().name("signals".into()).spawn(wait).map_err(failed)?;
        Ok(stop)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
