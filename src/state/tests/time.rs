//! Every time comes back from a record as it was.

use chrono::{DateTime, Timelike, Utc};
use proptest::prelude::*;

use super::*;

fn round_trip(time: DateTime<Utc>) -> usize {
    let bytes = postcard::to_stdvec(&Time::from(time)).unwrap();
    let back: Time = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(back.get(), time);
    assert_eq!(back.get().nanosecond(), time.nanosecond());
    bytes.len()
}

#[test]
fn edges_round_trip() {
    for edge in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC, DateTime::UNIX_EPOCH] {
        round_trip(edge);
        text_round_trip(edge);
    }
    let leap = DateTime::parse_from_rfc3339("2016-12-31T23:59:60.123456789Z").unwrap();
    round_trip(leap.to_utc());
    text_round_trip(leap.to_utc());
    round_trip(DateTime::from_timestamp(1_483_228_799, 1_999_999_999).unwrap());
    // A leap second that follows no minute: chrono makes such on request.
    let odd = DateTime::from_timestamp(1_483_228_790, 0).unwrap();
    round_trip(odd.with_nanosecond(1_000_000_000).unwrap());
}

/// The text is what chrono's serde writes, and is read as chrono reads it.
fn text_round_trip(time: DateTime<Utc>) {
    let mut text = Vec::new();
    Time::from(time).push_text(&mut text);
    let text = String::from_utf8(text).unwrap();
    assert_eq!(format!("\"{text}\""), serde_json::to_string(&time).unwrap());
    assert_eq!(Time::from_text(&text).ok().map(Time::get), text.parse::<DateTime<Utc>>().ok());
}

#[test]
fn odd_texts_are_read_as_chrono_reads_them() {
    for text in [
        "2026-02-28T12:00:00Z",
        "2026-02-29T12:00:00Z",
        "2024-02-29T24:00:00Z",
        "2026-02-28T12:00:60Z",
        "2026-02-28T12:60:00Z",
        "2026-02-28T12:00:00.Z",
        "2026-02-28T12:00:00.1Z",
        "2026-02-28T12:00:00.123456789Z",
        "2026-02-28T12:00:00.1234567891Z",
        "2026-02-28T12:00:00.12a4Z",
        "2026-02-28T12:00:00+02:00",
        "2026-02-28 12:00:00Z",
        "2026-02-28t12:00:00z",
        "+12026-02-28T12:00:00Z",
        "-0001-02-28T12:00:00Z",
        "2026-2-28T12:00:00Z",
        "2026-02-28T12:00:00",
        "",
    ] {
        let by_chrono = text.parse::<DateTime<Utc>>().ok();
        assert_eq!(Time::from_text(text).ok().map(Time::get), by_chrono, "{text}");
    }
}

#[test]
fn a_time_of_this_decade_takes_six_bytes() {
    assert!(round_trip(instant(0)) <= 6);
    assert!(round_trip(instant(1_000 * 3600 * 24 * 365 * 4)) <= 6);
}

#[test]
fn a_time_beyond_the_calendar_is_refused() {
    for word in [u64::MAX - 1, u64::MAX, 1 << 62] {
        let bytes = postcard::to_stdvec(&(word, u32::MAX)).unwrap();
        assert!(postcard::from_bytes::<Time>(&bytes).is_err());
    }
    assert!(postcard::from_bytes::<Time>(&[]).is_err());
    assert!(postcard::from_bytes::<Time>(&[1]).is_err());
}

#[test]
fn age_is_counted_strictly() {
    assert!(!at(0).is_older_than(300, at(300_000)));
    assert!(at(0).is_older_than(300, at(300_001)));
    assert!(
        !Time::from(DateTime::<Utc>::MAX_UTC).is_older_than(300, DateTime::<Utc>::MIN_UTC.into())
    );
}

proptest! {
    #[test]
    fn any_time_round_trips(
        seconds in DateTime::<Utc>::MIN_UTC.timestamp()..DateTime::<Utc>::MAX_UTC.timestamp(),
        nanos in prop_oneof![Just(0_u32), 0..1000_u32, 0..2_000_000_000_u32],
        whole_ms: bool,
    ) {
        let nanos = if whole_ms { nanos / 1_000_000 * 1_000_000 } else { nanos };
        let time = DateTime::from_timestamp(seconds, 0).unwrap().with_nanosecond(nanos).unwrap();
        round_trip(time);
        text_round_trip(time);
    }
}
