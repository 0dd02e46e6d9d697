//! Proof that every rival syncs before it acknowledges: strace watches a process that commits one
//! change at a time and says so before and after each.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use crate::{
    args::Args,
    engines::{self, LIMIT, OURS, Result},
    ours,
    workload::World,
};

const COMMITS: usize = 20;
const BEGIN: &str = "bench-begin";
const END: &str = "bench-end";
const CALLS: &str = "trace=open,openat,close,fsync,fdatasync,msync,write,pwrite64,writev,pwritev";

/// Prints a table; an error if a rival that counts as durable acknowledged without a sync.
pub fn run(args: &Args, dir: &Path) -> Result<()> {
    let is_there = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    if !is_there.is_ok_and(|status| status.success()) {
        return Err("strace is not installed; it is what watches the calls".into());
    }
    println!("| engine | commits | with a sync before the acknowledgement | syncs per commit |");
    println!("|---|---:|---:|---:|");
    let mut failed = Vec::new();
    let names = [LIMIT, OURS].into_iter().chain(engines::DURABLE.iter().copied());
    for name in names.filter(|name| args.wants(name)) {
        let place = dir.join(format!("check-{}", name.replace(' ', "-")));
        fs::create_dir_all(&place)?;
        let trace = place.join("strace.txt");
        let status = Command::new("strace")
            .args(["-f", "-qq", "-s", "32", "-e", CALLS, "-o"])
            .arg(&trace)
            .arg(std::env::current_exe()?)
            .args(["child", "commits", name, "--peers", "100", "--dir"])
            .arg(&place)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if !status.success() {
            return Err(format!("the process of {name} ended with {status}").into());
        }
        let seen = judge(&fs::read_to_string(&trace)?);
        println!(
            "| {name} | {} | {} | {:.1} |",
            seen.commits,
            seen.synced,
            seen.syncs as f64 / seen.commits.max(1) as f64
        );
        let must_sync = name != "SQLite NORMAL";
        if seen.commits != COMMITS || must_sync && seen.synced != COMMITS {
            failed.push(name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("no sync: {failed:?}").into()) }
}

/// In a fresh process, under strace: commits one after the other.
pub fn commits(args: &Args) -> Result<Vec<f64>> {
    let name = args.words.get(2).ok_or("the name of a rival")?;
    let world = World::new(args.peers);
    let say = |word: &str| std::io::stdout().write_all(format!("{word}\n").as_bytes());
    if name == OURS {
        let store = ours::open_filled(&args.dir, &world)?;
        crate::rows::append::settle(&store)?;
        for _ in 0..COMMITS {
            say(BEGIN)?;
            store.append(world.change(world.op()))?.wait()?;
            say(END)?;
        }
        return Ok(Vec::new());
    }
    let rival = engines::open(name, &args.dir, &Arc::clone(&world), false)?;
    for _ in 0..COMMITS {
        say(BEGIN)?;
        rival.commit(&world.ready_ops(1), true)?;
        say(END)?;
    }
    Ok(Vec::new())
}

#[derive(Default)]
struct Seen {
    commits: usize,
    /// Commits in which a sync, or a write to a file opened with `O_DSYNC`, returned without an
    /// error behind the last plain write.
    synced: usize,
    syncs: usize,
}

/// Reads a trace. A call of another thread may be split in two lines; its end is what counts.
fn judge(trace: &str) -> Seen {
    let mut seen = Seen::default();
    let mut is_inside = false;
    let mut is_synced = false;
    // Descriptors whose writes are syncs of their own.
    let mut synchronous: Vec<String> = Vec::new();
    for line in trace.lines() {
        if line.contains("O_DSYNC") || line.contains("O_SYNC") {
            synchronous.extend(line.rsplit_once("= ").map(|(_, fd)| fd.trim().to_owned()));
        }
        let is_synchronous = |fd: &String| {
            ["write(", "pwrite64(", "writev(", "pwritev("]
                .iter()
                .any(|call| line.contains(&format!("{call}{fd},")))
        };
        if line.contains(BEGIN) {
            (is_inside, is_synced) = (true, false);
        } else if line.contains(END) {
            seen.commits += 1;
            seen.synced += usize::from(is_synced);
            is_inside = false;
        } else if is_inside && (is_sync(line) || synchronous.iter().any(is_synchronous)) {
            is_synced = true;
            seen.syncs += 1;
        } else if is_inside && line.contains("write") && !line.contains("resumed") {
            // A write to a pipe or an event counter has at most eight bytes and wakes a thread.
            is_synced &= line.contains(", 8)") || line.contains(", 1)");
        }
    }
    seen
}

/// The end of a sync that returned 0.
fn is_sync(line: &str) -> bool {
    let names = ["fsync", "fdatasync", "msync"];
    let is_call = names.iter().any(|name| line.contains(&format!("{name}(")))
        || names.iter().any(|name| line.contains(&format!("{name} resumed")));
    is_call && line.trim_end().ends_with("= 0")
}
