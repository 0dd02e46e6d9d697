//! What the figures were taken on.

use std::{fs, path::Path};

use crate::args::Args;

/// One paragraph: processor, memory, kernel, file system.
pub fn describe(dir: &Path) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = field(&read("/proc/cpuinfo"), "model name").unwrap_or("unknown".into());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = field(&read("/proc/meminfo"), "MemTotal").unwrap_or("unknown".into());
    let kernel = read("/proc/sys/kernel/osrelease");
    let system = file_system(&read("/proc/mounts"), dir).unwrap_or("unknown file system".into());
    let kernel = kernel.trim();
    format!("{processor}, {cores} cores, {memory} of memory, Linux {kernel}, {system}.")
}

/// How a row was run.
pub fn run(args: &Args) -> String {
    let (rounds, seconds) = (args.rounds, args.time.as_secs_f64());
    format!("{rounds} rounds of {seconds} s, where the time is fixed; {} peers.", args.peers)
}

/// Type and options of the mount that holds the folder.
fn file_system(mounts: &str, dir: &Path) -> Option<String> {
    let dir = fs::canonicalize(dir).ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, point, kind, options, ..] = fields[..] else { return None };
        dir.starts_with(point).then(|| (point.len(), format!("{kind} ({options})")))
    });
    mounts.max_by_key(|(len, _)| *len).map(|(_, text)| text)
}
