//! Records: compact, appended, and clear about what they do not know.

use super::*;
use crate::{Error, ErrorKind};

fn encoded(changes: &[Change]) -> Vec<u8> {
    let mut out = vec![0xee];
    encode(changes, &mut out).unwrap();
    assert_eq!(out.remove(0), 0xee, "what was there stays");
    out
}

#[test]
fn usual_changes_are_small() {
    let peer = peer(1);
    let retrieval = Change::RetrievalSucceeded { peer: peer.clone(), at: at(1), response_ms: 120 };
    assert!(encoded(&[retrieval]).len() <= 42);
    let seen = Change::PeerSeen { peer, at: at(1), addresses: Vec::new() };
    assert_eq!(encoded(&[seen]).len(), 1 + 33 + 6 + 1);
    let value = vec![7; 100_000].into();
    assert_eq!(encoded(&[Change::DhtPut { key: "k".into(), value, at: at(1) }]).len(), 100_012);
}

#[test]
fn several_changes_share_a_payload() {
    let changes = [
        Change::PeerVerified { peer: peer(1), verified: true },
        Change::DhtRemoved { key: "k".into() },
        Change::Expired { at: at(5) },
    ];
    let payload = encoded(&changes);
    let back: Vec<_> = decode(&payload).map(Result::unwrap).collect();
    assert_eq!(back, changes);
    assert_eq!(decode(&[]).count(), 0);
}

#[test]
fn what_is_not_known_is_said_to_be_newer() {
    let mut payload = encoded(&[Change::DhtRemoved { key: "k".into() }]);
    let offset = payload.len();
    payload.extend([0x7f, 1, 2, 3]);
    let back: Vec<_> = decode(&payload).collect();
    assert_eq!(back.len(), 2);
    assert!(back[0].is_ok());
    assert_eq!(back[1], Err(DecodeError::UnknownChange { offset }));
    let error = Error::from(DecodeError::UnknownChange { offset });
    assert_eq!(error.kind(), ErrorKind::NewerVersion);
    assert!(error.to_string().contains("upgrade"), "{error}");
}

#[test]
fn cut_payloads_never_panic() {
    let payload = encoded(&[
        Change::PeerProfiled {
            peer: peer(1),
            agent: Some("a".into()),
            protocols: vec!["/x".into()],
        },
        Change::Banned {
            peer: PeerKey::from_text("odd"),
            at: at(0),
            until: at(9),
            reason: "r".into(),
            source: "s".into(),
        },
    ]);
    for end in 0..payload.len() {
        decode(&payload[..end]).for_each(drop);
        let mut flipped = payload.clone();
        flipped[end] ^= 0xff;
        decode(&flipped).for_each(drop);
    }
}

#[test]
fn bans_are_told_apart() {
    let unban = Change::Unbanned { peer: peer(2) };
    assert!(unban.is_ban());
    assert_eq!((unban.kind(), unban.peer()), ("unbanned", Some(&peer(2))));
    let expired = Change::Expired { at: at(0) };
    assert!(!expired.is_ban());
    assert_eq!((expired.kind(), expired.peer()), ("expired", None));
}
