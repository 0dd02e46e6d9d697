//! Limits: refused before anything changes, and only what grows.

use super::*;
use crate::ErrorKind;

/// Applies a change that must be refused, and checks that the state did not move.
fn refused(state: &mut State, change: Change) -> String {
    let before = (state.to_rows(instant(0)), state.counts(), state.value_bytes());
    let error = state.apply(&change).unwrap_err();
    let text = error.to_string();
    assert_eq!(error.kind(), ErrorKind::Limit, "{text}");
    assert_eq!((state.to_rows(instant(0)), state.counts(), state.value_bytes()), before);
    text
}

fn seen(key: &str, texts: &[&str]) -> Change {
    Change::PeerSeen { peer: PeerKey::from_text(key), at: at(0), addresses: addresses(texts) }
}

fn put(key: &str, len: usize) -> Change {
    Change::DhtPut { key: key.into(), value: vec![0; len].into(), at: at(0) }
}

fn cache(id: &str, len: usize) -> Change {
    Change::PackageCached { id: id.into(), data: vec![0; len].into(), at: at(0) }
}

fn small() -> State {
    State::new(Limits {
        peers: 2,
        addresses_per_peer: 2,
        dht_entries: 2,
        packages: 2,
        bootstrap_nodes: 2,
        bans: 1,
        value_bytes: 20,
    })
}

#[test]
fn a_state_is_sure_of_changes_that_no_limit_can_refuse() {
    let mut state = State::new(Limits { addresses_per_peer: 3, ..Limits::default() });
    let verified = || Change::PeerVerified { peer: PeerKey::from_text("a"), verified: true };
    assert!(state.is_sure_of(&[seen("a", &["1", "2", "3"]), verified()]));
    assert!(!state.is_sure_of(&[seen("a", &["1", "2"]), seen("a", &["3", "4"])]));
    state.apply(&seen("a", &["1", "2"])).unwrap();
    assert!(state.is_sure_of(&[seen("a", &["3"]), verified()]));
    assert!(!state.is_sure_of(&[seen("a", &["3", "4"]), verified()]));
    let replaced = Change::AddressesReplaced {
        peer: PeerKey::from_text("b"),
        addresses: addresses(&["1", "2", "3"]),
    };
    assert!(!state.is_sure_of(&[replaced, seen("b", &["4"])]));
}

#[test]
fn rows_made_at_once_tell_the_most_addresses_of_one_peer() {
    let rows = || PeerRows::with_room(Limits { peers: 2, ..Limits::default() }, 2);
    let mut pieces = [rows(), rows()];
    let peers = [("a", &["1", "2", "3"][..]), ("b", &["1"])];
    for (rows, (key, texts)) in pieces.iter_mut().zip(peers) {
        let seen = Peer { addresses: addresses(texts).as_slice().into(), ..Peer::default() };
        let entry = PeerEntry { seen: Some(seen), ..PeerEntry::default() };
        rows.add(PeerKey::from_text(key), entry).unwrap();
    }
    let [first, second] = pieces;
    let mut state = State::default();
    state.take_back(first.joined(second).unwrap().map(PeersPart::of));
    assert_eq!(state.peers.most_addresses(), 3);
}

#[test]
fn fields_have_limits() {
    let mut state = State::default();
    let long = |len: usize| -> Box<str> { "x".repeat(len).into() };
    let who = || peer(1);
    let over = [
        seen(&long(257), &[]),
        seen("a", &[&long(1025)]),
        Change::PeerSet { peer: who(), last_seen: at(0), addresses: addresses(&[&long(1025)]) },
        Change::PeerProfiled { peer: who(), agent: Some(long(1025)), protocols: Vec::new() },
        Change::PeerProfiled { peer: who(), agent: None, protocols: vec![long(257)] },
        Change::PeerProfiled { peer: who(), agent: None, protocols: vec!["x".into(); 1025] },
        put(&long(4097), 1),
        put("k", (15 << 20) + 1),
        cache(&long(4097), 1),
        cache("p", (15 << 20) + 1),
        Change::BootstrapAdded { node: long(1025) },
        Change::BootstrapReplaced { nodes: vec![long(1025)] },
        Change::Banned {
            peer: who(),
            at: at(0),
            until: at(1),
            reason: long(1025),
            source: "s".into(),
        },
        Change::Banned {
            peer: who(),
            at: at(0),
            until: at(1),
            reason: "r".into(),
            source: long(257),
        },
    ];
    for change in over {
        let kind = change.kind();
        let text = refused(&mut state, change);
        assert!(text.contains("the limit is"), "{kind}: {text}");
    }
    for fits in [
        seen(&long(256), &[&long(1024)]),
        put(&long(4096), 15 << 20),
        Change::PeerProfiled { peer: who(), agent: None, protocols: vec![long(256); 1024] },
    ] {
        assert_eq!(state.apply(&fits).unwrap(), Effect::Changed);
    }
}

#[test]
fn places_are_on_earth() {
    let mut state = State::default();
    let bad = [(f64::NAN, 0.0), (0.0, f64::INFINITY), (90.1, 0.0), (0.0, -180.1)];
    for (latitude, longitude) in bad {
        let location = GeoLocation { latitude, longitude, region: None };
        let reputation =
            Reputation { location: Some(Box::new(location.clone())), ..Reputation::default() };
        for change in [
            Change::LocationSet { peer: peer(1), location: Some(location) },
            Change::ReputationSet { peer: peer(1), reputation },
        ] {
            let error = state.apply(&change).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("degrees; give one from -"), "{error}");
        }
    }
    let region = Some("x".repeat(257).into());
    let location = Some(GeoLocation { latitude: 90.0, longitude: -180.0, region });
    refused(&mut state, Change::LocationSet { peer: peer(1), location });
    let location = Some(GeoLocation { latitude: 90.0, longitude: -180.0, region: None });
    apply(&mut state, Change::LocationSet { peer: peer(1), location });
}

#[test]
fn counts_have_limits() {
    let mut state = small();
    apply(&mut state, seen("a", &["1", "2"]));
    apply(&mut state, Change::RetrievalFailed { peer: PeerKey::from_text("b"), at: at(0) });
    let text = refused(&mut state, seen("c", &[]));
    assert_eq!(
        text,
        "no room for more peers: the limit `peers` is 2; forget some, or raise `Limits::peers`"
    );
    refused(&mut state, Change::RetrievalFailed { peer: PeerKey::from_text("c"), at: at(0) });
    let profiled = Change::PeerProfiled {
        peer: PeerKey::from_text("c"),
        agent: Some("x".into()),
        protocols: Vec::new(),
    };
    refused(&mut state, profiled);
    refused(&mut state, seen("a", &["3"]));
    apply(&mut state, seen("b", &["3"]));

    let bootstrap = |texts: &[&str]| Change::BootstrapReplaced {
        nodes: texts.iter().map(|node| (*node).into()).collect(),
    };
    apply(&mut state, bootstrap(&["a", "b"]));
    refused(&mut state, Change::BootstrapAdded { node: "c".into() });
    refused(&mut state, bootstrap(&["a", "b", "c"]));
    apply(&mut state, bootstrap(&["c", "d", "c"]));

    let ban = |key: &str, ms| Change::Banned {
        peer: PeerKey::from_text(key),
        at: at(0),
        until: at(ms),
        reason: "r".into(),
        source: "s".into(),
    };
    apply(&mut state, ban("x", 1));
    refused(&mut state, ban("y", 1));
    apply(&mut state, ban("x", 2));
}

#[test]
fn values_have_limits() {
    let mut state = small();
    apply(&mut state, put("a", 5));
    apply(&mut state, cache("a", 10));
    refused(&mut state, put("b", 6));
    refused(&mut state, cache("b", 6));
    refused(&mut state, put("a", 11));
    apply(&mut state, put("a", 10));
    apply(&mut state, put("b", 0));
    assert!(refused(&mut state, put("c", 0)).contains("`dht_entries` is 2"));
    apply(&mut state, cache("b", 0));
    assert!(refused(&mut state, cache("c", 0)).contains("`packages` is 2"));
    assert!(refused(&mut state, cache("b", 1)).contains("`value_bytes` is 20"));
}

#[test]
fn what_is_past_a_lowered_limit_can_shrink_and_change() {
    let mut state = State::default();
    for key in ["a", "b", "c", "d"] {
        apply(&mut state, seen(key, &["1", "2", "3", "4"]));
        apply(&mut state, put(key, 10));
    }
    let mut state = State { limits: *small().limits(), ..state };
    assert_eq!(state.limits().peers, 2);
    let later =
        Change::PeerSeen { peer: PeerKey::from_text("a"), at: at(9), addresses: Vec::new() };
    apply(&mut state, later);
    let removed =
        Change::AddressesRemoved { peer: PeerKey::from_text("a"), addresses: addresses(&["1"]) };
    apply(&mut state, removed);
    refused(&mut state, seen("a", &["5"]));
    refused(&mut state, seen("e", &[]));
    apply(&mut state, put("a", 9));
    refused(&mut state, put("a", 10));
    apply(&mut state, Change::DhtRemoved { key: "b".into() });
    assert_eq!(state.value_bytes(), 29);
}
