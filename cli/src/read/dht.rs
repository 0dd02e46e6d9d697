//! `dht`: the entries of the distributed hash table.

use peer_journal::state::DhtEntry;
use serde::Serialize;

use super::{Exit, Form, Source};
use crate::{
    console::Console,
    failure::Failure,
    json,
    pick::{self, Slice},
    show::{
        self,
        table::{Column, Table},
    },
};

/// Options of `dht`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print the value under this key, byte by byte, and nothing else
    #[arg(long, value_name = "KEY", conflicts_with_all = ["sort", "matching", "json", "wide"])]
    get: Option<String>,
    /// Order
    #[arg(long, value_name = "BY", default_value = "key")]
    sort: Sort,
    #[command(flatten)]
    slice: Slice,
    /// Only keys that contain this
    #[arg(long = "match", value_name = "TEXT")]
    matching: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// Order of the entries.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Sort {
    /// By key
    Key,
    /// Largest first
    Size,
    /// Stored last first
    Stored,
}

#[derive(Debug, Serialize)]
struct Document {
    lsn: u64,
    total: usize,
    matching: usize,
    entries: Vec<RowJson>,
}

#[derive(Debug, Serialize)]
struct RowJson {
    key: String,
    value_bytes: usize,
    stored_at: Option<String>,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let found = source.reader(console)?;
    let state = found.view().state();
    if let Some(key) = &args.get {
        let entry = state.dht_entry(key).ok_or_else(|| {
            Failure::negative(format!("the DHT has no entry {:?}", show::text(key)))
        })?;
        console.bytes(&entry.value)?;
        return Ok(Exit::Done);
    }
    let mut rows: Vec<(&str, &DhtEntry)> = state
        .dht_entries()
        .filter(|(key, _)| args.matching.as_deref().is_none_or(|part| pick::contains(&[key], part)))
        .collect();
    let (total, matching) = (state.counts().dht_entries, rows.len());
    rows.sort_by(|(a_key, a), (b_key, b)| {
        let order = match args.sort {
            Sort::Key => std::cmp::Ordering::Equal,
            Sort::Size => b.value.len().cmp(&a.value.len()),
            Sort::Stored => b.stored_at.cmp(&a.stored_at),
        };
        order.then_with(|| a_key.cmp(b_key))
    });
    let rows = args.slice.of(rows);
    if args.form.json {
        let entries = rows
            .iter()
            .map(|(key, entry)| RowJson {
                key: (*key).to_owned(),
                value_bytes: entry.value.len(),
                stored_at: json::seen(entry.stored_at.into()),
            })
            .collect();
        let lsn = found.view().lsn().get();
        json::document(console, "dht", &Document { lsn, total, matching, entries })?;
        return Ok(Exit::Done);
    }
    args.form.prepare(console);
    if rows.is_empty() {
        let none = "there is no DHT entry";
        console.note(if total == 0 { none } else { "no DHT entry matches" });
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        Column::new("KEY").least(12),
        Column::new("SIZE").right(),
        Column::new("STORED").goes(1),
    ]);
    let now = console.now;
    table.rows(&rows, |(key, entry)| {
        vec![
            show::text(key).into(),
            show::bytes(entry.value.len()).into(),
            show::ago(entry.stored_at.into(), now).into(),
        ]
    });
    table.print(console)?;
    Ok(Exit::Done)
}
