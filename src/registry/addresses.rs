//! Addresses: the one form in which they are remembered, how far they reach, which network they are
//! in.

use std::net::IpAddr;

use libp2p_identity::PeerId;
use multiaddr::{Multiaddr, Protocol};

/// How far an address reaches, the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// This machine.
    Loopback,
    /// A private or link-local network.
    Private,
    /// The internet, or a name.
    Public,
}

/// The network that an address is in, as far as somebody who owns one network could own it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Network {
    Ip4([u8; 2]),
    Ip6([u16; 3]),
    Name(String),
    Other,
}

/// The address as it is remembered: without the `/p2p/<peer>` that some sources append and others
/// do not. `None` if it names another peer, is longer than `bytes_max` as text, or cannot be
/// dialled by anybody: port zero, a wildcard, multicast or broadcast address, a host and nothing
/// else. What only this program cannot dial, because it lacks the transport, is kept.
#[must_use]
pub fn normal_address(peer: &PeerId, address: &Multiaddr, bytes_max: usize) -> Option<Multiaddr> {
    // What is absurd already in bytes is not written out only to be measured.
    if address.as_ref().len() > bytes_max.saturating_mul(2) {
        return None;
    }
    if named_peer(address).is_some_and(|named| named != *peer) {
        return None;
    }
    let address = plain(address);
    (can_be_dialled(&address) && address.to_string().len() <= bytes_max).then_some(address)
}

fn can_be_dialled(address: &Multiaddr) -> bool {
    let is_host = |part: &Protocol<'_>| {
        matches!(
            part,
            Protocol::Ip4(_)
                | Protocol::Ip6(_)
                | Protocol::Ip6zone(_)
                | Protocol::Dns(_)
                | Protocol::Dns4(_)
                | Protocol::Dns6(_)
        )
    };
    let starts_nowhere = matches!(address.iter().next(), Some(Protocol::P2pCircuit));
    !starts_nowhere
        && !address.iter().all(|part| is_host(&part))
        && address.iter().all(|part| match part {
            Protocol::Ip4(ip) => can_be_host(ip.into()),
            Protocol::Ip6(ip) => can_be_host(ip.into()),
            Protocol::Tcp(port) | Protocol::Udp(port) => port != 0,
            Protocol::Memory(port) => port != 0,
            _ => true,
        })
}

fn can_be_host(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    }
}

/// How far the address reaches.
pub(super) fn scope(address: &Multiaddr) -> Scope {
    let ip: IpAddr = match address.iter().find(|part| !matches!(part, Protocol::Ip6zone(_))) {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => IpAddr::from(ip).to_canonical(),
        Some(Protocol::Memory(_) | Protocol::Unix(_)) => return Scope::Loopback,
        Some(Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name)) => {
            return scope_of_name(&name);
        }
        _ => return Scope::Public,
    };
    let is_private = match ip {
        IpAddr::V4(ip) => {
            // 100.64.0.0/10 is what carriers and private overlays number their customers with.
            let [a, b, ..] = ip.octets();
            ip.is_private() || ip.is_link_local() || a == 100 && (64..128).contains(&b)
        }
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

fn scope_of_name(name: &str) -> Scope {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        Scope::Loopback
    } else if name.ends_with(".local") {
        Scope::Private
    } else {
        Scope::Public
    }
}

/// How far a connection to this address reaches: behind a relay the peer may be anywhere.
pub(super) fn link_scope(address: &Multiaddr) -> Scope {
    let is_relayed = address.iter().any(|part| matches!(part, Protocol::P2pCircuit));
    if is_relayed { Scope::Public } else { scope(address) }
}

pub(super) fn network(address: &Multiaddr) -> Network {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => {
            let [a, b, ..] = ip.octets();
            Network::Ip4([a, b])
        }
        Some(Protocol::Ip6(ip)) => {
            let [a, b, c, ..] = ip.segments();
            Network::Ip6([a, b, c])
        }
        Some(
            Protocol::Dns(name)
            | Protocol::Dns4(name)
            | Protocol::Dns6(name)
            | Protocol::Dnsaddr(name),
        ) => Network::Name(domain(&name)),
        _ => Network::Other,
    }
}

/// The last two labels: hosts below them cost nothing.
fn domain(name: &str) -> String {
    let mut labels = name.trim_end_matches('.').rsplit('.');
    let (last, before) = (labels.next().unwrap_or_default(), labels.next().unwrap_or_default());
    format!("{before}.{last}").to_lowercase()
}

/// The peer that an address ends in.
pub(super) fn named_peer(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// The address without a peer id at its end.
pub(super) fn plain(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if named_peer(&address).is_some() {
        address.pop();
    }
    address
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
        let normal = |text: &str| {
            normal_address(&peer, &parse(text), 256).map(|address| address.to_string())
        };
        let plain = "/ip4/192.0.2.1/tcp/4001".to_owned();
        assert_eq!(normal(&plain), Some(plain.clone()));
        assert_eq!(normal(&format!("{plain}/p2p/{peer}")), Some(plain.clone()));
        assert_eq!(normal(&format!("{plain}/p2p/{other}")), None);
        let relayed = format!("{plain}/p2p/{other}/p2p-circuit");
        assert_eq!(normal(&relayed), Some(relayed.clone()));
        assert_eq!(normal(&format!("{relayed}/p2p/{peer}")), Some(relayed));
        assert_eq!(normal_address(&peer, &parse(&plain), 10), None, "too long");
        let name = format!("/dns/{}/tcp/1", "a".repeat(250));
        assert_eq!(normal(&name), None, "too long");
    }

    #[test]
    fn what_nobody_can_dial_is_refused_and_other_transports_are_not() {
        let peer = PeerId::random();
        let normal = |text: &str| normal_address(&peer, &parse(text), 256);
        for text in [
            "/ip4/0.0.0.0/tcp/1",
            "/ip6/::/tcp/1",
            "/ip6/::ffff:0.0.0.0/tcp/1",
            "/ip4/224.0.0.1/udp/1",
            "/ip6/ff02::1/udp/1/quic-v1",
            "/ip4/255.255.255.255/tcp/1",
            "/ip4/192.0.2.1",
            "/dns4/example.org",
            "/ip4/192.0.2.1/tcp/0",
            "/ip4/192.0.2.1/udp/0/quic-v1",
            "/memory/0",
            "/p2p-circuit",
        ] {
            assert_eq!(normal(text), None, "{text}");
        }
        assert_eq!(normal(&format!("/p2p/{peer}")), None, "nothing but a name");
        assert_eq!(normal_address(&peer, &Multiaddr::empty(), 256), None);
        for text in [
            "/ip4/192.0.2.1/udp/1/quic-v1",
            "/ip4/192.0.2.1/tcp/1/ws",
            "/memory/7",
            "/dnsaddr/example.org",
            "/unix/socket",
        ] {
            assert_eq!(normal(text), Some(parse(text)), "{text}");
        }
    }

    #[test]
    fn scopes_and_networks_are_told_apart() {
        for (text, expected) in [
            ("/ip4/127.0.0.1/tcp/1", Scope::Loopback),
            ("/ip6/::1/tcp/1", Scope::Loopback),
            ("/ip6/::ffff:127.0.0.1/tcp/1", Scope::Loopback),
            ("/dns4/localhost/tcp/1", Scope::Loopback),
            ("/memory/1", Scope::Loopback),
            ("/ip4/10.0.0.1/tcp/1", Scope::Private),
            ("/ip4/100.64.0.1/tcp/1", Scope::Private),
            ("/ip6/fe80::1/tcp/1", Scope::Private),
            ("/ip6zone/eth0/ip6/fe80::1/tcp/1", Scope::Private),
            ("/dns/Printer.local./tcp/1", Scope::Private),
            ("/ip4/192.0.2.1/tcp/1", Scope::Public),
            ("/ip4/100.128.0.1/tcp/1", Scope::Public),
            ("/dns/example.org/tcp/1", Scope::Public),
        ] {
            assert_eq!(scope(&parse(text)), expected, "{text}");
        }
        let relay = PeerId::random();
        let relayed = parse(&format!("/ip4/127.0.0.1/tcp/1/p2p/{relay}/p2p-circuit"));
        assert_eq!(link_scope(&relayed), Scope::Public, "whoever is behind the relay");
        assert_eq!(link_scope(&parse("/ip4/127.0.0.1/tcp/1")), Scope::Loopback);
        assert_eq!(network(&parse("/ip4/192.0.2.1/tcp/1")), Network::Ip4([192, 0]));
        assert_eq!(network(&parse("/ip6/2001:db8:7::1/tcp/1")), Network::Ip6([0x2001, 0xdb8, 7]));
        assert_eq!(
            network(&parse("/dns4/a.Example.org/tcp/1")),
            Network::Name("example.org".into())
        );
    }

    #[test]
    fn text_is_cut_at_a_character() {
        assert_eq!(cut("agent", 256), "agent");
        assert_eq!(cut("a\u{e9}b", 2), "a");
        assert_eq!(cut("a\u{e9}b", 3), "a\u{e9}");
        assert_eq!(cut("abc", 0), "");
    }
}
