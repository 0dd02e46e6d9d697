//! `undo`: takes records back by changes that compensate them.

use std::str::FromStr;

use peer_journal::{
    Change, Error, ErrorKind, LogRecord, Lsn, Reader, View,
    state::{RowKey, State, Undo},
};
use serde::Serialize;

use super::{
    answer,
    open::{self, Open},
};
use crate::{
    console::Console,
    failure::Failure,
    json, progress,
    read::{Exit, Form, Source, change::ChangeJson},
    show,
};

/// Rows in the way that an error lists.
const LISTED: usize = 8;

/// Options of `undo`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The record to take back, or a range such as 12..18; `peer-journal log` shows them
    #[arg(value_name = "LSN")]
    records: Records,
    /// Show what would be done and write nothing; works beside a running node
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    form: Form,
}

/// One record, or those of a range with both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Records {
    first: u64,
    last: u64,
}

impl FromStr for Records {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "give the number of a record, such as 17, or a range, such as 12..18";
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str| text.trim().parse::<u64>().map_err(|_| WRONG);
        let (first, last) = (number(first)?, number(last)?);
        if first == 0 || first > last {
            return Err("records count from 1, and the first of a range comes first");
        }
        Ok(Self { first, last })
    }
}

#[derive(Debug, Serialize)]
struct Document {
    /// Null if nothing was written.
    lsn: Option<u64>,
    dry_run: bool,
    first: u64,
    last: u64,
    changes: Vec<ChangeJson>,
    expired: Vec<RowJson>,
}

#[derive(Debug, Serialize)]
struct RowJson {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

impl RowJson {
    fn new(row: &RowKey) -> Self {
        Self {
            kind: row.kind(),
            peer_id: row.peer().map(ToString::to_string),
            name: row.name().map(str::to_owned),
        }
    }
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    if args.dry_run {
        let reader = reader(source, console)?;
        let undo = plan(args, &reader, reader.view(), console)?;
        tell(args, &undo, None, console)?;
        return Ok(Exit::Done);
    }
    let open = Open::new(source, console)?;
    let view = open.view()?;
    let planned = reader(source, console).and_then(|reader| plan(args, &reader, &view, console));
    let undo = match planned {
        Ok(undo) if !undo.changes.is_empty() => undo,
        other => {
            open.close()?;
            tell(args, &other?, None, console)?;
            return Ok(Exit::Done);
        }
    };
    let lsn = open.journal(undo.changes.clone())?;
    tell(args, &undo, Some(lsn), console)?;
    Ok(Exit::Done)
}

/// The past is read from the files, which nobody else changes while the store is held.
fn reader(source: &Source, console: &Console) -> Result<Reader, Failure> {
    Ok(open::unbounded(&source.path()?, console)?)
}

/// What takes the records back, if nothing stands in the way.
fn plan(args: &Args, reader: &Reader, now: &View, console: &Console) -> Result<Undo, Failure> {
    let Records { first, last } = args.records;
    let at = |lsn: Lsn| {
        let view = progress::during(console, "going back:", || reader.state_at(lsn));
        view.map_err(unreachable_past)
    };
    let after = at(Lsn::new(last))?;
    let before = at(Lsn::new(first).previous())?;
    let undo = now.state().undo(before.state(), after.state(), console.now.into());
    if undo.conflicts.is_empty() {
        return Ok(undo);
    }
    let mut text = String::from("nothing was undone, because later records changed the same rows:");
    for row in undo.conflicts.iter().take(LISTED) {
        let by = changed_by(reader, row, &after)?;
        let by = by.map_or_else(String::new, |lsn| format!(" (lsn {})", show::number(lsn.get())));
        text.push_str(&format!("\n  {}{by}", named(row, true)));
    }
    if let Some(more) = undo.conflicts.len().checked_sub(LISTED).filter(|more| *more > 0) {
        text.push_str(&format!("\n  and {} more", show::count(more, "row")));
    }
    text.push_str("\nundo those first, newest first, or give a range up to the last of them");
    Err(Failure::negative(text))
}

fn unreachable_past(error: Error) -> Failure {
    match error.kind() {
        ErrorKind::Compacted | ErrorKind::Corrupt => Failure::negative(format!(
            "nothing was undone, because the state before it is not known any more: {error:#}"
        )),
        _ => error.into(),
    }
}

/// The last record behind a state that changed the row.
fn changed_by(reader: &Reader, row: &RowKey, after: &View) -> Result<Option<Lsn>, Failure> {
    let mut state: State = after.state().clone();
    let mut found = None;
    for record in reader.log(after.lsn().next()..)? {
        let Ok(LogRecord { lsn, changes, .. }) = record else { continue };
        let before = state.clone();
        // As in recovery, a record that a limit keeps out is left out.
        drop(state.apply_all(&changes));
        if !row.is_same(&before, &state) {
            found = Some(lsn);
        }
    }
    Ok(found)
}

/// A row in words.
fn named(row: &RowKey, wide: bool) -> String {
    match (row.peer(), row.name()) {
        (Some(peer), _) => format!("{} of {}", row.kind(), show::id(peer, wide)),
        (None, Some(name)) => format!("{} {}", row.kind(), show::text(name)),
        (None, None) => row.kind().to_owned(),
    }
}

fn tell(args: &Args, undo: &Undo, lsn: Option<Lsn>, console: &mut Console) -> Result<(), Failure> {
    let Records { first, last } = args.records;
    if args.form.json {
        let document = Document {
            lsn: lsn.map(|lsn| lsn.get()),
            dry_run: args.dry_run,
            first,
            last,
            changes: undo.changes.iter().map(ChangeJson::new).collect(),
            expired: undo.expired.iter().map(RowJson::new).collect(),
        };
        return json::document(console, "undo", &document);
    }
    args.form.prepare(console);
    let changes: &[Change] = &undo.changes;
    answer::list(changes, args.form.wide, console)?;
    for row in &undo.expired {
        let row = named(row, args.form.wide);
        console.note(format_args!("note: {row} had run out meanwhile, and stays gone"));
    }
    match lsn {
        Some(lsn) => console.fact("lsn", &format!("{}, durable", show::number(lsn.get()))),
        None if changes.is_empty() => {
            console.note("nothing is to be undone: the rows are as they were before");
            Ok(())
        }
        None => console.fact("lsn", "none: with --dry-run nothing is written"),
    }
}
