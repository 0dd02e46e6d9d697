//! JSON output: an envelope with the schema's name, and nothing in it that a terminal would obey.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;

use crate::{console::Console, failure::Failure, show};

/// A document with the name of its schema first.
#[derive(Debug, Serialize)]
struct Envelope<'a, T> {
    schema: &'a str,
    #[serde(flatten)]
    content: &'a T,
}

/// The name of a verb's schema.
#[must_use]
pub fn schema_name(verb: &str) -> String {
    format!("peer-journal/{verb}/1")
}

/// Prints one document, for people to read too.
///
/// # Errors
/// If it cannot be written.
pub fn document(
    console: &mut Console,
    verb: &str,
    content: &impl Serialize,
) -> Result<(), Failure> {
    let envelope = Envelope { schema: &schema_name(verb), content };
    let text = serde_json::to_string_pretty(&envelope).map_err(not_encoded)?;
    console.line(defused(&text))
}

/// Prints one line of a stream of documents (NDJSON).
///
/// # Errors
/// If it cannot be written.
pub fn line(console: &mut Console, verb: &str, content: &impl Serialize) -> Result<(), Failure> {
    let envelope = Envelope { schema: &schema_name(verb), content };
    let text = serde_json::to_string(&envelope).map_err(not_encoded)?;
    console.line(defused(&text))
}

fn not_encoded(error: serde_json::Error) -> Failure {
    Failure::negative(format!("cannot write the answer as JSON: {error}"))
}

/// The same JSON, with everything escaped that a terminal or a reader's eye would take for more
/// than text. serde escapes what JSON demands: control characters below a space.
fn defused(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of strings JSON has no such characters but line ends and spaces.
        if c != '\n' && show::is_hostile(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing into a string cannot fail.
                write!(text, "\\u{unit:04x}").unwrap_or_default();
            }
        } else {
            text.push(c);
        }
    }
    text
}

/// RFC 3339 in UTC, with as many digits as it takes.
#[must_use]
pub fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

/// A time that may be "never" (the UNIX epoch), which is null.
#[must_use]
pub fn seen(at: DateTime<Utc>) -> Option<String> {
    (at != DateTime::UNIX_EPOCH).then(|| time(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_a_terminal_would_obey_is_escaped_and_comes_back_unchanged() {
        let hostile = "a\u{1b}[31m\u{9b}2J\u{202e}b\u{7f}\u{e0001}\n\"";
        let text = defused(&serde_json::to_string(hostile).unwrap_or_default());
        assert_eq!(
            text, "\"a\\u001b[31m\\u009b2J\\u202eb\\u007f\\udb40\\udc01\\n\\\"\"",
            "nothing but printable characters"
        );
        let back: Option<String> = serde_json::from_str(&text).ok();
        assert_eq!(back.as_deref(), Some(hostile));
    }
}
