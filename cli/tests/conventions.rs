//! What holds for every command on a store, told from the description of the command line, so that
//! a new command cannot escape.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;
#[path = "../../tests/common/stop.rs"]
mod stop;

use std::{
    fs,
    io::Read,
    process::Stdio,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use clap::Subcommand;
use common::{Fixture, Ran, ago, command, end, ended, now, peer};
use peer_journal::{Change, P2PStatePersistence};
use peer_journal_cli::{
    read::{self, schema::SCHEMAS},
    write,
};
use stop::Stop;

/// `schema` prints schemas and looks at no store.
const NO_STORE: [&str; 1] = ["schema"];
/// What these print is there to be taken whole, however narrow the terminal.
const WHOLE: [&str; 4] = ["bootstrap", "cat", "export", "schema"];

/// Every reading command with the arguments that it cannot do without.
fn commands() -> Vec<(String, Vec<String>)> {
    with_args(read::Command::augment_subcommands(clap::Command::new("peer-journal")))
}

/// The same for every command that writes.
fn writing() -> Vec<(String, Vec<String>)> {
    let mut commands =
        with_args(write::Command::augment_subcommands(clap::Command::new("peer-journal")));
    for (verb, args) in &mut commands {
        // These show a plan unless told to act.
        if APPLY.contains(&verb.as_str()) {
            args.push("--apply".to_owned());
        }
    }
    commands
}

/// Commands that show a plan first.
const APPLY: [&str; 2] = ["redact", "repair"];

fn with_args(tree: clap::Command) -> Vec<(String, Vec<String>)> {
    let commands = tree.get_subcommands().map(|command| {
        let mut args = vec![command.get_name().to_owned()];
        let required = command.get_opts().filter(|arg| arg.is_required_set());
        for option in required.filter_map(clap::Arg::get_long) {
            assert_eq!(option, "peer", "{}: say in a test what it takes", command.get_name());
            args.extend(["--peer".to_owned(), end(1)]);
        }
        for positional in command.get_positionals().filter(|arg| arg.is_required_set()) {
            let name = positional.get_value_names().map(|names| names[0].to_string());
            args.push(match name.as_deref() {
                Some("PEER") => end(1),
                Some("A") => "17".to_owned(),
                Some("B" | "LSN") => "18".to_owned(),
                Some("FILE") => concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nodes.txt").to_owned(),
                other => panic!("{}: say what {other:?} is in a test", command.get_name()),
            });
        }
        (command.get_name().to_owned(), args)
    });
    commands.collect()
}

fn of_a_store() -> impl Iterator<Item = (String, Vec<String>)> {
    commands().into_iter().filter(|(verb, _)| !NO_STORE.contains(&verb.as_str()))
}

/// Runs it in the folder of the store.
fn run_in(fixture: &Fixture, args: &[String], vars: &[(&str, &str)]) -> Ran {
    let mut command = command();
    command.current_dir(fixture.folder.path()).envs(vars.iter().copied());
    ended(command.args(["--store", "p2p-state.json"]).args(args))
}

/// `diff` tells by its exit code that something differs.
fn is_good(verb: &str, code: i32) -> bool {
    code == 0 || verb == "diff" && code == 1
}

#[test]
fn every_command_answers_in_json_and_its_schema_is_published() {
    let fixture = Fixture::market();
    for (verb, mut args) in of_a_store() {
        args.push("--json".to_owned());
        let ran = run_in(&fixture, &args, &[]);
        assert!(is_good(&verb, ran.code), "{verb}: {}", ran.err);
        let published = SCHEMAS.iter().find(|(name, _)| *name == verb);
        let (_, schema) = published.unwrap_or_else(|| panic!("no schema of {verb}"));
        let schema = jsonschema::validator_for(&serde_json::from_str(schema).unwrap()).unwrap();
        let documents = serde_json::Deserializer::from_str(&ran.out).into_iter();
        let documents: Vec<serde_json::Value> = documents.collect::<Result<_, _>>().unwrap();
        assert!(!documents.is_empty(), "{verb}");
        for document in documents {
            assert_eq!(document["schema"], format!("peer-journal/{verb}/1"));
            assert!(schema.is_valid(&document), "{verb}: {document:#}");
        }
    }
}

#[test]
fn colours_come_where_they_are_wanted_and_nowhere_else() {
    let fixture = Fixture::market();
    let mut coloured = 0;
    for (verb, args) in commands() {
        let plain = run_in(&fixture, &args, &[]);
        let never = [("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")];
        let told = run_in(&fixture, &args, &never);
        assert_eq!(told.out, plain.out, "{verb}");
        for text in [&plain.out, &plain.err] {
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{verb}: {text:?}");
        }
        let forced = run_in(&fixture, &args, &[("CLICOLOR_FORCE", "1")]);
        coloured += usize::from(forced.out.contains('\u{1b}'));
        // A colour never says what the word does not.
        let mut bare = String::new();
        for part in forced.out.split('\u{1b}') {
            let is_first = bare.is_empty() && !forced.out.starts_with('\u{1b}');
            bare.push_str(if is_first { part } else { part.split_once('m').map_or(part, |p| p.1) });
        }
        assert_eq!(bare, plain.out, "{verb}");
    }
    assert!(coloured > 5, "most commands have a head line or a verdict");
}

#[test]
fn on_forty_columns_no_line_is_wider_but_for_a_word_that_cannot_be_broken() {
    let fixture = Fixture::market();
    let damaged = Fixture::market();
    common::break_record(damaged.folder.path(), 15);
    for (verb, args) in of_a_store().filter(|(verb, _)| !WHOLE.contains(&verb.as_str())) {
        for (fixture, columns) in [(&fixture, 40), (&fixture, 57), (&damaged, 40)] {
            let ran = run_in(fixture, &args, &[("COLUMNS", &columns.to_string())]);
            for line in ran.out.lines() {
                let longest = line.split_whitespace().map(|word| word.chars().count()).max();
                let is_wide = line.chars().count() > columns;
                assert!(!is_wide || longest > Some(columns - 11), "{verb} {columns}: {line:?}");
            }
        }
    }
}

/// `| head`: whoever reads goes away at once or after a little; nothing is said about it.
#[test]
fn a_reader_that_goes_away_ends_every_command_quietly() {
    let fixture = Fixture::empty();
    let seen = |number: u64| Change::PeerSeen {
        peer: peer(number),
        at: ago(1),
        addresses: vec![common::address("/ip4/192.0.2.1/tcp/4001")],
    };
    fixture.write_at_once(&(0..800).map(|n| (1, vec![seen(n)])).collect::<Vec<_>>());
    for (verb, args) in commands() {
        for bytes in [0, 100] {
            let store = fixture.state_file.to_str().unwrap();
            let mut child = command()
                .args(["--store", store])
                .args(&args)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            let mut out = child.stdout.take().unwrap();
            out.by_ref().take(bytes).read_to_end(&mut Vec::new()).unwrap();
            drop(out);
            let mut err = String::new();
            child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
            let code = child.wait().unwrap().code().unwrap();
            let is_quiet = !err.contains("error") && !err.contains("panicked");
            assert!(is_good(&verb, code) && is_quiet, "{verb}: {code}: {err}");
        }
    }
}

#[test]
fn where_no_store_is_every_command_says_so_and_makes_none() {
    let fixture = Fixture::empty();
    for (verb, args) in of_a_store() {
        let ran = run_in(&fixture, &args, &[]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{verb}: {}", ran.err);
        assert!(ran.err.contains("there is no store here"), "{verb}: {}", ran.err);
        assert!(ran.err.contains("p2p-state.json"), "{verb}: {}", ran.err);
    }
    assert_eq!(fs::read_dir(fixture.folder.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn what_a_newer_version_wrote_is_refused_by_every_command() {
    let snapshot = Fixture::empty();
    fs::write(&snapshot.state_file, "{\"version\": 9}").unwrap();
    let segment = Fixture::market();
    let newest = common::segments(&segment.journal()).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    common::make_newer(&mut bytes);
    fs::write(&newest, bytes).unwrap();
    for fixture in [snapshot, segment] {
        for (verb, args) in of_a_store() {
            let ran = run_in(&fixture, &args, &[]);
            assert_eq!((ran.code, ran.out.as_str()), (6, ""), "{verb}: {}", ran.err);
            assert!(ran.err.contains("upgrade"), "{verb}: {}", ran.err);
        }
    }
}

#[test]
fn what_writes_makes_no_store_by_a_mistyped_path_and_touches_none_of_a_newer_version() {
    let nothing = Fixture::empty();
    let newer = Fixture::empty();
    fs::write(&newer.state_file, "{\"version\": 9}").unwrap();
    for (verb, args) in writing() {
        let ran = run_in(&nothing, &args, &[]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{verb}: {}", ran.err);
        assert!(ran.err.contains("there is no store here"), "{verb}: {}", ran.err);
        let ran = run_in(&newer, &args, &[]);
        assert_eq!((ran.code, ran.out.as_str()), (6, ""), "{verb}: {}", ran.err);
        assert!(ran.err.contains("upgrade"), "{verb}: {}", ran.err);
    }
    assert_eq!(fs::read_dir(nothing.folder.path()).unwrap().count(), 0, "nothing was made");
    assert_eq!(fs::read_to_string(&newer.state_file).unwrap(), "{\"version\": 9}");
}

#[test]
fn what_writes_names_the_process_that_holds_the_store_and_changes_nothing() {
    let fixture = Fixture::market();
    let store = P2PStatePersistence::open(&fixture.state_file).unwrap();
    // What has run out goes with the opening, and would be written while the commands run.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.sync()).unwrap();
    let log = fixture.run(&["log"]).out;
    // Where nothing is damaged there is nothing to mend, and no reason to wait for the node.
    for (verb, args) in writing().into_iter().filter(|(verb, _)| verb != "repair") {
        let ran = run_in(&fixture, &args, &[]);
        assert_eq!((ran.code, ran.out.as_str()), (5, ""), "{verb}: {}", ran.err);
        assert!(ran.err.contains(&format!("pid={}", std::process::id())), "{verb}: {}", ran.err);
    }
    assert_eq!(fixture.run(&["log"]).out, log);
    drop(store);
}

#[test]
fn the_answers_of_what_writes_have_published_schemas() {
    for (verb, _) in writing() {
        assert!(SCHEMAS.iter().any(|(name, _)| *name == verb), "no schema of {verb}");
    }
}

/// Segments are rotated, snapshots replaced and files deleted as fast as the disk allows.
#[test]
fn beside_a_node_that_writes_and_compacts_no_command_raises_an_alarm() {
    let fixture = Fixture::market();
    let store = P2PStatePersistence::builder(&fixture.state_file)
        .clock(now)
        .segment_bytes(8 << 10)
        .open()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let stop = Stop::default();
    let until = Instant::now() + Duration::from_secs(2);
    let (mut rounds, compactions) = (0, AtomicU64::new(0));
    std::thread::scope(|scope| {
        let _stopped = stop.at_the_end();
        let writer = scope.spawn(|| {
            let mut number = 0_u64;
            while !stop.is_asked() {
                for _ in 0..40 {
                    number += 1;
                    store.dht_put(&format!("key {}", number % 50), &number.to_le_bytes()).unwrap();
                }
                runtime.block_on(store.compact()).unwrap();
                compactions.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Two rounds and a few compactions at least, however slow the machine is.
        let is_little = |rounds| rounds < 2 || compactions.load(Ordering::Relaxed) <= 10;
        while !writer.is_finished() && (is_little(rounds) || Instant::now() < until) {
            rounds += 1;
            for (verb, mut args) in of_a_store() {
                if verb == "diff" {
                    args = ["diff", "now", "now"].map(str::to_owned).to_vec();
                }
                let ran = run_in(&fixture, &args, &[]);
                let text = format!("{}{}", ran.out, ran.err);
                let alarms = ["BAD", "DAMAGED", "error", "damaged", "cannot"];
                let alarmed = ran.code != 0 || alarms.iter().any(|alarm| text.contains(alarm));
                assert!(!alarmed, "{verb}, round {rounds}: {}: {text}", ran.code);
            }
        }
    });
    println!("{} compactions in {rounds} rounds", compactions.into_inner());
}
