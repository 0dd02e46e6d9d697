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

use super::{RegistryLimits, package::Checked, withdrawn::Withdrawn};
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

    /// Whether to keep a package of another node; `stored_at` is what its life is counted from.
    pub(super) fn judge(&self, new: &Checked, limits: &RegistryLimits, stored_at: Time) -> Verdict {
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
        // It is passed on all the time: the journal hears of it when that lengthens its life.
        let fresh = stored_at.get() - row.stored_at.get() < ttl(limits) / 4;
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
    withdrawn: &Withdrawn,
    limits: &RegistryLimits,
    now: DateTime<Utc>,
) -> (Vec<(Stored, Time)>, Vec<Change>) {
    let mut stored = Vec::new();
    let mut dropped = Vec::new();
    for (key, entry) in state.dht_entries() {
        let Some(id) = key.strip_prefix(prefix) else { continue };
        let age = (now - entry.stored_at.get()).to_std().unwrap_or_default();
        let read = Checked::read(Arc::clone(&entry.value), now, limits.package_bytes);
        let gone =
            |package: &Checked| withdrawn.covers(id, &package.info.publisher, package.published_ms);
        match read.ok().filter(|package| package.info.id == id && !gone(package)) {
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

/// The time so long before `now`.
pub(super) fn aged(now: Time, age: Duration) -> Time {
    let age = TimeDelta::from_std(age).unwrap_or(TimeDelta::MAX);
    now.get().checked_sub_signed(age).unwrap_or_default().into()
}

pub(super) fn ttl(limits: &RegistryLimits) -> TimeDelta {
    TimeDelta::from_std(limits.dht_ttl).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    fn hours(hours: i64) -> Time {
        (DateTime::UNIX_EPOCH + TimeDelta::hours(hours)).into()
    }

    #[test]
    fn a_copy_that_is_passed_on_does_not_live_longer() {
        let limits = RegistryLimits::default();
        let key = Keypair::generate_ed25519();
        let sign = || Checked::sign(&key, ("a", "1", ""), b"", Utc::now(), 10).unwrap();
        let package = sign();
        let mut shelf = Shelf::default();
        shelf.insert(&package, false, hours(0));
        // 40 h later with 8 h left: counted from where it began.
        let began = aged(hours(40), Duration::from_secs(40 * 3600));
        assert_eq!(began, hours(0));
        assert_eq!(shelf.judge(&package, &limits, began), Verdict::Known);
        assert_eq!(shelf.judge(&package, &limits, hours(11)), Verdict::Known);
        assert_eq!(shelf.judge(&package, &limits, hours(12)), Verdict::Keep, "published again");
        assert_eq!(aged(hours(0), Duration::MAX), hours(0), "a clock before its epoch");
    }

    #[test]
    fn a_withdrawn_package_is_not_restored_and_a_newer_one_is() {
        let limits = RegistryLimits::default();
        let (key, local) = (Keypair::generate_ed25519(), PeerId::random());
        let now = Utc::now();
        let package = Checked::sign(&key, ("a", "1", ""), b"", now, 10).unwrap();
        let publisher = package.info.publisher;
        let mut state = State::new(crate::state::Limits::default());
        let put = Change::DhtPut {
            key: "/t/a".into(),
            value: package.envelope.to_vec().into(),
            at: now.into(),
        };
        state.apply(&put).unwrap();
        for (withdrawn_ms, left) in [(package.published_ms, 0), (package.published_ms - 1, 1)] {
            let mut withdrawn = Withdrawn::new("/t/", local);
            withdrawn.insert("a", &publisher, withdrawn_ms, now.into());
            let (stored, dropped) = restore(&state, "/t/", &local, &withdrawn, &limits, now);
            assert_eq!((stored.len(), dropped.len()), (left, 1 - left));
        }
    }
}
