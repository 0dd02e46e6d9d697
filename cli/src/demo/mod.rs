//! The demo: a program that remembers peers in three stores is killed in the middle of writing;
//! then the same changes go through a power cut. Counts only what was acknowledged.

mod power;
mod rivals;
pub(crate) mod writer;

use std::{
    fs,
    io::{self, BufRead, BufReader, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use peer_journal::{P2PStatePersistence, vfs::OsVfs};

use crate::{Failure, out};
use rivals::{Habit, kept};

/// Give up on a writer that has acknowledged nothing for this long.
const PATIENCE: Duration = Duration::from_secs(20);

/// What each store still had after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) ours: u64,
    pub(crate) rewritten: u64,
    pub(crate) on_exit: u64,
}

/// Runs the demo. Fails if one acknowledged change is missing.
pub(crate) fn run(kill_after: Option<u64>) -> Result<(), Failure> {
    let dir = fresh_dir()?;
    let pause = kill_after.map_or_else(random_pause, Duration::from_secs);
    progress(&format!("writing to three stores, to be killed in {:.1} s", pause.as_secs_f64()));
    let acknowledged = write_and_kill(&dir, pause)?;
    progress("killed; opening again");
    let opened = Instant::now();
    let store = P2PStatePersistence::open(state_file(&dir))?;
    let opening = opened.elapsed();
    let report = store.recovery()?.clone();
    let killed = Kept {
        ours: report.last_lsn.get().saturating_sub(report.lost_records()),
        rewritten: kept(&OsVfs, &dir, Habit::EverySixtySeconds),
        on_exit: kept(&OsVfs, &dir, Habit::OnCleanExit),
    };
    progress("cutting the power of a simulated disk");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the runtime", error))?;
    let cut = runtime.block_on(async {
        let records = power::all_records(&store).await?;
        let count = usize::try_from(acknowledged).unwrap_or(usize::MAX);
        power::cut(records.get(..count).unwrap_or(&records)).await
    })?;
    drop(store);
    progress("");
    out::line(format_args!(
        "{acknowledged} changes were acknowledged before the kill -9, {:.1} s into the run.\n\n\
         {}\nOpening again took {:.1} ms: {report}\nThe files are in {}",
        pause.as_secs_f64(),
        table(acknowledged, killed, cut),
        opening.as_secs_f64() * 1000.0,
        dir.display(),
    ))?;
    if killed.ours < acknowledged || cut.ours < acknowledged {
        return Err(Failure::negative(
            "an acknowledged change is missing; please report it as a bug",
        ));
    }
    Ok(())
}

pub(crate) fn state_file(dir: &Path) -> PathBuf {
    dir.join("p2p-state.json")
}

/// Acknowledged changes that each store had again, capped at what was acknowledged: a store may
/// keep more than it promised.
fn table(acknowledged: u64, killed: Kept, cut: Kept) -> String {
    let rows = [
        ("peer-journal", killed.ours, cut.ours),
        ("JSON every 60 s", killed.rewritten, cut.rewritten),
        ("JSON on clean exit", killed.on_exit, cut.on_exit),
    ];
    let mut text = format!("{:<20}{:>14}{:>16}\n", "kept after", "kill -9", "power cut (*)");
    for (name, kill, power) in rows {
        let (kill, power) = (kill.min(acknowledged), power.min(acknowledged));
        text.push_str(&format!("{name:<20}{kill:>14}{power:>16}\n"));
    }
    text.push_str(
        "\n(*) the same changes on a simulated disk that drops everything unsynced.\n\
         On average a file rewritten every 60 s loses 30 s of changes.\n",
    );
    text
}

/// Starts the writer, counts what it acknowledges, and kills it after `pause`.
fn write_and_kill(dir: &Path, pause: Duration) -> Result<u64, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::io("cannot find this program's own file", error))?;
    let mut child = Command::new(program)
        .arg("demo-writer")
        .arg(dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::io("cannot start a child process", error))?;
    let acknowledged = count_lines(&mut child);
    let first = acknowledged.recv_timeout(PATIENCE);
    if first.is_ok() {
        thread::sleep(pause);
    }
    let killed = child.kill().and_then(|()| child.wait());
    killed.map_err(|error| Failure::io("cannot kill the writer", error))?;
    // The pipe is closed now: what is in it was acknowledged before the kill.
    match acknowledged.iter().last().or(first.ok()) {
        Some(lsn) => Ok(lsn),
        None => Err(Failure::negative("the writer acknowledged nothing; see its message above")),
    }
}

/// The LSNs that the child prints, one on a line; a line cut off by the kill does not count.
fn count_lines(child: &mut Child) -> Receiver<u64> {
    let (told, lsns) = channel();
    if let Some(stdout) = child.stdout.take() {
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout);
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|count| count > 0) {
                let lsn = line.strip_suffix('\n').and_then(|lsn| lsn.parse().ok());
                if lsn.is_some_and(|lsn| told.send(lsn).is_err()) {
                    return;
                }
                line.clear();
            }
        });
    }
    lsns
}

/// A folder that did not exist before.
fn fresh_dir() -> Result<PathBuf, Failure> {
    let name = format!("peer-journal-demo-{}-{}", std::process::id(), clock_nanos());
    let dir = std::env::temp_dir().join(name);
    fs::create_dir(&dir)
        .map_err(|error| Failure::io(format!("cannot create {}", dir.display()), error))?;
    Ok(dir)
}

/// 2 to 4 seconds.
fn random_pause() -> Duration {
    Duration::from_millis(2000 + u64::from(clock_nanos() / 1000 % 2000))
}

fn clock_nanos() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos())
}

/// Says what goes on, on a terminal only; an empty text clears the line.
fn progress(text: &str) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        // Progress that cannot be shown is no reason to stop.
        let _shown: io::Result<()> = write!(stderr, "\r\x1b[2K{text}");
    }
}
