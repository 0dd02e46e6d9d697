//! `import`: what each format gives, what wins when both know something, and that nothing is made,
//! mended or half done on the side.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic)]

mod common;

use std::{fs, path::PathBuf};

use common::{Fixture, Ran, command, ended, peer};
use peer_journal::P2PStatePersistence;
use serde_json::{Value, json};

/// A file beside the store.
fn file(fixture: &Fixture, content: &str) -> PathBuf {
    let path = fixture.folder.path().join("input");
    fs::write(&path, content).unwrap();
    path
}

fn import(fixture: &Fixture, content: &str, args: &[&str]) -> Ran {
    let input = file(fixture, content);
    fixture.run(&[&["import", input.to_str().unwrap()], args].concat())
}

/// Imports into a fresh store: the answer, and the whole state.
fn imported(content: &str, args: &[&str]) -> (Value, Value) {
    let fixture = Fixture::empty();
    let ran = import(&fixture, content, &[&["--create", "--json"], args].concat());
    let told = ran.json();
    let is_whole = told["skipped"].as_array().unwrap().iter().all(|skip| skip["fault"] == false);
    assert_eq!(ran.code, i32::from(!is_whole), "{}", ran.err);
    (told, fixture.run(&["export"]).json())
}

fn id(number: u64) -> String {
    peer(number).to_string()
}

/// What a state says of the addresses of a peer.
fn addresses(state: &Value, number: u64) -> Value {
    let rows = state["peers"].as_array().unwrap();
    let row = rows.iter().find(|row| row["peer_id"] == id(number));
    row.unwrap_or_else(|| panic!("no peer {number}: {state:#}"))["addresses"].clone()
}

fn skips(told: &Value) -> Vec<(Option<u64>, String)> {
    let skips = told["skipped"].as_array().unwrap().iter();
    skips.map(|skip| (skip["line"].as_u64(), skip["item"].as_str().unwrap().to_owned())).collect()
}

#[test]
fn a_list_of_multiaddrs_gives_peers_that_were_heard_of() {
    let (a, b) = (id(1), id(2));
    let list = format!(
        "# mine\r\n/ip4/192.0.2.1/tcp/1/p2p/{a}\r\n\r\n/dns4/n.example/tcp/443/wss/ipfs/{a}\r\n\
         /ip4/192.0.2.3/tcp/3\r\nnonsense\r\n  /ip4/192.0.2.1/tcp/2/p2p/{a}/p2p-circuit/p2p/{b}\r\n"
    );
    // What is indented below an address tells more of it; there it is the first of a peer.
    let list = list.replace("\r\n  /ip4", "\r\n/ip4");
    let (told, state) = imported(&list, &[]);
    assert_eq!((&told["format"], &told["lsn"]), (&"multiaddrs".into(), &1.into()));
    assert_eq!(told["imported"], json!([{"kind": "address", "rows": 3}]));
    assert_eq!(
        addresses(&state, 1),
        json!(["/ip4/192.0.2.1/tcp/1", "/dns4/n.example/tcp/443/wss"])
    );
    assert_eq!(addresses(&state, 2), json!([format!("/ip4/192.0.2.1/tcp/2/p2p/{a}/p2p-circuit")]));
    assert_eq!(state["peers"][0]["last_seen"], "1970-01-01T00:00:00Z", "heard of, never seen");
    let expected = [(Some(5), "/ip4/192.0.2.3/tcp/3"), (Some(6), "nonsense")];
    assert_eq!(skips(&told), expected.map(|(line, item)| (line, item.to_owned())));
    let twice =
        format!("[\"nonsense\",\n\"/ip4/192.0.2.1/tcp/1/p2p/{a}\",\n7,\n\"\\u006eonsense\"]");
    let (told, state) = imported(&twice, &[]);
    assert_eq!(addresses(&state, 1), json!(["/ip4/192.0.2.1/tcp/1"]));
    let expected = [(Some(1), "nonsense"), (Some(3), "[2]"), (Some(4), "nonsense")];
    assert_eq!(skips(&told), expected.map(|(line, item)| (line, item.to_owned())));
    let (_, state) = imported(&list, &["--to", "bootstrap"]);
    let nodes = state["bootstrap_nodes"].as_array().unwrap();
    assert_eq!((nodes.len(), &state["peers"]), (4, &json!([])), "{nodes:?}");
    assert_eq!(nodes[2], "/ip4/192.0.2.3/tcp/3", "a bootstrap node needs no id");
}

#[test]
fn boot_nodes_of_a_chain_specification_become_bootstrap_nodes() {
    let node = format!("/dns/boot.example/tcp/30333/p2p/{}", id(1));
    let spec = format!(
        "{{\n  \"name\": \"Test\",\n  \"bootNodes\": [\n    \"{node}\",\n    \"/dns/x\",\n    \"/bad\"\n  ],\n  \
         \"genesis\": {{\"raw\": {{\"top\": {{}}}}}}\n}}"
    );
    let (told, state) = imported(&spec, &[]);
    assert_eq!(told["format"], "chain-spec");
    assert_eq!(state["bootstrap_nodes"], json!([node, "/dns/x"]));
    assert_eq!(skips(&told), [(Some(6), "/bad".to_owned())]);
    let (told, state) = imported(&spec, &["--to", "peers"]);
    assert_eq!(addresses(&state, 1), json!(["/dns/boot.example/tcp/30333"]));
    assert_eq!(skips(&told).len(), 2, "without an id nobody knows whose it is");
}

#[test]
fn kubo_tells_its_peers_in_its_configuration_and_as_those_it_is_connected_to() {
    let (a, b) = (id(1), id(2));
    let config = json!({
        "Identity": {"PeerID": id(9)},
        "Addresses": {"Swarm": ["/ip4/0.0.0.0/tcp/4001"]},
        "Bootstrap": ["auto", format!("/dnsaddr/b.example/p2p/{b}")],
        "Peering": {"Peers": [
            {"ID": a, "Addrs": ["/ip4/192.0.2.1/tcp/1", format!("/ip4/192.0.2.2/tcp/1/p2p/{b}")]},
            {"ID": b, "Addrs": null},
            {"Addrs": []}
        ]}
    });
    let (told, state) = imported(&serde_json::to_string_pretty(&config).unwrap(), &[]);
    assert_eq!(told["format"], "kubo-config");
    assert_eq!(addresses(&state, 1), json!(["/ip4/192.0.2.1/tcp/1"]));
    assert_eq!(state["peers"].as_array().unwrap().len(), 1);
    assert_eq!(state["bootstrap_nodes"], json!([format!("/dnsaddr/b.example/p2p/{b}")]));
    let items: Vec<String> = skips(&told).into_iter().map(|(_, item)| item).collect();
    assert!(items.contains(&"auto".to_owned()), "{items:?}");
    assert!(items.contains(&"Peering.Peers[2]".to_owned()) && items.len() == 3, "{items:?}");

    let verbose = format!(
        "/ip4/192.0.2.1/udp/4001/quic-v1/p2p/{a} 38.2ms outbound\n  /ipfs/kad/1.0.0\n  \
         /ipfs/bitswap/1.2.0\n  <no protocol name>\n/ip4/192.0.2.2/tcp/4001/p2p/{b} n/a\n"
    );
    for args in [&[][..], &["--format", "kubo-peers"]] {
        let (told, state) = imported(&verbose, args);
        assert_eq!(
            (told["skipped"].clone(), told["imported"][0]["rows"].clone()),
            (json!([]), 2.into())
        );
        assert_eq!(addresses(&state, 1), json!(["/ip4/192.0.2.1/udp/4001/quic-v1"]));
    }
    let encoded = json!({"Peers": [
        {"Addr": "/ip4/192.0.2.1/tcp/1", "Peer": a, "Latency": "", "Streams": null},
        {"Peer": b}
    ]});
    let (told, state) = imported(&encoded.to_string(), &[]);
    assert_eq!((&told["format"], skips(&told).len()), (&"kubo-peers".into(), 1));
    assert_eq!(addresses(&state, 1), json!(["/ip4/192.0.2.1/tcp/1"]));
}

#[test]
fn known_peers_of_reth_get_the_libp2p_ids_of_their_keys_and_a_word_of_warning() {
    let key = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798\
               483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";
    let url = format!("enode://{key}@192.0.2.1:30303?discport=30301");
    let old = json!([url, "enode://12@192.0.2.1:1"]).to_string();
    let new = json!([{"record": url, "kind": "Trusted", "reputation": 0}, {"kind": "Basic"}]);
    for content in [old, new.to_string(), format!("{url}\nenode://12@192.0.2.1:1\n")] {
        let (told, state) = imported(&content, &[]);
        assert_eq!((&told["format"], skips(&told).len()), (&"reth".into(), 1), "{content}");
        let row = &state["peers"][0];
        assert!(row["peer_id"].as_str().unwrap().starts_with("16Uiu2HA"), "{row}");
        assert_eq!(row["addresses"], json!(["/ip4/192.0.2.1/tcp/30303"]));
    }
    let fixture = Fixture::empty();
    let ran = import(&fixture, &url, &["--create"]);
    assert!(ran.err.contains("RLPx"), "{}", ran.err);
}

#[test]
fn a_version_1_file_is_merged_row_by_row() {
    let old = json!({
        "version": 1,
        "peers": [
            {"peer_id": id(1), "addresses": ["/ip4/192.0.2.9/tcp/9"], "last_seen": "2026-03-01T09:00:00Z"},
            {"peer_id": "odd", "addresses": ["10.0.0.1:1"], "last_seen": "2026-02-01T00:00:00Z"},
            {"peer_id": id(8), "addresses": []}
        ],
        "reputation": [
            {"peer_id": id(6), "successful_retrievals": 1, "failed_retrievals": 0, "location": null,
             "last_seen": "2026-03-01T11:59:00Z", "avg_response_time_ms": 5, "packages_provided": 0},
            {"peer_id": id(1), "successful_retrievals": 99, "failed_retrievals": 0, "location": null,
             "last_seen": "2026-02-01T00:00:00Z", "avg_response_time_ms": 5, "packages_provided": 0}
        ],
        "dht_entries": [{"key": "k", "value": [1, 2, 255], "stored_at": "2026-02-01T00:00:00Z"}],
        "package_cache": [
            {"package_id": "old", "package_data": [1], "cached_at": "2026-03-01T11:00:00Z"}
        ],
        "bootstrap_nodes": ["/ip4/192.0.2.1/tcp/4001", "/ip4/192.0.2.2/tcp/1"],
        "saved_at": "2026-03-01T09:00:00Z"
    });
    let fixture = Fixture::market();
    let before = fixture.run(&["export"]).json();
    let text = serde_json::to_string_pretty(&old).unwrap();
    let told = import(&fixture, &text, &["--json"]);
    assert_eq!(told.code, 1, "{}", told.err);
    let told = told.json();
    let skipped: Vec<_> = skips(&told);
    assert_eq!(skipped[0].1, "old", "it has expired: {skipped:?}");
    assert_eq!(skipped[1].1, "peers[2]", "no last_seen: {skipped:?}");
    assert_eq!(told["skipped"][0]["fault"], false);
    let begins = |text_before: &str| {
        let before = text.lines().position(|line| line.contains(text_before)).unwrap();
        Some(before as u64 + 2)
    };
    assert_eq!(skipped[0].0, begins("\"package_cache\""), "its line is where it begins");
    assert!(skipped[1].0 > begins("\"peers\""), "{skipped:?}");
    let after = fixture.run(&["export"]).json();
    let theirs = addresses(&before, 1);
    let mut united = theirs.as_array().unwrap().clone();
    united.push("/ip4/192.0.2.9/tcp/9".into());
    assert_eq!(addresses(&after, 1), Value::from(united), "theirs go to the end");
    let row = |state: &Value, rows: &str, peer: &str| {
        let rows = state[rows].as_array().unwrap();
        rows.iter().find(|row| row["peer_id"] == peer).unwrap().clone()
    };
    let seen = |state, peer: &str| row(state, "peers", peer)["last_seen"].clone();
    assert_eq!(seen(&after, &id(1)), seen(&before, &id(1)), "ours was later");
    assert_eq!(seen(&after, "odd"), "2026-02-01T00:00:00Z");
    let good = |peer: String| row(&after, "reputation", &peer)["successful_retrievals"].clone();
    assert_eq!(good(id(6)), 1, "theirs is newer");
    assert_ne!(good(id(1)), 99, "ours is newer");
    assert!(after["dht_entries"].as_array().unwrap().iter().any(|row| row["value"] == "AQL/"));
    assert_eq!(after["bootstrap_nodes"].as_array().unwrap().len(), 3);
    let again = import(&fixture, &text, &["--json"]).json();
    assert_eq!((&again["imported"], &again["lsn"]), (&json!([]), &Value::Null));
}

/// At a quarter to twelve the ban still holds.
fn at_a_quarter_to(args: &[&str]) -> Ran {
    ended(command().env("PEER_JOURNAL_NOW", "2026-03-01T11:45:00Z").args(args))
}

#[test]
fn what_is_exported_comes_back_whole() {
    let fixture = Fixture::market();
    let store = fixture.state_file.to_str().unwrap();
    let export = |store: &str, form: &str| {
        let out = at_a_quarter_to(&["--store", store, "export", "-o", form]).ok();
        out.lines().filter(|line| !line.contains("\"lsn\":")).map(|l| format!("{l}\n")).collect()
    };
    let whole: String = export(store, "json");
    for (number, form) in ["json", "jsonl", "store", "snapshot"].iter().enumerate() {
        let copy = fixture.folder.path().join(format!("copy-{number}.json"));
        let copy = copy.to_str().unwrap();
        let input = match *form {
            "store" => fixture.folder.path().to_owned(),
            "snapshot" => fixture.state_file.clone(),
            form => {
                let out = at_a_quarter_to(&["--store", store, "export", "-o", form]).ok();
                file(&fixture, &out)
            }
        };
        let input = input.to_str().unwrap();
        let ran = at_a_quarter_to(&["--store", copy, "import", input, "--create"]);
        assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{form}: {}", ran.err);
        assert_eq!(export(copy, "json"), whole, "{form}");
        assert_eq!(at_a_quarter_to(&["diff", store, copy]).code, 0, "{form}");
    }
}

#[test]
fn a_store_is_made_only_if_asked_and_a_trial_changes_nothing() {
    let fixture = Fixture::empty();
    let list = format!("/ip4/192.0.2.1/tcp/1/p2p/{}\n", id(1));
    let ran = import(&fixture, &list, &[]);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    assert!(ran.err.contains("--create") && ran.err.contains("p2p-state.json"), "{}", ran.err);
    let ran = import(&fixture, &list, &["--create", "--dry-run"]);
    assert!(ran.code == 0 && ran.err.contains("would add 1 address"), "{}", ran.err);
    let names = || fs::read_dir(fixture.folder.path()).unwrap().count();
    assert_eq!(names(), 1, "nothing but the input");
    let ran = import(&fixture, &list, &["--create"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "counts are no data: {}", ran.err);
    assert!(ran.err.contains("durable as of lsn 1"), "{}", ran.err);
    let log = fixture.run(&["log"]).ok();
    let ran = import(&fixture, "/ip4/192.0.2.1/tcp/1\n", &["--dry-run"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("skip line 1: /ip4/192.0.2.1/tcp/1: "), "{}", ran.err);
    assert_eq!(fixture.run(&["log"]).ok(), log);
    let piped = ended(std::process::Command::new("sh").arg("-c").arg(format!(
        "echo '/ip4/192.0.2.7/tcp/1/p2p/{}' | {} --store {} import -",
        id(2),
        env!("CARGO_BIN_EXE_peer-journal"),
        fixture.state_file.display()
    )));
    assert!(piped.code == 0 && piped.err.contains("1 address"), "{}", piped.err);
}

#[test]
fn a_store_that_is_held_damaged_or_newer_is_left_alone() {
    let list = format!("/ip4/192.0.2.1/tcp/1/p2p/{}\n", id(1));
    let held = Fixture::market();
    let store = P2PStatePersistence::open(&held.state_file).unwrap();
    let ran = import(&held, &list, &[]);
    assert_eq!((ran.code, ran.out.as_str()), (5, ""), "{}", ran.err);
    assert!(ran.err.contains(&format!("pid={}", std::process::id())), "{}", ran.err);
    assert_eq!(import(&held, &list, &["--dry-run"]).code, 0, "a trial takes no lock");
    drop(store);

    let damaged = Fixture::market();
    common::break_record(damaged.folder.path(), 15);
    let files =
        || common::segments(&damaged.journal()).into_iter().map(|path| fs::read(path).unwrap());
    let before: Vec<_> = files().collect();
    let ran = import(&damaged, &list, &[]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    assert!(ran.err.contains("damaged") && ran.err.contains("verify"), "{}", ran.err);
    assert_eq!(files().collect::<Vec<_>>(), before);

    let newer = Fixture::empty();
    fs::write(&newer.state_file, "{\"version\": 9}").unwrap();
    assert_eq!(import(&newer, &list, &["--create"]).code, 6);
}

#[test]
fn what_cannot_be_imported_is_said_so() {
    let fixture = Fixture::market();
    for (content, args, code, part) in [
        ("", &[][..], 2, "nothing in it"),
        ("{\"a\": 1}", &[], 2, "--format"),
        ("{\"version\": 1, \"peers\": [", &[], 2, "no JSON document"),
        ("{\"version\": 7, \"peers\": []}", &[], 6, "upgrade"),
        ("{\"x\": 1}", &["--format", "chain-spec"], 2, "bootNodes"),
        ("{\"x\": 1}", &["--format", "kubo-config"], 2, "Peering"),
        ("/ip4/192.0.2.1/tcp/1", &["--format", "reth"], 1, "expected enode"),
    ] {
        let ran = import(&fixture, content, args);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{content}: {}", ran.err);
        assert!(ran.err.contains(part), "{content}: {}", ran.err);
    }
    fs::write(fixture.folder.path().join("input"), b"/ip4/\xff").unwrap();
    let input = fixture.folder.path().join("input");
    let ran = fixture.run(&["import", input.to_str().unwrap()]);
    assert!(ran.code == 2 && ran.err.contains("UTF-8"), "{}", ran.err);
    let ran = fixture.run(&["import", "/nowhere/list"]);
    assert!(ran.code == 2 && ran.err.contains("no such file"), "{}", ran.err);
    let hostile = import(&fixture, "/ip4/\u{1b}[2J\u{202e}x\n/a\n", &[]);
    assert!(!hostile.err.chars().any(|c| c.is_control() && c != '\n'), "{:?}", hostile.err);
}
