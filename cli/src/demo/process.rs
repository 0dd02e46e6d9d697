//! The parent's side of one node: starts the process, hears what it says, kills or stops it.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::Failure;

/// What a node has said so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    /// Where it listens.
    pub(crate) address: Option<String>,
    /// To how many peers it is connected.
    pub(crate) peers: u64,
    /// LSN of the last change that it called durable.
    pub(crate) acknowledged: u64,
    ended: bool,
}

/// A running node. Dropping it kills the process.
pub(crate) struct Process {
    number: u64,
    child: Child,
    /// Closing it asks the node to stop.
    input: Option<ChildStdin>,
    heard: Arc<(Mutex<Heard>, Condvar)>,
    reader: Option<JoinHandle<()>>,
    log: PathBuf,
}

impl Process {
    /// Starts a node in `dir`. What it says on standard error goes to a file there.
    pub(crate) fn start(dir: &Path, number: u64, more: &[&str]) -> Result<Self, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::io("cannot find this program's own file", error))?;
        let log = dir.join("messages.txt");
        let messages = File::options().create(true).append(true).open(&log);
        let messages = messages
            .map_err(|error| Failure::io(format!("cannot write {}", log.display()), error))?;
        let mut child = Command::new(program)
            .arg("demo-node")
            .args(["--number", &number.to_string(), "--dir"])
            .arg(dir)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(messages)
            .spawn()
            .map_err(|error| Failure::io("cannot start a child process", error))?;
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let input = child.stdin.take();
        let reader = child.stdout.take().map(|stdout| {
            let heard = Arc::clone(&heard);
            thread::spawn(move || listen(BufReader::new(stdout), &heard))
        });
        Ok(Self { number, child, input, heard, reader, log })
    }

    /// Waits until the node has said enough.
    pub(crate) fn wait_for(
        &self,
        what: &str,
        longest: Duration,
        enough: impl Fn(&Heard) -> bool,
    ) -> Result<Heard, Failure> {
        let deadline = Instant::now() + longest;
        let mut heard = lock(&self.heard.0);
        loop {
            if enough(&heard) {
                return Ok(heard.clone());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || heard.ended {
                return Err(Failure::negative(format!(
                    "node {} did not get to {what} in time; its messages are in {}",
                    self.number,
                    self.log.display()
                )));
            }
            let waited = self.heard.1.wait_timeout(heard, left);
            heard = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// SIGKILL, in the middle of whatever it does. Gives all that it said before.
    pub(crate) fn kill(mut self) -> Result<Heard, Failure> {
        let killed = self.child.kill().and_then(|()| self.child.wait());
        killed.map_err(|error| Failure::io("cannot kill a node", error))?;
        Ok(self.all_heard())
    }

    /// Asks the node to stop, and kills it if it does not.
    pub(crate) fn stop(mut self, longest: Duration) -> Result<(), Failure> {
        self.input = None;
        let deadline = Instant::now() + longest;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => {
                    return Err(Failure::negative(format!(
                        "node {} ended with {status}; its messages are in {}",
                        self.number,
                        self.log.display()
                    )));
                }
                Ok(None) => thread::sleep(Duration::from_millis(10)),
                Err(error) => return Err(Failure::io("cannot wait for a node", error)),
            }
        }
        Err(Failure::negative(format!("node {} did not stop and was killed", self.number)))
    }

    fn all_heard(&mut self) -> Heard {
        // The pipe has ended with the process, so its reader ends too.
        if let Some(reader) = self.reader.take() {
            reader.join().ok();
        }
        lock(&self.heard.0).clone()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Takes whole lines only: one that the kill cut off does not count.
fn listen(mut lines: impl BufRead, heard: &(Mutex<Heard>, Condvar)) {
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|count| count > 0) {
        if let Some((word, value)) = line.strip_suffix('\n').and_then(|line| line.split_once(' ')) {
            let mut heard = lock(&heard.0);
            match word {
                "listening" => heard.address = Some(value.to_owned()),
                "peers" => heard.peers = value.parse().unwrap_or(heard.peers),
                "acknowledged" => {
                    heard.acknowledged = value.parse().unwrap_or(heard.acknowledged);
                }
                _ => {}
            }
        }
        heard.1.notify_all();
        line.clear();
    }
    lock(&heard.0).ended = true;
    heard.1.notify_all();
}

fn lock(heard: &Mutex<Heard>) -> MutexGuard<'_, Heard> {
    heard.lock().unwrap_or_else(PoisonError::into_inner)
}
