//! Two halves of the reading side by side. The one file of the snapshots with a thread in it,
//! which ends before the call that starts it returns.

use std::{
    panic::resume_unwind,
    thread::{self, Builder},
};

/// Whether two threads are faster than one on this machine.
pub(super) fn is_worth_it() -> bool {
    thread::available_parallelism().is_ok_and(|threads| threads.get() > 1)
}

/// Does one thing here and the other one beside it; one after the other if there is no thread to be
/// had. `there` is called once.
pub(super) fn both<A, B: Send>(
    here: impl FnOnce() -> A,
    there: impl FnMut() -> B + Send,
) -> (A, B) {
    let thread = Builder::new().name("peer-journal-read".to_owned());
    both_with(thread, here, there)
}

fn both_with<A, B: Send>(
    thread: Builder,
    here: impl FnOnce() -> A,
    mut there: impl FnMut() -> B + Send,
) -> (A, B) {
    let (here, done) = thread::scope(|scope| {
        let thread = thread.spawn_scoped(scope, &mut there).ok();
        let here = here();
        let done = thread.map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (here, done)
    });
    (here, done.unwrap_or_else(there))
}

#[cfg(test)]
mod tests {
    use std::{panic::catch_unwind, thread::ThreadId};

    use super::*;

    fn name() -> Option<String> {
        thread::current().name().map(str::to_owned)
    }

    #[test]
    fn the_other_half_is_done_by_a_thread_of_its_own() {
        let (here, there) = both(name, name);
        assert_eq!(here, name());
        assert_eq!(there.as_deref(), Some("peer-journal-read"));
    }

    /// No machine has so large a stack.
    #[cfg(target_os = "linux")]
    #[test]
    fn without_a_thread_to_be_had_both_are_done_here() {
        let huge = Builder::new().stack_size(usize::MAX / 4);
        let id = || thread::current().id();
        let mut calls = 0;
        let (here, there): (ThreadId, ThreadId) = both_with(huge, id, || {
            calls += 1;
            id()
        });
        assert_eq!((here, there, calls), (id(), id(), 1));
    }

    #[test]
    fn a_panic_beside_is_a_panic_here() {
        let panic = catch_unwind(|| both(|| 1, || assert_eq!(1, 2, "broken"))).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("broken"));
    }
}
