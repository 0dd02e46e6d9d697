//! `why`: what changed the reputation of one peer, or banned it.

use std::{collections::HashSet, mem::ManuallyDrop, thread};

use chrono::{DateTime, Utc};
use peer_journal::{
    Error, ErrorKind, Log, LogRecord, Lsn, Reader,
    state::{Change, PeerKey, State},
};
use serde::Serialize;

use super::{
    Exit, Form, Source,
    change::{ChangeJson, describe},
    rows::{BanJson, PeerJson, ReputationJson, ban_now, last_seen, rounded, score_of},
    timeline::{Standing, Step, Timeline},
};
use crate::{
    console::{Console, Paint},
    failure::Failure,
    json,
    pick::{self, PeerQuery},
    progress,
    reads::Files,
    show::{
        self,
        table::{Cell, Column, Table},
    },
};

/// How often a store is read that compaction changes meanwhile.
const ATTEMPTS: u32 = 10;

/// What the journal has, or why not.
type Entry = Result<LogRecord, Error>;

/// Options of `why`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The peer: its id, or the beginning or end of it
    #[arg(value_name = "PEER")]
    peer: PeerQuery,
    /// Every change about the peer, not only those that count
    #[arg(long)]
    all: bool,
    /// Show only the newest this many changes
    #[arg(short = 'n', long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    form: Form,
}

/// One line of the timeline.
#[derive(Debug, Serialize)]
struct Event {
    lsn: u64,
    at: Option<String>,
    at_is_exact: bool,
    /// Null for a large update, of which no record holds the changes.
    change: Option<ChangeJson>,
    score_before: Option<f64>,
    score_after: Option<f64>,
    #[serde(skip)]
    what: String,
    #[serde(skip)]
    time: Option<DateTime<Utc>>,
    #[serde(skip)]
    is_ban: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    peer_id: String,
    lsn: u64,
    /// What is known of it now; null if nothing but perhaps a ban.
    peer: Option<PeerJson>,
    ban: Option<BanJson>,
    history_from_lsn: u64,
    /// What was known of it there.
    reputation_at_start: Option<ReputationJson>,
    banned_at_start: bool,
    events: Vec<Event>,
}

/// Everything that is told of one peer.
struct Story {
    peer: PeerKey,
    /// As of which LSN it begins, and how the peer stood then.
    from: Lsn,
    start: Standing,
    events: Vec<Event>,
    /// Older events that are left out.
    left_out: usize,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let (reader, story) = patiently(args, source, console)?;
    let (state, now) = (reader.view().state(), console.now);
    if args.form.json {
        let peer = &story.peer;
        let ban = ban_now(state, peer, now);
        let document = Document {
            peer_id: peer.to_string(),
            lsn: reader.view().lsn().get(),
            peer: state.peer(peer).map(|entry| PeerJson::new(peer, entry, ban, now)),
            ban: ban.map(|ban| BanJson::new(ban, now)),
            history_from_lsn: story.from.get(),
            reputation_at_start: story
                .start
                .entry
                .as_ref()
                .and_then(|entry| entry.reputation.as_ref())
                .map(ReputationJson::new),
            banned_at_start: story.start.ban.is_some(),
            events: story.events,
        };
        json::document(console, "why", &document)?;
        return Ok(Exit::Done);
    }
    args.form.prepare(console);
    head(&story.peer, state, console)?;
    timeline(&story, console)?;
    Ok(Exit::Done)
}

/// Why there is no story.
enum Trouble {
    /// Compaction has removed what the reader knew of: a new one knows better.
    Moved(Error),
    Failed(Failure),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Compacted => Self::Moved(error),
            _ => Self::Failed(error.into()),
        }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Beside a node that compacts, files may go between one look and the next.
fn patiently(
    args: &Args,
    source: &Source,
    console: &mut Console,
) -> Result<(ManuallyDrop<Reader>, Story), Failure> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let reader = source.reader(console)?;
        match story(args, &reader, console) {
            Ok(story) => return Ok((reader, story)),
            Err(Trouble::Moved(_)) if attempts < ATTEMPTS => {}
            Err(Trouble::Moved(error)) => return Err(error.into()),
            Err(Trouble::Failed(failure)) => return Err(failure),
        }
    }
}

fn story(args: &Args, reader: &Reader, console: &mut Console) -> Result<Story, Trouble> {
    let from = reader.oldest_restorable()?;
    let base = progress::during(console, "going back:", || reader.state_at(from))?;
    let state = reader.view().state();
    let peer = find(&args.peer, [base.state(), state], reader)?;
    let mut line = Timeline::new(&peer, base.state())?;
    let start = line.standing();
    let mut events = Vec::new();
    let segments = Files::Segments(reader.state_file());
    let entries = || entries(&peer, from, reader);
    for entry in progress::reading(console, "reading the journal:", &segments, entries)? {
        let record = match entry {
            Ok(record) => record,
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                console.note(format_args!("note: {error:#}"));
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        if record.is_large_update {
            // Only a snapshot tells what it was.
            line = Timeline::new(&peer, reader.state_at(record.lsn)?.state())?;
            events.push(large_update(&record));
            continue;
        }
        for change in &record.changes {
            if line.concerns(change) {
                let at = record.at.unwrap_or(console.now);
                let step = line.step(change, at)?;
                if step.matters || args.all {
                    events.push(event(&record, change, &step));
                }
            }
        }
    }
    let was_known = start.entry.is_some() || start.ban.is_some() || !events.is_empty();
    if !was_known && state.peer(&peer).is_none() && state.ban(&peer).is_none() {
        return Err(Trouble::Failed(Failure::negative(format!(
            "nothing is known of {}: it is not in the state, and the journal, which begins behind \
             lsn {from}, has nothing about it",
            show::text(&peer.to_string())
        ))));
    }
    let left_out = events.len().saturating_sub(args.limit.unwrap_or(usize::MAX));
    let events = events.into_iter().skip(left_out).collect();
    Ok(Story { peer, from, start, events, left_out })
}

/// Everything in the journal behind a record that may touch the peer, in order. Two threads read a
/// half each: a million records take one alone a third of a second.
fn entries(peer: &PeerKey, from: Lsn, reader: &Reader) -> Result<Vec<Entry>, Trouble> {
    let half = reader.view().lsn().get().saturating_sub(from.get()) / 2;
    let middle = Lsn::new(from.get().saturating_add(half));
    let (early, late) = thread::scope(|scope| {
        let late = scope.spawn(|| may_touch(peer, reader.log(middle.next()..)?));
        let early = reader.log(from.next()..=middle).and_then(|log| may_touch(peer, log));
        (early, late.join())
    });
    let late = late.map_err(|_| Failure::negative("a thread that read the journal is gone"))?;
    let mut entries = early?;
    entries.extend(late?);
    Ok(entries)
}

/// What cannot be read is told later, in its place.
fn may_touch(peer: &PeerKey, log: Log) -> Result<Vec<Entry>, Error> {
    let peer = peer.clone();
    let touches = move |change: &Change| {
        matches!(change, Change::Expired { .. }) || change.peer() == Some(&peer)
    };
    Ok(log.only(touches).collect())
}

/// The peer that a query means: one that is known now or at the start, or that the journal names.
fn find(query: &PeerQuery, states: [&State; 2], reader: &Reader) -> Result<PeerKey, Failure> {
    if let Some(peer) = query.full() {
        return Ok(peer);
    }
    let known = states.into_iter().flat_map(|state| {
        let peers = state.peers().map(|(key, _)| key);
        peers.chain(state.bans().map(|(key, _)| key))
    });
    match pick::find_peer(query, known) {
        Err(failure) if failure.number() == 1 => {}
        found => return found,
    }
    // Perhaps it came and went in between.
    let mut named = HashSet::new();
    for record in reader.log(..)?.flatten() {
        named.extend(record.changes.iter().filter_map(Change::peer).cloned());
    }
    pick::find_peer(query, &named)
}

fn event(record: &LogRecord, change: &Change, step: &Step) -> Event {
    Event {
        lsn: record.lsn.get(),
        at: record.at.map(json::time),
        at_is_exact: record.at_is_exact,
        change: Some(ChangeJson::new(change)),
        score_before: step.score_before.map(rounded),
        score_after: step.score_after.map(rounded),
        what: describe(change),
        time: record.at,
        is_ban: change.is_ban(),
    }
}

fn large_update(record: &LogRecord) -> Event {
    Event {
        lsn: record.lsn.get(),
        at: record.at.map(json::time),
        at_is_exact: record.at_is_exact,
        change: None,
        score_before: None,
        score_after: None,
        what: "large update of the whole state; no record tells what it changed".to_owned(),
        time: record.at,
        is_ban: false,
    }
}

/// How the peer stands now.
fn head(peer: &PeerKey, state: &State, console: &mut Console) -> Result<(), Failure> {
    console.fact("peer", &show::text(&peer.to_string()))?;
    let entry = state.peer(peer);
    let now = match entry {
        None => "nothing is known of it".to_owned(),
        Some(entry) => {
            let score = score_of(entry, console.now);
            let score = score.map_or_else(|| "none, only heard of".to_owned(), show::score);
            let known = entry.reputation.clone().unwrap_or_default();
            format!(
                "score {score}; {} ok, {} failed; last seen {}",
                show::number(known.successful_retrievals),
                show::number(known.failed_retrievals),
                show::ago(last_seen(entry), console.now)
            )
        }
    };
    console.fact("now", &now)?;
    let ban = match ban_now(state, peer, console.now) {
        None => "not banned".to_owned(),
        Some(ban) => {
            let word = console.paint(Paint::Bad, "banned");
            let left = show::span(ban.until.get().signed_duration_since(console.now));
            let (reason, source) = (show::text(&ban.reason), show::text(&ban.source));
            format!("{word}, {left} left: {reason} (by {source})")
        }
    };
    console.fact("ban", &ban)
}

fn timeline(story: &Story, console: &mut Console) -> Result<(), Failure> {
    let mut table = Table::new(&[
        Column::new("LSN").right(),
        Column::new("TIME").least(8).goes(1),
        Column::new("SCORE").goes(2),
        Column::new("WHAT").least(16),
    ]);
    let known = story.start.entry.as_ref().and_then(|entry| entry.reputation.clone());
    let known = known.unwrap_or_default();
    let banned = if story.start.ban.is_some() { ", banned" } else { "" };
    let start = match (&story.start.entry, &story.start.ban) {
        (None, None) => "the journal begins; nothing was known of it".to_owned(),
        _ => format!(
            "the journal begins; {} ok, {} failed{banned}",
            show::number(known.successful_retrievals),
            show::number(known.failed_retrievals)
        ),
    };
    table.row(vec![show::number(story.from.get()).into(), "".into(), "".into(), start.into()]);
    if story.left_out > 0 {
        let what = format!("{} left out", show::count(story.left_out, "older change"));
        table.row(vec!["".into(), "".into(), "".into(), what.into()]);
    }
    for event in &story.events {
        let mark = if event.at_is_exact { "" } else { "~" };
        let time = event.time.map_or_else(String::new, |at| format!("{mark}{}", show::time(at)));
        let what = match event.is_ban {
            true => Cell::painted(Paint::Warn, event.what.as_str()),
            false => event.what.as_str().into(),
        };
        table.row(vec![show::number(event.lsn).into(), time.into(), change(event).into(), what]);
    }
    console.line("")?;
    table.print(console)?;
    if story.events.is_empty() {
        console.note("the journal has nothing that changed its reputation or its ban");
    }
    Ok(())
}

fn change(event: &Event) -> String {
    let word = |score: Option<f64>| score.map_or_else(|| "-".to_owned(), show::score);
    let (before, after) = (word(event.score_before), word(event.score_after));
    if before == after { after } else { format!("{before} -> {after}") }
}
