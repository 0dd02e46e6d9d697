//! The commands that read, as a person runs them: on a sound store, a live one, a damaged one,
//! through pipes and on narrow terminals.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
    sync::mpsc,
    time::Duration,
};

use common::{Fixture, ago, command, end, ended, now, peer};
use peer_journal::{Change, P2PStatePersistence};

const LIMIT: Duration = Duration::from_secs(60);

fn lsns(out: &str) -> Vec<u64> {
    let first = |line: &str| line.split_whitespace().next().unwrap().parse().unwrap();
    let mut lsns: Vec<u64> = out.lines().map(first).collect();
    lsns.dedup();
    lsns
}

#[test]
fn the_log_is_filtered_by_time_number_peer_and_kind() {
    let fixture = Fixture::market();
    let log = |args: &[&str]| lsns(&fixture.run(&[&["log"], args].concat()).ok());
    assert_eq!(log(&[]), (9..=18).collect::<Vec<u64>>());
    assert_eq!(log(&["--reverse"]), (9..=18).rev().collect::<Vec<u64>>());
    assert_eq!(log(&["-n", "2"]), [17, 18]);
    assert_eq!(log(&["-n", "2", "--reverse"]), [18, 17]);
    assert_eq!(log(&["--from-lsn", "16"]), [16, 17, 18]);
    assert_eq!(log(&["--peer", &end(2)]), [10, 11, 18]);
    assert_eq!(log(&["--kind", "ban"]), [11, 13, 18]);
    assert_eq!(log(&["--kind", "banned", "--kind", "package", "-n", "2"]), [13, 15]);
    assert_eq!(log(&["--since", "3 min ago"]), [17, 18]);
    assert_eq!(log(&["--since", "81m", "--until", "50m"]), [10, 11, 12]);
    let nobody = fixture.run(&["log", "--peer", "zzzz"]);
    assert_eq!(nobody.code, 1, "{}", nobody.err);
    let wrong = fixture.run(&["log", "--kind", "nonsense"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("groups: peer, reputation"), "{}", wrong.err);
}

#[test]
fn a_hole_in_the_log_is_told_and_the_rest_is_shown() {
    let fixture = Fixture::market();
    common::break_record(fixture.folder.path(), 15);
    let ran = fixture.run(&["log", "--from-lsn", "14"]);
    assert_eq!((ran.code, lsns(&ran.out)), (1, vec![14, 16, 17, 18]), "{}", ran.err);
    assert!(ran.err.contains("15"), "{}", ran.err);
    let why = fixture.run(&["why", &end(1)]);
    assert_eq!(why.code, 0, "{}", why.err);
}

#[test]
fn why_tells_each_change_with_its_reason_source_and_score() {
    let fixture = Fixture::market();
    let out = fixture.run(&["why", &end(2)]).ok();
    assert!(out.contains("3 failures in a row (by registry)"), "{out}");
    assert!(out.contains("0 ok, 1 failed"), "what the snapshot says comes first: {out}");
    assert!(out.contains("not banned"), "{out}");
    let told = fixture.run(&["why", &peer(2).to_string(), "--json"]).json();
    let events = told["events"].as_array().unwrap();
    let lsns: Vec<u64> = events.iter().map(|event| event["lsn"].as_u64().unwrap()).collect();
    assert_eq!(lsns, [10, 10, 11, 18]);
    assert_eq!(events[2]["change"]["reason"], "3 failures in a row");
    assert_eq!(events[3]["change"]["kind"], "unbanned");
    let score = |event: usize, side: &str| events[event][side].as_f64().unwrap();
    let view = peer_journal::Reader::open(&fixture.state_file).unwrap();
    let entry = view.view().peer(&peer(2).to_peer_id().unwrap()).unwrap().clone();
    let at = entry.reputation.as_ref().unwrap().last_seen;
    let expected = peer_journal::registry::score(&entry.reputation.unwrap(), at, at, None);
    assert!((score(1, "score_after") - expected).abs() < 1e-3, "{events:?}");
    // The whole state says what the timeline ends with.
    assert_eq!(told["peer"]["reputation"]["failed_retrievals"], 3);
    let newest = fixture.run(&["why", &end(2), "-n", "1"]).ok();
    assert!(newest.contains("3 older changes left out"), "{newest}");
    let unknown = fixture.run(&["why", &peer(77).to_string()]);
    assert_eq!((unknown.code, unknown.out.as_str()), (1, ""), "{}", unknown.err);
    let banned = fixture.run(&["why", &end(5)]).ok();
    assert!(banned.contains("=spam<U+0007> (by operator)"), "{banned}");
}

#[test]
fn the_state_as_it_was_is_the_state_of_that_record() {
    let fixture = Fixture::market();
    let history = common::history();
    for lsn in 8..=18_usize {
        let told = fixture.run(&["cat", "--at", &lsn.to_string()]).json();
        let mut state = peer_journal::state::State::default();
        for (_, changes) in &history[..lsn] {
            state.apply_all(changes).unwrap();
        }
        let rows = state.to_rows(chrono::DateTime::UNIX_EPOCH);
        let peers: Vec<&str> = rows.peers.iter().map(|row| row.peer_id.as_str()).collect();
        let shown = told["peers"].as_array().unwrap();
        let shown: Vec<&str> = shown.iter().map(|row| row["peer_id"].as_str().unwrap()).collect();
        assert_eq!(shown, peers, "lsn {lsn}");
        assert_eq!(told["bans"].as_array().unwrap().len(), state.counts().bans, "lsn {lsn}");
        let failed: u64 = rows.reputation.iter().map(|row| row.failed_retrievals).sum();
        let told = told["reputation"].as_array().unwrap();
        let told: u64 = told.iter().map(|row| row["failed_retrievals"].as_u64().unwrap()).sum();
        assert_eq!(told, failed, "lsn {lsn}");
    }
    let at_time = fixture.run(&["cat", "--at", "70 min ago"]).json();
    assert_eq!(at_time["lsn"], 11);
    let gone = fixture.run(&["cat", "--at", "3"]);
    assert_eq!((gone.code, gone.out.as_str()), (1, ""));
    assert!(gone.err.contains("the oldest that can is lsn=8"), "{}", gone.err);
    assert_eq!(fixture.run(&["cat", "--at", "99"]).code, 2);
}

#[test]
fn diff_exits_with_one_if_something_differs_and_tells_what() {
    let fixture = Fixture::market();
    let same = fixture.run(&["diff", "12", "12"]);
    assert_eq!((same.code, same.out.as_str(), same.err.as_str()), (0, "", "no difference\n"));
    let told = fixture.run(&["diff", "10", "11", "--json"]);
    assert_eq!(told.code, 1);
    let rows = told.json()["rows"].clone();
    assert_eq!((&rows[0]["kind"], &rows[0]["change"]), (&"ban".into(), &"added".into()), "{rows}");
    assert_eq!(rows.as_array().unwrap().len(), 1, "{rows}");
    let back = fixture.run(&["diff", "11", "10", "--stat"]);
    assert_eq!((back.code, back.out.as_str()), (1, "ban          +0 -1 ~0\n"));
    let changed = fixture.run(&["diff", "9", "10"]).out;
    assert!(changed.contains("failed_retrievals: 1 -> 3"), "{changed}");
    let copy = fixture.folder.path().join("copy.json");
    fs::copy(&fixture.state_file, &copy).unwrap();
    let copy = copy.to_str().unwrap();
    assert_eq!(fixture.run(&["diff", copy, "12"]).code, 0, "the snapshot is that of lsn 12");
    assert_eq!(fixture.run(&["diff", copy, "now", "--stat"]).code, 1);
    let wrong = fixture.run(&["diff", "nonsense", "now"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("nor is there a file"), "{}", wrong.err);
}

#[test]
fn everything_fits_forty_columns() {
    let fixture = Fixture::market();
    common::break_record(fixture.folder.path(), 15);
    let (one, store) = (end(1), fixture.state_file.to_str().unwrap());
    for args in [vec!["log", "-n", "6"], vec!["why", &one], vec!["status"], vec!["verify"]] {
        let ran = ended(command().env("COLUMNS", "40").args(["--store", store]).args(&args));
        assert!(!ran.out.is_empty(), "{args:?}: {}", ran.err);
        for line in ran.out.lines() {
            // A path or an id has no place to be broken at.
            let is_word = line.split_whitespace().any(|word| word.chars().count() > 24);
            assert!(line.chars().count() <= 40 || is_word, "{args:?}: {line:?}\n{}", ran.out);
        }
    }
}

/// `| head`: no error, no panic, whatever is still to come.
#[test]
fn a_closed_pipe_ends_every_command_quietly() {
    let fixture = Fixture::empty();
    let seen = |number: u64| Change::PeerSeen {
        peer: peer(number),
        at: ago(1),
        addresses: vec![common::address("/ip4/192.0.2.1/tcp/4001")],
    };
    let history: Vec<_> = (0..3000).map(|number| (1, vec![seen(number)])).collect();
    fixture.write_at_once(&history);
    let store = fixture.state_file.to_str().unwrap();
    for args in [
        vec!["log"],
        vec!["log", "-o", "json"],
        vec!["peers"],
        vec!["peers", "--json"],
        vec!["cat"],
    ] {
        let mut child = command()
            .args(["--store", store])
            .args(&args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = BufReader::with_capacity(64, child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        drop(out);
        let mut err = String::new();
        child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        assert_eq!((child.wait().unwrap().code(), err.as_str()), (Some(0), ""), "{args:?}");
    }
}

/// Killed with the test.
struct Following(Child);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().unwrap();
    }
}

fn next(lines: &mpsc::Receiver<String>) -> u64 {
    let line = lines.recv_timeout(LIMIT).expect("a record");
    serde_json::from_str::<serde_json::Value>(&line).unwrap()["lsn"].as_u64().unwrap()
}

/// Beside a node that writes and compacts: no false alarm, and new records are followed.
#[test]
fn a_live_store_is_read_and_followed_without_a_false_alarm() {
    let fixture = Fixture::market();
    let store = P2PStatePersistence::builder(&fixture.state_file).clock(now).open().unwrap();
    let path = fixture.state_file.to_str().unwrap();
    let mut child = command()
        .args(["--store", path, "log", "-f", "-n", "1", "-o", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let (send, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    let mut child = Following(child);
    let mut seen = 17;
    // Each record once, none left out, up to this one.
    let mut follow_to = |lsn: u64| {
        while seen < lsn {
            seen += 1;
            assert_eq!(next(&lines), seen);
        }
    };
    follow_to(18);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for number in 0..30_u64 {
        let ack = store.dht_put(&format!("key {number}"), b"value").unwrap();
        let lsn = ack.wait().unwrap().get();
        if number % 10 == 5 {
            runtime.block_on(store.compact()).unwrap();
            let status = fixture.run(&["status"]).ok();
            let held = format!("pid {} on ", std::process::id());
            assert!(!cfg!(target_os = "linux") || status.contains(&held), "{status}");
            assert!(status.contains("health    OK"), "{status}");
        }
        if number % 10 == 0 {
            let told = fixture.run(&["verify", "--json"]);
            let word = told.json()["verdict"].clone();
            assert!(told.code == 0 && word != "DAMAGED", "{}", told.out);
        }
        follow_to(lsn);
    }
    assert_eq!(child.0.try_wait().unwrap(), None, "it goes on until it is stopped");
    runtime.block_on(store.close()).unwrap();
}

#[test]
fn status_says_what_the_files_prove_and_what_nobody_published() {
    let fixture = Fixture::market();
    let told = fixture.run(&["status", "--json"]).json();
    assert_eq!((&told["health"], &told["lsn"]), (&"OK".into(), &18.into()));
    assert_eq!(told["snapshot"]["lsn"], 12);
    assert_eq!(told["snapshot"]["age_seconds"], 3600);
    assert_eq!(told["history"]["oldest_restorable_lsn"], 8);
    assert_eq!(told["at_risk"]["unvouched_records"], 0, "it was closed");
    assert_eq!(told["live"], serde_json::Value::Null);
    let out = fixture.run(&["status"]).ok();
    assert!(out.contains("not published"), "{out}");
    let named = common::run(&["status", fixture.folder.path().to_str().unwrap()]).ok();
    assert!(named.contains("lsn 18"), "{named}");
    // After a repair it tells what was set aside.
    common::break_record(fixture.folder.path(), 15);
    drop(P2PStatePersistence::builder(&fixture.state_file).clock(now).open().unwrap());
    let out = fixture.run(&["status"]).out;
    assert!(out.contains("by earlier openings; the last 0 s ago: broken record"), "{out}");
}

/// Options that mean the store go with commands that look at one.
#[test]
fn the_store_is_named_by_option_or_variable() {
    let fixture = Fixture::market();
    let path = fixture.state_file.to_str().unwrap();
    let by_variable = ended(command().env("PEER_JOURNAL_STORE", path).arg("bootstrap")).ok();
    assert_eq!(by_variable, fixture.run(&["bootstrap"]).ok());
    assert_eq!(ended(command().args(["bootstrap", "--store", path])).ok(), by_variable);
    let pointless = ended(command().args(["--store", path, "demo"]));
    assert_eq!(pointless.code, 2, "{}", pointless.err);
}
