//! What was asked of each row, and whether it holds.

use crate::{
    engines::{LIMIT, OURS},
    report::{Row, Target, shown},
    stats::median,
};

/// The targets of all rows that were measured.
pub fn judge(rows: &[Row]) -> Vec<Target> {
    let mut targets = Vec::new();
    for row in rows {
        match row.id.as_str() {
            "durable-1" => ratios(&mut targets, row, &[(Against::Limit, 0.95)]),
            "durable-64" => {
                let asked =
                    [(Against::Limit, 0.9), (Against::Batched, 1.5), (Against::Native, 2.5)];
                ratios(&mut targets, row, &asked);
            }
            "durable-1024" => {
                let asked =
                    [(Against::Limit, 0.9), (Against::Batched, 1.2), (Against::Native, 4.0)];
                ratios(&mut targets, row, &asked);
            }
            "relaxed-1" | "relaxed-2" => {
                ratios(&mut targets, row, &[(Against::Batched, 2.0)]);
                at_least(&mut targets, row, OURS, 2_500_000.0);
            }
            "append-busy" | "append-paced" => {
                below(&mut targets, row, "p50", 400.0);
                below(&mut targets, row, "p99.9", 20_000.0);
            }
            "replay" => {
                no_more_than(&mut targets, row, OURS, "crc + decode + apply", 1.15);
                no_more_than(&mut targets, row, OURS, "okaywal", 1.0);
                no_more_than(&mut targets, row, OURS, "raft-engine", 1.0);
            }
            "open" => no_more_than(&mut targets, row, OURS, "SQLite, open and scan", 1.0),
            "open-small" => below(&mut targets, row, OURS, 2.0),
            "snapshot" => no_more_than(&mut targets, row, OURS, "serde_json, pretty, fsync", 1.0),
            "memory" => below(&mut targets, row, "heap, opened", 250.0),
            "bytes" => below(&mut targets, row, OURS, 64.0),
            id if id.starts_with("stall") => {
                no_more_than(&mut targets, row, "with", "without", 2.0)
            }
            id if id.starts_with("peak") => no_more_than(&mut targets, row, "peak", "steady", 1.3),
            "growth-append" | "growth-commit" => {
                // Flat: a thousand times the peers, and caches that hold less of them.
                no_more_than(&mut targets, row, "1000000", "1000", 2.0);
            }
            "growth-open" | "growth-snapshot" => {
                no_more_than(&mut targets, row, "1000000", "100000", 12.0);
            }
            _ => {}
        }
    }
    targets
}

#[derive(Clone, Copy)]
enum Against {
    Limit,
    Batched,
    Native,
}

impl Against {
    fn is(self, name: &str) -> bool {
        match self {
            Self::Limit => name == LIMIT,
            Self::Batched => name.ends_with("batched"),
            Self::Native => name.ends_with("native"),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::Limit => "the limit",
            Self::Batched => "the best batched peer",
            Self::Native => "the best native peer",
        }
    }
}

fn ratios(targets: &mut Vec<Target>, row: &Row, asked: &[(Against, f64)]) {
    for (against, factor) in asked {
        let others = row.names().iter().filter(|name| against.is(name));
        let best = others.max_by(|a, b| row.median(a).total_cmp(&row.median(b)));
        let Some(best) = best.filter(|_| !row.values(OURS).is_empty()) else { continue };
        let ratio = median(&row.ratios(OURS, best));
        let name = if best == LIMIT { String::new() } else { format!(" ({best})") };
        targets.push(Target {
            row: row.title.clone(),
            target: format!("at least {factor} x {}", against.text()),
            measured: format!("{ratio:.2} x{name}"),
            is_met: ratio >= *factor,
        });
    }
}

fn no_more_than(targets: &mut Vec<Target>, row: &Row, a: &str, b: &str, factor: f64) {
    let ratios = row.ratios(a, b);
    if ratios.is_empty() {
        return;
    }
    let ratio = median(&ratios);
    targets.push(Target {
        row: row.title.clone(),
        target: format!("{a} within {factor} x {b}"),
        measured: format!("{ratio:.2} x"),
        is_met: ratio <= factor,
    });
}

fn below(targets: &mut Vec<Target>, row: &Row, name: &str, most: f64) {
    limit(targets, row, name, &format!("{name} under {} {}", shown(most), row.unit), |v| v < most);
}

fn at_least(targets: &mut Vec<Target>, row: &Row, name: &str, least: f64) {
    let target = format!("at least {} {}", shown(least), row.unit);
    limit(targets, row, name, &target, |value| value >= least);
}

fn limit(
    targets: &mut Vec<Target>,
    row: &Row,
    name: &str,
    target: &str,
    holds: impl Fn(f64) -> bool,
) {
    if row.values(name).is_empty() {
        return;
    }
    let value = row.median(name);
    targets.push(Target {
        row: row.title.clone(),
        target: target.to_owned(),
        measured: format!("{} {}", shown(value), row.unit),
        is_met: holds(value),
    });
}
