//! `Address` and `AddressList`: multiaddrs as bytes where they are ones, any other text unchanged.

use std::{borrow::Cow, collections::HashSet, fmt, sync::Arc};

use multiaddr::{Multiaddr, Protocol};
use serde::{Deserialize, Serialize};

use super::{bytes, plain, table::Shared, text};

/// Where a peer can be reached.
///
/// It holds the bytes of a multiaddr where the text is exactly what the multiaddr is written as,
/// and otherwise the text itself, so that rows with odd addresses come back unchanged. One text
/// always gives the same address.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Repr")]
pub struct Address(Repr);

/// The record format of an address; the variants are never reordered.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
enum Repr {
    Binary(#[serde(with = "bytes")] Box<[u8]>),
    Text(Box<str>),
}

impl Address {
    /// The address of a row: any text will do, the empty one too.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        if let Some(bytes) = plain::parse(text.as_bytes()) {
            return Self(Repr::Binary(bytes.as_slice().into()));
        }
        let binary = text::parse_multiaddr(text).ok().filter(|address| address.to_string() == text);
        Self(match binary {
            Some(address) => Repr::Binary(address.as_ref().into()),
            None => Repr::Text(text.into()),
        })
    }

    /// The multiaddr, unless the text is not one.
    #[must_use]
    pub fn to_multiaddr(&self) -> Option<Multiaddr> {
        self.as_ref().to_multiaddr()
    }

    /// Bytes of the text that [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn text_len(&self) -> usize {
        self.as_ref().text_len()
    }

    /// The same address, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> AddressRef<'_> {
        match &self.0 {
            Repr::Binary(bytes) => AddressRef { is_text: false, bytes },
            Repr::Text(text) => AddressRef { is_text: true, bytes: text.as_bytes() },
        }
    }
}

impl From<&Multiaddr> for Address {
    /// A multiaddr that its text does not give back is kept as that text.
    fn from(address: &Multiaddr) -> Self {
        if address.iter().all(|protocol| is_plain(&protocol)) {
            return Self(Repr::Binary(address.as_ref().into()));
        }
        Self::from_text(&address.to_string())
    }
}

impl From<Multiaddr> for Address {
    fn from(address: Multiaddr) -> Self {
        Self::from(&address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// The text in quotes, escaped.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.as_ref(), f)
    }
}

impl TryFrom<Repr> for Address {
    type Error = &'static str;

    /// Refuses bytes that are no multiaddr, whoever wrote them.
    fn try_from(repr: Repr) -> Result<Self, Self::Error> {
        match repr {
            Repr::Binary(bytes) if protocols(&bytes).any(|protocol| protocol.is_none()) => {
                Err("bytes that are no multiaddr")
            }
            Repr::Binary(bytes) => Ok(Self(Repr::Binary(bytes))),
            Repr::Text(text) => Ok(Self::from_text(&text)),
        }
    }
}

/// An [`Address`] inside an [`AddressList`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRef<'a> {
    is_text: bool,
    bytes: &'a [u8],
}

impl<'a> AddressRef<'a> {
    /// The address with these bytes, which are a multiaddr's.
    pub(super) const fn of_multiaddr(bytes: &'a [u8]) -> Self {
        Self { is_text: false, bytes }
    }

    /// Appends the address as a list holds it.
    pub(super) fn pack_into(self, packed: &mut Vec<u8>) {
        pack(packed, self);
    }

    /// Whether it is text, and its bytes.
    pub(super) const fn parts(self) -> (bool, &'a [u8]) {
        (self.is_text, self.bytes)
    }

    /// Bytes of the text that [`Display`](fmt::Display) writes.
    pub(super) fn text_len(self) -> usize {
        if self.is_text { self.bytes.len() } else { self.to_string().len() }
    }

    /// True if the text is longer than `bytes`; told without writing it where that is plain.
    pub(super) fn is_longer_than(self, bytes: usize) -> bool {
        // No protocol takes ten times its bytes as text; the worst is `/p2p-websocket-star`: 19 to
        // 2.
        self.bytes.len() > bytes / 10 && self.text_len() > bytes
    }

    /// The multiaddr, unless the text is not one.
    #[must_use]
    pub fn to_multiaddr(self) -> Option<Multiaddr> {
        if self.is_text { None } else { Multiaddr::try_from(self.bytes.to_vec()).ok() }
    }

    /// A copy of its own.
    #[must_use]
    pub fn to_address(self) -> Address {
        Address(match self.text() {
            Some(text) => Repr::Text(text.into()),
            None => Repr::Binary(self.bytes.into()),
        })
    }

    /// Appends the text that [`Display`](fmt::Display) writes, which then needs no escapes; false,
    /// and nothing appended, if the address is not of a usual kind.
    pub(crate) fn push_usual_text(self, text: &mut Vec<u8>) -> bool {
        !self.is_text && plain::push_text(self.bytes, text).is_some()
    }

    fn text(&self) -> Option<Cow<'_, str>> {
        self.is_text.then(|| String::from_utf8_lossy(self.bytes))
    }
}

impl fmt::Display for AddressRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.text() {
            return f.write_str(&text);
        }
        let mut usual = Vec::with_capacity(64);
        if self.push_usual_text(&mut usual) {
            return f.write_str(&String::from_utf8_lossy(&usual));
        }
        protocols(self.bytes).flatten().try_for_each(|protocol| write!(f, "{protocol}"))
    }
}

/// The text in quotes, escaped.
impl fmt::Debug for AddressRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

/// The addresses of one peer in one allocation: in order, without duplicates. The empty list
/// allocates nothing, and clones share.
///
/// Each address is a varint of `length << 1 | is text`, then its bytes.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct AddressList(Arc<[u8]>);

impl Shared for AddressList {
    fn holders(&self) -> usize {
        self.0.holders()
    }
}

impl AddressList {
    /// Number of addresses. Takes time in proportion to it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// True if there is no address.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The addresses, in order.
    pub fn iter(&self) -> impl Iterator<Item = AddressRef<'_>> {
        let mut rest: &[u8] = &self.0;
        std::iter::from_fn(move || {
            let (address, after) = unpack(rest)?;
            rest = after;
            Some(address)
        })
    }

    /// True if the address is in the list.
    #[must_use]
    pub fn contains(&self, address: AddressRef<'_>) -> bool {
        self.iter().any(|known| known == address)
    }

    /// True if these are the texts of the list, in order.
    pub(super) fn is_written_as(&self, texts: &[String]) -> bool {
        let mut rest = texts.iter();
        let is_next = |address| rest.next().is_some_and(|text| is_text_of(address, text));
        self.iter().all(is_next) && rest.next().is_none()
    }

    /// The list with these at the end; `None` if it has them all.
    #[must_use]
    pub fn with_added(&self, added: &[Address]) -> Option<Self> {
        let fresh = self.fresh(added);
        if fresh.is_empty() {
            return None;
        }
        let mut packed = self.0.to_vec();
        fresh.into_iter().for_each(|address| pack(&mut packed, address));
        Some(Self::of(packed))
    }

    /// The list without these; `None` if it has none of them.
    #[must_use]
    pub fn with_removed(&self, removed: &[Address]) -> Option<Self> {
        let removed: HashSet<_> = removed.iter().map(Address::as_ref).collect();
        let mut packed = Vec::with_capacity(self.0.len());
        let kept = self.iter().filter(|address| !removed.contains(address));
        kept.for_each(|address| pack(&mut packed, address));
        (packed.len() < self.0.len()).then(|| Self::of(packed))
    }

    /// The list with these bytes, in which no address comes twice.
    pub(super) fn of_packed(packed: &[u8]) -> Self {
        if packed.is_empty() { Self::default() } else { Self(packed.into()) }
    }

    /// Only `default` is sure not to allocate for nothing.
    fn of(packed: Vec<u8>) -> Self {
        if packed.is_empty() { Self::default() } else { Self(packed.into()) }
    }

    /// Those of `added` that the list does not have, once each.
    fn fresh<'a>(&'a self, added: &'a [Address]) -> Vec<AddressRef<'a>> {
        /// Up to here looking through the list is faster than hashing it.
        const FEW: usize = 16;
        let added_refs = added.iter().map(Address::as_ref);
        let mut fresh = Vec::new();
        if added.len() <= FEW {
            for address in added_refs {
                if !self.contains(address) && !fresh.contains(&address) {
                    fresh.push(address);
                }
            }
        } else {
            let mut known: HashSet<_> = self.iter().collect();
            fresh.extend(added_refs.filter(|address| known.insert(*address)));
        }
        fresh
    }
}

impl<'a> FromIterator<&'a Address> for AddressList {
    fn from_iter<I: IntoIterator<Item = &'a Address>>(addresses: I) -> Self {
        let mut known = HashSet::new();
        let mut packed = Vec::new();
        for address in addresses {
            if known.insert(address) {
                pack(&mut packed, address.as_ref());
            }
        }
        Self::of(packed)
    }
}

impl From<&[Address]> for AddressList {
    fn from(addresses: &[Address]) -> Self {
        Self::default().with_added(addresses).unwrap_or_default()
    }
}

impl fmt::Debug for AddressList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Compares piece by piece as it is written, without a copy.
fn is_text_of(address: AddressRef<'_>, text: &str) -> bool {
    struct Rest<'a>(&'a str);

    impl fmt::Write for Rest<'_> {
        fn write_str(&mut self, piece: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(piece).ok_or(fmt::Error)?;
            Ok(())
        }
    }

    let mut rest = Rest(text);
    fmt::Write::write_fmt(&mut rest, format_args!("{address}")).is_ok() && rest.0.is_empty()
}

fn pack(packed: &mut Vec<u8>, address: AddressRef<'_>) {
    let mut head = address.bytes.len() << 1 | usize::from(address.is_text);
    while head >= 0x80 {
        packed.push(low_bits(head) | 0x80);
        head >>= 7;
    }
    packed.push(low_bits(head));
    packed.extend_from_slice(address.bytes);
}

fn unpack(packed: &[u8]) -> Option<(AddressRef<'_>, &[u8])> {
    let mut rest = packed;
    let mut head = 0_usize;
    for shift in (0..usize::BITS).step_by(7) {
        let (byte, after) = rest.split_first()?;
        rest = after;
        head |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let (bytes, rest) = rest.split_at_checked(head >> 1)?;
    Some((AddressRef { is_text: head & 1 == 1, bytes }, rest))
}

fn low_bits(word: usize) -> u8 {
    u8::try_from(word & 0x7f).unwrap_or_default()
}

/// The protocols of a multiaddr's bytes; `None` once, last, where they cannot be read.
fn protocols(bytes: &[u8]) -> impl Iterator<Item = Option<Protocol<'_>>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let read = Protocol::from_bytes(rest).ok();
        rest = read.as_ref().map_or(&[], |(_, after)| after);
        Some(read.map(|(protocol, _)| protocol))
    })
}

/// Protocols that have one form in bytes and one in text, so that a round trip need not be tried.
fn is_plain(protocol: &Protocol<'_>) -> bool {
    use Protocol as P;
    match protocol {
        P::Ip4(_) | P::Ip6(_) | P::Tcp(_) | P::Udp(_) | P::P2p(_) | P::P2pCircuit => true,
        P::Quic | P::QuicV1 | P::WebTransport | P::WebRTCDirect | P::Tls | P::Noise => true,
        P::Ws(path) | P::Wss(path) => path == "/",
        _ => false,
    }
}
