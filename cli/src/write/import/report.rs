//! What an import tells: counts, and what was not taken and why.

use serde::Serialize;

use super::{
    format::Format,
    found::Skip,
    merge::{Counts, Plan},
};
use crate::{
    console::{Console, Paint},
    failure::Failure,
    json, show,
};

/// Most skipped things that are listed for people.
const LISTED: usize = 20;

/// Everything that an import did.
#[derive(Debug)]
pub(super) struct Report<'a> {
    pub(super) store: String,
    pub(super) input: String,
    pub(super) format: Format,
    pub(super) dry_run: bool,
    /// The store was made for it, or would be.
    pub(super) created: bool,
    /// The last record that was journaled; `None` if there was nothing to journal, or it was only
    /// tried.
    pub(super) lsn: Option<u64>,
    pub(super) plan: &'a Plan,
}

#[derive(Debug, Serialize)]
struct Document<'a> {
    store: &'a str,
    input: &'a str,
    format: Format,
    dry_run: bool,
    created: bool,
    lsn: Option<u64>,
    records: usize,
    imported: Vec<CountJson>,
    unchanged: Vec<CountJson>,
    skipped: &'a [Skip],
}

#[derive(Debug, Serialize)]
struct CountJson {
    kind: &'static str,
    rows: u64,
}

impl Report<'_> {
    pub(super) fn document(&self, console: &mut Console) -> Result<(), Failure> {
        let list = |counts: &Counts| {
            counts.iter().map(|(kind, rows)| CountJson { kind, rows: *rows }).collect()
        };
        let document = Document {
            store: &self.store,
            input: &self.input,
            format: self.format,
            dry_run: self.dry_run,
            created: self.created,
            lsn: self.lsn,
            records: self.plan.records.len(),
            imported: list(&self.plan.imported),
            unchanged: list(&self.plan.unchanged),
            skipped: &self.plan.skips,
        };
        json::document(console, "import", &document)
    }

    /// For people: nothing of it is data.
    pub(super) fn note(&self, console: &mut Console) {
        let Plan { imported, unchanged, skips, .. } = self.plan;
        let (done, lsn) = match (self.dry_run, self.lsn) {
            (true, _) => ("would add", "; nothing was changed".to_owned()),
            (false, Some(lsn)) => {
                ("imported", format!("; durable as of lsn {}", show::number(lsn)))
            }
            (false, None) => ("imported", String::new()),
        };
        let made = match (self.created, self.dry_run) {
            (true, true) => " into a new store",
            (true, false) => " into a store that was made for it",
            (false, _) => "",
        };
        console.note(show::labelled(
            done,
            &format!("{}{made}{lsn}", told(imported)),
            console.width,
        ));
        console.note(show::labelled("unchanged", &told(unchanged), console.width));
        console.note(show::labelled("skipped", &show::number(skips.len()), console.width));
        for skip in skips.iter().take(LISTED) {
            let mark = if skip.fault { "skip" } else { "over" };
            let mark = console.paint(if skip.fault { Paint::Warn } else { Paint::Dim }, mark);
            console.note(format_args!("  {mark} {}", skip.told()));
        }
        if let Some(more) = skips.len().checked_sub(LISTED).filter(|more| *more > 0) {
            console.note(format_args!("  and {} more; --json lists all", show::number(more)));
        }
    }
}

fn told(counts: &Counts) -> String {
    if counts.is_empty() {
        return "nothing".to_owned();
    }
    show::list(counts.iter().map(|(kind, rows)| show::count(*rows, kind)))
}
