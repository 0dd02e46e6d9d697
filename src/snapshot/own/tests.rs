//! What is written is read without JSON in general, and reads the same either way.

mod pieces;

use proptest::prelude::*;

use super::{
    super::{
        read::{Reading, read, read_in_general},
        write::write,
    },
    read as read_own, *,
};
use crate::state::{Address, State};

fn document(state: &State) -> Vec<u8> {
    let meta = Meta {
        store_id: StoreId::from_bytes([0xa5; 16]),
        lsn: Lsn::new(77),
        segment: 3,
        saved_at: Time::from_text("2026-02-03T04:05:06.007Z").unwrap().get(),
    };
    let mut bytes = Vec::new();
    write(state, &meta, &mut |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })
    .unwrap();
    bytes
}

/// Text as it may stand in a row: with quotes, escapes, controls, and beyond ASCII.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z/]{0,20}",
        1 => any::<String>(),
        1 => Just("a\"b\\c\u{0}\u{1f}\u{7f}\n\u{e9}\u{2028}\u{1f600}".to_owned()),
        1 => Just("\\".to_owned()),
    ]
}

fn id() -> impl Strategy<Value = PeerKey> {
    let of = |prefix: &'static [u8]| {
        (0..4_u8, 0..4_u8).prop_map(move |(first, last)| {
            let mut bytes = [prefix, &[first; 16], &[last; 16]].concat();
            bytes[prefix.len() + 3] = last;
            PeerKey::from(crate::PeerId::from_bytes(&bytes).unwrap())
        })
    };
    prop_oneof![
        6 => of(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20]),
        3 => of(&[0x12, 0x20]),
        2 => text().prop_map(|text| PeerKey::from_text(&text)),
    ]
}

fn time() -> impl Strategy<Value = Time> {
    let seconds = prop_oneof![0..4_000_000_000_i64, -70_000_000_000_i64..300_000_000_000];
    let nanos =
        prop_oneof![Just(0_u32), (0..1000_u32).prop_map(|ms| ms * 1_000_000), 0..999_999_999_u32];
    (seconds, nanos).prop_map(|(seconds, nanos)| {
        chrono::DateTime::from_timestamp(seconds, nanos).unwrap().into()
    })
}

fn address() -> impl Strategy<Value = Address> {
    let usual = any::<([u8; 4], u16)>().prop_map(|(host, port)| {
        format!("/ip4/{}/udp/{port}/quic-v1", std::net::Ipv4Addr::from(host))
    });
    prop_oneof![4 => usual, 1 => text()].prop_map(|text| Address::from_text(&text))
}

fn location() -> impl Strategy<Value = Option<GeoLocation>> {
    let place = (-90.0..=90.0, -180.0..=180.0, prop::option::of(text()));
    prop::option::of(place.prop_map(|(latitude, longitude, region)| GeoLocation {
        latitude,
        longitude,
        region: region.map(Into::into),
    }))
}

fn change() -> impl Strategy<Value = Change> {
    let list = |most| prop::collection::vec(text().prop_map(Box::<str>::from), 0..most);
    let bytes = || prop::collection::vec(any::<u8>(), 0..90).prop_map(Box::<[u8]>::from);
    prop_oneof![
        4 => (id(), time(), prop::collection::vec(address(), 0..20))
            .prop_map(|(peer, at, addresses)| Change::PeerSeen { peer, at, addresses }),
        4 => (id(), time(), any::<u64>()).prop_map(|(peer, at, response_ms)| {
            Change::RetrievalSucceeded { peer, at, response_ms }
        }),
        1 => (id(), location()).prop_map(|(peer, location)| Change::LocationSet { peer, location }),
        1 => (id(), any::<bool>())
            .prop_map(|(peer, verified)| Change::PeerVerified { peer, verified }),
        1 => (id(), prop::option::of(text()), list(4)).prop_map(|(peer, agent, protocols)| {
            Change::PeerProfiled { peer, agent: agent.map(Into::into), protocols }
        }),
        1 => (text(), bytes(), time())
            .prop_map(|(key, value, at)| Change::DhtPut { key: key.into(), value, at }),
        1 => (text(), bytes(), time())
            .prop_map(|(id, data, at)| Change::PackageCached { id: id.into(), data, at }),
        1 => list(4).prop_map(|nodes| Change::BootstrapReplaced { nodes }),
        1 => (id(), time(), time(), text(), text()).prop_map(|(peer, at, until, reason, source)| {
            Change::Banned { peer, at, until, reason: reason.into(), source: source.into() }
        }),
    ]
}

fn content(loaded: &Loaded) -> (Vec<u8>, String) {
    let state = &loaded.state;
    let said = format!("{:?} {:?} {state:?} {}", loaded.meta, loaded.skipped, state.value_bytes());
    (document(state), said)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn whatever_is_written_is_read_and_as_in_general(
        changes in prop::collection::vec(change(), 0..60),
        peers in 0..20_usize,
        count in 0..9_usize,
    ) {
        let mut state = State::default();
        for change in &changes {
            // What a limit refuses is not written.
            state.apply(change).ok();
        }
        let bytes = document(&state);
        let general = |limits| match read_in_general(&bytes, limits) {
            Reading::Whole(loaded) => content(&loaded),
            other => panic!("{other:?}"),
        };
        for is_shared in [false, true] {
            let own = read_by(&bytes, Limits::default(), is_shared);
            let own = content(&own.expect("it stands as it was written"));
            prop_assert_eq!(&own, &general(Limits::default()));
            prop_assert_eq!(own.0, bytes.clone());
        }
        // Limits that keep rows out hold whoever reads.
        let limits = Limits {
            peers,
            addresses_per_peer: count,
            dht_entries: count,
            packages: count,
            bootstrap_nodes: count,
            bans: count,
            value_bytes: 300,
        };
        match read(&bytes, limits) {
            Reading::Whole(loaded) => prop_assert_eq!(content(&loaded), general(limits)),
            other => panic!("{other:?}"),
        }
        if let Some(own) = read_by(&bytes, limits, true) {
            prop_assert_eq!(content(&own), general(limits));
        }
    }

    /// One byte changed, or removed, or come in: both readers take it for the same thing.
    #[test]
    fn what_is_read_here_is_read_the_same_in_general(
        changes in prop::collection::vec(change(), 0..12),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![any::<u8>(), prop::sample::select(&b"\"\\,:{}[] \n0129aeE+-.tn"[..])],
        kind in 0..3_u8,
    ) {
        let mut state = State::default();
        for change in &changes {
            state.apply(change).ok();
        }
        let mut bytes = document(&state);
        let seal = bytes.len() - 19;
        let at = at.index(seal);
        match kind {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            _ => drop(bytes.remove(at)),
        }
        reseal(&mut bytes);
        let own = read_by(&bytes, Limits::default(), false);
        let shared = read_by(&bytes, Limits::default(), true);
        prop_assert_eq!(shared.as_ref().map(content), own.as_ref().map(content));
        if let Some(own) = own {
            match read_in_general(&bytes, Limits::default()) {
                Reading::Whole(loaded) => prop_assert_eq!(content(&loaded), content(&own)),
                other => panic!("in general it is {other:?}"),
            }
        }
    }
}

fn reseal(bytes: &mut Vec<u8>) {
    let end = bytes.len() - 19;
    let crc = crc32fast::hash(&bytes[..end]);
    bytes.truncate(end);
    bytes.extend_from_slice(format!("\"crc32:{crc:08x}\"\n}}\n").as_bytes());
}

#[test]
fn the_golden_document_is_read_here() {
    let golden = include_bytes!("../../../tests/golden/v1/p2p-state.json");
    assert!(read_own(golden, Limits::default()).is_some());
    for end in 0..golden.len() {
        assert!(read_own(&golden[..end], Limits::default()).is_none(), "cut at {end}");
    }
    let mut longer = golden.to_vec();
    longer.push(b'\n');
    assert!(read_own(&longer, Limits::default()).is_none());
}

/// As somebody may have edited and sealed it: rows twice, or in another order.
#[test]
fn rows_twice_or_out_of_order_are_left_to_the_general_reader() {
    let row = |id: &str| {
        format!(
            "\n    {{\n      \"peer_id\": \"{id}\",\n      \"addresses\": [],\n      \
             \"last_seen\": \"2026-01-01T00:00:00Z\"\n    }}"
        )
    };
    let empty = String::from_utf8(document(&State::default())).unwrap();
    for (ids, is_own) in [(["a", "b"], true), (["b", "a"], false), (["a", "a"], false)] {
        let rows = format!("\"peers\": [{},{}\n  ]", row(ids[0]), row(ids[1]));
        let text = empty.replace("\"peers\": []", &rows).replace("\"peers\": 0", "\"peers\": 2");
        let mut bytes = text.into_bytes();
        reseal(&mut bytes);
        assert_eq!(read_own(&bytes, Limits::default()).is_some(), is_own, "{ids:?}");
        assert!(matches!(read(&bytes, Limits::default()), Reading::Whole(_)), "{ids:?}");
    }
}
