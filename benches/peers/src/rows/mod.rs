//! The rows of the benchmark.

pub mod append;
pub mod compaction;
pub mod disk;
pub mod durable;
pub mod floor;
pub mod growth;
pub mod memory;
pub mod relaxed;
pub mod replay;

use std::{path::Path, process::Command};

use crate::engines::Result;

/// Runs one measurement in a fresh process and returns the numbers it printed. What a process
/// did before, and what its allocator still holds, is no part of such a figure.
pub fn child(words: &[&str], peers: usize, dir: &Path, seconds: f64) -> Result<Vec<f64>> {
    let output = Command::new(std::env::current_exe()?)
        .arg("child")
        .args(words)
        .args(["--peers", &peers.to_string(), "--seconds", &seconds.to_string()])
        .arg("--dir")
        .arg(dir)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the process for {words:?} ended with {}", output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().map(|word| Ok(word.parse::<f64>()?)).collect()
}
