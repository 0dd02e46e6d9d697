//! Changes that were let in and that the state does not have yet.
//!
//! An append takes a lock, and behind that the processor begins nothing before what came earlier is
//! there: each would wait by itself for a row that is seldom in the cache. The changes that a node
//! makes most need no look at the row to be let in: sums and times that no row exceeds tell that
//! no limit can refuse them and that they say something new. They are numbered and journaled at
//! once and wait here until there are several, whose rows are then waited for together, without
//! the lock. Nobody can tell: whoever looks at the state has them applied first. Only a retrieval
//! whose counter has come to its end is taken for one that changes the row, and recorded.

use super::{
    Change, Limits, PeerKey, State, Time, batch::added, check, peers::Peers, table::FETCHED_MAX,
};
use crate::Error;

/// Crowds of peers, told apart by some bits of their ids; of each the latest time is kept at which
/// one of them was seen.
const CROWDS: usize = 8192;

/// See the module.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// In order.
    changes: Vec<Change>,
    /// Addresses that they add, if all are new.
    added: usize,
    limits: Limits,
    /// There are no more peers, these changes not counted.
    peers: usize,
    /// No peer has more addresses, these changes not counted.
    addresses: usize,
    latest: Latest,
}

/// Changes that were passed on and wait to be applied.
#[derive(Debug, Default)]
pub(super) struct Passed {
    changes: Vec<Change>,
    /// So many of them are applied.
    applied: usize,
    /// Addresses that they add, if all are new.
    added: usize,
}

impl Deferred {
    /// Nothing is deferred yet in front of this state.
    pub(crate) fn of(state: &State) -> Self {
        Self {
            changes: Vec::new(),
            added: 0,
            limits: state.limits,
            peers: state.peers.len(),
            addresses: state.peers.most_addresses(),
            latest: Latest::of(&state.peers),
        }
    }

    /// Takes the change if it is sure to change the state, whatever comes of those before it. If
    /// not, the state has to be asked, and the change is left.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub(crate) fn take(&mut self, change: &mut Option<Change>) -> Result<bool, Error> {
        let Some(sure) = change.as_ref().filter(|change| self.is_sure_of(change)) else {
            return Ok(false);
        };
        check::fields(sure)?;
        if let Change::PeerSeen { peer, at, addresses } = sure {
            self.added += addresses.len();
            self.latest.note(peer, *at);
        }
        self.changes.extend(change.take());
        Ok(true)
    }

    fn is_sure_of(&self, change: &Change) -> bool {
        // Each may need a peer of its own, and all may be of one peer.
        self.peers + self.changes.len() < self.limits.peers
            && match change {
                // It counts, always.
                Change::RetrievalSucceeded { .. } | Change::RetrievalFailed { .. } => true,
                Change::PeerSeen { peer, at, addresses } => {
                    let most = self.addresses + self.added + addresses.len();
                    most <= self.limits.addresses_per_peer && self.latest.is_before(peer, *at)
                }
                _ => false,
            }
    }

    /// How many changes there are.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Passes them on to where others wait for these peers already.
    pub(super) fn pass_on(&mut self, peers: &Peers, passed: &mut Passed) {
        if passed.changes.is_empty() {
            std::mem::swap(&mut passed.changes, &mut self.changes);
        } else {
            if passed.applied >= passed.changes.len() / 2 {
                passed.changes.drain(..std::mem::take(&mut passed.applied));
            }
            passed.changes.append(&mut self.changes);
        }
        passed.added += std::mem::take(&mut self.added);
        self.peers = peers.len() + passed.len();
        self.addresses = peers.most_addresses() + passed.added;
    }

    /// Notes what became of these peers by changes that were not deferred; nothing waits.
    pub(super) fn note(&mut self, peers: &Peers, changes: &[Change]) {
        self.peers = peers.len();
        self.addresses = peers.most_addresses();
        if changes.len() > FETCHED_MAX {
            self.latest.of_all = peers.latest();
            return;
        }
        for peer in changes.iter().filter_map(Change::peer) {
            if let Some(seen) = peers.get(peer).and_then(|entry| entry.seen.as_ref()) {
                self.latest.note(peer, seen.last_seen);
            }
        }
    }
}

impl Passed {
    pub(super) fn len(&self) -> usize {
        self.changes.len() - self.applied
    }

    /// The next ones, so many at most.
    pub(super) fn next(&self, most: usize) -> &[Change] {
        let waiting = self.changes.get(self.applied..).unwrap_or_default();
        waiting.get(..most).unwrap_or(waiting)
    }

    /// The first `count` are applied.
    pub(super) fn drop_first(&mut self, count: usize) {
        if count == self.len() {
            self.changes.clear();
            (self.applied, self.added) = (0, 0);
        } else {
            self.added -= self.next(count).iter().map(|change| added(change).len()).sum::<usize>();
            self.applied += count;
        }
    }
}

/// When peers were seen last: none later than the later of these two times.
/// Never before the epoch, which is when a peer was seen that was only heard of.
#[derive(Debug)]
struct Latest {
    of_all: Time,
    of_crowds: Box<[Time]>,
}

impl Latest {
    fn of(peers: &Peers) -> Self {
        Self { of_all: peers.latest(), of_crowds: vec![Time::EPOCH; CROWDS].into() }
    }

    fn is_before(&self, peer: &PeerKey, at: Time) -> bool {
        self.of_crowds.get(crowd(peer)).is_some_and(|latest| self.of_all.max(*latest) < at)
    }

    fn note(&mut self, peer: &PeerKey, at: Time) {
        if let Some(latest) = self.of_crowds.get_mut(crowd(peer)) {
            *latest = (*latest).max(at);
        }
    }
}

fn crowd(peer: &PeerKey) -> usize {
    usize::from(peer.last_bytes()) % CROWDS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::tests::{addresses, at, peer};

    fn seen(who: u8, ms: i64, texts: &[&str]) -> Change {
        Change::PeerSeen { peer: peer(who), at: at(ms), addresses: addresses(texts) }
    }

    fn takes(deferred: &mut Deferred, change: Change) -> bool {
        let mut change = Some(change);
        let taken = deferred.take(&mut change).unwrap();
        assert_eq!(taken, change.is_none());
        taken
    }

    #[test]
    fn a_peer_that_was_seen_later_is_deferred_and_any_other_is_not() {
        let mut state = State::default();
        state.apply(&seen(1, 5, &[])).unwrap();
        let mut deferred = Deferred::of(&state);
        assert!(!takes(&mut deferred, seen(1, 5, &["a"])), "all that is known is the latest time");
        assert!(!takes(&mut deferred, seen(2, 5, &["a"])));
        assert!(takes(&mut deferred, seen(1, 6, &["a"])));
        assert!(!takes(&mut deferred, seen(1, 6, &["a"])));
        assert!(takes(&mut deferred, seen(2, 6, &["a"])), "other peers were not seen since");
        assert!(takes(&mut deferred, seen(1, 7, &["a"])));
        assert!(!takes(&mut deferred, Change::PeerForgotten { peer: peer(1) }));
        assert_eq!(deferred.len(), 3);
    }

    #[test]
    fn what_did_not_wait_counts_for_what_comes() {
        let mut state = State::default();
        let mut deferred = Deferred::of(&state);
        let one = [seen(1, 5, &[])];
        state.apply_all(&one).unwrap();
        deferred.note(&state.peers, &one);
        assert!(!takes(&mut deferred, seen(1, 5, &[])));
        assert!(takes(&mut deferred, seen(2, 5, &[])));
        let two = [seen(3, 9, &[]), seen(4, 8, &[])];
        state.apply_all(&two).unwrap();
        deferred.note(&state.peers, &two);
        assert!(!takes(&mut deferred, seen(4, 8, &[])));
        assert!(takes(&mut deferred, seen(5, 8, &[])));
        let many: Vec<_> = (10..40).map(|who| seen(who, 20, &[])).collect();
        state.apply_all(&many).unwrap();
        deferred.note(&state.peers, &many);
        assert!(!takes(&mut deferred, seen(50, 20, &[])), "of many only the latest is known");
        assert!(takes(&mut deferred, seen(50, 21, &[])));
    }

    #[test]
    fn what_a_limit_could_refuse_is_not_deferred() {
        let limits = Limits { peers: 3, addresses_per_peer: 3, ..Limits::default() };
        let mut state = State::new(limits);
        state.apply(&seen(1, 1, &["a"])).unwrap();
        let mut deferred = Deferred::of(&state);
        assert!(!takes(&mut deferred, seen(1, 2, &["a", "b", "c"])));
        assert!(takes(&mut deferred, seen(1, 2, &["a", "b"])));
        assert!(!takes(&mut deferred, seen(1, 3, &["c"])));
        assert!(takes(&mut deferred, seen(1, 3, &[])));
        let failed = Change::RetrievalFailed { peer: peer(1), at: at(1) };
        assert!(!takes(&mut deferred, failed.clone()), "two could be of new peers");
        // Applied, they were of one that is known.
        let mut passed = Passed::default();
        deferred.pass_on(&state.peers, &mut passed);
        assert!(!takes(&mut deferred, failed.clone()), "they still wait");
        state.apply_all(passed.next(2)).unwrap();
        passed.drop_first(2);
        deferred.pass_on(&state.peers, &mut passed);
        assert!(takes(&mut deferred, failed));
    }

    #[test]
    fn addresses_that_wait_are_counted() {
        let state = State::new(Limits { addresses_per_peer: 3, ..Limits::default() });
        let mut deferred = Deferred::of(&state);
        let mut passed = Passed::default();
        assert!(takes(&mut deferred, seen(1, 1, &["a", "b"])));
        deferred.pass_on(&state.peers, &mut passed);
        assert!(takes(&mut deferred, seen(1, 2, &["c"])));
        deferred.pass_on(&state.peers, &mut passed);
        assert!(!takes(&mut deferred, seen(1, 3, &["d"])));
        passed.drop_first(1);
        deferred.pass_on(&state.peers, &mut passed);
        assert!(!takes(&mut deferred, seen(1, 4, &["d", "e", "f"])), "one of them still waits");
        assert!(takes(&mut deferred, seen(1, 4, &["d", "e"])));
    }

    #[test]
    fn a_peer_that_was_never_seen_counts_as_seen_at_the_epoch() {
        let mut deferred = Deferred::of(&State::default());
        let before = |ms| Change::PeerSeen {
            peer: peer(1),
            at: chrono::DateTime::from_timestamp_millis(ms).unwrap().into(),
            addresses: Vec::new(),
        };
        assert!(!takes(&mut deferred, before(-5)), "it makes a row that says the epoch");
        assert!(!takes(&mut deferred, before(-3)), "it changes nothing then");
        assert!(!takes(&mut deferred, before(0)));
        assert!(takes(&mut deferred, before(1)));
    }

    #[test]
    fn fields_are_checked() {
        let mut deferred = Deferred::of(&State::default());
        let long = "x".repeat(2000);
        let mut change = Some(seen(1, 1, &[&long]));
        assert!(deferred.take(&mut change).is_err());
        assert!(change.is_some() && deferred.len() == 0);
    }
}
