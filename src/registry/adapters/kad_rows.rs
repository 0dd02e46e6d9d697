//! How records of the DHT look in the store: their keys as text, their values as bytes, and their
//! expiry as wall-clock time.

use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use libp2p::{
    Multiaddr, PeerId,
    kad::{ProviderRecord, Record, RecordKey},
};
use serde::{Deserialize, Serialize};

use crate::state::Time;

const RECORD: &str = "kad/record/";
const PROVIDER: &str = "kad/provider/";

/// Which row of the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum RowKey {
    Record(RecordKey),
    Provider(RecordKey, PeerId),
}

impl RowKey {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Record(key) => format!("{RECORD}{}", BASE64URL_NOPAD.encode(key.as_ref())),
            Self::Provider(key, peer) => {
                format!("{PROVIDER}{}/{peer}", BASE64URL_NOPAD.encode(key.as_ref()))
            }
        }
    }

    /// The row of a key that [`text`](Self::text) wrote; other programs' keys are none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let key = |text: &str| Some(RecordKey::from(BASE64URL_NOPAD.decode(text.as_bytes()).ok()?));
        if let Some(text) = text.strip_prefix(RECORD) {
            return key(text).map(Self::Record);
        }
        let (text, peer) = text.strip_prefix(PROVIDER)?.split_once('/')?;
        Some(Self::Provider(key(text)?, peer.parse().ok()?))
    }
}

/// The value of a row, in postcard. The variants and fields are never reordered; times are in
/// milliseconds since the UNIX epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Row {
    Record { value: Vec<u8>, publisher: Option<Vec<u8>>, expires_ms: Option<i64> },
    Provider { addresses: Vec<Vec<u8>>, expires_ms: Option<i64> },
}

impl Row {
    pub(super) fn of_record(record: &Record, expires_ms: Option<i64>) -> Self {
        let publisher = record.publisher.map(|publisher| publisher.to_bytes());
        Self::Record { value: record.value.clone(), publisher, expires_ms }
    }

    pub(super) fn of_provider(record: &ProviderRecord, expires_ms: Option<i64>) -> Self {
        let addresses = record.addresses.iter().map(Multiaddr::to_vec).collect();
        Self::Provider { addresses, expires_ms }
    }

    pub(super) fn encode(&self) -> Option<Box<[u8]>> {
        postcard::to_allocvec(self).ok().map(Into::into)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }

    pub(super) const fn expires_ms(&self) -> Option<i64> {
        match self {
            Self::Record { expires_ms, .. } | Self::Provider { expires_ms, .. } => *expires_ms,
        }
    }
}

/// The wall-clock time of an instant.
pub(super) fn wall_ms(expires: Instant, now: Instant, wall: Time) -> i64 {
    let left = expires.saturating_duration_since(now).as_millis();
    let left = i64::try_from(left).unwrap_or(i64::MAX);
    wall.get().timestamp_millis().saturating_add(left)
}

/// What is left of the time until `expires_ms`, of a row stored at `stored_at`: `None` if it is
/// over.
///
/// The wall clock may have been set meanwhile. Back: then no more is left than there was when the
/// row was stored. Forward: then it is over too early, which the publisher mends by publishing
/// again.
pub(super) fn time_left(
    expires_ms: i64,
    stored_at: Time,
    wall: Time,
    most: Duration,
) -> Option<Duration> {
    let left = expires_ms.saturating_sub(wall.get().timestamp_millis());
    let at_first = expires_ms.saturating_sub(stored_at.get().timestamp_millis());
    let left = u64::try_from(left.min(at_first)).ok().filter(|left| *left > 0)?;
    Some(Duration::from_millis(left).min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Time {
        chrono::DateTime::from_timestamp_millis(ms).unwrap().into()
    }

    #[test]
    fn keys_come_back() {
        let peer = PeerId::random();
        for key in [
            RowKey::Record(RecordKey::new(b"\0/\xff")),
            RowKey::Provider(RecordKey::new(b""), peer),
        ] {
            assert_eq!(RowKey::parse(&key.text()), Some(key.clone()), "{}", key.text());
        }
        assert_eq!(RowKey::parse("kad/record/not base64"), None);
        assert_eq!(RowKey::parse("somebody else's"), None);
        assert_eq!(RowKey::parse("kad/provider/AAAA"), None);
    }

    #[test]
    fn time_left_shrinks_while_the_node_is_down_and_never_grows() {
        let most = Duration::from_secs(100);
        let left = |wall| time_left(60_000, at(0), at(wall), most);
        assert_eq!(left(20_000), Some(Duration::from_secs(40)));
        assert_eq!(left(60_000), None);
        assert_eq!(left(i64::from(i32::MAX)), None);
        assert_eq!(left(-1_000_000), Some(Duration::from_secs(60)), "the clock was set back");
        assert_eq!(time_left(1 << 50, at(0), at(1), most), Some(most));
        assert_eq!(time_left(i64::MIN, at(0), at(1), most), None);
    }
}
