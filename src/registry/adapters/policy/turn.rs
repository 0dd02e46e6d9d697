//! What is written when: token buckets, coalescing, and what the journal refused.

use libp2p::PeerId;

use super::{Now, Policy};
use crate::state::{Change, PeerKey, State, Time};

/// Most peers whose waiting facts one call writes.
const DUE_MAX: usize = 256;

impl Policy {
    /// The changes whose turn has come: soft facts after their minute, whatever a bucket had no
    /// token for, and what has expired. Call it about every [`tick`](super::Config::tick).
    #[must_use = "the changes are to be appended"]
    pub fn due(&mut self, now: Time, state: &State) -> Vec<Change> {
        let now = self.clock.now(now);
        self.sweep(now, state);
        let mut changes = self.take_evictions();
        let waiting: Vec<PeerId> = self.waiting.iter().copied().collect();
        let mut written = 0;
        for peer in waiting {
            if !self.budget.is_ready(self.config.records_per_minute_total, now.wall) {
                break;
            }
            let more = self.write(&peer, now, state);
            written += usize::from(!more.is_empty());
            changes.extend(more);
            if written >= DUE_MAX {
                break;
            }
        }
        changes
    }

    /// Everything that waits, whatever the buckets say: for the end of the program.
    #[must_use = "the changes are to be appended"]
    pub fn rest(&mut self, now: Time, state: &State) -> Vec<Change> {
        let now = self.clock.now(now);
        let mut changes = self.take_evictions();
        for peer in std::mem::take(&mut self.waiting) {
            changes.extend(self.take_changes(&peer, now, state));
        }
        changes
    }

    /// The journal had no room for these changes: they wait again.
    pub fn refused(&mut self, changes: &[Change]) {
        for change in changes {
            let Some(peer) = change.peer().and_then(PeerKey::to_peer_id) else { continue };
            if let Change::Evicted { .. } = change {
                self.evicted.push(peer);
            } else if let Some(known) = self.book.get_mut(&peer) {
                known.unwrite(change);
                self.waiting.insert(peer);
            }
        }
    }

    /// What the journal lacks of a peer, if its turn has come; else the peer waits.
    pub(super) fn write(&mut self, peer: &PeerId, now: Now, state: &State) -> Vec<Change> {
        let Some(known) = self.book.get_mut(peer) else { return Vec::new() };
        if !known.is_dirty() {
            known.settle();
            self.waiting.remove(peer);
            return Vec::new();
        }
        let config = &self.config;
        let is_stranger = !self.pinned.contains(peer) && state.peer(&peer.into()).is_none();
        let is_due = known.is_due(config.coalesce_within, now);
        // News of strangers that are not due need a token of theirs.
        let needs_token = is_stranger && !is_due;
        let (total, strangers) =
            (config.records_per_minute_total, config.records_per_minute_strangers);
        let may_write = (is_due || known.is_hard())
            && known.bucket.is_ready(config.records_per_minute, now.wall)
            && self.budget.is_ready(total, now.wall)
            && (!needs_token || self.strangers.is_ready(strangers, now.wall));
        if !may_write {
            self.waiting.insert(*peer);
            return Vec::new();
        }
        self.waiting.remove(peer);
        let per_peer = config.records_per_minute;
        let changes = self.take_changes(peer, now, state);
        if !changes.is_empty() {
            self.budget.take(total, now.wall);
            if needs_token {
                self.strangers.take(strangers, now.wall);
            }
            if let Some(known) = self.book.get_mut(peer) {
                known.bucket.take(per_peer, now.wall);
            }
        }
        changes
    }

    fn take_changes(&mut self, peer: &PeerId, now: Now, state: &State) -> Vec<Change> {
        let entry = state.peer(&peer.into());
        if entry.is_none() {
            self.forget_with_store(peer);
        }
        let Some(known) = self.book.get_mut(peer) else { return Vec::new() };
        let changes = known.changes(peer, entry);
        if changes.is_empty() {
            known.settle();
        } else {
            known.written(now);
        }
        changes
    }

    pub(super) fn take_evictions(&mut self) -> Vec<Change> {
        // They go before anything else is written, so one that was met again gets a fresh row.
        let gone = std::mem::take(&mut self.evicted);
        gone.into_iter().map(|peer| Change::Evicted { peer: peer.into() }).collect()
    }
}
