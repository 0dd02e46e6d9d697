//! `cat`: the whole state as JSON.

use peer_journal::{Reader, View};
use serde::Serialize;

use super::{Exit, Source};
use crate::{
    console::Console,
    document::{Kind, Rows},
    failure::Failure,
    json,
    pick::{self, When},
    progress,
};

/// Options of `cat`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// As of this record or time, for example 1234, 2h or 2026-03-01T12:00:00Z
    #[arg(long, value_name = "LSN|TIME")]
    at: Option<String>,
    /// Nothing else can be printed; taken so that every command has it
    #[arg(long, hide = true)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    lsn: u64,
    #[serde(flatten)]
    rows: Rows,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let reader = source.reader(console)?;
    let view = match &args.at {
        Some(at) => view_at(&reader, at, console)?,
        None => reader.view().clone(),
    };
    let rows = Rows::of(&view, Kind::ALL);
    json::document(console, "cat", &Document { lsn: view.lsn().get(), rows })?;
    Ok(Exit::Done)
}

/// The state as of an LSN or time, as people type it.
pub(super) fn view_at(reader: &Reader, text: &str, console: &Console) -> Result<View, Failure> {
    let when = pick::parse_when(text, console.now).map_err(Failure::usage)?;
    progress::during(console, "going back:", || {
        let lsn = match when {
            When::Lsn(lsn) => lsn,
            When::Time(time) => reader.lsn_at(time)?,
        };
        Ok(reader.state_at(lsn)?)
    })
}
