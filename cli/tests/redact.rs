//! `redact`: the plan, the deed, and a search through every byte afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use std::{fs, path::Path};

use common::{Fixture, end, now, peer};
use peer_journal::P2PStatePersistence;

/// Names of the files that hold the peer's key, its id, or an address of it.
fn found(folder: &Path, number: u64, address: &str) -> Vec<String> {
    let id = peer(number).to_peer_id().unwrap();
    let needles = [id.to_bytes()[6..].to_vec(), id.to_base58().into(), address.into()];
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(found(&path, number, address));
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let holds = |needle: &Vec<u8>| bytes.windows(needle.len()).any(|part| part == needle);
        if needles.iter().any(holds) {
            names.push(path.file_name().unwrap().to_string_lossy().into_owned());
        }
    }
    names
}

#[test]
fn the_plan_names_every_file_and_applying_it_leaves_nothing() {
    let fixture = Fixture::market();
    let folder = fixture.folder.path();
    let before = found(folder, 2, "/ip4/192.0.2.8/tcp/4001");
    assert_eq!(before.len(), 4, "{before:?}");
    let plan = fixture.run(&["redact", "--peer", &end(2)]).ok();
    for name in &before {
        assert!(plan.contains(name), "{name}: {plan}");
    }
    assert!(plan.contains("forgotten") && plan.contains("--apply"), "{plan}");
    assert_eq!(found(folder, 2, "/ip4/192.0.2.8/tcp/4001"), before, "a plan changes nothing");
    let done = fixture.run(&["redact", "--peer", &end(2), "--apply"]).ok();
    assert!(done.contains("done      no file of the store holds anything of it"), "{done}");
    assert_eq!(found(folder, 2, "/ip4/192.0.2.8/tcp/4001"), [] as [String; 0]);
    assert_eq!(fixture.run(&["verify"]).code, 0);
    let peers = fixture.run(&["peers", "--json"]).json();
    assert_eq!(peers["total"], 4);
    let id = peer(2).to_string();
    let again = fixture.run(&["redact", "--peer", &id, "--apply"]).ok();
    assert!(again.starts_with("next      nothing: no file"), "{again}");
    let unknown = fixture.run(&["redact", "--peer", &end(2)]);
    assert_eq!((unknown.code, unknown.out.as_str()), (1, ""), "{}", unknown.err);
}

#[test]
fn a_held_a_damaged_and_an_absent_store_are_not_changed() {
    let fixture = Fixture::market();
    let store = P2PStatePersistence::builder(&fixture.state_file).clock(now).open().unwrap();
    let held = fixture.run(&["redact", "--peer", &end(2), "--apply"]);
    assert_eq!((held.code, held.out.as_str()), (5, ""), "{}", held.err);
    assert!(held.err.contains(&format!("pid={} ", std::process::id())), "{}", held.err);
    assert_eq!(fixture.run(&["redact", "--peer", &end(2)]).code, 0, "a plan takes no lock");
    drop(store);
    common::break_record(fixture.folder.path(), 15);
    let damaged = fixture.run(&["redact", "--peer", &end(2), "--apply"]);
    assert_eq!((damaged.code, damaged.out.as_str()), (1, ""), "{}", damaged.err);
    assert!(damaged.err.contains("`peer-journal repair`"), "{}", damaged.err);
    let empty = Fixture::empty();
    assert_eq!(empty.run(&["redact", "--peer", &peer(2).to_string(), "--apply"]).code, 2);
    assert_eq!(fs::read_dir(empty.folder.path()).unwrap().count(), 0);
    fs::write(&empty.state_file, "{\"version\": 9, \"shape\": []}").unwrap();
    assert_eq!(empty.run(&["redact", "--peer", &peer(2).to_string(), "--apply"]).code, 6);
    assert_eq!(fixture.run(&["redact", "--apply"]).code, 2, "who?");
}
