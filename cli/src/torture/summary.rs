//! What was seen, for people and for programs.

use std::{path::PathBuf, time::Duration};

use serde_json::{Value, json};

use crate::{Failure, out};

/// What the cycles on a real disk showed.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) seed: u64,
    pub(crate) cycles: u64,
    /// Records that the killed processes had been told are durable.
    pub(crate) acknowledged: u64,
    /// Those of them that were there.
    pub(crate) found: u64,
    /// Records that were there although nobody had been told yet.
    pub(crate) whole: u64,
    pub(crate) torn_tails: u64,
    /// Times of the openings after a kill.
    pub(crate) recoveries: Vec<Duration>,
    /// Bytes that the killed processes had written, where the system tells.
    pub(crate) written_bytes: Option<u64>,
    pub(crate) file_system: Option<String>,
    pub(crate) free_bytes: Option<u64>,
    pub(crate) elapsed: Duration,
    /// Ctrl-C or SIGTERM ended it early.
    pub(crate) stopped: bool,
    /// What was lost, in words.
    pub(crate) loss: Option<String>,
    /// Where the files were kept.
    pub(crate) files: Option<PathBuf>,
}

impl Summary {
    pub(crate) fn print(&self, as_json: bool) -> Result<(), Failure> {
        if as_json {
            return out::line(format_args!("{}", self.to_json()));
        }
        out::line(format_args!("{}", self.to_text().trim_end()))
    }

    fn median_and_longest(&self) -> Option<(Duration, Duration)> {
        let mut times = self.recoveries.clone();
        times.sort_unstable();
        Some((*times.get(times.len() / 2)?, *times.last()?))
    }

    fn to_json(&self) -> Value {
        let times = self.median_and_longest();
        json!({
            "mode": "disk",
            "seed": self.seed,
            "cycles": self.cycles,
            "acknowledged": self.acknowledged,
            "found": self.found,
            "unacknowledged_whole": self.whole,
            "torn_tails": self.torn_tails,
            "recovery_ms": times.map(|(median, longest)| {
                json!({ "median": millis(median), "longest": millis(longest) })
            }),
            "written_bytes": self.written_bytes,
            "file_system": self.file_system,
            "free_bytes": self.free_bytes,
            "seconds": self.elapsed.as_secs_f64(),
            "stopped": self.stopped,
            "loss": self.loss,
            "files": self.files.as_ref().map(|path| path.display().to_string()),
        })
    }

    fn to_text(&self) -> String {
        let mut rows = vec![
            ("seed", self.seed.to_string()),
            ("kills", self.cycles.to_string()),
            ("acknowledged records", self.acknowledged.to_string()),
            ("  found again", self.found.to_string()),
            ("unacknowledged, but whole", self.whole.to_string()),
            ("torn tails", self.torn_tails.to_string()),
        ];
        if let Some((median, longest)) = self.median_and_longest() {
            let times =
                format!("median {:.1} ms, longest {:.1} ms", millis(median), millis(longest));
            rows.push(("recovery", times));
        }
        if let Some(bytes) = self.written_bytes {
            rows.push(("written", mebibytes(bytes)));
        }
        if let Some(kind) = &self.file_system {
            let free = self
                .free_bytes
                .map_or_else(String::new, |bytes| format!(", {} free", mebibytes(bytes)));
            rows.push(("file system", format!("{kind}{free}")));
        }
        rows.push(("took", format!("{:.1} s", self.elapsed.as_secs_f64())));
        if self.stopped {
            rows.push(("stopped", "by Ctrl-C or SIGTERM".to_owned()));
        }
        if let Some(path) = &self.files {
            rows.push(("files", path.display().to_string()));
        }
        rows.push(("lost", self.loss.clone().unwrap_or_else(|| "nothing".to_owned())));
        table(&rows)
    }
}

/// What the simulated crashes showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Simulated {
    pub(crate) cases: u64,
    pub(crate) power_cuts: u64,
    pub(crate) kills: u64,
    /// Crashes inside a recovery.
    pub(crate) in_recovery: u64,
    /// Calls on the disk that faults failed.
    pub(crate) faults: u64,
    pub(crate) acknowledged: u64,
    pub(crate) whole: u64,
    pub(crate) torn_tails: u64,
}

/// A simulated case that lost something.
#[derive(Clone, Debug)]
pub(crate) struct Loss {
    pub(crate) seed: u64,
    pub(crate) what: String,
    /// How often it lost something when it was repeated.
    pub(crate) again: u32,
}

impl Loss {
    fn to_json(&self) -> Value {
        json!({ "seed": self.seed, "what": self.what, "seen_again": self.again })
    }
}

impl Simulated {
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.cases, other.cases),
            (&mut self.power_cuts, other.power_cuts),
            (&mut self.kills, other.kills),
            (&mut self.in_recovery, other.in_recovery),
            (&mut self.faults, other.faults),
            (&mut self.acknowledged, other.acknowledged),
            (&mut self.whole, other.whole),
            (&mut self.torn_tails, other.torn_tails),
        ] {
            *sum = sum.saturating_add(more);
        }
    }

    pub(crate) fn print(
        &self,
        seed: u64,
        elapsed: Duration,
        losses: &[Loss],
        as_json: bool,
    ) -> Result<(), Failure> {
        let seconds = elapsed.as_secs_f64();
        let rate = f64::from(u32::try_from(self.cases).unwrap_or(u32::MAX)) / seconds.max(1e-9);
        if as_json {
            let losses: Vec<_> = losses.iter().map(Loss::to_json).collect();
            return out::line(format_args!(
                "{}",
                json!({
                    "mode": "simulated",
                    "seed": seed,
                    "cases": self.cases,
                    "power_cuts": self.power_cuts,
                    "kills": self.kills,
                    "crashes_in_recovery": self.in_recovery,
                    "faults": self.faults,
                    "acknowledged": self.acknowledged,
                    "unacknowledged_whole": self.whole,
                    "torn_tails": self.torn_tails,
                    "seconds": seconds,
                    "cases_per_second": rate,
                    "losses": losses,
                })
            ));
        }
        let rows = [
            ("seed", seed.to_string()),
            ("cases", format!("{}, {rate:.0} per second", self.cases)),
            ("power cuts", self.power_cuts.to_string()),
            ("kills", self.kills.to_string()),
            ("crashes inside a recovery", self.in_recovery.to_string()),
            ("failed calls on the disk", self.faults.to_string()),
            ("acknowledged records", self.acknowledged.to_string()),
            ("unacknowledged, but whole", self.whole.to_string()),
            ("torn tails", self.torn_tails.to_string()),
            ("took", format!("{seconds:.1} s")),
            ("cases that lost something", losses.len().to_string()),
        ];
        out::line(format_args!("{}", table(&rows).trim_end()))
    }
}

fn table(rows: &[(&str, String)]) -> String {
    rows.iter().map(|(name, value)| format!("{name:<27}{value}\n")).collect()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn mebibytes(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}
