//! Ctrl-C asks for an end after what is under way.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::channel,
    },
    task::Poll,
    thread,
};

use crate::Failure;

/// True once Ctrl-C was pressed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Waits for Ctrl-C on a thread of its own, which ends with the process. None that comes after
    /// the return is missed.
    pub(crate) fn on_ctrl_c() -> Result<Self, Failure> {
        let failed = |error| Failure::io("cannot wait for Ctrl-C", error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let stop = Self::default();
        let asked = stop.clone();
        let (caught, is_caught) = channel::<()>();
        let waiting = async move {
            let mut pressed = pin!(tokio::signal::ctrl_c());
            // The first poll installs the handler; until then the process would end at once.
            let first = poll_fn(|context| Poll::Ready(pressed.as_mut().poll(context))).await;
            drop(caught);
            let pressed = match first {
                Poll::Ready(pressed) => pressed,
                Poll::Pending => pressed.await,
            };
            // Where there are no signals nobody can ask.
            if pressed.is_ok() {
                asked.0.store(true, Ordering::Relaxed);
            }
        };
        thread::Builder::new()
            .name("ctrl-c".into())
            .spawn(move || runtime.block_on(waiting))
            .map_err(failed)?;
        // Ends with an error, when the other end is dropped.
        is_caught.recv().unwrap_or_default();
        Ok(stop)
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
