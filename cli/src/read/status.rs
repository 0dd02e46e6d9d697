//! `status`: one screen, the verdict first.

use std::{
    mem::ManuallyDrop,
    path::{Path, PathBuf},
};

use chrono::{DateTime, TimeDelta, Utc};
use peer_journal::{
    FileKind, FileReport, Holder, Outcome, Proof, Quarantined, Reader, state::Counts,
};
use serde::Serialize;

use super::{
    Exit, Source,
    health::{Health, Word},
};
use crate::{console::Console, failure::Failure, json, progress, reads::Files, show};

/// Options of `status`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The store, as for --store
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Print JSON; `peer-journal schema` tells its form
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    store: String,
    store_id: Option<String>,
    health: Word,
    summary: String,
    lsn: u64,
    counts: CountsJson,
    value_bytes: u64,
    snapshot: Option<SnapshotJson>,
    journal: JournalJson,
    history: HistoryJson,
    at_risk: AtRisk,
    holder: HolderJson,
    quarantine: QuarantineJson,
    /// What only the process that holds the store knows.
    live: Option<()>,
}

#[derive(Debug, Serialize)]
struct CountsJson {
    peers: usize,
    reputation: usize,
    dht_entries: usize,
    packages: usize,
    bootstrap_nodes: usize,
    bans: usize,
    profiles: usize,
}

#[derive(Debug, Serialize)]
struct SnapshotJson {
    path: String,
    lsn: u64,
    size_bytes: u64,
    saved_at: String,
    age_seconds: i64,
}

#[derive(Debug, Serialize)]
struct JournalJson {
    segments: usize,
    size_bytes: u64,
    replay_bytes: u64,
    replay_records: u64,
}

#[derive(Debug, Serialize)]
struct HistoryJson {
    files: usize,
    size_bytes: u64,
    oldest_restorable_lsn: u64,
}

/// What a power cut could take now, as far as the files tell.
#[derive(Debug, Serialize)]
struct AtRisk {
    vouched_lsn: u64,
    unvouched_records: u64,
    torn_bytes: u64,
}

#[derive(Debug, Serialize)]
struct HolderJson {
    /// Null if it cannot be told.
    held: Option<bool>,
    pid: Option<u32>,
    host: Option<String>,
    since: Option<String>,
}

#[derive(Debug, Serialize)]
struct QuarantineJson {
    files: usize,
    size_bytes: u64,
    newest: Option<SetAsideJson>,
}

#[derive(Debug, Serialize)]
struct SetAsideJson {
    path: String,
    label: Option<String>,
    set_aside: Option<String>,
}

/// Everything that is shown.
struct Facts {
    reader: ManuallyDrop<Reader>,
    health: Health,
    files: Vec<FileReport>,
    holder: Option<Holder>,
    quarantine: Vec<Quarantined>,
    oldest: u64,
    proof: Proof,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let reader = source.or(args.path.as_deref()).read(console)?;
    let checked = Files::Checked(reader.state_file());
    let files = progress::reading(console, "checking the files:", &checked, || reader.files())?;
    let facts = Facts {
        health: Health::of(&reader, &files)?,
        holder: reader.holder()?,
        quarantine: reader.quarantine()?,
        oldest: reader.oldest_restorable()?.get(),
        proof: reader.proof(),
        files,
        reader,
    };
    if args.json {
        json::document(console, "status", &document(&facts, console.now))?;
    } else {
        print(&facts, console)?;
    }
    // It tells; `verify` judges.
    Ok(Exit::Done)
}

fn of_kinds<'a>(
    files: &'a [FileReport],
    kinds: &'a [FileKind],
) -> impl Iterator<Item = &'a FileReport> {
    files.iter().filter(|file| kinds.contains(&file.kind))
}

fn sum<'a>(files: impl Iterator<Item = &'a FileReport>) -> (usize, u64) {
    files.fold((0, 0), |(count, bytes), file| (count + 1, bytes.saturating_add(file.bytes)))
}

fn document(facts: &Facts, now: DateTime<Utc>) -> Document {
    let Facts { reader, health, files, holder, quarantine, oldest, proof } = facts;
    let state = reader.view().state();
    let (segments, size_bytes) = sum(of_kinds(files, &[FileKind::Segment]));
    let (history_files, history_bytes) = sum(of_kinds(files, HISTORY));
    let holder = holder.clone();
    Document {
        store: reader.state_file().display().to_string(),
        store_id: reader.store_id().map(|id| id.to_string()),
        health: health.word,
        summary: health.sentence.clone(),
        lsn: reader.view().lsn().get(),
        counts: counts(&state.counts()),
        value_bytes: state.value_bytes(),
        snapshot: reader.snapshot().map(|snapshot| SnapshotJson {
            path: snapshot.path.display().to_string(),
            lsn: snapshot.lsn.get(),
            size_bytes: snapshot.bytes,
            saved_at: json::time(snapshot.saved_at),
            age_seconds: age(snapshot.saved_at, now).num_seconds(),
        }),
        journal: JournalJson {
            segments,
            size_bytes,
            replay_bytes: reader.journal_bytes(),
            replay_records: reader.report().replayed,
        },
        history: HistoryJson {
            files: history_files,
            size_bytes: history_bytes,
            oldest_restorable_lsn: *oldest,
        },
        at_risk: AtRisk {
            vouched_lsn: proof.vouched.get(),
            unvouched_records: proof.unvouched_records,
            torn_bytes: proof.torn_bytes,
        },
        holder: HolderJson {
            held: holder.as_ref().map_or(Some(false), |holder| holder.is_held),
            pid: holder.as_ref().and_then(|holder| holder.pid),
            since: holder.as_ref().and_then(|holder| holder.since).map(json::time),
            host: holder.and_then(|holder| holder.host),
        },
        quarantine: QuarantineJson {
            files: quarantine.len(),
            size_bytes: quarantine.iter().map(|file| file.bytes).fold(0, u64::saturating_add),
            newest: newest(quarantine).map(|file| SetAsideJson {
                path: file.path.display().to_string(),
                label: file.label.clone(),
                set_aside: file.set_aside.map(json::time),
            }),
        },
        live: None,
    }
}

const HISTORY: &[FileKind] = &[FileKind::HistorySnapshot, FileKind::HistorySegment];

fn counts(counts: &Counts) -> CountsJson {
    CountsJson {
        peers: counts.peers,
        reputation: counts.reputation,
        dht_entries: counts.dht_entries,
        packages: counts.packages,
        bootstrap_nodes: counts.bootstrap_nodes,
        bans: counts.bans,
        profiles: counts.profiles,
    }
}

fn newest(quarantine: &[Quarantined]) -> Option<&Quarantined> {
    quarantine.iter().max_by_key(|file| file.set_aside)
}

/// A clock that was set back makes no negative age.
fn age(time: DateTime<Utc>, now: DateTime<Utc>) -> TimeDelta {
    now.signed_duration_since(time).max(TimeDelta::zero())
}

fn print(facts: &Facts, console: &mut Console) -> Result<(), Failure> {
    let Facts { reader, health, .. } = facts;
    let word = health.word.painted(console);
    console.fact("health", &format!("{word}: {}", health.sentence))?;
    if health.word != Word::Ok {
        console.fact("next", &health.next)?;
    }
    console.fact("store", &show::text(&reader.state_file().display().to_string()))?;
    console.fact("holder", &holder(facts.holder.as_ref(), console.now))?;
    let state = reader.view().state();
    let counts = state.counts();
    let held = show::list([
        show::count(counts.peers, "peer"),
        show::count(counts.reputation, "reputation"),
        show::count(counts.bans, "ban"),
        show::count(counts.dht_entries, "DHT entry"),
        show::count(counts.packages, "package"),
        show::count(counts.bootstrap_nodes, "bootstrap node"),
    ]);
    console.fact("holds", &format!("{held} ({} of values)", show::bytes(state.value_bytes())))?;
    console.fact("snapshot", &snapshot(reader, console.now))?;
    console.fact("journal", &journal(facts))?;
    let (files, bytes) = sum(of_kinds(&facts.files, HISTORY));
    let kept = if files > 0 {
        format!("{} in {}, ", show::bytes(bytes), show::count(files, "file"))
    } else {
        String::new()
    };
    let oldest = show::number(facts.oldest);
    console.fact("history", &format!("{kept}reaches back to lsn {oldest}"))?;
    console.fact("at risk", &at_risk(facts))?;
    console.fact("set aside", &set_aside(&facts.quarantine, console.now))?;
    let live = "not published: how long syncs take, what waits in memory, degraded or not";
    console.fact("live", live)
}

fn holder(holder: Option<&Holder>, now: DateTime<Utc>) -> String {
    let Some(holder) = holder else { return "nobody; it was never opened here".to_owned() };
    let pid = holder.pid.map_or_else(|| "an unknown pid".to_owned(), |pid| format!("pid {pid}"));
    let host = holder.host.as_deref().map_or_else(|| "?".to_owned(), show::text);
    let since = holder.since.map_or_else(
        || "an unknown time".to_owned(),
        |since| format!("{} ({})", show::time(since), show::ago(since, now)),
    );
    match holder.is_held {
        Some(true) => format!("{pid} on {host} since {since}; this view is read-only"),
        Some(false) => format!("nobody; the last one was {pid} on {host}, from {since}"),
        None => format!("unknown: cannot be told from here; the last one was {pid} on {host}"),
    }
}

fn snapshot(reader: &Reader, now: DateTime<Utc>) -> String {
    match reader.snapshot() {
        Some(snapshot) if snapshot.lsn.get() == 0 => "none yet: nothing was saved".to_owned(),
        Some(snapshot) => {
            let fallback = if snapshot.path == reader.state_file() {
                String::new()
            } else {
                format!(", the fallback {}", file_name(&snapshot.path))
            };
            format!(
                "lsn {}, {}, saved {} ({}){fallback}",
                show::number(snapshot.lsn.get()),
                show::bytes(snapshot.bytes),
                show::ago(snapshot.saved_at, now),
                show::time(snapshot.saved_at)
            )
        }
        None if reader.report().outcome == Outcome::Migrated => "a version 1 file".to_owned(),
        None => "none that can be used".to_owned(),
    }
}

fn journal(facts: &Facts) -> String {
    let reader = &facts.reader;
    let (segments, bytes) = sum(of_kinds(&facts.files, &[FileKind::Segment]));
    format!(
        "{} in {}; {} ({}) since the snapshot, up to lsn {}",
        show::bytes(bytes),
        show::count(segments, "segment"),
        show::count(reader.report().replayed, "record"),
        show::bytes(reader.journal_bytes()),
        show::number(reader.view().lsn().get())
    )
}

fn at_risk(facts: &Facts) -> String {
    let proof = &facts.proof;
    if facts.health.word == Word::Unrecoverable {
        return "unknown: nothing verifies".to_owned();
    }
    let is_held = facts.holder.as_ref().is_some_and(|holder| holder.is_held != Some(false));
    let memory =
        if is_held { "; what waits in the memory of the holder is not published" } else { "" };
    let files = match proof.unvouched_records {
        0 => format!(
            "nothing in these files: all up to lsn {} is vouched for",
            show::number(proof.vouched.get())
        ),
        records => format!(
            "at most {} in these files (behind lsn {}): nothing vouches for them yet",
            show::count(records, "record"),
            show::number(proof.vouched.get())
        ),
    };
    format!("{files}{memory}")
}

fn set_aside(quarantine: &[Quarantined], now: DateTime<Utc>) -> String {
    let Some(last) = newest(quarantine) else {
        return "nothing is in quarantine".to_owned();
    };
    let bytes = quarantine.iter().map(|file| file.bytes).fold(0, u64::saturating_add);
    let when = last.set_aside.map_or_else(|| "?".to_owned(), |at| show::ago(at, now));
    format!(
        "{} in {} by earlier openings; the last {when}: {}",
        show::bytes(bytes),
        show::count(quarantine.len(), "file"),
        last.label.as_deref().map_or_else(|| "no label".to_owned(), show::text)
    )
}

fn file_name(path: &Path) -> String {
    show::text(&path.file_name().unwrap_or_default().to_string_lossy())
}
