//! What the policy knows of one peer.

mod rows;

use std::{cmp::Reverse, time::Duration};

use libp2p::{Multiaddr, PeerId};

use super::{
    Config,
    bucket::Bucket,
    clock::{Moment, Now},
};
use crate::{
    registry::addresses::Network,
    state::{Address, Peer, PeerEntry, Profile, Time},
};

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
    /// From the row of a peer that an earlier life of this node reached.
    Restored,
    /// We dialled it and the peer was there.
    Proven,
}

/// Whose word it is that an unverified peer exists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Informant {
    Peer(PeerId),
    /// Unknown: whoever owns the network that the peer is said to be in.
    Network(Network),
}

#[derive(Clone, Debug)]
pub(super) struct KnownAddress {
    pub(super) address: Multiaddr,
    source: Source,
    failures: u32,
    failing_since: Moment,
    /// When it was last told by a source that counts for it.
    mentioned: Moment,
    /// The peer named it, or was reached there, since the start.
    confirmed: bool,
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
    /// Addresses that the row had when they were removed here.
    gone: Vec<Address>,
    /// We dialled the peer and it was there.
    pub(super) verified: bool,
    pub(super) seen: Time,
    /// When anything was last told of it; never journaled.
    pub(super) touched: Moment,
    pub(super) latency: Option<Duration>,
    /// The number of the newest signed record of its addresses.
    pub(super) record: Option<u64>,
    /// In whose crowd it counts, while it is not verified.
    pub(super) informant: Informant,
    /// What it said of itself and the row lacks.
    profile: Option<Profile>,
    /// The store has, or is about to have, a row of it.
    pub(super) has_row: bool,
    /// The row lacks something.
    dirty: bool,
    /// And that should not wait for the next minute.
    hard: bool,
    pub(super) bucket: Bucket,
    /// When its last record was written, or else when it came to be known.
    written_at: Moment,
}

impl Known {
    pub(super) fn new(informant: Informant, now: Now) -> Self {
        Self {
            addresses: Vec::new(),
            gone: Vec::new(),
            verified: false,
            seen: Time::EPOCH,
            touched: now.age,
            latency: None,
            record: None,
            informant,
            profile: None,
            has_row: false,
            dirty: false,
            hard: false,
            bucket: Bucket::full(),
            written_at: now.age,
        }
    }

    pub(super) fn told_by(self, informant: Informant) -> Self {
        Self { informant, ..self }
    }

    pub(super) fn position(&self, address: &Multiaddr) -> Option<usize> {
        self.addresses.iter().position(|known| known.address == *address)
    }

    /// The addresses that the peer named, or at which we reached it, since the start.
    pub(super) fn confirmed(&self) -> impl Iterator<Item = &Multiaddr> {
        self.addresses.iter().filter(|known| known.confirmed).map(|known| &known.address)
    }

    /// Adds an address, or raises what is known of it. A full list takes a surer address in place
    /// of its worst, any in place of one that fails, and one that just worked in place of the one
    /// that did longest ago. `row` is what the store has of the peer.
    pub(super) fn add(
        &mut self,
        address: Multiaddr,
        source: Source,
        most: usize,
        now: Moment,
        row: Option<&Peer>,
    ) -> Added {
        let confirmed = matches!(source, Source::Identify | Source::Proven);
        if let Some(known) = self.position(&address).and_then(|at| self.addresses.get_mut(at)) {
            // Hearsay does not keep alive what a surer source told.
            if source > Source::Heard || known.source == Source::Heard {
                known.mentioned = known.mentioned.max(now);
            }
            known.source = known.source.max(source);
            known.confirmed |= confirmed;
            return Added::Known;
        }
        let mut instead = None;
        if self.addresses.len() >= most.max(1) {
            let Some(worst) = self.worst_for(source) else { return Added::Refused };
            instead = self.remove(worst, row);
        }
        let text = Address::from(&address);
        self.gone.retain(|gone| *gone != text);
        let failing_since = Moment::LONG_AGO;
        self.addresses.push(KnownAddress {
            address,
            source,
            failures: 0,
            failing_since,
            mentioned: now,
            confirmed,
        });
        self.dirty |= row.is_none_or(|row| !row.addresses.contains(text.as_ref()));
        self.sort();
        instead.map_or(Added::New, Added::Instead)
    }

    /// Which address of a full list gives way to one of this source.
    fn worst_for(&self, source: Source) -> Option<usize> {
        let last = self.addresses.len().checked_sub(1)?;
        let worst = self.addresses.get(last)?;
        if worst.source == Source::Proven {
            let rank = |known: &KnownAddress| (Reverse(known.failures), known.mentioned);
            let oldest = self.addresses.iter().enumerate().min_by_key(|(_, known)| rank(known));
            return oldest.map(|(at, _)| at).filter(|_| source == Source::Proven);
        }
        (source > worst.source || worst.failures > 0).then_some(last)
    }

    /// The peer was there.
    pub(super) fn prove(&mut self, address: &Multiaddr) {
        self.mark(address, |known| known.failures = 0);
        self.sort();
    }

    /// Counts a failed dial; true if the address should go.
    pub(super) fn fail(&mut self, address: &Multiaddr, most: u32, now: Now) -> bool {
        let mut is_enough = false;
        self.mark(address, |known| {
            if known.failures == 0 {
                known.failing_since = now.age;
            }
            known.failures = known.failures.saturating_add(1);
            is_enough = if known.source >= Source::Restored {
                known.failures >= PROVEN_FAILURES
                    && known.failing_since.is_past(PROVEN_FAILURES_WITHIN, now.age)
            } else {
                known.failures >= most
            };
        });
        self.sort();
        is_enough
    }

    pub(super) fn remove(&mut self, at: usize, row: Option<&Peer>) -> Option<Multiaddr> {
        if at >= self.addresses.len() {
            return None;
        }
        let known = self.addresses.remove(at);
        let text = Address::from(&known.address);
        let is_written = row.is_some_and(|row| row.addresses.contains(text.as_ref()));
        if is_written && !self.gone.contains(&text) {
            self.gone.push(text);
            self.dirty = true;
        }
        Some(known.address)
    }

    /// Removes what the peer once said and does not say any more. An address from an earlier life
    /// that it does not name either may still work: it lives on as one that was heard.
    pub(super) fn retract(
        &mut self,
        says: &[Multiaddr],
        row: Option<&Peer>,
        now: Now,
    ) -> Vec<Multiaddr> {
        for known in &mut self.addresses {
            if known.source == Source::Restored && !says.contains(&known.address) {
                (known.source, known.mentioned) = (Source::Heard, now.age);
                known.confirmed = false;
            }
        }
        let is_stale = |known: &KnownAddress| {
            known.source == Source::Identify && !says.contains(&known.address)
        };
        self.remove_all(is_stale, row)
    }

    /// Removes what was not mentioned for too long, but not the last address of a peer that was
    /// reached (`keep_last`). While the peer is connected, what works does not age.
    pub(super) fn expire(
        &mut self,
        config: &Config,
        (is_connected, keep_last): (bool, bool),
        row: Option<&Peer>,
        now: Now,
    ) -> Vec<Multiaddr> {
        let is_over = |known: &KnownAddress| {
            let ttl = match known.source {
                Source::Heard => config.address_ttl_heard,
                Source::Identify => config.address_ttl_identified,
                Source::Restored | Source::Proven => config.address_ttl_proven,
            };
            known.mentioned.is_past(ttl, now.age)
        };
        if is_connected {
            let works = self.addresses.iter_mut().filter(|known| known.source >= Source::Restored);
            works.for_each(|known| known.mentioned = now.age);
        }
        let best = self.addresses.iter().max_by_key(|known| (known.source, known.mentioned));
        let all_are_over = self.addresses.iter().all(is_over);
        let spared = best.filter(|_| keep_last && all_are_over).map(|known| known.address.clone());
        self.remove_all(|known| is_over(known) && Some(&known.address) != spared.as_ref(), row)
    }

    fn remove_all(
        &mut self,
        which: impl Fn(&KnownAddress) -> bool,
        row: Option<&Peer>,
    ) -> Vec<Multiaddr> {
        let mut removed = Vec::new();
        while let Some(at) = self.addresses.iter().position(&which) {
            removed.extend(self.remove(at, row));
        }
        removed
    }

    pub(super) fn see(&mut self, at: Time) {
        if at > self.seen {
            self.seen = at;
            self.dirty = true;
        }
    }

    /// True if that is news.
    pub(super) fn verify(&mut self) -> bool {
        let is_news = !self.verified;
        self.verified = true;
        self.dirty |= is_news;
        is_news
    }

    /// True if that is not what `entry` has.
    pub(super) fn set_profile(&mut self, profile: Profile, entry: Option<&PeerEntry>) -> bool {
        let is_news = rows::is_news(&profile, entry);
        self.profile = Some(profile);
        self.dirty |= is_news;
        is_news
    }

    pub(super) fn harden(&mut self) {
        self.hard = true;
    }

    /// True if the row lacks something.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// True if something waits that should not.
    pub(super) fn is_hard(&self) -> bool {
        self.hard && self.dirty
    }

    /// True if its last record is old enough for another that is not urgent.
    pub(super) fn is_due(&self, coalesce: Duration, now: Now) -> bool {
        self.written_at.is_past(coalesce, now.age)
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
