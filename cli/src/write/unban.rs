//! `unban`: lifts bans.

use peer_journal::Change;

use super::{answer, open};
use crate::{
    console::Console,
    failure::Failure,
    pick::PeerQuery,
    read::{Exit, Form, Source},
    show,
};

/// Options of `unban`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The peers: ids, or the beginning or end of those that are banned
    #[arg(value_name = "PEER", required = true)]
    peers: Vec<PeerQuery>,
    #[command(flatten)]
    form: Form,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let store = open::Open::new(source, console)?;
    let view = store.view()?;
    let state = view.state();
    let peers = open::find_all(&args.peers, || state.bans().map(|(key, _)| key))?;
    // What has run out went when the store was opened.
    if let Some(peer) = peers.iter().find(|peer| state.ban(peer).is_none()) {
        return Err(Failure::negative(format!(
            "{} is not banned, so no ban was lifted; `peer-journal bans` lists who is",
            show::id(peer, true)
        )));
    }
    let changes: Vec<Change> = peers.into_iter().map(|peer| Change::Unbanned { peer }).collect();
    let lsn = store.journal(changes.clone())?;
    answer::journaled("unban", lsn, &changes, args.form, console)?;
    Ok(Exit::Done)
}
