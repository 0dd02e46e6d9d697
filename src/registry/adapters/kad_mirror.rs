//! The DHT records in memory, and what of them the journal has.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map},
    time::Instant,
};

use libp2p::{
    PeerId,
    kad::{ProviderRecord, Record, RecordKey},
};

use super::kad_rows::{Row, RowKey, wall_ms};
use crate::state::Time;

/// A record, and its expiry as the journal has it; the outer `None` says that it is not there.
#[derive(Clone, Debug)]
pub(super) struct Held<T> {
    pub(super) record: T,
    pub(super) saved: Option<Option<i64>>,
}

#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) local: PeerId,
    pub(super) records: HashMap<RecordKey, Held<Record>>,
    pub(super) providers: HashMap<RecordKey, Vec<Held<ProviderRecord>>>,
    /// Those of `providers` that are ours.
    pub(super) provided: HashMap<RecordKey, ProviderRecord>,
}

impl Mirror {
    pub(super) fn new(local: PeerId) -> Self {
        Self { local, records: HashMap::new(), providers: HashMap::new(), provided: HashMap::new() }
    }

    pub(super) fn is_own(&self, record: &Record) -> bool {
        record.publisher == Some(self.local)
    }

    /// The record to give up for another that lasts until `lasts` (`None` for one of ours, which
    /// goes before all): an expired one, else the stranger's that expires first.
    pub(super) fn spare_record(&self, lasts: Option<Instant>, now: Instant) -> Option<RecordKey> {
        let spare = self
            .records
            .values()
            .map(|held| &held.record)
            .filter(|record| !self.is_own(record) || record.is_expired(now))
            .min_by_key(|record| (record.expires.is_none(), record.expires))?;
        let goes_first = spare
            .expires
            .is_some_and(|expires| expires <= now || lasts.is_none_or(|lasts| expires < lasts));
        (goes_first || lasts.is_none()).then(|| spare.key.clone())
    }

    /// The same for a whole key with its providers, none of which is this node.
    pub(super) fn spare_key(&self, lasts: Option<Instant>) -> Option<RecordKey> {
        let end = |held: &Vec<Held<ProviderRecord>>| {
            let ends = held.iter().map(|held| (held.record.expires.is_none(), held.record.expires));
            ends.max().unwrap_or_default()
        };
        let (end, key) = self
            .providers
            .iter()
            .filter(|(key, _)| !self.provided.contains_key(*key))
            .map(|(key, held)| (end(held), key))
            .min_by_key(|(end, _)| *end)?;
        lasts.is_none_or(|lasts| end < (false, Some(lasts))).then(|| key.clone())
    }

    /// The provider of a key to give up: an expired one, or for one of ours (`for_us`) any that is
    /// not.
    pub(super) fn spare_provider(
        &self,
        key: &RecordKey,
        for_us: bool,
        now: Instant,
    ) -> Option<PeerId> {
        self.providers
            .get(key)?
            .iter()
            .map(|held| &held.record)
            .filter(|record| record.provider != self.local)
            .filter(|record| for_us || record.is_expired(now))
            .min_by_key(|record| (record.expires.is_none(), record.expires))
            .map(|record| record.provider)
    }

    pub(super) fn insert_provider(&mut self, held: Held<ProviderRecord>) {
        let record = &held.record;
        if record.provider == self.local {
            self.provided.insert(record.key.clone(), record.clone());
        }
        let of_key = self.providers.entry(record.key.clone()).or_default();
        match of_key.iter_mut().find(|known| known.record.provider == record.provider) {
            Some(known) => *known = held,
            None => of_key.push(held),
        }
    }

    pub(super) fn provider(&self, key: &RecordKey, peer: &PeerId) -> Option<&Held<ProviderRecord>> {
        self.providers.get(key)?.iter().find(|held| held.record.provider == *peer)
    }

    /// Removes a row; tells whether it was there, and whether the journal has it.
    pub(super) fn remove(&mut self, row: &RowKey) -> Option<bool> {
        match row {
            RowKey::Record(key) => self.records.remove(key).map(|held| held.saved.is_some()),
            RowKey::Provider(key, peer) => {
                let of_key = self.providers.get_mut(key)?;
                let at = of_key.iter().position(|held| held.record.provider == *peer)?;
                let held = of_key.swap_remove(at);
                if of_key.is_empty() {
                    self.providers.remove(key);
                }
                if *peer == self.local {
                    self.provided.remove(key);
                }
                Some(held.saved.is_some())
            }
        }
    }

    /// The row as the journal should have it; `None` if it should not.
    pub(super) fn row(&self, row: &RowKey, now: Instant, wall: Time) -> Option<Row> {
        let expires_ms = |expires: Option<Instant>| expires.map(|at| wall_ms(at, now, wall));
        match row {
            RowKey::Record(key) => {
                let record = &self.records.get(key)?.record;
                Some(Row::of_record(record, expires_ms(record.expires)))
            }
            RowKey::Provider(key, peer) => {
                let record = &self.provider(key, peer)?.record;
                Some(Row::of_provider(record, expires_ms(record.expires)))
            }
        }
    }

    pub(super) fn saved(&self, row: &RowKey) -> Option<Option<i64>> {
        match row {
            RowKey::Record(key) => self.records.get(key)?.saved,
            RowKey::Provider(key, peer) => self.provider(key, peer)?.saved,
        }
    }

    pub(super) fn set_saved(&mut self, row: &RowKey, expires_ms: Option<i64>) {
        match row {
            RowKey::Record(key) => {
                if let Some(held) = self.records.get_mut(key) {
                    held.saved = Some(expires_ms);
                }
            }
            RowKey::Provider(key, peer) => {
                let of_key = self.providers.get_mut(key).into_iter().flatten();
                for held in of_key.filter(|held| held.record.provider == *peer) {
                    held.saved = Some(expires_ms);
                }
            }
        }
    }
}

/// The records of a [`KadStore`](super::KadStore).
#[derive(Clone, Debug)]
pub struct KadRecords<'a>(pub(super) hash_map::Values<'a, RecordKey, Held<Record>>);

impl<'a> Iterator for KadRecords<'a> {
    type Item = Cow<'a, Record>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|held| Cow::Borrowed(&held.record))
    }
}

/// The provider records of a [`KadStore`](super::KadStore) that name this node.
#[derive(Clone, Debug)]
pub struct KadProvided<'a>(pub(super) hash_map::Values<'a, RecordKey, ProviderRecord>);

impl<'a> Iterator for KadProvided<'a> {
    type Item = Cow<'a, ProviderRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(Cow::Borrowed)
    }
}
