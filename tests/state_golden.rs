//! Golden: the bytes of every change, and what a script of changes adds up to.
//!
//! The bytes are on the disks of users. A line that does not match any more is a mistake in the
//! code, never in this file; a new variant adds a line at the end.

use std::fmt::Write;

use chrono::{DateTime, TimeZone, Utc};
use peer_journal::state::{
    Address, Change, Effect, GeoLocation, PeerKey, Reputation, State, Time, decode, encode,
};

/// Each variant in order: its name and its record bytes.
const BYTES: &str = "\
peer_seen 0000010101010101010101010101010101010101010101010101010101010101010180a08b91ad0702\
0008047f000001060fa1010e6e6f7420616e2061646472657373\n\
addresses_added 01019dff3b17d74cf4d38a50d8b6383e92d181a10395a5e73a726dcccbd21bf6f0b9010000\n\
addresses_replaced 0202090007383dd9f80011db0200030600010003060002\n\
addresses_removed 0303096e6f7420616e20696400\n\
peer_profiled 0403096e6f7420616e20696401096b75626f2f302e3330010e2f697066732f69642f312e302e30\n\
peer_verified 0503096e6f7420616e20696401\n\
peer_forgotten 0603096e6f7420616e206964\n\
evicted 0703096e6f7420616e206964\n\
peer_removed 0803096e6f7420616e206964\n\
peer_set 0903096e6f7420616e206964fe9f9fcab0c60100\n\
retrieval_succeeded 0a00020202020202020202020202020202020202020202020202020202020202020284a0\
8b91ad0778\n\
retrieval_failed 0b03096e6f7420616e20696481a08b91ad0701\n\
packages_provided 0c03096e6f7420616e206964ac02\n\
location_set 0d03096e6f7420616e20696401000000000020484000000000000027c001024555\n\
reputation_set 0e03096e6f7420616e206964030190a08b91ad077801000000000020484000000000000027c00\
102455509\n\
reputation_removed 0f03096e6f7420616e206964\n\
dht_put 10036b65790200ff88a08b91ad07\n\
dht_removed 11036b6579\n\
package_cached 1203706b67030102038ca08b91ad07\n\
package_dropped 1303706b67\n\
bootstrap_added 140c2f646e732f612f7463702f31\n\
bootstrap_removed 150c2f646e732f612f7463702f31\n\
bootstrap_replaced 160201620161\n\
banned 1703096e6f7420616e20696494a08b91ad0798a08b91ad07047370616d086f70657261746f72\n\
unbanned 1803096e6f7420616e206964\n\
expired 199ca08b91ad07\n\
";
/// The rows that the script leaves.
const ROWS: &str = r#"{
  "version": 2,
  "peers": [
    {
      "peer_id": "12D3KooW9tHTtS3inCZiYykw4u5G4frbjVFqhkmJX12gSNCVeH3e",
      "addresses": [
        "/tcp/2",
        "/tcp/1"
      ],
      "last_seen": "2026-01-01T00:00:00.010Z"
    },
    {
      "peer_id": "12D3KooWA9xeTdum9Pkd7Lkxp6NwEAwei86eQ1WakdhJftNtdcLU",
      "addresses": [
        "z"
      ],
      "last_seen": "2026-01-01T00:00:00.001Z"
    },
    {
      "peer_id": "not an id",
      "addresses": [
        "/tcp/1",
        "y"
      ],
      "last_seen": "1970-01-01T00:00:00Z"
    }
  ],
  "reputation": [
    {
      "peer_id": "12D3KooW9tHTtS3inCZiYykw4u5G4frbjVFqhkmJX12gSNCVeH3e",
      "successful_retrievals": 2,
      "failed_retrievals": 1,
      "last_seen": "2026-01-01T00:00:00.062Z",
      "avg_response_time_ms": 130,
      "location": {
        "latitude": 48.25,
        "longitude": -11.5,
        "region": "EU"
      },
      "packages_provided": 4
    },
    {
      "peer_id": "12D3KooWA63MKLSkZ6TPyFWTNo41wJAtTxtSiwpmCE2ecWLHtH1m",
      "successful_retrievals": 3,
      "failed_retrievals": 1,
      "last_seen": "2026-01-01T00:00:00.004Z",
      "avg_response_time_ms": 120,
      "location": {
        "latitude": 48.25,
        "longitude": -11.5,
        "region": "EU"
      },
      "packages_provided": 9
    }
  ],
  "dht_entries": [
    {
      "key": "key",
      "value": [
        0,
        255
      ],
      "stored_at": "2026-01-01T00:00:00.002Z"
    }
  ],
  "package_cache": [
    {
      "package_id": "new",
      "package_data": [
        1,
        2,
        3
      ],
      "cached_at": "2026-01-01T00:00:00.001Z"
    }
  ],
  "bootstrap_nodes": [
    "b",
    "c",
    "a"
  ],
  "saved_at": "2026-01-01T00:00:00Z"
}"#;

#[test]
fn the_bytes_of_every_change_stay() {
    let mut written = String::new();
    for (number, change) in (0_u8..).zip(one_of_each()) {
        let mut bytes = Vec::new();
        encode(std::slice::from_ref(&change), &mut bytes).unwrap();
        assert_eq!(bytes[0], number, "{} has moved", change.kind());
        let back: Vec<_> = decode(&bytes).map(Result::unwrap).collect();
        assert_eq!(back, std::slice::from_ref(&change));
        writeln!(written, "{} {}", change.kind(), data_encoding::HEXLOWER.encode(&bytes)).unwrap();
    }
    assert_eq!(written, BYTES);
}

#[test]
fn the_first_unused_number_is_unknown() {
    let next = u8::try_from(one_of_each().len()).unwrap();
    let mut payload = vec![next];
    payload.extend([0; 200]);
    assert!(decode(&payload).next().unwrap().is_err(), "give the new variant a golden line");
}

#[test]
fn a_script_adds_up_to_the_same_rows() {
    let mut state = State::default();
    let effects: String = script()
        .iter()
        .map(|change| match state.apply(change).unwrap() {
            Effect::Changed => '+',
            Effect::Unchanged => '-',
        })
        .collect();
    assert_eq!(effects, "+++++++-++++++++++++++++++++++++");
    let rows = serde_json::to_string_pretty(&state.to_rows(instant(0))).unwrap();
    assert_eq!(rows, ROWS);
    let counts = format!("{:?}", state.counts());
    assert_eq!(
        counts,
        "Counts { peers: 3, reputation: 2, dht_entries: 1, packages: 1, bootstrap_nodes: 3, \
         bans: 1, profiles: 1 }"
    );
    let bans: Vec<_> = state.bans().map(|(peer, ban)| (peer.to_string(), &*ban.reason)).collect();
    assert_eq!(bans, [("not an id".to_owned(), "spam")]);
}

fn instant(ms: i64) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(1_767_225_600_000 + ms).unwrap()
}

fn at(ms: i64) -> Time {
    instant(ms).into()
}

/// The peer of an Ed25519 key of 32 equal bytes.
fn peer(byte: u8) -> PeerKey {
    let bytes = [[0x00, 0x24, 0x08, 0x01, 0x12, 0x20].as_slice(), &[byte; 32]].concat();
    PeerKey::from_text(&bs58::encode(bytes).into_string())
}

fn addresses(texts: &[&str]) -> Vec<Address> {
    texts.iter().map(|text| Address::from_text(text)).collect()
}

fn reputation() -> Reputation {
    Reputation {
        successful_retrievals: 3,
        failed_retrievals: 1,
        last_seen: at(4),
        avg_response_time_ms: 120,
        location: Some(Box::new(place())),
        packages_provided: 9,
    }
}

fn place() -> GeoLocation {
    GeoLocation { latitude: 48.25, longitude: -11.5, region: Some("EU".into()) }
}

fn one_of_each() -> Vec<Change> {
    let sha256 = PeerKey::from_text("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N");
    let other = PeerKey::from_text("12D3KooWTest");
    let text = PeerKey::from_text("not an id");
    let nanos = Utc.timestamp_opt(1_767_225_600, 1).unwrap().into();
    vec![
        Change::PeerSeen {
            peer: peer(1),
            at: at(0),
            addresses: addresses(&["/ip4/127.0.0.1/tcp/4001", "not an address"]),
        },
        Change::AddressesAdded { peer: sha256, addresses: addresses(&[""]) },
        Change::AddressesReplaced { peer: other, addresses: addresses(&["/tcp/1", "/tcp/2"]) },
        Change::AddressesRemoved { peer: text.clone(), addresses: Vec::new() },
        Change::PeerProfiled {
            peer: text.clone(),
            agent: Some("kubo/0.30".into()),
            protocols: vec!["/ipfs/id/1.0.0".into()],
        },
        Change::PeerVerified { peer: text.clone(), verified: true },
        Change::PeerForgotten { peer: text.clone() },
        Change::Evicted { peer: text.clone() },
        Change::PeerRemoved { peer: text.clone() },
        Change::PeerSet { peer: text.clone(), last_seen: Time::EPOCH, addresses: Vec::new() },
        Change::RetrievalSucceeded { peer: peer(2), at: at(1), response_ms: 120 },
        Change::RetrievalFailed { peer: text.clone(), at: nanos },
        Change::PackagesProvided { peer: text.clone(), count: 300 },
        Change::LocationSet { peer: text.clone(), location: Some(place()) },
        Change::ReputationSet { peer: text.clone(), reputation: reputation() },
        Change::ReputationRemoved { peer: text.clone() },
        Change::DhtPut { key: "key".into(), value: vec![0, 0xff].into(), at: at(2) },
        Change::DhtRemoved { key: "key".into() },
        Change::PackageCached { id: "pkg".into(), data: vec![1, 2, 3].into(), at: at(3) },
        Change::PackageDropped { id: "pkg".into() },
        Change::BootstrapAdded { node: "/dns/a/tcp/1".into() },
        Change::BootstrapRemoved { node: "/dns/a/tcp/1".into() },
        Change::BootstrapReplaced { nodes: vec!["b".into(), "a".into()] },
        Change::Banned {
            peer: text.clone(),
            at: at(5),
            until: at(6),
            reason: "spam".into(),
            source: "operator".into(),
        },
        Change::Unbanned { peer: text },
        Change::Expired { at: at(7) },
    ]
}

/// Every change once more, and what a node does around it.
fn script() -> Vec<Change> {
    let odd = PeerKey::from_text("not an id");
    let seen = |byte, ms| Change::PeerSeen {
        peer: peer(byte),
        at: at(ms),
        addresses: addresses(&["/ip4/10.0.0.1/tcp/4001"]),
    };
    let fetched =
        |ms, response_ms| Change::RetrievalSucceeded { peer: peer(1), at: at(ms), response_ms };
    let cached = |id: &str, ms| Change::PackageCached {
        id: id.into(),
        data: vec![1, 2, 3].into(),
        at: at(ms),
    };
    let ban = |peer: &PeerKey, until| Change::Banned {
        peer: peer.clone(),
        at: at(1),
        until: at(until),
        reason: "spam".into(),
        source: "operator".into(),
    };
    let mut script = vec![
        seen(1, 10),
        seen(2, 20),
        seen(3, 30),
        seen(4, 40),
        seen(5, 50),
        Change::AddressesAdded { peer: odd.clone(), addresses: addresses(&["x", "/tcp/1", "y"]) },
        Change::AddressesRemoved { peer: odd.clone(), addresses: addresses(&["x"]) },
        seen(1, 5),
        Change::AddressesReplaced { peer: peer(1), addresses: addresses(&["/tcp/2", "/tcp/1"]) },
        Change::PeerVerified { peer: peer(1), verified: true },
        Change::PeerProfiled { peer: peer(1), agent: Some("a".into()), protocols: Vec::new() },
        fetched(60, 100),
        fetched(61, 200),
        Change::RetrievalFailed { peer: peer(1), at: at(62) },
        Change::PackagesProvided { peer: peer(1), count: 4 },
        Change::LocationSet { peer: peer(1), location: Some(place()) },
        Change::PeerForgotten { peer: peer(2) },
        Change::Evicted { peer: peer(3) },
        Change::PeerRemoved { peer: peer(4) },
        Change::ReputationSet { peer: peer(4), reputation: reputation() },
    ];
    script.extend([
        Change::PeerSet { peer: peer(5), last_seen: at(1), addresses: addresses(&["z"]) },
        Change::DhtPut { key: "gone".into(), value: vec![1].into(), at: at(1) },
        Change::DhtPut { key: "key".into(), value: vec![0, 0xff].into(), at: at(2) },
        Change::DhtRemoved { key: "gone".into() },
        cached("old", 0),
        cached("new", 1),
        Change::BootstrapReplaced { nodes: ["b", "a", "c"].map(Into::into).into() },
        Change::BootstrapRemoved { node: "a".into() },
        Change::BootstrapAdded { node: "a".into() },
        ban(&odd, 900_000),
        ban(&peer(1), 300_001),
        Change::Expired { at: at(300_001) },
    ]);
    script
}
