//! `ban`: keeps peers out.

use chrono::{DateTime, TimeDelta, Utc};
use peer_journal::{
    Change,
    state::{PeerKey, State},
};

use super::{answer, open::Open};
use crate::{
    console::Console,
    failure::Failure,
    pick::{self, PeerQuery},
    read::{Exit, Form, Source},
    show,
};

/// Who is named as the source of these bans.
const SOURCE: &str = "operator";

/// Options of `ban`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The peers: full ids, known or not, or the beginning or end of known ones
    #[arg(value_name = "PEER", required = true)]
    peers: Vec<PeerQuery>,
    /// How long, from now, for example 12h or 7d
    #[arg(long = "for", value_name = "SPAN", default_value = "24h")]
    #[arg(value_parser = pick::parse_span)]
    span: TimeDelta,
    /// Until when, for example 2026-03-01T12:00:00Z
    #[arg(long, value_name = "TIME", conflicts_with = "span")]
    until: Option<String>,
    /// Until it is lifted
    #[arg(long, conflicts_with_all = ["span", "until"])]
    forever: bool,
    /// Why: shown by `bans` and `why`
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    form: Form,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let until = end(args, console.now)?;
    let open = Open::new(source, console)?;
    let view = open.view()?;
    let peers = super::open::find_all(&args.peers, || known(view.state()))?;
    for peer in &peers {
        if let Some(old) = view.state().ban(peer).filter(|ban| ban.is_active(console.now.into())) {
            let (peer, until) = (show::id(peer, args.form.wide), show::until(old.until.into()));
            console
                .note(format_args!("note: {peer} was banned until {until}; this ban replaces it"));
        }
    }
    let at = console.now.into();
    let changes: Vec<Change> = peers
        .into_iter()
        .map(|peer| Change::Banned {
            peer,
            at,
            until: until.into(),
            reason: args.reason.as_str().into(),
            source: SOURCE.into(),
        })
        .collect();
    let lsn = open.journal(changes.clone())?;
    answer::journaled("ban", lsn, &changes, args.form, console)?;
    Ok(Exit::Done)
}

pub(super) fn known(state: &State) -> impl Iterator<Item = &PeerKey> {
    state.peers().map(|(key, _)| key).chain(state.bans().map(|(key, _)| key))
}

/// When the ban runs out.
fn end(args: &Args, now: DateTime<Utc>) -> Result<DateTime<Utc>, Failure> {
    if args.forever {
        return Ok(show::FOREVER);
    }
    let until = match &args.until {
        Some(text) => pick::parse_time(text, now).map_err(Failure::usage)?,
        None => now.checked_add_signed(args.span).unwrap_or(show::FOREVER).min(show::FOREVER),
    };
    if until <= now {
        return Err(Failure::usage(format!(
            "a ban until {} has run out already; name a time to come, or say how long with --for",
            show::time(until)
        )));
    }
    Ok(until)
}
