//! `packages`: the cached packages.

use chrono::TimeDelta;
use peer_journal::state::{CacheEntry, limits::PACKAGE_SECONDS_MAX};
use serde::Serialize;

use super::{Exit, Form, Source};
use crate::{
    console::{Console, Paint},
    failure::Failure,
    json,
    pick::{self, Slice},
    show::{
        self,
        table::{Cell, Column, Table},
    },
};

/// Options of `packages`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print the data of this package, byte by byte, and nothing else
    #[arg(long, value_name = "ID", conflicts_with_all = ["sort", "matching", "json", "wide"])]
    get: Option<String>,
    /// Order
    #[arg(long, value_name = "BY", default_value = "id")]
    sort: Sort,
    #[command(flatten)]
    slice: Slice,
    /// Only packages whose id contains this
    #[arg(long = "match", value_name = "TEXT")]
    matching: Option<String>,
    #[command(flatten)]
    form: Form,
}

/// Order of the packages.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Sort {
    /// By id
    Id,
    /// Largest first
    Size,
    /// Cached last first
    Cached,
}

#[derive(Debug, Serialize)]
struct Document {
    lsn: u64,
    total: usize,
    matching: usize,
    packages: Vec<RowJson>,
}

#[derive(Debug, Serialize)]
struct RowJson {
    package_id: String,
    data_bytes: usize,
    cached_at: String,
    expired: bool,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let found = source.reader(console)?;
    let state = found.view().state();
    if let Some(id) = &args.get {
        let entry = state.package(id).ok_or_else(|| {
            Failure::negative(format!("the cache has no package {:?}", show::text(id)))
        })?;
        console.bytes(&entry.data)?;
        return Ok(Exit::Done);
    }
    let mut rows: Vec<(&str, &CacheEntry)> = state
        .packages()
        .filter(|(id, _)| args.matching.as_deref().is_none_or(|part| pick::contains(&[id], part)))
        .collect();
    let (total, matching) = (state.counts().packages, rows.len());
    rows.sort_by(|(a_id, a), (b_id, b)| {
        let order = match args.sort {
            Sort::Id => std::cmp::Ordering::Equal,
            Sort::Size => b.data.len().cmp(&a.data.len()),
            Sort::Cached => b.cached_at.cmp(&a.cached_at),
        };
        order.then_with(|| a_id.cmp(b_id))
    });
    let rows = args.slice.of(rows);
    let expires =
        |entry: &CacheEntry| entry.cached_at.get() + TimeDelta::seconds(PACKAGE_SECONDS_MAX);
    if args.form.json {
        let packages = rows
            .iter()
            .map(|(id, entry)| RowJson {
                package_id: (*id).to_owned(),
                data_bytes: entry.data.len(),
                cached_at: json::time(entry.cached_at.into()),
                expired: expires(entry) < console.now,
            })
            .collect();
        let lsn = found.view().lsn().get();
        json::document(console, "packages", &Document { lsn, total, matching, packages })?;
        return Ok(Exit::Done);
    }
    args.form.prepare(console);
    if rows.is_empty() {
        console.note(if total == 0 { "no package is cached" } else { "no package matches" });
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&[
        Column::new("PACKAGE").least(12),
        Column::new("SIZE").right(),
        Column::new("CACHED").goes(1),
        Column::new("STATE").goes(2),
    ]);
    let now = console.now;
    table.rows(&rows, |(id, entry)| {
        let state =
            if expires(entry) < now { Cell::painted(Paint::Dim, "expired") } else { "".into() };
        vec![
            show::text(id).into(),
            show::bytes(entry.data.len()).into(),
            show::ago(entry.cached_at.into(), now).into(),
            state,
        ]
    });
    table.print(console)?;
    Ok(Exit::Done)
}
