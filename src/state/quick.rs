//! The commonest changes as bytes of a record, written and read directly: what postcard makes of
//! them, written in a third of the time. Tests compare the two.

use super::{Address, Change, PeerKey, Time};

/// Variants of [`Change`], by their place in it.
const PEER_SEEN: u8 = 0;
const RETRIEVAL_SUCCEEDED: u8 = 10;
const RETRIEVAL_FAILED: u8 = 11;

/// Appends the change; false, and nothing appended, if it is none of these.
pub(super) fn encode(change: &Change, out: &mut Vec<u8>) -> bool {
    let (variant, peer, at) = match change {
        Change::PeerSeen { peer, at, .. } => (PEER_SEEN, peer, at),
        Change::RetrievalSucceeded { peer, at, .. } => (RETRIEVAL_SUCCEEDED, peer, at),
        Change::RetrievalFailed { peer, at } => (RETRIEVAL_FAILED, peer, at),
        _ => return false,
    };
    let Some((kind, key)) = peer.usual() else { return false };
    out.extend_from_slice(&[variant, kind]);
    out.extend_from_slice(key);
    time(*at, out);
    match change {
        Change::RetrievalSucceeded { response_ms, .. } => varint(*response_ms, out),
        Change::PeerSeen { addresses, .. } => {
            length(addresses.len(), out);
            addresses.iter().for_each(|each| address(each, out));
        }
        _ => {}
    }
    true
}

fn time(time: Time, out: &mut Vec<u8>) {
    let (word, rest) = time.words();
    varint(word, out);
    if let Some(rest) = rest {
        varint(rest.into(), out);
    }
}

fn address(address: &Address, out: &mut Vec<u8>) {
    let (is_text, bytes) = address.as_ref().parts();
    out.push(is_text.into());
    length(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn length(len: usize, out: &mut Vec<u8>) {
    varint(u64::try_from(len).unwrap_or(u64::MAX), out);
}

fn varint(mut number: u64, out: &mut Vec<u8>) {
    while number > 0x7f {
        out.push(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.push(u8::try_from(number).unwrap_or_default());
}

/// Reads what [`encode`] writes, and returns what stands behind it. `None` for anything else, which
/// is for postcard to read or to refuse.
pub(super) fn decode(bytes: &[u8]) -> Option<(Change, &[u8])> {
    let (&[variant, kind], rest) = bytes.split_first_chunk()?;
    if ![PEER_SEEN, RETRIEVAL_SUCCEEDED, RETRIEVAL_FAILED].contains(&variant) {
        return None;
    }
    let (key, rest) = rest.split_first_chunk()?;
    let peer = PeerKey::of_usual(kind, *key)?;
    let (at, rest) = take_time(rest)?;
    Some(match variant {
        PEER_SEEN => {
            let (addresses, rest) = postcard::take_from_bytes(rest).ok()?;
            (Change::PeerSeen { peer, at, addresses }, rest)
        }
        RETRIEVAL_SUCCEEDED => {
            let (response_ms, rest) = take_varint(rest)?;
            (Change::RetrievalSucceeded { peer, at, response_ms }, rest)
        }
        _ => (Change::RetrievalFailed { peer, at }, rest),
    })
}

fn take_time(bytes: &[u8]) -> Option<(Time, &[u8])> {
    let (word, after) = take_varint(bytes)?;
    let (nanos, after) = if word & 1 == 0 { (0, after) } else { take_varint(after)? };
    Some((Time::from_words(word, nanos.try_into().ok()?)?, after))
}

/// A number of at most nine bytes: 63 bits. Longer ones are rare.
fn take_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, bytes.get(index + 1..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> impl Strategy<Value = PeerKey> {
        let of_bytes = |prefix: &'static [u8]| {
            any::<[u8; 32]>().prop_map(move |bytes| {
                let id = crate::PeerId::from_bytes(&[prefix, &bytes].concat()).unwrap();
                PeerKey::from(id)
            })
        };
        prop_oneof![
            of_bytes(&[0x00, 0x24, 0x08, 0x01, 0x12, 0x20]),
            of_bytes(&[0x12, 0x20]),
            "[a-z]{0,200}".prop_map(|text| PeerKey::from_text(&text)),
        ]
    }

    fn addresses() -> impl Strategy<Value = Vec<Address>> {
        let address = prop_oneof![
            any::<([u8; 4], u16)>().prop_map(|(host, port)| {
                let host = std::net::Ipv4Addr::from(host);
                Address::from_text(&format!("/ip4/{host}/udp/{port}/quic-v1"))
            }),
            "[a-z/]{0,200}".prop_map(|text| Address::from_text(&text)),
        ];
        prop::collection::vec(address, 0..200)
    }

    proptest! {
        #[test]
        fn the_bytes_are_those_of_postcard(
            peer in keys(),
            seconds in -100_000_000_000_i64..300_000_000_000,
            nanos in prop_oneof![Just(0_u32), Just(5_000_000), 0..1_999_999_999_u32],
            response_ms in any::<u64>(),
            addresses in addresses(),
        ) {
            let at = chrono::DateTime::from_timestamp(seconds, nanos % 1_000_000_000).unwrap();
            let at = Time::from(at);
            for change in [
                Change::PeerSeen { peer: peer.clone(), at, addresses },
                Change::RetrievalSucceeded { peer: peer.clone(), at, response_ms },
                Change::RetrievalFailed { peer: peer.clone(), at },
            ] {
                let mut out = vec![0xee];
                let expected = match encode(&change, &mut out) {
                    true => [vec![0xee], postcard::to_stdvec(&change).unwrap()].concat(),
                    false => vec![0xee],
                };
                prop_assert_eq!(&out, &expected);
                let Some(written) = out.get(1..).filter(|written| !written.is_empty()) else {
                    continue;
                };
                let behind = [written, &[0xee]].concat();
                match decode(&behind) {
                    Some(read) => prop_assert_eq!(read, (change, &[0xee_u8][..])),
                    None => prop_assert!(response_ms >= 1 << 63, "the short way is not taken"),
                }
            }
        }

        #[test]
        fn what_is_read_is_what_postcard_reads(
            variant in prop_oneof![Just(PEER_SEEN), 10_u8..=11, 0..30_u8],
            kind in 0..3_u8,
            key in any::<[u8; 32]>(),
            numbers in prop::collection::vec(
                prop_oneof![Just(vec![0x80, 0x00]), Just(vec![0xff; 9]),
                    any::<u64>().prop_map(|number| postcard::to_stdvec(&number).unwrap())],
                0..4,
            ),
            addresses in addresses(),
            cut in prop_oneof![Just(0_usize), 0..40_usize],
        ) {
            let addresses = postcard::to_stdvec(&addresses).unwrap();
            let mut bytes = [&[variant, kind], &key[..], &numbers.concat(), &addresses].concat();
            bytes.truncate(bytes.len() - cut.min(bytes.len()));
            if let Some(read) = decode(&bytes) {
                prop_assert_eq!(postcard::take_from_bytes::<Change>(&bytes), Ok(read));
            }
        }
    }

    #[test]
    fn the_usual_keys_take_the_short_way() {
        let id = crate::PeerId::from_bytes(&[&[0x12, 0x20][..], &[3; 32]].concat()).unwrap();
        let change = Change::RetrievalFailed { peer: id.into(), at: Time::EPOCH };
        assert!(encode(&change, &mut Vec::new()));
        let other = Change::PeerForgotten { peer: id.into() };
        assert!(!encode(&other, &mut Vec::new()));
    }
}
