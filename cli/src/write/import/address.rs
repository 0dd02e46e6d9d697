//! Addresses as other programs write them: multiaddrs that end in a peer id, and enode URLs.

use std::net::{IpAddr, Ipv6Addr};

use data_encoding::HEXLOWER_PERMISSIVE;
use peer_journal::{
    MarketplaceError, PeerId,
    state::{Address, PeerKey},
    string_to_multiaddr,
};

use super::found::Row;

/// A multiaddr that ends in `/p2p/<peer id>`, as an address of that peer.
pub(super) fn of_peer(text: &str) -> Result<Row, String> {
    let whole = parsed(text)?;
    let Some((address, id)) = whole.rsplit_once("/p2p/").filter(|(_, id)| !id.contains('/')) else {
        return Err("it does not end in /p2p/<peer id>, so nobody knows whose it is".to_owned());
    };
    let peer = PeerKey::from_text(id);
    if address.is_empty() {
        return Err("there is no address before the peer id".to_owned());
    }
    Ok(Row::Address { peer, address: Address::from_text(address) })
}

/// An address of a peer whose id stands elsewhere; one at the end of the address must be the same.
pub(super) fn with_id(id: &str, text: &str) -> Result<Row, String> {
    let peer = peer_id(id)?;
    let whole = parsed(text)?;
    let address = match whole.rsplit_once("/p2p/") {
        Some((address, named)) if named == peer.to_string() => address,
        Some((_, named)) if !named.contains('/') => {
            return Err(format!("it is an address of another peer, {named}"));
        }
        _ => &whole,
    };
    if address.is_empty() {
        return Err("there is no address before the peer id".to_owned());
    }
    Ok(Row::Address { peer, address: Address::from_text(address) })
}

/// A bootstrap node: any multiaddr.
pub(super) fn bootstrap(text: &str) -> Result<Row, String> {
    Ok(Row::Bootstrap { node: parsed(text)?.into() })
}

/// A peer id as libp2p writes it.
pub(super) fn peer_id(text: &str) -> Result<PeerKey, String> {
    peer_journal::string_to_peer_id(text).map(PeerKey::from).map_err(reason)
}

/// The multiaddr as it is usually written: `/ipfs/` becomes `/p2p/`, for example.
fn parsed(text: &str) -> Result<String, String> {
    let whole = string_to_multiaddr(text).map_err(reason)?.to_string();
    if ["/ip4/0.0.0.0/", "/ip6/::/"].iter().any(|any| whole.starts_with(any)) {
        return Err(NOBODY.to_owned());
    }
    Ok(whole)
}

/// Where programs listen that listen everywhere.
const NOBODY: &str = "nobody can be reached there";

/// The text itself stands beside it.
fn reason(error: MarketplaceError) -> String {
    let MarketplaceError::PersistenceError { reason } = error else { return error.to_string() };
    let rest = reason.split_once("\" is ").map(|(_, rest)| format!("this is {rest}"));
    rest.unwrap_or(reason)
}

/// Multihash code and length of an identity of 37 bytes, and the protobuf header of a compressed
/// secp256k1 public key.
const SECP256K1: [u8; 6] = [0x00, 0x25, 0x08, 0x02, 0x12, 0x21];

/// `enode://<public key>@<ip>:<port>`: the key is the whole secp256k1 point, of which a libp2p id
/// takes the compressed form.
pub(super) fn enode(text: &str) -> Result<Row, String> {
    const FORM: &str = "expected enode://<128 hex digits>@<ip>:<port>";
    let rest = text.strip_prefix("enode://").ok_or(FORM)?;
    let (key, place) = rest.split_once('@').ok_or(FORM)?;
    let point = HEXLOWER_PERMISSIVE.decode(key.as_bytes()).map_err(|_| FORM)?;
    let (x, y) = point.split_at_checked(32).filter(|(_, y)| y.len() == 32).ok_or(FORM)?;
    let is_odd = y.last().is_some_and(|last| last % 2 == 1);
    let mut id = SECP256K1.to_vec();
    id.push(if is_odd { 3 } else { 2 });
    id.extend_from_slice(x);
    let peer = PeerId::from_bytes(&id).map_err(|error| error.to_string())?;
    let place = place.split_once('?').map_or(place, |(place, _)| place);
    let (host, port) = place.rsplit_once(':').ok_or(FORM)?;
    let port: u16 = port.parse().map_err(|_| FORM)?;
    let ip = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(host) => host.parse::<Ipv6Addr>().map(IpAddr::from),
        None => host.parse::<IpAddr>(),
    };
    let ip = ip.map_err(|_| "its host is no IP address".to_owned())?;
    if port == 0 || ip.is_unspecified() {
        return Err(NOBODY.to_owned());
    }
    let name = if ip.is_ipv4() { "ip4" } else { "ip6" };
    let address = Address::from_text(&format!("/{name}/{ip}/tcp/{port}"));
    Ok(Row::Address { peer: peer.into(), address })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "12D3KooWR7Biy6nPgQFhk2eYP62pAkcFA6he9RUFURTDh7ewTjpo";
    const RELAY: &str = "12D3KooWHsGHvXtTZydW3VgrM8iPe6Nok7W3jzRy9cvWUKdinK5V";

    fn address(peer: &str, address: &str) -> Result<Row, String> {
        let (peer, address) = (PeerKey::from_text(peer), Address::from_text(address));
        Ok(Row::Address { peer, address })
    }

    #[test]
    fn an_address_belongs_to_the_peer_at_its_end() {
        let plain = "/ip4/192.0.2.1/tcp/4001";
        for between in ["/p2p/", "/ipfs/"] {
            assert_eq!(of_peer(&format!("{plain}{between}{ID}")), address(ID, plain));
        }
        let relayed = format!("{plain}/p2p/{RELAY}/p2p-circuit");
        assert_eq!(of_peer(&format!("{relayed}/p2p/{ID}")), address(ID, &relayed));
        let name = "/dns4/n.example/tcp/443/wss";
        assert_eq!(of_peer(&format!("{name}/p2p/{ID}")), address(ID, name));
        for (text, part) in [
            (plain.to_owned(), "/p2p/"),
            (relayed, "/p2p/"),
            (format!("/p2p/{ID}"), "no address before"),
            ("/ip4/192.0.2.300/tcp/1".to_owned(), "not a multiaddr"),
            (format!("{plain}/p2p/{}", "1".repeat(3000)), "not a multiaddr"),
            ("auto".to_owned(), "this is not a multiaddr (invalid"),
            (format!("/ip4/0.0.0.0/tcp/1/p2p/{ID}"), "nobody"),
            (format!("/ip6/::/tcp/1/p2p/{ID}"), "nobody"),
            (String::new(), "/p2p/"),
        ] {
            let why = of_peer(&text).unwrap_err();
            assert!(why.contains(part) && why.len() < 400, "{text}: {why}");
        }
    }

    #[test]
    fn an_id_beside_the_address_and_one_in_it_must_agree() {
        let plain = "/dnsaddr/n.example";
        assert_eq!(with_id(ID, plain), address(ID, plain));
        assert_eq!(with_id(ID, &format!("{plain}/p2p/{ID}")), address(ID, plain));
        let other = with_id(ID, &format!("{plain}/p2p/{RELAY}")).unwrap_err();
        assert!(other.contains("another peer"), "{other}");
        let relayed = format!("/ip4/192.0.2.1/tcp/1/p2p/{RELAY}/p2p-circuit");
        assert_eq!(with_id(ID, &relayed), address(ID, &relayed));
        assert!(with_id("nobody", plain).unwrap_err().contains("not a peer id"));
        assert!(with_id(ID, &format!("/p2p/{ID}")).unwrap_err().contains("no address"));
    }

    /// The generator of secp256k1, whose coordinates anybody can look up; y is even.
    #[test]
    fn the_key_of_an_enode_gives_the_libp2p_id_of_the_same_key() {
        let x = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";
        let y = "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8";
        let row = enode(&format!("enode://{x}{y}@192.0.2.1:30303?discport=30301"));
        let Ok(Row::Address { peer, address }) = row else { panic!("{row:?}") };
        assert_eq!(address.to_string(), "/ip4/192.0.2.1/tcp/30303");
        let bytes = peer.to_peer_id().map(|peer| peer.to_bytes()).unwrap_or_default();
        assert_eq!(HEXLOWER_PERMISSIVE.encode(&bytes), format!("00250802122102{x}"));
        assert!(peer.to_string().starts_with("16Uiu2HA"), "as go-libp2p writes them: {peer}");
        let odd = y.replace("d4b8", "d4b9");
        let row = enode(&format!("enode://{x}{odd}@[2001:db8::1]:30303"));
        let Ok(Row::Address { peer: negative, address }) = row else { panic!("{row:?}") };
        assert_eq!(address.to_string(), "/ip6/2001:db8::1/tcp/30303");
        assert_ne!(negative, peer, "the other point with this x");
        for (text, part) in [
            (format!("enode://{x}@192.0.2.1:1"), "expected enode"),
            (format!("enode://{x}{y}@192.0.2.1"), "expected enode"),
            (format!("enode://{x}{y}@n.example:1"), "no IP address"),
            (format!("enode://{x}{y}@0.0.0.0:1"), "nobody"),
            (format!("enode://{x}{y}@192.0.2.1:0"), "nobody"),
            (format!("enode://{x}{y}\u{e9}@192.0.2.1:1"), "expected enode"),
        ] {
            let why = enode(&text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
