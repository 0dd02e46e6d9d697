//! `forget`: drops what is known of peers.

use peer_journal::{
    Change,
    state::{PeerEntry, PeerKey},
};

use super::{answer, open};
use crate::{
    console::Console,
    failure::Failure,
    pick::PeerQuery,
    read::{Exit, Form, Source},
    show,
};

/// Options of `forget`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The peers: ids, or the beginning or end of them
    #[arg(value_name = "PEER", required = true)]
    peers: Vec<PeerQuery>,
    #[command(flatten)]
    form: Form,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let store = open::Open::new(source, console)?;
    let view = store.view()?;
    let state = view.state();
    let peers = open::find_all(&args.peers, || state.peers().map(|(key, _)| key))?;
    let mut forgotten: Vec<(&PeerKey, &PeerEntry)> = Vec::new();
    for peer in &peers {
        let entry = state.peer(peer).ok_or_else(|| {
            Failure::negative(format!(
                "nothing is known of {}, so nothing was forgotten; a ban is lifted with `unban`",
                show::id(peer, true)
            ))
        })?;
        forgotten.push((peer, entry));
    }
    for (peer, entry) in forgotten {
        let id = show::id(peer, args.form.wide);
        console.note(format_args!("note: known of {id} until now: {}", held(entry)));
        if state.ban(peer).is_some() {
            console.note(format_args!("note: {id} stays banned; `peer-journal unban` lifts that"));
        }
    }
    let changes: Vec<Change> =
        peers.iter().map(|peer| Change::PeerForgotten { peer: peer.clone() }).collect();
    let lsn = store.journal(changes.clone())?;
    answer::journaled("forget", lsn, &changes, args.form, console)?;
    Ok(Exit::Done)
}

/// What goes with a peer.
fn held(entry: &PeerEntry) -> String {
    let mut parts = Vec::new();
    if let Some(seen) = &entry.seen {
        parts.push(match seen.addresses.len() {
            0 => "that it is there".to_owned(),
            1 => "1 address".to_owned(),
            many => format!("{} addresses", show::number(many)),
        });
    }
    if let Some(reputation) = &entry.reputation {
        parts.push(format!(
            "its reputation ({} ok, {} failed)",
            show::number(reputation.successful_retrievals),
            show::number(reputation.failed_retrievals)
        ));
    }
    if entry.profile.is_some() {
        parts.push("what it says of itself".to_owned());
    }
    show::list(parts)
}
