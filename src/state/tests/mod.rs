//! Tests of the state.

mod apply;
mod change;
mod diff;
mod limits;
pub(crate) mod random;
mod redact;
mod table;
mod text;
mod time;
mod undo;

use chrono::{DateTime, TimeZone, Utc};
use libp2p_identity::PeerId;

use super::*;

/// A time in 2026, this many milliseconds after its start.
pub(super) fn at(ms: i64) -> Time {
    instant(ms).into()
}

fn instant(ms: i64) -> DateTime<Utc> {
    Utc.timestamp_millis_opt(1_767_225_600_000 + ms).unwrap()
}

/// An Ed25519 peer of 32 equal bytes.
pub(super) fn peer(byte: u8) -> PeerKey {
    PeerKey::from(ed25519(byte))
}

fn ed25519(byte: u8) -> PeerId {
    let mut bytes = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    bytes.extend([byte; 32]);
    PeerId::from_bytes(&bytes).unwrap()
}

pub(super) fn addresses(texts: &[&str]) -> Vec<Address> {
    texts.iter().map(|text| Address::from_text(text)).collect()
}

fn apply(state: &mut State, change: Change) -> Effect {
    state.apply(&change).unwrap()
}
