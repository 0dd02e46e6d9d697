//! `undo`: what it takes back, what it refuses, and what it never does on the side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use common::{Fixture, ago, end, now, peer};
use peer_journal::{P2PStatePersistence, Reader};

fn reader(fixture: &Fixture) -> Reader {
    Reader::open(&fixture.state_file).unwrap()
}

#[test]
fn a_record_is_taken_back_and_that_can_be_taken_back_too() {
    let fixture = Fixture::market();
    let dry = fixture.run(&["undo", "17", "--dry-run"]).ok();
    assert!(dry.ends_with("lsn       none: with --dry-run nothing is written\n"), "{dry}");
    assert_eq!(reader(&fixture).view().lsn().get(), 18);
    let out = fixture.run(&["undo", "17"]).ok();
    let one = end(1);
    let expected = [
        format!("\u{2026}{one} row set: seen 2026-03-01T10:02:00Z, at /ip4/192.0.2.7/tcp/4001\n"),
        format!("\u{2026}{one} reputation set: 2 ok, 0 failed\n"),
        "lsn       20, durable\n".to_owned(),
    ];
    assert_eq!(out, expected.concat());
    assert!(dry.starts_with(&expected[..2].concat()), "the plan is what is done: {dry}");
    let then = reader(&fixture);
    let before = then.state_at(16.into_lsn()).unwrap();
    let same = |state: &peer_journal::View| state.state().peer(&peer(1)).cloned();
    assert_eq!(same(then.view()), same(&before));
    let again = fixture.run(&["undo", "20"]).ok();
    assert!(again.contains("reputation set: 3 ok, 0 failed"), "{again}");
    let now = reader(&fixture);
    assert_eq!(same(now.view()), same(&now.state_at(18.into_lsn()).unwrap()));
}

/// `Lsn::new`, for short.
trait IntoLsn {
    fn into_lsn(self) -> peer_journal::Lsn;
}

impl IntoLsn for u64 {
    fn into_lsn(self) -> peer_journal::Lsn {
        peer_journal::Lsn::new(self)
    }
}

#[test]
fn what_later_records_touched_is_refused_and_named_and_a_range_takes_all_back() {
    let fixture = Fixture::market();
    let refused = fixture.run(&["undo", "9"]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""));
    let row = format!("\n  reputation of {} (lsn 17)\n", peer(1));
    assert!(refused.err.contains(&row), "{}", refused.err);
    assert!(refused.err.contains("later records changed the same rows"), "{}", refused.err);
    // The ban of record 11 was lifted in 18; it would still hold.
    let lifted = fixture.run(&["undo", "18"]).ok();
    assert!(lifted.contains("banned for 11 h: 3 failures in a row (by registry)"), "{lifted}");
    assert_eq!(reader(&fixture).view().state().ban(&peer(2)).unwrap().at, ago(79));
    let all = fixture.run(&["undo", "9..20", "--json"]);
    assert_eq!(all.code, 0, "{}", all.err);
    let told = all.json();
    assert_eq!((&told["first"], &told["last"]), (&9.into(), &20.into()));
    let then = reader(&fixture);
    let before = then.state_at(8.into_lsn()).unwrap();
    let difference = peer_journal::diff(&before, then.view());
    assert!(difference.is_empty(), "{difference:?}");
}

#[test]
fn nothing_to_undo_what_has_run_out_and_what_is_out_of_reach_are_told() {
    let fixture = Fixture::market();
    // Its ban was over before the store was opened.
    let over = fixture.run(&["undo", "13"]);
    let told = "nothing is to be undone: the rows are as they were before\n";
    assert_eq!((over.code, over.out.as_str(), over.err.as_str()), (0, "", told));
    let lifted = fixture.run(&["undo", "19"]);
    let note = format!("note: ban of \u{2026}{} had run out meanwhile, and stays gone\n", end(5));
    assert_eq!((lifted.code, lifted.err), (0, format!("{note}{told}")));
    let gone = fixture.run(&["undo", "5"]);
    assert_eq!((gone.code, gone.out.as_str()), (1, ""));
    assert!(gone.err.contains("the oldest that can is lsn=8"), "{}", gone.err);
    let lsn = reader(&fixture).view().lsn().get();
    for (args, part) in [
        (["undo", "99"], "there is no record lsn=99"),
        (["undo", "0"], "count from 1"),
        (["undo", "9..8"], "the first of a range comes first"),
        (["undo", "..8"], "give the number of a record"),
        (["undo", "all"], "give the number of a record"),
    ] {
        let wrong = fixture.run(&args);
        assert_eq!((wrong.code, wrong.out.as_str()), (2, ""), "{args:?}: {}", wrong.err);
        assert!(wrong.err.contains(part), "{args:?}: {}", wrong.err);
    }
    assert_eq!(reader(&fixture).view().lsn().get(), lsn, "nothing was written");
}

#[test]
fn a_held_a_damaged_and_an_absent_store_are_not_changed() {
    let fixture = Fixture::market();
    let store = P2PStatePersistence::builder(&fixture.state_file).clock(now).open().unwrap();
    assert_eq!(fixture.run(&["undo", "17"]).code, 5);
    assert_eq!(fixture.run(&["undo", "17", "--dry-run"]).code, 0, "a plan takes no lock");
    drop(store);
    common::break_record(fixture.folder.path(), 15);
    assert_eq!(fixture.run(&["undo", "17"]).code, 1);
    let empty = Fixture::empty();
    assert_eq!(empty.run(&["undo", "17"]).code, 2);
    assert_eq!(empty.run(&["undo", "17", "--dry-run"]).code, 2);
    std::fs::write(&empty.state_file, "{\"version\": 9, \"shape\": []}").unwrap();
    assert_eq!(empty.run(&["undo", "17"]).code, 6);
}
