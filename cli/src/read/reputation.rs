//! `reputation`: how the peers behaved.

use peer_journal::state::{PeerKey, Reputation};
use serde::Serialize;

use super::{
    Exit, Form, Source,
    rows::{ReputationJson, response_time, rounded, score_of},
};
use crate::{
    console::Console,
    failure::Failure,
    json,
    pick::{self, PeerQuery, Slice},
    show::{
        self,
        table::{Column, Table},
    },
};

/// Options of `reputation`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Only this peer: its id, or the beginning or end of it
    #[arg(value_name = "PEER")]
    peer: Option<PeerQuery>,
    /// Order
    #[arg(long, value_name = "BY", default_value = "score")]
    sort: Sort,
    #[command(flatten)]
    slice: Slice,
    /// Only peers of a region that contains this
    #[arg(long, value_name = "TEXT")]
    region: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// Order of the peers.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Sort {
    /// Best score first
    Score,
    /// Most retrievals that succeeded first
    Ok,
    /// Most retrievals that failed first
    Failures,
    /// Fastest first
    Latency,
    /// Last answer first
    Seen,
}

#[derive(Debug, Serialize)]
struct Document {
    lsn: u64,
    total: usize,
    matching: usize,
    reputation: Vec<RowJson>,
}

#[derive(Debug, Serialize)]
struct RowJson {
    peer_id: String,
    score: Option<f64>,
    #[serde(flatten)]
    known: ReputationJson,
}

struct Row<'a> {
    key: &'a PeerKey,
    known: &'a Reputation,
    score: Option<f64>,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let found = source.reader(console)?;
    let state = found.view().state();
    let only = args.peer.as_ref();
    let only = only.map(|query| pick::find_peer(query, state.peers().map(|(key, _)| key)));
    let only = only.transpose()?;
    let mut rows: Vec<Row<'_>> = state
        .peers()
        .filter(|(key, _)| only.as_ref().is_none_or(|only| only == *key))
        .filter_map(|(key, entry)| {
            let known = entry.reputation.as_ref()?;
            Some(Row { key, known, score: score_of(entry, console.now) })
        })
        .filter(|row| args.region.as_deref().is_none_or(|part| is_in(row.known, part)))
        .collect();
    let (total, matching) = (state.counts().reputation, rows.len());
    sort(&mut rows, args.sort);
    let rows = args.slice.of(rows);
    if args.form.json {
        let reputation = rows
            .iter()
            .map(|row| RowJson {
                peer_id: row.key.to_string(),
                score: row.score.map(rounded),
                known: ReputationJson::new(row.known),
            })
            .collect();
        let lsn = found.view().lsn().get();
        json::document(console, "reputation", &Document { lsn, total, matching, reputation })?;
        return Ok(Exit::Done);
    }
    args.form.prepare(console);
    if rows.is_empty() {
        let none = "no reputation is known";
        console.note(if total == 0 { none } else { "no reputation matches" });
        return Ok(Exit::Done);
    }
    print(&rows, args.form.wide, console)?;
    Ok(Exit::Done)
}

fn is_in(known: &Reputation, part: &str) -> bool {
    let region = known.location.as_ref().and_then(|place| place.region.as_deref());
    region.is_some_and(|region| pick::contains(&[region], part))
}

fn sort(rows: &mut [Row<'_>], by: Sort) {
    rows.sort_by(|a, b| {
        let order = match by {
            Sort::Score => b.score.unwrap_or(-1.0).total_cmp(&a.score.unwrap_or(-1.0)),
            Sort::Ok => b.known.successful_retrievals.cmp(&a.known.successful_retrievals),
            Sort::Failures => b.known.failed_retrievals.cmp(&a.known.failed_retrievals),
            Sort::Latency => latency(a.known).cmp(&latency(b.known)),
            Sort::Seen => b.known.last_seen.cmp(&a.known.last_seen),
        };
        order.then_with(|| a.key.cmp(b.key))
    });
}

/// Who never answered comes last.
fn latency(known: &Reputation) -> u64 {
    if known.successful_retrievals == 0 { u64::MAX } else { known.avg_response_time_ms }
}

fn print(rows: &[Row<'_>], wide: bool, console: &mut Console) -> Result<(), Failure> {
    let mut table = Table::new(&[
        Column::new("PEER"),
        Column::new("SCORE").right(),
        Column::new("OK").right(),
        Column::new("FAILED").right(),
        Column::new("RTT").right().goes(2),
        Column::new("PACKAGES").right().goes(4),
        Column::new("LAST").goes(1),
        Column::new("PLACE").least(8).goes(3),
    ]);
    let now = console.now;
    table.rows(rows, |row| {
        let known = row.known;
        let place = known.location.as_deref().map(|place| {
            let region = place.region.as_deref().map(|region| format!(" {}", show::text(region)));
            format!("{:.2},{:.2}{}", place.latitude, place.longitude, region.unwrap_or_default())
        });
        vec![
            show::id(row.key, wide).into(),
            row.score.map_or_else(|| "-".to_owned(), show::score).into(),
            show::number(known.successful_retrievals).into(),
            show::number(known.failed_retrievals).into(),
            response_time(known).into(),
            show::number(known.packages_provided).into(),
            show::ago(known.last_seen.into(), now).into(),
            place.unwrap_or_default().into(),
        ]
    });
    table.print(console)
}
