//! `peer-journal torture` as a person runs it. The failure this guards against is an instrument
//! that is green whatever the store does: it is made to lie, and must find that out.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);
const LIE: &str = "PEER_JOURNAL_TORTURE_LIE";

fn torture(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peer-journal"));
    command.arg("torture").args(args).env_remove(LIE).env_remove("RUST_LOG");
    command
}

fn run(args: &[&str]) -> Output {
    torture(args).output().unwrap()
}

/// A run that is killed with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().unwrap();
    }
}

impl Running {
    fn ended(&mut self) -> Option<i32> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < LIMIT, "it does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn told(output: &Output) -> String {
    format!("{:?}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", told(output)))
}

fn number(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().unwrap_or_else(|| panic!("{name} in {summary}"))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_few_kills_lose_nothing_and_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("new");
    let dir = dir.to_str().unwrap();
    let ran = run(&[dir, "--cycles", "5", "--seed", "7", "--writers", "4", "--json"]);
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    assert!(ran.stderr.is_empty(), "progress shows on a terminal only: {}", told(&ran));
    let summary = json(&ran);
    assert_eq!(summary["mode"], "disk");
    assert_eq!((number(&summary, "seed"), number(&summary, "cycles")), (7, 5), "{summary}");
    let acknowledged = number(&summary, "acknowledged");
    assert!(acknowledged > 0, "{summary}");
    assert_eq!(number(&summary, "found"), acknowledged);
    for count in ["unacknowledged_whole", "torn_tails"] {
        number(&summary, count);
    }
    assert!(summary["recovery_ms"]["median"].as_f64() > Some(0.0), "{summary}");
    assert!(summary["recovery_ms"]["longest"].as_f64() > Some(0.0), "{summary}");
    assert!(summary["seconds"].as_f64() > Some(0.0), "{summary}");
    assert_eq!(summary["stopped"], false);
    assert!(summary["loss"].is_null() && summary["files"].is_null(), "{summary}");
    assert!(summary["written_bytes"].is_null() || number(&summary, "written_bytes") > 0);
    assert!(!Path::new(dir).exists(), "it made the folder, and so removes it");
}

#[test]
fn kept_files_are_a_store_and_a_second_run_leaves_them_alone() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let ran = run(&[dir, "--cycles", "2", "--keep"]);
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    assert!(text(&ran.stdout).contains("nothing"), "{}", told(&ran));
    let [kept] = names(folder.path()).try_into().expect("one run was kept");
    let store = folder.path().join(kept).join("p2p-state.json");
    let found = peer_journal::inspect(&store).unwrap();
    assert!(found.view.lsn() > peer_journal::Lsn::ZERO && !found.report.is_damaged());
    let ran = run(&[dir, "--cycles", "1"]);
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    assert_eq!(names(folder.path()).len(), 1, "the second run removed only its own files");
}

#[test]
fn a_folder_with_foreign_files_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("mine"), "keep me").unwrap();
    fs::create_dir(folder.path().join("run-1-1")).unwrap();
    let ran = run(&[folder.path().to_str().unwrap()]);
    assert_eq!(ran.status.code(), Some(2), "{}", told(&ran));
    assert!(text(&ran.stderr).contains("is in the way"), "{}", told(&ran));
    assert_eq!(names(folder.path()).len(), 2);
    assert_eq!(fs::read_to_string(folder.path().join("mine")).unwrap(), "keep me");
    assert_eq!(run(&[]).status.code(), Some(2), "a folder is needed");
    let of_nobody = run(&["/proc/no-such-folder"]);
    assert_eq!(of_nobody.status.code(), Some(4), "{}", told(&of_nobody));
}

#[test]
fn a_record_that_is_acknowledged_too_early_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let ran = torture(&[dir, "--json"]).env(LIE, "early").output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{}", told(&ran));
    let summary = json(&ran);
    assert!(number(&summary, "found") < number(&summary, "acknowledged"), "{summary}");
    let loss = summary["loss"].as_str().unwrap();
    assert!(loss.contains("was acknowledged"), "{loss}");
    let files = summary["files"].as_str().unwrap();
    assert!(Path::new(files).join("p2p-state.journal").is_dir(), "they are kept: {files}");
    let says = text(&ran.stderr);
    assert!(
        says.contains(files) && says.contains("To see it again: peer-journal torture"),
        "{says}"
    );
}

#[test]
fn a_record_that_says_something_else_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let ran = torture(&[dir, "--json"]).env(LIE, "other").output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{}", told(&ran));
    let summary = json(&ran);
    let loss = summary["loss"].as_str().unwrap();
    assert!(loss.contains("should be") || loss.contains("nobody made"), "{loss}");
}

#[test]
fn a_process_that_cannot_write_is_a_failure_of_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("run");
    let mut running = torture(&[dir.to_str().unwrap(), "--cycles", "100000"]);
    let running = running.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let mut running = Running(running.unwrap());
    // The store's lock file becomes a folder: no process can open the store any more.
    let begun = Instant::now();
    let lock = loop {
        assert!(begun.elapsed() < LIMIT, "it does not begin");
        let runs = if dir.exists() { names(&dir) } else { Vec::new() };
        let lock = runs.first().map(|run| dir.join(run).join("p2p-state.journal/LOCK"));
        match lock {
            Some(lock) if lock.is_file() => break lock,
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    while fs::remove_file(&lock).and_then(|()| fs::create_dir(&lock)).is_err() {
        assert!(begun.elapsed() < LIMIT, "another process was quicker, again and again");
    }
    assert_eq!(running.ended(), Some(4), "an error of the disk is no loss");
}

#[test]
fn a_signal_ends_it_after_the_cycle_with_a_summary() {
    for signal in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("run");
        let mut running = torture(&[dir.to_str().unwrap(), "--for", "1h", "--json"]);
        let mut running = Running(running.stdout(Stdio::piped()).spawn().unwrap());
        let begun = Instant::now();
        while !dir.exists() || names(&dir).is_empty() {
            assert!(begun.elapsed() < LIMIT, "it does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        let pid = running.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        assert_eq!(running.ended(), Some(130), "{signal}");
        let summary: Value = serde_json::from_reader(running.0.stdout.take().unwrap()).unwrap();
        assert_eq!(summary["stopped"], true);
        assert!(number(&summary, "cycles") > 0);
        assert!(!dir.exists());
    }
}

#[test]
fn simulated_crashes_lose_nothing() {
    let ran = run(&["--simulate", "--seed", "3", "--cases", "40", "--json"]);
    assert_eq!(ran.status.code(), Some(0), "{}", told(&ran));
    assert!(ran.stderr.is_empty(), "{}", told(&ran));
    let summary = json(&ran);
    assert_eq!(summary["mode"], "simulated");
    assert_eq!((number(&summary, "seed"), number(&summary, "cases")), (3, 40), "{summary}");
    for count in ["power_cuts", "kills", "crashes_in_recovery", "faults", "acknowledged"] {
        assert!(number(&summary, count) > 0, "{count}: {summary}");
    }
    assert!(summary["cases_per_second"].as_f64() > Some(0.0));
    assert_eq!(summary["losses"].as_array().unwrap().len(), 0, "{summary}");
}

#[test]
fn a_simulated_early_acknowledgement_is_found_out_with_its_seed() {
    let args = ["--simulate", "--seed", "3", "--cases", "40", "--json"];
    let ran = torture(&args).env(LIE, "early").output().unwrap();
    assert_eq!(ran.status.code(), Some(1), "{}", told(&ran));
    let summary = json(&ran);
    let losses = summary["losses"].as_array().unwrap();
    let seed = number(&losses[0], "seed");
    assert!(losses[0]["what"].as_str().unwrap().contains("was durable"), "{summary}");
    let again = format!("peer-journal torture --simulate --seed {seed} --cases 1");
    assert!(text(&ran.stderr).contains(&again), "{}", told(&ran));
    // The very command that it names.
    let args = ["--simulate", "--seed", &seed.to_string(), "--cases", "1"];
    assert!(number(&losses[0], "seen_again") > 0, "{summary}");
    let code = || torture(&args).env(LIE, "early").output().unwrap().status.code();
    assert!((0..30).any(|_| code() == Some(1)), "it is not seen again: {summary}");
    assert_eq!(run(&args).status.code(), Some(0), "without the lie nothing is lost");
}

#[test]
fn its_help_fits_a_terminal() {
    for flag in ["-h", "--help"] {
        let help = text(&run(&[flag]).stdout);
        assert!(help.contains("--simulate") && !help.contains("torture-child"), "{help}");
        let long: Vec<_> = help.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{long:?}");
    }
}
