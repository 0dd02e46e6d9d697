//! Reads a document that stands exactly as [`write`](super::write) writes it, without the detour
//! over JSON in general. Anything else, be it one space more, and any row that a limit keeps out,
//! is left to the general reader in [`read`](super::read). Where both read, they read the same.

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use data_encoding::BASE64;

use super::{
    Meta,
    read::{Filling, Loaded, check_seal},
};
use crate::{
    Lsn, StoreId,
    ids::NUMBER_MAX,
    state::{
        AddressPacker, Change, GeoLocation, Limits, P2PState, Peer, PeerEntry, PeerKey, Reputation,
        State, Time,
    },
};

/// No row of a peer is shorter: room is made for no more rows than the bytes can hold.
const PEER_BYTES_MIN: usize = 90;

/// Reads a whole document; `None` if it is to be read in general.
pub(super) fn read(bytes: &[u8], limits: Limits) -> Option<Loaded> {
    let mut text = Text { rest: bytes };
    text.skip(b"{\n  \"version\": ")?;
    if text.number()? != u64::from(P2PState::CURRENT_VERSION) {
        return None;
    }
    check_seal(bytes).ok()?;
    text.skip(b",\n  \"store_id\": ")?;
    let store_id = StoreId::parse(&text.string()?)?;
    text.skip(b",\n  \"lsn\": ")?;
    let lsn = Lsn::new(text.number()?);
    text.skip(b",\n  \"segment\": ")?;
    let segment = text.number()?;
    text.skip(b",\n  \"saved_at\": ")?;
    let saved_at = text.time()?.get();
    let count = text.counts()?;
    let mut peers = Peers::with_room(count.min(bytes.len() / PEER_BYTES_MIN));
    text.list(b",\n  \"peers\": [", |text| peers.seen(text))?;
    let is_believed = lsn.get() <= NUMBER_MAX && segment <= NUMBER_MAX;
    if peers.rows.len() != count || !is_believed {
        return None;
    }
    text.list(b",\n  \"reputation\": [", |text| peers.reputation(text))?;
    let mut filling = Filling::of(State::of_peers(limits, peers.rows)?);
    text.others(&mut filling)?;
    text.skip(b",\n  \"checksum\": ")?;
    text.string()?;
    text.skip(b"\n}\n")?;
    text.rest.is_empty().then(|| filling.loaded(Meta { store_id, lsn, segment, saved_at }))
}

/// Peers with their reputations. Both lists are in the order of the ids, so that no reputation has
/// to look for its peer and no id comes twice.
struct Peers<'a> {
    rows: Vec<(PeerKey, PeerEntry)>,
    /// The ids of the rows that the list of peers made.
    ids: Vec<Cow<'a, str>>,
    packer: AddressPacker,
    /// The place in `ids` that reputations have come to, and the id of the last one.
    next: usize,
    last: Option<Cow<'a, str>>,
}

impl<'a> Peers<'a> {
    fn with_room(peers: usize) -> Self {
        Self {
            rows: Vec::with_capacity(peers),
            ids: Vec::with_capacity(peers),
            packer: AddressPacker::default(),
            next: 0,
            last: None,
        }
    }

    fn seen(&mut self, text: &mut Text<'a>) -> Option<()> {
        text.skip(b"\n    {\n      \"peer_id\": ")?;
        let id = text.string()?;
        text.list_at(b",\n      \"addresses\": [", b"\n      ]", |text| {
            text.skip(b"\n        ")?;
            self.packer.push(&text.string()?);
            Some(())
        })?;
        text.skip(b",\n      \"last_seen\": ")?;
        let last_seen = text.time()?;
        text.skip(b"\n    }")?;
        if self.ids.last().is_some_and(|last| *last >= id) {
            return None;
        }
        let seen = Peer { last_seen, addresses: self.packer.take()?, verified: false };
        let entry = PeerEntry { seen: Some(seen), ..PeerEntry::default() };
        self.rows.push((PeerKey::from_text(&id), entry));
        self.ids.push(id);
        Some(())
    }

    fn reputation(&mut self, text: &mut Text<'a>) -> Option<()> {
        text.skip(b"\n    {\n      \"peer_id\": ")?;
        let id = text.string()?;
        let reputation = text.reputation()?;
        if self.last.as_ref().is_some_and(|last| *last >= id) {
            return None;
        }
        while self.ids.get(self.next).is_some_and(|known| *known < id) {
            self.next += 1;
        }
        match self.ids.get(self.next).filter(|known| **known == id) {
            Some(_) => self.rows.get_mut(self.next)?.1.reputation = Some(reputation),
            None => {
                let entry = PeerEntry { reputation: Some(reputation), ..PeerEntry::default() };
                self.rows.push((PeerKey::from_text(&id), entry));
            }
        }
        self.last = Some(id);
        Some(())
    }
}

/// What is not read yet. Every method takes what it reads off the front; `None` if something else
/// stands there.
struct Text<'a> {
    rest: &'a [u8],
}

impl<'a> Text<'a> {
    fn skip(&mut self, piece: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(piece)?;
        Some(())
    }

    fn skips(&mut self, piece: &[u8]) -> bool {
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

    fn string(&mut self) -> Option<Cow<'a, str>> {
        let text = self.rest.strip_prefix(b"\"")?;
        let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
        let (plain, rest) = text.split_at_checked(text.iter().position(is_special)?)?;
        if let Some(rest) = rest.strip_prefix(b"\"") {
            self.rest = rest;
            return std::str::from_utf8(plain).ok().map(Cow::Borrowed);
        }
        self.escaped().map(Cow::Owned)
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
        Time::from_text(&self.string()?).ok()
    }

    /// A list of the document.
    fn list(&mut self, name: &[u8], row: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.list_at(name, b"\n  ]", row)
    }

    /// A list that ends with these bytes, unless it is empty.
    fn list_at(
        &mut self,
        name: &[u8],
        end: &[u8],
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

    /// The number of peers, and all the others, which nobody compares.
    fn counts(&mut self) -> Option<usize> {
        self.skip(b",\n  \"counts\": {\n    \"peers\": ")?;
        let peers = self.number()?;
        for name in
            ["reputation", "dht_entries", "package_cache", "bootstrap_nodes", "bans", "profiles"]
        {
            self.skip(format!(",\n    \"{name}\": ").as_bytes())?;
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
        let peer = PeerKey::from_text(&self.string()?);
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
        let peer = PeerKey::from_text(&self.string()?);
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
