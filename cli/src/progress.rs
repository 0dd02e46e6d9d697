//! A line on the terminal that tells how far a long job is.

use std::{
    env,
    io::{self, Write},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::{
    console::Console,
    reads::{Files, Reads},
};

/// A job that is done by then says nothing.
const QUIET: Duration = Duration::from_millis(500);
const REDRAW: Duration = Duration::from_millis(100);
/// A bar that is shorter tells nothing, a longer one nothing more.
const BAR_LEAST: usize = 8;
const BAR_MOST: usize = 40;
/// Columns of a terminal that does not tell.
const COLUMNS: usize = 80;

/// How far a job is. It is shown on standard error, if that is a terminal, after half a second.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: u64,
    begun: Instant,
    drawn: Option<Instant>,
}

impl Progress {
    /// A job with this many steps.
    #[must_use]
    pub fn new(what: &'static str, total: u64) -> Self {
        Self { what, total, begun: Instant::now(), drawn: None }
    }

    /// So many steps are done.
    pub fn at(&mut self, console: &mut Console, done: u64) {
        if !console.shows_progress() || self.begun.elapsed() < QUIET {
            return;
        }
        if self.drawn.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let text = line(self.what, share(done, self.total), self.begun.elapsed(), columns());
        console.passing(format_args!("\r\u{1b}[K{text}"));
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
    if !console.shows_progress() {
        return job();
    }
    told(what, &|| None, job)
}

/// Does a job that reads these files through [`Console::disk`]. After half a second the terminal,
/// if there is one, tells which share of them has been read; what a job reads twice counts once.
/// What it does after that takes as long as it takes.
pub fn reading<T>(console: &Console, what: &str, files: &Files<'_>, job: impl FnOnce() -> T) -> T {
    let Some(reads) = console.reads() else { return job() };
    reads.begin(files);
    told(what, &|| Reads::share(reads), job)
}

fn told<T>(what: &str, share: &(dyn Fn() -> Option<u8> + Sync), job: impl FnOnce() -> T) -> T {
    let (done, waits) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || tell(what, share, &waits));
        let result = job();
        // The teller ends when nobody can end the job any more.
        drop(done);
        result
    })
}

/// Tells until the other end of the channel is gone.
fn tell(what: &str, share: &dyn Fn() -> Option<u8>, job: &mpsc::Receiver<()>) {
    let begun = Instant::now();
    let mut pause = QUIET;
    let mut stderr = io::stderr();
    let mut say = |text: &str| {
        // Progress that cannot be shown is no reason to stop.
        write!(stderr, "\r\u{1b}[K{text}").and_then(|()| stderr.flush()).unwrap_or_default();
    };
    while job.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
        pause = REDRAW;
        say(&line(what, share(), begun.elapsed(), columns()));
    }
    if pause == REDRAW {
        say("");
    }
}

/// Per cent of the total, rounded down; `None` if there is none, or nothing is left to do.
pub(crate) fn share(done: u64, total: u64) -> Option<u8> {
    if done >= total {
        return None;
    }
    u8::try_from(u128::from(done) * 100 / u128::from(total)).ok()
}

/// One line, short enough to be written over: what is being done, and how far it is or how long it
/// takes.
fn line(what: &str, share: Option<u8>, elapsed: Duration, columns: usize) -> String {
    // A terminal wraps a line that fills it, and a wrapped one stays.
    let room = columns.saturating_sub(1);
    let mut line = match share {
        Some(share) => format!("{what} {share:>2} %"),
        None => {
            let tenths = elapsed.as_millis() / 100;
            format!("{what} {}.{} s", tenths / 10, tenths % 10)
        }
    };
    if let Some(share) = share {
        let bar = room.saturating_sub(line.len() + 3).min(BAR_MOST);
        if bar >= BAR_LEAST {
            let full = bar * usize::from(share) / 100;
            line.push_str(&format!(" [{}{}]", "#".repeat(full), ".".repeat(bar - full)));
        }
    }
    line.truncate(room);
    line
}

/// `COLUMNS` wins, as for what goes to standard output.
fn columns() -> usize {
    let said = env::var("COLUMNS").ok().and_then(|text| text.trim().parse().ok());
    said.filter(|columns| *columns > 0)
        .or_else(|| Some(usize::from(terminal_size::terminal_size_of(io::stderr())?.0.0)))
        .filter(|columns| *columns > 0)
        .unwrap_or(COLUMNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_less_than_all_of_it_and_told_only_where_there_is_a_total() {
        assert_eq!([share(0, 3), share(1, 3), share(2, 3)], [Some(0), Some(33), Some(66)]);
        assert_eq!([share(3, 3), share(4, 3), share(0, 0)], [None; 3]);
        assert_eq!(share(u64::MAX - 1, u64::MAX), Some(99));
    }

    #[test]
    fn a_line_fits_the_terminal_and_has_a_bar_where_one_fits() {
        let at = |share, columns| {
            line("checking the files:", share, Duration::from_millis(2345), columns)
        };
        assert_eq!(at(None, 80), "checking the files: 2.3 s");
        assert_eq!(at(Some(7), 30), "checking the files:  7 %");
        assert_eq!(at(Some(50), 40), "checking the files: 50 % [######......]");
        let wide = format!("checking the files: 50 % [{0}{1}]", "#".repeat(20), ".".repeat(20));
        assert_eq!(at(Some(50), 120), wide);
        for columns in 0..130 {
            for share in [None, Some(0), Some(99)] {
                assert!(at(share, columns).len() < columns.max(1), "{columns}");
            }
        }
    }
}
