//! What befell one peer: its score before and after each change that touched it.

use chrono::{DateTime, Utc};
use peer_journal::{
    Error,
    state::{Ban, Change, PeerEntry, PeerKey, Reputation, State},
};

use super::rows::score_of;

/// The state of one peer, followed through the journal.
#[derive(Debug)]
pub(super) struct Timeline {
    peer: PeerKey,
    /// Holds nothing but this peer.
    state: State,
}

/// How a peer stands at one moment.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Standing {
    /// `None` if nothing but perhaps a ban is known of it.
    pub(super) entry: Option<PeerEntry>,
    pub(super) ban: Option<Ban>,
}

/// What a change did to a peer.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) score_before: Option<f64>,
    pub(super) score_after: Option<f64>,
    /// The change touched its reputation or its ban, or removed it.
    pub(super) matters: bool,
}

impl Timeline {
    /// Begins with what another state knows of the peer.
    pub(super) fn new(peer: &PeerKey, base: &State) -> Result<Self, Error> {
        let mut state = State::new(*base.limits());
        for change in as_changes(peer, base) {
            state.apply(&change)?;
        }
        Ok(Self { peer: peer.clone(), state })
    }

    pub(super) fn standing(&self) -> Standing {
        Standing {
            entry: self.state.peer(&self.peer).cloned(),
            ban: self.state.ban(&self.peer).cloned(),
        }
    }

    /// True if the change can touch this peer.
    pub(super) fn concerns(&self, change: &Change) -> bool {
        match change {
            Change::Expired { .. } => self.state.ban(&self.peer).is_some(),
            other => other.peer() == Some(&self.peer),
        }
    }

    /// Follows one change that [`concerns`](Self::concerns) the peer, made at this time.
    pub(super) fn step(&mut self, change: &Change, at: DateTime<Utc>) -> Result<Step, Error> {
        let before = self.standing();
        self.state.apply(change)?;
        let after = self.standing();
        let known = |standing: &Standing| -> Option<Reputation> {
            standing.entry.as_ref().and_then(|entry| entry.reputation.clone())
        };
        let is_gone = before.entry.is_some() && after.entry.is_none();
        Ok(Step {
            score_before: before.entry.as_ref().and_then(|entry| score_of(entry, at)),
            score_after: after.entry.as_ref().and_then(|entry| score_of(entry, at)),
            matters: is_gone || before.ban != after.ban || known(&before) != known(&after),
        })
    }
}

/// The changes that give a state in which the peer is as it is in this one.
fn as_changes(peer: &PeerKey, state: &State) -> Vec<Change> {
    let mut changes = Vec::new();
    if let Some(entry) = state.peer(peer) {
        if let Some(seen) = &entry.seen {
            changes.push(Change::PeerSet {
                peer: peer.clone(),
                last_seen: seen.last_seen,
                addresses: seen.addresses.iter().map(|address| address.to_address()).collect(),
            });
            changes.push(Change::PeerVerified { peer: peer.clone(), verified: seen.verified });
        }
        if let Some(reputation) = &entry.reputation {
            let (peer, reputation) = (peer.clone(), reputation.clone());
            changes.push(Change::ReputationSet { peer, reputation });
        }
    }
    if let Some(ban) = state.ban(peer) {
        changes.push(Change::Banned {
            peer: peer.clone(),
            at: ban.at,
            until: ban.until,
            reason: ban.reason.clone(),
            source: ban.source.clone(),
        });
    }
    changes
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default() + TimeDelta::minutes(minute)
    }

    fn banned(peer: &PeerKey, minute: i64) -> Change {
        Change::Banned {
            peer: peer.clone(),
            at: at(minute).into(),
            until: at(minute + 10).into(),
            reason: "spam".into(),
            source: "test".into(),
        }
    }

    #[test]
    fn a_peer_is_followed_from_where_the_base_leaves_it() -> Result<(), Error> {
        let (peer, other) = (PeerKey::from_text("a"), PeerKey::from_text("b"));
        let mut base = State::default();
        let failed = Change::RetrievalFailed { peer: peer.clone(), at: at(0).into() };
        let seen = Change::PeerSeen { peer: peer.clone(), at: at(0).into(), addresses: vec![] };
        for change in [&failed, &seen, &banned(&peer, 0), &banned(&other, 0)] {
            base.apply(change)?;
        }
        let mut line = Timeline::new(&peer, &base)?;
        let standing = line.standing();
        assert_eq!(standing.entry.as_ref(), base.peer(&peer));
        assert_eq!(standing.ban.as_ref(), base.ban(&peer));

        let good =
            Change::RetrievalSucceeded { peer: peer.clone(), at: at(1).into(), response_ms: 9 };
        assert!(line.concerns(&good) && !line.concerns(&banned(&other, 2)));
        let step = line.step(&good, at(1))?;
        assert!(step.matters && step.score_after > step.score_before, "{step:?}");
        assert!(!line.step(&seen, at(2))?.matters, "seeing it changes nothing about it");

        let early = Change::Expired { at: at(9).into() };
        assert!(line.concerns(&early) && !line.step(&early, at(9))?.matters);
        let late = Change::Expired { at: at(11).into() };
        assert!(line.step(&late, at(11))?.matters && line.standing().ban.is_none());
        assert!(!line.concerns(&late), "there is no ban that could run out");

        let step = line.step(&Change::PeerForgotten { peer: peer.clone() }, at(12))?;
        assert!(step.matters && step.score_after.is_none(), "{step:?}");
        Ok(())
    }
}
