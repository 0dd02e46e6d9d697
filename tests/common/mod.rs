//! What several test programs share.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]
#![allow(clippy::cast_possible_truncation)]

pub(crate) mod doubt;
pub(crate) mod explore;
pub(crate) mod hooked;
pub(crate) mod made;
pub(crate) mod sim;
pub(crate) mod stop;

use peer_journal::{Multiaddr, PeerId};

/// The peer with this number: a valid Ed25519 id, the same in every run.
pub(crate) fn peer(number: u64) -> PeerId {
    let mut bytes = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    for part in 1..=4_u32 {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(part * 11);
        bytes.extend_from_slice(&mixed.wrapping_mul(u64::from(part)).to_be_bytes());
    }
    PeerId::from_bytes(&bytes).expect("an identity multihash of 36 bytes is a peer id")
}

/// A loopback address with this port.
pub(crate) fn address(port: u16) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()
}
