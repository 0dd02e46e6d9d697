//! What the registry adds to the memory of the adapters: how many packages a peer provides, its own
//! changes, and its counters.

use std::collections::{HashMap, hash_map::Entry};

use chrono::Utc;
use libp2p_identity::PeerId;

use super::{
    RegistryLimits,
    adapters::{self, Buckets},
};
use crate::{
    Error, ErrorKind, P2PStatePersistence,
    state::{Change, Time},
};

/// Peers in one record.
const PEERS_PER_RECORD: usize = 256;

/// Beside the adapters' recorder, which hears of everything that the swarm reports.
#[derive(Debug)]
pub(super) struct Recorder {
    memory: adapters::Recorder,
    store: P2PStatePersistence,
    /// Packages provided by peers, as far as that is not written yet.
    provided: HashMap<PeerId, u64>,
    provided_max: usize,
    /// One record a minute for each peer.
    writes: Buckets,
    counters: Counters,
}

/// What the registry did beside writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Times that something was told of a peer whose news wait because it caused too many records.
    pub coalesced: u64,
    /// Peers evicted to make room.
    pub evicted: u64,
    /// Peers and addresses of which nothing was left when they had not been heard of for too long.
    pub expired: u64,
    /// Changes that the store refused, or for which there was no room.
    pub refused: u64,
    /// Inbound connections that failed; they never reach the journal.
    pub incoming_errors: u64,
    /// Messages and records of other peers that broke a rule.
    pub invalid: u64,
}

/// Now, to the millisecond: all that a row needs.
pub(super) fn now() -> Time {
    let now = Utc::now();
    chrono::DateTime::from_timestamp_millis(now.timestamp_millis()).unwrap_or(now).into()
}

/// The limits of the registry as the adapters name them.
pub(super) fn memory_config(limits: &RegistryLimits) -> adapters::Config {
    let mut config = adapters::Config::default();
    config.unverified_per_informant =
        config.unverified_per_informant.max(limits.peers_unverified / 16);
    config.peers = limits.peers;
    config.unverified_peers = limits.peers_unverified;
    config.addresses_per_unverified_peer = limits.addresses_unverified;
    config.addresses_per_peer = limits.addresses_total;
    config.address_bytes = limits.address_bytes;
    config.agent_bytes = limits.agent_bytes;
    config.protocols = limits.protocols;
    config.protocol_bytes = limits.protocol_bytes;
    config.coalesce_within = limits.coalesce_within;
    config.records_per_minute = limits.records_per_minute;
    config
}

impl Recorder {
    pub(super) fn new(
        memory: adapters::Recorder,
        store: P2PStatePersistence,
        limits: &RegistryLimits,
    ) -> Self {
        Self {
            memory,
            store,
            provided: HashMap::new(),
            provided_max: limits.peers,
            writes: Buckets::new(1),
            counters: Counters::default(),
        }
    }

    /// What the swarm and its protocols report goes here.
    pub(super) fn memory(&self) -> &adapters::Recorder {
        &self.memory
    }

    pub(super) fn counters(&self) -> Counters {
        let memory = self.memory.counters();
        let own = self.counters;
        Counters {
            coalesced: own.coalesced.saturating_add(memory.coalesced),
            evicted: memory.peers_evicted,
            expired: memory.peers_expired.saturating_add(memory.addresses_expired),
            refused: own
                .refused
                .saturating_add(memory.peers_refused)
                .saturating_add(memory.changes_refused),
            ..own
        }
    }

    pub(super) fn counters_mut(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// The peer announced so many packages that we know of.
    pub(super) fn provides(&mut self, peer: &PeerId, count: usize) {
        // A stranger gets no row by announcing.
        if !self.memory.knows(peer) {
            return;
        }
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let room = self.provided.len() < self.provided_max;
        match self.provided.entry(*peer) {
            Entry::Occupied(mut entry) => *entry.get_mut() = count,
            Entry::Vacant(entry) if room => *entry.insert(count) = count,
            Entry::Vacant(_) => self.counters.refused += 1,
        }
    }

    /// Writes what is pending, but no peer more often than once a minute; `everything` at the end.
    pub(super) fn write_pending(&mut self, everything: bool) {
        if everything {
            self.memory.write_rest();
        }
        let at = now();
        self.writes.prune(at);
        let Ok(view) = self.store.view() else { return };
        let mut changes = Vec::new();
        self.provided.retain(|peer, count| {
            // Evicted meanwhile: nothing of it is to come back.
            let Some(entry) = view.peer(peer) else { return self.memory.knows(peer) };
            let known = entry.reputation.as_ref().map_or(0, |known| known.packages_provided);
            if known == *count {
                return false;
            }
            let is_due = everything || self.writes.take(peer, at);
            if is_due {
                let (peer, count) = (peer.into(), *count);
                changes.push(Change::PackagesProvided { peer, count });
            }
            !is_due
        });
        // What is looked at has to be copied where it changes.
        drop(view);
        changes.chunks(PEERS_PER_RECORD).for_each(|changes| self.append(changes.to_vec()));
    }

    /// Appends changes as one record; a refusal is counted, because nobody can be told.
    pub(super) fn append(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        if let Err(error) = self.store.append_batch(changes) {
            self.refused(&error);
        }
    }

    pub(super) fn refused(&mut self, error: &Error) {
        self.counters.refused += 1;
        if error.kind() != ErrorKind::Closed {
            tracing::warn!(error = format!("{error:#}"), "a change was not recorded");
        }
    }
}
