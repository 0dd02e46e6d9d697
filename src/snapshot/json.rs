//! Pretty JSON to a sink, piece by piece, with a running checksum: what serde_json's pretty writer
//! writes, without its many small writes.

use std::io::{self, Write};

use data_encoding::BASE64;
use serde::Serialize;

use crate::state::{AddressRef, PeerKey, Time, push_decimal};

/// Bytes are handed on in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;
/// Bytes of a value that are encoded at once; a multiple of three, so that only the last is padded.
const VALUE_PIECE_BYTES: usize = 3 << 14;
/// Two spaces for each level.
const INDENT: &str = "                ";

/// Where the document's bytes go, piece by piece. An error stops the writing.
pub(crate) type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// A document being written. A value follows its [`key`](Self::key) or [`item`](Self::item).
pub(super) struct Json<'a, 'b> {
    text: Vec<u8>,
    depth: usize,
    /// Nothing was written at this level yet.
    is_first: bool,
    hasher: crc32fast::Hasher,
    sink: &'a mut Sink<'b>,
}

impl<'a, 'b> Json<'a, 'b> {
    pub(super) fn new(sink: &'a mut Sink<'b>) -> Self {
        let text = Vec::with_capacity(PIECE_BYTES * 2);
        Self { text, depth: 0, is_first: true, hasher: crc32fast::Hasher::new(), sink }
    }

    /// Begins a map (`{`) or a list (`[`).
    pub(super) fn begin(&mut self, bracket: u8) {
        self.text.push(bracket);
        self.depth += 1;
        self.is_first = true;
    }

    /// Ends a map (`}`) or a list (`]`).
    pub(super) fn end(&mut self, bracket: u8) {
        self.depth -= 1;
        if !self.is_first {
            self.line();
        }
        self.text.push(bracket);
        self.is_first = false;
    }

    /// The place of the next value of a list. Between two of them what gathered is handed on.
    pub(super) fn item(&mut self) -> io::Result<()> {
        if self.text.len() >= PIECE_BYTES {
            self.hand_on()?;
        }
        self.separate();
        Ok(())
    }

    /// A name in a map; it needs no escapes.
    pub(super) fn key(&mut self, name: &str) {
        self.separate();
        self.text.push(b'"');
        self.text.extend_from_slice(name.as_bytes());
        self.text.extend_from_slice(b"\": ");
    }

    pub(super) fn number(&mut self, number: u64) {
        push_decimal(number, &mut self.text);
    }

    pub(super) fn count(&mut self, count: usize) {
        self.number(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(super) fn bool(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    pub(super) fn null(&mut self) {
        self.raw("null");
    }

    pub(super) fn time(&mut self, time: Time) {
        self.text.push(b'"');
        time.push_text(&mut self.text);
        self.text.push(b'"');
    }

    pub(super) fn string(&mut self, text: &str) -> io::Result<()> {
        if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
            self.text.push(b'"');
            self.text.extend_from_slice(text.as_bytes());
            self.text.push(b'"');
            return Ok(());
        }
        self.other(&text)
    }

    pub(super) fn peer_id(&mut self, peer: &PeerKey) -> io::Result<()> {
        self.usual(|text| peer.push_usual_text(text), || peer.to_string())
    }

    pub(super) fn address(&mut self, address: AddressRef<'_>) -> io::Result<()> {
        self.usual(|text| address.push_usual_text(text), || address.to_string())
    }

    /// A string that `push` appends and that needs no escapes, or else any.
    fn usual(
        &mut self,
        push: impl FnOnce(&mut Vec<u8>) -> bool,
        any: impl FnOnce() -> String,
    ) -> io::Result<()> {
        self.text.push(b'"');
        if push(&mut self.text) {
            self.text.push(b'"');
            return Ok(());
        }
        self.text.pop();
        self.string(&any())
    }

    /// Text of the document as it stands, several parts at once: for the rows of which there are
    /// many. It begins and ends nothing that [`begin`](Self::begin) and [`end`](Self::end) count.
    pub(super) fn raw(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }

    /// Bytes as base64 with padding. Values may be large: they go out in pieces too.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.text.push(b'"');
        for piece in bytes.chunks(VALUE_PIECE_BYTES) {
            // Not `encode_append`: it fills the room with zeros first.
            write!(self.text, "{}", BASE64.encode_display(piece))?;
            if self.text.len() >= PIECE_BYTES {
                self.hand_on()?;
            }
        }
        self.text.push(b'"');
        Ok(())
    }

    /// Whatever is rare enough to leave it to serde_json.
    pub(super) fn other(&mut self, value: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.text, value).map_err(Into::into)
    }

    /// The checksum of all bytes so far.
    pub(super) fn checksum(&mut self) -> io::Result<u32> {
        self.hand_on()?;
        Ok(self.hasher.clone().finalize())
    }

    /// Ends the document with a line end. Gives the checksum of all of it.
    pub(super) fn finish(mut self) -> io::Result<u32> {
        self.text.push(b'\n');
        self.hand_on()?;
        Ok(self.hasher.finalize())
    }

    fn separate(&mut self) {
        if !self.is_first {
            self.text.push(b',');
        }
        self.is_first = false;
        self.line();
    }

    fn line(&mut self) {
        self.text.push(b'\n');
        self.raw(INDENT.get(..self.depth * 2).unwrap_or(INDENT));
    }

    fn hand_on(&mut self) -> io::Result<()> {
        self.hasher.update(&self.text);
        let handed = (self.sink)(&self.text);
        self.text.clear();
        handed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn put(json: &mut Json<'_, '_>, value: &Value) -> io::Result<()> {
        match value {
            Value::Null => json.null(),
            Value::Bool(value) => json.bool(*value),
            Value::Number(number) => match number.as_u64() {
                Some(number) => json.number(number),
                None => json.other(number)?,
            },
            Value::String(text) => json.string(text)?,
            Value::Array(items) => {
                json.begin(b'[');
                for item in items {
                    json.item()?;
                    put(json, item)?;
                }
                json.end(b']');
            }
            Value::Object(map) => {
                json.begin(b'{');
                for (name, value) in map {
                    json.key(name);
                    put(json, value)?;
                }
                json.end(b'}');
            }
        }
        Ok(())
    }

    #[test]
    fn values_are_base64_whatever_their_length() {
        for len in [0, 1, 2, 3, 100, VALUE_PIECE_BYTES, VALUE_PIECE_BYTES * 3 + 1] {
            let value: Vec<u8> = (0..=250_u8).cycle().take(len).collect();
            let mut written = Vec::new();
            let mut sink = |piece: &[u8]| {
                written.extend_from_slice(piece);
                Ok(())
            };
            let mut json = Json::new(&mut sink);
            json.bytes(&value).unwrap();
            json.finish().unwrap();
            assert_eq!(written, format!("\"{}\"\n", BASE64.encode(&value)).into_bytes());
        }
    }

    #[test]
    fn it_writes_what_serde_json_writes() {
        let controls: String = (0..=0x80_u8).map(char::from).collect();
        let document = json!({
            "empty": [[], {}, ""],
            "numbers": [0, 7, 10, 4_294_967_296_u64, u64::MAX, -1, 0.1, 1e300],
            "texts": ["plain", "\"", "\\", "a\u{e9}\u{1f600}", controls],
            "deep": {"a": {"b": [{"c": null, "d": true}, false]}},
            "long": vec!["x".repeat(1000); 300],
        });
        let (mut written, mut pieces) = (Vec::new(), 0);
        let mut sink = |piece: &[u8]| {
            written.extend_from_slice(piece);
            pieces += 1;
            Ok(())
        };
        let mut json = Json::new(&mut sink);
        put(&mut json, &document).unwrap();
        let checksum = json.checksum().unwrap();
        json.finish().unwrap();
        let text = serde_json::to_string_pretty(&document).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), format!("{text}\n"));
        assert_eq!(checksum, crc32fast::hash(text.as_bytes()));
        assert!(pieces > 3, "{pieces}");
    }
}
