//! `verify`: every byte of every file, and what they prove.

use std::path::{Path, PathBuf};

use peer_journal::{Checksums, Damage, FileKind, FileReport, LsnRange, Reader, Verdict};
use serde::Serialize;

use super::{
    Exit, Source,
    health::{Grade, Health, Word, grade, help},
};
use crate::{
    console::{Console, Paint},
    failure::Failure,
    json, progress,
    reads::Files,
    show::{
        self,
        table::{Cell, Column, Table},
    },
};

/// Options of `verify`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The store, as for --store
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// A torn tail is a finding too
    #[arg(long)]
    strict: bool,
    /// Print JSON; `peer-journal schema` tells its form
    #[arg(long)]
    json: bool,
}

/// What was found, in the form of the JSON answer.
#[derive(Debug, Serialize)]
pub struct Verified {
    store: String,
    store_id: Option<String>,
    /// How the store is, in one word.
    pub verdict: Word,
    /// The exit code that belongs to it.
    pub exit_code: u8,
    summary: String,
    next: String,
    /// The files hold the state up to this record, but for what is lost.
    pub lsn: u64,
    snapshot_lsn: Option<u64>,
    vouched_lsn: u64,
    unvouched_records: u64,
    torn_bytes: u64,
    replayed_records: u64,
    /// Records that were durable once and are gone.
    pub lost: Vec<LsnsJson>,
    lost_records: u64,
    end_unknown: bool,
    left_out_rows: u64,
    files: Vec<FileJson>,
    findings: Vec<FindingJson>,
}

/// A range of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LsnsJson {
    /// The first one.
    pub first: u64,
    /// The last one.
    pub last: u64,
    records: u64,
}

#[derive(Debug, Serialize)]
struct FileJson {
    path: String,
    kind: &'static str,
    state: Grade,
    label: &'static str,
    size_bytes: u64,
    format_version: Option<u32>,
    first_lsn: Option<u64>,
    last_lsn: Option<u64>,
    records: u64,
    sealed: bool,
    zero_bytes: u64,
    records_behind_damage: u64,
    detail: Option<String>,
    damage: Vec<DamageJson>,
}

#[derive(Debug, Serialize)]
struct DamageJson {
    offset_bytes: u64,
    length_bytes: u64,
    torn_tail: bool,
    lsn: Option<u64>,
    checksum_written: Option<String>,
    checksum_computed: Option<String>,
}

#[derive(Debug, Serialize)]
struct FindingJson {
    label: &'static str,
    path: String,
    detail: String,
    help: String,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let reader = source.or(args.path.as_deref()).read(console)?;
    let checked = Files::Checked(reader.state_file());
    let files = progress::reading(console, "checking the files:", &checked, || reader.files())?;
    let health = Health::of(&reader, &files)?;
    let exit = health.word.exit(args.strict);
    if args.json {
        json::document(console, "verify", &verified(&reader, &files, &health, args.strict))?;
        return Ok(exit);
    }
    print_files(&files, console)?;
    for file in &files {
        print_damage(file, console)?;
    }
    for finding in &reader.report().findings {
        // What stands in the table or among the damage is not told twice.
        if !files.iter().any(|file| file.path == finding.path && file.verdict == finding.verdict) {
            let file = name(&finding.path);
            let detail = show::text(&finding.detail);
            console.fact("finding", &format!("{file}: {}: {detail}", finding.verdict))?;
        }
    }
    if reader.report().skipped > 0 {
        let rows = show::count(reader.report().skipped, "row");
        let first = reader.report().first_skipped.as_deref().unwrap_or_default();
        console.fact("limits", &format!("{rows} left out; the first: {}", show::text(first)))?;
    }
    let word = health.word.painted(console);
    console.fact("verdict", &format!("{word}: {}", health.sentence))?;
    console.fact("next", &health.next)?;
    Ok(exit)
}

/// Reads every file and judges the store.
///
/// # Errors
/// If a file cannot be read.
pub fn verify(reader: &Reader, strict: bool) -> Result<Verified, Failure> {
    let files = reader.files()?;
    let health = Health::of(reader, &files)?;
    Ok(verified(reader, &files, &health, strict))
}

fn verified(reader: &Reader, files: &[FileReport], health: &Health, strict: bool) -> Verified {
    let (report, proof) = (reader.report(), reader.proof());
    let findings = report.findings.iter().map(|finding| FindingJson {
        label: finding.verdict.as_str(),
        path: finding.path.display().to_string(),
        detail: finding.detail.clone(),
        help: help(finding.verdict),
    });
    Verified {
        store: reader.state_file().display().to_string(),
        store_id: reader.store_id().map(|id| id.to_string()),
        verdict: health.word,
        exit_code: health.word.exit(strict).number(),
        summary: health.sentence.clone(),
        next: health.next.clone(),
        lsn: report.last_lsn.get(),
        snapshot_lsn: report.snapshot_lsn.map(|lsn| lsn.get()),
        vouched_lsn: proof.vouched.get(),
        unvouched_records: proof.unvouched_records,
        torn_bytes: proof.torn_bytes,
        replayed_records: report.replayed,
        lost: report.lost.iter().map(LsnsJson::new).collect(),
        lost_records: report.lost_records(),
        end_unknown: report.end_unknown,
        left_out_rows: report.skipped,
        files: files.iter().map(|file| FileJson::new(file, grade(file, files))).collect(),
        findings: findings.collect(),
    }
}

impl LsnsJson {
    pub(crate) fn new(range: &LsnRange) -> Self {
        Self { first: range.first.get(), last: range.last.get(), records: range.count() }
    }
}

impl FileJson {
    fn new(file: &FileReport, state: Grade) -> Self {
        Self {
            path: file.path.display().to_string(),
            kind: file.kind.as_str(),
            state,
            label: file.verdict.as_str(),
            size_bytes: file.bytes,
            format_version: file.format_version,
            first_lsn: file.first_lsn.map(|lsn| lsn.get()),
            last_lsn: file.last_lsn.map(|lsn| lsn.get()),
            records: file.records,
            sealed: file.is_sealed,
            zero_bytes: file.zero_bytes,
            records_behind_damage: file.records_behind_damage,
            detail: file.detail.clone(),
            damage: file.damage.iter().map(DamageJson::new).collect(),
        }
    }
}

impl DamageJson {
    fn new(damage: &Damage) -> Self {
        let hex = |checksum: fn(&Checksums) -> u32| {
            damage.record.as_ref().map(|record| format!("{:08x}", checksum(record)))
        };
        Self {
            offset_bytes: damage.offset,
            length_bytes: damage.bytes,
            torn_tail: damage.is_torn_tail,
            lsn: damage.record.map(|record| record.lsn.get()),
            checksum_written: hex(|record| record.written),
            checksum_computed: hex(|record| record.computed),
        }
    }
}

fn print_files(files: &[FileReport], console: &mut Console) -> Result<(), Failure> {
    let mut table = Table::new(&[
        Column::new("FILE").least(12),
        Column::new("SIZE").right().goes(2),
        Column::new("LSN").goes(1),
        Column::new("STATE"),
        Column::new("WHAT").least(10).goes(3),
    ]);
    for file in files {
        let grade = grade(file, files);
        let lsns = match (file.first_lsn, file.last_lsn) {
            (Some(first), Some(last)) => {
                format!("{}..{}", show::number(first.get()), show::number(last.get()))
            }
            (None, Some(last)) => format!("to {}", show::number(last.get())),
            _ => "-".to_owned(),
        };
        let paint = match grade {
            Grade::Ok => Paint::Good,
            Grade::Note => Paint::Warn,
            Grade::Bad => Paint::Bad,
        };
        table.row(vec![
            name(&file.path).into(),
            show::bytes(file.bytes).into(),
            lsns.into(),
            Cell::painted(paint, grade.as_str()),
            what(file).into(),
        ]);
    }
    table.print(console)
}

fn what(file: &FileReport) -> String {
    let mut parts = Vec::new();
    match file.verdict {
        Verdict::Whole => {}
        verdict => parts.push(verdict.as_str().to_owned()),
    }
    match file.kind {
        FileKind::Segment | FileKind::HistorySegment => {
            parts.push(show::count(file.records, "record"));
            parts.push(if file.is_sealed { "sealed" } else { "open" }.to_owned());
        }
        kind => parts.push(kind.as_str().to_owned()),
    }
    parts.extend(file.detail.as_deref().map(show::text));
    show::list(parts)
}

fn print_damage(file: &FileReport, console: &mut Console) -> Result<(), Failure> {
    let name = name(&file.path);
    for damage in &file.damage {
        let (bytes, offset) = (show::bytes(damage.bytes), show::number(damage.offset));
        let what = match (&damage.record, damage.is_torn_tail) {
            (_, true) => "that nothing vouches for".to_owned(),
            (None, _) => "that verify as no record".to_owned(),
            (Some(record), _) => format!(
                "where the record of lsn {} seems to begin: its checksum is {:08x}, \
                that of the bytes \
                 {:08x}",
                show::number(record.lsn.get()),
                record.written,
                record.computed
            ),
        };
        console.fact("damage", &format!("{name}: {bytes} at offset {offset} {what}"))?;
    }
    if file.records_behind_damage > 0 {
        let behind = show::count(file.records_behind_damage, "record");
        console.fact("", &format!("{behind} behind it still verify"))?;
    }
    Ok(())
}

/// A file by its name alone: where the store is, the reader knows.
fn name(path: &Path) -> String {
    show::text(&path.file_name().unwrap_or_default().to_string_lossy())
}
