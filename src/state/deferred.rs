//! Changes that were let in and that the state does not have yet.
//!
//! An append takes a lock, and behind that the processor begins nothing before what came earlier is
//! there: each would wait by itself for a row that is seldom in the cache. The changes that a node
//! makes most need no look at the row to be let in: sums and times that no row exceeds tell that
//! no limit can refuse them and that they say something new. They are numbered and journaled at
//! once and wait here until there are several, whose rows are then waited for together, without
//! the lock. Nobody can tell: whoever looks at the state has them applied first.

use super::{Change, Limits, PeerKey, State, Time, batch::added, check, peers::Peers};
use crate::Error;

/// Crowds of peers, told apart by some bits of their ids; of each the latest time is kept at which
/// one of them was seen.
const CROWDS: usize = 8192;

/// See the module.
#[derive(Debug)]
pub(crate) struct Deferred {
    /// In order.
    pub(super) changes: Vec<Change>,
    limits: Limits,
    /// There are no more peers, if each change needs one of its own.
    peers: usize,
    /// No peer has more addresses, if all changes are of one peer.
    addresses: usize,
    latest: Latest,
}

impl Deferred {
    /// Nothing is deferred yet in front of this state.
    pub(crate) fn of(state: &State) -> Self {
        let mut deferred = Self {
            changes: Vec::new(),
            limits: state.limits,
            peers: 0,
            addresses: 0,
            latest: Latest::default(),
        };
        deferred.count(&state.peers, &[]);
        deferred.latest.of_all = state.peers.latest();
        deferred
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
        self.peers += 1;
        if let Change::PeerSeen { peer, at, addresses } = sure {
            self.addresses += addresses.len();
            self.latest.note(peer, *at);
        }
        self.changes.extend(change.take());
        Ok(true)
    }

    fn is_sure_of(&self, change: &Change) -> bool {
        self.peers < self.limits.peers
            && match change {
                // It counts, always.
                Change::RetrievalSucceeded { .. } | Change::RetrievalFailed { .. } => true,
                Change::PeerSeen { peer, at, addresses } => {
                    let most = self.addresses.saturating_add(addresses.len());
                    most <= self.limits.addresses_per_peer && self.latest.is_before(peer, *at)
                }
                _ => false,
            }
    }

    /// How many changes there are.
    pub(crate) fn len(&self) -> usize {
        self.changes.len()
    }

    /// Gives them away, to where others wait for these peers already.
    pub(super) fn pass_on(&mut self, peers: &Peers, others: &mut Vec<Change>) {
        if others.is_empty() {
            std::mem::swap(others, &mut self.changes);
        } else {
            others.append(&mut self.changes);
        }
        self.count(peers, others);
    }

    fn count(&mut self, peers: &Peers, waiting: &[Change]) {
        self.peers = peers.len() + waiting.len();
        let more: usize = waiting.iter().map(|change| added(change).len()).sum();
        self.addresses = peers.most_addresses() + more;
    }

    /// Notes what became of these peers by changes that were not deferred; nothing else waits.
    pub(super) fn note(&mut self, state: &State, changes: &[Change]) {
        self.count(&state.peers, &[]);
        let [change] = changes else {
            self.latest.of_all = state.peers.latest();
            return;
        };
        let entry = change.peer().and_then(|peer| Some((peer, state.peer(peer)?.seen.as_ref()?)));
        if let Some((peer, seen)) = entry {
            self.latest.note(peer, seen.last_seen);
        }
    }
}

/// When peers were seen last: none later than the later of these two times.
#[derive(Debug)]
struct Latest {
    of_all: Option<Time>,
    of_crowds: Box<[Option<Time>]>,
}

impl Latest {
    fn is_before(&self, peer: &PeerKey, at: Time) -> bool {
        self.of_crowds.get(crowd(peer)).is_some_and(|latest| self.of_all.max(*latest) < Some(at))
    }

    fn note(&mut self, peer: &PeerKey, at: Time) {
        if let Some(latest) = self.of_crowds.get_mut(crowd(peer)) {
            *latest = (*latest).max(Some(at));
        }
    }
}

impl Default for Latest {
    fn default() -> Self {
        Self { of_all: None, of_crowds: vec![None; CROWDS].into() }
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
        deferred.note(&state, &one);
        assert!(!takes(&mut deferred, seen(1, 5, &[])));
        assert!(takes(&mut deferred, seen(2, 5, &[])));
        let two = [seen(3, 9, &[]), seen(4, 8, &[])];
        state.apply_all(&two).unwrap();
        deferred.note(&state, &two);
        assert!(!takes(&mut deferred, seen(5, 9, &[])), "of several only the latest is known");
        assert!(takes(&mut deferred, seen(5, 10, &[])));
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
        let mut waiting = Vec::new();
        deferred.pass_on(&state.peers, &mut waiting);
        assert!(!takes(&mut deferred, failed.clone()), "they still wait");
        state.apply_all(&waiting).unwrap();
        deferred.pass_on(&state.peers, &mut Vec::new());
        assert!(takes(&mut deferred, failed));
    }

    #[test]
    fn fields_are_checked() {
        let mut deferred = Deferred::of(&State::default());
        let long = "x".repeat(2000);
        assert!(deferred.take(&mut Some(seen(1, 1, &[&long]))).is_err());
        assert_eq!(deferred.len(), 0);
    }
}
