//! Reads and writes the text of the addresses that nearly every peer has, without the detour over
//! the parts of a multiaddr. What is not here, or not written the one way that a multiaddr is
//! written, is left to the multiaddr crate.

use super::text::push_decimal;

const IP4: u8 = 4;
const TCP: u8 = 6;
/// Varints of the codes above 127.
const UDP: [u8; 2] = [0x91, 0x02];
const QUIC_V1: [u8; 2] = [0xcd, 0x03];
const WS: [u8; 2] = [0xdd, 0x03];
const P2P_CIRCUIT: [u8; 2] = [0xa2, 0x02];

/// Longest multiaddr that is read here.
const BYTES_MAX: usize = 48;

/// A short multiaddr, without an allocation.
#[derive(Debug)]
pub(super) struct Short {
    bytes: [u8; BYTES_MAX],
    len: usize,
}

impl Short {
    pub(super) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    fn push(&mut self, piece: &[u8]) -> Option<()> {
        let end = self.len + piece.len();
        self.bytes.get_mut(self.len..end)?.copy_from_slice(piece);
        self.len = end;
        Some(())
    }
}

/// The bytes of the multiaddr with exactly this text.
pub(super) fn parse(text: &[u8]) -> Option<Short> {
    let mut bytes = Short { bytes: [0; BYTES_MAX], len: 0 };
    let mut rest = text;
    loop {
        rest = if let Some(host) = rest.strip_prefix(b"/ip4/") {
            let (a, rest) = number(host, u8::MAX.into())?;
            let (b, rest) = number(rest.strip_prefix(b".")?, u8::MAX.into())?;
            let (c, rest) = number(rest.strip_prefix(b".")?, u8::MAX.into())?;
            let (d, rest) = number(rest.strip_prefix(b".")?, u8::MAX.into())?;
            let [[_, a], [_, b], [_, c], [_, d]] = [a, b, c, d].map(u16::to_be_bytes);
            bytes.push(&[IP4, a, b, c, d])?;
            rest
        } else if let Some(port) = rest.strip_prefix(b"/tcp/") {
            let (port, rest) = number(port, u16::MAX)?;
            bytes.push(&[TCP])?;
            bytes.push(&port.to_be_bytes())?;
            rest
        } else if let Some(port) = rest.strip_prefix(b"/udp/") {
            let (port, rest) = number(port, u16::MAX)?;
            bytes.push(&UDP)?;
            bytes.push(&port.to_be_bytes())?;
            rest
        } else if let Some(rest) = rest.strip_prefix(b"/quic-v1") {
            bytes.push(&QUIC_V1)?;
            rest
        } else if let Some(rest) = rest.strip_prefix(b"/ws") {
            bytes.push(&WS)?;
            rest
        } else {
            let rest = rest.strip_prefix(b"/p2p-circuit")?;
            bytes.push(&P2P_CIRCUIT)?;
            rest
        };
        match rest.first() {
            None => return Some(bytes),
            Some(b'/') => {}
            Some(_) => return None,
        }
    }
}

/// A number without sign and leading zeros off the front of the text.
fn number(text: &[u8], most: u16) -> Option<(u16, &[u8])> {
    let mut number: u32 = 0;
    let mut rest = text;
    while let Some((digit, after)) = rest.split_first() {
        let value = digit.wrapping_sub(b'0');
        if value > 9 {
            break;
        }
        number = number * 10 + u32::from(value);
        if number > most.into() {
            return None;
        }
        rest = after;
    }
    let digits = text.len() - rest.len();
    let is_plain = digits == 1 || (digits > 1 && !text.starts_with(b"0"));
    u16::try_from(number).ok().filter(|_| is_plain).map(|number| (number, rest))
}

/// Appends the text of the multiaddr with these bytes. `None`, and the text as it was, if that is
/// left to the multiaddr crate.
pub(super) fn push_text(bytes: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let before = text.len();
    let pushed = push_all(bytes, text);
    if pushed.is_none() {
        text.truncate(before);
    }
    pushed
}

fn push_all(bytes: &[u8], text: &mut Vec<u8>) -> Option<()> {
    let mut rest = bytes;
    while !rest.is_empty() {
        rest = match *rest {
            [IP4, a, b, c, d, ref after @ ..] => {
                text.extend_from_slice(b"/ip4/");
                for (index, octet) in [a, b, c, d].into_iter().enumerate() {
                    if index > 0 {
                        text.push(b'.');
                    }
                    push_decimal(u64::from(octet), text);
                }
                after
            }
            [TCP, high, low, ref after @ ..] => {
                text.extend_from_slice(b"/tcp/");
                push_decimal(u64::from(u16::from_be_bytes([high, low])), text);
                after
            }
            [first, second, ref after @ ..] if [first, second] == UDP => {
                let (port, after) = after.split_first_chunk()?;
                text.extend_from_slice(b"/udp/");
                push_decimal(u64::from(u16::from_be_bytes(*port)), text);
                after
            }
            [first, second, ref after @ ..] => {
                let name: &[u8] = match [first, second] {
                    QUIC_V1 => b"/quic-v1",
                    WS => b"/ws",
                    P2P_CIRCUIT => b"/p2p-circuit",
                    _ => return None,
                };
                text.extend_from_slice(name);
                after
            }
            _ => return None,
        };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use multiaddr::Multiaddr;
    use proptest::prelude::*;

    use super::*;

    fn by_the_crate(text: &str) -> Option<Vec<u8>> {
        let address: Multiaddr = text.parse().ok()?;
        (address.to_string() == text).then(|| address.to_vec())
    }

    fn pieces() -> impl Strategy<Value = String> {
        let number = prop_oneof![
            any::<u16>().prop_map(|port| port.to_string()),
            (0_u32..70_000).prop_map(|port| port.to_string()),
            Just("080".to_owned()),
            Just("+80".to_owned()),
            Just("0".to_owned()),
            Just(String::new()),
        ];
        let host = prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| Ipv4Addr::from(octets).to_string()),
            Just("1.2.3".to_owned()),
            Just("01.2.3.4".to_owned()),
            Just("1.2.3.256".to_owned()),
        ];
        prop_oneof![
            host.prop_map(|host| format!("/ip4/{host}")),
            number.clone().prop_map(|port| format!("/tcp/{port}")),
            number.prop_map(|port| format!("/udp/{port}")),
            Just("/quic-v1".to_owned()),
            Just("/ws".to_owned()),
            Just("/ws/".to_owned()),
            Just("/p2p-circuit".to_owned()),
            Just("/ip6/::1".to_owned()),
            Just("/".to_owned()),
            Just("ip4".to_owned()),
        ]
    }

    proptest! {
        #[test]
        fn text_is_read_and_written_as_the_multiaddr_crate_does(
            pieces in prop::collection::vec(pieces(), 0..5)
        ) {
            let text = pieces.concat();
            let parsed = parse(text.as_bytes());
            if let Some(bytes) = &parsed {
                prop_assert_eq!(Some(bytes.as_slice().to_vec()), by_the_crate(&text));
                let mut written = b"before".to_vec();
                prop_assert_eq!(push_text(bytes.as_slice(), &mut written), Some(()));
                prop_assert_eq!(written, format!("before{text}").into_bytes());
            }
        }

        #[test]
        fn any_bytes_are_written_as_the_multiaddr_crate_does(
            bytes in prop::collection::vec(any::<u8>(), 0..12)
        ) {
            let mut written = b"before".to_vec();
            match (push_text(&bytes, &mut written), Multiaddr::try_from(bytes)) {
                (Some(()), address) => {
                    prop_assert_eq!(written, format!("before{}", address.unwrap()).into_bytes());
                }
                (None, _) => prop_assert_eq!(written, b"before"),
            }
        }
    }

    #[test]
    fn the_usual_addresses_take_the_short_way() {
        for text in [
            "/ip4/203.0.113.9/tcp/4001",
            "/ip4/0.0.0.0/udp/65535/quic-v1",
            "/ip4/127.0.0.1/tcp/0/ws",
            "/ip4/10.1.2.3/tcp/4001/p2p-circuit",
        ] {
            let parsed = parse(text.as_bytes()).unwrap();
            assert_eq!(Some(parsed.as_slice()), by_the_crate(text).as_deref(), "{text}");
        }
    }
}
