//! Standard output and standard error, without a panic when a pipe is closed.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use crate::failure::Failure;

/// A line of data. That nobody reads it any more is no failure.
///
/// # Errors
/// If standard output cannot be written for any other reason.
pub fn line(text: fmt::Arguments<'_>) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Data as they are. That nobody reads them any more is no failure.
///
/// # Errors
/// If standard output cannot be written for any other reason.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("cannot write to standard output", error))
        }
        _ => Ok(()),
    }
}

/// A line for the person at the terminal.
pub fn note(text: fmt::Arguments<'_>) {
    // Where standard error is gone there is nobody to tell.
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}

/// Says what goes on, on a terminal only; an empty text clears the line.
pub fn progress(text: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        // Progress that cannot be shown is no reason to stop.
        write!(stderr, "\r\x1b[2K{text}").ok();
    }
}
