//! `redact`: takes a peer out of every file of the store.

use std::path::Path;

use peer_journal::{
    Change, ErrorKind, P2PStatePersistence, Redaction, RedactionPlan, RedactionStep,
};
use serde::Serialize;

use super::{answer, open};
use crate::{
    console::Console,
    failure::Failure,
    json,
    pick::{self, PeerQuery},
    progress,
    read::{Exit, Form, Source, change::ChangeJson},
    reads::Files,
    show::{
        self,
        table::{Cell, Column, Table},
    },
};

/// Options of `redact`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The peer: its full id, or the beginning or end of a known one
    #[arg(long, value_name = "PEER")]
    peer: PeerQuery,
    /// Do it; without this the plan is shown and nothing is written
    #[arg(long)]
    apply: bool,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Serialize)]
struct Document {
    applied: bool,
    peer_id: String,
    lsn: u64,
    /// In the present state; they are not journaled.
    changes: Vec<ChangeJson>,
    shared_addresses: usize,
    steps: Vec<StepJson>,
}

#[derive(Debug, Serialize)]
struct StepJson {
    action: &'static str,
    path: String,
    size_bytes: u64,
}

impl StepJson {
    fn new(step: &RedactionStep) -> Self {
        Self {
            action: step.action.as_str(),
            path: step.path.display().to_string(),
            size_bytes: step.bytes,
        }
    }
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let path = source.path()?;
    let reader = open::unbounded(&path, console)?;
    let state = reader.view().state();
    let peer = pick::find_peer(&args.peer, super::ban::known(state))?;
    let is_damaged = reader.report().is_damaged();
    drop(reader);
    let now = console.now;
    let builder = P2PStatePersistence::builder(&path).vfs(console.disk()).clock(move || now);
    let redaction = Redaction::new(builder, peer.clone());
    let what = if args.apply { "redacting the store:" } else { "searching the files:" };
    let plan = progress::reading(console, what, &Files::All(&path), || {
        if args.apply { redaction.apply() } else { redaction.plan() }
    });
    let plan = plan.map_err(|error| match error.kind() {
        ErrorKind::Corrupt => open::damaged(&path, error, console),
        _ => error.into(),
    })?;
    if args.form.json {
        let document = Document {
            applied: args.apply,
            peer_id: peer.to_string(),
            lsn: plan.lsn.get(),
            changes: plan.changes.iter().map(ChangeJson::new).collect(),
            shared_addresses: plan.shared_addresses,
            steps: plan.steps.iter().map(StepJson::new).collect(),
        };
        json::document(console, "redact", &document)?;
        return Ok(Exit::Done);
    }
    args.form.prepare(console);
    print(args, &plan, &path, console)?;
    if !args.apply && !plan.is_empty() {
        let first = if is_damaged { "mend the store with `peer-journal repair`, " } else { "" };
        let next = "stop the node, then run it again with --apply; there is no way back";
        console.fact("next", &format!("{first}{next}"))?;
    }
    Ok(Exit::Done)
}

fn print(
    args: &Args,
    plan: &RedactionPlan,
    state_file: &Path,
    console: &mut Console,
) -> Result<(), Failure> {
    if plan.is_empty() {
        return console.fact("next", "nothing: no file of the store holds anything of this peer");
    }
    let changes: &[Change] = &plan.changes;
    answer::list(changes, args.form.wide, console)?;
    if plan.shared_addresses > 0 {
        let addresses = match plan.shared_addresses {
            1 => "1 address of it is known of other peers too, and stays there".to_owned(),
            many => format!(
                "{} addresses of it are known of other peers too, and stay there",
                show::number(many)
            ),
        };
        console.fact("shared", &addresses)?;
    }
    let mut table = Table::new(&[
        Column::new("STEP"),
        Column::new("FILE").least(12),
        Column::new("SIZE").right().goes(1),
    ]);
    let folder = state_file.parent().unwrap_or(Path::new(""));
    for step in &plan.steps {
        let path = step.path.strip_prefix(folder).unwrap_or(&step.path);
        table.row(vec![
            Cell::from(step.action.as_str().to_owned()),
            show::text(&path.display().to_string()).into(),
            show::bytes(step.bytes).into(),
        ]);
    }
    table.print(console)?;
    console.fact(
        "left",
        "out of reach: backups, files that are not the store's, what other nodes know, and the \
         blocks of the disk that held what is deleted",
    )?;
    if args.apply {
        let lsn = show::number(plan.lsn.get());
        console.fact("done", &format!("no file of the store holds anything of it; lsn {lsn}"))?;
    }
    Ok(())
}
