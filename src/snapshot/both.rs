//! Two things side by side. The one file of the snapshots with a thread in it, which ends before
//! the call that starts it returns.

use std::{
    panic::resume_unwind,
    sync::mpsc::channel,
    thread::{self, Builder},
};

/// Whether two threads are faster than one on this machine.
pub(super) fn is_worth_it() -> bool {
    thread::available_parallelism().is_ok_and(|threads| threads.get() > 1)
}

/// Does one thing here and the other one in a thread of this name beside it; one after the other if
/// there is no thread to be had. `there` is called once.
pub(super) fn both<A, B: Send>(
    name: &str,
    here: impl FnOnce() -> A,
    there: impl FnMut() -> B + Send,
) -> (A, B) {
    both_with(Builder::new().name(name.to_owned()), here, there)
}

/// As [`both`]: beside what is done here, `there` follows how far that is. It asks for the latest
/// number that was told, and gets `None` when all is done here. To tell is false when `there` has
/// ended, be it early.
pub(super) fn both_and_follow<A, B: Send>(
    name: &str,
    here: impl FnOnce(&dyn Fn(u64) -> bool) -> A,
    mut there: impl FnMut(&dyn Fn() -> Option<u64>) -> B + Send,
) -> (A, B) {
    let (told, numbers) = channel();
    let mut numbers = Some(numbers);
    let here = || {
        // Gone when this returns: then no number follows.
        let told = told;
        here(&|number| told.send(number).is_ok())
    };
    both(name, here, || {
        let numbers = numbers.take();
        there(&|| {
            let numbers = numbers.as_ref()?;
            let first = numbers.recv().ok()?;
            Some(numbers.try_iter().last().unwrap_or(first))
        })
    })
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
        let (here, there) = both("peer-journal-there", name, name);
        assert_eq!(here, name());
        assert_eq!(there.as_deref(), Some("peer-journal-there"));
    }

    #[test]
    fn what_is_told_is_followed_to_the_last() {
        for last in [0, 1, 2, 1000] {
            let here = |tell: &dyn Fn(u64) -> bool| (1..=last).all(tell);
            let (told, heard) = both_and_follow("there", here, |next| {
                std::iter::from_fn(next).inspect(|_| thread::yield_now()).collect::<Vec<_>>()
            });
            assert!(told);
            assert!(heard.is_sorted_by(|one, next| one < next), "{heard:?}");
            assert_eq!(heard.last().copied().unwrap_or(0), last);
        }
    }

    #[test]
    fn who_tells_learns_that_nobody_follows_any_more() {
        let here = |tell: &dyn Fn(u64) -> bool| {
            while tell(7) {
                thread::yield_now();
            }
        };
        assert_eq!(both_and_follow("there", here, |next| next()), ((), Some(7)));
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
        let panic =
            catch_unwind(|| both("there", || 1, || assert_eq!(1, 2, "broken"))).unwrap_err();
        assert!(panic.downcast_ref::<String>().unwrap().contains("broken"));
    }
}
