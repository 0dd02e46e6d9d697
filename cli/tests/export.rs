//! `export`: what other programs get, and that no text of a stranger does anything there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::string_slice)]

mod common;

use common::{Fixture, ago, end, peer};
use peer_journal::Change;

#[test]
fn a_document_holds_the_kinds_that_were_asked_for_and_says_which() {
    let fixture = Fixture::market();
    let whole = fixture.run(&["export"]);
    assert_eq!(whole.out, fixture.run(&["export", "--json"]).ok(), "JSON is the usual form");
    let (whole, cat) = (whole.json(), fixture.run(&["cat"]).json());
    for rows in ["peers", "reputation", "dht_entries", "bootstrap_nodes", "bans", "profiles"] {
        assert_eq!(whole[rows], cat[rows], "{rows}");
    }
    let part = fixture.run(&["export", "--kind", "ban", "--kind", "peer", "--kind", "ban"]).json();
    assert_eq!(part["kinds"], serde_json::json!(["peer", "ban"]));
    let names: Vec<&str> = part.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["bans", "kinds", "lsn", "peers", "schema"]);
    let earlier = fixture.run(&["export", "--at", "10"]).json();
    assert_eq!((&earlier["lsn"], &earlier["bans"]), (&10.into(), &serde_json::json!([])));
    assert_eq!(fixture.run(&["export", "--at", "70 min ago", "--kind", "ban"]).json()["lsn"], 11);
    assert_eq!(fixture.run(&["export", "--at", "3"]).code, 1, "that is gone");
}

#[test]
fn lines_hold_the_same_rows_each_with_its_kind() {
    let fixture = Fixture::market();
    let whole = fixture.run(&["export"]).json();
    let lines = fixture.run(&["export", "-o", "jsonl"]).ok();
    let count = |name: &str| whole[name].as_array().unwrap().len();
    for (kind, rows) in [
        ("peer", "peers"),
        ("reputation", "reputation"),
        ("dht", "dht_entries"),
        ("package", "package_cache"),
        ("bootstrap", "bootstrap_nodes"),
        ("ban", "bans"),
        ("profile", "profiles"),
    ] {
        let mark = format!("\"kind\":\"{kind}\"");
        let found = lines.lines().filter(|line| line.contains(&mark)).count();
        assert_eq!(found, count(rows), "{kind}");
        assert!(found > 0, "{kind}");
        let alone = fixture.run(&["export", "--format", "jsonl", "--kind", kind]).ok();
        assert_eq!(alone.lines().count(), found, "{kind}");
    }
}

#[test]
fn a_table_has_a_cell_for_each_head_and_no_cell_is_a_formula() {
    let fixture = Fixture::empty();
    let told = |number: u64, agent: &str| {
        let (peer, at) = (peer(number), ago(1));
        vec![
            Change::PeerSeen { peer: peer.clone(), at, addresses: Vec::new() },
            Change::PeerProfiled { peer, agent: Some(agent.into()), protocols: Vec::new() },
        ]
    };
    let agents = ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\t=1", "\r=1", "a,b\"c\nd", "kubo"];
    let history: Vec<_> =
        agents.iter().zip(1_u64..).map(|(agent, number)| (1, told(number, agent))).collect();
    fixture.write(&history, &[]);
    let out = fixture.run(&["export", "-o", "csv"]).ok();
    assert_eq!(out.lines().count(), agents.len() + 1, "no cell breaks a line: {out}");
    assert!(!out.chars().any(|c| c.is_control() && c != '\n'), "{out:?}");
    for line in out.lines().skip(1) {
        let agent = line.split(',').nth(3).unwrap();
        let bare = agent.trim_start_matches('"');
        assert!(!bare.starts_with(['=', '+', '-', '@', '\t', '\r']), "{line}");
    }
    assert!(out.contains("\"a,b\"\"c<U+000A>d\""), "{out}");
    let market = Fixture::market();
    for kind in ["peer", "reputation", "dht", "package", "bootstrap", "ban", "profile"] {
        let out = market.run(&["export", "-o", "csv", "--kind", kind]).ok();
        let mut rows = out.lines().map(|line| line.matches(',').count());
        let heads = rows.next().unwrap();
        // No text of this store has a comma.
        assert!(out.lines().count() > 1 && rows.all(|row| row == heads), "{kind}: {out}");
    }
    let reputation = market.run(&["export", "-o", "csv", "--kind", "reputation"]).ok();
    assert!(reputation.contains(",48.25,11.5,Bavaria"), "{reputation}");
    let two = market.run(&["export", "-o", "csv", "--kind", "ban", "--kind", "peer"]);
    assert_eq!((two.code, two.out.as_str()), (2, ""), "{}", two.err);
}

#[test]
fn a_list_of_addresses_names_each_peer_and_leaves_out_whom_others_should_not_meet() {
    let fixture = Fixture::market();
    let out = fixture.run(&["export", "-o", "multiaddrs"]).ok();
    let all = fixture.run(&["export"]).json();
    let addresses = all["peers"].as_array().unwrap().iter();
    let count: usize = addresses.map(|row| row["addresses"].as_array().unwrap().len()).sum();
    assert_eq!(out.lines().count(), count, "{out}");
    for line in out.lines() {
        let address: peer_journal::Multiaddr = line.parse().unwrap();
        assert_eq!(address.to_string(), line);
        assert!(line.contains("/p2p/12D3KooW"), "{line}");
    }
    // Record 11 bans a peer, record 18 lifts that.
    let earlier = fixture.run(&["export", "-o", "bootstrap", "--at", "12"]);
    assert!(!earlier.out.contains(&end(2)) && out.contains(&end(2)), "{}", earlier.out);
    assert_eq!(earlier.err, "note: left out 1 banned peer\n");
    let nodes = fixture.run(&["export", "-o", "multiaddrs", "--kind", "bootstrap"]).ok();
    assert_eq!(nodes, fixture.run(&["bootstrap"]).ok());
    let bans = fixture.run(&["export", "-o", "multiaddrs", "--kind", "ban"]);
    assert_eq!((bans.code, bans.out.as_str()), (2, ""), "{}", bans.err);
}

/// Old programs stored ids and addresses that are none; nobody else would take them.
#[test]
fn a_list_of_addresses_has_nothing_that_is_no_address() {
    let fixture = Fixture::empty();
    let suffixed = format!("/ip4/192.0.2.1/tcp/1/p2p/{}", peer(1));
    let seen = |peer, address: &str| Change::PeerSeen {
        peer,
        at: ago(1),
        addresses: vec![common::address(address)],
    };
    let odd = peer_journal::state::PeerKey::from_text("nobody");
    fixture.write(
        &[
            (1, vec![seen(peer(1), &suffixed), seen(peer(2), "192.0.2.1:4001")]),
            (1, vec![seen(odd, "/ip4/192.0.2.3/tcp/1")]),
        ],
        &[],
    );
    let ran = fixture.run(&["export", "-o", "multiaddrs"]);
    assert_eq!((ran.code, ran.out.as_str()), (0, format!("{suffixed}\n").as_str()));
    assert!(ran.err.contains("left out 2 texts"), "{}", ran.err);
}
