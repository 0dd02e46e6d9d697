//! The command line.

use std::{path::PathBuf, time::Duration};

use crate::engines::{LIMIT, LIMITS};

pub const USAGE: &str = "usage: peer-journal-bench-peers [ROW ...] [OPTION ...]
       peer-journal-bench-peers check        prove with strace that every rival syncs
       peer-journal-bench-peers report       the table and plots of what was measured before

Rows (default: all of them, in this order):
  durable     every change durable before it counts: durable-1, durable-64, durable-1024 tasks
  relaxed     producers that do not wait: relaxed-1, relaxed-2
  append      the append call itself
  replay      1,000,000 records into 100,000 peers
  open        100,000 peers from the snapshot; 1,000 peers
  snapshot    100,000 peers, written durably
  compaction  appends while a snapshot is written; peak memory
  memory      per peer with three addresses and a reputation
  bytes       on disk per reputation change
  growth      from 1,000 to 1,000,000 peers

Options:
  --rounds N    interleaved rounds of each row (5)
  --seconds S   time for each engine in a round, where that is what is fixed (1)
  --peers N     peers in the store (100000)
  --dir PATH    a folder on the disk to measure (the system's temporary folder)
  --out PATH    where the table and the plots go (benches/peers/out); rows that lie there from
                earlier runs stay in them, so that a full run can be made in pieces
  --only NAMES  comma-separated rivals (all)";

#[derive(Clone, Debug)]
pub struct Args {
    pub words: Vec<String>,
    pub rounds: usize,
    pub time: Duration,
    pub peers: usize,
    pub dir: PathBuf,
    pub out: PathBuf,
    pub only: Option<Vec<String>>,
}

impl Args {
    pub fn parse(mut given: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self {
            words: Vec::new(),
            rounds: 5,
            time: Duration::from_secs(1),
            peers: 100_000,
            dir: std::env::temp_dir(),
            out: PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/out")),
            only: None,
        };
        while let Some(word) = given.next() {
            if !word.starts_with("--") {
                args.words.push(word);
                continue;
            }
            if word == "--help" {
                return Err(USAGE.to_owned());
            }
            let value = given.next().ok_or_else(|| format!("{word} needs a value\n{USAGE}"))?;
            let wrong = |error: &dyn std::fmt::Display| format!("{word} {value}: {error}");
            match word.as_str() {
                "--rounds" => args.rounds = value.parse().map_err(|error| wrong(&error))?,
                "--peers" => args.peers = value.parse().map_err(|error| wrong(&error))?,
                "--seconds" => {
                    let seconds: f64 = value.parse().map_err(|error| wrong(&error))?;
                    args.time = Duration::try_from_secs_f64(seconds).map_err(|e| wrong(&e))?;
                }
                "--dir" => args.dir = value.into(),
                "--out" => args.out = value.into(),
                "--only" => args.only = Some(value.split(',').map(str::to_owned).collect()),
                _ => return Err(format!("there is no option {word}\n{USAGE}")),
            }
        }
        if args.rounds == 0 || args.peers == 0 {
            return Err("--rounds and --peers must be at least 1".to_owned());
        }
        Ok(args)
    }

    /// True if a row of this name is asked for, or one of those that it stands for.
    pub fn asks_for(&self, name: &str) -> bool {
        let is_part = |whole: &str, part: &str| {
            part.strip_prefix(whole).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let asked = |word: &String| is_part(word, name) || is_part(name, word);
        self.words.is_empty() || self.words.iter().any(asked)
    }

    /// True if the rival is to take part.
    pub fn wants(&self, rival: &str) -> bool {
        let rival = if LIMITS.contains(&rival) { LIMIT } else { rival };
        self.only.as_ref().is_none_or(|only| only.iter().any(|name| name == rival))
    }
}
