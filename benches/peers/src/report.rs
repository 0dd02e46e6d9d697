//! Results as Markdown and as SVG.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use crate::{
    engines::{OURS, Result},
    stats::median,
};

/// One value per round for each engine.
pub struct Row {
    /// Short name for files and for the table of targets.
    pub id: String,
    pub title: String,
    pub unit: String,
    pub higher_is_better: bool,
    names: Vec<String>,
    rounds: BTreeMap<String, Vec<f64>>,
    pub notes: Vec<String>,
    /// How it was run: rounds, time, peers.
    pub run: String,
}

impl Row {
    pub fn new(id: &str, title: &str, unit: &str, higher_is_better: bool) -> Self {
        let (names, rounds, notes) = (Vec::new(), BTreeMap::new(), Vec::new());
        Self {
            id: id.to_owned(),
            title: title.to_owned(),
            unit: unit.to_owned(),
            higher_is_better,
            names,
            rounds,
            notes,
            run: String::new(),
        }
    }

    /// Adds the value of one round, and says so.
    pub fn add(&mut self, engine: &str, value: f64) {
        eprintln!("  {:<50}  {:<28}{:>14}", self.title, engine, shown(value));
        self.put(engine, value);
    }

    pub fn put(&mut self, engine: &str, value: f64) {
        if !self.rounds.contains_key(engine) {
            self.names.push(engine.to_owned());
        }
        self.rounds.entry(engine.to_owned()).or_default().push(value);
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn values(&self, engine: &str) -> &[f64] {
        self.rounds.get(engine).map_or(&[], Vec::as_slice)
    }

    pub fn median(&self, engine: &str) -> f64 {
        median(self.values(engine))
    }

    /// `a` over `b`, round by round.
    pub fn ratios(&self, a: &str, b: &str) -> Vec<f64> {
        self.values(a).iter().zip(self.values(b)).map(|(a, b)| a / b).collect()
    }

    fn markdown(&self) -> String {
        let mut text = format!("### {}\n\n", self.title);
        let better = if self.higher_is_better { "more is better" } else { "less is better" };
        let has_ours = self.rounds.contains_key(OURS) && self.names.len() > 1;
        let _ = write!(text, "| engine | {} ({better}), median | min | max |", self.unit);
        let _ = writeln!(text, "{}", if has_ours { " peer-journal / engine |" } else { "" });
        let _ = writeln!(text, "|---|---:|---:|---:|{}", if has_ours { "---:|" } else { "" });
        for name in &self.names {
            let values = self.values(name);
            let min = values.iter().copied().fold(f64::INFINITY, f64::min);
            let max = values.iter().copied().fold(0.0, f64::max);
            let _ = write!(
                text,
                "| {name} | {} | {} | {} |",
                shown(median(values)),
                shown(min),
                shown(max)
            );
            if has_ours {
                let _ = write!(text, " {:.2} |", median(&self.ratios(OURS, name)));
            }
            text.push('\n');
        }
        for note in self.notes.iter().chain([&self.run]) {
            let _ = writeln!(text, "\n{note}");
        }
        text.push('\n');
        text
    }
}

/// A target of the benchmark: what was asked, what was measured, whether it holds.
pub struct Target {
    pub row: String,
    pub target: String,
    pub measured: String,
    pub is_met: bool,
}

/// Writes `results.md` and one plot for each group of rows; prints the Markdown.
pub fn write(rows: &[Row], targets: &[Target], machine: &str, out: &Path) -> Result<()> {
    let mut text = format!("{machine}\n\n");
    if !targets.is_empty() {
        text.push_str("| row | target | measured | |\n|---|---|---|---|\n");
        for target in targets {
            let Target { row, target, measured, is_met } = target;
            let verdict = if *is_met { "met" } else { "**missed**" };
            let _ = writeln!(text, "| {row} | {target} | {measured} | {verdict} |");
        }
        text.push('\n');
    }
    for row in rows {
        text.push_str(&row.markdown());
    }
    fs::create_dir_all(out)?;
    fs::write(out.join("results.md"), &text)?;
    for (file, prefix) in [("durable.svg", "durable"), ("relaxed.svg", "relaxed")] {
        let group: Vec<&Row> = rows.iter().filter(|row| row.id.starts_with(prefix)).collect();
        if !group.is_empty() {
            fs::write(out.join(file), crate::plot::bars(&group))?;
        }
    }
    let growth: Vec<&Row> = rows.iter().filter(|row| row.id.starts_with("growth")).collect();
    if !growth.is_empty() {
        fs::write(out.join("growth.svg"), crate::plot::lines(&growth))?;
    }
    print!("{text}");
    Ok(())
}

/// Three digits that count.
pub fn shown(value: f64) -> String {
    let grouped = |whole: f64| {
        let digits = format!("{whole:.0}");
        let mut text = String::new();
        for (index, digit) in digits.chars().enumerate() {
            if index > 0 && (digits.len() - index).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    };
    match value {
        value if value >= 1000.0 => {
            let unit = 10_f64.powf(value.log10().floor() - 2.0);
            grouped((value / unit).round() * unit)
        }
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}
