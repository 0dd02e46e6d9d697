//! Between the typed ids and addresses of libp2p and the text of the rows.

use libp2p_identity::PeerId;
use multiaddr::Multiaddr;

use super::limits::PEER_ID_BYTES_MAX;
use crate::{MarketplaceError, Result};

/// Characters of an offending text that an error repeats.
const SHOWN_MAX: usize = 80;

/// The base58 text of a peer id.
#[must_use]
pub fn peer_id_to_string(peer_id: &PeerId) -> String {
    peer_id.to_base58()
}

/// Reads a base58 peer id.
///
/// # Errors
///
/// [`MarketplaceError::PersistenceError`] if the text is not a peer id.
pub fn string_to_peer_id(s: &str) -> Result<PeerId> {
    let parsed = if s.len() > PEER_ID_BYTES_MAX {
        Err(format!("{} bytes are too many", s.len()))
    } else {
        s.parse().map_err(|error: libp2p_identity::ParseError| error.to_string())
    };
    parsed.map_err(|why| {
        MarketplaceError::persistence_error(format!(
            "\"{}\" is not a peer id ({}); expected base58 text such as 12D3KooW... or Qm...",
            shown(s),
            shown(&why)
        ))
    })
}

/// The text of a multiaddr.
#[must_use]
pub fn multiaddr_to_string(addr: &Multiaddr) -> String {
    addr.to_string()
}

/// Reads a multiaddr.
///
/// # Errors
///
/// [`MarketplaceError::PersistenceError`] if the text is not a multiaddr.
pub fn string_to_multiaddr(s: &str) -> Result<Multiaddr> {
    parse_multiaddr(s).map_err(|why| {
        MarketplaceError::persistence_error(format!(
            "\"{}\" is not a multiaddr ({}); expected text such as /ip4/192.0.2.1/tcp/4001",
            shown(s),
            shown(&why.to_string())
        ))
    })
}

/// Parses a multiaddr and makes sure that its bytes can be read again: the multiaddr crate panics
/// later over bytes that its own parser should not have made.
pub(super) fn parse_multiaddr(text: &str) -> std::result::Result<Multiaddr, multiaddr::Error> {
    let parsed: Multiaddr = text.parse()?;
    Multiaddr::try_from(parsed.to_vec())
}

/// Appends a number in decimal digits.
pub(crate) fn push_decimal(mut number: u64, text: &mut Vec<u8>) {
    // The last digit first; 20 digits hold any number.
    let mut digits = [b'0'; 20];
    let mut count = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        count += 1;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
}

/// Text from elsewhere, escaped and cut for a message.
pub(super) fn shown(text: &str) -> String {
    let mut escaped = text.escape_debug();
    let mut shown: String = escaped.by_ref().take(SHOWN_MAX).collect();
    if escaped.next().is_some() {
        shown.push_str("...");
    }
    shown
}
