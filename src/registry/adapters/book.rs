//! What the policy knows of one peer, and what of that the journal does not have yet.

use std::{cmp::Reverse, sync::Arc, time::Duration};

use libp2p::{Multiaddr, PeerId};

use super::bucket::{Bucket, is_past};
use crate::state::{Address, Change, Peer, PeerKey, Profile, Time};

/// Failures after which even an address that worked goes, and the least time that they span.
const PROVEN_FAILURES: u32 = 10;
const PROVEN_FAILURES_WITHIN: Duration = Duration::from_secs(7 * 24 * 3600);

/// How an address came to be known, the least sure first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// From anybody.
    Heard,
    /// From the peer itself.
    Identify,
    /// From an earlier life of this node.
    Restored,
    /// We dialled it and the peer was there.
    Proven,
}

#[derive(Clone, Debug)]
pub(super) struct KnownAddress {
    pub(super) address: Multiaddr,
    source: Source,
    failures: u32,
    failing_since: Time,
    in_journal: bool,
}

/// What [`Known::add`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Added {
    Known,
    New,
    /// New, and this one had to go.
    Instead(Multiaddr),
    /// There is no room.
    Refused,
}

#[derive(Clone, Debug)]
pub(super) struct Known {
    /// The best first.
    pub(super) addresses: Vec<KnownAddress>,
    /// Addresses that the journal has and that are not here any more.
    gone: Vec<Address>,
    /// We dialled the peer and it was there.
    pub(super) verified: bool,
    pub(super) seen: Time,
    /// When anything was last told of it; never journaled.
    pub(super) touched: Time,
    pub(super) connections: u32,
    pub(super) latency: Option<Duration>,
    profile: Arc<Profile>,
    journal: Journaled,
    bucket: Bucket,
    /// When its last record was written, or else when it came to be known.
    written_at: Time,
    /// Something waits that should not wait for the next minute.
    hard: bool,
}

/// What the journal says of the peer.
#[derive(Clone, Copy, Debug, Default)]
struct Journaled {
    row: bool,
    verified: bool,
    profile: bool,
    seen: Time,
}

impl Known {
    pub(super) fn new(now: Time) -> Self {
        Self {
            addresses: Vec::new(),
            gone: Vec::new(),
            verified: false,
            seen: Time::EPOCH,
            touched: now,
            connections: 0,
            latency: None,
            profile: Arc::default(),
            journal: Journaled { profile: true, ..Journaled::default() },
            bucket: Bucket::full(),
            written_at: now,
            hard: false,
        }
    }

    /// From the store's row; only addresses that `keep` gives back.
    pub(super) fn restored(
        row: &Peer,
        profile: Option<&Arc<Profile>>,
        keep: impl Fn(&Multiaddr) -> Option<Multiaddr>,
        most: usize,
    ) -> Self {
        let mut known = Self::new(row.last_seen);
        known.verified = row.verified;
        known.seen = row.last_seen;
        known.profile = profile.cloned().unwrap_or_default();
        known.journal =
            Journaled { row: true, verified: row.verified, profile: true, seen: row.last_seen };
        for written in row.addresses.iter() {
            let Some(address) = written.to_multiaddr() else { continue };
            let Some(normal) = keep(&address) else { continue };
            let is_refused = known.add(normal.clone(), Source::Restored, most) == Added::Refused;
            if normal != address {
                // One endpoint under two names: only the normal one stays.
                known.gone.push(written.to_address());
            } else if !is_refused {
                known.mark(&normal, |known| known.in_journal = true);
            }
        }
        known
    }

    /// Takes in addresses that the program itself put into the journal.
    pub(super) fn adopt(&mut self, addresses: impl Iterator<Item = Multiaddr>, most: usize) {
        for address in addresses {
            let is_gone = self.gone.contains(&Address::from(&address));
            if !is_gone && self.add(address.clone(), Source::Restored, most) == Added::New {
                self.mark(&address, |known| known.in_journal = true);
            }
        }
    }

    pub(super) fn position(&self, address: &Multiaddr) -> Option<usize> {
        self.addresses.iter().position(|known| known.address == *address)
    }

    pub(super) fn in_journal(&self) -> bool {
        self.journal.row
    }

    /// Adds an address, or raises what is known of it. A full list takes a surer address in place
    /// of its worst, and any in place of one that fails.
    pub(super) fn add(&mut self, address: Multiaddr, source: Source, most: usize) -> Added {
        if let Some(known) = self.position(&address).and_then(|at| self.addresses.get_mut(at)) {
            // The peer's own word makes hearsay replaceable by its next word.
            known.source = known.source.max(source);
            return Added::Known;
        }
        let mut instead = None;
        if self.addresses.len() >= most.max(1) {
            let Some(worst) = self.addresses.last() else { return Added::Refused };
            if worst.source == Source::Proven || (source <= worst.source && worst.failures == 0) {
                return Added::Refused;
            }
            instead = self.remove(self.addresses.len() - 1);
        }
        let text = Address::from(&address);
        let before = self.gone.len();
        self.gone.retain(|gone| *gone != text);
        self.addresses.push(KnownAddress {
            address,
            source,
            failures: 0,
            failing_since: Time::EPOCH,
            in_journal: self.gone.len() < before,
        });
        self.sort();
        instead.map_or(Added::New, Added::Instead)
    }

    /// The peer was there.
    pub(super) fn prove(&mut self, address: &Multiaddr) {
        self.mark(address, |known| {
            known.source = Source::Proven;
            known.failures = 0;
        });
        self.sort();
    }

    /// Counts a failed dial; true if the address should go.
    pub(super) fn fail(&mut self, address: &Multiaddr, most: u32, now: Time) -> bool {
        let mut is_enough = false;
        self.mark(address, |known| {
            if known.failures == 0 {
                known.failing_since = now;
            }
            known.failures = known.failures.saturating_add(1);
            is_enough = if known.source == Source::Proven {
                known.failures >= PROVEN_FAILURES
                    && is_past(known.failing_since, PROVEN_FAILURES_WITHIN, now)
            } else {
                known.failures >= most
            };
        });
        self.sort();
        is_enough
    }

    pub(super) fn remove(&mut self, at: usize) -> Option<Multiaddr> {
        if at >= self.addresses.len() {
            return None;
        }
        let known = self.addresses.remove(at);
        if known.in_journal {
            self.gone.push(Address::from(&known.address));
        }
        Some(known.address)
    }

    /// Removes what the peer once said and does not say any more.
    pub(super) fn retract(&mut self, says: &[Multiaddr]) -> Vec<Multiaddr> {
        let is_stale = |known: &KnownAddress| {
            known.source == Source::Identify && !says.contains(&known.address)
        };
        let mut retracted = Vec::new();
        while let Some(at) = self.addresses.iter().position(is_stale) {
            retracted.extend(self.remove(at));
        }
        retracted
    }

    /// True if that is news.
    pub(super) fn set_profile(&mut self, profile: Profile) -> bool {
        if *self.profile == profile {
            return false;
        }
        self.profile = Arc::new(profile);
        self.journal.profile = false;
        true
    }

    pub(super) fn is_hard(&mut self) {
        self.hard = true;
    }

    /// True if the journal lacks anything.
    pub(super) fn waits(&self) -> bool {
        !self.journal.row
            || self.seen > self.journal.seen
            || self.verified != self.journal.verified
            || !self.journal.profile
            || !self.gone.is_empty()
            || self.addresses.iter().any(|known| !known.in_journal)
    }

    /// True if what waits may be written now; takes the token for it.
    pub(super) fn may_write(&mut self, per_minute: u32, coalesce: Duration, now: Time) -> bool {
        (self.hard || is_past(self.written_at, coalesce, now)) && self.bucket.take(per_minute, now)
    }

    /// What the journal lacks. From here on it counts as written; see [`unwrite`](Self::unwrite).
    pub(super) fn take_changes(&mut self, id: &PeerId, now: Time) -> Vec<Change> {
        let key = PeerKey::from(id);
        let mut changes = Vec::new();
        if !self.gone.is_empty() {
            let addresses = std::mem::take(&mut self.gone);
            changes.push(Change::AddressesRemoved { peer: key.clone(), addresses });
        }
        let fresh = self.addresses.iter_mut().filter(|known| !known.in_journal);
        let addresses: Vec<Address> = fresh
            .map(|known| {
                known.in_journal = true;
                Address::from(&known.address)
            })
            .collect();
        if self.seen > self.journal.seen {
            changes.push(Change::PeerSeen { peer: key.clone(), at: self.seen, addresses });
        } else if !addresses.is_empty() || !self.journal.row {
            changes.push(Change::AddressesAdded { peer: key.clone(), addresses });
        }
        if self.verified != self.journal.verified {
            changes.push(Change::PeerVerified { peer: key.clone(), verified: self.verified });
        }
        if !self.journal.profile {
            let Profile { agent, protocols } = &*self.profile;
            let (agent, protocols) = (agent.clone(), protocols.to_vec());
            changes.push(Change::PeerProfiled { peer: key, agent, protocols });
        }
        self.journal =
            Journaled { row: true, verified: self.verified, profile: true, seen: self.seen };
        self.written_at = now;
        self.hard = false;
        changes
    }

    /// The journal did not take this change: it waits again. To say again what the journal has
    /// costs nothing, so all addresses count as missing.
    pub(super) fn unwrite(&mut self, change: &Change) {
        match change {
            Change::PeerSeen { .. } => {
                self.journal.seen = Time::EPOCH;
                self.addresses.iter_mut().for_each(|known| known.in_journal = false);
            }
            Change::AddressesAdded { .. } => {
                self.journal.row = false;
                self.addresses.iter_mut().for_each(|known| known.in_journal = false);
            }
            Change::AddressesRemoved { addresses, .. } => {
                let back = |gone: &&Address| {
                    !self.addresses.iter().any(|known| Address::from(&known.address) == **gone)
                };
                let back: Vec<Address> = addresses.iter().filter(back).cloned().collect();
                self.gone.extend(back);
            }
            Change::PeerVerified { .. } => self.journal.verified = !self.verified,
            Change::PeerProfiled { .. } => self.journal.profile = false,
            _ => {}
        }
        self.hard = true;
    }

    fn mark(&mut self, address: &Multiaddr, mark: impl FnOnce(&mut KnownAddress)) {
        if let Some(known) = self.position(address).and_then(|at| self.addresses.get_mut(at)) {
            mark(known);
        }
    }

    /// Proof first, then what fails least; otherwise in the order learned.
    fn sort(&mut self) {
        self.addresses
            .sort_by_key(|known| (Reverse(known.source == Source::Proven), known.failures));
    }
}
