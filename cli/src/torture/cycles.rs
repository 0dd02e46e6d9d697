//! The cycles on a real disk: start, kill, open, compare.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use peer_journal::{
    Outcome, RecoveryReport, View, inspect,
    testing::{Prng, Workload, difference},
};

use super::{builder, folder, folder::Folder, state_file, stop::Stop, summary::Summary};
use crate::{Failure, out};

/// Longest time for a process to start and recover; only a hang takes so long.
const START_WITHIN: Duration = Duration::from_secs(120);
/// One in so many kills comes while the process starts and recovers.
const EARLY_ONE_IN: u64 = 8;
const EARLY_MS: u64 = 25;
const LIFE_MS: u64 = 600;
/// One in so many cycles leaves the repair to the next process.
const READ_ONLY_ONE_IN: u64 = 4;
const MESSAGES: &str = "messages.txt";

/// What to do.
#[derive(Debug)]
pub(crate) struct Orders {
    pub(crate) seed: u64,
    pub(crate) cycles: u64,
    pub(crate) time: Option<Duration>,
    pub(crate) writers: u64,
    pub(crate) keep: bool,
    pub(crate) json: bool,
}

/// Runs all cycles and prints the summary.
pub(crate) fn run(dir: &Path, orders: &Orders) -> Result<(), Failure> {
    let stop = Stop::on_signal()?;
    let folder = Folder::make(dir)?;
    let (file_system, free_bytes) = folder::file_system(folder.path());
    let summary = Summary { seed: orders.seed, file_system, free_bytes, ..Summary::default() };
    let mut torture = Torture {
        orders,
        dir: folder.path(),
        model: Workload::new(orders.seed),
        random: Prng::new(orders.seed),
        summary,
    };
    let begun = Instant::now();
    let ran = torture.all_cycles(begun, &stop);
    out::progress("");
    let mut summary = torture.summary;
    summary.elapsed = begun.elapsed();
    let again = format!(
        "peer-journal torture {} --seed {} --writers {}",
        dir.display(),
        orders.seed,
        orders.writers
    );
    let kept = folder.path().display().to_string();
    if orders.keep || summary.loss.is_some() || ran.is_err() {
        summary.files = Some(folder.path().to_owned());
    } else {
        folder.remove()?;
    }
    if let Err(failure) = ran {
        out::note(format_args!("the files are kept in {kept}"));
        return Err(failure);
    }
    summary.print(orders.json)?;
    if let Some(loss) = summary.loss {
        return Err(Failure::negative(format!(
            "{loss}\nthe files are kept in {kept}; please report it as a bug with them.\n\
             To see it again: {again}"
        )));
    }
    if summary.stopped { Err(Failure::interrupted()) } else { Ok(()) }
}

struct Torture<'a> {
    orders: &'a Orders,
    dir: &'a Path,
    /// The state as of what was found last.
    model: Workload,
    random: Prng,
    summary: Summary,
}

impl Torture<'_> {
    fn all_cycles(&mut self, begun: Instant, stop: &Stop) -> Result<(), Failure> {
        while self.summary.cycles < self.orders.cycles
            && self.orders.time.is_none_or(|time| begun.elapsed() < time)
        {
            self.show_progress(begun);
            let heard = self.run_child()?;
            self.summary.cycles += 1;
            self.summary.loss = self.check(&heard)?;
            if self.summary.loss.is_some() {
                return Ok(());
            }
            if stop.is_asked() {
                self.summary.stopped = true;
                return Ok(());
            }
        }
        Ok(())
    }

    fn show_progress(&self, begun: Instant) {
        let Summary { cycles, acknowledged, .. } = self.summary;
        let of = match (self.orders.time, self.orders.cycles) {
            (Some(time), _) => format!("{} of {} s", begun.elapsed().as_secs(), time.as_secs()),
            (None, all) => format!("kill {} of {all}", cycles + 1),
        };
        out::progress(&format!("{of}; {acknowledged} records acknowledged, none lost"));
    }

    /// Starts a process, lets it write, and kills it.
    fn run_child(&mut self) -> Result<Heard, Failure> {
        let mut victim = Victim::start(self.dir, self.orders, self.summary.cycles)?;
        if self.random.chance(1, EARLY_ONE_IN) {
            victim.hear_for(Duration::from_millis(self.random.below(EARLY_MS)));
        } else {
            victim.hear_open()?;
            victim.hear_for(Duration::from_millis(self.random.below(LIFE_MS) + 1));
        }
        let written = victim.written_bytes();
        if let Some(bytes) = written {
            let sum = self.summary.written_bytes.unwrap_or_default();
            self.summary.written_bytes = Some(sum.saturating_add(bytes));
        }
        victim.kill()
    }

    /// Reads the store, and opens it in most cycles. Gives what is lost, in words.
    fn check(&mut self, heard: &Heard) -> Result<Option<String>, Failure> {
        let count = u64::try_from(heard.durable.len()).unwrap_or(u64::MAX);
        self.summary.acknowledged += count;
        let read = inspect(state_file(self.dir))?;
        let before = self.model.lsn();
        let there = heard.durable.range(..=read.view.lsn().get()).count();
        self.summary.found += u64::try_from(there).unwrap_or(u64::MAX);
        if let Some(loss) = self.compare(heard, &read.view, &read.report)? {
            return Ok(Some(loss));
        }
        let beyond = read.view.lsn().get().saturating_sub(before.get());
        self.summary.whole += beyond.saturating_sub(count);
        if read.report.outcome == Outcome::TornTail {
            self.summary.torn_tails += 1;
        }
        if self.random.chance(1, READ_ONLY_ONE_IN) {
            return Ok(None);
        }
        for again in [false, true] {
            let begun = Instant::now();
            let store = builder(self.dir).open()?;
            if !again {
                self.summary.recoveries.push(begun.elapsed());
            }
            let (view, report) = (store.view()?, store.recovery()?);
            if view.lsn() != read.view.lsn() {
                let (read, opened) = (read.view.lsn(), view.lsn());
                return Ok(Some(format!(
                    "reading shows LSN {read}, opening (again: {again}) LSN {opened}: {report}"
                )));
            }
            if let Some(loss) = self.compare(heard, &view, report)? {
                return Ok(Some(loss));
            }
            if again && report.outcome != Outcome::Clean {
                return Ok(Some(format!("a second opening is not clean: {report}")));
            }
        }
        Ok(None)
    }

    /// Compares what was found with what must be there.
    fn compare(
        &mut self,
        heard: &Heard,
        view: &View,
        report: &RecoveryReport,
    ) -> Result<Option<String>, Failure> {
        let promised = heard.promised();
        if view.lsn().get() < promised {
            return Ok(Some(format!(
                "LSN {promised} was acknowledged, and only {} are there: {report}",
                view.lsn()
            )));
        }
        if !report.lost.is_empty() || report.is_damaged() || report.skipped > 0 {
            return Ok(Some(format!("a kill is no damage, and yet: {report}")));
        }
        if view.lsn() < self.model.lsn() {
            return Ok(Some(format!(
                "LSN {} was there after an earlier kill, and now only {}: {report}",
                self.model.lsn(),
                view.lsn()
            )));
        }
        while self.model.lsn() < view.lsn() {
            let checksum = self.model.advance()?;
            let lsn = self.model.lsn();
            if heard.durable.get(&lsn.get()).is_some_and(|told| *told != checksum) {
                return Ok(Some(format!("record {lsn} is not the one that seed and LSN tell")));
            }
        }
        Ok(difference(self.model.state(), view.state())
            .map(|difference| format!("as of LSN {} {difference}: {report}", view.lsn())))
    }
}

/// What a process said before it was killed.
#[derive(Debug, Default)]
struct Heard {
    /// Records that it was told are durable, with a checksum of what they say.
    durable: BTreeMap<u64, u32>,
    open: bool,
    compacted: u64,
}

impl Heard {
    fn promised(&self) -> u64 {
        let last = self.durable.last_key_value().map_or(0, |(lsn, _)| *lsn);
        last.max(self.compacted)
    }

    /// Takes a line in; what is no line of ours was cut off by the kill.
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let (word, lsn) = (words.next(), words.next().and_then(|lsn| lsn.parse::<u64>().ok()));
        let checksum = words.next().and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match (word, lsn, checksum) {
            (Some("open"), Some(_), _) => self.open = true,
            (Some("compacted"), Some(lsn), _) => self.compacted = self.compacted.max(lsn),
            (Some("durable"), Some(lsn), Some(checksum)) => {
                self.durable.insert(lsn, checksum);
            }
            _ => {}
        }
    }
}

/// A running child. Dropping it kills it.
struct Victim<'a> {
    child: Child,
    lines: Receiver<String>,
    heard: Heard,
    dir: &'a Path,
}

impl<'a> Victim<'a> {
    fn start(dir: &'a Path, orders: &Orders, cycle: u64) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::io("cannot find this program's own file", error))?;
        let path = dir.join(MESSAGES);
        let messages = File::options().create(true).append(true).open(&path);
        let messages = messages
            .map_err(|error| Failure::io(format!("cannot write {}", path.display()), error))?;
        let mut command = Command::new(program);
        command
            .arg("torture-child")
            .args(["--seed", &orders.seed.to_string()])
            .args(["--cycle", &cycle.to_string()])
            .args(["--writers", &orders.writers.to_string(), "--dir"])
            .arg(dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(messages);
        // Ctrl-C is for this process; the child is killed by it.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child =
            command.spawn().map_err(|error| Failure::io("cannot start a child process", error))?;
        let (tell, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || {
                let mut stdout = BufReader::new(stdout);
                let mut line = String::new();
                // The last line may be cut off: without its end it does not count.
                while stdout.read_line(&mut line).is_ok() && line.ends_with('\n') {
                    if tell.send(line.trim_end().to_owned()).is_err() {
                        return;
                    }
                    line.clear();
                }
            });
        }
        Ok(Self { child, lines, heard: Heard::default(), dir })
    }

    /// Waits until the child has opened the store.
    fn hear_open(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + START_WITHIN;
        while !self.heard.open {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.heard.hear(&line),
                Err(RecvTimeoutError::Disconnected) => return Err(self.ended_by_itself()),
                Err(RecvTimeoutError::Timeout) => {
                    let seconds = START_WITHIN.as_secs();
                    return Err(Failure::negative(format!(
                        "the writing process did not open the store within {seconds} s"
                    )));
                }
            }
        }
        Ok(())
    }

    fn hear_for(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        // Looked at each time: there may always be another line.
        while Instant::now() < deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { return };
            self.heard.hear(&line);
        }
    }

    /// SIGKILL, in the middle of whatever it does. Gives all that it said before.
    fn kill(mut self) -> Result<Heard, Failure> {
        let failed = |error| Failure::io("cannot kill the writing process", error);
        if self.child.try_wait().map_err(failed)?.is_some() {
            return Err(self.ended_by_itself());
        }
        self.child.kill().map_err(failed)?;
        self.child.wait().map_err(failed)?;
        // The pipe ends with the process, and with it the lines.
        while let Ok(line) = self.lines.recv() {
            self.heard.hear(&line);
        }
        Ok(std::mem::take(&mut self.heard))
    }

    /// Bytes that the process caused to be written, as far as the system tells.
    fn written_bytes(&self) -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{}/io", self.child.id())).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
        line.and_then(|count| count.trim().parse().ok())
    }

    /// It never does that unless something is wrong; its last message says what.
    fn ended_by_itself(&mut self) -> Failure {
        let status = self.child.wait();
        let messages = fs::read_to_string(self.dir.join(MESSAGES)).unwrap_or_default();
        let last = messages.lines().last().unwrap_or("it left no message").to_owned();
        let text = format!("the writing process ended by itself: {last}");
        match status.as_ref().map(ExitStatus::code) {
            Ok(Some(4)) => Failure::io(text, std::io::Error::other("see the disk")),
            _ => Failure::negative(text),
        }
    }
}

impl Drop for Victim<'_> {
    fn drop(&mut self) {
        // It may have ended already: then there is nothing to kill.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
