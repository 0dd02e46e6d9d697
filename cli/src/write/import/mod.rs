//! `import`: takes over what another program knows.

mod address;
mod format;
mod found;
mod lists;
mod merge;
mod place;
mod report;
mod rows;

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
};

use peer_journal::{
    ErrorKind, Journal, Reader,
    state::{Limits, State},
};

use super::open::{self, Open};
use crate::{
    console::Console,
    failure::Failure,
    progress::{self, Progress},
    read::{Exit, Source},
    show, store,
};

use format::Format;
use found::Found;
use lists::Target;
use merge::Plan;
use report::Report;

/// Options of `import`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to import: a file, `-` for standard input, or another store
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What it is, where its content does not tell
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// What the addresses of a list become [default: bootstrap nodes for a chain specification,
    /// else peers]
    #[arg(long, value_name = "WHAT")]
    to: Option<Target>,
    /// Make the store if there is none
    #[arg(long)]
    create: bool,
    /// Only tell what would be imported; takes no lock and writes nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON; `peer-journal schema` tells its form
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let mut found = progress::during(console, "reading the input:", || input(args))?;
    for note in std::mem::take(&mut found.notes) {
        console.note(format_args!("note: {note}"));
    }
    let format = found.format;
    let path = source.path()?;
    let is_there = is_there(&path)?;
    if !is_there && !args.create {
        return Err(Failure::usage(format!(
            "there is no store here (path={}); name another one with --store, or make it with \
             --create",
            path.display()
        )));
    }
    let (plan, lsn) = if args.dry_run {
        let state = if is_there { state(&path, console)? } else { State::default() };
        (Plan::make(found, state, console.now)?, None)
    } else {
        write(found, source, console)?
    };
    let report = Report {
        store: path.display().to_string(),
        input: args.file.display().to_string(),
        format,
        dry_run: args.dry_run,
        created: !is_there,
        lsn,
        plan: &plan,
    };
    if args.json {
        report.document(console)?;
    } else {
        report.note(console);
    }
    let has_faults = plan.skips.iter().any(|skip| skip.fault);
    Ok(if has_faults { Exit::Finding } else { Exit::Done })
}

/// Journals what is new, record by record; all of it is durable then.
fn write(
    found: Found,
    source: &Source,
    console: &mut Console,
) -> Result<(Plan, Option<u64>), Failure> {
    let open = Open::or_create(source, console)?;
    let (state, now) = (open.view()?.state().clone(), console.now);
    let plan = progress::during(console, "comparing:", || Plan::make(found, state, now))?;
    let total = u64::try_from(plan.records.len()).unwrap_or(u64::MAX);
    let mut progress = Progress::new("importing:", total);
    let mut lsn = None;
    for (record, number) in plan.records.iter().zip(0..) {
        progress.at(console, number);
        // One after the other: no more waits in memory than one record.
        lsn = Some(open.store().append_batch(record.iter().cloned())?.wait()?.get());
    }
    progress.end(console);
    open.close()?;
    Ok((plan, lsn))
}

fn is_there(path: &Path) -> Result<bool, Failure> {
    match Journal::open(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NoStore => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The state that an import would meet.
fn state(path: &Path, console: &Console) -> Result<State, Failure> {
    let reader = open::unbounded(path, console)?;
    if reader.report().is_damaged() {
        return Err(damaged(path));
    }
    Ok(reader.view().state().clone())
}

fn damaged(path: &Path) -> Failure {
    Failure::negative(format!(
        "the store is damaged, and nothing was changed (path={}); `peer-journal verify` says \
         where, `peer-journal repair` how it can be mended",
        path.display()
    ))
}

/// Reads what is to be imported.
fn input(args: &Args) -> Result<Found, Failure> {
    let file = &args.file;
    let wrong = |reason: String| {
        let name = show::text(&file.display().to_string());
        Failure::usage(format!("cannot import {name}: {reason}"))
    };
    if file.is_dir() || args.format == Some(Format::Store) {
        return another_store(file);
    }
    let bytes = match file.to_str() {
        Some("-") => {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|error| Failure::io("cannot read standard input", error))?;
            bytes
        }
        _ => fs::read(file).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => wrong("there is no such file".to_owned()),
            _ => {
                Failure::io(format_args!("cannot read the input (path={})", file.display()), error)
            }
        })?,
    };
    let text = String::from_utf8(bytes)
        .map_err(|error| wrong(format!("it is no UTF-8 text ({})", error.utf8_error())))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let format = match args.format {
        Some(format) => format,
        None => format::detect(text)
            .map_err(|reason| wrong(format!("{reason}; --format says what it is")))?,
    };
    let to = |usual| args.to.unwrap_or(usual);
    match format {
        // From standard input there is no journal beside it.
        Format::Store if file.as_os_str() == "-" => rows::state(text),
        Format::Store => another_store(file),
        Format::State => rows::state(text),
        Format::Jsonl => Ok(rows::json_lines(text)),
        Format::Multiaddrs => lists::multiaddrs(text, to(Target::Peers)).map_err(wrong),
        Format::ChainSpec => lists::chain_spec(text, to(Target::Bootstrap)).map_err(wrong),
        Format::KuboConfig => lists::kubo_config(text).map_err(wrong),
        Format::KuboPeers => lists::kubo_peers(text).map_err(wrong),
        Format::Reth => lists::reth(text).map_err(wrong),
    }
}

/// Another store is read as every reader does: with its journal, and without a lock.
fn another_store(path: &Path) -> Result<Found, Failure> {
    let path = store::state_file(path);
    let reader = Reader::options(&path).limits(Limits::UNBOUNDED).open()?;
    if reader.report().is_damaged() {
        return Err(damaged(&path));
    }
    Ok(rows::store(reader.view()))
}
