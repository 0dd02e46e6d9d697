//! The demo: five real nodes publish and fetch packages over loopback, and each keeps three stores
//! of the same changes. One is killed in the middle of writing, and joins again from what it
//! remembers; then the same changes go through a power cut. Counts only what was acknowledged.

pub(crate) mod member;
mod power;
mod process;
mod rivals;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use peer_journal::{P2PStatePersistence, RecoveryReport, vfs::OsVfs};

use crate::{
    Failure,
    out::{self, progress},
};
use process::Process;
use rivals::{Habit, kept};

/// Number of nodes.
const MEMBERS: u64 = 5;
/// The one that is killed; node 0 is the one through which the others join.
const VICTIM: u64 = 3;
/// Longest time to wait for the nodes to find each other, or one to find the others again: on a
/// machine that is busy with other things, too.
const JOIN_WITHIN: Duration = Duration::from_secs(60);
const STOP_WITHIN: Duration = Duration::from_secs(30);

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
    progress("starting five nodes on 127.0.0.1");
    let mut nodes = start_nodes(&dir)?;
    let joined = Instant::now();
    progress(&format!("publishing and fetching; kill -9 in {:.1} s", pause.as_secs_f64()));
    thread::sleep(pause);
    let victim = nodes.remove(usize::try_from(VICTIM).unwrap_or_default());
    victim.wait_for("an acknowledged change", JOIN_WITHIN, |heard| heard.acknowledged > 0)?;
    let (acknowledged, age) = (victim.kill()?.acknowledged, joined.elapsed());
    progress("killed; opening its store again, and cutting the power of a simulated disk");
    let found = reopen(&member_dir(&dir, VICTIM), acknowledged)?;
    progress("stopping the bootstrap node, starting the killed node without one");
    nodes.remove(0).stop(STOP_WITHIN)?;
    let others = u64::try_from(nodes.len()).unwrap_or(u64::MAX);
    let started = Instant::now();
    let back = Process::start(&member_dir(&dir, VICTIM), VICTIM, &["--quiet"])?;
    back.wait_for("its old peers", JOIN_WITHIN, |heard| heard.peers >= others)?;
    let rejoined = started.elapsed();
    progress("stopping all");
    back.stop(STOP_WITHIN)?;
    for node in nodes {
        node.stop(STOP_WITHIN)?;
    }
    progress("");
    out::line(format_args!(
        "5 nodes on 127.0.0.1; node {VICTIM} was killed (kill -9) {:.1} s after they had met.\n\
         It had acknowledged {acknowledged} changes.\n\n{}\n\
         Opening took {:.1} ms: {}\n\
         Back with its {others} other peers {:.2} s after the restart, without a bootstrap node.\n\
         Its files: {}",
        age.as_secs_f64(),
        table(acknowledged, found.killed, found.cut),
        found.opening.as_secs_f64() * 1000.0,
        found.report,
        rejoined.as_secs_f64(),
        member_dir(&dir, VICTIM).display(),
    ))?;
    clean_up(&dir);
    if acknowledged == 0 {
        return Err(Failure::negative("nothing was acknowledged, so nothing was shown"));
    }
    if found.killed.ours < acknowledged || found.cut.ours < acknowledged {
        return Err(Failure::negative(
            "an acknowledged change is missing; please report it as a bug",
        ));
    }
    Ok(())
}

pub(crate) fn state_file(dir: &Path) -> PathBuf {
    dir.join("p2p-state.json")
}

fn member_dir(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("node-{number}"))
}

/// Starts all nodes and waits until each is connected to all others.
fn start_nodes(dir: &Path) -> Result<Vec<Process>, Failure> {
    let mut nodes = Vec::new();
    let mut first_address = String::new();
    for number in 0..MEMBERS {
        let dir = member_dir(dir, number);
        fs::create_dir(&dir)
            .map_err(|error| Failure::io(format!("cannot create {}", dir.display()), error))?;
        let node = match number {
            0 => Process::start(&dir, number, &[])?,
            _ => Process::start(&dir, number, &["--bootstrap", &first_address])?,
        };
        if number == 0 {
            let heard = node.wait_for("listening", JOIN_WITHIN, |heard| heard.address.is_some())?;
            first_address = heard.address.unwrap_or_default();
        }
        nodes.push(node);
    }
    for node in &nodes {
        node.wait_for("all other nodes", JOIN_WITHIN, |heard| heard.peers >= MEMBERS - 1)?;
    }
    Ok(nodes)
}

/// What a restart of the killed node finds, and what a power cut would have left.
struct Found {
    killed: Kept,
    cut: Kept,
    opening: Duration,
    report: RecoveryReport,
}

fn reopen(dir: &Path, acknowledged: u64) -> Result<Found, Failure> {
    let begun = Instant::now();
    let store = P2PStatePersistence::open(state_file(dir))?;
    let opening = begun.elapsed();
    let report = store.recovery()?.clone();
    let killed = Kept {
        ours: report.last_lsn.get().saturating_sub(report.lost_records()),
        rewritten: kept(&OsVfs, dir, Habit::EverySixtySeconds),
        on_exit: kept(&OsVfs, dir, Habit::OnCleanExit),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("cannot start the runtime", error))?;
    let cut = runtime.block_on(async {
        let records = power::all_records(&store).await?;
        let count = usize::try_from(acknowledged).unwrap_or(usize::MAX);
        power::cut(records.get(..count).unwrap_or(&records)).await
    })?;
    Ok(Found { killed, cut, opening, report })
}

/// Acknowledged changes that each store had again, capped at what was acknowledged: a store may
/// keep more than it promised.
fn table(acknowledged: u64, killed: Kept, cut: Kept) -> String {
    let rows = [
        ("peer-journal", killed.ours, cut.ours),
        ("JSON every 60 s", killed.rewritten, cut.rewritten),
        ("JSON on clean exit", killed.on_exit, cut.on_exit),
    ];
    let mut text = format!("{:<18}{:>9}{:>12}\n", "changes kept", "kill -9", "power cut*");
    for (name, kill, power) in rows {
        let (kill, power) = (kill.min(acknowledged), power.min(acknowledged));
        text.push_str(&format!("{name:<18}{kill:>9}{power:>12}\n"));
    }
    text.push_str(
        "\n* The same changes on a simulated disk\n  that drops everything unsynced.\n\
         On average a file rewritten every 60 s\nloses 30 s of changes.\n",
    );
    text
}

/// A folder that did not exist before.
fn fresh_dir() -> Result<PathBuf, Failure> {
    let name = format!("peer-journal-demo-{}-{}", std::process::id(), clock_nanos());
    let dir = std::env::temp_dir().join(name);
    fs::create_dir(&dir)
        .map_err(|error| Failure::io(format!("cannot create {}", dir.display()), error))?;
    Ok(dir)
}

/// Leaves only the files of the node that was killed.
fn clean_up(dir: &Path) {
    for number in (0..MEMBERS).filter(|number| *number != VICTIM) {
        // What cannot be removed stays in the temporary folder, which is what that is for.
        fs::remove_dir_all(member_dir(dir, number)).ok();
    }
}

/// 4 to 6 seconds.
fn random_pause() -> Duration {
    Duration::from_millis(4000 + u64::from(clock_nanos() / 1000 % 2000))
}

fn clock_nanos() -> u32 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.subsec_nanos())
}
