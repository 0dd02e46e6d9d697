//! The shelf: the packages that this node publishes, and those of others that it keeps for the DHT.
//!
//! The payloads are in the DHT's record store and, durable, in the state; here is what to decide
//! by.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
use libp2p::kad::{Record, RecordKey, store::RecordStore};
use libp2p_identity::PeerId;

use super::{RegistryLimits, package::Checked};
use crate::{
    Error,
    state::{Change, State, Time},
};

/// Rows by package id.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    rows: BTreeMap<String, Row>,
    /// Packages of others, and their bytes.
    hosted: usize,
    hosted_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) publisher: PeerId,
    pub(super) published_ms: i64,
    pub(super) own: bool,
    /// True once another node took an own package.
    pub(super) replicated: bool,
    stored_at: Time,
    bytes: usize,
}

/// A package for the record store.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) package: Checked,
    pub(super) record: Record,
}

/// What to do with a package that another node put.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Keep it and journal it.
    Keep,
    /// It is there already, as it is.
    Known,
    /// Not kept.
    Refused(&'static str),
}

impl Shelf {
    pub(super) fn get(&self, id: &str) -> Option<&Row> {
        self.rows.get(id)
    }

    pub(super) fn owned(&self) -> impl Iterator<Item = (&String, &Row)> {
        self.rows.iter().filter(|(_, row)| row.own)
    }

    pub(super) fn set_replicated(&mut self, id: &str) {
        if let Some(row) = self.rows.get_mut(id) {
            row.replicated = true;
        }
    }

    /// Whether to keep a package of another node.
    pub(super) fn judge(&self, new: &Checked, limits: &RegistryLimits, now: Time) -> Verdict {
        let Some(row) = self.rows.get(&new.info.id) else {
            let bytes = self.hosted_bytes.saturating_add(new.envelope.len());
            return if self.hosted >= limits.dht_records || bytes > limits.dht_bytes {
                Verdict::Refused("there is no room")
            } else {
                Verdict::Keep
            };
        };
        if row.publisher != new.info.publisher {
            return Verdict::Refused("the id is another publisher's");
        }
        if row.own || new.published_ms < row.published_ms {
            return Verdict::Refused("it is older than what is here");
        }
        let bytes = self.hosted_bytes.saturating_sub(row.bytes).saturating_add(new.envelope.len());
        if bytes > limits.dht_bytes {
            return Verdict::Refused("there is no room");
        }
        // It is republished all the time: the journal hears of it a few times in its life.
        let fresh = now.get() - row.stored_at.get() < ttl(limits) / 4;
        if new.published_ms == row.published_ms && fresh { Verdict::Known } else { Verdict::Keep }
    }

    pub(super) fn insert(&mut self, package: &Checked, own: bool, stored_at: Time) {
        self.remove(&package.info.id);
        let bytes = package.envelope.len();
        if !own {
            self.hosted += 1;
            self.hosted_bytes = self.hosted_bytes.saturating_add(bytes);
        }
        let publisher = package.info.publisher;
        let published_ms = package.published_ms;
        let row = Row { publisher, published_ms, own, replicated: false, stored_at, bytes };
        self.rows.insert(package.info.id.clone(), row);
    }

    pub(super) fn remove(&mut self, id: &str) -> bool {
        let Some(row) = self.rows.remove(id) else { return false };
        if !row.own {
            self.hosted = self.hosted.saturating_sub(1);
            self.hosted_bytes = self.hosted_bytes.saturating_sub(row.bytes);
        }
        true
    }

    /// Packages of others that were not put again in time.
    pub(super) fn expired(&self, limits: &RegistryLimits, now: Time) -> Vec<String> {
        let age = |row: &Row| now.get() - row.stored_at.get();
        let expired = |row: &Row| !row.own && age(row) > ttl(limits);
        self.rows.iter().filter(|(_, row)| expired(row)).map(|(id, _)| id.clone()).collect()
    }
}

/// The packages that the state remembers, checked again: it may have been edited. What has expired,
/// or is broken, is in the second list, as changes that drop it.
pub(super) fn restore(
    state: &State,
    prefix: &str,
    local: &PeerId,
    limits: &RegistryLimits,
    now: DateTime<Utc>,
) -> (Vec<(Stored, Time)>, Vec<Change>) {
    let mut stored = Vec::new();
    let mut dropped = Vec::new();
    for (key, entry) in state.dht_entries() {
        let Some(id) = key.strip_prefix(prefix) else { continue };
        let age = (now - entry.stored_at.get()).to_std().unwrap_or_default();
        let read = Checked::read(Arc::clone(&entry.value), now, limits.package_bytes);
        match read.ok().filter(|package| package.info.id == id) {
            Some(package) if package.info.publisher == *local => {
                stored.push((Stored::new(package, prefix, None), entry.stored_at));
            }
            Some(package) if age < limits.dht_ttl => {
                let left = limits.dht_ttl.saturating_sub(age);
                stored.push((Stored::new(package, prefix, Some(left)), entry.stored_at));
            }
            _ => dropped.push(Change::DhtRemoved { key: key.into() }),
        }
    }
    (stored, dropped)
}

impl Stored {
    /// `left` is how long the record is kept; for ever if it is this node's own.
    pub(super) fn new(package: Checked, prefix: &str, left: Option<Duration>) -> Self {
        let record = Record {
            key: record_key(prefix, &package.info.id),
            value: package.envelope.to_vec(),
            publisher: Some(package.info.publisher),
            expires: left.and_then(|left| Instant::now().checked_add(left)),
        };
        Self { package, record }
    }

    pub(super) fn put(self, store: &mut impl RecordStore) -> Result<Checked, Error> {
        store.put(self.record).map_err(no_room)?;
        Ok(self.package)
    }
}

pub(super) fn no_room(error: libp2p::kad::store::Error) -> Error {
    Error::limit("no room for another package in the DHT store")
        .because(error)
        .next("unpublish one, or raise `limits.dht_records`")
}

pub(super) fn record_key(prefix: &str, id: &str) -> RecordKey {
    RecordKey::from([prefix, id].concat().into_bytes())
}

fn ttl(limits: &RegistryLimits) -> TimeDelta {
    TimeDelta::from_std(limits.dht_ttl).unwrap_or(TimeDelta::MAX)
}
