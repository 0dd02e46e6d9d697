//! A document read in two pieces reads as in one, and as in general.

use super::{super::split::Rows, *};

/// Ids as they stand in the document, in the order of what they say.
const IDS: [&str; 4] = ["a", "a\\n", "a b", "\\u0062"];

fn seen(id: &str) -> String {
    format!(
        "\n    {{\n      \"peer_id\": \"{id}\",\n      \"addresses\": [\n        \
         \"/ip4/1.2.3.4/tcp/1\"\n      ],\n      \"last_seen\": \"2026-01-01T00:00:00Z\"\n    }}"
    )
}

fn reputation(id: &str) -> String {
    format!(
        "\n    {{\n      \"peer_id\": \"{id}\",\n      \"successful_retrievals\": 1,\n      \
         \"failed_retrievals\": 0,\n      \"last_seen\": \"2026-01-01T00:00:00Z\",\n      \
         \"avg_response_time_ms\": 5,\n      \"location\": null,\n      \
         \"packages_provided\": 0\n    }}"
    )
}

fn rows(ids: &[&str], row: impl Fn(&str) -> String) -> String {
    ids.iter().map(|id| row(id)).collect::<Vec<_>>().join(",")
}

/// A sealed document with peers and reputations in this order.
fn document_of(peers: &[&str], reputations: &[&str]) -> Vec<u8> {
    let list = |name: &str, rows: String| match rows.len() {
        0 => format!("\"{name}\": []"),
        _ => format!("\"{name}\": [{rows}\n  ]"),
    };
    let text = String::from_utf8(document(&State::default())).unwrap();
    let text = text
        .replace("\"peers\": []", &list("peers", rows(peers, seen)))
        .replace("\"peers\": 0", &format!("\"peers\": {}", peers.len()))
        .replace("\"reputation\": []", &list("reputation", rows(reputations, reputation)));
    let mut bytes = text.into_bytes();
    reseal(&mut bytes);
    bytes
}

/// What both ways give, which is the same.
fn read_both(bytes: &[u8], limits: Limits, what: &str) -> Option<(Vec<u8>, String)> {
    let [one, two] = [false, true].map(|is_shared| read_by(bytes, limits, is_shared));
    let (one, two) = (one.as_ref().map(content), two.as_ref().map(content));
    assert_eq!(one, two, "{what}");
    one
}

fn in_general(bytes: &[u8]) -> (Vec<u8>, String) {
    match read_in_general(bytes, Limits::default()) {
        Reading::Whole(loaded) => content(&loaded),
        other => panic!("{other:?}"),
    }
}

fn is_ascending(ids: &[usize]) -> bool {
    ids.is_sorted_by(|one, next| one < next)
}

/// All lists of so many ids, in any order and with any of them twice.
fn lists(most: u32) -> Vec<Vec<usize>> {
    let of_length = |length: u32| {
        (0..IDS.len().pow(length)).map(move |number| {
            (0..length).map(|place| number / IDS.len().pow(place) % IDS.len()).collect()
        })
    };
    (0..=most).flat_map(of_length).collect()
}

/// Both ways take this document if it is in order, and only then.
fn check(peers: &[usize], reputations: &[usize]) {
    let texts = |ids: &[usize]| ids.iter().map(|id| IDS[*id]).collect::<Vec<_>>();
    let bytes = document_of(&texts(peers), &texts(reputations));
    let what = format!("{peers:?} {reputations:?}");
    let own = read_both(&bytes, Limits::default(), &what);
    assert_eq!(own.is_some(), is_ascending(peers) && is_ascending(reputations), "{what}");
    if let Some(own) = own {
        assert_eq!(own, in_general(&bytes), "{what}");
    }
}

#[test]
fn two_pieces_are_read_where_one_is_whatever_the_order_of_the_ids() {
    let short = lists(2);
    for peers in &short {
        short.iter().for_each(|reputations| check(peers, reputations));
    }
    for ids in lists(4) {
        check(&ids, &[1, 2]);
        check(&[1, 2], &ids);
        check(&[0, 1, 2, 3], &ids);
    }
}

#[test]
fn both_lists_are_cut_at_the_peer_in_the_middle() {
    let peers = rows(&["b", "d", "f", "h"], seen);
    for (ids, below) in [
        (&["a", "b", "c", "d", "e", "f", "g"][..], 5),
        (&["a", "b"], 2),
        (&["a"], 1),
        (&["f"], 0),
        (&["i", "j"], 0),
        (&[], 0),
    ] {
        let reputations = rows(ids, reputation);
        let whole = Rows { peers: peers.as_bytes(), reputations: reputations.as_bytes() };
        let ([first, second], pivot) = whole.cut().unwrap();
        assert_eq!(*pivot, *b"f");
        assert_eq!(first.peers, rows(&["b", "d"], seen).as_bytes());
        assert_eq!(second.peers, rows(&["f", "h"], seen).as_bytes());
        let (low, high) = ids.split_at(below);
        assert_eq!(first.reputations, rows(low, reputation).as_bytes(), "{ids:?}");
        assert_eq!(second.reputations, rows(high, reputation).as_bytes(), "{ids:?}");
    }
    for few in [&[][..], &["b"]] {
        let peers = rows(few, seen);
        let whole = Rows { peers: peers.as_bytes(), reputations: &[] };
        assert!(whole.cut().is_none(), "{few:?}");
    }
}

#[test]
fn a_limit_holds_for_the_sum_of_both_pieces() {
    let bytes = document_of(&["b", "d", "f", "h"], &["a", "b", "g", "i"]);
    for peers in 0..10 {
        let limits = Limits { peers, ..Limits::default() };
        let own = read_both(&bytes, limits, &format!("at most {peers}"));
        assert_eq!(own.is_some(), peers >= 7, "{peers}");
    }
}

/// The lists behind that of reputations have rows that look like those before them.
#[test]
fn one_byte_changed_anywhere_is_the_same_to_both() {
    let mut state = State::default();
    let at = || Time::from_text("2026-01-01T00:00:00Z").unwrap();
    for id in ["a", "c\n", "e", "g"] {
        let (peer, addresses) = (PeerKey::from_text(id), Vec::new());
        state.apply(&Change::PeerSeen { peer, at: at(), addresses }).unwrap();
    }
    let peer = PeerKey::from_text("e");
    state.apply(&Change::PeerVerified { peer: peer.clone(), verified: true }).unwrap();
    let (reason, source) = ("bad".into(), "us".into());
    state.apply(&Change::Banned { peer, at: at(), until: at(), reason, source }).unwrap();
    for id in ["c\n", "d", "e"] {
        let peer = PeerKey::from_text(id);
        let change = Change::RetrievalSucceeded { peer, at: at(), response_ms: 5 };
        state.apply(&change).unwrap();
    }
    let whole = document(&state);
    assert!(read_both(&whole, Limits::default(), "as it is").is_some());
    for at in 0..whole.len() {
        for flip in [0x01, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= flip;
            let what = format!("{at} with {flip}");
            assert!(read_both(&bytes, Limits::default(), &what).is_none(), "{what}: not sealed");
            if at < bytes.len() - 19 {
                reseal(&mut bytes);
                read_both(&bytes, Limits::default(), &what);
            }
        }
        // One byte removed.
        let mut bytes = [&whole[..at], &whole[at + 1..]].concat();
        if at < bytes.len() - 19 {
            reseal(&mut bytes);
            read_both(&bytes, Limits::default(), &format!("without {at}"));
        }
    }
}

#[test]
fn a_long_document_is_read_as_in_general() {
    let ids: Vec<String> = (0..4000).map(|number| format!("peer {number:04}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let bytes = document_of(&ids, &ids[1000..]);
    assert!(bytes.len() > SHARED_BYTES_MIN);
    let own = read_own(&bytes, Limits::default()).unwrap();
    assert_eq!(content(&own), in_general(&bytes));
}
