//! `repair`: what it takes to mend a store, and mending it.

use peer_journal::{
    P2PStatePersistence, RecoveryReport, Repair, RepairAction, RepairPlan, RepairStep,
};
use serde::Serialize;

use super::open;
use crate::{
    console::Console,
    failure::Failure,
    json, progress,
    read::{
        Exit, Source,
        health::{Health, Word, help, ranges},
        verify::LsnsJson,
    },
    reads::Files,
    show::{
        self,
        table::{Cell, Column, Table},
    },
};

/// Options of `repair`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Do it; without this the plan is shown and nothing is written
    #[arg(long)]
    apply: bool,
    /// Print JSON; `peer-journal schema` tells its form
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Document {
    applied: bool,
    /// How the store is: after the repair, if it was applied.
    verdict: Word,
    /// Damage that this mends, or has mended.
    needed: bool,
    lsn: u64,
    lost: Vec<LsnsJson>,
    lost_records: u64,
    end_unknown: bool,
    steps: Vec<StepJson>,
    /// Files that bytes were put in.
    quarantined: Vec<String>,
}

#[derive(Debug, Serialize)]
struct StepJson {
    action: &'static str,
    path: String,
    offset_bytes: u64,
    length_bytes: u64,
    label: Option<&'static str>,
}

impl StepJson {
    fn new(step: &RepairStep) -> Self {
        Self {
            action: step.action.as_str(),
            path: step.path.display().to_string(),
            offset_bytes: step.offset,
            length_bytes: step.bytes,
            label: step.verdict.map(|verdict| verdict.as_str()),
        }
    }
}

pub(super) fn run(args: &Args, source: &Source, console: &mut Console) -> Result<Exit, Failure> {
    let path = source.path()?;
    let now = console.now;
    let builder = P2PStatePersistence::builder(&path).vfs(console.disk()).clock(move || now);
    let repair = Repair::new(builder);
    let files = Files::All(&path);
    let plan = progress::reading(console, "looking at the store:", &files, || repair.plan())?;
    let mut health = open::health(&path, console)?;
    let mut report = plan.report.clone();
    let is_hopeless = health.word == Word::Unrecoverable;
    let is_idle = !plan.is_needed() && health.word == Word::Ok;
    let applied = args.apply && !is_idle && !is_hopeless;
    if applied {
        report = progress::reading(console, "mending the store:", &files, || repair.apply())?;
        health = open::health(&path, console)?;
    }
    if args.json {
        json::document(console, "repair", &document(&plan, &report, health.word, applied))?;
        return Ok(exit(health.word));
    }
    if is_hopeless {
        console.fact("verdict", &format!("{}: {}", health.word.as_str(), health.sentence))?;
        console.fact("next", &health.next)?;
        return Ok(Exit::Unrecoverable);
    }
    // Each opening leaves an empty segment to the next one.
    if plan.is_needed() || plan.steps.iter().any(|step| step.action != RepairAction::Remove) {
        print_steps(&plan.steps, console)?;
    }
    print_loss(&report, applied, console)?;
    if plan.steps.iter().any(is_of_the_past) {
        console.fact(
            "past",
            "what was damaged in the history is missing in `log`, `why` and `cat --at`; the state \
             now does not need it",
        )?;
    }
    if applied {
        for kept in report.findings.iter().filter_map(|finding| finding.quarantined.as_ref()) {
            console.fact("kept in", &kept.display().to_string())?;
        }
        console.fact("verdict", &format!("{}: {}", health.word.as_str(), health.sentence))?;
    }
    let next = next(&plan, &health, applied);
    console.fact("next", &next)?;
    Ok(exit(health.word))
}

/// True for a step of the history.
fn is_of_the_past(step: &RepairStep) -> bool {
    step.path.parent().is_some_and(|folder| folder.ends_with("history"))
}

/// What is left after a repair is not to be mended by one.
fn exit(word: Word) -> Exit {
    word.exit(false)
}

fn next(plan: &RepairPlan, health: &Health, applied: bool) -> String {
    match health.word {
        Word::Damaged if applied || !plan.is_needed() => health.next.clone(),
        Word::Damaged => {
            let found = plan.report.findings.iter().map(|finding| finding.verdict);
            let mut labels = found.chain(plan.steps.iter().filter_map(|step| step.verdict));
            let label = labels.find(|verdict| verdict.is_damage());
            let page =
                label.map_or_else(String::new, |label| format!("; {} explains it", help(label)));
            format!("copy the files, then run it again with --apply{page}")
        }
        _ if applied => "nothing".to_owned(),
        Word::Ok => "nothing is to be mended".to_owned(),
        _ => "nothing is damaged; the next start does this by itself".to_owned(),
    }
}

fn document(plan: &RepairPlan, report: &RecoveryReport, verdict: Word, applied: bool) -> Document {
    let kept = report.findings.iter().filter_map(|finding| finding.quarantined.as_ref());
    Document {
        applied,
        verdict,
        needed: plan.is_needed(),
        lsn: report.last_lsn.get(),
        lost: report.lost.iter().map(LsnsJson::new).collect(),
        lost_records: report.lost_records(),
        end_unknown: report.end_unknown,
        steps: plan.steps.iter().map(StepJson::new).collect(),
        quarantined: kept.map(|path| path.display().to_string()).collect(),
    }
}

fn print_steps(steps: &[RepairStep], console: &mut Console) -> Result<(), Failure> {
    if steps.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        Column::new("STEP"),
        Column::new("FILE").least(12),
        Column::new("OFFSET").right().goes(2),
        Column::new("SIZE").right().goes(1),
        Column::new("LABEL").least(8).goes(3),
    ]);
    for step in steps {
        let file = step.path.file_name().unwrap_or_default().to_string_lossy();
        table.row(vec![
            Cell::from(step.action.as_str().to_owned()),
            show::text(&file).into(),
            show::number(step.offset).into(),
            show::bytes(step.bytes).into(),
            step.verdict.map_or("", |verdict| verdict.as_str()).to_owned().into(),
        ]);
    }
    table.print(console)
}

/// Lost whatever is done: it was lost when the bytes were damaged.
fn print_loss(
    report: &RecoveryReport,
    applied: bool,
    console: &mut Console,
) -> Result<(), Failure> {
    let end = show::number(report.last_lsn.get());
    if report.end_unknown {
        console.fact("lost", "perhaps records at the end; nothing tells how many")?;
    }
    let is = if applied { "is" } else { "will be" };
    match report.lost_records() {
        0 => console.fact("kept", &format!("every record known of {is} there, up to lsn {end}")),
        lost => {
            console.fact(
                "lost",
                &format!("{} (lsn {})", show::count(lost, "record"), ranges(&report.lost)),
            )?;
            console.fact("kept", &format!("everything else {is} there, up to lsn {end}"))
        }
    }
}
