//! The `peer-journal` command, on the public API of the library only.
//!
//! Data goes to stdout, everything else to stderr.

mod demo;
mod outcome;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use outcome::Failure;

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 finding, 2 usage, 3 unrecoverable, 4 I/O, 5 locked, 6 newer format";

/// A memory for a libp2p node that survives crashes.
#[derive(Parser)]
#[command(
    name = "peer-journal",
    version,
    after_help = EXIT_CODES
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Kill a writing program and cut its power, and count what three stores kept
    ///
    /// Works in a fresh folder under the system's temporary folder, uses no network, takes a few
    /// seconds, and fails if one acknowledged change is missing.
    Demo {
        /// Kill the writer after this many seconds (2 to 30; otherwise a random moment near 3)
        #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(2..=30))]
        kill_after: Option<u64>,
    },
    /// Renew the checksum of a snapshot that was edited by hand
    ///
    /// Checks the whole file first and replaces it atomically. Stop the node before you edit.
    Seal {
        /// The snapshot, for example ~/.ggen/p2p-state.json
        file: PathBuf,
    },
    /// The program that the demo kills
    #[command(hide = true)]
    DemoWriter {
        /// Where to keep the three stores
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo { kill_after } => demo::run(kill_after),
        Command::Seal { file } => seal(&file),
        Command::DemoWriter { dir } => demo::writer::run(&dir),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If stderr is closed as well, the exit code has to say it all.
            let _told: io::Result<()> = writeln!(io::stderr(), "error: {}", failure.message);
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn seal(file: &std::path::Path) -> Result<(), Failure> {
    peer_journal::seal_snapshot(file)?;
    say(&format!("sealed {}\n", file.display()))
}

/// Writes to stdout. A reader that has gone away is no failure of ours.
fn say(text: &str) -> Result<(), Failure> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("cannot write to stdout", &error))
        }
        _ => Ok(()),
    }
}
