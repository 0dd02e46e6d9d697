//! Taking one peer out of changes and states: its rows, and its id wherever else it stands.
//!
//! Taking it out of each change and replaying gives what taking it out of the state gives. So the
//! snapshots and the records of a past can be redacted one by one and still agree.

use data_encoding::{BASE32_NOPAD, BASE64URL_NOPAD};

use super::{
    Address, AddressList, Ban, Change, DecodeError, GeoLocation, PeerEntry, PeerKey, Profile,
    State, encode,
};
use crate::Error;

/// Stands where a text named the peer.
const REDACTED: &str = "[redacted]";
/// How the id of the peer ends that takes the place of what is taken out of a record.
const FILLER: &str = "redacted";
/// Bytes of a filler before its text: variant, form of the peer, length.
const FILLER_HEAD: usize = 3;
/// Longest text of a filler: its length fits one byte of a varint.
const FILLER_TEXT_MAX: usize = 127;
/// Shorter than this, a digest may stand anywhere by chance.
const DIGEST_BYTES_MIN: usize = 16;
/// `libp2p-key`, the codec of a peer id that is written as a CID.
const CID_HEAD: [u8; 2] = [0x01, 0x72];

/// Knows what must not be left of a peer.
#[derive(Clone, Debug)]
pub(crate) struct Redactor {
    peer: PeerKey,
    /// The id as it may stand in bytes and texts. None for an id that is only a text: it could be a
    /// part of any other text.
    needles: Vec<Vec<u8>>,
}

impl Redactor {
    pub(crate) fn new(peer: &PeerKey) -> Self {
        let mut needles = Vec::new();
        if let Some(id) = peer.to_peer_id() {
            let bytes = id.to_bytes();
            let digest = id.as_ref().digest();
            needles.push(match peer.usual() {
                Some((_, raw)) => raw.to_vec(),
                None if digest.len() >= DIGEST_BYTES_MIN => digest.to_vec(),
                None => bytes.clone(),
            });
            needles.push(id.to_base58().into_bytes());
            let cid = BASE32_NOPAD.encode(&[CID_HEAD.as_slice(), &bytes].concat());
            needles.push(format!("b{}", cid.to_ascii_lowercase()).into_bytes());
        }
        Self { peer: peer.clone(), needles }
    }

    /// True if these bytes name the peer.
    pub(crate) fn finds(&self, bytes: &[u8]) -> bool {
        self.needles.iter().any(|needle| contains(bytes, needle))
    }

    fn is_peer(&self, key: &PeerKey) -> bool {
        *key == self.peer || key.usual().is_none() && self.finds(key.to_string().as_bytes())
    }

    fn finds_text(&self, text: &str) -> bool {
        self.finds(text.as_bytes())
    }

    fn finds_address(&self, address: super::AddressRef<'_>) -> bool {
        self.finds(address.parts().1)
    }

    /// Parts of a key may be the base64 of bytes that name the peer.
    pub(super) fn finds_key(&self, key: &str) -> bool {
        let decodes = |part: &str| BASE64URL_NOPAD.decode(part.as_bytes()).ok();
        self.finds_text(key) || key.split('/').filter_map(decodes).any(|bytes| self.finds(&bytes))
    }

    fn addresses(&self, addresses: &[Address]) -> Vec<Address> {
        let others = addresses.iter().filter(|address| !self.finds_address(address.as_ref()));
        others.cloned().collect()
    }

    fn text(&self, text: &str) -> Box<str> {
        if self.finds_text(text) { REDACTED.into() } else { text.into() }
    }

    fn profile(&self, agent: Option<&str>, protocols: &[Box<str>]) -> Profile {
        Profile {
            agent: agent.map(|agent| self.text(agent)),
            protocols: protocols.iter().map(|protocol| self.text(protocol)).collect(),
        }
    }

    fn place(&self, place: &GeoLocation) -> GeoLocation {
        let region = place.region.as_deref().map(|region| self.text(region));
        GeoLocation { region, ..place.clone() }
    }

    /// The change without the peer; `None` if nothing of it is left.
    pub(crate) fn change(&self, change: &Change) -> Option<Change> {
        if change.peer().is_some_and(|peer| self.is_peer(peer)) {
            return None;
        }
        let mut change = change.clone();
        match &mut change {
            Change::PeerSeen { addresses, .. }
            | Change::AddressesAdded { addresses, .. }
            | Change::AddressesReplaced { addresses, .. }
            | Change::AddressesRemoved { addresses, .. }
            | Change::PeerSet { addresses, .. } => *addresses = self.addresses(addresses),
            Change::PeerProfiled { agent, protocols, .. } => {
                let profile = self.profile(agent.as_deref(), protocols);
                (*agent, *protocols) = (profile.agent, profile.protocols.into_vec());
            }
            Change::LocationSet { location: Some(place), .. } => *place = self.place(place),
            Change::ReputationSet { reputation, .. } => {
                if let Some(place) = &mut reputation.location {
                    **place = self.place(place);
                }
            }
            Change::Banned { reason, source, .. } => {
                (*reason, *source) = (self.text(reason), self.text(source));
            }
            _ => return self.value(change),
        }
        Some(change)
    }

    /// A change that is about no peer.
    fn value(&self, change: Change) -> Option<Change> {
        match change {
            Change::DhtPut { key, .. } | Change::DhtRemoved { key } if self.finds_key(&key) => None,
            Change::PackageCached { id, .. } | Change::PackageDropped { id }
                if self.finds_key(&id) =>
            {
                None
            }
            // What stood there before must not come back.
            Change::DhtPut { key, value, .. } if self.finds(&value) => {
                Some(Change::DhtRemoved { key })
            }
            Change::PackageCached { id, data, .. } if self.finds(&data) => {
                Some(Change::PackageDropped { id })
            }
            Change::BootstrapAdded { node } | Change::BootstrapRemoved { node }
                if self.finds_text(&node) =>
            {
                None
            }
            Change::BootstrapReplaced { mut nodes } => {
                nodes.retain(|node| !self.finds_text(node));
                Some(Change::BootstrapReplaced { nodes })
            }
            other => Some(other),
        }
    }

    /// The changes that take the peer out of a state; none if it is not in it.
    pub(crate) fn changes(&self, state: &State) -> Vec<Change> {
        let mut changes = Vec::new();
        for (key, entry) in state.peers() {
            if self.is_peer(key) {
                changes.push(Change::PeerForgotten { peer: key.clone() });
            } else {
                self.entry(key, entry, &mut changes);
            }
        }
        for (key, ban) in state.bans() {
            let Ban { at, until, reason, source } = ban;
            let peer = key.clone();
            if self.is_peer(key) {
                changes.push(Change::Unbanned { peer });
            } else if self.finds_text(reason) || self.finds_text(source) {
                let (reason, source) = (self.text(reason), self.text(source));
                changes.push(Change::Banned { peer, at: *at, until: *until, reason, source });
            }
        }
        for (key, entry) in state.dht_entries() {
            if self.finds_key(key) || self.finds(&entry.value) {
                changes.push(Change::DhtRemoved { key: key.into() });
            }
        }
        for (id, entry) in state.packages() {
            if self.finds_key(id) || self.finds(&entry.data) {
                changes.push(Change::PackageDropped { id: id.into() });
            }
        }
        let nodes = state.bootstrap_nodes().iter().filter(|node| self.finds_text(node));
        changes.extend(nodes.cloned().map(|node| Change::BootstrapRemoved { node }));
        // The same in every run, whatever order the tables have.
        changes.sort_by_cached_key(|change| format!("{:?}{change:?}", change.peer()));
        changes
    }

    /// What of another peer's rows names this one.
    fn entry(&self, key: &PeerKey, entry: &PeerEntry, changes: &mut Vec<Change>) {
        let peer = || key.clone();
        let addresses = entry.seen.as_ref().map(|seen| &seen.addresses);
        let named: Vec<Address> = addresses
            .into_iter()
            .flat_map(AddressList::iter)
            .filter(|address| self.finds_address(*address))
            .map(super::AddressRef::to_address)
            .collect();
        if !named.is_empty() {
            changes.push(Change::AddressesRemoved { peer: peer(), addresses: named });
        }
        if let Some(old) = entry.profile.as_deref() {
            let new = self.profile(old.agent.as_deref(), &old.protocols);
            if new != *old {
                let (agent, protocols) = (new.agent, new.protocols.into_vec());
                changes.push(Change::PeerProfiled { peer: peer(), agent, protocols });
            }
        }
        let place = entry.reputation.as_ref().and_then(|known| known.location.as_deref());
        if let Some(new) = place.map(|place| self.place(place)).filter(|new| Some(new) != place) {
            changes.push(Change::LocationSet { peer: peer(), location: Some(new) });
        }
    }

    /// The payload of a record without the peer, in as many bytes as before; `None` if the peer is
    /// not in it. What is taken out gives way to changes that change nothing.
    pub(crate) fn payload(&self, payload: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut out = Vec::with_capacity(payload.len());
        let mut rest = payload;
        while !rest.is_empty() {
            let Ok((change, after)) = postcard::take_from_bytes::<Change>(rest) else {
                let offset = payload.len().saturating_sub(rest.len());
                return Err(DecodeError::UnknownChange { offset }.into());
            };
            let bytes = rest.get(..rest.len().saturating_sub(after.len())).unwrap_or_default();
            match self.change(&change) {
                Some(same) if same == change => out.extend_from_slice(bytes),
                new => replace(new, bytes.len(), &mut out)?,
            }
            rest = after;
        }
        Ok((out != payload).then_some(out))
    }
}

/// Appends `len` bytes: the change if it fits, and fillers.
fn replace(change: Option<Change>, len: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    let before = out.len();
    if let Some(change) = change {
        encode(&[change], out)?;
    }
    match len.checked_sub(out.len().saturating_sub(before)) {
        Some(0) => Ok(()),
        Some(left) if left >= FILLER_HEAD => fill(left, out),
        // What names a peer is longer than what stands for it, so this is not met.
        _ => {
            out.truncate(before);
            fill(len, out)
        }
    }
}

/// Appends changes of so many bytes that forget a peer nobody knows.
pub(super) fn fill(mut len: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    while len > 0 {
        let mut part = len.min(FILLER_HEAD + FILLER_TEXT_MAX);
        if (1..FILLER_HEAD).contains(&(len - part)) {
            part -= FILLER_HEAD;
        }
        let text = part.saturating_sub(FILLER_HEAD);
        let name = if text > FILLER.len() { FILLER } else { "" };
        // A hyphen is in no id, so this is the key of a text.
        let peer = PeerKey::from_text(&format!("{}{name}", "-".repeat(text - name.len())));
        encode(&[Change::PeerForgotten { peer }], out)?;
        len -= part;
    }
    Ok(())
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else { return false };
    let mut bytes = bytes;
    while let Some(at) = bytes.iter().position(|byte| byte == first) {
        bytes = bytes.get(at.saturating_add(1)..).unwrap_or_default();
        if bytes.starts_with(rest) {
            return true;
        }
    }
    false
}
