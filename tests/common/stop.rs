//! Ends a thread that works beside a test.

use std::sync::atomic::{AtomicBool, Ordering};

/// Asks a thread beside a test to stop. A test that fails asks too: its scope would wait for that
/// thread for ever.
#[derive(Default)]
pub(crate) struct Stop(AtomicBool);

impl Stop {
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks when it is dropped.
    pub(crate) fn at_the_end(&self) -> impl Drop {
        struct AtTheEnd<'a>(&'a AtomicBool);
        impl Drop for AtTheEnd<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        AtTheEnd(&self.0)
    }
}
