//! Lines of a JSON document, which its parser does not tell.

use serde::de::DeserializeOwned;
use serde_json::{Value, value::RawValue};

/// Where the lines of a text end.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    ends: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let is_end = |(_, byte): &(usize, u8)| *byte == b'\n';
        let ends = text.bytes().enumerate().filter(is_end).map(|(offset, _)| offset).collect();
        Self { text, ends }
    }

    /// The line in which a part of the text begins, counted from 1; `None` if it is a part of some
    /// other text.
    pub(super) fn line(&self, part: &'a RawValue) -> Option<u64> {
        let offset = part.get().as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        if offset > self.text.len() {
            return None;
        }
        u64::try_from(self.ends.partition_point(|end| *end < offset) + 1).ok()
    }
}

/// An entry of a document, or what is wrong with it: one bad entry is no reason to refuse the
/// others.
pub(super) fn parse<T: DeserializeOwned>(entry: &RawValue) -> Result<T, String> {
    // By way of a value, whose errors do not tell a position: it would be one inside the entry.
    let value: serde_json::Result<Value> = serde_json::from_str(entry.get());
    value.and_then(serde_json::from_value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_on_the_lines_where_they_begin_whatever_else_reads_alike() {
        let text = "[\n \"x\", \"x\",\n\r\n {\"x\":\n \"x\"},\n  \"\\u0078\"\n,7]";
        let entries: Vec<&RawValue> = serde_json::from_str(text).unwrap();
        let lines = Lines::of(text);
        let found: Vec<_> = entries.iter().map(|entry| lines.line(entry)).collect();
        assert_eq!(found, [2, 2, 4, 6, 7].map(Some));
        assert_eq!(parse(entries[3]), Ok("x".to_owned()));
        let other = RawValue::from_string("7".to_owned()).unwrap();
        let elsewhere = Lines::of("7").line(&other);
        assert!(elsewhere.is_none_or(|line| line == 1), "{elsewhere:?}");
    }
}
