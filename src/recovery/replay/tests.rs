//! Whoever applies the records, and however many at a time: the state is the same.

use proptest::prelude::*;

use super::*;
use crate::state::{
    Change, Limits, encode,
    tests::random::{change, content},
};

/// What replay tells: the state, the records, those that were refused.
type Told = (String, u64, (u64, Option<(Lsn, String)>));

fn replayed(records: &[Vec<Change>], before: &State, size: Size) -> Told {
    let mut state = before.clone();
    let mut stream = Stream::into(&mut state, size);
    for (record, lsn) in records.iter().zip(1..) {
        let mut payload = Vec::new();
        encode(record, &mut payload).unwrap();
        stream.add(Lsn::new(lsn), &payload).unwrap();
    }
    let (count, refused) = stream.finish();
    (content(&state), count, (refused.count, refused.first))
}

fn one_by_one(records: &[Vec<Change>], before: &State) -> Told {
    let mut state = before.clone();
    let mut refused = Refused::default();
    for (record, lsn) in records.iter().zip(1..) {
        if let Err(error) = state.apply_all(record) {
            refused.add(Lsn::new(lsn), &error);
        }
    }
    (content(&state), records.len() as u64, (refused.count, refused.first))
}

/// Room for all but now and then the last of the rows.
fn limits(most: usize) -> Limits {
    let mut limits = Limits::default();
    (limits.peers, limits.dht_entries, limits.packages) = (most, most, most);
    (limits.bans, limits.bootstrap_nodes, limits.addresses_per_peer) = (most, most, 1 + most % 3);
    limits.value_bytes = most as u64 * 4;
    limits
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 400 }))]

    #[test]
    fn a_crew_applies_what_one_thread_applies(
        before in prop::collection::vec(change(), 0..10),
        records in prop::collection::vec(prop::collection::vec(change(), 0..4), 0..60),
        most in prop_oneof![2..8_usize, 100..200_usize],
        block in 1..12_usize,
        threads in 0..6_usize,
    ) {
        let mut state = State::new(limits(most));
        for change in &before {
            state.apply(change).ok();
        }
        let expected = one_by_one(&records, &state);
        let size = Size { block, threads: Some(threads) };
        prop_assert_eq!(replayed(&records, &state, size), expected);
    }
}

#[test]
fn a_crew_is_hired_where_the_records_can_be_shared_out() {
    let seen = |who: u8| Change::PeerVerified {
        peer: crate::state::PeerKey::from_text(&format!("x{}", char::from(b'a' + who))),
        verified: true,
    };
    let mut state = State::new(limits(20));
    let mut stream = Stream::into(&mut state, Size { block: 4, threads: Some(2) });
    let add = |stream: &mut Stream<'_>, who: u8| {
        let mut payload = Vec::new();
        encode(&[seen(who)], &mut payload).unwrap();
        stream.add(Lsn::new(who.into()), &payload).unwrap();
    };
    (0..3).for_each(|who| add(&mut stream, who));
    assert!(stream.crew.is_none(), "a short journal needs none");
    (3..16).for_each(|who| add(&mut stream, who));
    assert!(stream.crew.is_some() && stream.state.counts().peers == 0, "the crew has the peers");
    (0..4).for_each(|who| add(&mut stream, who));
    assert!(stream.crew.is_some(), "there is room for four more");
    (0..4).for_each(|who| add(&mut stream, who));
    assert!(stream.crew.is_some(), "there is, if one looks again");
    (16..20).for_each(|who| add(&mut stream, who));
    assert!(stream.crew.is_some(), "for just as many");
    (0..4).for_each(|who| add(&mut stream, who));
    assert!(stream.crew.is_none(), "at the limit one thread takes them in order");
    let (replayed, refused) = stream.finish();
    assert_eq!((replayed, refused.count, state.counts().peers), (32, 0, 20));
}

#[test]
fn a_record_that_a_part_refuses_leaves_nothing_there() {
    let peer = || crate::state::PeerKey::from_text("xa");
    let at = crate::state::Time::EPOCH;
    let addresses = ["1", "2"].map(crate::state::Address::from_text).to_vec();
    let records = [
        vec![Change::PeerVerified { peer: peer(), verified: true }],
        vec![
            Change::RetrievalFailed { peer: peer(), at },
            Change::PeerSeen { peer: peer(), at, addresses },
        ],
    ];
    let mut limits = limits(100);
    limits.addresses_per_peer = 1;
    let state = State::new(limits);
    let told = replayed(&records, &state, Size { block: 1, threads: Some(2) });
    assert_eq!(told, one_by_one(&records, &state));
    assert_eq!(told.2.0, 1, "the second is refused");
    assert!(!told.0.contains("Reputation {"), "{}", told.0);
}

#[test]
fn large_values_are_applied_before_many_of_them_are_in_memory() {
    let mut state = State::new(Limits::default());
    let mut stream = Stream::into(&mut state, Size { block: 4096, threads: Some(2) });
    let at = crate::state::Time::EPOCH;
    for lsn in 1..=9 {
        let value = vec![7; 200 << 10].into();
        let put = Change::DhtPut { key: lsn.to_string().into(), value, at };
        let mut payload = Vec::new();
        encode(&[put], &mut payload).unwrap();
        stream.add(Lsn::new(lsn), &payload).unwrap();
        assert!(stream.block.bytes < 1 << 20 && stream.crew.is_none(), "lsn {lsn}");
    }
    assert_eq!(stream.state.counts().dht_entries, 6, "one block of six went in");
    assert_eq!(stream.finish().0, 9);
    assert_eq!(state.counts().dht_entries, 9);
}
