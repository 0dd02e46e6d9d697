//! What a command answers that journals changes.

use peer_journal::{Change, Lsn};
use serde::Serialize;

use crate::{
    console::Console,
    failure::Failure,
    json,
    read::{
        Form,
        change::{ChangeJson, describe},
    },
    show,
};

#[derive(Debug, Serialize)]
struct Document {
    lsn: u64,
    changes: Vec<ChangeJson>,
}

/// Tells what was journaled, and as which record.
pub(super) fn journaled(
    verb: &str,
    lsn: Lsn,
    changes: &[Change],
    form: Form,
    console: &mut Console,
) -> Result<(), Failure> {
    if form.json {
        let changes = changes.iter().map(ChangeJson::new).collect();
        return json::document(console, verb, &Document { lsn: lsn.get(), changes });
    }
    form.prepare(console);
    list(changes, form.wide, console)?;
    console.fact("lsn", &format!("{}, durable", show::number(lsn.get())))
}

/// A line for each change, under what it is about.
pub(super) fn list(changes: &[Change], wide: bool, console: &mut Console) -> Result<(), Failure> {
    for change in changes {
        let subject = match change.peer() {
            Some(peer) => show::id(peer, wide),
            None => group(change).to_owned(),
        };
        console.fact(&subject, &describe(change))?;
    }
    Ok(())
}

/// What a change is about that is about no peer.
fn group(change: &Change) -> &'static str {
    match change {
        Change::DhtPut { .. } | Change::DhtRemoved { .. } => "dht",
        Change::PackageCached { .. } | Change::PackageDropped { .. } => "package",
        Change::BootstrapAdded { .. }
        | Change::BootstrapRemoved { .. }
        | Change::BootstrapReplaced { .. } => "bootstrap",
        _ => "",
    }
}
