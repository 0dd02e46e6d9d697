//! One form for every address of a peer, so that one endpoint is one address.

use std::net::Ipv6Addr;

use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};

/// The address as it is remembered: without the `/p2p/<peer>` that some sources append and others
/// do not. `None` if it names another peer, cannot be dialled, or is longer than `bytes_max` as
/// text.
#[must_use]
pub fn normal_address(peer: &PeerId, address: &Multiaddr, bytes_max: usize) -> Option<Multiaddr> {
    // What is absurd already in bytes is not written out only to be measured.
    if address.as_ref().len() > bytes_max.saturating_mul(2) {
        return None;
    }
    let mut address = address.clone();
    if let Some(Protocol::P2p(named)) = address.iter().last() {
        if named != *peer {
            return None;
        }
        address.pop();
    }
    (can_be_dialled(&address) && address.to_string().len() <= bytes_max).then_some(address)
}

fn can_be_dialled(address: &Multiaddr) -> bool {
    !address.is_empty()
        && address.iter().all(|protocol| match protocol {
            Protocol::Ip4(ip) => !ip.is_unspecified(),
            Protocol::Ip6(ip) => ip != Ipv6Addr::UNSPECIFIED,
            Protocol::Tcp(port) | Protocol::Udp(port) => port != 0,
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_goes_and_other_peers_addresses_too() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let normal = |text: String| {
            let address: Multiaddr = text.parse().unwrap();
            normal_address(&peer, &address, 256).map(|address| address.to_string())
        };
        let plain = "/ip4/192.0.2.1/tcp/4001".to_owned();
        assert_eq!(normal(plain.clone()), Some(plain.clone()));
        assert_eq!(normal(format!("{plain}/p2p/{peer}")), Some(plain.clone()));
        assert_eq!(normal(format!("{plain}/p2p/{other}")), None);
        let relayed = format!("{plain}/p2p/{other}/p2p-circuit");
        assert_eq!(normal(relayed.clone()), Some(relayed.clone()));
        assert_eq!(normal(format!("{relayed}/p2p/{peer}")), Some(relayed));
        assert_eq!(normal(format!("/p2p/{peer}")), None);
        assert_eq!(normal("/ip4/0.0.0.0/tcp/4001".to_owned()), None);
        assert_eq!(normal("/ip4/192.0.2.1/tcp/0".to_owned()), None);
        assert_eq!(normal(format!("/dns/{}.example/tcp/1", "a".repeat(300))), None);
    }
}
