//! The `peer-journal` command.
//!
//! Data goes to standard output, everything else to standard error.

mod demo;
mod identity;
mod node;
mod pages;
mod signals;
mod torture;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use chrono::Utc;
use clap::{CommandFactory, Parser, Subcommand};
use peer_journal_cli::{
    console::{self, Console},
    failure::Failure,
    out, read, write,
};
use tracing_subscriber::EnvFilter;

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 finding, 2 usage, 3 unrecoverable, 4 I/O, 5 locked, 6 newer format";

/// A memory for libp2p nodes that survives crashes.
#[derive(Debug, Parser)]
#[command(name = "peer-journal", version, about, after_help = EXIT_CODES, max_term_width = 80)]
struct Cli {
    #[command(flatten)]
    globals: read::Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Read(read::Command),
    #[command(flatten)]
    Write(write::Command),
    /// Run a node that remembers, until Ctrl-C or SIGTERM
    Node(Box<node::Args>),
    /// Run five nodes, kill one, cut its power, and count what three stores kept
    ///
    /// Works in a fresh folder under the system's temporary folder and on loopback only, takes
    /// less than a minute, and fails if one acknowledged change is missing.
    Demo {
        /// Kill the node after this many seconds (2 to 30; otherwise a random moment near 5)
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
    Torture(Box<torture::Args>),
    /// Print the completions for a shell
    ///
    /// For bash: `source <(peer-journal completions bash)`, or put them into
    /// ~/.local/share/bash-completion/completions/peer-journal.
    Completions(pages::Completions),
    /// Print the page of the manual, or write the pages of all commands
    ///
    /// To read one: `peer-journal man | man -l -`.
    Man(pages::Manual),
    #[command(hide = true)]
    DemoNode(demo::member::Args),
    #[command(hide = true)]
    TortureChild(torture::child::Args),
}

impl Command {
    /// What is shown of the store's messages: where a command makes disks fail on purpose, nothing.
    fn log_level(&self) -> &'static str {
        match self {
            Self::Torture(args) if args.is_simulated() => "off",
            // These print themselves what the library would warn of.
            Self::Write(_) => "error",
            // It warns of every lookup before the first peer is known, which is how a node starts.
            _ => "warn,libp2p_kad=error",
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr(cli.command.log_level(), cli.globals.color);
    let done = match cli.command {
        Command::Read(command) => return told(&cli.globals, |g, c| read::run(&command, g, c)),
        Command::Write(command) => return told(&cli.globals, |g, c| write::run(&command, g, c)),
        Command::Node(args) => node::run(args.at(cli.globals.store)),
        _ if cli.globals.store.is_some() => {
            Err(Failure::usage("this command does not look at a store; leave --store out"))
        }
        Command::Demo { kill_after } => demo::run(kill_after),
        Command::Seal { file } => seal(&file),
        Command::Torture(args) => torture::run(&args),
        Command::Completions(args) => pages::completions(&args, &Cli::command()),
        Command::Man(args) => pages::manual(&args, Cli::command()),
        Command::DemoNode(args) => demo::member::run(&args),
        Command::TortureChild(args) => torture::child::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out::note(format_args!("error: {failure}"));
            failure.code()
        }
    }
}

/// A command on a store has more than one good end.
fn told(
    globals: &read::Globals,
    run: impl FnOnce(&read::Globals, &mut Console) -> Result<read::Exit, Failure>,
) -> ExitCode {
    let now = globals.now.unwrap_or_else(Utc::now);
    let mut console = Console::of_process(globals.color, now);
    match run(globals, &mut console) {
        Ok(exit) => ExitCode::from(exit.number()),
        Err(failure) => {
            if !failure.is_quiet() {
                console.note(format_args!("error: {failure}"));
            }
            failure.code()
        }
    }
}

fn seal(file: &Path) -> Result<(), Failure> {
    peer_journal::seal_snapshot(file)?;
    out::line(format_args!("sealed {}", file.display()))
}

/// `RUST_LOG` chooses what is shown; `level` is for when it is not set.
fn log_to_stderr(level: &str, color: console::Color) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(console::colours_stderr(color))
        .init();
}
