//! Any changes in any order: the effect is told truly, the counters are right, clones stay.

use proptest::prelude::*;

use super::*;

/// Everything in a state, in an order of its own.
pub(crate) fn content(state: &State) -> String {
    let mut peers: Vec<_> = state.peers().map(|row| format!("{row:?}")).collect();
    let mut dht: Vec<_> = state.dht_entries().map(|row| format!("{row:?}")).collect();
    let mut packages: Vec<_> = state.packages().map(|row| format!("{row:?}")).collect();
    let mut bans: Vec<_> = state.bans().map(|row| format!("{row:?}")).collect();
    for rows in [&mut peers, &mut dht, &mut packages, &mut bans] {
        rows.sort_unstable();
    }
    format!("{peers:?} {dht:?} {packages:?} {bans:?} {:?}", state.bootstrap_nodes())
}

fn check_counters(state: &State) {
    let count = |has: fn(&PeerEntry) -> bool| state.peers().filter(|(_, row)| has(row)).count();
    let counts = state.counts();
    assert_eq!(counts.peers, count(|row| row.seen.is_some()));
    assert_eq!(counts.reputation, count(|row| row.reputation.is_some()));
    assert_eq!(counts.profiles, count(|row| row.profile.is_some()));
    assert_eq!(count(|row| *row == PeerEntry::default()), 0, "no empty entry stays");
    let seen = state.peers().filter_map(|(_, row)| row.seen.as_ref());
    let most = seen.map(|seen| seen.addresses.len()).max().unwrap_or_default();
    assert!(most <= state.peers.most_addresses());
    let times = state.peers().filter_map(|(_, row)| Some(row.seen.as_ref()?.last_seen));
    assert!(times.max().unwrap_or_default() <= state.peers.latest());
    let values = state.dht_entries().map(|(_, row)| row.value.len());
    let sum: usize = values.chain(state.packages().map(|(_, row)| row.data.len())).sum();
    assert_eq!(state.value_bytes(), sum as u64);
}

prop_compose! {
    pub(crate) fn change()(
        kind in 0..26_u8,
        who in 0..6_u8,
        ms in prop_oneof![0..3_i64, 300_000..300_004_i64],
        n in 0..3_u8,
        texts in prop::collection::vec("[a-c]", 0..4),
    ) -> Change {
        let (peer, at) = (peer(who), at(ms));
        let addresses = texts.iter().map(|text| Address::from_text(text)).collect();
        let boxed: Vec<Box<str>> = texts.iter().map(|text| text.as_str().into()).collect();
        let name = || boxed.first().cloned().unwrap_or_default();
        let value = || vec![n; usize::from(n)].into();
        let location = || {
            let latitude = f64::from(n);
            (n > 0).then_some(GeoLocation { latitude, longitude: -0.0, region: None })
        };
        match kind {
            0 => Change::PeerSeen { peer, at, addresses },
            1 => Change::AddressesAdded { peer, addresses },
            2 => Change::AddressesReplaced { peer, addresses },
            3 => Change::AddressesRemoved { peer, addresses },
            4 => Change::PeerProfiled { peer, agent: (n > 1).then(name), protocols: boxed },
            5 => Change::PeerVerified { peer, verified: n > 0 },
            6 => Change::PeerForgotten { peer },
            7 => Change::Evicted { peer },
            8 => Change::PeerRemoved { peer },
            9 => Change::PeerSet { peer, last_seen: at, addresses },
            10 => Change::RetrievalSucceeded { peer, at, response_ms: n.into() },
            11 => Change::RetrievalFailed { peer, at },
            12 => Change::PackagesProvided { peer, count: n.into() },
            13 => Change::LocationSet { peer, location: location() },
            14 => {
                let location = location().map(Box::new);
                let reputation = Reputation { last_seen: at, location, ..Reputation::default() };
                Change::ReputationSet { peer, reputation }
            }
            15 => Change::ReputationRemoved { peer },
            16 => Change::DhtPut { key: name(), value: value(), at },
            17 => Change::DhtRemoved { key: name() },
            18 => Change::PackageCached { id: name(), data: value(), at },
            19 => Change::PackageDropped { id: name() },
            20 => Change::BootstrapAdded { node: name() },
            21 => Change::BootstrapRemoved { node: name() },
            22 => Change::BootstrapReplaced { nodes: boxed },
            23 => Change::Banned { peer, at, until: at, reason: name(), source: name() },
            24 => Change::Unbanned { peer },
            _ => Change::Expired { at },
        }
    }
}

fn since_epoch(ms: i64) -> Time {
    DateTime::from_timestamp_millis(ms).unwrap().into()
}

/// Such changes as are deferred, half of the time.
pub(crate) fn often_deferred() -> impl Strategy<Value = Change> {
    // Of the few times before the epoch none is later than that of a peer that was never seen.
    let times = prop_oneof![(0..60_i64).prop_map(at), (-2..2_i64).prop_map(since_epoch)];
    let deferred = (0..60_u8, times, 0..4_u64).prop_map(|(who, at, n)| {
        let peer = peer(who);
        match n {
            0 => Change::RetrievalFailed { peer, at },
            1 => Change::RetrievalSucceeded { peer, at, response_ms: n },
            2 => Change::PeerSeen { peer, at, addresses: Vec::new() },
            _ => Change::PeerSeen { peer, at, addresses: addresses(&["a", "b"]) },
        }
    });
    prop_oneof![change(), deferred]
}

/// A state in two parts, as the queue has it under its two locks.
struct Live {
    state: LiveState,
    peers: LivePeers,
}

/// How far a thread comes that found enough changes deferred.
#[derive(Clone, Copy, Debug)]
enum Pass {
    Nothing,
    Receive,
    Work,
}

impl Live {
    fn append(&mut self, changes: &[Change], pass: Pass) -> Result<Effect, crate::Error> {
        let mut one = changes.first().cloned().filter(|_| changes.len() == 1);
        let effect = if self.state.defer(&mut one)? {
            Effect::Changed
        } else if let Some(effect) = self.state.apply_apart(changes) {
            effect?
        } else {
            self.state.apply_all(&mut self.peers, changes)?
        };
        match pass {
            Pass::Nothing => {}
            Pass::Receive => self.peers.receive(&mut self.state),
            Pass::Work => {
                self.peers.receive(&mut self.state);
                self.peers.work();
            }
        }
        Ok(effect)
    }

    fn view(&mut self) -> State {
        self.state.view(&mut self.peers)
    }
}

proptest! {
    #[test]
    fn effects_and_counters_are_true(
        changes in prop::collection::vec(change(), 0..80),
        tight: bool,
    ) {
        let limits = Limits {
            peers: 2,
            addresses_per_peer: 2,
            dht_entries: 2,
            packages: 2,
            bootstrap_nodes: 2,
            bans: 2,
            value_bytes: 4,
        };
        let mut state = State::new(if tight { limits } else { Limits::default() });
        let mut replayed = state.clone();
        for change in changes {
            let view = state.clone();
            let before = content(&state);
            let expires = matches!(&change, Change::Expired { at } if state.has_expired(*at));
            let effect = state.apply(&change);
            let is_changed = content(&state) != before;
            match &effect {
                Ok(effect) => prop_assert_eq!(*effect == Effect::Changed, is_changed),
                Err(_) => prop_assert!(tight && !is_changed),
            }
            if matches!(change, Change::Expired { .. }) {
                prop_assert_eq!(expires, is_changed);
            }
            prop_assert_eq!(content(&view), before);
            check_counters(&state);
            let mut payload = Vec::new();
            encode(&[change], &mut payload).unwrap();
            for change in decode(&payload) {
                prop_assert_eq!(replayed.apply(&change.unwrap()).ok(), effect.clone().ok());
            }
        }
        prop_assert_eq!(content(&replayed), content(&state));
    }

    /// What is applied in place because nothing can refuse it is refused by nothing; and a batch is
    /// applied wholly or not at all.
    #[test]
    fn batches_stand_or_fall_together(
        before in prop::collection::vec(change(), 0..12),
        batch in prop::collection::vec(change(), 0..5),
        most in 1..9_usize,
        value_bytes in 0..30_u64,
    ) {
        let mut limits = Limits {
            peers: most,
            addresses_per_peer: 3,
            dht_entries: most,
            packages: most,
            bootstrap_nodes: most,
            bans: most,
            value_bytes,
        };
        let mut state = State::new(limits);
        for change in &before {
            state.apply(change).ok();
        }
        // Limits may have been lowered since.
        limits.addresses_per_peer = 2;
        limits.peers = most.div_ceil(2);
        state.limits = limits;
        let mut one_by_one = state.clone();
        let all: Result<Vec<_>, _> = batch.iter().map(|change| one_by_one.apply(change)).collect();
        let is_sure = state.is_sure_of(&batch);
        prop_assert!(!is_sure || all.is_ok(), "it was sure of {:?}", batch);
        state.fetch(&batch);
        let unchanged = content(&state);
        match state.apply_all(&batch) {
            Ok(effect) => {
                prop_assert_eq!(content(&state), content(&one_by_one));
                let is_changed = all.unwrap().contains(&Effect::Changed);
                prop_assert_eq!(effect == Effect::Changed, is_changed);
            }
            Err(_) => {
                prop_assert!(all.is_err());
                prop_assert_eq!(content(&state), unchanged);
            }
        }
        check_counters(&state);
    }

    /// What is deferred makes no difference that anybody can see.
    #[test]
    fn a_live_state_is_what_its_changes_make(
        records in prop::collection::vec(
            (
                prop::collection::vec(often_deferred(), 1..3),
                prop_oneof![Just(Pass::Nothing), Just(Pass::Receive), Just(Pass::Work)],
            ),
            0..80,
        ),
        looks in prop::collection::vec(0..80_usize, 0..4),
        most in prop_oneof![1..9_usize, 50..70_usize],
        before in prop::collection::vec(change(), 0..12),
        fewer in 0..3_usize,
    ) {
        let mut limits = Limits { peers: most, addresses_per_peer: 4, ..Limits::default() };
        let mut state = State::new(limits);
        for change in &before {
            state.apply(change).ok();
        }
        // Limits may have been lowered since.
        limits.peers = most.saturating_sub(fewer);
        limits.addresses_per_peer = 4 - fewer;
        state.limits = limits;
        let (rest, peers) = part(state.clone());
        let mut live = Live { state: rest, peers };
        let mut views = Vec::new();
        for (number, (changes, pass)) in records.iter().enumerate() {
            let told = |told: Result<Effect, crate::Error>| told.map_err(|error| error.to_string());
            prop_assert_eq!(told(live.append(changes, *pass)), told(state.apply_all(changes)));
            if looks.contains(&number) {
                prop_assert_eq!(content(&live.view()), content(&state));
                views.push((live.view(), content(&state)));
            }
        }
        prop_assert_eq!(content(&live.view()), content(&state));
        check_counters(&live.view());
        for (view, before) in views {
            prop_assert_eq!(content(&view), before);
        }
    }
}
