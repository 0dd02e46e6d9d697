//! `changes_to` turns any state into any rows, with the fewest changes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

fn apply_rows(state: &mut State, rows: &P2PState) -> Vec<Change> {
    let changes = state.changes_to(rows).unwrap();
    for change in &changes {
        assert_eq!(state.apply(change).unwrap(), Effect::Changed, "{change:?}");
    }
    changes
}

/// Rows as the state gives them back: last of a key, sorted, no address twice.
fn normal(rows: &P2PState) -> P2PState {
    fn once<T: Clone>(rows: &[T], key: impl Fn(&T) -> String) -> Vec<T> {
        let last: BTreeMap<_, _> = rows.iter().map(|row| (key(row), row)).collect();
        last.into_values().cloned().collect()
    }
    fn first(texts: &[String]) -> Vec<String> {
        let mut kept: Vec<String> = Vec::new();
        for text in texts {
            if !kept.contains(text) {
                kept.push(text.clone());
            }
        }
        kept
    }
    let mut peers = once(&rows.peers, |row| row.peer_id.clone());
    for row in &mut peers {
        row.addresses = first(&row.addresses);
    }
    P2PState {
        version: P2PState::CURRENT_VERSION,
        peers,
        reputation: once(&rows.reputation, |row| row.peer_id.clone()),
        dht_entries: once(&rows.dht_entries, |row| row.key.clone()),
        package_cache: once(&rows.package_cache, |row| row.package_id.clone()),
        bootstrap_nodes: first(&rows.bootstrap_nodes),
        saved_at: rows.saved_at,
    }
}

fn peer_row(id: &str, texts: &[&str]) -> SerializedPeer {
    let addresses = texts.iter().map(ToString::to_string).collect();
    SerializedPeer { peer_id: id.to_owned(), addresses, last_seen: instant(1) }
}

fn reputation_row(id: &str) -> SerializedReputation {
    Reputation { packages_provided: 3, ..Reputation::default() }.to_row(&PeerKey::from_text(id))
}

#[test]
fn one_change_for_each_row_that_differs() {
    let mut state = State::default();
    let mut rows = P2PState {
        peers: vec![peer_row("a", &["/tcp/1"]), peer_row("b", &[]), peer_row("c", &[])],
        reputation: ["a", "b", "c"].map(reputation_row).into(),
        bootstrap_nodes: ["1", "2", "3"].map(String::from).into(),
        ..P2PState::default()
    };
    assert_eq!(apply_rows(&mut state, &rows).len(), 9);
    assert_eq!(apply_rows(&mut state, &rows), []);
    let profiled = |key: &str| Change::PeerProfiled {
        peer: PeerKey::from_text(key),
        agent: Some("x".into()),
        protocols: Vec::new(),
    };
    apply(&mut state, profiled("a"));
    apply(&mut state, profiled("b"));
    apply(&mut state, Change::PeerVerified { peer: PeerKey::from_text("a"), verified: true });

    rows.peers = vec![peer_row("a", &["/tcp/2"])];
    rows.reputation.remove(2);
    rows.reputation.remove(0);
    let kinds: Vec<_> = apply_rows(&mut state, &rows).iter().map(Change::kind).collect();
    assert_eq!(kinds, ["reputation_removed", "peer_removed", "peer_forgotten", "peer_set"]);
    assert_eq!(state.counts().profiles, 1, "b lost its profile, a did not");
    let a = state.peer(&PeerKey::from_text("a")).unwrap();
    assert!(a.profile.is_some() && a.seen.as_ref().unwrap().verified);
}

#[test]
fn bootstrap_lists() {
    let kinds = |old: &[&str], new: &[&str]| -> Vec<_> {
        let rows = |nodes: &[&str]| P2PState {
            bootstrap_nodes: nodes.iter().map(ToString::to_string).collect(),
            ..P2PState::default()
        };
        let mut state = State::default();
        apply_rows(&mut state, &rows(old));
        apply_rows(&mut state, &rows(new)).iter().map(Change::kind).collect()
    };
    assert_eq!(kinds(&["a", "b"], &["a", "b", "b"]), [""; 0]);
    assert_eq!(kinds(&["a", "b"], &["b", "c"]), ["bootstrap_removed", "bootstrap_added"]);
    assert_eq!(kinds(&["a", "b"], &["b", "a"]), ["bootstrap_replaced"]);
    assert_eq!(kinds(&["a", "b"], &["a", "c", "b"]), ["bootstrap_replaced"]);
    assert_eq!(kinds(&["a", "b"], &[]), ["bootstrap_removed", "bootstrap_removed"]);
}

#[test]
fn a_newer_version_is_refused() {
    let rows = P2PState { version: P2PState::CURRENT_VERSION + 1, ..P2PState::default() };
    let error = State::default().changes_to(&rows).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NewerVersion);
    assert!(error.to_string().contains("version 3; this program knows up to 2"), "{error}");
    let rows = P2PState { version: 1, ..P2PState::default() };
    assert_eq!(State::default().changes_to(&rows).unwrap(), []);
}

#[test]
fn the_state_never_holds_more_than_before_or_after() {
    let limits = Limits {
        peers: 2,
        dht_entries: 2,
        value_bytes: 10,
        bootstrap_nodes: 1,
        ..Limits::default()
    };
    let mut state = State::new(limits);
    let rows = |key: [&str; 2], len: [usize; 2]| P2PState {
        peers: key.map(|id| peer_row(id, &[])).into(),
        dht_entries: vec![
            SerializedDHTEntry { key: "x".into(), value: vec![0; len[0]], stored_at: instant(0) },
            SerializedDHTEntry { key: "y".into(), value: vec![0; len[1]], stored_at: instant(0) },
        ],
        bootstrap_nodes: vec![key[0].to_owned()],
        ..P2PState::default()
    };
    for rows in [rows(["a", "b"], [2, 8]), rows(["c", "d"], [8, 2]), rows(["b", "a"], [1, 9])] {
        apply_rows(&mut state, &rows);
        assert_eq!(state.to_rows(rows.saved_at), normal(&rows));
    }
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..6_u8).prop_map(|byte| ed25519(byte).to_base58()),
        "[a-c]{0,1}",
        Just("12D3KooWTest".to_owned()),
    ]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof!["/ip4/10.0.0.[1-4]/tcp/400[1-3]", "[a-b]{0,1}/?"]
}

fn time() -> impl Strategy<Value = DateTime<Utc>> {
    (0..3_i64).prop_map(instant)
}

prop_compose! {
    fn peer_rows()(
        peer_id in id(),
        addresses in prop::collection::vec(address(), 0..5),
        last_seen in time(),
    ) -> SerializedPeer {
        SerializedPeer { peer_id, addresses, last_seen }
    }
}

prop_compose! {
    fn reputation_rows()(
        peer_id in id(),
        successful_retrievals in 0..3_u64,
        last_seen in time(),
        place in prop::option::of((-90.0..=90.0, -180.0..=180.0, prop::option::of("[a-b]"))),
        packages_provided in prop_oneof![Just(usize::MAX), 0..2_usize],
    ) -> SerializedReputation {
        let location = place.map(|(latitude, longitude, region)| {
            SerializedGeoLocation { latitude, longitude, region }
        });
        SerializedReputation {
            peer_id,
            successful_retrievals,
            failed_retrievals: 1,
            last_seen,
            avg_response_time_ms: 7,
            location,
            packages_provided,
        }
    }
}

prop_compose! {
    fn values()(
        key in "[a-d]{0,1}",
        value in prop::collection::vec(any::<u8>(), 0..3),
        at in time(),
    ) -> (String, Vec<u8>, DateTime<Utc>) {
        (key, value, at)
    }
}

prop_compose! {
    fn any_rows()(
        peers in prop::collection::vec(peer_rows(), 0..12),
        reputation in prop::collection::vec(reputation_rows(), 0..12),
        dht in prop::collection::vec(values(), 0..6),
        packages in prop::collection::vec(values(), 0..6),
        bootstrap_nodes in prop::collection::vec("[a-e]", 0..6),
        saved_at in time(),
    ) -> P2PState {
        let dht = dht.into_iter();
        let packages = packages.into_iter();
        P2PState {
            peers,
            reputation,
            dht_entries: dht
                .map(|(key, value, stored_at)| SerializedDHTEntry { key, value, stored_at })
                .collect(),
            package_cache: packages
                .map(|(package_id, package_data, cached_at)| {
                    SerializedCacheEntry { package_id, package_data, cached_at }
                })
                .collect(),
            bootstrap_nodes,
            saved_at,
            ..P2PState::default()
        }
    }
}

proptest! {
    #[test]
    fn any_rows_follow_any_rows(all in prop::collection::vec(any_rows(), 1..5)) {
        let mut state = State::default();
        for rows in all {
            let before = state.clone();
            let unchanged = before.to_rows(rows.saved_at);
            let changes = apply_rows(&mut state, &rows);
            prop_assert_eq!(state.to_rows(rows.saved_at), normal(&rows));
            prop_assert_eq!(state.changes_to(&rows).unwrap(), []);
            prop_assert_eq!(before.to_rows(rows.saved_at), unchanged);
            // The same through a record.
            let mut payload = Vec::new();
            encode(&changes, &mut payload).unwrap();
            let mut replayed = before;
            for change in decode(&payload) {
                replayed.apply(&change.unwrap()).unwrap();
            }
            prop_assert_eq!(replayed.to_rows(rows.saved_at), normal(&rows));
            prop_assert_eq!(replayed.counts(), state.counts());
            prop_assert_eq!(replayed.value_bytes(), state.value_bytes());
        }
    }
}
