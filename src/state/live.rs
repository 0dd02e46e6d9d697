//! The state that appends go into, in two parts, for two locks: the peers, and the rest with the
//! changes of peers that were let in and are not applied yet.

use super::{Change, Deferred, Effect, State, deferred::Passed, peers::Peers, table::FETCHED_MAX};
use crate::Error;

/// Leaves that an append copies, where a view or a snapshot shares them, to apply what was
/// deferred: it is not to pay for all that came before. The rest waits on.
const COPIES_MAX: usize = 1;
/// Changes that are looked at while leaves are being copied: few of them will be applied.
const FETCHED_WHILE_COPYING: usize = 4;

/// The state without its peers.
#[derive(Debug)]
pub(crate) struct LiveState {
    rest: State,
    deferred: Deferred,
}

/// The peers.
#[derive(Debug)]
pub(crate) struct LivePeers {
    peers: Peers,
    /// Changes that come next, in order. Nothing can refuse them.
    waiting: Passed,
    /// How many of them were received last.
    came: usize,
    /// Last time there was a leaf to copy.
    is_copying: bool,
}

/// The two parts of a state.
pub(crate) fn part(mut state: State) -> (LiveState, LivePeers) {
    let deferred = Deferred::of(&state);
    let peers = std::mem::take(&mut state.peers);
    let peers = LivePeers { peers, waiting: Passed::default(), came: 0, is_copying: false };
    (LiveState { rest: state, deferred }, peers)
}

impl LiveState {
    /// Takes a change that is sure to change the state; any other is left.
    ///
    /// # Errors
    /// As [`State::apply`].
    pub(crate) fn defer(&mut self, change: &mut Option<Change>) -> Result<bool, Error> {
        self.deferred.take(change)
    }

    /// How many changes are deferred.
    pub(crate) fn deferred(&self) -> usize {
        self.deferred.len()
    }

    /// Does what [`State::apply_all`] does, if the changes need no peers.
    pub(crate) fn apply_apart(&mut self, changes: &[Change]) -> Option<Result<Effect, Error>> {
        changes.iter().all(Change::leaves_peers).then(|| self.rest.apply_all(changes))
    }

    /// Does what [`State::apply_all`] does.
    pub(crate) fn apply_all(
        &mut self,
        peers: &mut LivePeers,
        changes: &[Change],
    ) -> Result<Effect, Error> {
        peers.settle(self);
        std::mem::swap(&mut self.rest.peers, &mut peers.peers);
        let effect = self.rest.apply_all(changes);
        self.deferred.note(&self.rest.peers, changes);
        std::mem::swap(&mut self.rest.peers, &mut peers.peers);
        effect
    }

    /// The state as of the last change.
    pub(crate) fn view(&mut self, peers: &mut LivePeers) -> State {
        peers.settle(self);
        State { peers: peers.peers.clone(), ..self.rest.clone() }
    }
}

impl LivePeers {
    /// Receives what is deferred, to be applied by [`work`](Self::work).
    pub(crate) fn receive(&mut self, state: &mut LiveState) {
        self.came = state.deferred.len();
        state.deferred.pass_on(&self.peers, &mut self.waiting);
    }

    /// Applies what waits, until a few leaves had to be copied. True if that was so: then the next
    /// change that comes is to be received by itself.
    pub(crate) fn work(&mut self) -> bool {
        let copies = if self.is_copying {
            // Who brings more copies more, and where much waits, it becomes less.
            let waits_much = self.waiting.len() > self.came + FETCHED_MAX;
            self.came.max(COPIES_MAX) + usize::from(waits_much)
        } else {
            COPIES_MAX
        };
        self.is_copying = self.apply(self.most_at_once(), copies) >= copies;
        self.is_copying
    }

    /// How many changes were received and wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Applies the next few that wait, until so many leaves were copied; true if any was.
    pub(crate) fn work_on(&mut self, copies_max: usize) -> bool {
        self.is_copying = self.apply_next(self.most_at_once(), copies_max) > 0;
        self.is_copying
    }

    fn settle(&mut self, state: &mut LiveState) {
        self.receive(state);
        self.apply(FETCHED_MAX, usize::MAX);
        self.is_copying = false;
    }

    /// Applies what waits, so many at a time, until so many leaves were copied; tells how many.
    fn apply(&mut self, most: usize, copies_max: usize) -> usize {
        let mut copied = 0;
        while copied < copies_max && self.waiting.len() > 0 {
            copied += self.apply_next(most, copies_max - copied);
        }
        copied
    }

    fn apply_next(&mut self, most: usize, copies_max: usize) -> usize {
        let (applied, copied) = self.peers.apply_sure(self.waiting.next(most), copies_max);
        self.waiting.drop_first(applied);
        copied
    }

    fn most_at_once(&self) -> usize {
        if self.is_copying { FETCHED_WHILE_COPYING } else { FETCHED_MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Limits, PeerKey, Time};

    fn live() -> (LiveState, LivePeers) {
        part(State::new(Limits::default()))
    }

    fn failed(peer: usize) -> Change {
        Change::RetrievalFailed { peer: PeerKey::from_text(&peer.to_string()), at: Time::EPOCH }
    }

    fn defer(state: &mut LiveState, peers: impl Iterator<Item = usize>) {
        for peer in peers {
            assert!(state.defer(&mut Some(failed(peer))).unwrap());
        }
    }

    #[test]
    fn an_append_beside_a_view_does_not_pay_for_all_that_was_deferred() {
        let (mut state, mut peers) = live();
        defer(&mut state, 0..1000);
        for first in [0, 1000] {
            let view = state.view(&mut peers);
            defer(&mut state, first..first + FETCHED_MAX);
            peers.receive(&mut state);
            assert!(peers.work(), "each change is to come by itself now");
            assert_eq!(peers.waiting.len(), FETCHED_MAX - 1, "one was applied, known or not");
            // Whoever brings three pays for three, or more and more would wait.
            defer(&mut state, first + 100..first + 103);
            peers.receive(&mut state);
            peers.work();
            assert!(peers.waiting.len() < FETCHED_MAX);
            drop(view);
        }
        // Nothing is shared any more, and all are known.
        state.view(&mut peers);
        defer(&mut state, 0..FETCHED_MAX);
        peers.receive(&mut state);
        assert!(!peers.work() && peers.waiting.len() == 0);
    }

    #[test]
    fn what_waits_becomes_less_beside_a_view() {
        let (mut state, mut peers) = live();
        defer(&mut state, 0..2000);
        let _view = state.view(&mut peers);
        defer(&mut state, 0..200);
        peers.receive(&mut state);
        peers.work();
        for peer in 200..500 {
            defer(&mut state, peer..=peer);
            peers.receive(&mut state);
            peers.work();
        }
        assert!(peers.waiting.len() <= FETCHED_MAX + 1);
    }

    #[test]
    fn without_a_view_all_that_was_deferred_is_applied_together() {
        let (mut state, mut peers) = live();
        // They are new at first, and known then.
        defer(&mut state, (0..100).chain(0..100));
        assert_eq!(state.view(&mut peers).counts().reputation, 100);
        defer(&mut state, 0..100);
        assert_eq!(state.deferred(), 100);
        peers.receive(&mut state);
        assert!(!peers.work());
        assert!(peers.waiting.len() == 0 && state.deferred() == 0);
    }
}
