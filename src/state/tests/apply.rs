//! What each change does, and that a copy of the state never moves with it.

use super::{Effect::*, *};

/// A state with one peer that has all parts, and its key.
fn full_peer() -> (State, PeerKey) {
    let mut state = State::default();
    let key = peer(1);
    for change in [
        Change::PeerSeen { peer: key.clone(), at: at(5), addresses: addresses(&["/tcp/1"]) },
        Change::RetrievalFailed { peer: key.clone(), at: at(6) },
        Change::PeerProfiled { peer: key.clone(), agent: Some("a".into()), protocols: Vec::new() },
        ban(&key, 100),
    ] {
        assert_eq!(apply(&mut state, change), Changed);
    }
    (state, key)
}

fn ban(peer: &PeerKey, until: i64) -> Change {
    let (reason, source) = ("spam".into(), "test".into());
    Change::Banned { peer: peer.clone(), at: at(0), until: at(until), reason, source }
}

fn row<'a>(state: &'a State, key: &PeerKey) -> &'a Peer {
    state.peer(key).unwrap().seen.as_ref().unwrap()
}

fn reputation<'a>(state: &'a State, key: &PeerKey) -> &'a Reputation {
    state.peer(key).unwrap().reputation.as_ref().unwrap()
}

#[test]
fn seen_takes_the_later_time_and_unites_addresses() {
    let mut state = State::default();
    let key = peer(1);
    let seen = |ms, texts: &[&str]| Change::PeerSeen {
        peer: peer(1),
        at: at(ms),
        addresses: addresses(texts),
    };
    assert_eq!(apply(&mut state, seen(5, &["b", "a"])), Changed);
    let view = state.clone();
    assert_eq!(apply(&mut state, seen(5, &["a"])), Unchanged);
    assert_eq!(apply(&mut state, seen(4, &[])), Unchanged);
    assert_eq!(apply(&mut state, seen(4, &["c", "a"])), Changed);
    assert_eq!(apply(&mut state, seen(9, &[])), Changed);
    assert_eq!(row(&state, &key).last_seen, at(9));
    assert_eq!(format!("{:?}", row(&state, &key).addresses), r#"["b", "a", "c"]"#);
    assert_eq!(row(&view, &key).last_seen, at(5));
    assert_eq!(row(&view, &key).addresses.len(), 2);
    assert_eq!((state.counts().peers, state.peers().count()), (1, 1));
}

#[test]
fn addresses_come_and_go() {
    let mut state = State::default();
    let key = peer(1);
    let (peer, list) = (key.clone(), addresses(&["a", "b"]));
    let removed = Change::AddressesRemoved { peer, addresses: list.clone() };
    assert_eq!(apply(&mut state, removed.clone()), Unchanged);
    assert_eq!(state.peers().count(), 0);
    let added = Change::AddressesAdded { peer: key.clone(), addresses: list };
    assert_eq!(apply(&mut state, added.clone()), Changed);
    assert_eq!(apply(&mut state, added), Unchanged);
    assert_eq!(row(&state, &key).last_seen, Time::EPOCH);
    let replaced =
        Change::AddressesReplaced { peer: key.clone(), addresses: addresses(&["b", "a"]) };
    assert_eq!(apply(&mut state, replaced.clone()), Changed);
    assert_eq!(apply(&mut state, replaced), Unchanged);
    assert_eq!(apply(&mut state, removed.clone()), Changed);
    assert_eq!(apply(&mut state, removed), Unchanged);
    assert!(row(&state, &key).addresses.is_empty());
    // Being heard of does not count as being seen, whatever the clock said before.
    let early = Time::from(DateTime::<Utc>::MIN_UTC);
    let set = Change::PeerSet { peer: key.clone(), last_seen: early, addresses: Vec::new() };
    assert_eq!(apply(&mut state, set), Changed);
    let added = Change::AddressesAdded { peer: key.clone(), addresses: addresses(&["a"]) };
    assert_eq!(apply(&mut state, added), Changed);
    assert_eq!(row(&state, &key).last_seen, early);
}

#[test]
fn a_heard_peer_makes_a_row_even_without_addresses() {
    let mut state = State::default();
    let heard = Change::AddressesAdded { peer: peer(1), addresses: Vec::new() };
    assert_eq!(apply(&mut state, heard.clone()), Changed);
    assert_eq!(apply(&mut state, heard), Unchanged);
    let verified = |verified| Change::PeerVerified { peer: peer(2), verified };
    assert_eq!(apply(&mut state, verified(false)), Changed);
    assert_eq!(apply(&mut state, verified(false)), Unchanged);
    assert_eq!(apply(&mut state, verified(true)), Changed);
    assert!(row(&state, &peer(2)).verified);
    assert_eq!(state.counts().peers, 2);
}

#[test]
fn set_is_exact_and_keeps_the_rest() {
    let (mut state, key) = full_peer();
    apply(&mut state, Change::PeerVerified { peer: key.clone(), verified: true });
    let set = Change::PeerSet { peer: key.clone(), last_seen: at(1), addresses: Vec::new() };
    assert_eq!(apply(&mut state, set.clone()), Changed);
    assert_eq!(apply(&mut state, set), Unchanged);
    let peer = row(&state, &key);
    assert_eq!((peer.last_seen, peer.verified, peer.addresses.len()), (at(1), true, 0));
    assert_eq!(state.counts().profiles, 1);
}

#[test]
fn forgetting_leaves_only_the_ban() {
    for forget in [Change::PeerForgotten { peer: peer(1) }, Change::Evicted { peer: peer(1) }] {
        let (mut state, key) = full_peer();
        let view = state.clone();
        assert_eq!(apply(&mut state, forget.clone()), Changed);
        assert_eq!(apply(&mut state, forget), Unchanged);
        assert!(state.peer(&key).is_none() && state.ban(&key).is_some());
        assert_eq!(state.counts(), Counts { bans: 1, ..Counts::default() });
        assert_eq!(
            view.counts(),
            Counts { bans: 1, peers: 1, reputation: 1, profiles: 1, ..Counts::default() }
        );
        assert!(view.peer(&key).unwrap().profile.is_some());
    }
}

#[test]
fn parts_of_a_peer_go_one_by_one() {
    let (mut state, key) = full_peer();
    let removed = Change::PeerRemoved { peer: key.clone() };
    assert_eq!(apply(&mut state, removed.clone()), Changed);
    assert_eq!(apply(&mut state, removed), Unchanged);
    let counts = state.counts();
    assert_eq!((counts.peers, counts.reputation, counts.profiles), (0, 1, 0));
    let removed = Change::ReputationRemoved { peer: key.clone() };
    assert_eq!(apply(&mut state, removed.clone()), Changed);
    assert_eq!(apply(&mut state, removed), Unchanged);
    assert!(state.peer(&key).is_none());

    let profiled = |agent: Option<&str>, protocols: &[&str]| Change::PeerProfiled {
        peer: peer(1),
        agent: agent.map(Into::into),
        protocols: protocols.iter().map(|name| (*name).into()).collect(),
    };
    assert_eq!(apply(&mut state, profiled(None, &[])), Unchanged);
    assert_eq!(apply(&mut state, profiled(Some("a"), &["/x"])), Changed);
    assert_eq!(apply(&mut state, profiled(Some("a"), &["/x"])), Unchanged);
    assert_eq!(apply(&mut state, profiled(None, &["/y"])), Changed);
    let profile = state.peer(&key).unwrap().profile.clone().unwrap();
    assert_eq!((profile.agent.as_deref(), &*profile.protocols[0]), (None, "/y"));
    assert_eq!(apply(&mut state, profiled(None, &[])), Changed);
    assert!(state.peer(&key).is_none());
}

#[test]
fn response_times_are_averaged() {
    let mut state = State::default();
    let key = peer(1);
    let ok =
        |ms, response_ms| Change::RetrievalSucceeded { peer: peer(1), at: at(ms), response_ms };
    apply(&mut state, Change::RetrievalFailed { peer: key.clone(), at: at(3) });
    assert_eq!(apply(&mut state, ok(1, 100)), Changed);
    assert_eq!(reputation(&state, &key).avg_response_time_ms, 100);
    assert_eq!(reputation(&state, &key).last_seen, at(3));
    apply(&mut state, ok(8, 121));
    assert_eq!(reputation(&state, &key).avg_response_time_ms, 106);
    assert_eq!(reputation(&state, &key).last_seen, at(8));
    apply(&mut state, ok(8, u64::MAX));
    apply(&mut state, ok(8, u64::MAX));
    let expected = (7_u128 * (7 * 106 + 3 * u128::from(u64::MAX)).div_euclid(10)
        + 3 * u128::from(u64::MAX))
        / 10;
    assert_eq!(u128::from(reputation(&state, &key).avg_response_time_ms), expected);
    assert_eq!(reputation(&state, &key).successful_retrievals, 4);
    assert_eq!(reputation(&state, &key).failed_retrievals, 1);
    assert_eq!((state.counts().peers, state.counts().reputation), (0, 1));
}

#[test]
fn full_counters_stay_full() {
    let mut state = State::default();
    let full = Reputation {
        successful_retrievals: u64::MAX,
        failed_retrievals: u64::MAX,
        last_seen: at(1),
        avg_response_time_ms: 10,
        ..Reputation::default()
    };
    let set = Change::ReputationSet { peer: peer(1), reputation: full.clone() };
    assert_eq!(apply(&mut state, set.clone()), Changed);
    assert_eq!(apply(&mut state, set), Unchanged);
    let ok = Change::RetrievalSucceeded { peer: peer(1), at: at(1), response_ms: 10 };
    assert_eq!(apply(&mut state, ok), Unchanged);
    assert_eq!(apply(&mut state, Change::RetrievalFailed { peer: peer(1), at: at(0) }), Unchanged);
    assert_eq!(reputation(&state, &peer(1)), &full);
}

#[test]
fn places_and_packages() {
    let mut state = State::default();
    let key = peer(1);
    let place = |latitude| {
        let location = GeoLocation { latitude, longitude: 2.5, region: Some("EU".into()) };
        Change::LocationSet { peer: peer(1), location: Some(location) }
    };
    let nowhere = Change::LocationSet { peer: key.clone(), location: None };
    assert_eq!(apply(&mut state, nowhere.clone()), Changed, "makes the reputation");
    assert_eq!(apply(&mut state, nowhere.clone()), Unchanged);
    assert_eq!(apply(&mut state, place(0.0)), Changed);
    assert_eq!(apply(&mut state, place(-0.0)), Changed, "not the same bits");
    assert_eq!(apply(&mut state, place(-0.0)), Unchanged);
    assert_eq!(apply(&mut state, nowhere), Changed);
    let provides = |count| Change::PackagesProvided { peer: peer(1), count };
    assert_eq!(apply(&mut state, provides(u64::MAX)), Changed);
    assert_eq!(apply(&mut state, provides(u64::MAX)), Unchanged);
    assert_eq!(reputation(&state, &key).packages_provided, u64::MAX);
    assert_eq!(reputation(&state, &key).last_seen, Time::EPOCH);
}

#[test]
fn values_are_counted() {
    let mut state = State::default();
    let put = |key: &str, len: usize, ms| Change::DhtPut {
        key: key.into(),
        value: vec![1; len].into(),
        at: at(ms),
    };
    let cache = |id: &str, len: usize, ms| Change::PackageCached {
        id: id.into(),
        data: vec![1; len].into(),
        at: at(ms),
    };
    assert_eq!(apply(&mut state, put("k", 10, 1)), Changed);
    assert_eq!(apply(&mut state, put("k", 10, 1)), Unchanged);
    assert_eq!(apply(&mut state, put("k", 10, 2)), Changed);
    assert_eq!(apply(&mut state, put("k", 4, 2)), Changed);
    assert_eq!(apply(&mut state, cache("p", 7, 1)), Changed);
    assert_eq!(apply(&mut state, cache("p", 7, 1)), Unchanged);
    assert_eq!(apply(&mut state, cache("q", 5, 400_000)), Changed);
    assert_eq!(state.value_bytes(), 16);
    let view = state.clone();
    assert_eq!(state.dht_entry("k").unwrap().value.len(), 4);
    assert!(!state.has_expired(at(300_001)));
    assert_eq!(apply(&mut state, Change::Expired { at: at(300_001) }), Unchanged);
    assert!(state.has_expired(at(300_002)));
    assert_eq!(apply(&mut state, Change::Expired { at: at(300_002) }), Changed);
    assert!(state.package("p").is_none() && state.package("q").is_some());
    assert_eq!(state.value_bytes(), 9);
    assert_eq!(apply(&mut state, Change::PackageDropped { id: "q".into() }), Changed);
    assert_eq!(apply(&mut state, Change::PackageDropped { id: "q".into() }), Unchanged);
    assert_eq!(apply(&mut state, Change::DhtRemoved { key: "k".into() }), Changed);
    assert_eq!(apply(&mut state, Change::DhtRemoved { key: "k".into() }), Unchanged);
    assert_eq!((state.value_bytes(), view.value_bytes()), (0, 16));
    assert_eq!((view.packages().count(), view.dht_entries().count()), (2, 1));
}

#[test]
fn bans_run_out() {
    let (mut state, key) = full_peer();
    assert_eq!(apply(&mut state, ban(&key, 100)), Unchanged);
    assert_eq!(apply(&mut state, ban(&key, 200)), Changed);
    assert!(state.ban(&key).unwrap().is_active(at(199)));
    assert!(!state.ban(&key).unwrap().is_active(at(200)));
    assert!(!state.has_expired(at(199)) && state.has_expired(at(200)));
    assert_eq!(apply(&mut state, Change::Expired { at: at(199) }), Unchanged);
    assert_eq!(apply(&mut state, Change::Expired { at: at(200) }), Changed);
    assert_eq!(apply(&mut state, Change::Unbanned { peer: key.clone() }), Unchanged);
    apply(&mut state, ban(&key, 300));
    assert_eq!(apply(&mut state, Change::Unbanned { peer: key }), Changed);
    assert_eq!(state.bans().count(), 0);
}

#[test]
fn bootstrap_nodes_keep_their_order() {
    let mut state = State::default();
    let add = |node: &str| Change::BootstrapAdded { node: node.into() };
    for node in ["b", "a", "c"] {
        assert_eq!(apply(&mut state, add(node)), Changed);
        assert_eq!(apply(&mut state, add(node)), Unchanged);
    }
    let view = state.clone();
    let remove = Change::BootstrapRemoved { node: "a".into() };
    assert_eq!(apply(&mut state, remove.clone()), Changed);
    assert_eq!(apply(&mut state, remove), Unchanged);
    assert_eq!(state.bootstrap_nodes(), ["b".into(), "c".into()]);
    let replace = Change::BootstrapReplaced { nodes: vec!["z".into(), "b".into(), "z".into()] };
    assert_eq!(apply(&mut state, replace.clone()), Changed);
    assert_eq!(apply(&mut state, replace), Unchanged);
    assert_eq!(state.bootstrap_nodes(), ["z".into(), "b".into()]);
    assert_eq!(view.bootstrap_nodes().len(), 3);
    assert!(format!("{state:?}").starts_with("State { counts: Counts { peers: 0,"));
}
