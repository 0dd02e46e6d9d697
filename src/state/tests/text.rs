//! Ids and addresses: any text comes back unchanged, and equal text is an equal key.

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;
use proptest::prelude::*;

use super::*;

const ODD: [&str; 12] = [
    "12D3KooWTest",
    "",
    " ",
    "Gr\u{fc}\u{df}e \u{1f600}",
    "/ip4/127.0.0.1/tcp/4001",
    "/ip4/127.0.0.1/tcp/4001/",
    "/IP4/127.0.0.1/TCP/4001",
    "/ip4/127.0.0.1/tcp/04001",
    "/ip6/0:0:0:0:0:0:0:1/tcp/1",
    "not an address",
    "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N ",
    "/dns4/example.org/tcp/443/wss",
];

fn check_key(text: &str) -> PeerKey {
    let key = PeerKey::from_text(text);
    assert_eq!(key.to_string(), text);
    assert_eq!(key.text_len(), text.len());
    let bytes = postcard::to_stdvec(&key).unwrap();
    assert_eq!(postcard::from_bytes::<PeerKey>(&bytes).unwrap(), key);
    if let Some(id) = key.to_peer_id() {
        assert_eq!(PeerKey::from(id), key);
    }
    key
}

fn check_address(text: &str) -> Address {
    let address = Address::from_text(text);
    assert_eq!(address.to_string(), text);
    assert_eq!(address.text_len(), text.len());
    let bytes = postcard::to_stdvec(&address).unwrap();
    assert_eq!(postcard::from_bytes::<Address>(&bytes).unwrap(), address);
    if let Some(multiaddr) = address.to_multiaddr() {
        assert_eq!(Address::from(&multiaddr), address);
    }
    let list = AddressList::from([address.clone()].as_slice());
    assert_eq!(list.iter().next().unwrap().to_address(), address);
    address
}

#[test]
fn odd_text_comes_back() {
    for text in ODD {
        check_key(text);
        check_address(text);
    }
    check_key(&"1".repeat(100_000));
    check_address(&"/".repeat(100_000));
}

#[test]
fn the_largest_number_fits_base58() {
    for bytes in [[0xff; 40], [0; 40]] {
        assert_eq!(base58::encode(&bytes), Some(bs58::encode(&bytes).into_string()));
    }
}

#[test]
fn known_kinds_of_ids_are_small() {
    assert!(size_of::<PeerKey>() <= 40);
    assert!(size_of::<Option<PeerKey>>() <= 40);
    for byte in [0, 1, 0x7f, 0xff] {
        let key = check_key(&ed25519(byte).to_base58());
        assert_eq!(key.to_peer_id(), Some(ed25519(byte)));
        assert_eq!(postcard::to_stdvec(&key).unwrap().len(), 33);

        let sha256 = [[0x12, 0x20].as_slice(), &[byte; 32]].concat();
        let key = check_key(&PeerId::from_bytes(&sha256).unwrap().to_base58());
        assert_eq!(postcard::to_stdvec(&key).unwrap().len(), 33);

        let identity = [[0x00, 0x08].as_slice(), &[byte; 8]].concat();
        let short = PeerId::from_bytes(&identity).unwrap();
        assert_eq!(check_key(&short.to_base58()).to_peer_id(), Some(short));
    }
    // It looks like a cut id, and happens to be a whole one of seven bytes.
    assert!(check_key("12D3KooWTest").to_peer_id().is_some());
    assert!(check_key("12D3KooWCut").to_peer_id().is_none());
}

#[test]
fn a_record_cannot_hold_two_keys_for_one_text() {
    let id = ed25519(7);
    let as_other = [[2, 38].as_slice(), &id.to_bytes()].concat();
    assert_eq!(postcard::from_bytes::<PeerKey>(&as_other).unwrap(), PeerKey::from(id));
    let as_text = postcard::to_stdvec(&(3_u8, id.to_base58())).unwrap();
    assert_eq!(postcard::from_bytes::<PeerKey>(&as_text).unwrap(), PeerKey::from(id));
    assert!(postcard::from_bytes::<PeerKey>(&[2, 1, 9]).is_err());

    let as_text = postcard::to_stdvec(&(1_u8, "/tcp/1")).unwrap();
    let address: Address = postcard::from_bytes(&as_text).unwrap();
    assert_eq!(address, Address::from_text("/tcp/1"));
    assert!(postcard::from_bytes::<Address>(&[0, 2, 6, 0]).is_err());
}

#[test]
fn addresses_are_bytes_where_they_can_be() {
    let id = ed25519(1);
    let all = [
        "/ip4/127.0.0.1/tcp/4001".to_owned(),
        "/ip6/::1/udp/1/quic-v1/webtransport".to_owned(),
        format!("/dns/example.org/tcp/443/tls/ws/p2p/{id}/p2p-circuit/p2p/{id}"),
        "/ip4/1.2.3.4/tcp/1/x-parity-ws/a%2Fb".to_owned(),
        "/memory/1".to_owned(),
        "/unix/a".to_owned(),
    ];
    for text in &all {
        let multiaddr: Multiaddr = text.parse().unwrap();
        let address = check_address(text);
        assert_eq!(address.to_multiaddr(), Some(multiaddr.clone()));
        assert_eq!(Address::from(multiaddr), address);
    }
    // Made of bytes, this one is written as a text that is another address.
    let odd = Multiaddr::from_iter([multiaddr::Protocol::Dns("a/tcp/1".into())]);
    assert_eq!(Address::from(&odd), Address::from_text("/dns/a/tcp/1"));
    check_address(&odd.to_string());
}

#[test]
fn no_protocol_takes_ten_times_its_bytes_as_text() {
    let worst = "/p2p-websocket-star".repeat(54);
    let address = check_address(&worst);
    assert!(worst.len() > 1024 && address.as_ref().is_longer_than(1024));
    assert!(!check_address(&"/p2p-websocket-star".repeat(53)).as_ref().is_longer_than(1024));
    assert!(check_address(&"x".repeat(1025)).as_ref().is_longer_than(1024));
    assert!(!check_address(&"x".repeat(1024)).as_ref().is_longer_than(1024));
}

#[test]
fn lists_keep_order_and_drop_duplicates() {
    let empty = AddressList::default();
    assert!(empty.is_empty() && empty.iter().count() == 0 && empty.iter().next().is_none());
    let list = AddressList::from(addresses(&["/tcp/1", "b", "/tcp/1", ""]).as_slice());
    assert_eq!(format!("{list:?}"), r#"["/tcp/1", "b", ""]"#);
    let texts = ["/tcp/1", "b", ""].map(String::from);
    assert!(list.is_written_as(&texts) && !list.is_written_as(&texts[..2]));
    assert!(!empty.is_written_as(&texts) && empty.is_written_as(&[]));
    assert!(!list.is_written_as(&["/tcp/12", "b", ""].map(String::from)));
    assert_eq!(list.with_added(&addresses(&["b", "/tcp/1"])), None);
    assert_eq!(list.with_removed(&addresses(&["c"])), None);
    let more = list.with_added(&addresses(&["c", "b", "c"])).unwrap();
    assert_eq!(format!("{more:?}"), r#"["/tcp/1", "b", "", "c"]"#);
    let less = more.with_removed(&addresses(&["b", "/tcp/1"])).unwrap();
    assert_eq!(format!("{less:?}"), r#"["", "c"]"#);
    assert_eq!(less.with_removed(&addresses(&["", "c"])), Some(empty));

    let many: Vec<_> =
        (0..1000).flat_map(|n| addresses(&[&format!("/memory/{n}"), "/memory/7"])).collect();
    let list = AddressList::from(many.as_slice());
    assert_eq!(list.len(), 1000);
    assert_eq!(list, many.iter().collect());
    let long = Address::from_text(&"y".repeat(100_000));
    assert!(list.with_added(std::slice::from_ref(&long)).unwrap().contains(long.as_ref()));
}

#[test]
fn the_typed_functions_say_what_is_wrong() {
    let id = ed25519(3);
    assert_eq!(string_to_peer_id(&peer_id_to_string(&id)), Ok(id));
    let address: Multiaddr = "/ip4/192.0.2.1/tcp/4001".parse().unwrap();
    assert_eq!(string_to_multiaddr(&multiaddr_to_string(&address)), Ok(address));

    let error = string_to_peer_id("bad\nid").unwrap_err().to_string();
    assert!(error.contains("\"bad\\nid\" is not a peer id"), "{error}");
    assert!(error.contains("12D3KooW"), "{error}");
    let error = string_to_multiaddr(&"\n".repeat(1000)).unwrap_err().to_string();
    assert!(error.contains(&format!("\"{}...\" is not", "\\n".repeat(40))), "{error}");
    assert!(error.contains("/ip4/"), "{error}");
    assert!(string_to_peer_id(&"1".repeat(100_000)).unwrap_err().to_string().len() < 400);
    let long = format!("/{}", "z".repeat(100_000));
    assert!(string_to_multiaddr(&long).unwrap_err().to_string().len() < 400);
}

/// Text that looks like a multiaddr, and often is none.
const PROTOCOLS: &str = concat!(
    "(/(ip4|ip6|tcp|dns|unix|garlic32|p2p|onion|certhash|ws|x-parity-ws|memory)",
    "(/[a-z0-9:.%]{0,60})?){1,4}"
);

proptest! {
    #[test]
    fn any_text_comes_back(text in any::<String>()) {
        check_key(&text);
        check_address(&text);
    }

    #[test]
    fn any_base58_comes_back(text in "[1-9A-HJ-NP-Za-km-z]{0,60}") {
        check_key(&text);
    }

    #[test]
    fn base58_is_that_of_everybody(
        zeros in 0..4_usize,
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff)], 0..50),
    ) {
        let bytes = [vec![0; zeros], bytes].concat();
        let expected = (bytes.len() <= 40).then(|| bs58::encode(&bytes).into_string());
        prop_assert_eq!(base58::encode(&bytes), expected);
    }

    #[test]
    fn any_protocols_come_back(text in PROTOCOLS) {
        check_address(&text);
        string_to_multiaddr(&text).map(|address| address.to_string()).ok();
    }

    #[test]
    fn any_multiaddr_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
        if let Ok(multiaddr) = Multiaddr::try_from(bytes) {
            let text = multiaddr.to_string();
            prop_assert_eq!(Address::from(&multiaddr), check_address(&text));
        }
    }
}

proptest! {
    #[test]
    fn keys_are_ordered_as_their_texts(
        bytes in prop::collection::vec((any::<bool>(), any::<[u8; 32]>(), 0..40_usize), 2..9),
        text in "[1-9A-Za-z]{0,60}",
    ) {
        let mut keys: Vec<PeerKey> = bytes
            .iter()
            .map(|(is_key, bytes, cut)| {
                // Some begin alike, some with zeros.
                let mut bytes = *bytes;
                bytes.iter_mut().take(*cut).for_each(|byte| *byte = 0);
                let prefix: &[u8] =
                    if *is_key { &[0x00, 0x24, 0x08, 0x01, 0x12, 0x20] } else { &[0x12, 0x20] };
                PeerId::from_bytes(&[prefix, &bytes].concat()).unwrap().into()
            })
            .collect();
        keys.push(PeerKey::from_text(&text));
        for one in &keys {
            for other in &keys {
                let expected = one.to_string().cmp(&other.to_string());
                prop_assert_eq!(one.cmp_text(other), expected);
                if let (Some(one), Some(other)) = (one.usual_prefix(), other.usual_prefix()) {
                    prop_assert!(one.cmp(&other) == expected || one == other);
                }
            }
        }
    }
}
