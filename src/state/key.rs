//! `PeerKey`: a peer id in 32 raw bytes where it is one, and any other text unchanged.

use std::{
    cmp::Ordering,
    fmt,
    hash::{Hash, Hasher},
};

use libp2p_identity::PeerId;
use serde::{Deserialize, Serialize};

use super::{base58, bytes, limits::PEER_ID_BYTES_MAX};

/// Multihash code and length of an identity of 36 bytes.
const IDENTITY: [u8; 2] = [0x00, 0x24];
/// Protobuf header of an Ed25519 public key.
const ED25519: [u8; 4] = [0x08, 0x01, 0x12, 0x20];
/// Multihash code and length of a SHA-256 digest.
const SHA256: [u8; 2] = [0x12, 0x20];

/// Which peer: 40 bytes in memory, 33 in a record for the usual Ed25519 key.
///
/// It holds the bytes of a peer id where the text is exactly what the peer id is written as, and
/// otherwise the text itself, so that rows with odd ids come back unchanged. One text always gives
/// the same key. The order is fixed, but it is not that of the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Repr")]
pub struct PeerKey(Repr);

/// The record format of a key; the variants are never reordered.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Repr {
    Ed25519([u8; 32]),
    Sha256([u8; 32]),
    Other(#[serde(with = "bytes")] Box<[u8]>),
    Text(Box<str>),
}

impl PeerKey {
    /// The key of a row: any text will do, the empty one too.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        if let Some(usual) = Self::from_usual_text(text.as_bytes()) {
            return usual;
        }
        // Base58 takes quadratic time, so text that is no id by its length is not tried.
        let bytes = (text.len() <= PEER_ID_BYTES_MAX).then(|| bs58::decode(text).into_vec().ok());
        let id = bytes
            .flatten()
            .and_then(|bytes| PeerId::from_bytes(&bytes).ok().filter(|id| id.to_bytes() == bytes));
        id.map_or_else(|| Self(Repr::Text(text.into())), Self::from)
    }

    /// The key of the text of one of the two usual kinds.
    pub(crate) fn from_usual_text(text: &[u8]) -> Option<Self> {
        // Base58 has one text for any bytes, so these bytes are written as the text was.
        usual(base58::decode(text)?.as_slice()).map(Self)
    }

    /// Appends the text of a key of one of the two usual kinds; false, and nothing appended, for
    /// others.
    pub(crate) fn push_usual_text(&self, text: &mut Vec<u8>) -> bool {
        match &self.0 {
            Repr::Ed25519(key) => base58::push(&ed25519_bytes(key), text),
            Repr::Sha256(digest) => base58::push(&sha256_bytes(digest), text),
            Repr::Other(_) | Repr::Text(_) => false,
        }
    }

    /// What orders the keys of the usual kinds as [`cmp_text`](Self::cmp_text) does, but for their
    /// last bytes.
    pub(crate) fn usual_prefix(&self) -> Option<u64> {
        let (kind, bytes) = self.usual()?;
        let prefix = u64::from_be_bytes(*bytes.first_chunk()?);
        Some(u64::from(kind) << 63 | prefix >> 1)
    }

    /// Compares the texts, without writing those of the usual kinds.
    pub(crate) fn cmp_text(&self, other: &Self) -> Ordering {
        match (self.usual(), other.usual()) {
            // All texts of a kind begin alike and are of one length, those of the first kind with a
            // smaller digit; and the digits of base58 are in the order of ASCII.
            (Some(usual), Some(other)) => usual.cmp(&other),
            _ => self.to_string().cmp(&other.to_string()),
        }
    }

    /// The last two bytes of the id, or of the text, as a number; zeros if there are not as many.
    pub(super) fn last_bytes(&self) -> u16 {
        let last = match &self.0 {
            Repr::Ed25519(bytes) | Repr::Sha256(bytes) => bytes.last_chunk(),
            Repr::Other(bytes) => bytes.last_chunk(),
            Repr::Text(text) => text.as_bytes().last_chunk(),
        };
        last.map_or(0, |bytes| u16::from_be_bytes(*bytes))
    }

    /// The variant of the record form and the bytes, if the key is of one of the two usual kinds.
    pub(super) const fn usual(&self) -> Option<(u8, &[u8; 32])> {
        match &self.0 {
            Repr::Ed25519(key) => Some((0, key)),
            Repr::Sha256(digest) => Some((1, digest)),
            Repr::Other(_) | Repr::Text(_) => None,
        }
    }

    /// The key of what [`usual`](Self::usual) tells.
    pub(super) const fn of_usual(variant: u8, bytes: [u8; 32]) -> Option<Self> {
        match variant {
            0 => Some(Self(Repr::Ed25519(bytes))),
            1 => Some(Self(Repr::Sha256(bytes))),
            _ => None,
        }
    }

    /// The peer id, unless the text is not one.
    #[must_use]
    pub fn to_peer_id(&self) -> Option<PeerId> {
        match &self.0 {
            Repr::Ed25519(key) => PeerId::from_bytes(&ed25519_bytes(key)).ok(),
            Repr::Sha256(digest) => PeerId::from_bytes(&sha256_bytes(digest)).ok(),
            Repr::Other(bytes) => PeerId::from_bytes(bytes).ok(),
            Repr::Text(_) => None,
        }
    }

    /// Bytes of the text that [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn text_len(&self) -> usize {
        match &self.0 {
            // The leading bytes are fixed, and with them the number of base58 digits.
            Repr::Ed25519(_) => 52,
            Repr::Sha256(_) => 46,
            Repr::Other(_) => self.to_string().len(),
            Repr::Text(text) => text.len(),
        }
    }
}

/// Only the bytes, at one go: every append hashes a key, and what tells the kinds apart would cost
/// it as much again. Keys of different kinds with the same bytes are rare and merely collide.
impl Hash for PeerKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(match &self.0 {
            Repr::Ed25519(bytes) | Repr::Sha256(bytes) => bytes,
            Repr::Other(bytes) => bytes,
            Repr::Text(text) => text.as_bytes(),
        });
    }
}

impl From<&PeerId> for PeerKey {
    fn from(peer: &PeerId) -> Self {
        let hash = peer.as_ref();
        let digest = hash.digest();
        let key = digest.strip_prefix(&ED25519).and_then(|key| key.try_into().ok());
        Self(match (hash.code(), key, digest.try_into()) {
            (0x00, Some(key), _) => Repr::Ed25519(key),
            (0x12, _, Ok(digest)) => Repr::Sha256(digest),
            _ => Repr::Other(peer.to_bytes().into()),
        })
    }
}

impl From<PeerId> for PeerKey {
    fn from(peer: PeerId) -> Self {
        Self::from(&peer)
    }
}

impl fmt::Display for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Ed25519(key) => f.write_str(&base58_text(&ed25519_bytes(key))),
            Repr::Sha256(digest) => f.write_str(&base58_text(&sha256_bytes(digest))),
            Repr::Other(bytes) => f.write_str(&base58_text(bytes)),
            Repr::Text(text) => f.write_str(text),
        }
    }
}

/// The text in quotes, escaped.
impl fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_string(), f)
    }
}

impl TryFrom<Repr> for PeerKey {
    type Error = &'static str;

    /// Keeps one key per text, whoever wrote the bytes.
    fn try_from(repr: Repr) -> Result<Self, Self::Error> {
        Ok(match repr {
            Repr::Other(bytes) => {
                Self::from(PeerId::from_bytes(&bytes).map_err(|_| "bytes that are no peer id")?)
            }
            Repr::Text(text) => Self::from_text(&text),
            plain => Self(plain),
        })
    }
}

/// The bytes of a peer id of one of the two usual kinds.
fn usual(bytes: &[u8]) -> Option<Repr> {
    let digest = bytes.strip_prefix(&SHA256).and_then(|digest| digest.try_into().ok());
    let key = bytes.strip_prefix(&IDENTITY).and_then(|bytes| bytes.strip_prefix(&ED25519));
    let key = key.and_then(|key| key.try_into().ok());
    key.map(Repr::Ed25519).or(digest.map(Repr::Sha256))
}

fn ed25519_bytes(key: &[u8; 32]) -> [u8; 38] {
    let mut bytes = [0; 38];
    let (head, tail) = bytes.split_at_mut(6);
    let (identity, header) = head.split_at_mut(2);
    identity.copy_from_slice(&IDENTITY);
    header.copy_from_slice(&ED25519);
    tail.copy_from_slice(key);
    bytes
}

fn sha256_bytes(digest: &[u8; 32]) -> [u8; 34] {
    let mut bytes = [0; 34];
    let (head, tail) = bytes.split_at_mut(2);
    head.copy_from_slice(&SHA256);
    tail.copy_from_slice(digest);
    bytes
}

fn base58_text(bytes: &[u8]) -> String {
    base58::encode(bytes).unwrap_or_else(|| bs58::encode(bytes).into_string())
}
