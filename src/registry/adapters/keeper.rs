//! A policy and the store it writes to, and what happens when the store does not take a change.

use std::time::Duration;

use libp2p::PeerId;

use super::{Config, Fact, Policy, bucket::is_past};
use crate::{
    Error, ErrorKind, P2PStatePersistence,
    state::{Change, State, Time},
};

/// How long a full journal is left alone.
const HOLD: Duration = Duration::from_secs(1);
/// Changes of one record: far below the store's limit on a record's size.
const BATCH_MAX: usize = 1024;

/// What was not remembered, and why. For logs and metrics; it starts from zero with the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Peers that there was no room for.
    pub peers_refused: u64,
    /// Peers that made room for others.
    pub peers_evicted: u64,
    /// Peers that were never reached, of which nothing was left when their addresses had expired.
    pub peers_expired: u64,
    /// Addresses that there was no room for.
    pub addresses_refused: u64,
    /// Addresses that were not mentioned, or did not work, for too long.
    pub addresses_expired: u64,
    /// Times that something was told of a peer whose news wait for a token.
    pub coalesced: u64,
    /// Times that the journal was full; what it did not take waits and is written later.
    pub journal_full: u64,
    /// Changes that the store refused for good, by a limit of its own or because it was closed.
    pub changes_refused: u64,
}

#[derive(Debug)]
pub(super) struct Keeper {
    pub(super) policy: Policy,
    store: P2PStatePersistence,
    /// Since when the journal is full.
    full_since: Option<Time>,
}

impl Keeper {
    pub(super) fn new(
        store: P2PStatePersistence,
        local: PeerId,
        config: Config,
    ) -> Result<Self, Error> {
        let policy = Policy::restored(local, config, store.view()?.state(), store.now());
        Ok(Self { policy, store, full_since: None })
    }

    pub(super) fn store(&self) -> &P2PStatePersistence {
        &self.store
    }

    pub(super) fn observe(&mut self, fact: Fact<'_>) {
        self.change(|policy, now, state| policy.observe(fact, now, state));
    }

    pub(super) fn reconcile(&mut self, peer: &PeerId) {
        if let Ok(view) = self.store.view() {
            self.policy.reconcile(peer, self.store.now(), view.state());
        }
    }

    pub(super) fn tick(&mut self) {
        let now = self.store.now();
        if self.full_since.is_some_and(|since| !is_past(since, HOLD, now)) {
            return;
        }
        self.full_since = None;
        self.change(Policy::due);
    }

    /// Writes everything that waits; what a full journal does not take still waits.
    pub(super) fn write_rest(&mut self) {
        self.full_since = None;
        self.change(Policy::rest);
    }

    fn change(&mut self, rule: impl FnOnce(&mut Policy, Time, &State) -> Vec<Change>) {
        // It is only gone when the store is.
        let Ok(view) = self.store.view() else { return };
        let now = self.store.now();
        let changes = rule(&mut self.policy, now, view.state());
        // What is looked at has to be copied where it changes.
        drop(view);
        self.append(changes, now);
    }

    fn append(&mut self, changes: Vec<Change>, now: Time) {
        for batch in changes.chunks(BATCH_MAX) {
            if self.append_batch(batch, now) || batch.len() == 1 {
                continue;
            }
            // One change that the store refuses must not take the others with it.
            for change in batch {
                self.append_batch(std::slice::from_ref(change), now);
            }
        }
    }

    /// False if the store refused the batch for good; a full journal only means that it waits.
    fn append_batch(&mut self, batch: &[Change], now: Time) -> bool {
        let refused = if self.full_since.is_some() {
            ErrorKind::Full
        } else {
            match self.store.append_batch(batch.iter().cloned()) {
                Ok(_) => return true,
                Err(error) => {
                    tracing::debug!(%error, "changes learned from the swarm were refused");
                    error.kind()
                }
            }
        };
        let counters = &mut self.policy.counters;
        if refused == ErrorKind::Full {
            counters.journal_full = counters.journal_full.saturating_add(1);
            self.full_since.get_or_insert(now);
            self.policy.refused(batch);
            return true;
        }
        if batch.len() == 1 {
            counters.changes_refused = counters.changes_refused.saturating_add(1);
        }
        false
    }
}
