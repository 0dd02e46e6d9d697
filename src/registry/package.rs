//! Packages: what one is, its signed form on the wire, and its announcements.
//!
//! A package travels as an envelope: a body with id, version, metadata and payload, signed by its
//! publisher. Nothing of it is believed before sizes, characters and signature were checked.

use std::{fmt, sync::Arc};

use chrono::{DateTime, Utc};
use libp2p::identity::{Keypair, PublicKey};
use libp2p_identity::PeerId;
use serde::{Deserialize, Serialize};

use crate::Error;

/// Longest package id, in bytes.
pub const PACKAGE_ID_BYTES_MAX: usize = 128;
/// Longest package version, in bytes.
pub const PACKAGE_VERSION_BYTES_MAX: usize = 64;
/// Longest package description, in bytes.
pub const PACKAGE_DESCRIPTION_BYTES_MAX: usize = 512;

/// Room for everything in an envelope but the payload.
pub(super) const ENVELOPE_BYTES_EXTRA: usize = 2048;
/// Largest announcement.
pub(super) const ANNOUNCEMENT_BYTES_MAX: usize = 1024;

/// First byte of an envelope and of an announcement; another one is a newer version's.
const WIRE_VERSION: u8 = 1;
/// What a publisher signs begins with this, so that the signature is good for nothing else.
const SIGNED_DOMAIN: &[u8] = b"peer-journal package 1\n";
/// How far in the future a time of publication may lie, in milliseconds.
const CLOCK_SKEW_MS: i64 = 3_600_000;

/// The metadata row of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PackageInfo {
    /// Its id: 1 to 128 ASCII letters, digits and `. _ - / @ +`.
    pub id: String,
    /// Its version: 1 to 64 of the same characters.
    pub version: String,
    /// What it is, in at most 512 bytes of text without control characters.
    pub description: String,
    /// Who published it, proved by a signature.
    pub publisher: PeerId,
    /// Size of its payload in bytes.
    pub size: u64,
    /// When its publisher says to have published it.
    pub published_at: DateTime<Utc>,
}

/// A package: metadata, payload, and where it was found.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Package {
    /// Its metadata.
    pub info: PackageInfo,
    /// Its payload: opaque bytes.
    pub data: Vec<u8>,
    /// Where it was found.
    pub source: PackageSource,
}

/// The payload is told by its size.
impl fmt::Debug for Package {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Package")
            .field("info", &self.info)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

/// Where a package was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PackageSource {
    /// In the cache of earlier retrievals.
    Cache,
    /// Among the packages that this node publishes, or keeps for the DHT.
    Local,
    /// In the DHT: this peer answered.
    Dht(PeerId),
}

/// A package whose signature and limits were checked, with the bytes that prove it.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) info: PackageInfo,
    pub(super) published_ms: i64,
    payload: (usize, usize),
    pub(super) envelope: Arc<[u8]>,
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    wire_version: u8,
    #[serde(borrow)]
    body: &'a [u8],
    public_key: &'a [u8],
    signature: &'a [u8],
}

#[derive(Serialize, Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    id: &'a str,
    version: &'a str,
    description: &'a str,
    published_ms: i64,
    payload: &'a [u8],
}

/// What the publisher of a package tells everybody. The order of the variants is the wire format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Announcement {
    Published { id: String, version: String, description: String, published_ms: i64, size: u64 },
    Withdrawn { id: String, published_ms: i64 },
}

impl Checked {
    /// Signs a package of this node.
    pub(super) fn sign(
        key: &Keypair,
        (id, version, description): (&str, &str, &str),
        payload: &[u8],
        now: DateTime<Utc>,
        bytes_max: usize,
    ) -> Result<Self, Error> {
        let body = Body { id, version, description, published_ms: now.timestamp_millis(), payload };
        body.check(bytes_max)?;
        let encode = |error| Error::invalid("cannot encode the package").because(error);
        let body = postcard::to_stdvec(&body).map_err(encode)?;
        let signature = key.sign(&signed(&body)).map_err(|error| {
            Error::invalid("cannot sign the package with the key of this node").because(error)
        })?;
        let envelope = postcard::to_stdvec(&Envelope {
            wire_version: WIRE_VERSION,
            body: &body,
            public_key: &key.public().encode_protobuf(),
            signature: &signature,
        });
        Self::read(envelope.map_err(encode)?.into(), now, bytes_max)
    }

    /// Checks an envelope from anywhere.
    pub(super) fn read(
        envelope: Arc<[u8]>,
        now: DateTime<Utc>,
        bytes_max: usize,
    ) -> Result<Self, Error> {
        if envelope.len() > bytes_max.saturating_add(ENVELOPE_BYTES_EXTRA) {
            return Err(too_large(envelope.len(), bytes_max));
        }
        let malformed = |error| Error::invalid("not a package: malformed bytes").because(error);
        let outer: Envelope<'_> = postcard::from_bytes(&envelope).map_err(malformed)?;
        if outer.wire_version != WIRE_VERSION {
            return Err(Error::invalid("a package of another format version").next("upgrade"));
        }
        let body: Body<'_> = postcard::from_bytes(outer.body).map_err(malformed)?;
        body.check(bytes_max)?;
        let published_at = time(body.published_ms, now)?;
        let key = PublicKey::try_decode_protobuf(outer.public_key)
            .map_err(|error| Error::invalid("a package without a known key").because(error))?;
        if !key.verify(&signed(outer.body), outer.signature) {
            return Err(Error::invalid("a package whose signature does not hold"));
        }
        let info = PackageInfo {
            id: body.id.to_owned(),
            version: body.version.to_owned(),
            description: body.description.to_owned(),
            publisher: key.to_peer_id(),
            size: u64::try_from(body.payload.len()).unwrap_or(u64::MAX),
            published_at,
        };
        let start = body.payload.as_ptr().addr() - envelope.as_ptr().addr();
        let payload = (start, start + body.payload.len());
        let published_ms = body.published_ms;
        Ok(Self { info, published_ms, payload, envelope })
    }

    pub(super) fn into_package(self, source: PackageSource) -> Package {
        let (start, end) = self.payload;
        let data = self.envelope.get(start..end).unwrap_or_default().to_vec();
        Package { info: self.info, data, source }
    }

    pub(super) fn announcement(&self) -> Announcement {
        Announcement::published(&self.info, self.published_ms)
    }
}

impl Body<'_> {
    fn check(&self, bytes_max: usize) -> Result<(), Error> {
        check_id(self.id)?;
        check_version(self.version)?;
        check_description(self.description)?;
        if self.payload.len() > bytes_max {
            return Err(too_large(self.payload.len(), bytes_max));
        }
        Ok(())
    }
}

impl Announcement {
    pub(super) fn published(info: &PackageInfo, published_ms: i64) -> Self {
        Self::Published {
            id: info.id.clone(),
            version: info.version.clone(),
            description: info.description.clone(),
            published_ms,
            size: info.size,
        }
    }

    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![WIRE_VERSION];
        let body = postcard::to_stdvec(self)
            .map_err(|error| Error::invalid("cannot encode an announcement").because(error))?;
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads an announcement; one that breaks a limit is an error.
    pub(super) fn decode(bytes: &[u8], now: DateTime<Utc>, size_max: usize) -> Result<Self, Error> {
        let malformed = || Error::invalid("not an announcement: malformed bytes");
        let body = match bytes.split_first() {
            Some((&WIRE_VERSION, body)) if bytes.len() <= ANNOUNCEMENT_BYTES_MAX => body,
            _ => return Err(malformed()),
        };
        let (read, rest): (Self, _) =
            postcard::take_from_bytes(body).map_err(|error| malformed().because(error))?;
        if !rest.is_empty() {
            return Err(malformed());
        }
        match &read {
            Self::Published { id, version, description, published_ms, size } => {
                check_id(id)?;
                check_version(version)?;
                check_description(description)?;
                time(*published_ms, now)?;
                if usize::try_from(*size).map_or(true, |size| size > size_max) {
                    return Err(malformed());
                }
            }
            Self::Withdrawn { id, published_ms } => {
                check_id(id)?;
                time(*published_ms, now)?;
            }
        }
        Ok(read)
    }
}

/// Checks a package id.
pub(super) fn check_id(id: &str) -> Result<(), Error> {
    check_name("a package id", id, PACKAGE_ID_BYTES_MAX)
}

fn check_version(version: &str) -> Result<(), Error> {
    check_name("a package version", version, PACKAGE_VERSION_BYTES_MAX)
}

fn check_name(what: &str, name: &str, bytes_max: usize) -> Result<(), Error> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/@+".contains(&byte);
    if name.is_empty() || name.len() > bytes_max {
        let what = format!("{what} of {} bytes", name.len());
        return Err(Error::invalid(what).next(format!("give one of 1 to {bytes_max} bytes")));
    }
    if !name.bytes().all(good) {
        let what = format!("{what} with a character that is not allowed: {name:?}");
        return Err(Error::invalid(what).next("use ASCII letters, digits and . _ - / @ +"));
    }
    Ok(())
}

fn check_description(text: &str) -> Result<(), Error> {
    if text.len() > PACKAGE_DESCRIPTION_BYTES_MAX {
        let what = format!("a package description of {} bytes", text.len());
        return Err(Error::invalid(what)
            .next(format!("give one of at most {PACKAGE_DESCRIPTION_BYTES_MAX} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(
            Error::invalid("a package description with control characters").next("leave them out")
        );
    }
    Ok(())
}

fn too_large(bytes: usize, bytes_max: usize) -> Error {
    Error::limit(format!("a package of {bytes} bytes; the limit is {bytes_max}"))
        .next("split it, or raise `limits.package_bytes` on every node of the network")
}

fn time(ms: i64, now: DateTime<Utc>) -> Result<DateTime<Utc>, Error> {
    DateTime::from_timestamp_millis(ms)
        .filter(|_| ms >= 0 && ms <= now.timestamp_millis().saturating_add(CLOCK_SKEW_MS))
        .ok_or_else(|| Error::invalid("a package published in the future"))
}

fn signed(body: &[u8]) -> Vec<u8> {
    [SIGNED_DOMAIN, body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1000;

    fn sign(key: &Keypair, id: &str, payload: &[u8]) -> Result<Checked, Error> {
        Checked::sign(key, (id, "1.0.0", "a thing"), payload, Utc::now(), MAX)
    }

    #[test]
    fn a_signed_package_is_read_back_and_a_changed_one_is_not() {
        let key = Keypair::generate_ed25519();
        let checked = sign(&key, "rust/web+1", b"payload").unwrap();
        assert_eq!(checked.info.publisher, key.public().to_peer_id());
        let bytes = checked.envelope.to_vec();
        let package = checked.into_package(PackageSource::Local);
        assert_eq!((package.data.as_slice(), package.info.size), (b"payload".as_slice(), 7));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let read = Checked::read(changed.into(), Utc::now(), MAX);
            // Only the key's own encoding could be another text of the same key.
            assert!(read.is_err(), "byte {at}");
            assert!(Checked::read(bytes[..at].into(), Utc::now(), MAX).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn what_breaks_a_limit_is_refused_with_the_limit_named() {
        let key = Keypair::generate_ed25519();
        assert!(sign(&key, "a", &[0; MAX]).is_ok());
        let error = sign(&key, "a", &[0; MAX + 1]).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Limit);
        assert!(error.to_string().contains("1001 bytes; the limit is 1000"), "{error}");
        let long = "a".repeat(129);
        for id in ["", "a b", "a\u{1b}[2J", "\u{e9}", long.as_str()] {
            let error = sign(&key, id, b"").unwrap_err();
            assert!(!error.to_string().contains('\u{1b}'), "escaped");
        }
        let with = |version, text| Checked::sign(&key, ("a", version, text), b"", Utc::now(), MAX);
        assert!(with("", "").is_err());
        assert!(with("1", "\n").is_err());
        assert!(with("1", &"x".repeat(513)).is_err());
        let later = Utc::now() + chrono::TimeDelta::hours(2);
        let future = Checked::sign(&key, ("a", "1", ""), b"", later, MAX).unwrap();
        assert!(Checked::read(future.envelope, Utc::now(), MAX).is_err());
    }

    #[test]
    fn announcements_are_read_back_and_checked() {
        let key = Keypair::generate_ed25519();
        let now = Utc::now();
        let announcement = sign(&key, "a", b"xy").unwrap().announcement();
        let bytes = announcement.encode().unwrap();
        assert_eq!(Announcement::decode(&bytes, now, MAX).unwrap(), announcement);
        assert!(Announcement::decode(&bytes, now, 1).is_err(), "larger than a package may be");
        assert!(Announcement::decode(&[], now, MAX).is_err());
        assert!(Announcement::decode(&[2], now, MAX).is_err());
        assert!(Announcement::decode(&[bytes.as_slice(), &[0]].concat(), now, MAX).is_err());
        let bad = Announcement::Withdrawn { id: "\u{1b}".into(), published_ms: 0 };
        assert!(Announcement::decode(&bad.encode().unwrap(), now, MAX).is_err());
    }
}
