//! `log`: the journal, record by record.

use std::{collections::HashSet, thread, time::Duration};

use chrono::{DateTime, Utc};
use peer_journal::{
    Error, ErrorKind, Follow, Journal, LogRecord, Lsn,
    state::{Change, PeerKey, encode},
};
use serde::Serialize;

use super::{
    Exit, Source,
    change::{ChangeJson, describe},
};
use crate::{
    console::Console,
    failure::Failure,
    json,
    pick::{self, Kinds, PeerQuery},
    show::{self, table},
};

/// Records that `-f` shows before it waits, unless `-n` says otherwise.
const BEFORE_FOLLOWING: usize = 10;
/// Time between two looks at the files.
const PACE: Duration = Duration::from_millis(250);
/// Columns below which times are short and kinds are left out.
const NARROW: usize = 80;

/// Options of `log`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Go on with new records until Ctrl-C; shows the last ten first
    #[arg(short, long, conflicts_with_all = ["reverse", "until"])]
    follow: bool,
    /// Show the newest this many
    #[arg(short = 'n', long, value_name = "N")]
    lines: Option<usize>,
    /// Only records since then
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only records until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Only records from this one on
    #[arg(long, value_name = "LSN")]
    from_lsn: Option<u64>,
    /// Only changes about this peer: its id, or the beginning or end of it
    #[arg(long, value_name = "PEER")]
    peer: Option<PeerQuery>,
    /// Only changes of this kind, or of a group: peer, reputation, ban, dht, package, bootstrap
    #[arg(long, value_name = "KIND")]
    kind: Vec<Kinds>,
    /// Newest first
    #[arg(long)]
    reverse: bool,
    /// Form of the output
    #[arg(short, long, value_name = "FORM", default_value = "short")]
    output: Output,
    /// The same as `-o json`
    #[arg(long, conflicts_with = "output")]
    json: bool,
    /// Full ids, nothing cut
    #[arg(long)]
    wide: bool,
}

/// Form of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A line for each change
    Short,
    /// A JSON object on a line for each record
    Json,
    /// LSN, file, offset, and the payload in hexadecimal digits
    Raw,
}

#[derive(Debug, Serialize)]
struct Line {
    lsn: u64,
    at: Option<String>,
    at_is_exact: bool,
    segment: u64,
    file: String,
    offset_bytes: u64,
    length_bytes: u64,
    large_update: bool,
    changes: Vec<ChangeJson>,
}

/// What to show, with times and peers looked up.
#[derive(Clone)]
struct Filter {
    since: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
    peer: Option<PeerKey>,
    kinds: Vec<Kinds>,
}

impl Filter {
    fn is_in_time(&self, record: &LogRecord) -> bool {
        // A record of which nobody knows the time belongs to every time.
        record.at.is_none_or(|at| {
            self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at <= until)
        })
    }

    fn is_all(&self) -> bool {
        self.since.is_none() && self.until.is_none() && self.wants_all()
    }

    fn wants_all(&self) -> bool {
        self.peer.is_none() && self.kinds.is_empty()
    }

    fn is_wanted(&self, change: &Change) -> bool {
        self.peer.as_ref().is_none_or(|peer| change.peer() == Some(peer))
            && (self.kinds.is_empty() || self.kinds.iter().any(|kinds| kinds.matches(change)))
    }

    /// The record with only those changes that are wanted, unless there are none.
    fn of(&self, mut record: LogRecord) -> Option<LogRecord> {
        if !self.is_in_time(&record) {
            return None;
        }
        record.changes.retain(|change| self.is_wanted(change));
        let is_wanted = !record.changes.is_empty() || record.is_large_update && self.wants_all();
        is_wanted.then_some(record)
    }
}

/// How a record is printed.
#[derive(Clone, Copy)]
struct Style {
    output: Output,
    wide: bool,
}

/// Keeps what is asked for, and says what is missing.
struct Sieve {
    filter: Filter,
    has_holes: bool,
    is_empty: bool,
}

impl Sieve {
    fn pass(
        &mut self,
        entry: Result<LogRecord, Error>,
        console: &mut Console,
    ) -> Result<Option<LogRecord>, Failure> {
        match entry {
            Ok(record) => {
                let record = self.filter.of(record);
                self.is_empty &= record.is_none();
                Ok(record)
            }
            // The log goes on behind what is missing. That a node compacted meanwhile is no
            // finding: a moment later those records would not have been there at all.
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Compacted) => {
                self.has_holes |= error.kind() == ErrorKind::Corrupt;
                console.note(format_args!("note: {error:#}"));
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    if args.wide {
        console.width = None;
    }
    let mut filter = Filter {
        since: time(args.since.as_deref(), console.now)?,
        until: time(args.until.as_deref(), console.now)?,
        peer: None,
        kinds: args.kind.clone(),
    };
    let journal = source.journal()?;
    if let Some(query) = &args.peer {
        filter.peer = Some(peer(query, &journal)?);
    }
    let mut sieve = Sieve { filter, has_holes: false, is_empty: true };
    let style =
        Style { output: if args.json { Output::Json } else { args.output }, wide: args.wide };
    let from = Lsn::new(args.from_lsn.unwrap_or_default());
    let last = shown(args, &journal, from, &mut sieve, style, console)?;
    if !args.follow && sieve.is_empty && !sieve.has_holes {
        let is_all = sieve.filter.is_all() && args.from_lsn.is_none();
        console.note(if is_all { "there is no record" } else { "no record matches" });
    }
    if args.follow {
        // Where compaction has left no record, the snapshot says how far it goes.
        let last = if last == Lsn::ZERO { source.read(console)?.view().lsn() } else { last };
        follow(&mut journal.follow(last), &mut sieve, style, console)?;
    }
    Ok(if sieve.has_holes { Exit::Finding } else { Exit::Done })
}

/// Prints what is there; the number of the last record if somebody follows, printed or not.
fn shown(
    args: &Args,
    journal: &Journal,
    from: Lsn,
    sieve: &mut Sieve,
    style: Style,
    console: &mut Console,
) -> Result<Lsn, Failure> {
    let mut log = journal.log(from..)?;
    if !args.follow {
        let filter = sieve.filter.clone();
        log = log.only(move |change| filter.is_wanted(change));
    }
    let mut last = from.previous();
    let mut seen = |entry: &Result<LogRecord, Error>| {
        if let Ok(record) = entry {
            last = last.max(record.lsn);
        }
    };
    let Some(most) = args.lines.or(args.follow.then_some(BEFORE_FOLLOWING)) else {
        let log: Box<dyn Iterator<Item = _>> =
            if args.reverse { Box::new(log.rev()) } else { Box::new(log) };
        for entry in log {
            seen(&entry);
            if let Some(record) = sieve.pass(entry, console)? {
                print(&record, style, console)?;
            }
        }
        return Ok(last);
    };
    let mut newest = Vec::new();
    let mut log = log.rev();
    while newest.len() < most.max(1) {
        let Some(entry) = log.next() else { break };
        seen(&entry);
        newest.extend(sieve.pass(entry, console)?);
    }
    newest.truncate(most);
    if !args.reverse {
        newest.reverse();
    }
    newest.iter().try_for_each(|record| print(record, style, console))?;
    Ok(last)
}

/// Goes on until the process is stopped or nobody reads any more.
fn follow(
    follow: &mut Follow,
    sieve: &mut Sieve,
    style: Style,
    console: &mut Console,
) -> Result<(), Failure> {
    loop {
        console.flush()?;
        match follow.poll() {
            Ok(records) if records.is_empty() => thread::sleep(PACE),
            Ok(records) => {
                for record in records.into_iter().filter_map(|record| sieve.filter.of(record)) {
                    print(&record, style, console)?;
                }
            }
            // It is told once, and the next call goes on.
            Err(error) => drop(sieve.pass(Err(error), console)?),
        }
    }
}

/// The peer that a query means among all that the journal has a word of.
fn peer(query: &PeerQuery, journal: &Journal) -> Result<PeerKey, Failure> {
    if let Some(peer) = query.full() {
        return Ok(peer);
    }
    let mut known = HashSet::new();
    for record in journal.log(..)?.flatten() {
        known.extend(record.changes.iter().filter_map(Change::peer).cloned());
    }
    pick::find_peer(query, &known)
}

fn time(text: Option<&str>, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Failure> {
    text.map(|text| pick::parse_time(text, now)).transpose().map_err(Failure::usage)
}

fn print(record: &LogRecord, style: Style, console: &mut Console) -> Result<(), Failure> {
    match style.output {
        Output::Json => json::line(console, "log", &as_json(record)),
        Output::Raw => {
            let mut payload = Vec::new();
            encode(&record.changes, &mut payload)?;
            let file = record.file.file_name().unwrap_or_default().to_string_lossy();
            let hex = data_encoding::HEXLOWER.encode(&payload);
            console.line(format_args!("{} {file} {} {hex}", record.lsn, record.offset))
        }
        Output::Short => {
            let wide = style.wide;
            if record.is_large_update {
                let what = "large update: a snapshot of this lsn holds it";
                return console.line(short(record, "large_update", None, what, wide, console));
            }
            for change in &record.changes {
                let what = describe(change);
                let (kind, peer) = (change.kind(), change.peer());
                let line = short(record, kind, peer, &what, wide, console);
                console.line(line)?;
            }
            Ok(())
        }
    }
}

fn as_json(record: &LogRecord) -> Line {
    Line {
        lsn: record.lsn.get(),
        at: record.at.map(json::time),
        at_is_exact: record.at_is_exact,
        segment: record.segment,
        file: record.file.display().to_string(),
        offset_bytes: record.offset,
        length_bytes: record.bytes,
        large_update: record.is_large_update,
        changes: record.changes.iter().map(ChangeJson::new).collect(),
    }
}

fn short(
    record: &LogRecord,
    kind: &str,
    peer: Option<&PeerKey>,
    what: &str,
    wide: bool,
    console: &Console,
) -> String {
    let is_narrow = console.width.is_some_and(|width| width < NARROW);
    // Where the time is that of an earlier record, a mark says so.
    let mark = if record.at_is_exact { ' ' } else { '~' };
    let time = match record.at {
        None => "-".to_owned(),
        Some(at) if is_narrow => at.format("%H:%M:%S").to_string(),
        Some(at) => show::exact_time(at),
    };
    let peer = peer.map(|peer| show::id(peer, wide)).unwrap_or_default();
    let line = if is_narrow {
        format!("{:>5} {mark}{time} {peer:<9} {what}", record.lsn.get())
    } else {
        let width = if wide { 52 } else { 9 };
        format!("{:>7}  {mark}{time:<24}  {kind:<19}  {peer:<width$}  {what}", record.lsn.get())
    };
    match console.width {
        Some(width) => table::cut(&line, width),
        None => line,
    }
}
