//! The commands that change a store, as a person runs them: on a sound store, one that a process
//! holds, a damaged one, one of a newer version, one that is not there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use common::{Fixture, Ran, ago, end, now, peer};
use peer_journal::{Change, History, P2PStatePersistence, Reader, state::Limits};

/// Each command with arguments that suit the store of these tests.
fn commands() -> Vec<Vec<String>> {
    let line = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    vec![
        line(&["ban", &end(3), "--reason", "spam"]),
        line(&["unban", &end(6)]),
        line(&["forget", &end(2)]),
        line(&["compact"]),
        line(&["repair", "--apply"]),
    ]
}

fn run(fixture: &Fixture, line: &[String]) -> Ran {
    fixture.run(&line.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The store of the tests, with a ban that holds.
fn market() -> Fixture {
    let fixture = Fixture::empty();
    let mut history = common::history();
    let banned = Change::Banned {
        peer: peer(6),
        at: ago(1),
        until: ago(-60),
        reason: "slow".into(),
        source: "registry".into(),
    };
    history.push((1, vec![banned]));
    fixture.write(&history, &[8, 12]);
    fixture
}

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Every file but that of the lock, and the segment that an open store prepares meanwhile.
fn files(folder: &Path) -> Files {
    let mut found = Files::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with("LOCK") && path.extension().is_none_or(|end| end != "tmp") {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn reader(fixture: &Fixture) -> Reader {
    Reader::options(&fixture.state_file).limits(Limits::UNBOUNDED).open().unwrap()
}

#[test]
fn a_ban_is_durable_tells_its_end_and_is_seen_by_the_reading_commands() {
    let fixture = Fixture::market();
    let ran = fixture.run(&["ban", &end(2), "--for", "12h", "--reason", "sends \u{1b}[2J"]);
    let banned = format!("\u{2026}{} banned for 12 h: sends <U+001B>[2J (by operator)\n", end(2));
    assert_eq!(ran.ok(), format!("{banned}lsn       20, durable\n"));
    let state = reader(&fixture);
    let ban = state.view().state().ban(&peer(2)).unwrap().clone();
    assert_eq!((ban.at, ban.until), (ago(0), ago(-12 * 60)));
    assert_eq!((&*ban.reason, &*ban.source), ("sends \u{1b}[2J", "operator"));

    let again = fixture.run(&["ban", &end(2), "--forever"]);
    let note = format!("note: \u{2026}{} was banned until 2026-03-02T00:00:00Z; ", end(2));
    assert_eq!((again.code, again.err), (0, format!("{note}this ban replaces it\n")));
    let listed = fixture.run(&["bans"]).ok();
    assert!(listed.contains("no end"), "{listed}");
    let told = fixture.run(&["bans", "--json"]).json();
    assert_eq!(told["bans"][0]["until"], "9999-12-31T23:59:59Z");
    let why = fixture.run(&["why", &end(2)]).ok();
    assert!(why.contains("banned until it is lifted (by operator)"), "{why}");

    let lifted = fixture.run(&["unban", &end(2)]).ok();
    assert_eq!(lifted, format!("\u{2026}{} ban lifted\nlsn       22, durable\n", end(2)));
    let twice = fixture.run(&["unban", &peer(2).to_string()]);
    assert_eq!((twice.code, twice.out.as_str()), (1, ""));
    assert!(twice.err.contains("is not banned"), "{}", twice.err);
}

#[test]
fn several_peers_are_one_record_all_or_none() {
    let fixture = Fixture::market();
    let before = files(fixture.folder.path());
    let wrong = fixture.run(&["ban", &end(1), "nobody", &end(4)]);
    assert_eq!((wrong.code, wrong.out.as_str()), (1, ""), "{}", wrong.err);
    let stranger = peer(77).to_string();
    let told = fixture.run(&["ban", &end(1), &stranger, &end(1), "--json"]).json();
    assert_eq!(told["lsn"], 20, "what has run out went with the opening, as 19");
    let banned: Vec<_> =
        told["changes"].as_array().unwrap().iter().map(|c| &c["peer_id"]).collect();
    assert_eq!(banned, [&peer(1).to_string(), &stranger], "a peer that was never met too");
    assert_eq!(reader(&fixture).log(..).unwrap().last().unwrap().unwrap().changes.len(), 2);
    let kept = files(fixture.folder.path());
    let intact = before.iter().filter(|(path, bytes)| kept.get(*path) == Some(bytes));
    assert_eq!(intact.count(), before.len(), "what was there is not touched");
}

#[test]
fn times_that_make_no_sense_are_usage_errors_and_change_nothing() {
    let fixture = Fixture::market();
    let before = files(fixture.folder.path());
    for (args, part) in [
        (vec!["--until", "yesterday"], "has run out already"),
        (vec!["--until", "2026-03-01T12:00:00Z"], "has run out already"),
        (vec!["--until", "soon"], "is no time"),
        (vec!["--for", "0s"], "has run out already"),
        (vec!["--for", "2h ago"], "no length of time"),
        (vec!["--for", "-2h"], "unexpected argument"),
        (vec!["--for", "5"], "no length of time"),
        (vec!["--for", "2h", "--forever"], "cannot be used with"),
        (vec!["--reason", &"x".repeat(2000)], "the limit is 1024"),
    ] {
        let ran = fixture.run(&[&["ban", &end(2)], args.as_slice()].concat());
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{args:?}: {}", ran.err);
        assert!(ran.err.contains(part), "{args:?}: {}", ran.err);
    }
    assert_eq!(fixture.run(&["ban"]).code, 2);
    let same = |path: &PathBuf| before.get(path) == files(fixture.folder.path()).get(path);
    assert!(before.keys().all(same));
    assert!(reader(&fixture).view().state().ban(&peer(2)).is_none());
    let far = fixture.run(&["ban", &end(2), "--for", "9999999w"]).ok();
    assert!(far.contains("until it is lifted"), "{far}");
}

#[test]
fn forgetting_keeps_a_ban_and_says_what_goes() {
    let fixture = market();
    let ran = fixture.run(&["forget", &end(1), &end(6)]);
    let (one, six) = (end(1), end(6));
    assert_eq!(
        ran.out,
        format!("\u{2026}{one} forgotten\n\u{2026}{six} forgotten\nlsn       21, durable\n")
    );
    let noted = [
        format!(
            "note: known of \u{2026}{one} until now: 2 addresses, its reputation (3 ok, 0 failed), \
             what it says of itself\n"
        ),
        format!("note: known of \u{2026}{six} until now: its reputation (812 ok, 9 failed)\n"),
        format!("note: \u{2026}{six} stays banned; `peer-journal unban` lifts that\n"),
    ];
    assert_eq!((ran.code, ran.err), (0, noted.concat()));
    let reader = reader(&fixture);
    let state = reader.view().state();
    assert!(state.peer(&peer(1)).is_none() && state.peer(&peer(6)).is_none());
    assert!(state.ban(&peer(6)).is_some() && state.peer(&peer(2)).is_some());
    let unknown = fixture.run(&["forget", &peer(1).to_string()]);
    assert_eq!(unknown.code, 1);
    assert!(unknown.err.contains("nothing is known of 12D3Koo"), "{}", unknown.err);
}

#[test]
fn compact_writes_a_snapshot_once() {
    let fixture = Fixture::market();
    let first = fixture.run(&["compact"]).ok();
    assert!(
        first.starts_with("snapshot  lsn 19, ") && first.contains("5.3 KiB need not"),
        "{first}"
    );
    assert_eq!(reader(&fixture).snapshot().unwrap().lsn.get(), 19);
    let second = fixture.run(&["compact"]).ok();
    assert!(second.contains("it held everything already"), "{second}");
    let told = fixture.run(&["compact", "--json"]).json();
    assert_eq!((&told["lsn"], &told["written"]), (&19.into(), &false.into()));
    let fresh = Fixture::empty();
    fresh.write(&[], &[]);
    let told = fresh.run(&["compact", "--json"]);
    assert_eq!((told.code, told.json()["lsn"].clone()), (0, 0.into()), "{}", told.err);
}

/// The lock of a process that runs, seen from another one.
#[test]
fn nothing_is_changed_while_a_process_holds_the_store_and_its_name_is_told() {
    let fixture = market();
    let store = P2PStatePersistence::builder(&fixture.state_file).clock(now).open().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.sync()).unwrap(); // what has run out went with the opening
    let before = files(fixture.folder.path());
    for line in commands() {
        let ran = run(&fixture, &line);
        // A store that is sound needs no repair, held or not.
        let expected = if line[0] == "repair" { 0 } else { 5 };
        assert_eq!(ran.code, expected, "{line:?}: {}", ran.err);
        if expected == 5 {
            assert_eq!(ran.out, "");
            let pid = format!("locked by another handle: pid={} host=", std::process::id());
            assert!(ran.err.contains(&pid) && ran.err.contains("since=2026-"), "{}", ran.err);
            assert!(ran.err.contains("stop that process"), "{}", ran.err);
        }
    }
    assert!(files(fixture.folder.path()) == before);
    drop(store);
    let ran = run(&fixture, &commands()[0]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn a_damaged_store_is_mended_by_repair_alone() {
    let fixture = market();
    common::break_record(fixture.folder.path(), 15);
    let before = files(fixture.folder.path());
    for line in commands().iter().filter(|line| line[0] != "repair") {
        let ran = run(&fixture, line);
        assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{line:?}: {}", ran.err);
        assert!(ran.err.contains("nothing was changed"), "{}", ran.err);
        assert!(ran.err.contains("`peer-journal repair`"), "{}", ran.err);
    }
    let plan = fixture.run(&["repair"]);
    assert_eq!((plan.code, plan.err.as_str()), (1, ""), "{}", plan.out);
    assert!(
        plan.out.contains("copy to quarantine") && plan.out.contains("--apply"),
        "{}",
        plan.out
    );
    assert!(files(fixture.folder.path()) == before, "a plan changes nothing");

    let mended = fixture.run(&["repair", "--apply"]);
    assert_eq!(mended.code, 0, "{}{}", mended.out, mended.err);
    assert!(mended.out.contains("1 record (lsn 15)"), "{}", mended.out);
    assert!(mended.out.contains("kept in   "), "{}", mended.out);
    let verified = fixture.run(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.out);
    assert_eq!(reader(&fixture).quarantine().unwrap().len(), 1);
    let again = fixture.run(&["repair", "--apply"]).ok();
    assert!(again.contains("nothing is to be mended"), "{again}");
    let ran = run(&fixture, &commands()[0]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn a_damaged_reserve_is_renewed_by_repair() {
    let fixture = Fixture::market();
    let reserve = fixture.journal().join("snapshot-00000000000000000008.json");
    let mut bytes = fs::read(&reserve).unwrap();
    bytes[700] ^= 1;
    fs::write(&reserve, bytes).unwrap();
    assert_eq!(fixture.run(&["verify"]).code, 1);
    let plan = fixture.run(&["repair"]);
    assert_eq!(plan.code, 1, "{}", plan.out);
    assert!(plan.out.contains("renew"), "{}", plan.out);
    let mended = fixture.run(&["repair", "--apply"]);
    assert_eq!(mended.code, 0, "{}{}", mended.out, mended.err);
    assert_eq!(fixture.run(&["verify"]).code, 0);
    let reader = reader(&fixture);
    assert_eq!(reader.view().state().counts().peers, 4, "nothing else is different");
}

#[test]
fn a_damaged_history_is_mended_by_repair_and_what_it_lost_is_told() {
    let fixture = Fixture::empty();
    let history = History { bytes_max: 50 << 20, age_max: Duration::from_secs(1_000_000) };
    let builder = P2PStatePersistence::builder(&fixture.state_file);
    let store = builder.keep_history(history).clock(now).open().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for number in 0..12 {
        store.dht_put(&format!("key {number}"), b"value").unwrap();
        if number % 3 == 2 {
            runtime.block_on(store.compact()).unwrap();
        }
    }
    drop(store);
    let segment = common::segments(&fixture.journal().join("history")).remove(1);
    let mut bytes = fs::read(&segment).unwrap();
    bytes[96 + 30] ^= 1;
    fs::write(&segment, bytes).unwrap();

    let verified = fixture.run(&["verify"]);
    assert_eq!(verified.code, 1, "{}", verified.out);
    assert!(verified.out.contains("mends the history"), "{}", verified.out);
    let plan = fixture.run(&["repair"]);
    assert_eq!((plan.code, plan.err.as_str()), (1, ""), "{}", plan.out);
    for part in ["copy to quarantine", "rewrite", "broken record", "broken-record"] {
        assert!(plan.out.contains(part), "{part}: {}", plan.out);
    }
    assert!(plan.out.contains("past      "), "{}", plan.out);
    let mended = fixture.run(&["repair", "--apply"]);
    assert_eq!(mended.code, 0, "{}{}", mended.out, mended.err);
    assert!(mended.out.contains("kept in   "), "{}", mended.out);
    let verified = fixture.run(&["verify"]);
    assert_eq!(verified.code, 0, "{}", verified.out);
    assert!(verified.out.contains("NOTE") && verified.out.contains("lsn 4"), "{}", verified.out);
    let log = fixture.run(&["log"]);
    assert_eq!(log.code, 1, "the log has a hole: {}", log.out);
    assert!(log.err.contains("lsn 4"), "{}", log.err);
    let again = fixture.run(&["repair", "--apply"]).ok();
    assert!(again.contains("nothing is to be mended"), "{again}");
}

#[test]
fn a_covered_segment_without_a_header_is_renewed_and_redact_says_that_repair_comes_first() {
    let fixture = Fixture::market();
    let covered = common::segments(&fixture.journal()).remove(0);
    let mut bytes = fs::read(&covered).unwrap();
    bytes[20] ^= 1;
    fs::write(&covered, bytes).unwrap();
    assert_eq!(fixture.run(&["verify"]).code, 1);
    let plan = fixture.run(&["repair"]);
    assert_eq!(plan.code, 1, "{}", plan.out);
    assert!(plan.out.contains("renew") && plan.out.contains("--apply"), "{}", plan.out);
    let mended = fixture.run(&["repair", "--apply"]);
    assert_eq!((mended.code, mended.err.as_str()), (0, ""), "{}", mended.out);
    assert_eq!(fixture.run(&["verify"]).code, 0);

    let fixture = market();
    common::break_record(fixture.folder.path(), 15);
    let plan = fixture.run(&["redact", "--peer", &end(3)]);
    assert!(plan.out.contains("mend the store with `peer-journal repair`"), "{}", plan.out);
}

#[test]
fn nothing_that_verifies_is_no_store_to_repair() {
    let fixture = Fixture::empty();
    fs::write(&fixture.state_file, "{ rubbish").unwrap();
    let before = files(fixture.folder.path());
    for line in commands() {
        let ran = run(&fixture, &line);
        assert_eq!(ran.code, 3, "{line:?}: {}{}", ran.out, ran.err);
        assert!(format!("{}{}", ran.out, ran.err).contains("restore a backup"), "{ran:?}");
    }
    assert!(files(fixture.folder.path()) == before);
}

#[test]
fn a_mistyped_path_makes_no_store_and_a_newer_one_is_left_alone() {
    let fixture = Fixture::empty();
    for line in commands() {
        let ran = run(&fixture, &line);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{line:?}: {}", ran.err);
        assert!(ran.err.contains("there is no store here"), "{}", ran.err);
    }
    assert_eq!(fs::read_dir(fixture.folder.path()).unwrap().count(), 0);
    fs::write(&fixture.state_file, "{\"version\": 9, \"shape\": []}").unwrap();
    let before = files(fixture.folder.path());
    for line in commands() {
        let ran = run(&fixture, &line);
        assert_eq!((ran.code, ran.out.as_str()), (6, ""), "{line:?}: {}", ran.err);
    }
    assert!(files(fixture.folder.path()) == before);
}

#[test]
fn a_write_that_was_cut_off_is_no_reason_to_refuse() {
    let fixture = Fixture::market();
    let newest = common::segments(&fixture.journal()).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let content = bytes.iter().rposition(|&byte| byte != 0).unwrap() + 1;
    bytes.truncate(content - 36 - 10);
    fs::write(&newest, bytes).unwrap();
    let plan = fixture.run(&["repair"]).ok();
    assert!(plan.contains("the next start does this by itself"), "{plan}");
    let ran = run(&fixture, &commands()[0]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(ran.err.contains("cut off by a crash went to the folder quarantine"), "{}", ran.err);
    assert_eq!(fixture.run(&["verify"]).code, 0);
}

/// A tool has neither the limits nor the history of the program whose store it opens.
#[test]
fn raised_limits_and_a_history_outlive_every_command() {
    let fixture = Fixture::empty();
    let mut limits = Limits::default();
    limits.addresses_per_peer = 4096;
    let history = History { bytes_max: 50 << 20, age_max: Duration::from_secs(1_000_000) };
    let store = P2PStatePersistence::builder(&fixture.state_file)
        .limits(limits)
        .keep_history(history)
        .clock(now)
        .open()
        .unwrap();
    let addresses: Vec<_> = (0..1500)
        .map(|port| common::address(&format!("/ip4/192.0.2.1/tcp/{}", 2000 + port)))
        .collect();
    let seen = Change::PeerSeen { peer: peer(1), at: ago(1), addresses };
    store.append(seen).unwrap().wait().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for number in 0..3 {
        store.dht_put(&format!("key {number}"), b"value").unwrap();
        runtime.block_on(store.compact()).unwrap();
    }
    drop(store);
    let keep = fixture.journal().join("history/KEEP");
    let kept = fs::read(&keep).unwrap();
    let id = peer(2).to_string();
    for line in [["ban", &id].as_slice(), &["compact"], &["unban", &id], &["compact"], &["compact"]]
    {
        let ran = fixture.run(line);
        assert_eq!(ran.code, 0, "{line:?}: {}", ran.err);
    }
    assert_eq!(fs::read(&keep).unwrap(), kept);
    let reader = reader(&fixture);
    assert_eq!(reader.report().skipped, 0);
    let known = reader.view().state().peer(&peer(1)).unwrap().seen.as_ref().unwrap();
    assert_eq!(known.addresses.len(), 1500);
    assert_eq!(reader.oldest_restorable().unwrap().get(), 0, "the past is there from the start");
}
