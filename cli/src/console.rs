//! Where the output of a command goes, how wide it may be, and whether it has colours.

use std::{
    env, fmt,
    io::{self, BufWriter, IsTerminal, Write},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use peer_journal::vfs::{OsVfs, Vfs};

use crate::{
    failure::Failure,
    reads::{Counted, Reads},
    show,
};

/// When to colour words. A colour never says what the word does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Color {
    /// On a terminal, unless `NO_COLOR` is set; everywhere if `CLICOLOR_FORCE` is.
    #[default]
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// What a word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Something is wrong.
    Bad,
    /// Less important than the rest.
    Dim,
    /// A head line.
    Bold,
}

impl Paint {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "\u{1b}[32m",
            Self::Warn => "\u{1b}[33m",
            Self::Bad => "\u{1b}[31m",
            Self::Dim => "\u{1b}[2m",
            Self::Bold => "\u{1b}[1m",
        }
    }
}

/// The output of one command.
pub struct Console {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    /// Columns of the terminal; `None` if nothing limits a line.
    pub width: Option<usize>,
    /// True if words are coloured.
    pub colour: bool,
    /// The time that ages are told from.
    pub now: DateTime<Utc>,
    /// Set if standard error is a terminal, where a progress line makes sense.
    reads: Option<Arc<Reads>>,
}

impl Console {
    /// Standard output and standard error of this process.
    #[must_use]
    pub fn of_process(color: Color, now: DateTime<Utc>) -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Self {
            width: width(is_terminal),
            colour: is_coloured(color, is_terminal, |name| env::var(name).ok()),
            now,
            reads: io::stderr().is_terminal().then(Arc::default),
            out: Box::new(BufWriter::with_capacity(64 << 10, stdout)),
            err: Box::new(io::stderr()),
        }
    }

    /// Into these two: no limit of width, no colours.
    #[must_use]
    pub fn into_writers(out: Box<dyn Write>, err: Box<dyn Write>, now: DateTime<Utc>) -> Self {
        Self { out, err, width: None, colour: false, now, reads: None }
    }

    /// True if a line tells how far a long job is.
    #[must_use]
    pub fn shows_progress(&self) -> bool {
        self.reads.is_some()
    }

    /// The disk that a command works on. Reads are counted only where somebody sees it.
    #[must_use]
    pub fn disk(&self) -> Arc<dyn Vfs> {
        match &self.reads {
            Some(reads) => Arc::new(Counted(Arc::clone(reads))),
            None => Arc::new(OsVfs),
        }
    }

    pub(crate) fn reads(&self) -> Option<&Reads> {
        self.reads.as_deref()
    }

    /// A line of data.
    ///
    /// # Errors
    /// If it cannot be written; a [quiet](Failure::is_quiet) one if nobody reads any more.
    pub fn line(&mut self, text: impl fmt::Display) -> Result<(), Failure> {
        writeln!(self.out, "{text}").map_err(cannot_write)
    }

    /// A fact under its label, wrapped to the width.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn fact(&mut self, label: &str, text: &str) -> Result<(), Failure> {
        self.line(show::labelled(label, text, self.width))
    }

    /// Data as they are, without a line end.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.out.write_all(bytes).map_err(cannot_write)
    }

    /// Hands everything written on.
    ///
    /// # Errors
    /// As [`line`](Self::line).
    pub fn flush(&mut self) -> Result<(), Failure> {
        self.out.flush().map_err(cannot_write)
    }

    /// A line for the person at the terminal.
    pub fn note(&mut self, text: impl fmt::Display) {
        // Where standard error is gone there is nobody to tell.
        writeln!(self.err, "{text}").unwrap_or_default();
    }

    /// Text for the person at the terminal that a later one writes over.
    pub(crate) fn passing(&mut self, text: impl fmt::Display) {
        write!(self.err, "{text}").and_then(|()| self.err.flush()).unwrap_or_default();
    }

    /// The word, coloured if colours are on.
    #[must_use]
    pub fn paint(&self, paint: Paint, word: &str) -> String {
        if self.colour { format!("{}{word}\u{1b}[0m", paint.code()) } else { word.to_owned() }
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console")
            .field("width", &self.width)
            .field("colour", &self.colour)
            .field("shows_progress", &self.shows_progress())
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

fn cannot_write(error: io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::io("cannot write to standard output", error),
    }
}

/// `COLUMNS` wins: who exports it means it.
fn width(is_terminal: bool) -> Option<usize> {
    let said = env::var("COLUMNS").ok().and_then(|text| text.trim().parse().ok());
    said.filter(|columns| *columns > 0).or_else(|| {
        let (width, _) = is_terminal.then(terminal_size::terminal_size).flatten()?;
        Some(usize::from(width.0)).filter(|columns| *columns > 0)
    })
}

/// True if standard error may be coloured.
#[must_use]
pub fn colours_stderr(color: Color) -> bool {
    is_coloured(color, io::stderr().is_terminal(), |name| env::var(name).ok())
}

fn is_coloured(color: Color, is_terminal: bool, env: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name| env(name).is_some_and(|value| !value.is_empty());
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto if set("NO_COLOR") => false,
        Color::Auto => {
            let forced = env("CLICOLOR_FORCE").is_some_and(|v| !v.is_empty() && v != "0");
            forced || (is_terminal && env("TERM").is_none_or(|term| term != "dumb"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_option_then_the_environment_then_the_terminal() {
        let with = |color, is_terminal, vars: &[(&str, &str)]| {
            is_coloured(color, is_terminal, |name| {
                vars.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(with(Color::Auto, true, &[]));
        assert!(!with(Color::Auto, false, &[]));
        assert!(!with(Color::Auto, true, &[("NO_COLOR", "1")]));
        assert!(with(Color::Auto, true, &[("NO_COLOR", "")]), "empty means not set");
        assert!(with(Color::Auto, false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!with(Color::Auto, false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!with(Color::Auto, false, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]));
        assert!(!with(Color::Auto, true, &[("TERM", "dumb")]));
        assert!(with(Color::Always, false, &[("NO_COLOR", "1")]));
        assert!(!with(Color::Never, true, &[("CLICOLOR_FORCE", "1")]));
    }

    #[test]
    fn a_closed_pipe_is_quiet_and_any_other_error_is_told() {
        assert!(cannot_write(io::ErrorKind::BrokenPipe.into()).is_quiet());
        let full = cannot_write(io::ErrorKind::StorageFull.into());
        assert!(!full.is_quiet() && full.number() == 4, "{full}");
    }
}
