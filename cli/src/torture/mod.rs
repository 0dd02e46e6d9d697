//! `peer-journal torture`: a process that writes is killed over and over, or a simulated disk loses
//! its power, and what was acknowledged must be there each time.

pub(crate) mod child;
mod cycles;
mod folder;
mod simulate;
mod stop;
mod summary;

use std::{
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use peer_journal::{
    Builder, P2PStatePersistence,
    testing::{Prng, Workload},
};

use crate::Failure;

/// Kills on a real disk, unless told otherwise.
const CYCLES: u64 = 20;
/// Crashes on a simulated disk, unless told otherwise.
const CASES: u64 = 1000;
/// What makes a child or a simulated program lie about what is durable: a test of this command
/// sets it, to see that lies are found out.
const LIE: &str = "PEER_JOURNAL_TORTURE_LIE";

/// Kill a writing process over and over on your disk, and see what is lost
///
/// Each cycle starts a process that writes to a store in DIR, kills it (SIGKILL) at a random
/// moment, opens the store and compares it with what the process had been told is durable. With
/// --simulate a disk in memory loses its power instead, in the middle of any call, with unsynced
/// sectors lost, torn or kept, and with faults. Exits with 1 if anything acknowledged is lost.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder to work in, on the disk to test. Made if need be; it must hold nothing else
    #[arg(required_unless_present = "simulate")]
    dir: Option<PathBuf>,
    /// Number of kills [default: 20, or as many as --for allows]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    cycles: Option<u64>,
    /// Seed of all that is random [default: a random one, printed]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Go on for so long: 90s, 10m, 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    time: Option<Duration>,
    /// Tasks that write at the same time
    #[arg(long, value_name = "N", default_value_t = 8,
          value_parser = clap::value_parser!(u64).range(1..=256))]
    writers: u64,
    /// Keep the files (after a loss they are kept in any case)
    #[arg(long)]
    keep: bool,
    /// Print the summary as one line of JSON
    #[arg(long)]
    json: bool,
    /// Use a simulated disk, without DIR
    #[arg(long, conflicts_with_all = ["dir", "cycles", "writers", "keep"])]
    simulate: bool,
    /// Number of simulated runs, each with its own seed from S on [default: 1000]
    #[arg(long, value_name = "N", requires = "simulate",
          value_parser = clap::value_parser!(u64).range(1..))]
    cases: Option<u64>,
}

impl Args {
    pub(crate) fn is_simulated(&self) -> bool {
        self.simulate
    }
}

/// Runs until enough was seen, something is lost, or Ctrl-C or SIGTERM asks for the end.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let seed = args.seed.unwrap_or_else(random_seed);
    if args.simulate {
        let cases = args.cases.unwrap_or(if args.time.is_some() { u64::MAX } else { CASES });
        return simulate::run(seed, cases, args.time, args.json);
    }
    // Without it the command line was refused.
    let dir = args.dir.as_deref().ok_or_else(|| Failure::usage("name a folder to work in"))?;
    let cycles = args.cycles.unwrap_or(if args.time.is_some() { u64::MAX } else { CYCLES });
    let orders = cycles::Orders {
        seed,
        cycles,
        time: args.time,
        writers: args.writers,
        keep: args.keep,
        json: args.json,
    };
    cycles::run(dir, &orders)
}

/// Options that the writing process and the checking one have in common.
fn builder(dir: &std::path::Path) -> Builder {
    P2PStatePersistence::builder(state_file(dir)).clock(Workload::clock)
}

fn state_file(dir: &std::path::Path) -> PathBuf {
    dir.join("p2p-state.json")
}

/// What the test of this command wants to be lied about; see [`LIE`].
fn lie() -> Option<String> {
    std::env::var(LIE).ok().filter(|lie| !lie.is_empty())
}

/// Small enough to be typed again.
fn random_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanos = u64::try_from(now.as_nanos() % (1 << 60)).unwrap_or_default();
    Prng::new(nanos ^ (u64::from(std::process::id()) << 40)).below(1 << 32)
}

/// A number of seconds, or of what the letter behind it says.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.strip_prefix(digits) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        _ => 0,
    };
    let seconds = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(unit));
    match seconds {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("write a number and s, m or h, for example 90s".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        let seconds = |text: &str| duration(text).map(|duration| duration.as_secs());
        assert_eq!(seconds("90"), Ok(90));
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("10m"), Ok(600));
        assert_eq!(seconds("2h"), Ok(7200));
        for wrong in ["", "s", "0", "-3s", "3d", "1.5h", "10ms", "99999999999999999999h", "5s5s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
