//! Threads, locks and the steady clock, from one place: the standard library's, or those of a model
//! checker that runs the very same code in one schedule after another (`tests/model`).
//!
//! The feature `model` exists in the package of that check only, never in this one.

use std::ops::{Deref, DerefMut};
use std::sync::{PoisonError, TryLockError};
#[cfg(not(feature = "model"))]
pub(super) use std::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize},
        mpsc,
    },
    thread,
    time::Instant,
};

#[cfg(feature = "model")]
pub(super) use model::{APPLIER_LOOKS, APPLIER_PEERS, Instant, LEFT_MAX, lock_short, thread};
#[cfg(feature = "model")]
pub(super) use shuttle::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, AtomicUsize},
    mpsc,
};

/// Tries that are a few nanoseconds apart at first and up to half a microsecond later: some
/// microseconds in all.
#[cfg(not(feature = "model"))]
const TRIES: u32 = 16;
#[cfg(not(feature = "model"))]
const PAUSES_MAX: u32 = 16;

/// Peers from which on a snapshot has a thread beside it that applies changes.
#[cfg(not(feature = "model"))]
pub(super) const APPLIER_PEERS: usize = 4096;
/// Times that the applying thread looks for more, and lets others run, before it sleeps.
#[cfg(not(feature = "model"))]
pub(super) const APPLIER_LOOKS: u32 = 30;
/// Changes that are left to that thread before an append applies some, too.
#[cfg(not(feature = "model"))]
pub(super) const LEFT_MAX: usize = 64;

/// Takes a lock that is seldom held for long, by trying again and again before it sleeps.
///
/// The standard mutex sleeps at once where another thread does already, and whoever holds it then
/// pays for waking that one: two threads that append without a pause would do little else.
#[cfg(not(feature = "model"))]
pub(super) fn lock_short<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    let mut pauses: u32 = 1;
    for _ in 0..TRIES {
        if let Some(guard) = try_lock(mutex) {
            return guard;
        }
        for _ in 0..pauses {
            std::hint::spin_loop();
        }
        pauses = pauses.saturating_mul(2).min(PAUSES_MAX);
    }
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes a lock if nobody has it.
pub(super) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(guard) => Some(guard),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// What wakes one thread.
#[derive(Debug, Default)]
pub(super) struct Bell(Mutex<Option<thread::Thread>>);

impl Bell {
    /// This thread is woken from now on.
    pub(super) fn set(&self, thread: thread::Thread) {
        *self.lock() = Some(thread);
    }

    /// Wakes the thread, if there is one.
    pub(super) fn ring(&self) {
        if let Some(thread) = self.lock().as_ref() {
            thread.unpark();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<thread::Thread>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// On a cache line of its own, away from what other threads write.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Apart<T>(pub(super) T);

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Apart<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

/// What the checker does not have: time. It passes only while somebody sleeps.
#[cfg(feature = "model")]
mod model {
    use std::{cell::Cell, sync::PoisonError, time::Duration};

    use super::{Mutex, MutexGuard};

    /// A try is no event of its own to the checker, and would only make schedules longer.
    pub(in crate::persistence) fn lock_short<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::persistence) const APPLIER_PEERS: usize = 1;
    /// Few, so that schedules are short.
    pub(in crate::persistence) const APPLIER_LOOKS: u32 = 1;
    pub(in crate::persistence) const LEFT_MAX: usize = 20;

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
            Builder, JoinHandle, Thread, ThreadId, current, park, yield_now,
        };

        /// Timeouts from here on never fire: then nothing but a wake-up ends a sleep, and a lost
        /// one is a deadlock that the checker reports. Shorter ones fire as soon as others have had
        /// a chance to run.
        const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

        pub(in crate::persistence) fn park_timeout(time: Duration) {
            if time >= NEVER {
                return park();
            }
            yield_now();
            NOW.set(NOW.get().saturating_add(time));
        }
    }
}
