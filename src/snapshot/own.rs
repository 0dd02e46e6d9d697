//! Reads a document that stands exactly as [`write`](super::write) writes it, without the detour
//! over JSON in general. Anything else, be it one space more, and any row that a limit keeps out,
//! is left to the general reader in [`read`](super::read). Where both read, they read the same.

mod peers;
mod pieces;
mod split;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use data_encoding::BASE64;
use memchr::memmem;
use pieces::Pieces;
use split::{ROW, Rows, behind_last};

use super::{
    Meta,
    both::is_worth_it,
    read::{Filling, Loaded, Seal},
};
use crate::{
    Lsn, StoreId,
    ids::NUMBER_MAX,
    state::{Change, GeoLocation, Limits, P2PState, PeerKey, Reputation, Time},
};

/// Shorter documents are read by one thread: starting another one takes longer than it saves.
const SHARED_BYTES_MIN: usize = 1 << 20;

/// Reads a whole document; `None` if it is to be read in general.
pub(super) fn read(bytes: &[u8], limits: Limits) -> Option<Loaded> {
    read_by(bytes, limits, bytes.len() >= SHARED_BYTES_MIN && is_worth_it())
}

/// As [`read`], with two threads or with one: the result is the same.
fn read_by(bytes: &[u8], limits: Limits, is_shared: bool) -> Option<Loaded> {
    let mut text = Text { rest: bytes };
    text.skip(b"{\n  \"version\": ")?;
    if text.number()? != u64::from(P2PState::CURRENT_VERSION) {
        return None;
    }
    let seal = Seal::of(bytes).ok()?;
    text.skip(b",\n  \"store_id\": ")?;
    let store_id = StoreId::parse(&text.string()?)?;
    text.skip(b",\n  \"lsn\": ")?;
    let lsn = Lsn::new(text.number()?);
    text.skip(b",\n  \"segment\": ")?;
    let segment = text.number()?;
    text.skip(b",\n  \"saved_at\": ")?;
    let saved_at = text.time()?.get();
    let count = text.counts()?;
    if lsn.get() > NUMBER_MAX || segment > NUMBER_MAX {
        return None;
    }
    let peers = text.rows(b",\n  \"peers\": [", b",\n      \"addresses\": [")?;
    let reputations =
        text.rows(b",\n  \"reputation\": [", b",\n      \"successful_retrievals\": ")?;
    let pieces = Pieces::of(Rows { peers, reputations }, seal.bytes, is_shared);
    let (state, crc) = pieces.read(limits, count)?;
    seal.check(crc).ok()?;
    let mut filling = Filling::of(state);
    text.others(&mut filling)?;
    text.skip(b",\n  \"checksum\": ")?;
    text.string()?;
    text.skip(b"\n}\n")?;
    text.rest.is_empty().then(|| filling.loaded(Meta { store_id, lsn, segment, saved_at }))
}

/// The key of an id's text, unless that is no text.
fn key(id: &[u8]) -> Option<PeerKey> {
    PeerKey::from_usual_text(id).or_else(|| std::str::from_utf8(id).ok().map(PeerKey::from_text))
}

/// Bytes before the first one that is a quote, a backslash or a control, eight at a time.
fn plain_len(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = ONES << 7;
    // Of the marked bytes the lowest is a true one.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (words, rest) = text.as_chunks::<8>();
    let mut len = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let marks = zeros(word ^ (ONES * 0x22)) | zeros(word ^ (ONES * 0x5c)) | controls;
        if marks != 0 {
            return len + usize::try_from(marks.trailing_zeros() / 8).unwrap_or_default();
        }
        len += 8;
    }
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    len + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// What is not read yet. Every method takes what it reads off the front; `None` if something else
/// stands there.
struct Text<'a> {
    rest: &'a [u8],
}

impl<'a> Text<'a> {
    /// The length of the piece is known to the compiler, which compares a few words then.
    fn skip<const N: usize>(&mut self, piece: &[u8; N]) -> Option<()> {
        let (start, rest) = self.rest.split_first_chunk::<N>()?;
        if start == piece {
            self.rest = rest;
            return Some(());
        }
        None
    }

    fn skips<const N: usize>(&mut self, piece: &[u8; N]) -> bool {
        self.skip(piece).is_some()
    }

    fn number(&mut self) -> Option<u64> {
        let mut number: u64 = 0;
        let mut rest = self.rest;
        while let Some((digit, after)) = rest.split_first() {
            let value = digit.wrapping_sub(b'0');
            if value > 9 {
                break;
            }
            number = number.checked_mul(10)?.checked_add(value.into())?;
            rest = after;
        }
        let len = self.rest.len() - rest.len();
        if len == 0 || (len > 1 && self.rest.starts_with(b"0")) {
            return None;
        }
        self.rest = rest;
        Some(number)
    }

    fn float(&mut self) -> Option<f64> {
        let len = self.rest.iter().position(|byte| matches!(byte, b',' | b'\n'))?;
        let (number, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        serde_json::from_slice(number).ok()
    }

    /// A string without escapes, in bytes that need not be text. `None` also if it has escapes.
    fn plain(&mut self) -> Option<&'a [u8]> {
        let text = self.rest.strip_prefix(b"\"")?;
        let (plain, rest) = text.split_at_checked(plain_len(text))?;
        self.rest = rest.strip_prefix(b"\"")?;
        Some(plain)
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        match self.plain() {
            Some(plain) => std::str::from_utf8(plain).ok().map(Cow::Borrowed),
            None => self.escaped().map(Cow::Owned),
        }
    }

    /// The text of a peer id, in bytes that need not be text.
    fn id(&mut self) -> Option<Cow<'a, [u8]>> {
        match self.plain() {
            Some(plain) => Some(Cow::Borrowed(plain)),
            None => self.escaped().map(|text| Cow::Owned(text.into_bytes())),
        }
    }

    /// A string with escapes in it.
    fn escaped(&mut self) -> Option<String> {
        let mut is_escaped = false;
        let end = self.rest.iter().skip(1).position(|byte| {
            let is_end = *byte == b'"' && !is_escaped;
            is_escaped = *byte == b'\\' && !is_escaped;
            is_end
        })?;
        let (string, rest) = self.rest.split_at_checked(end + 2)?;
        self.rest = rest;
        serde_json::from_slice(string).ok()
    }

    fn boxed(&mut self) -> Option<Box<str>> {
        self.string().map(|text| text.into_owned().into_boxed_str())
    }

    /// A string, or nothing.
    fn optional(&mut self) -> Option<Option<Box<str>>> {
        if self.skips(b"null") { Some(None) } else { self.boxed().map(Some) }
    }

    fn bytes(&mut self) -> Option<Box<[u8]>> {
        BASE64.decode(self.string()?.as_bytes()).ok().map(Vec::into_boxed_slice)
    }

    fn time(&mut self) -> Option<Time> {
        let text = self.plain()?;
        Time::from_bytes(text).or_else(|| Time::from_text(std::str::from_utf8(text).ok()?).ok())
    }

    /// A list of the document.
    fn list<const N: usize>(
        &mut self,
        name: &[u8; N],
        row: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.list_at(name, b"\n  ]", row)
    }

    /// A list that ends with these bytes, unless it is empty.
    fn list_at<const N: usize, const M: usize>(
        &mut self,
        name: &[u8; N],
        end: &[u8; M],
        mut row: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.skip(name)?;
        if self.skips(b"]") {
            return Some(());
        }
        loop {
            row(self)?;
            if !self.skips(b",") {
                return self.skip(end);
            }
        }
    }

    /// The rows of a list of peers, unread. It is told from the lists behind it by what follows the
    /// id in its rows.
    fn rows<const N: usize, const M: usize>(
        &mut self,
        name: &[u8; N],
        behind_id: &[u8; M],
    ) -> Option<&'a [u8]> {
        self.skip(name)?;
        if self.skips(b"]") {
            return Some(&[]);
        }
        let last = behind_last(self.rest, |row| row.id().is_some() && row.skips(behind_id));
        let end = last + memmem::find(self.rest.get(last..)?, b"\n  ]")?;
        let (rows, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        self.skip(b"\n  ]")?;
        (!rows.is_empty()).then_some(rows)
    }

    /// The number of peers, and all the others, which nobody compares.
    fn counts(&mut self) -> Option<usize> {
        self.skip(b",\n  \"counts\": {\n    \"peers\": ")?;
        let peers = self.number()?;
        for name in
            ["reputation", "dht_entries", "package_cache", "bootstrap_nodes", "bans", "profiles"]
        {
            let name = format!(",\n    \"{name}\": ");
            self.rest = self.rest.strip_prefix(name.as_bytes())?;
            usize::try_from(self.number()?).ok()?;
        }
        self.skip(b"\n  }")?;
        usize::try_from(peers).ok()
    }

    /// What follows the id.
    fn reputation(&mut self) -> Option<Reputation> {
        self.skip(b",\n      \"successful_retrievals\": ")?;
        let successful_retrievals = self.number()?;
        self.skip(b",\n      \"failed_retrievals\": ")?;
        let failed_retrievals = self.number()?;
        self.skip(b",\n      \"last_seen\": ")?;
        let last_seen = self.time()?;
        self.skip(b",\n      \"avg_response_time_ms\": ")?;
        let avg_response_time_ms = self.number()?;
        self.skip(b",\n      \"location\": ")?;
        let location = if self.skips(b"null") { None } else { Some(Box::new(self.location()?)) };
        self.skip(b",\n      \"packages_provided\": ")?;
        let packages_provided = self.number()?;
        self.skip(b"\n    }")?;
        Some(Reputation {
            successful_retrievals,
            failed_retrievals,
            last_seen,
            avg_response_time_ms,
            location,
            packages_provided,
        })
    }

    fn location(&mut self) -> Option<GeoLocation> {
        self.skip(b"{\n        \"latitude\": ")?;
        let latitude = self.float()?;
        self.skip(b",\n        \"longitude\": ")?;
        let longitude = self.float()?;
        self.skip(b",\n        \"region\": ")?;
        let region = self.optional()?;
        self.skip(b"\n      }")?;
        Some(GeoLocation { latitude, longitude, region })
    }

    /// All lists behind that of reputations.
    fn others(&mut self, filling: &mut Filling) -> Option<()> {
        self.list(b",\n  \"dht_entries\": [", |text| {
            text.skip(b"\n    {\n      \"key\": ")?;
            let key = text.boxed()?;
            text.skip(b",\n      \"value\": ")?;
            let value = text.bytes()?;
            text.skip(b",\n      \"stored_at\": ")?;
            let at = text.time()?;
            filling.put(Change::DhtPut { key, value, at });
            text.skip(b"\n    }")
        })?;
        self.list(b",\n  \"package_cache\": [", |text| {
            text.skip(b"\n    {\n      \"package_id\": ")?;
            let id = text.boxed()?;
            text.skip(b",\n      \"package_data\": ")?;
            let data = text.bytes()?;
            text.skip(b",\n      \"cached_at\": ")?;
            let at = text.time()?;
            filling.put(Change::PackageCached { id, data, at });
            text.skip(b"\n    }")
        })?;
        let mut nodes = Vec::new();
        self.list(b",\n  \"bootstrap_nodes\": [", |text| {
            text.skip(b"\n    ")?;
            nodes.push(text.boxed()?);
            Some(())
        })?;
        filling.put_nodes(nodes);
        self.list(b",\n  \"bans\": [", |text| text.ban(filling))?;
        self.list(b",\n  \"profiles\": [", |text| text.profile(filling))
    }

    fn ban(&mut self, filling: &mut Filling) -> Option<()> {
        self.skip(b"\n    {\n      \"peer_id\": ")?;
        let peer = key(&self.id()?)?;
        self.skip(b",\n      \"banned_at\": ")?;
        let at = self.time()?;
        self.skip(b",\n      \"until\": ")?;
        let until = self.time()?;
        self.skip(b",\n      \"reason\": ")?;
        let reason = self.boxed()?;
        self.skip(b",\n      \"source\": ")?;
        let source = self.boxed()?;
        filling.put(Change::Banned { peer, at, until, reason, source });
        self.skip(b"\n    }")
    }

    fn profile(&mut self, filling: &mut Filling) -> Option<()> {
        self.skip(b"\n    {\n      \"peer_id\": ")?;
        let peer = key(&self.id()?)?;
        self.skip(b",\n      \"verified\": ")?;
        let verified = self.skips(b"true");
        if !verified {
            self.skip(b"false")?;
        }
        self.skip(b",\n      \"agent\": ")?;
        let agent = self.optional()?;
        let mut protocols = Vec::new();
        self.list_at(b",\n      \"protocols\": [", b"\n      ]", |text| {
            text.skip(b"\n        ")?;
            protocols.push(text.boxed()?);
            Some(())
        })?;
        filling.put_profile(peer, verified, agent, protocols);
        self.skip(b"\n    }")
    }
}
