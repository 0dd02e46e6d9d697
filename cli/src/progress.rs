//! A line on the terminal that tells how far a long job is.

use std::{
    io::{self, Write},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::console::Console;

/// A job that is done by then says nothing.
const QUIET: Duration = Duration::from_millis(500);
const REDRAW: Duration = Duration::from_millis(100);

/// How far a job is. It is shown on standard error, if that is a terminal, after half a second.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: u64,
    begun: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    /// A job with this many steps; zero if nobody knows.
    #[must_use]
    pub fn new(what: &'static str, total: u64) -> Self {
        Self { what, total, begun: Instant::now(), drawn: None }
    }

    /// So many steps are done.
    pub fn at(&mut self, console: &mut Console, done: u64) {
        if !console.shows_progress || self.begun.elapsed() < QUIET {
            return;
        }
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let share = done.saturating_mul(100).checked_div(self.total);
        match share {
            Some(share) => {
                let share = share.min(100);
                console.passing(format_args!("\r\u{1b}[K{} {share} %", self.what));
            }
            None => console.passing(format_args!("\r\u{1b}[K{} {done}", self.what)),
        }
    }

    /// The job is done: the line goes.
    pub fn end(self, console: &mut Console) {
        if self.drawn.is_some() {
            console.passing("\r\u{1b}[K");
        }
    }
}

/// Does a job that cannot say how far it is. After half a second the terminal, if there is one,
/// tells what is being done and for how long.
pub fn during<T>(console: &Console, what: &str, job: impl FnOnce() -> T) -> T {
    if !console.shows_progress {
        return job();
    }
    let (done, waits) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || tell(what, &waits));
        let result = job();
        // The teller ends when nobody can end the job any more.
        drop(done);
        result
    })
}

/// Tells until the other end of the channel is gone.
fn tell(what: &str, job: &mpsc::Receiver<()>) {
    let begun = Instant::now();
    let mut pause = QUIET;
    let mut stderr = io::stderr();
    let mut say = |text: &str| {
        // Progress that cannot be shown is no reason to stop.
        write!(stderr, "\r\u{1b}[K{text}").and_then(|()| stderr.flush()).unwrap_or_default();
    };
    while job.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        pause = REDRAW;
        let tenths = begun.elapsed().as_millis() / 100;
        say(&format!("{what} {}.{} s", tenths / 10, tenths % 10));
    }
    if pause == REDRAW {
        say("");
    }
}
