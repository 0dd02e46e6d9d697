//! Announcements: what this node publishes, told to others, and what they tell.

use std::time::{Duration, Instant};

use chrono::Utc;
use libp2p::gossipsub::{self, MessageAcceptance};
use libp2p_identity::PeerId;

use super::{
    addresses::cut,
    exchange::dropped,
    node::NodeTask,
    package::{Announcement, PackageInfo},
};

/// Wait after a subscription, so that one round of announcements serves several new peers.
const ANNOUNCE_AFTER: Duration = Duration::from_secs(1);
/// Shortest time between two rounds of announcements.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(30);

impl NodeTask {
    /// True if somebody was there to hear it.
    pub(super) fn announce(&mut self, announcement: &Announcement) -> bool {
        let topic = self.topic.hash();
        let published = announcement
            .encode()
            .map(|bytes| self.swarm.behaviour_mut().gossip.publish(topic, bytes));
        match published {
            Ok(Ok(_)) => true,
            Ok(Err(gossipsub::PublishError::NoPeersSubscribedToTopic)) => false,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a package could not be announced");
                false
            }
            Err(error) => {
                tracing::warn!(%error, "a package could not be announced");
                false
            }
        }
    }

    pub(super) fn announce_soon(&mut self) {
        let soon = Instant::now() + ANNOUNCE_AFTER;
        let at = self.announced_at.map_or(soon, |last| soon.max(last + ANNOUNCE_EVERY));
        self.announce_at.get_or_insert(at);
    }

    /// Tells those who subscribed lately what this node publishes.
    pub(super) fn announce_again(&mut self) {
        let now = Instant::now();
        if self.announce_at.is_none_or(|at| now < at) {
            return;
        }
        self.announce_at = None;
        self.announced_at = Some(now);
        let local = *self.swarm.local_peer_id();
        for announcement in self.catalog.announcements(&local) {
            self.announce(&announcement);
        }
    }

    pub(super) fn on_announcement(&mut self, message: &gossipsub::Message) -> MessageAcceptance {
        // Signed by the source: the protocol has checked it.
        let Some(source) = message.source else { return MessageAcceptance::Reject };
        let size_max = self.config.limits.package_bytes;
        let read = match Announcement::decode(&message.data, Utc::now(), size_max) {
            Ok(read) => read,
            Err(error) => {
                self.recorder.counters_mut().invalid += 1;
                let why = error.to_string();
                tracing::debug!(peer = %source, why = cut(&why, 200), "an announcement is invalid");
                return MessageAcceptance::Reject;
            }
        };
        match read {
            Announcement::Published { id, version, description, published_ms, size } => {
                let published_at = chrono::DateTime::from_timestamp_millis(published_ms);
                let published_at = published_at.unwrap_or_default();
                let publisher = source;
                let info = PackageInfo { id, version, description, publisher, size, published_at };
                if self.catalog.add(info, published_ms) {
                    self.recorder.provides(&source, self.catalog.provided_by(&source));
                }
            }
            Announcement::Withdrawn { id, published_ms } => {
                self.withdraw(&id, &source, published_ms);
            }
        }
        MessageAcceptance::Accept
    }

    /// A publisher takes its package back: every copy of it goes, and it is remembered that it has.
    fn withdraw(&mut self, id: &str, publisher: &PeerId, published_ms: i64) {
        let theirs = self
            .shelf
            .get(id)
            .is_some_and(|row| row.publisher == *publisher && row.published_ms <= published_ms);
        let now = super::recorder::now();
        let known = self.catalog.withdraw(id, publisher, published_ms, theirs, now);
        if known {
            self.recorder.provides(publisher, self.catalog.provided_by(publisher));
        }
        if !known && !theirs {
            return;
        }
        let mut changes = Vec::from(dropped(&self.prefix, id));
        if theirs {
            self.take_off(id);
            self.forget_providers(id);
            // With the copy, or a crash in between would bring it back.
            changes.extend(self.catalog.withdrawn.change(&(id.to_owned(), *publisher)));
        }
        self.recorder.append(changes);
        self.write_withdrawals();
    }

    /// Journals withdrawals in their turn: what strangers withdraw costs a bounded number of
    /// records a minute.
    pub(super) fn write_withdrawals(&mut self) {
        let local = *self.swarm.local_peer_id();
        let mut changes = Vec::new();
        while let Some(key) = self.catalog.withdrawn.next_unsaved() {
            if !self.withdrawals_budget.take(&local, super::recorder::now()) {
                break;
            }
            changes.extend(self.catalog.withdrawn.change(&key));
        }
        self.recorder.append(changes);
    }
}
