//! `peer-journal node` as a person runs it: processes, signals, exit codes.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

const LIMIT: Duration = Duration::from_secs(60);
const LOOPBACK: [&str; 2] = ["--listen", "/ip4/127.0.0.1/tcp/0"];

/// A node that is killed with the test.
struct Node {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Node {
    fn start(state: &Path, args: &[&str]) -> Self {
        let mut child = command(state, args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn line(&self, begin: &str) -> String {
        let line = self.lines.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no line: {begin}"));
        line.strip_prefix(begin).unwrap_or_else(|| panic!("{line:?} for {begin:?}")).to_owned()
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn ended(mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < LIMIT, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It has ended in most cases.
        self.child.kill().unwrap_or_default();
        self.child.wait().unwrap();
    }
}

fn lines_of(stdout: ChildStdout) -> mpsc::Receiver<String> {
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn command(state: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peer-journal"));
    command.arg("node").arg("--state-file").arg(state).args(args).stderr(Stdio::piped());
    command
}

fn output(state: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(state, args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_package_goes_from_one_process_to_another_and_survives_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let [a_state, b_state] = ["a", "b"].map(|name| dir.path().join(name).join("p2p-state.json"));
    let file = dir.path().join("payload");
    fs::write(&file, vec![5; 100_000]).unwrap();
    let publish = ["--publish", file.to_str().unwrap(), "--id", "web/rust", "--version", "1.0.0"];
    let a = Node::start(&a_state, &[&LOOPBACK[..], &publish].concat());
    let address = a.line("listening on ");
    assert_eq!(a.line("published web/rust 1.0.0: "), "100000 bytes, 0 replicas");

    let fetched = dir.path().join("fetched");
    let get = ["--bootstrap", &address, "--get", "web/rust", "--once", "--output"];
    let get = [&LOOPBACK[..], &get, &[fetched.to_str().unwrap()]].concat();
    let (code, stdout, stderr) = output(&b_state, &get);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("got web/rust 1.0.0: 100000 bytes from peer "), "{stdout}");
    assert!(stderr.contains("stopped; the state is saved"), "{stderr}");
    assert_eq!(fs::read(&fetched).unwrap(), vec![5; 100_000]);
    let snapshot = fs::read_to_string(&b_state).unwrap();
    assert!(snapshot.contains("\"successful_retrievals\": 1"), "{snapshot}");

    // The publication was acknowledged, so that no kill takes it back.
    a.signal("-KILL");
    assert_eq!(a.ended(), None);
    let (code, stdout, stderr) =
        output(&a_state, &[&LOOPBACK[..], &["--get", "web/rust", "--once"]].concat());
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stdout.contains("got web/rust 1.0.0: 100000 bytes from this node"), "{stdout}");
    let peer = |line: &str| line.rsplit('/').next().unwrap().trim().to_owned();
    assert_eq!(peer(stdout.lines().next().unwrap()), peer(&address), "the same identity");
    let key = a_state.with_file_name("p2p-state.key");
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn sigterm_and_sigint_end_it_cleanly_with_the_state_saved() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("p2p-state.json");
    let file = dir.path().join("payload");
    fs::write(&file, "x").unwrap();
    for signal in ["-TERM", "-INT"] {
        // It waits for a package that nobody has when the signal comes.
        let id = format!("sent-before{signal}");
        let publish = ["--publish", file.to_str().unwrap(), "--id", &id, "--version", "1"];
        let get = ["--get", "nobody/has/it", "--timeout", "3600"];
        let mut node = Node::start(&state, &[&LOOPBACK[..], &publish, &get].concat());
        node.line("listening on /ip4/127.0.0.1/tcp/");
        node.line(&format!("published {id} 1: 1 bytes"));
        let (code, _, stderr) = output(&state, &LOOPBACK);
        assert_eq!(code, Some(5), "a second one is kept out: {stderr}");
        node.signal(signal);
        let mut stderr = node.child.stderr.take().unwrap();
        assert_eq!(node.ended(), Some(0));
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        assert!(text.contains("stopped; the state is saved"), "{text}");
        assert!(fs::read_to_string(&state).unwrap().contains(&id), "the snapshot has it");
    }
}

#[test]
fn wrong_input_has_its_exit_code_and_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("p2p-state.json");
    let code = |args: &[&str]| {
        let (code, _, stderr) = output(&state, args);
        (code.unwrap(), stderr)
    };
    for args in [["--listen", "nonsense"], ["--bootstrap", "/ip4/127.0.0.1/tcp/1/p2p/QmBad"]] {
        let (exit, text) = code(&args);
        assert_eq!(exit, 2, "{text}");
        assert!(text.contains("expected for example /ip4/"), "{text}");
    }
    assert_eq!(code(&["--publish", "x"]).0, 2, "no id");
    let (exit, text) = code(&["--bootstrap", "/ip4/127.0.0.1"]);
    assert_eq!(exit, 2, "{text}");
    assert!(text.contains("cannot be dialled"), "{text}");
    let (exit, text) = code(&["--publish", "/nowhere/x", "--id", "a", "--version", "1"]);
    assert_eq!(exit, 4, "{text}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (exit, text) = code(&["--listen", &format!("/ip4/127.0.0.1/tcp/{port}")]);
    assert_eq!(exit, 4, "{text}");
    assert!(text.contains("give another port"), "{text}");
    let get = ["--get", "a", "--once", "--timeout", "1"];
    let (exit, text) = code(&[&LOOPBACK[..], &get].concat());
    assert_eq!(exit, 1, "{text}");
    let big = dir.path().join("big");
    fs::write(&big, vec![0; (2 << 20) + 1]).unwrap();
    let args = ["--publish", big.to_str().unwrap(), "--id", "a", "--version", "1"];
    let (exit, text) = code(&args);
    assert_eq!(exit, 2);
    assert!(text.contains("larger than a package may be"), "{text}");
    let folder = [&LOOPBACK[..], &["--once"]].concat();
    let (code_of_folder, _, text) = output(dir.path(), &folder);
    assert_eq!(code_of_folder, Some(4), "{text}");
    assert!(text.contains("name a file, not a folder"), "{text}");
    let (code_below_file, _, text) = output(&big.join("p2p-state.json"), &folder);
    assert_eq!(code_below_file, Some(4), "{text}");
    assert!(text.contains(big.to_str().unwrap()), "{text}");
    let (code_of_missing, _, text) = output(&dir.path().join("not/there/p.json"), &folder);
    assert_eq!(code_of_missing, Some(0), "missing folders are made: {text}");
    let dead = [&folder[..], &["--bootstrap", "/ip4/127.0.0.1/tcp/1"]].concat();
    let (code_of_dead, _, text) = output(&state, &dead);
    assert_eq!(code_of_dead, Some(0), "it goes on: {text}");
    assert!(text.contains("/ip4/127.0.0.1/tcp/1: Connection refused"), "{text}");
    let key = dir.path().join("key");
    fs::write(&key, "no key").unwrap();
    let (exit, text) = code(&["--key-file", key.to_str().unwrap()]);
    assert_eq!(exit, 2);
    assert!(text.contains("is not a key file"), "{text}");
}
