//! `KadStore`: kademlia's record store that survives a restart.

use std::{borrow::Cow, collections::HashMap, fmt, time::Instant};

use libp2p::{
    Multiaddr, PeerId,
    kad::{
        ProviderRecord, Record, RecordKey,
        store::{Error as StoreError, RecordStore, Result as StoreResult},
    },
};

use super::{
    bucket::Bucket,
    kad_config::{KadConfig, KadCounters},
    kad_mirror::{Held, KadProvided, KadRecords, Mirror},
    kad_rows::{Row, RowKey, time_left, wall_ms},
};
use crate::{Error, ErrorKind, P2PStatePersistence, state::Change};

/// Rows that wait for the journal and are tried again with each call.
const RETRIES: usize = 8;
/// The longest key whose text fits into a key of the store, with prefix and peer id.
const KEY_BYTES_MAX: usize = 2048;

/// A [`RecordStore`] whose records and provider records survive a restart.
///
/// It answers from memory and appends each change to the journal, without waiting for the disk.
/// Await [`P2PStatePersistence::sync`] where a record must survive a power cut before you go on.
/// Expiry is kept as wall-clock time: while the node is down it goes on, and what expired meanwhile
/// is gone. When a limit is reached, what has expired goes first, then what a stranger published
/// and expires first; what this node published stays.
///
/// # In the store
/// Values are postcard, variant 0 or 1 of an enum that only grows:
/// - DHT key `kad/record/<key>`: 0, value, optional publisher (peer id bytes), optional expiry.
/// - DHT key `kad/provider/<key>/<peer id>`: 1, addresses (multiaddr bytes each), optional expiry.
///
/// `<key>` is the key in URL-safe base64 without padding; an expiry is milliseconds since the UNIX
/// epoch. Other keys of the store are left alone.
pub struct KadStore {
    store: P2PStatePersistence,
    config: KadConfig,
    mirror: Mirror,
    bucket: Bucket,
    /// Rows that the journal does not have as they are, and whether it has them at all.
    unsaved: HashMap<RowKey, bool>,
    counters: KadCounters,
}

impl KadStore {
    /// A record store with what the store remembers. `local` is this node, whose own records and
    /// provider records are told from those of others.
    ///
    /// # Errors
    /// Only on a handle that opens on first use: the errors of opening.
    pub fn new(
        store: &P2PStatePersistence,
        local: PeerId,
        config: KadConfig,
    ) -> Result<Self, Error> {
        let view = store.view()?;
        let mut kad = Self {
            store: store.clone(),
            config,
            mirror: Mirror::new(local),
            bucket: Bucket::full(),
            unsaved: HashMap::new(),
            counters: KadCounters::default(),
        };
        kad.restore(view.state());
        Ok(kad)
    }

    /// What was dropped, and why.
    #[must_use]
    pub fn counters(&self) -> KadCounters {
        self.counters
    }

    /// Appends records whose turn in the journal has come. Every change of the store does so for
    /// some; call it now and then on a node that is otherwise quiet.
    pub fn write_due(&mut self) {
        self.retry(usize::MAX);
    }

    /// Appends everything that waits for its turn, for a clean stop: before the store is closed.
    pub fn write_rest(&mut self) {
        for row in self.unsaved.keys().cloned().collect::<Vec<_>>() {
            if self.append(&row) == Some(ErrorKind::Full) {
                break;
            }
        }
    }

    fn restore(&mut self, state: &crate::state::State) {
        let (now, wall) = (Instant::now(), self.store.now());
        let mut rows = Vec::new();
        for (text, entry) in state.dht_entries() {
            let Some(key) = RowKey::parse(text) else { continue };
            let Some(row) = Row::decode(&entry.value) else {
                self.counters.unreadable += 1;
                continue;
            };
            let most = self.config.ttl_max;
            let left = row.expires_ms().map(|at| time_left(at, entry.stored_at, wall, most));
            match left {
                Some(None) => {
                    self.counters.expired_at_start += 1;
                    self.unsaved.insert(key, true);
                }
                left => {
                    rows.push((left.flatten().and_then(|left| now.checked_add(left)), key, row))
                }
            }
        }
        // Where a lower limit leaves no room for all, the longest lived stay.
        rows.sort_by_key(|(expires, ..)| (expires.is_some(), std::cmp::Reverse(*expires)));
        for (expires, key, row) in rows {
            let saved = Some(row.expires_ms());
            if !self.hold(&key, row, expires, saved) {
                self.unsaved.insert(key, true);
            }
        }
        self.write_rest();
    }

    /// Takes in a restored row, if there is room.
    fn hold(
        &mut self,
        key: &RowKey,
        row: Row,
        expires: Option<Instant>,
        saved: Option<Option<i64>>,
    ) -> bool {
        let (mirror, config) = (&mut self.mirror, &self.config);
        match (key, row) {
            (RowKey::Record(key), Row::Record { value, publisher, .. }) => {
                let publisher = publisher.and_then(|bytes| PeerId::from_bytes(&bytes).ok());
                let has_room = mirror.records.len() < config.records;
                if has_room {
                    let record = Record { key: key.clone(), value, publisher, expires };
                    mirror.records.insert(key.clone(), Held { record, saved });
                }
                has_room
            }
            (RowKey::Provider(key, provider), Row::Provider { addresses, .. }) => {
                let of_key = mirror.providers.get(key).map(Vec::len);
                let has_room = of_key
                    .map_or(mirror.providers.len() < config.provided_keys, |count| {
                        count < config.providers_per_key
                    });
                if has_room {
                    let address = |bytes: Vec<u8>| Multiaddr::try_from(bytes).ok();
                    let addresses = addresses.into_iter().filter_map(address).collect();
                    let (key, provider) = (key.clone(), *provider);
                    let record = ProviderRecord { key, provider, expires, addresses };
                    mirror.insert_provider(Held { record, saved });
                }
                has_room
            }
            _ => false,
        }
    }

    /// No stranger's record lives longer than `ttl_max`.
    fn clamp(&self, expires: Option<Instant>, is_own: bool, now: Instant) -> Option<Instant> {
        let latest = now.checked_add(self.config.ttl_max);
        match (expires, is_own) {
            (None, true) => None,
            (expires, _) => expires.into_iter().chain(latest).min(),
        }
    }

    fn fits(&self, key: &RecordKey) -> bool {
        key.as_ref().len() <= self.config.key_bytes.min(KEY_BYTES_MAX)
    }

    /// True if the journal has the row with about this expiry.
    fn is_saved(&self, row: &RowKey, expires: Option<Instant>, now: Instant) -> bool {
        let drift = i64::try_from(self.config.expiry_drift.as_millis()).unwrap_or(i64::MAX);
        let expires = expires.map(|at| wall_ms(at, now, self.store.now()));
        match (self.mirror.saved(row), expires) {
            (Some(None), None) => true,
            (Some(Some(saved)), Some(new)) => new.saturating_sub(saved).saturating_abs() <= drift,
            _ => false,
        }
    }

    fn save(&mut self, row: RowKey, is_own: bool) {
        if is_own || self.bucket.take(self.config.journaled_per_minute, self.store.now()) {
            self.append(&row);
        } else {
            self.wait(row);
        }
    }

    fn wait(&mut self, row: RowKey) {
        let is_in_journal = self.mirror.saved(&row).is_some();
        *self.unsaved.entry(row).or_insert(is_in_journal) |= is_in_journal;
    }

    fn drop_row(&mut self, row: &RowKey) {
        let Some(mut is_in_journal) = self.mirror.remove(row) else { return };
        is_in_journal |= self.unsaved.remove(row).unwrap_or(false);
        if is_in_journal && self.append(row) == Some(ErrorKind::Full) {
            self.unsaved.insert(row.clone(), true);
        }
    }

    fn evict(&mut self, row: &RowKey) {
        self.counters.evicted = self.counters.evicted.saturating_add(1);
        self.drop_row(row);
    }

    /// Tries some of what waits again, as far as the bucket allows.
    fn retry(&mut self, most: usize) {
        for row in self.unsaved.keys().take(most).cloned().collect::<Vec<_>>() {
            if !self.bucket.take(self.config.journaled_per_minute, self.store.now())
                || self.append(&row) == Some(ErrorKind::Full)
            {
                break;
            }
        }
    }

    /// Appends the row as it is now, or that it is gone. A full journal leaves it waiting.
    fn append(&mut self, row: &RowKey) -> Option<ErrorKind> {
        let (now, wall) = (Instant::now(), self.store.now());
        let held = self.mirror.row(row, now, wall);
        let expires_ms = held.as_ref().and_then(Row::expires_ms);
        let key = row.text().into();
        let change = match held.as_ref().map(Row::encode) {
            Some(Some(value)) => Change::DhtPut { key, value, at: wall },
            Some(None) => return None,
            None => Change::DhtRemoved { key },
        };
        match self.store.append(change) {
            Ok(_) => {
                self.mirror.set_saved(row, expires_ms);
                self.unsaved.remove(row);
                None
            }
            Err(error) if error.kind() == ErrorKind::Full => {
                self.counters.journal_full = self.counters.journal_full.saturating_add(1);
                self.wait(row.clone());
                Some(ErrorKind::Full)
            }
            Err(error) => {
                tracing::debug!(%error, "a DHT record was refused");
                self.counters.changes_refused = self.counters.changes_refused.saturating_add(1);
                self.unsaved.remove(row);
                Some(error.kind())
            }
        }
    }
}

impl RecordStore for KadStore {
    type RecordsIter<'a> = KadRecords<'a>;
    type ProvidedIter<'a> = KadProvided<'a>;

    fn get(&self, key: &RecordKey) -> Option<Cow<'_, Record>> {
        self.mirror.records.get(key).map(|held| Cow::Borrowed(&held.record))
    }

    fn put(&mut self, mut record: Record) -> StoreResult<()> {
        self.retry(RETRIES);
        if record.value.len() > self.config.value_bytes || !self.fits(&record.key) {
            return Err(StoreError::ValueTooLarge);
        }
        let now = Instant::now();
        let is_own = self.mirror.is_own(&record);
        record.expires = self.clamp(record.expires, is_own, now);
        let row = RowKey::Record(record.key.clone());
        let saved = self.mirror.saved(&row);
        match self.mirror.records.get(&record.key).map(|held| &held.record) {
            Some(old) => {
                let is_same = old.value == record.value && old.publisher == record.publisher;
                if is_same && self.is_saved(&row, record.expires, now) {
                    self.mirror.records.insert(record.key.clone(), Held { record, saved });
                    return Ok(());
                }
            }
            None => {
                let lasts = record.expires.filter(|_| !is_own);
                while self.mirror.records.len() >= self.config.records {
                    let spare =
                        self.mirror.spare_record(lasts, now).ok_or(StoreError::MaxRecords)?;
                    self.evict(&RowKey::Record(spare));
                }
            }
        }
        self.mirror.records.insert(record.key.clone(), Held { record, saved });
        self.save(row, is_own);
        Ok(())
    }

    fn remove(&mut self, key: &RecordKey) {
        self.drop_row(&RowKey::Record(key.clone()));
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        KadRecords(self.mirror.records.values())
    }

    fn add_provider(&mut self, mut record: ProviderRecord) -> StoreResult<()> {
        self.retry(RETRIES);
        if !self.fits(&record.key) {
            return Err(StoreError::ValueTooLarge);
        }
        let now = Instant::now();
        let is_own = record.provider == self.mirror.local;
        record.expires = self.clamp(record.expires, is_own, now);
        record.addresses.retain(|address| address.as_ref().len() <= 256);
        record.addresses.truncate(self.config.addresses_per_provider);
        let (key, provider) = (record.key.clone(), record.provider);
        let row = RowKey::Provider(key.clone(), provider);
        let saved = self.mirror.saved(&row);
        if let Some(old) = self.mirror.provider(&key, &provider) {
            let is_same = old.record.addresses == record.addresses;
            if is_same && self.is_saved(&row, record.expires, now) {
                self.mirror.insert_provider(Held { record, saved });
                return Ok(());
            }
        } else if let Some(of_key) = self.mirror.providers.get(&key) {
            if of_key.len() >= self.config.providers_per_key {
                // As kademlia's own store does: a flood of providers does not displace those known.
                let Some(spare) = self.mirror.spare_provider(&key, is_own, now) else {
                    return Ok(());
                };
                self.evict(&RowKey::Provider(key, spare));
            }
        } else {
            let lasts = record.expires.filter(|_| !is_own);
            while self.mirror.providers.len() >= self.config.provided_keys {
                let spare = self.mirror.spare_key(lasts).ok_or(StoreError::MaxProvidedKeys)?;
                for provider in self.providers(&spare) {
                    self.evict(&RowKey::Provider(spare.clone(), provider.provider));
                }
            }
        }
        self.mirror.insert_provider(Held { record, saved });
        self.save(row, is_own);
        Ok(())
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        let of_key = self.mirror.providers.get(key).into_iter().flatten();
        of_key.map(|held| held.record.clone()).collect()
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        KadProvided(self.mirror.provided.values())
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        self.drop_row(&RowKey::Provider(key.clone(), *provider));
    }
}

impl Drop for KadStore {
    fn drop(&mut self) {
        self.write_rest();
    }
}

impl fmt::Debug for KadStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KadStore")
            .field("records", &self.mirror.records.len())
            .field("provided_keys", &self.mirror.providers.len())
            .field("unsaved", &self.unsaved.len())
            .finish_non_exhaustive()
    }
}
