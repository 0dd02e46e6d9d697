//! The same workload side by side on peer-journal, on the bare disk, and on other storage crates:
//! `cargo run --release --manifest-path benches/peers/Cargo.toml` prints the table as Markdown and
//! draws the plots. `--help` lists the rows and options.
//!
//! Rounds are interleaved (A B C, A B C, ...), ratios are taken inside one round, and their median
//! counts: the speed of a shared machine drifts, ratios drift less.

mod args;
mod check;
mod engines;
mod group;
mod kept;
mod machine;
mod ours;
mod plot;
mod report;
mod rows;
mod stats;
mod targets;
mod workload;

use std::{path::Path, process::ExitCode, sync::Arc};

use args::Args;
use engines::Result;
use report::Row;
use workload::World;

#[global_allocator]
static ALLOCATOR: rows::memory::Counting = rows::memory::Counting;

type Measure = fn(&Args, &Arc<World>, &Path) -> Result<Vec<Row>>;

const ROWS: &[(&str, Measure)] = &[
    ("durable", rows::durable::run),
    ("relaxed", rows::relaxed::run),
    ("append", rows::append::run),
    ("replay", rows::replay::run),
    ("open", rows::disk::open),
    ("snapshot", rows::disk::snapshot),
    ("compaction", rows::compaction::run),
    ("memory", rows::memory::run),
    ("bytes", rows::disk::bytes),
    ("growth", rows::growth::run),
];

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let result = match args.words.first().map(String::as_str) {
        Some("child") => child(&args),
        _ => run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let known = |word: &String| {
        let row = word.trim_end_matches(|end: char| end == '-' || end.is_ascii_digit());
        word == "check" || word == "report" || ROWS.iter().any(|(name, _)| *name == row)
    };
    if let Some(word) = args.words.iter().find(|word| !known(word)) {
        return Err(format!("there is no row {word}\n{}", args::USAGE).into());
    }
    let dir = args.dir.join(format!("peer-journal-bench-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let result = match args.words.first().map(String::as_str) {
        Some("check") => check::run(args, &dir),
        Some("report") => report(&args.out, &dir),
        _ => measure(args, &dir),
    };
    std::fs::remove_dir_all(&dir)?;
    result
}

fn measure(args: &Args, dir: &Path) -> Result<()> {
    let world = World::new(args.peers);
    let mut rows = Vec::new();
    let mut failed = Ok(());
    for (name, measure) in ROWS {
        if args.asks_for(name) {
            let place = dir.join(name);
            std::fs::create_dir_all(&place)?;
            match measure(args, &world, &place) {
                Ok(measured) => rows.extend(measured),
                // The other rows stand all the same.
                Err(error) => failed = Err(format!("{name}: {error}").into()),
            }
            std::fs::remove_dir_all(&place)?;
        }
    }
    rows.iter_mut().for_each(|row| row.run = machine::run(args));
    kept::save(&rows, &args.out)?;
    report(&args.out, dir)?;
    failed
}

/// The table and the plots of all rows that were kept.
fn report(out: &Path, dir: &Path) -> Result<()> {
    let rows = kept::load(out)?;
    report::write(&rows, &targets::judge(&rows), &machine::describe(dir), out)
}

/// One measurement in a process of its own; its numbers go to standard output.
fn child(args: &Args) -> Result<()> {
    let numbers = match args.words.get(1).map(String::as_str) {
        Some("memory") => rows::memory::measure(args)?,
        Some("fill") => rows::compaction::fill(args)?,
        Some("stall") => rows::compaction::stall(args)?,
        Some("peak") => rows::compaction::peak(args)?,
        Some("growth") => rows::growth::measure(args)?,
        Some("commits") => check::commits(args)?,
        other => return Err(format!("there is no measurement {other:?}").into()),
    };
    for number in numbers {
        println!("{number}");
    }
    Ok(())
}
