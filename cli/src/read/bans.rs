//! `bans`: who is banned, until when, why and by whom.

use chrono::DateTime;
use peer_journal::state::{Ban, PeerKey};
use serde::Serialize;

use super::{Exit, Form, Source, rows::BanJson};
use crate::{
    console::{Console, Paint},
    failure::Failure,
    json,
    pick::{self, PeerQuery, Slice},
    show::{
        self,
        table::{Cell, Column, Table},
    },
};

/// Options of `bans`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only this peer: its id, or the beginning or end of it
    #[arg(value_name = "PEER")]
    peer: Option<PeerQuery>,
    /// Order: first to end, or last to begin
    #[arg(long, value_name = "BY", default_value = "until")]
    sort: Sort,
    #[command(flatten)]
    slice: Slice,
    /// Bans that have run out too
    #[arg(long)]
    all: bool,
    /// Only bans whose reason or source contains this
    #[arg(long = "match", value_name = "TEXT")]
    matching: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// Order of the bans.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Sort {
    /// First to end first
    Until,
    /// Last spoken first
    Since,
}

#[derive(Debug, Serialize)]
struct Document {
    lsn: u64,
    total: usize,
    matching: usize,
    bans: Vec<RowJson>,
}

#[derive(Debug, Serialize)]
struct RowJson {
    peer_id: String,
    #[serde(flatten)]
    ban: BanJson,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let found = source.reader(console)?;
    let state = found.view().state();
    let only = args.peer.as_ref();
    let only = only.map(|query| pick::find_peer(query, state.bans().map(|(key, _)| key)));
    let only = only.transpose()?;
    let mut rows: Vec<(&PeerKey, &Ban)> = state
        .bans()
        .filter(|(key, ban)| {
            only.as_ref().is_none_or(|only| only == *key)
                && (args.all || ban.is_active(console.now.into()))
                && args
                    .matching
                    .as_deref()
                    .is_none_or(|part| pick::contains(&[&ban.reason, &ban.source], part))
        })
        .collect();
    let (total, matching) = (state.counts().bans, rows.len());
    rows.sort_by(|(a_key, a), (b_key, b)| {
        let order = match args.sort {
            Sort::Until => a.until.cmp(&b.until),
            Sort::Since => b.at.cmp(&a.at),
        };
        order.then_with(|| a_key.cmp(b_key))
    });
    let rows = args.slice.of(rows);
    if args.form.json {
        let bans = rows
            .iter()
            .map(|(key, ban)| RowJson {
                peer_id: key.to_string(),
                ban: BanJson::new(ban, console.now),
            })
            .collect();
        let lsn = found.view().lsn().get();
        json::document(console, "bans", &Document { lsn, total, matching, bans })?;
        return Ok(Exit::Done);
    }
    args.form.prepare(console);
    if rows.is_empty() {
        console.note(match total {
            0 => "nobody is banned",
            _ if args.peer.is_none() && args.matching.is_none() => {
                "all bans have run out; --all shows them"
            }
            _ => "no ban matches",
        });
        return Ok(Exit::Done);
    }
    print(&rows, args.form.wide, console)?;
    Ok(Exit::Done)
}

fn print(rows: &[(&PeerKey, &Ban)], wide: bool, console: &mut Console) -> Result<(), Failure> {
    let mut table = Table::new(&[
        Column::new("PEER"),
        Column::new("LEFT").right(),
        Column::new("REASON").least(10),
        Column::new("UNTIL").goes(3),
        Column::new("SINCE").goes(2),
        Column::new("SOURCE").least(6).goes(1),
    ]);
    let now = console.now;
    table.rows(rows, |(key, ban)| {
        let left = ban.until.get().signed_duration_since(now);
        let left = if DateTime::from(ban.until) >= show::FOREVER {
            Cell::from("no end".to_owned())
        } else if ban.is_active(now.into()) {
            Cell::from(show::span(left))
        } else {
            Cell::painted(Paint::Dim, "over")
        };
        vec![
            show::id(key, wide).into(),
            left,
            show::text(&ban.reason).into(),
            show::time(ban.until.into()).into(),
            show::time(ban.at.into()).into(),
            show::text(&ban.source).into(),
        ]
    });
    table.print(console)
}
