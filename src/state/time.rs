//! `Time`: a wall-clock time that takes six bytes in a record.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat, TimeDelta, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeTuple};

/// 2024-01-01T00:00:00Z in milliseconds since the UNIX epoch. Part of the record format.
const BASE_MS: i64 = 1_704_067_200_000;
const NANOS_PER_MS: u32 = 1_000_000;
const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// A wall-clock time, with the nanoseconds that its [`DateTime`] has.
///
/// Its serde form is for records (postcard): a varint of `zigzag(ms since 2024) << 1 | flag`,
/// followed only when the flag is set by a varint of the remaining nanoseconds. Every time comes
/// back exactly, leap seconds too.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(DateTime<Utc>);

impl Time {
    /// The UNIX epoch, which in a row means "never".
    pub const EPOCH: Self = Self(DateTime::UNIX_EPOCH);

    /// The plain date and time.
    #[must_use]
    pub const fn get(self) -> DateTime<Utc> {
        self.0
    }

    /// Appends the text that chrono's serde writes, faster in the years that have four digits.
    pub(crate) fn push_text(self, text: &mut Vec<u8>) {
        let naive = self.0.naive_utc();
        let (nanos, year) = (naive.nanosecond(), u32::try_from(naive.year()));
        let Some(year) = year.ok().filter(|year| *year <= 9999 && nanos < NANOS_PER_SECOND) else {
            let written = self.0.to_rfc3339_opts(SecondsFormat::AutoSi, true);
            text.extend_from_slice(written.as_bytes());
            return;
        };
        let [a, b, c, d] = four_digits(year);
        let ([e, f], [g, h]) = (two_digits(naive.month()), two_digits(naive.day()));
        let ([i, j], [k, l]) = (two_digits(naive.hour()), two_digits(naive.minute()));
        let [m, n] = two_digits(naive.second());
        let fields = [a, b, c, d, b'-', e, f, b'-', g, h, b'T', i, j, b':', k, l, b':', m, n];
        text.extend_from_slice(&fields);
        if nanos != 0 {
            let [_, ms @ ..] = four_digits(nanos / 1_000_000);
            let [_, us @ ..] = four_digits(nanos / 1000 % 1000);
            let [_, ns @ ..] = four_digits(nanos % 1000);
            text.push(b'.');
            text.extend_from_slice(&ms);
            if nanos % 1_000_000 != 0 {
                text.extend_from_slice(&us);
                if nanos % 1000 != 0 {
                    text.extend_from_slice(&ns);
                }
            }
        }
        text.push(b'Z');
    }

    /// Reads what [`push_text`](Self::push_text) writes, and whatever else chrono takes.
    pub(crate) fn from_text(text: &str) -> Result<Self, chrono::ParseError> {
        Self::from_bytes(text.as_bytes()).map_or_else(|| text.parse().map(Self), Ok)
    }

    /// Reads what [`push_text`](Self::push_text) writes in the years that have four digits.
    pub(crate) fn from_bytes(text: &[u8]) -> Option<Self> {
        parse_utc(text).map(Self)
    }

    /// True if more than `seconds` lie between this time and the later `now`.
    #[must_use]
    pub(super) fn is_older_than(self, seconds: i64, now: Self) -> bool {
        TimeDelta::try_seconds(seconds)
            .and_then(|age| now.0.checked_sub_signed(age))
            .is_some_and(|oldest| self.0 < oldest)
    }

    /// Whole milliseconds since [`BASE_MS`], and the nanoseconds beyond them (more than a million
    /// only inside a leap second).
    fn parts(self) -> (i64, u32) {
        let nanos = self.0.timestamp_subsec_nanos();
        let ms = (nanos / NANOS_PER_MS).min(999);
        // The range of chrono is far inside that of i64 milliseconds.
        let whole = self.0.timestamp().saturating_mul(1000).saturating_add(i64::from(ms));
        (whole.saturating_sub(BASE_MS), nanos - ms * NANOS_PER_MS)
    }

    /// The words of the record form: milliseconds and flag, and the nanoseconds if the flag is set.
    pub(super) fn words(self) -> (u64, Option<u32>) {
        let (ms, rest) = self.parts();
        let zigzag = ms.unsigned_abs() * 2 - u64::from(ms < 0);
        let flag = rest != 0;
        (zigzag << 1 | u64::from(flag), flag.then_some(rest))
    }

    /// The time of these [`words`](Self::words), unless it is beyond the calendar.
    pub(super) fn from_words(word: u64, rest: u32) -> Option<Self> {
        let zigzag = word >> 1;
        let ms = i64::try_from(zigzag.div_ceil(2)).ok()?;
        Self::from_parts(if zigzag % 2 == 1 { -ms } else { ms }, rest)
    }

    fn from_parts(ms: i64, rest: u32) -> Option<Self> {
        let ms = ms.checked_add(BASE_MS)?;
        let sub = u32::try_from(ms.rem_euclid(1000)).ok()?;
        let nanos = (sub * NANOS_PER_MS).checked_add(rest)?;
        let seconds = ms.div_euclid(1000);
        // chrono lets a leap second follow any second, but only in the second form.
        DateTime::from_timestamp(seconds, nanos)
            .or_else(|| DateTime::from_timestamp(seconds, 0)?.with_nanosecond(nanos))
            .map(Self)
    }
}

/// `2026-01-31T23:59:59Z`, with up to nine more digits behind a point.
fn parse_utc(text: &[u8]) -> Option<DateTime<Utc>> {
    let (fields, rest) = text.split_first_chunk::<19>()?;
    let [a, b, c, d, b'-', e, f, b'-', g, h, b'T', i, j, b':', k, l, b':', m, n] = fields else {
        return None;
    };
    let year = i32::try_from(number(&[*a, *b, *c, *d])?).ok()?;
    let date = NaiveDate::from_ymd_opt(year, number(&[*e, *f])?, number(&[*g, *h])?)?;
    let mut nanos = 0;
    if let Some(digits) = rest.strip_prefix(b".").and_then(|rest| rest.strip_suffix(b"Z")) {
        let missing = 9_usize.checked_sub(digits.len()).filter(|missing| *missing < 9)?;
        nanos = number(digits)? * 10_u32.checked_pow(u32::try_from(missing).ok()?)?;
    } else if rest != b"Z" {
        return None;
    }
    let (hour, minute, second) = (number(&[*i, *j])?, number(&[*k, *l])?, number(&[*m, *n])?);
    Some(date.and_hms_nano_opt(hour, minute, second, nanos)?.and_utc())
}

/// The number that at most nine digits write.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| {
        let value = digit.checked_sub(b'0').filter(|value| *value <= 9)?;
        number.checked_mul(10)?.checked_add(u32::from(value))
    })
}

fn two_digits(number: u32) -> [u8; 2] {
    [number / 10, number].map(|number| b'0' + u8::try_from(number % 10).unwrap_or_default())
}

fn four_digits(number: u32) -> [u8; 4] {
    let ([a, b], [c, d]) = (two_digits(number / 100), two_digits(number));
    [a, b, c, d]
}

impl From<DateTime<Utc>> for Time {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time)
    }
}

impl From<Time> for DateTime<Utc> {
    fn from(time: Time) -> Self {
        time.0
    }
}

impl Default for Time {
    fn default() -> Self {
        Self::EPOCH
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (word, rest) = self.words();
        let mut tuple = serializer.serialize_tuple(1 + usize::from(rest.is_some()))?;
        tuple.serialize_element(&word)?;
        if let Some(rest) = rest {
            tuple.serialize_element(&rest)?;
        }
        tuple.end()
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(2, TimeVisitor)
    }
}

struct TimeVisitor;

impl<'de> de::Visitor<'de> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a time in milliseconds since 2024")
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Time, A::Error> {
        let word: u64 = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let rest: u32 = if word & 1 == 1 {
            seq.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?
        } else {
            0
        };
        Time::from_words(word, rest).ok_or_else(|| de::Error::custom("a time beyond the calendar"))
    }
}
