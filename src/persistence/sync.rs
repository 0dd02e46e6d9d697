//! Threads, locks and the steady clock, from one place: the standard library's, or those of a model
//! checker that runs the very same code in one schedule after another (`tests/model`).
//!
//! The feature `model` exists in the package of that check only, never in this one.

#[cfg(not(feature = "model"))]
pub(super) use std::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64},
        mpsc,
    },
    thread,
    time::Instant,
};

#[cfg(feature = "model")]
pub(super) use model::{Instant, thread};
#[cfg(feature = "model")]
pub(super) use shuttle::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64},
    mpsc,
};

/// What the checker does not have: time. It passes only while somebody sleeps.
#[cfg(feature = "model")]
mod model {
    use std::{cell::Cell, time::Duration};

    std::thread_local! {
        /// All threads of one schedule share one thread of the operating system.
        static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    /// A moment of the model's time.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
    pub(in crate::persistence) struct Instant(Duration);

    impl Instant {
        pub(in crate::persistence) fn now() -> Self {
            Self(NOW.get())
        }

        pub(in crate::persistence) fn elapsed(self) -> Duration {
            Self::now().saturating_duration_since(self)
        }

        pub(in crate::persistence) fn saturating_duration_since(self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }

        pub(in crate::persistence) fn checked_add(self, time: Duration) -> Option<Self> {
            self.0.checked_add(time).map(Self)
        }
    }

    pub(in crate::persistence) mod thread {
        use super::{Duration, NOW};

        pub(in crate::persistence) use shuttle::thread::{
            Builder, JoinHandle, Thread, current, park,
        };

        /// Timeouts from here on never fire: then nothing but a wake-up ends a sleep, and a lost
        /// one is a deadlock that the checker reports. Shorter ones fire as soon as others have had
        /// a chance to run.
        const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

        pub(in crate::persistence) fn park_timeout(time: Duration) {
            if time >= NEVER {
                return park();
            }
            shuttle::thread::yield_now();
            NOW.set(NOW.get().saturating_add(time));
        }
    }
}
