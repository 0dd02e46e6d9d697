//! The commands that read a store. They never lock, write or repair, and work beside a running
//! node.
//!
//! A file for each; what several of them show is in `rows` and `source`.

mod bans;
mod bootstrap;
mod cat;
pub(crate) mod change;
mod dht;
mod diff;
mod export;
mod fields;
pub mod health;
mod log;
mod packages;
mod peers;
mod reputation;
mod rows;
pub mod schema;
mod source;
mod status;
mod timeline;
pub mod verify;
mod why;

use std::path::PathBuf;

use chrono::{DateTime, Utc};

use crate::{
    console::{Color, Console},
    failure::Failure,
};

pub use source::Source;

/// Options of every command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Globals {
    /// The store: its state file, journal folder, or a lone snapshot
    /// [default: $PEER_JOURNAL_STORE, else ~/.ggen/p2p-state.json]
    #[arg(long, value_name = "PATH", global = true)]
    pub store: Option<PathBuf>,
    /// When to use colours
    #[arg(long, value_name = "WHEN", global = true, default_value = "auto")]
    pub color: Color,
    /// Tell ages from this time, for samples and tests
    #[arg(long, value_name = "TIME", global = true, hide = true, env = "PEER_JOURNAL_NOW")]
    pub now: Option<DateTime<Utc>>,
}

/// A command that reads.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Tell on one screen how the store is
    Status(status::Args),
    /// Read every byte, and say what the files prove
    Verify(verify::Args),
    /// Show the journal, record by record
    Log(log::Args),
    /// Tell what changed the reputation of a peer, or banned it
    Why(why::Args),
    /// List the peers, with score, address and what they say of themselves
    Peers(peers::Args),
    /// List how the peers behaved
    Reputation(reputation::Args),
    /// List the entries of the distributed hash table
    Dht(dht::Args),
    /// List the cached packages
    Packages(packages::Args),
    /// List the bootstrap nodes
    Bootstrap(bootstrap::Args),
    /// List the bans
    Bans(bans::Args),
    /// Print the whole state as JSON, also as it was
    Cat(cat::Args),
    /// Tell what is different between two states
    Diff(diff::Args),
    /// Print what the store knows, for other programs: JSON, CSV, or a list of addresses
    ///
    /// `import` takes JSON back, and lists of addresses.
    Export(export::Args),
    /// Print the JSON Schema of an answer
    Schema(schema::Args),
}

/// How a command ended that could do its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and nothing to worry about: exit code 0.
    Done,
    /// Something was found that the exit code tells: a difference, damage, nothing to show.
    Finding,
    /// Nothing of the store can be recovered.
    Unrecoverable,
}

impl Exit {
    /// The exit code.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Finding => 1,
            Self::Unrecoverable => 3,
        }
    }
}

/// Runs a command. What it prints is handed on when it returns.
///
/// # Errors
/// Why it could not do its work.
pub fn run(command: &Command, globals: &Globals, console: &mut Console) -> Result<Exit, Failure> {
    let source = Source::new(globals.store.clone());
    let done = match command {
        Command::Status(args) => status::run(args, &source, console),
        Command::Verify(args) => verify::run(args, &source, console),
        Command::Log(args) => log::run(args, &source, console),
        Command::Why(args) => why::run(args, &source, console),
        Command::Peers(args) => peers::run(args, &source, console),
        Command::Reputation(args) => reputation::run(args, &source, console),
        Command::Dht(args) => dht::run(args, &source, console),
        Command::Packages(args) => packages::run(args, &source, console),
        Command::Bootstrap(args) => bootstrap::run(args, &source, console),
        Command::Bans(args) => bans::run(args, &source, console),
        Command::Cat(args) => cat::run(args, &source, console),
        Command::Diff(args) => diff::run(args, &source, console),
        Command::Export(args) => export::run(args, &source, console),
        Command::Schema(args) => schema::run(args, console),
    };
    let flushed = console.flush();
    let exit = done?;
    flushed.map(|()| exit)
}

/// How the answer looks.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct Form {
    /// Print JSON; `peer-journal schema` tells its form
    #[arg(long)]
    pub json: bool,
    /// Full ids, nothing cut, no column left out
    #[arg(long)]
    pub wide: bool,
}

impl Form {
    /// Lifts the limit of width if asked.
    pub(crate) fn prepare(self, console: &mut Console) {
        if self.wide {
            console.width = None;
        }
    }
}
