//! `cat`: the whole state as JSON.

use serde::Serialize;

use super::{Exit, Source, document::Rows};
use crate::{console::Console, failure::Failure, json};

/// Options of `cat`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {}

#[derive(Debug, Serialize)]
struct Document {
    lsn: u64,
    #[serde(flatten)]
    rows: Rows,
}

pub(super) fn run(_args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let found = source.inspect(console)?;
    let document = Document { lsn: found.view.lsn().get(), rows: Rows::of(&found.view) };
    json::document(console, "cat", &document)?;
    Ok(Exit::Done)
}
