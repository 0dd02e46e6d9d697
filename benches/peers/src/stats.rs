//! Medians, quantiles, and what Linux says of this process.

use std::{
    fs,
    time::{Duration, Instant},
};

/// The middle of the values; 0 for none.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of the values lies; 0 for none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let index = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(index).copied().unwrap_or(0.0)
}

/// Seconds that the work takes, and what it gives.
pub fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let started = Instant::now();
    let result = work();
    (started.elapsed().as_secs_f64(), result)
}

/// Nanoseconds of many short calls, and their quantiles.
#[derive(Default)]
pub struct Calls(Vec<u32>);

impl Calls {
    pub fn add(&mut self, took: Duration) {
        self.0.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
    }

    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nanoseconds within which this share of the calls returned.
    pub fn within(&mut self, share: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        if self.0.is_empty() {
            return 0.0;
        }
        f64::from(*self.0.select_nth_unstable(index).1)
    }
}

/// Bytes of a field of `/proc/self/status`, such as `VmRSS` or `VmHWM`; 0 where there is none.
pub fn process_bytes(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) * 1024.0
}

/// Sets the peak of the resident memory (`VmHWM`) back to what is resident now.
pub fn forget_peak() -> std::io::Result<()> {
    fs::write("/proc/self/clear_refs", "5")
}
