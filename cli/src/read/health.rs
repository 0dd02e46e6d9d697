//! The verdict on a store, from what the files prove and not a word more.

use peer_journal::{
    FileKind, FileReport, LsnRange, Outcome, Reader, RecoveryReport, Verdict, state::Counts,
};
use serde::Serialize;

use super::Exit;
use crate::{
    console::{Console, Paint},
    failure::Failure,
    show,
};

/// Where each label is explained.
pub const PAGE: &str = "docs/troubleshooting.md";

/// How a store is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Word {
    /// Everything verifies.
    Ok,
    /// A crash, a failed sync or an upgrade left something to do for the next opening; nothing that
    /// was durable is gone.
    Recoverable,
    /// Something that was durable is damaged.
    Damaged,
    /// Nothing verifies.
    Unrecoverable,
}

impl Word {
    /// The word as it is printed.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Recoverable => "RECOVERABLE",
            Self::Damaged => "DAMAGED",
            Self::Unrecoverable => "UNRECOVERABLE",
        }
    }

    /// The word in its colour.
    pub(super) fn painted(self, console: &Console) -> String {
        let paint = match self {
            Self::Ok => Paint::Good,
            Self::Recoverable => Paint::Warn,
            Self::Damaged | Self::Unrecoverable => Paint::Bad,
        };
        console.paint(paint, self.as_str())
    }

    /// How `verify` ends. A torn tail is no finding, since every crash leaves one.
    #[must_use]
    pub const fn exit(self, strict: bool) -> Exit {
        match self {
            Self::Ok => Exit::Done,
            Self::Recoverable if !strict => Exit::Done,
            Self::Recoverable | Self::Damaged => Exit::Finding,
            Self::Unrecoverable => Exit::Unrecoverable,
        }
    }
}

/// The verdict on a store.
#[derive(Clone, Debug)]
pub struct Health {
    /// In one word.
    pub word: Word,
    /// What the files prove, in one sentence.
    pub sentence: String,
    /// What to do next.
    pub next: String,
}

impl Health {
    /// The verdict on a store, from its report and its files.
    ///
    /// # Errors
    /// If the lock file cannot be read.
    pub fn of(reader: &Reader, files: &[FileReport]) -> Result<Self, Failure> {
        let counts = reader.view().state().counts();
        let report = reader.report();
        let is_held = reader.holder()?.is_some_and(|holder| holder.is_held == Some(true));
        let spare = files.iter().filter(|file| grade(file, files) == Grade::Bad).count();
        let word = word(report, counts != Counts::default(), spare > 0);
        let sentence = match word {
            Word::Damaged if !report.is_damaged() => format!(
                "everything that an opening reads verifies, up to lsn {}; {} \
                kept as a reserve {} not",
                show::number(report.last_lsn.get()),
                show::count(spare, "file"),
                if spare == 1 { "does" } else { "do" }
            ),
            _ => sentence(word, report, is_held),
        };
        Ok(Self { word, sentence, next: next(word, report, is_held) })
    }
}

/// How one file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Grade {
    /// It verifies.
    Ok,
    /// Something that a crash leaves, or that does not matter.
    Note,
    /// It does not verify.
    Bad,
}

impl Grade {
    /// The grade in capitals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Note => "NOTE",
            Self::Bad => "BAD",
        }
    }
}

/// The grade of one of a store's files.
#[must_use]
pub fn grade(file: &FileReport, files: &[FileReport]) -> Grade {
    // A crash leaves a torn end in the newest segment only, whoever covers it.
    let newest = files.iter().rev().find(|file| file.kind == FileKind::Segment);
    let is_newest = newest.is_some_and(|newest| newest.path == file.path);
    let is_torn =
        is_newest && !file.is_sealed && file.records_behind_damage == 0 && file.damage.len() == 1;
    match file.verdict {
        Verdict::Covered if file.format_version.is_none() => Grade::Bad,
        Verdict::Covered if !file.damage.is_empty() && !is_torn => Grade::Bad,
        Verdict::Whole | Verdict::Covered | Verdict::Unborn if file.damage.is_empty() => Grade::Ok,
        // The original of a migration is as it should be.
        Verdict::OldVersion if file.kind == FileKind::Original => Grade::Ok,
        // What is missing in the past changes nothing now, and each file that is there verifies.
        Verdict::Gap if file.kind == FileKind::HistorySegment => Grade::Note,
        verdict if verdict.is_damage() || verdict == Verdict::NewerVersion => Grade::Bad,
        _ => Grade::Note,
    }
}

fn word(report: &RecoveryReport, holds_rows: bool, is_spare_bad: bool) -> Word {
    let has_base = report.snapshot_lsn.is_some_and(|lsn| lsn.get() > 0);
    match report.outcome {
        Outcome::Salvaged if report.replayed == 0 && !has_base && !holds_rows => {
            Word::Unrecoverable
        }
        Outcome::Salvaged => Word::Damaged,
        _ if is_spare_bad => Word::Damaged,
        _ if report.findings.is_empty() && report.outcome != Outcome::Migrated => Word::Ok,
        _ => Word::Recoverable,
    }
}

fn sentence(word: Word, report: &RecoveryReport, is_held: bool) -> String {
    let end = show::number(report.last_lsn.get());
    match word {
        Word::Ok => {
            format!("everything in these files verifies; they hold the state up to lsn {end}")
        }
        Word::Recoverable => {
            let torn = report
                .findings
                .iter()
                .any(|finding| matches!(finding.verdict, Verdict::TornTail | Verdict::Unborn));
            let why = match (report.outcome, torn) {
                (Outcome::Migrated, _) => {
                    "this is a version 1 file, which has no checksum to verify"
                }
                (_, true) if is_held => "the bytes behind it are being written, or were cut off",
                (_, true) => {
                    "nothing vouches for the bytes behind it: a write that \
                    was cut off before it was \
                     acknowledged looks like this"
                }
                _ => "a write or sync had failed, and what it held was written again",
            };
            format!("the state is complete up to lsn {end}, as far as these files tell; {why}")
        }
        Word::Damaged => damage(report, &end),
        Word::Unrecoverable => "no snapshot and no record verifies".to_owned(),
    }
}

fn damage(report: &RecoveryReport, end: &str) -> String {
    let mut text = match report.lost_records() {
        0 => format!("no record is known to be lost; the state is as of lsn {end}"),
        1 => format!(
            "1 record is lost (lsn {}); the rest is there up to lsn {end}",
            ranges(&report.lost)
        ),
        lost => format!(
            "{} records are lost (lsn {}); the rest is there up to lsn {end}",
            show::number(lost),
            ranges(&report.lost)
        ),
    };
    if report.end_unknown {
        text.push_str(
            "; the newest segment is unreadable, and nothing tells how many records it held",
        );
    }
    text
}

/// `1..3, 7`.
pub(crate) fn ranges(ranges: &[LsnRange]) -> String {
    show::list(ranges.iter().map(|range| {
        let (first, last) = (show::number(range.first.get()), show::number(range.last.get()));
        if first == last { first } else { format!("{first}..{last}") }
    }))
}

fn next(word: Word, report: &RecoveryReport, is_held: bool) -> String {
    let label = report.findings.iter().find(|finding| finding.verdict.is_damage());
    match word {
        Word::Ok => "nothing".to_owned(),
        Word::Recoverable if report.outcome == Outcome::Migrated => {
            "nothing; the next opening migrates it and keeps the original".to_owned()
        }
        Word::Recoverable if is_held => "nothing; the process that holds it goes on".to_owned(),
        Word::Recoverable if report.outcome == Outcome::TornTail => {
            "nothing; the next opening sets those bytes aside".to_owned()
        }
        Word::Recoverable => {
            "nothing about the store; the disk refused a write: look at it".to_owned()
        }
        Word::Damaged if !report.is_damaged() => {
            "check the disk; `peer-journal repair` renews the reserves and mends the history"
                .to_owned()
        }
        Word::Damaged => {
            let page = label.map_or_else(|| PAGE.to_owned(), |finding| help(finding.verdict));
            format!(
                "copy the files; `peer-journal repair` shows what is kept and what goes, and \
                 opening the store does the same; read {page}"
            )
        }
        Word::Unrecoverable => "copy the files, then restore a backup".to_owned(),
    }
}

/// Where a label is explained.
#[must_use]
pub fn help(verdict: Verdict) -> String {
    format!("{PAGE}#{}", verdict.as_str().replace(' ', "-"))
}
