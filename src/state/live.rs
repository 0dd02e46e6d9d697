//! The state that appends go into. What retrievals change is put off, and done for several at once.
//!
//! An append takes a lock, and behind that the processor begins nothing before what came earlier is
//! there: each would wait by itself for a row that is seldom in the cache. A retrieval need not
//! look at the row to be let in. It always counts, and of all that a state holds only the want of
//! room for one more peer can refuse it. So it waits here until there are several, whose rows are
//! then waited for together. Nobody can tell: whoever looks at the state has them applied first.

use super::{Change, Effect, State, check, entry::Retrieval, table::FETCHED_MAX};
use crate::Error;

/// Leaves that a retrieval's append copies, where a view or a snapshot shares them, to apply what
/// was put off: it is not to pay for all that came before. The rest waits on.
const COPIES_MAX: usize = 1;
/// Retrievals that are looked at while leaves are being copied: few of them will be applied.
const FETCHED_WHILE_COPYING: usize = 4;

/// See the module.
#[derive(Debug)]
pub(crate) struct LiveState {
    state: State,
    /// In order. There is room for all of them, even if each needs a peer of its own.
    deferred: Vec<Retrieval>,
    /// The last append that applied some had to stop at a copy.
    is_copying: bool,
}

impl LiveState {
    pub(crate) fn new(state: State) -> Self {
        Self { state, deferred: Vec::with_capacity(FETCHED_MAX), is_copying: false }
    }

    /// Does what [`State::apply_all`] does, and tells the same, but that a retrieval that is
    /// put off is said to change the state even where a counter has come to its end.
    pub(crate) fn apply_all(&mut self, changes: &[Change]) -> Result<Effect, Error> {
        let has_room = self.has_room_for(changes.len());
        if let [change] = changes
            && has_room
            && let Some(retrieval) = Retrieval::of(change)
        {
            check::fields(change)?;
            self.defer(retrieval);
            return Ok(Effect::Changed);
        }
        // What leaves reputations alone gives the same before as after.
        if !has_room || !changes.iter().all(Change::leaves_reputations) {
            self.settle();
        }
        self.state.apply_all(changes)
    }

    /// The state as of the last change.
    pub(crate) fn get(&mut self) -> &State {
        self.settle();
        &self.state
    }

    /// True if none of these changes, and none of those put off, can be one peer too many.
    fn has_room_for(&self, changes: usize) -> bool {
        let most = self.state.peers.len().saturating_add(self.deferred.len());
        most.saturating_add(changes) <= self.state.limits.peers
    }

    fn defer(&mut self, retrieval: Retrieval) {
        self.deferred.push(retrieval);
        if self.deferred.len() < FETCHED_MAX {
            return;
        }
        let most = if self.is_copying { FETCHED_WHILE_COPYING } else { FETCHED_MAX };
        self.is_copying = self.apply_deferred(most, COPIES_MAX) < most;
    }

    fn settle(&mut self) {
        while !self.deferred.is_empty() {
            self.apply_deferred(FETCHED_MAX, usize::MAX);
        }
    }

    /// Applies the first few, and tells how many: at least one, if there is one.
    fn apply_deferred(&mut self, most: usize, copies_max: usize) -> usize {
        let first = self.deferred.get(..most).unwrap_or(&self.deferred);
        let counted = self.state.peers.count_retrievals(first, copies_max);
        self.deferred.drain(..counted);
        counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Limits, PeerKey, Time};

    fn failed(peer: usize) -> Change {
        Change::RetrievalFailed { peer: PeerKey::from_text(&peer.to_string()), at: Time::EPOCH }
    }

    #[test]
    fn an_append_beside_a_view_does_not_pay_for_all_that_was_put_off() {
        let mut live = LiveState::new(State::new(Limits::default()));
        for peer in 0..1000 {
            live.apply_all(&[failed(peer)]).unwrap();
        }
        for first in [0, 1000] {
            let view = live.get().clone();
            for peer in first..first + FETCHED_MAX {
                assert_eq!(live.deferred.len(), peer - first);
                live.apply_all(&[failed(peer)]).unwrap();
            }
            assert_eq!(live.deferred.len(), FETCHED_MAX - 1, "one was applied, known or not");
            drop(view);
        }
    }

    #[test]
    fn without_a_view_all_that_was_put_off_is_applied_together() {
        let mut live = LiveState::new(State::new(Limits::default()));
        // They are new at first, and known then.
        for peer in (0..100).chain(0..100) {
            live.apply_all(&[failed(peer)]).unwrap();
        }
        live.get();
        for peer in 0..FETCHED_MAX {
            assert_eq!(live.deferred.len(), peer);
            live.apply_all(&[failed(peer)]).unwrap();
        }
        assert!(live.deferred.is_empty());
    }
}
