//! The commands that change a store. Each takes the store's lock, so none works while a node runs.
//!
//! A file for each; opening and journaling is in `open`, what they answer in `answer`.

mod answer;
mod ban;
mod compact;
mod forget;
mod import;
mod open;
mod redact;
mod repair;
mod unban;
mod undo;

use crate::{
    console::Console,
    failure::Failure,
    read::{Exit, Globals, Source},
};

/// A command that changes a store.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Ban peers; the node refuses them from its next start on
    ///
    /// Stop the node first. The bans become one record of the journal, durable when this returns.
    Ban(ban::Args),
    /// Lift the bans of peers
    ///
    /// Stop the node first. Becomes one record of the journal, durable when this returns.
    Unban(unban::Args),
    /// Forget what is known of peers: addresses, profile and reputation; a ban stays
    ///
    /// Stop the node first. Becomes one record of the journal, durable when this returns. The
    /// records before it still tell of the peers.
    Forget(forget::Args),
    /// Take records back, by changes that give their rows the old content again
    ///
    /// Stop the node first. Refused if a later record changed one of the rows, or if the state
    /// before them is not known any more. Becomes one record of the journal, durable when this
    /// returns, and can itself be undone.
    Undo(undo::Args),
    /// Write a snapshot now, and delete what it makes superfluous
    ///
    /// Stop the node first; a running node does the same by itself once a minute.
    Compact(compact::Args),
    /// Take over what another program knows: addresses, or a whole state
    ///
    /// Stop the node first. Takes version 1 files, exports, other stores, lists of multiaddrs,
    /// chain specifications, and what kubo and reth keep. The newer of two rows wins, addresses
    /// are united; importing the same twice changes nothing. What is new becomes as few records
    /// as possible, durable when this returns. What was done is told on standard error.
    Import(import::Args),
    /// Show what it takes to mend a damaged store; do it with --apply
    ///
    /// The plan takes no lock and writes nothing. Damaged bytes are never thrown away: they go to
    /// the folder `quarantine`. Starting the node mends the same.
    Repair(repair::Args),
    /// Take a peer out of every file of the store; shows the plan, and acts with --apply
    ///
    /// For personal data: snapshots, journal, history and quarantine hold nothing of it afterwards,
    /// neither its id nor its addresses nor a ban. The plan takes no lock and writes nothing. There
    /// is no way back.
    Redact(redact::Args),
}

/// Runs a command. What it prints is handed on when it returns.
///
/// # Errors
/// Why it could not do its work.
pub fn run(command: &Command, globals: &Globals, console: &mut Console) -> Result<Exit, Failure> {
    let source = Source::new(globals.store.clone());
    let done = match command {
        Command::Ban(args) => ban::run(args, &source, console),
        Command::Unban(args) => unban::run(args, &source, console),
        Command::Forget(args) => forget::run(args, &source, console),
        Command::Undo(args) => undo::run(args, &source, console),
        Command::Redact(args) => redact::run(args, &source, console),
        Command::Compact(args) => compact::run(args, &source, console),
        Command::Import(args) => import::run(args, &source, console),
        Command::Repair(args) => repair::run(args, &source, console),
    };
    let flushed = console.flush();
    let exit = done?;
    flushed.map(|()| exit)
}
