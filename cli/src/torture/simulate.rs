//! Many simulated runs, each with a seed of its own, on two threads.

mod case;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use super::{
    stop::Stop,
    summary::{Loss, Simulated},
};
use crate::{Failure, out};

const THREADS: usize = 2;
/// After so many losses there is no need to look for more.
const LOSSES_MAX: usize = 10;
/// A case that lost something is run so often again, to see whether its seed alone decides.
const REPEATS: u32 = 10;
/// So many of them are.
const REPEATED_MAX: usize = 3;
const PROGRESS_EVERY: Duration = Duration::from_millis(200);

/// Runs the cases of the seeds from `seed` on and prints what they showed.
pub(crate) fn run(
    seed: u64,
    cases: u64,
    time: Option<Duration>,
    as_json: bool,
) -> Result<(), Failure> {
    let stop = Stop::on_signal()?;
    let begun = Instant::now();
    let all = Cases { seed, cases, time, begun, stop: &stop, next: AtomicU64::new(0) };
    let seen = Mutex::new(Seen::default());
    thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS)
            .map(|number| {
                let (all, seen) = (&all, &seen);
                scope.spawn(move || all.work(seen, number == 0))
            })
            .collect();
        let ended = workers.into_iter().map(|worker| {
            worker.join().unwrap_or_else(|_| Err(Failure::negative("a worker panicked")))
        });
        ended.fold(Ok(()), Result::and)
    })?;
    out::progress("");
    let Seen { sum, mut losses } = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    let elapsed = begun.elapsed();
    repeat(&mut losses)?;
    sum.print(seed, elapsed, &losses, as_json)?;
    if let Some(Loss { seed, what, again }) = losses.first() {
        return Err(Failure::negative(format!(
            "{what}\nTo see it again: peer-journal torture --simulate --seed {seed} --cases 1\n\
             (it came again {again} times of {REPEATS}: the store has threads, and their order may \
             matter)"
        )));
    }
    if stop.is_asked() { Err(Failure::interrupted()) } else { Ok(()) }
}

/// Runs some of the cases that lost something again; first comes what is seen again most often.
fn repeat(losses: &mut [Loss]) -> Result<(), Failure> {
    let runtime = runtime()?;
    losses.sort_unstable_by_key(|loss| loss.seed);
    for loss in losses.iter_mut().take(REPEATED_MAX) {
        for _ in 0..REPEATS {
            loss.again += u32::from(run_case(loss.seed, &runtime).is_err());
        }
    }
    losses.sort_by_key(|loss| std::cmp::Reverse(loss.again));
    Ok(())
}

fn runtime() -> Result<Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.map_err(|error| Failure::io("cannot start the runtime", error))
}

fn run_case(seed: u64, runtime: &Runtime) -> Result<Simulated, String> {
    let ran = catch_unwind(AssertUnwindSafe(|| case::run(seed, runtime)));
    ran.unwrap_or_else(|_| Err("a panic; its message is above".to_owned()))
}

#[derive(Debug, Default)]
struct Seen {
    sum: Simulated,
    losses: Vec<Loss>,
}

struct Cases<'a> {
    seed: u64,
    cases: u64,
    time: Option<Duration>,
    begun: Instant,
    stop: &'a Stop,
    next: AtomicU64,
}

impl Cases<'_> {
    /// Takes one case after the other until there are no more.
    fn work(&self, seen: &Mutex<Seen>, shows_progress: bool) -> Result<(), Failure> {
        let runtime = runtime()?;
        let mut shown = Instant::now();
        while !self.stop.is_asked() && self.time.is_none_or(|time| self.begun.elapsed() < time) {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.cases {
                break;
            }
            let seed = self.seed.wrapping_add(number);
            let ran = run_case(seed, &runtime);
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            match ran {
                Ok(counts) => seen.sum.add(&counts),
                Err(what) => {
                    seen.sum.cases += 1;
                    seen.losses.push(Loss { seed, what, again: 0 });
                }
            }
            if seen.losses.len() >= LOSSES_MAX {
                break;
            }
            if shows_progress && shown.elapsed() > PROGRESS_EVERY {
                shown = Instant::now();
                let losses = seen.losses.len();
                out::progress(&format!("{} cases, {losses} lost something", seen.sum.cases));
            }
        }
        Ok(())
    }
}
