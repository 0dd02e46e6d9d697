//! How things look on a terminal: text of strangers, ids, times, bytes, tables.

mod cells;
pub mod table;

use std::fmt::{self, Write as _};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use peer_journal::state::PeerKey;
use unicode_width::UnicodeWidthStr;

/// Characters of an id that are shown: the last ones, since all Ed25519 ids begin alike.
const ID_CHARS: usize = 8;

/// True for what a terminal obeys, or what makes text look like other text: control characters,
/// marks of direction, characters without width.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

/// Text of a stranger, safe to print.
#[must_use]
pub fn text(foreign: &str) -> String {
    if !foreign.chars().any(is_hostile) {
        return foreign.to_owned();
    }
    let mut safe = String::with_capacity(foreign.len() + 16);
    for c in foreign.chars() {
        if is_hostile(c) {
            // Writing into a string cannot fail.
            write!(safe, "<U+{:04X}>", u32::from(c)).unwrap_or_default();
        } else {
            safe.push(c);
        }
    }
    safe
}

/// As [`text`], without the end if it is longer than so many characters.
#[must_use]
pub fn head(foreign: &str, chars: usize) -> String {
    match foreign.char_indices().nth(chars) {
        None => text(foreign),
        Some((at, _)) => format!("{}\u{2026}", text(foreign.get(..at).unwrap_or_default())),
    }
}

/// A peer id by its end, which is where ids differ; all of it if `wide`.
#[must_use]
pub fn id(peer: &PeerKey, wide: bool) -> String {
    short(&peer.to_string(), wide)
}

fn short(full: &str, wide: bool) -> String {
    let chars = full.chars().count();
    match chars.checked_sub(ID_CHARS) {
        Some(before) if !wide && before > 1 => {
            let end: String = full.chars().skip(before).collect();
            format!("\u{2026}{}", text(&end))
        }
        _ => text(full),
    }
}

/// A number with a comma after each three digits.
#[must_use]
pub fn number(number: impl TryInto<u64>) -> String {
    let digits = number.try_into().unwrap_or(u64::MAX).to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 peer`, `2 peers`: the noun takes an `s`.
#[must_use]
pub fn count(count: impl TryInto<u64>, noun: &str) -> String {
    let count = count.try_into().unwrap_or(u64::MAX);
    let plural = match noun {
        _ if count == 1 => noun.to_owned(),
        "DHT entry" => "DHT entries".to_owned(),
        "address" => "addresses".to_owned(),
        _ => format!("{noun}s"),
    };
    format!("{} {plural}", number(count))
}

/// A size: `512 B`, `96.0 KiB`, `1.2 MiB`.
#[must_use]
pub fn bytes(bytes: impl TryInto<u64>) -> String {
    let bytes = bytes.try_into().unwrap_or(u64::MAX);
    let mut unit = 1_u64 << 10;
    for name in ["KiB", "MiB", "GiB", "TiB"] {
        if bytes < unit {
            break;
        }
        if bytes >> 10 < unit || name == "TiB" {
            // Down, so that 1023.99 does not become 1024.0.
            let tenths = (bytes % unit).saturating_mul(10) / unit;
            return format!("{}.{tenths} {name}", bytes / unit);
        }
        unit <<= 10;
    }
    format!("{bytes} B")
}

/// A time to the second, in UTC; `never` for the UNIX epoch.
#[must_use]
pub fn time(time: DateTime<Utc>) -> String {
    if time == DateTime::UNIX_EPOCH {
        return "never".to_owned();
    }
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// A time to the millisecond, in UTC.
#[must_use]
pub fn exact_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// How long ago: `4 s ago`, `in 3 d`, `never` for the UNIX epoch.
#[must_use]
pub fn ago(time: DateTime<Utc>, now: DateTime<Utc>) -> String {
    if time == DateTime::UNIX_EPOCH {
        return "never".to_owned();
    }
    let age = now.signed_duration_since(time);
    if age < TimeDelta::zero() {
        return format!("in {}", span(-age));
    }
    format!("{} ago", span(age))
}

/// A length of time in one unit: `4 s`, `11 min`, `3 h`, `12 d`.
#[must_use]
pub fn span(span: TimeDelta) -> String {
    let seconds = span.num_seconds().max(0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// The end of a ban that lasts until it is lifted: the last second that has four digits of a year.
pub const FOREVER: DateTime<Utc> = match DateTime::from_timestamp(253_402_300_799, 0) {
    Some(time) => time,
    None => DateTime::<Utc>::MAX_UTC,
};

/// When a ban ends: a time, or `it is lifted`.
#[must_use]
pub fn until(until: DateTime<Utc>) -> String {
    if until >= FOREVER { "it is lifted".to_owned() } else { time(until) }
}

/// How long a ban holds from a time on: `for 12 h`, or `until it is lifted`.
#[must_use]
pub fn ban_span(until: DateTime<Utc>, from: DateTime<Utc>) -> String {
    if until >= FOREVER {
        return "until it is lifted".to_owned();
    }
    format!("for {}", span(until.signed_duration_since(from)))
}

/// A score with two digits.
#[must_use]
pub fn score(score: f64) -> String {
    format!("{score:.2}")
}

/// A label of at most nine characters and a text that is wrapped beside it.
#[must_use]
pub fn labelled(label: &str, text: &str, width: Option<usize>) -> String {
    const INDENT: usize = 10;
    let mut lines = format!("{label:<INDENT$}");
    let mut column = INDENT;
    let room = width.unwrap_or(usize::MAX);
    for word in text.split(' ') {
        let wide = visible_width(word);
        if column > INDENT {
            if column.saturating_add(1 + wide) > room {
                lines.push('\n');
                lines.extend(std::iter::repeat_n(' ', INDENT));
                column = INDENT;
            } else {
                lines.push(' ');
                column += 1;
            }
        }
        lines.push_str(word);
        column += wide;
    }
    lines
}

/// Columns that a word takes, its colours not counted.
fn visible_width(word: &str) -> usize {
    let mut rest = word;
    let mut width = 0;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        width += before.width();
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    width + rest.width()
}

/// Items with commas between them.
pub fn list(items: impl IntoIterator<Item = impl fmt::Display>) -> String {
    let mut text = String::new();
    for item in items {
        let comma = if text.is_empty() { "" } else { ", " };
        // Writing into a string cannot fail.
        write!(text, "{comma}{item}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_strangers_cannot_move_the_cursor_or_turn_the_line_around() {
        assert_eq!(text("kubo/0.41 \u{e9}"), "kubo/0.41 \u{e9}");
        assert_eq!(text("a\u{1b}]0;x\u{7}b\r\n"), "a<U+001B>]0;x<U+0007>b<U+000D><U+000A>");
        assert_eq!(text("\u{202e}live\u{2066}\u{9b}"), "<U+202E>live<U+2066><U+009B>");
        assert_eq!(text("zero\u{200b}width"), "zero<U+200B>width");
        assert_eq!(head("abcdef", 3), "abc\u{2026}");
        assert_eq!(head("abc", 3), "abc");
        assert_eq!(head("\u{1b}\u{1b}\u{1b}", 1), "<U+001B>\u{2026}");
    }

    #[test]
    fn a_labelled_text_is_wrapped_beside_its_label() {
        let text = "\u{1b}[32mOK\u{1b}[0m: all of it verifies";
        assert_eq!(labelled("verdict", text, None), format!("verdict   {text}"));
        assert_eq!(
            labelled("verdict", text, Some(24)),
            "verdict   \u{1b}[32mOK\u{1b}[0m: all of it\n          verifies"
        );
        assert_eq!(labelled("a", "long-word x", Some(12)), "a         long-word\n          x");
    }

    #[test]
    fn ids_are_shown_by_their_end() {
        let full = "12D3KooWHsGHvXtTZydW3VgrM8iPe6Nok7W3jzRy9cvWUKdinK5V";
        assert_eq!(short(full, false), "\u{2026}UKdinK5V");
        assert_eq!(short(full, true), full);
        assert_eq!(short("123456789", false), "123456789", "a mark would not make it shorter");
        assert_eq!(short("", false), "");
        assert_eq!(short("evil\u{1b}[2Jxxxxxx", false), "\u{2026}2Jxxxxxx");
    }

    #[test]
    fn sizes_and_numbers_are_short_and_never_rounded_up() {
        let sizes = [0, 1023, 1024, 1536, 98_304, (1 << 20) - 1, 1 << 20, 1 << 30, u64::MAX];
        let shown = sizes.map(bytes);
        assert_eq!(
            shown.each_ref().map(String::as_str),
            [
                "0 B",
                "1023 B",
                "1.0 KiB",
                "1.5 KiB",
                "96.0 KiB",
                "1023.9 KiB",
                "1.0 MiB",
                "1.0 GiB",
                "16777215.9 TiB"
            ]
        );
        assert_eq!([0_u64, 999, 1000, 1_234_567].map(number).join(" "), "0 999 1,000 1,234,567");
        assert_eq!(count(1_u64, "peer"), "1 peer");
        assert_eq!(count(1200_u64, "DHT entry"), "1,200 DHT entries");
    }

    #[test]
    fn ages_have_one_unit() {
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default();
        let at = |seconds| ago(now - TimeDelta::seconds(seconds), now);
        assert_eq!(at(0), "0 s ago");
        assert_eq!(at(119), "119 s ago");
        assert_eq!(at(120), "2 min ago");
        assert_eq!(at(7200), "2 h ago");
        assert_eq!(at(172_800), "2 d ago");
        assert_eq!(at(-90), "in 90 s");
        assert_eq!(ago(DateTime::UNIX_EPOCH, now), "never");
        assert_eq!(time(DateTime::UNIX_EPOCH), "never");
    }
}
