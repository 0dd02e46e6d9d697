//! The `peer-journal` command.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 something
//! was not found or did not work out, 2 usage, 4 input or output, 5 locked by another process,
//! 6 written by a newer version.

mod failure;
mod identity;
mod node;
mod out;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use failure::Failure;

/// A memory for libp2p nodes that survives crashes.
#[derive(Debug, Parser)]
#[command(name = "peer-journal", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node that remembers, until Ctrl-C or SIGTERM
    Node(node::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    log_to_stderr();
    let done = match cli.command {
        Command::Node(args) => node::run(args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out::note(format_args!("error: {failure}"));
            failure.code()
        }
    }
}

/// `RUST_LOG` chooses what is shown; warnings if it is not set.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colour = std::io::IsTerminal::is_terminal(&std::io::stderr())
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .init();
}
