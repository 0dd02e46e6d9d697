//! `bootstrap`: the bootstrap nodes, one on a line.

use serde::Serialize;

use super::{Exit, Source};
use crate::{console::Console, failure::Failure, json, pick::Slice, show};

/// Options of `bootstrap`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    slice: Slice,
    /// Print JSON; `peer-journal schema` tells its form
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    lsn: u64,
    total: usize,
    bootstrap_nodes: Vec<String>,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let found = source.inspect(console)?;
    let nodes = found.view.state().bootstrap_nodes();
    let total = nodes.len();
    let nodes = args.slice.of(nodes.iter().map(|node| node.to_string()).collect::<Vec<_>>());
    if args.json {
        let lsn = found.view.lsn().get();
        json::document(console, "bootstrap", &Document { lsn, total, bootstrap_nodes: nodes })?;
        return Ok(Exit::Done);
    }
    if total == 0 {
        console.note("there is no bootstrap node");
    }
    // Whole, however narrow the terminal: they are there to be copied.
    nodes.iter().try_for_each(|node| console.line(show::text(node)))?;
    Ok(Exit::Done)
}
