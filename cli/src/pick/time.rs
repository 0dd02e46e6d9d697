//! Points in time and in the journal, as people type them.

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta, Utc};
use peer_journal::Lsn;

/// A point in the history of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// After this record.
    Lsn(Lsn),
    /// At this time.
    Time(DateTime<Utc>),
}

/// An LSN, or anything that [`parse_time`] takes.
///
/// # Errors
/// What can be given instead.
pub fn parse_when(text: &str, now: DateTime<Utc>) -> Result<When, String> {
    let text = text.trim();
    if let Ok(number) = text.parse::<u64>() {
        return Ok(When::Lsn(Lsn::new(number)));
    }
    parse_time(text, now).map(When::Time).map_err(|why| format!("{why}, or an LSN like 1234"))
}

/// A time: RFC 3339, a date or date and time in UTC, `now`, `today`, `yesterday`, or how long ago
/// (`2h`, `1d12h`, `2 hours ago`).
///
/// # Errors
/// What can be given instead.
pub fn parse_time(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    for form in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"]
    {
        if let Ok(time) = NaiveDateTime::parse_from_str(text.trim_end_matches('Z'), form) {
            return Ok(time.and_utc());
        }
    }
    if let Ok(day) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Ok(day.and_time(NaiveTime::MIN).and_utc());
    }
    let midnight = now.date_naive().and_time(NaiveTime::MIN).and_utc();
    match text.to_ascii_lowercase().as_str() {
        "now" => Some(now),
        "today" => Some(midnight),
        "yesterday" => midnight.checked_sub_days(Days::new(1)),
        ago => span(ago).and_then(|span| now.checked_sub_signed(span)),
    }
    .ok_or_else(|| {
        format!(
            "{text:?} is no time; give one like 2026-03-01T12:00:00Z, 2026-03-01, yesterday, 2h or \
             \"2 hours ago\""
        )
    })
}

/// A length of time: `24h`, `1d12h`, `2 weeks`.
///
/// # Errors
/// What can be given instead.
pub fn parse_span(text: &str) -> Result<TimeDelta, String> {
    let is_plain = |text: &&str| text.starts_with(|c: char| c.is_ascii_digit());
    let lower = text.trim().to_ascii_lowercase();
    Some(lower.as_str())
        .filter(is_plain)
        .filter(|text| !text.ends_with("ago"))
        .and_then(span)
        .ok_or_else(|| format!("{text:?} is no length of time; give one like 30m, 24h or 1d12h"))
}

/// A sum of numbers with units.
fn span(text: &str) -> Option<TimeDelta> {
    let text = text.trim_end().strip_suffix("ago").unwrap_or(text).trim();
    let mut rest = text.strip_prefix('-').unwrap_or(text);
    let mut sum = TimeDelta::zero();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at_checked(digits)?;
        let number: i64 = number.parse().ok()?;
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let seconds = match unit {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hour" | "hours" => 3600,
            "d" | "day" | "days" => 86_400,
            "w" | "week" | "weeks" => 604_800,
            _ => return None,
        };
        sum = sum.checked_add(&TimeDelta::try_seconds(number.checked_mul(seconds)?)?)?;
        rest = after.trim_start();
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-03-01T12:30:00Z").unwrap_or_default().to_utc()
    }

    #[test]
    fn times_are_taken_as_people_write_them() {
        for (text, expected) in [
            ("2026-02-28T10:00:00Z", "2026-02-28T10:00:00Z"),
            ("2026-02-28T10:00:00+02:00", "2026-02-28T08:00:00Z"),
            ("2026-02-28T10:00:00.5Z", "2026-02-28T10:00:00.500Z"),
            ("2026-02-28 10:00", "2026-02-28T10:00:00Z"),
            ("2026-02-28 10:00:07", "2026-02-28T10:00:07Z"),
            ("2026-02-28", "2026-02-28T00:00:00Z"),
            ("now", "2026-03-01T12:30:00Z"),
            ("today", "2026-03-01T00:00:00Z"),
            ("Yesterday", "2026-02-28T00:00:00Z"),
            ("2h", "2026-03-01T10:30:00Z"),
            ("2 hours ago", "2026-03-01T10:30:00Z"),
            ("-90s", "2026-03-01T12:28:30Z"),
            ("1d12h", "2026-02-28T00:30:00Z"),
            ("1 week 1 day ago", "2026-02-21T12:30:00Z"),
        ] {
            let time = parse_time(text, now()).map(crate::json::time);
            assert_eq!(time.as_deref(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused_with_examples() {
        for text in
            ["", "soon", "2", "2 fortnights", "ago", "99999999999999999d", "h", "2026-13-01"]
        {
            let why = parse_time(text, now()).unwrap_err();
            assert!(why.contains("2 hours ago"), "{text}: {why}");
        }
    }

    #[test]
    fn a_plain_number_is_an_lsn() {
        assert_eq!(parse_when("1234", now()), Ok(When::Lsn(Lsn::new(1234))));
        assert_eq!(parse_when("now", now()), Ok(When::Time(now())));
        assert!(parse_when("x", now()).unwrap_err().contains("an LSN"));
    }
}
