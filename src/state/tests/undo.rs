//! Taking changes back gives the touched rows their old content, and touches nothing else.

use proptest::prelude::*;

use super::{random::change, *};

/// A state after some changes; one that a limit refuses is left out.
fn with(state: &State, changes: &[Change]) -> State {
    let mut next = state.clone();
    for change in changes {
        drop(next.apply(change));
    }
    next
}

/// Long before anything runs out.
fn early() -> Time {
    at(-1_000_000)
}

proptest! {
    #[test]
    fn what_nothing_touched_again_is_as_before_and_the_rest_as_it_is(
        first in prop::collection::vec(change(), 0..20),
        taken_back in prop::collection::vec(change(), 0..6),
        later in prop::collection::vec(change(), 0..6),
    ) {
        let before = with(&State::default(), &first);
        let after = with(&before, &taken_back);
        let now = with(&after, &later);
        let undo = now.undo(&before, &after, early());
        prop_assert_eq!(&undo.expired, &[]);
        let mut result = now.clone();
        result.apply_all(&undo.changes).unwrap();
        let rows = crate::state::undo::touched(&before, &after);
        for row in &rows {
            let model = if undo.conflicts.contains(row) { &now } else { &before };
            prop_assert!(row.is_same(&result, model), "{row:?}");
        }
        for row in &undo.conflicts {
            prop_assert!(rows.contains(row));
            prop_assert!(!row.is_same(&now, &after) && !row.is_same(&now, &before));
        }
        for row in crate::state::undo::touched(&now, &result) {
            prop_assert!(rows.contains(&row), "{row:?} was not touched by what is taken back");
        }
        // Nothing is left to take back.
        let again = result.undo(&before, &after, early());
        prop_assert_eq!((again.changes, again.conflicts), (Vec::new(), undo.conflicts));
    }
}

#[test]
fn a_row_that_goes_takes_nothing_along_that_came_later() {
    let before = State::default();
    let seen = Change::PeerSeen { peer: peer(1), at: at(0), addresses: addresses(&["a"]) };
    let after = with(&before, &[seen]);
    let protocols = vec!["/ipfs/ping/1.0.0".into()];
    let profiled = Change::PeerProfiled { peer: peer(1), agent: None, protocols };
    let now = with(&after, std::slice::from_ref(&profiled));
    let undo = now.undo(&before, &after, early());
    assert_eq!(undo.changes, [Change::PeerRemoved { peer: peer(1) }, profiled]);
    assert_eq!(undo.conflicts, []);
}

#[test]
fn what_has_run_out_meanwhile_stays_gone() {
    let banned = |until| Change::Banned {
        peer: peer(1),
        at: at(0),
        until,
        reason: "spam".into(),
        source: "operator".into(),
    };
    let cached = Change::PackageCached { id: "p".into(), data: [1].into(), at: at(0) };
    let before = with(&State::default(), &[banned(at(1000)), cached]);
    let gone = [Change::Unbanned { peer: peer(1) }, Change::PackageDropped { id: "p".into() }];
    let after = with(&before, &gone);
    let soon = after.undo(&before, &after, at(999));
    assert_eq!((soon.changes.len(), soon.expired.len()), (2, 0));
    let late = after.undo(&before, &after, at(300_001));
    assert_eq!(late.changes, []);
    assert_eq!(late.expired, [RowKey::Ban(peer(1)), RowKey::Package("p".into())]);
}
