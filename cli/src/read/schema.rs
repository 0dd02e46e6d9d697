//! `schema`: the JSON Schema of each answer.

use crate::{console::Console, failure::Failure};

use super::Exit;

/// The schemas by the command that they are about.
pub const SCHEMAS: &[(&str, &str)] = &[
    ("ban", include_str!("../../../docs/schema/ban.schema.json")),
    ("bans", include_str!("../../../docs/schema/bans.schema.json")),
    ("bootstrap", include_str!("../../../docs/schema/bootstrap.schema.json")),
    ("cat", include_str!("../../../docs/schema/cat.schema.json")),
    ("compact", include_str!("../../../docs/schema/compact.schema.json")),
    ("dht", include_str!("../../../docs/schema/dht.schema.json")),
    ("diff", include_str!("../../../docs/schema/diff.schema.json")),
    ("export", include_str!("../../../docs/schema/export.schema.json")),
    ("export-line", include_str!("../../../docs/schema/export-line.schema.json")),
    ("forget", include_str!("../../../docs/schema/forget.schema.json")),
    ("import", include_str!("../../../docs/schema/import.schema.json")),
    ("log", include_str!("../../../docs/schema/log.schema.json")),
    ("packages", include_str!("../../../docs/schema/packages.schema.json")),
    ("peers", include_str!("../../../docs/schema/peers.schema.json")),
    ("redact", include_str!("../../../docs/schema/redact.schema.json")),
    ("repair", include_str!("../../../docs/schema/repair.schema.json")),
    ("reputation", include_str!("../../../docs/schema/reputation.schema.json")),
    ("status", include_str!("../../../docs/schema/status.schema.json")),
    ("unban", include_str!("../../../docs/schema/unban.schema.json")),
    ("undo", include_str!("../../../docs/schema/undo.schema.json")),
    ("verify", include_str!("../../../docs/schema/verify.schema.json")),
    ("why", include_str!("../../../docs/schema/why.schema.json")),
    ("snapshot", include_str!("../../../docs/snapshot.schema.json")),
];

/// Options of `schema`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The command, or `snapshot` for the state file; without it they are listed
    #[arg(value_name = "VERB")]
    verb: Option<String>,
}

pub(super) fn run(args: &Args, console: &mut Console) -> Result<Exit, Failure> {
    let Some(verb) = &args.verb else {
        SCHEMAS.iter().try_for_each(|(verb, _)| console.line(verb))?;
        return Ok(Exit::Done);
    };
    let found = SCHEMAS.iter().find(|(name, _)| name == verb);
    let (_, text) = found.ok_or_else(|| {
        let verbs = SCHEMAS.iter().map(|(verb, _)| *verb).collect::<Vec<_>>().join(", ");
        Failure::usage(format!("there is no schema of that name; there are {verbs}"))
    })?;
    console.line(text.trim_end())?;
    Ok(Exit::Done)
}
