//! `compact`: a snapshot now.

use serde::Serialize;

use super::open::Open;
use crate::{
    console::Console,
    failure::Failure,
    json, progress,
    read::{Exit, Source},
    show,
};

/// Options of `compact`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print JSON; `peer-journal schema` tells its form
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    /// The snapshot holds every record up to this one.
    lsn: u64,
    previous_lsn: u64,
    written: bool,
    snapshot_bytes: u64,
    /// Of records that an opening need not replay any more.
    journal_bytes: u64,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let open = Open::new(source, console)?;
    let before = open.store().status()?;
    let lsn =
        progress::during(console, "writing a snapshot:", || open.wait(open.store().compact()))?;
    let after = open.store().status()?;
    open.close()?;
    let written = after.snapshot_lsn > before.snapshot_lsn || before.snapshot_bytes == 0;
    let journal_bytes = before.journal_bytes.saturating_sub(after.journal_bytes);
    if args.json {
        let document = Document {
            lsn: lsn.get(),
            previous_lsn: before.snapshot_lsn.get(),
            written,
            snapshot_bytes: after.snapshot_bytes,
            journal_bytes: if written { journal_bytes } else { 0 },
        };
        json::document(console, "compact", &document)?;
        return Ok(Exit::Done);
    }
    let (end, size) = (show::number(lsn.get()), show::bytes(after.snapshot_bytes));
    if written {
        console.fact("snapshot", &format!("lsn {end}, {size}, durable"))?;
        console.fact("journal", &format!("{} need not be replayed", show::bytes(journal_bytes)))?;
    } else {
        console.fact("snapshot", &format!("lsn {end}, {size}; it held everything already"))?;
    }
    Ok(Exit::Done)
}
