//! The commands that list rows: what they show, in which order, and what they leave out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::string_slice)]

mod common;

use common::{Fixture, command, end, ended, peer, run};

#[test]
fn peers_are_listed_best_first_and_without_anything_that_a_terminal_would_obey() {
    let fixture = Fixture::market();
    let out = fixture.run(&["peers"]).ok();
    println!("{out}");
    assert!(!out.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'), "{out:?}");
    let order: Vec<_> = out.lines().skip(1).map(|line| &line[3..11]).collect();
    assert_eq!(order, [6, 1, 4, 2, 3].map(end), "{out}");
    assert!(out.contains("\\u{1b}[2J\\u{202e}evil"), "{out}");
    assert!(out.contains("heard of"), "{out}");
}

#[test]
fn what_is_listed_can_be_chosen_sorted_and_cut() {
    let fixture = Fixture::market();
    let ids = |args: &[&str]| -> Vec<u64> {
        let out = fixture.run(&[&["peers"], args].concat()).ok();
        let number = |line: &str| (1..9).find(|number| line.contains(&end(*number))).unwrap();
        out.lines().skip(1).map(number).collect()
    };
    assert_eq!(ids(&["--sort", "seen"]), [1, 6, 4, 2, 3]);
    assert_eq!(ids(&["--sort", "seen", "--reverse", "-n", "2"]), [3, 2]);
    assert_eq!(ids(&["--sort", "failures", "-n", "2"]), [6, 2]);
    assert_eq!(ids(&["--heard"]), [3]);
    assert_eq!(ids(&["--spoken", "--since", "10 min ago"]), [6, 1]);
    assert_eq!(ids(&["--min-score", "0.8", "--max-score", "0.9", "--sort", "id"]).len(), 1);
    assert_eq!(ids(&["--match", "MARKETD"]), [2]);
    assert_eq!(ids(&[&end(2)[4..]]), [2], "the end of an id is enough");
    let none = fixture.run(&["peers", "--banned"]);
    assert_eq!((none.code, none.err.as_str()), (0, "no peer matches\n"));
    let unclear = fixture.run(&["peers", "12D3Koo"]);
    assert_eq!(unclear.code, 2);
    assert!(unclear.err.contains("may be any of 5 peers"), "{}", unclear.err);
    let nobody = fixture.run(&["peers", &peer(99).to_string()]);
    assert_eq!(nobody.code, 1, "{}", nobody.err);
    let wrong = fixture.run(&["peers", "--since", "soon"]);
    assert_eq!(wrong.code, 2);
    assert!(wrong.err.contains("2 hours ago"), "{}", wrong.err);
}

#[test]
fn json_has_full_ids_exact_times_and_escaped_text() {
    let fixture = Fixture::market();
    let ran = fixture.run(&["peers", "--json", "--sort", "seen", "-n", "3"]);
    assert!(ran.out.starts_with("{\n  \"schema\": \"peer-journal/peers/1\""), "{}", ran.out);
    assert!(!ran.out.chars().any(|c| c.is_control() && c != '\n' || c == '\u{202e}'));
    let document = ran.json();
    assert_eq!((&document["total"], &document["matching"]), (&5.into(), &5.into()));
    let first = &document["peers"][0];
    assert_eq!(first["peer_id"], peer(1).to_string());
    assert_eq!(first["last_seen"], "2026-03-01T11:58:00Z");
    assert_eq!(first["reputation"]["location"]["region"], "Bavaria");
    assert_eq!(document["peers"][2]["agent"], "\u{1b}[2J\u{202e}evil\u{9b}31m");
}

#[test]
fn the_other_lists_show_their_rows() {
    let fixture = Fixture::market();
    let has = |args: &[&str], parts: &[&str]| {
        let out = fixture.run(args).ok();
        for part in parts {
            assert!(out.contains(part), "{args:?}: {part}\n{out}");
        }
        out
    };
    has(&["reputation"], &[&end(6), "812", "61 ms", "48.25,11.50 Bavaria"]);
    has(&["reputation", "--region", "bav"], &[&end(1)]);
    has(&["dht"], &["/pkg/web-rust", "200 B", "95 min ago"]);
    has(&["packages"], &["web/rust", "4.8 KiB", "4 min ago"]);
    let out = has(&["bans", "--all"], &[&end(5), "over", "=spam\\u{7}", "operator"]);
    assert!(!out.contains(&end(2)), "its ban was lifted: {out}");
    let over = fixture.run(&["bans"]);
    assert_eq!((over.code, over.out.as_str()), (0, ""));
    assert!(over.err.contains("--all"), "{}", over.err);
    let nodes = fixture.run(&["bootstrap"]).ok();
    assert_eq!(nodes, "/dnsaddr/bootstrap.example.org\n/ip4/192.0.2.1/tcp/4001\n");
    let value = ended(
        command()
            .args(["--store", fixture.state_file.to_str().unwrap(), "packages"])
            .args(["--get", "web/rust"]),
    );
    assert_eq!(value.out.len(), 5000);
    let gone = fixture.run(&["dht", "--get", "nothing"]);
    assert_eq!((gone.code, gone.out.as_str()), (1, ""), "{}", gone.err);
}

#[test]
fn tables_fit_forty_columns_and_colours_come_only_when_asked() {
    let fixture = Fixture::market();
    let store = fixture.state_file.to_str().unwrap();
    for verb in ["peers", "reputation", "dht", "packages", "bans"] {
        for columns in ["40", "57", "100"] {
            let all: &[&str] = if verb == "bans" { &["--all"] } else { &[] };
            let mut narrow = command();
            narrow.env("COLUMNS", columns).args(["--store", store, verb]).args(all);
            let out = ended(&mut narrow).ok();
            for line in out.lines() {
                assert!(line.chars().count() <= columns.parse().unwrap(), "{verb}: {line:?}");
            }
            assert!(!out.contains('\u{1b}'), "{out:?}");
        }
    }
    let coloured = run(&["--store", store, "--color", "always", "peers"]).ok();
    assert!(coloured.contains("\u{1b}[1mPEER\u{1b}[0m"), "{coloured:?}");
    let wide = fixture.run(&["peers", "--wide"]).ok();
    assert!(wide.contains(&peer(6).to_string()), "{wide}");
}

#[test]
fn a_store_that_is_not_there_is_said_so() {
    let fixture = Fixture::empty();
    for verb in ["peers", "reputation", "dht", "packages", "bans", "bootstrap"] {
        let ran = fixture.run(&[verb]);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{}", ran.err);
        assert!(ran.err.contains("there is no store at"), "{}", ran.err);
    }
    assert_eq!(std::fs::read_dir(fixture.folder.path()).unwrap().count(), 0, "nothing is made");
}
