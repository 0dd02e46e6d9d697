//! What a stranger's address must look like before it is remembered, and which network it is in.

use std::net::IpAddr;

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

use super::adapters::normal_address;
pub(super) use super::adapters::{Network, network};

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// This machine.
    Loopback,
    /// A private or link-local network.
    Private,
    /// The internet, or a name.
    Public,
}

/// The address in the form in which it is remembered; `None` also if it has no transport or its
/// host cannot be dialled.
pub(super) fn normalised(
    address: &Multiaddr,
    peer: &PeerId,
    bytes_max: usize,
) -> Option<Multiaddr> {
    let address = normal_address(peer, address, bytes_max)?;
    (host(&address)? && address.iter().count() > 1).then_some(address)
}

/// True if the host can be dialled: no wildcard, multicast or broadcast address, no port zero.
fn host(address: &Multiaddr) -> Option<bool> {
    let no_port = |protocol| matches!(protocol, Protocol::Tcp(0) | Protocol::Udp(0));
    if address.iter().any(no_port) {
        return Some(false);
    }
    Some(match address.iter().next()? {
        Protocol::Ip4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        Protocol::Ip6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
        Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_) => true,
        _ => false,
    })
}

/// How far the address reaches.
pub(super) fn scope(address: &Multiaddr) -> Scope {
    let ip: IpAddr = match address.iter().next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.to_ipv4_mapped().map_or(ip.into(), Into::into),
        _ => return Scope::Public,
    };
    let is_private = match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    if ip.is_loopback() {
        Scope::Loopback
    } else if is_private {
        Scope::Private
    } else {
        Scope::Public
    }
}

/// The peer that an address ends in.
pub(super) fn named_peer(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// The text, cut to at most `bytes` at a character.
pub(super) fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_own_suffix_goes_and_a_foreign_one_is_refused() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let plain = parse("/ip4/192.0.2.1/tcp/4001");
        let with = |id| plain.clone().with(Protocol::P2p(id));
        assert_eq!(normalised(&plain, &peer, 256), Some(plain.clone()));
        assert_eq!(normalised(&with(peer), &peer, 256), Some(plain.clone()));
        assert_eq!(normalised(&with(other), &peer, 256), None);
        assert_eq!(normalised(&plain, &peer, 10), None, "too long");
    }

    #[test]
    fn what_cannot_be_dialled_is_refused() {
        let peer = PeerId::random();
        for text in [
            "/ip4/0.0.0.0/tcp/1",
            "/ip6/::/tcp/1",
            "/ip4/224.0.0.1/udp/1",
            "/ip4/255.255.255.255/tcp/1",
            "/ip4/192.0.2.1",
            "/ip4/192.0.2.1/tcp/0",
            "/memory/1",
            "/p2p-circuit",
        ] {
            assert_eq!(normalised(&parse(text), &peer, 256), None, "{text}");
        }
        assert_eq!(normalised(&Multiaddr::empty(), &peer, 256), None);
        let name = parse(&format!("/dns/{}/tcp/1", "a".repeat(250)));
        assert_eq!(normalised(&name, &peer, 256), None);
    }

    #[test]
    fn scopes_and_networks_are_told_apart() {
        assert_eq!(scope(&parse("/ip4/127.0.0.1/tcp/1")), Scope::Loopback);
        assert_eq!(scope(&parse("/ip6/::1/tcp/1")), Scope::Loopback);
        assert_eq!(scope(&parse("/ip4/10.0.0.1/tcp/1")), Scope::Private);
        assert_eq!(scope(&parse("/ip6/fe80::1/tcp/1")), Scope::Private);
        assert_eq!(scope(&parse("/ip4/192.0.2.1/tcp/1")), Scope::Public);
        assert_eq!(scope(&parse("/dns/example.org/tcp/1")), Scope::Public);
        assert_eq!(network(&parse("/ip4/192.0.2.1/tcp/1")), Network::Ip4([192, 0]));
        assert_eq!(network(&parse("/ip6/2001:db8:7::1/tcp/1")), Network::Ip6([0x2001, 0xdb8, 7]));
        assert_eq!(network(&parse("/dns4/Example.org/tcp/1")), Network::Name("example.org".into()));
    }

    #[test]
    fn text_is_cut_at_a_character() {
        assert_eq!(cut("agent", 256), "agent");
        assert_eq!(cut("a\u{e9}b", 2), "a");
        assert_eq!(cut("a\u{e9}b", 3), "a\u{e9}");
        assert_eq!(cut("abc", 0), "");
    }
}
