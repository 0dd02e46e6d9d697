//! The record store of the node's kademlia: packages in memory, where the shelf journals them once
//! they are checked; provider records in a [`KadStore`], which survives a restart by itself.

use libp2p::kad::{
    ProviderRecord, Record, RecordKey,
    store::{MemoryStore, MemoryStoreConfig, RecordStore, Result},
};
use libp2p_identity::PeerId;

use super::{
    RegistryLimits,
    adapters::{KadConfig, KadStore},
    behaviour::record_bytes_max,
};
use crate::{Error, P2PStatePersistence};

/// Values and provider records.
pub(super) struct Records {
    values: MemoryStore,
    providers: KadStore,
}

impl Records {
    pub(super) fn new(
        store: &P2PStatePersistence,
        local: PeerId,
        limits: &RegistryLimits,
    ) -> std::result::Result<Self, Error> {
        // The registry keeps to its own limits; these leave room for the packages of this node.
        let values = MemoryStoreConfig {
            max_records: limits.dht_records.saturating_mul(2),
            max_value_bytes: record_bytes_max(limits).saturating_add(1),
            ..Default::default()
        };
        let providers = KadConfig {
            provided_keys: limits.dht_records,
            addresses_per_provider: limits.addresses_unverified,
            ttl_max: limits.dht_ttl,
            journaled_per_minute: limits.dht_puts_per_minute,
            ..KadConfig::default()
        };
        let providers = KadStore::new(store, local, providers)?;
        Ok(Self { values: MemoryStore::with_config(local, values), providers })
    }

    /// Appends provider records whose turn in the journal has come.
    pub(super) fn write_due(&mut self) {
        self.providers.write_due();
    }
}

impl RecordStore for Records {
    type RecordsIter<'a> = <MemoryStore as RecordStore>::RecordsIter<'a>;
    type ProvidedIter<'a> = <KadStore as RecordStore>::ProvidedIter<'a>;

    fn get(&self, key: &RecordKey) -> Option<std::borrow::Cow<'_, Record>> {
        self.values.get(key)
    }

    fn put(&mut self, record: Record) -> Result<()> {
        self.values.put(record)
    }

    fn remove(&mut self, key: &RecordKey) {
        self.values.remove(key);
    }

    fn records(&self) -> Self::RecordsIter<'_> {
        self.values.records()
    }

    fn add_provider(&mut self, record: ProviderRecord) -> Result<()> {
        self.providers.add_provider(record)
    }

    fn providers(&self, key: &RecordKey) -> Vec<ProviderRecord> {
        self.providers.providers(key)
    }

    fn provided(&self) -> Self::ProvidedIter<'_> {
        self.providers.provided()
    }

    fn remove_provider(&mut self, key: &RecordKey, provider: &PeerId) {
        self.providers.remove_provider(key, provider);
    }
}
