//! `peers`: who is known, how good, and where.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use peer_journal::state::{Ban, PeerEntry, PeerKey, State};
use serde::Serialize;

use super::{
    Exit, Form, Source,
    rows::{PeerJson, ban_now, last_seen, response_time, score_of},
};
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

/// Options of `peers`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only this peer: its id, or the beginning or end of it
    #[arg(value_name = "PEER")]
    peer: Option<PeerQuery>,
    /// Order: best score, last seen, most failures, or id first
    #[arg(long, value_name = "BY", default_value = "score")]
    sort: Sort,
    #[command(flatten)]
    slice: Slice,
    /// Only peers with at least this score
    #[arg(long, value_name = "SCORE")]
    min_score: Option<f64>,
    /// Only peers with at most this score
    #[arg(long, value_name = "SCORE")]
    max_score: Option<f64>,
    /// Only peers seen since then, for example 2h
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only peers that are banned now
    #[arg(long)]
    banned: bool,
    /// Only peers that the node spoke to or fetched from
    #[arg(long, conflicts_with = "heard")]
    spoken: bool,
    /// Only peers that the node just heard of
    #[arg(long)]
    heard: bool,
    /// Only peers whose id, address, agent or protocol contains this
    #[arg(long = "match", value_name = "TEXT")]
    matching: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// Order of the peers.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Sort {
    /// Best score first
    Score,
    /// Last seen first
    Seen,
    /// Most failures first
    Failures,
    /// By id
    Id,
}

#[derive(Debug, Serialize)]
struct Document {
    lsn: u64,
    total: usize,
    matching: usize,
    peers: Vec<PeerJson>,
}

/// One peer, borrowed from the state.
struct Row<'a> {
    key: &'a PeerKey,
    entry: &'a PeerEntry,
    ban: Option<&'a Ban>,
    score: Option<f64>,
    seen: DateTime<Utc>,
}

/// Those peers that have a row at all: a ban alone is none.
pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let since = args.since.as_deref().map(|text| pick::parse_time(text, console.now));
    let since = since.transpose().map_err(Failure::usage)?;
    let found = source.reader(console)?;
    let state = found.view().state();
    let only = args.peer.as_ref().map(|query| known(query, state)).transpose()?;
    let mut rows: Vec<Row<'_>> = state
        .peers()
        .filter(|(key, _)| only.as_ref().is_none_or(|only| only == *key))
        .map(|(key, entry)| Row {
            key,
            entry,
            ban: ban_now(state, key, console.now),
            score: score_of(entry, console.now),
            seen: last_seen(entry),
        })
        .filter(|row| is_wanted(args, since, row))
        .collect();
    let (total, matching) = (state.peers().count(), rows.len());
    sort(&mut rows, args.sort);
    let rows = args.slice.of(rows);
    if args.form.json {
        let peers = rows.iter().map(|row| PeerJson::new(row.key, row.entry, row.ban, console.now));
        let peers = peers.collect();
        let lsn = found.view().lsn().get();
        json::document(console, "peers", &Document { lsn, total, matching, peers })?;
        return Ok(Exit::Done);
    }
    args.form.prepare(console);
    if rows.is_empty() {
        console.note(if total == 0 { "no peer is known" } else { "no peer matches" });
        return Ok(Exit::Done);
    }
    print(&rows, args.form.wide, console)?;
    Ok(Exit::Done)
}

fn known(query: &PeerQuery, state: &State) -> Result<PeerKey, Failure> {
    let key = pick::find_peer(query, state.peers().map(|(key, _)| key))?;
    if state.peer(&key).is_none() {
        let what = if state.ban(&key).is_some() {
            "nothing but a ban is known of it; `peer-journal bans` shows that"
        } else {
            "nothing is known of it now; `peer-journal why` looks through the journal"
        };
        return Err(Failure::negative(format!("{query}: {what}")));
    }
    Ok(key)
}

fn is_wanted(args: &Args, since: Option<DateTime<Utc>>, row: &Row<'_>) -> bool {
    (!args.banned || row.ban.is_some())
        && (!args.spoken || row.score.is_some())
        && (!args.heard || row.score.is_none())
        && since.is_none_or(|since| row.seen >= since)
        && args.min_score.is_none_or(|least| row.score.is_some_and(|score| score >= least))
        && args.max_score.is_none_or(|most| row.score.is_some_and(|score| score <= most))
        && args.matching.as_deref().is_none_or(|part| has_text(row, part))
}

fn has_text(row: &Row<'_>, part: &str) -> bool {
    let mut texts = vec![row.key.to_string()];
    if let Some(seen) = &row.entry.seen {
        texts.extend(seen.addresses.iter().map(|address| address.to_string()));
    }
    if let Some(profile) = &row.entry.profile {
        texts.extend(profile.agent.iter().chain(&profile.protocols).map(|text| text.to_string()));
    }
    pick::contains(&texts.iter().map(String::as_str).collect::<Vec<_>>(), part)
}

fn sort(rows: &mut [Row<'_>], by: Sort) {
    let score = |row: &Row<'_>| row.score.unwrap_or(-1.0);
    let failures =
        |row: &Row<'_>| row.entry.reputation.as_ref().map_or(0, |known| known.failed_retrievals);
    // Equal rows stand by their ids, so that the order is the same each time.
    if matches!(by, Sort::Id) {
        rows.sort_by_cached_key(|row| row.key.to_string());
        return;
    }
    rows.sort_by(|a, b| {
        let order = match by {
            Sort::Score => score(b).total_cmp(&score(a)),
            Sort::Seen => b.seen.cmp(&a.seen),
            Sort::Failures => failures(b).cmp(&failures(a)),
            Sort::Id => Ordering::Equal,
        };
        order.then_with(|| a.key.cmp(b.key))
    });
}

fn print(rows: &[Row<'_>], wide: bool, console: &mut Console) -> Result<(), Failure> {
    let mut table = Table::new(&[
        Column::new("PEER"),
        Column::new("SCORE").right(),
        Column::new("SEEN").goes(1),
        Column::new("ADDRESS").least(12).goes(2),
        Column::new("OK/FAIL").right().goes(3),
        Column::new("RTT").right().goes(4),
        Column::new("AGENT").least(8).goes(5),
        Column::new("STATE").goes(1),
    ]);
    let now = console.now;
    table.rows(rows, |row| {
        let known = row.entry.reputation.as_ref();
        let shown = addresses(row.entry, if wide { usize::MAX } else { 1 });
        let agent = row.entry.profile.as_ref().and_then(|profile| profile.agent.as_deref());
        vec![
            show::id(row.key, wide).into(),
            row.score.map_or_else(|| "-".to_owned(), show::score).into(),
            show::ago(row.seen, now).into(),
            shown.into(),
            known
                .map(|known| format!("{}/{}", known.successful_retrievals, known.failed_retrievals))
                .unwrap_or_default()
                .into(),
            known.map(response_time).unwrap_or_default().into(),
            agent.map(show::text).unwrap_or_default().into(),
            state(row),
        ]
    });
    table.print(console)
}

/// The first addresses, and how many more there are.
fn addresses(entry: &PeerEntry, most: usize) -> String {
    let Some(seen) = &entry.seen else { return String::new() };
    let shown = seen.addresses.iter().take(most).map(|address| show::text(&address.to_string()));
    let shown = show::list(shown);
    match seen.addresses.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} +{more}"),
    }
}

fn state(row: &Row<'_>) -> Cell {
    if row.ban.is_some() {
        return Cell::painted(Paint::Bad, "banned");
    }
    if row.score.is_some() { "".into() } else { Cell::painted(Paint::Dim, "heard of") }
}
