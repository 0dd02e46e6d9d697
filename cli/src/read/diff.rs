//! `diff`: what two states have that the other has not.

use std::{mem::ManuallyDrop, path::Path};

use peer_journal::{
    Difference, Reader, View, journal_dir,
    state::{PeerKey, RowChanges},
};
use serde::Serialize;

use super::{
    Exit, Source,
    cat::view_at,
    fields::{self, Field, Fields, differences},
};
use crate::{
    console::{Console, Paint},
    failure::Failure,
    json, show, store,
};

/// Options of `diff`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The older state: a store or snapshot, or an LSN or time of --store
    #[arg(value_name = "A")]
    older: String,
    /// The newer state, likewise
    #[arg(value_name = "B")]
    newer: String,
    /// Only how many rows differ
    #[arg(long)]
    stat: bool,
    /// Print JSON; `peer-journal schema` tells its form
    #[arg(long)]
    json: bool,
    /// Full ids
    #[arg(long)]
    wide: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    older: SideJson,
    newer: SideJson,
    same: bool,
    stat: Vec<Stat>,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct SideJson {
    given: String,
    lsn: u64,
}

#[derive(Debug, Serialize)]
struct Stat {
    kind: &'static str,
    added: usize,
    removed: usize,
    changed: usize,
}

/// One row that differs.
#[derive(Debug, Serialize)]
struct Row {
    kind: &'static str,
    change: What,
    id: String,
    fields: Vec<Field>,
    #[serde(skip)]
    shown_id: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Added,
    Removed,
    Changed,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let mut reader = None;
    let older = side(&args.older, source, &mut reader, console)?;
    let newer = side(&args.newer, source, &mut reader, console)?;
    let difference = peer_journal::diff(&older, &newer);
    let rows = rows(&difference, args.wide);
    let stat = stat(&rows);
    let exit = if difference.is_empty() { Exit::Done } else { Exit::Finding };
    if args.json {
        let document = Document {
            older: SideJson { given: args.older.clone(), lsn: older.lsn().get() },
            newer: SideJson { given: args.newer.clone(), lsn: newer.lsn().get() },
            same: difference.is_empty(),
            stat,
            rows: if args.stat { Vec::new() } else { rows },
        };
        json::document(console, "diff", &document)?;
        return Ok(exit);
    }
    if difference.is_empty() {
        console.note("no difference");
    } else if args.stat {
        for Stat { kind, added, removed, changed } in stat {
            console.line(format_args!("{kind:<12} +{added} -{removed} ~{changed}"))?;
        }
    } else {
        rows.iter().try_for_each(|row| print(row, console))?;
    }
    Ok(exit)
}

/// A path if there is a file, otherwise a point in the history of the store. That one is read once.
fn side(
    text: &str,
    source: &Source,
    reader: &mut Option<ManuallyDrop<Reader>>,
    console: &mut Console,
) -> Result<View, Failure> {
    let path = Path::new(text);
    let has_journal = journal_dir(&store::state_file(path)).is_dir();
    if path.exists() || has_journal && text.contains(['/', '.']) {
        let other = source.or(Some(path)).reader(console)?;
        return Ok(other.view().clone());
    }
    let reader = match reader {
        Some(reader) => reader,
        empty => empty.insert(source.reader(console)?),
    };
    view_at(reader, text, console).map_err(|failure| match failure.number() {
        2 => Failure::usage(format!("{failure}; nor is there a file of that name")),
        _ => failure,
    })
}

/// The name of a row that has one, whole and as it is shown.
fn named(key: &impl AsRef<str>) -> (String, String) {
    (key.as_ref().to_owned(), show::text(key.as_ref()))
}

fn rows(difference: &Difference, wide: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    let peer = |key: &PeerKey| (key.to_string(), show::id(key, wide));
    add(&mut rows, "peer", &difference.peers, peer, fields::peer);
    add(&mut rows, "profile", &difference.profiles, peer, fields::profile);
    add(&mut rows, "reputation", &difference.reputation, peer, fields::reputation);
    add(&mut rows, "ban", &difference.bans, peer, fields::ban);
    add(&mut rows, "dht", &difference.dht_entries, named, fields::dht);
    add(&mut rows, "package", &difference.packages, named, fields::package);
    let nodes = |nodes: &[Box<str>], change| {
        let row = move |(id, shown_id)| Row {
            kind: "bootstrap",
            change,
            id,
            shown_id,
            fields: Vec::new(),
        };
        nodes.iter().map(named).map(row).collect::<Vec<_>>()
    };
    rows.extend(nodes(&difference.bootstrap_removed, What::Removed));
    rows.extend(nodes(&difference.bootstrap_added, What::Added));
    if difference.bootstrap_reordered {
        let id = "order of the nodes".to_owned();
        let (kind, shown_id) = ("bootstrap", id.clone());
        rows.push(Row { kind, change: What::Changed, id, shown_id, fields: Vec::new() });
    }
    rows
}

/// The rows of one kind, by their ids.
fn add<K, V>(
    rows: &mut Vec<Row>,
    kind: &'static str,
    changes: &RowChanges<K, V>,
    id: impl Fn(&K) -> (String, String),
    fields: impl Fn(&V) -> Fields,
) {
    let from = rows.len();
    let mut push = |key: &K, change, fields| {
        let (id, shown_id) = id(key);
        rows.push(Row { kind, change, id, shown_id, fields });
    };
    for (key, row) in &changes.removed {
        push(key, What::Removed, differences(Some(fields(row)), None));
    }
    for (key, before, after) in &changes.changed {
        push(key, What::Changed, differences(Some(fields(before)), Some(fields(after))));
    }
    for (key, row) in &changes.added {
        push(key, What::Added, differences(None, Some(fields(row))));
    }
    if let Some(added) = rows.get_mut(from..) {
        added.sort_by(|a, b| a.id.cmp(&b.id));
    }
}

fn stat(rows: &[Row]) -> Vec<Stat> {
    let mut stats: Vec<Stat> = Vec::new();
    for row in rows {
        if stats.last().is_none_or(|stat| stat.kind != row.kind) {
            stats.push(Stat { kind: row.kind, added: 0, removed: 0, changed: 0 });
        }
        if let Some(stat) = stats.last_mut() {
            match row.change {
                What::Added => stat.added += 1,
                What::Removed => stat.removed += 1,
                What::Changed => stat.changed += 1,
            }
        }
    }
    stats
}

fn print(row: &Row, console: &mut Console) -> Result<(), Failure> {
    let (mark, paint) = match row.change {
        What::Added => ("+", Paint::Good),
        What::Removed => ("-", Paint::Bad),
        What::Changed => ("~", Paint::Warn),
    };
    let mark = console.paint(paint, mark);
    console.line(format_args!("{mark} {} {}", row.kind, row.shown_id))?;
    for field in &row.fields {
        let side = |side: &Option<String>| side.as_deref().map(show::text).unwrap_or_default();
        let text = match (&field.before, &field.after) {
            (Some(_), Some(_)) => format!("{} -> {}", side(&field.before), side(&field.after)),
            (Some(_), None) if row.change == What::Changed => {
                format!("{} -> none", side(&field.before))
            }
            (None, Some(_)) if row.change == What::Changed => {
                format!("none -> {}", side(&field.after))
            }
            (Some(_), None) => side(&field.before),
            _ => side(&field.after),
        };
        console.line(format_args!("    {}: {text}", field.name))?;
    }
    Ok(())
}
