//! What an import makes of a store: which changes it takes, and what stays as it is.
//!
//! Merging the same input twice changes nothing the second time.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use peer_journal::{
    Change,
    state::{Effect, Limits, State, Time, encode, limits::PACKAGE_SECONDS_MAX},
};

use super::found::{Found, Place, Row, Skip};
use crate::failure::Failure;

/// A record of this size is written before another change goes into it.
const RECORD_BYTES: usize = 8 << 20;

/// How many rows of each kind.
pub(super) type Counts = BTreeMap<&'static str, u64>;

/// What there is to journal, and what was made of each row.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// The changes, as the records that they become.
    pub(super) records: Vec<Vec<Change>>,
    pub(super) imported: Counts,
    pub(super) unchanged: Counts,
    pub(super) skips: Vec<Skip>,
    last_bytes: usize,
}

impl Plan {
    /// Weighs everything that was found against what a store knows.
    pub(super) fn make(
        found: Found,
        mut state: State,
        now: DateTime<Utc>,
    ) -> Result<Self, Failure> {
        let mut plan = Self { skips: found.skips, ..Self::default() };
        for (place, row) in found.rows {
            plan.merge(place, row, &mut state, now)?;
        }
        plan.skips.sort_by_key(|skip| skip.line.unwrap_or(u64::MAX));
        Ok(plan)
    }

    fn merge(
        &mut self,
        place: Place,
        row: Row,
        state: &mut State,
        now: DateTime<Utc>,
    ) -> Result<(), Failure> {
        let noun = row.noun();
        if let Some(reason) = over(&row, now.into()) {
            self.skips.push(Skip::over(place, reason));
            return Ok(());
        }
        if let Some(reason) = no_room(&row, state, &Limits::default()) {
            self.skips.push(Skip::fault(place, reason));
            return Ok(());
        }
        let mut is_new = false;
        for change in changes(row, state) {
            match state.apply(&change) {
                Ok(Effect::Unchanged) => {}
                Ok(Effect::Changed) => {
                    is_new = true;
                    self.push(change)?;
                }
                Err(error) => {
                    self.skips.push(Skip::fault(place, error.to_string()));
                    return Ok(());
                }
            }
        }
        let counts = if is_new { &mut self.imported } else { &mut self.unchanged };
        *counts.entry(noun).or_default() += 1;
        Ok(())
    }

    fn push(&mut self, change: Change) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        encode(std::slice::from_ref(&change), &mut bytes)?;
        let sum = self.last_bytes.saturating_add(bytes.len());
        match self.records.last_mut().filter(|_| sum <= RECORD_BYTES) {
            Some(record) => {
                record.push(change);
                self.last_bytes = sum;
            }
            None => {
                self.records.push(vec![change]);
                self.last_bytes = bytes.len();
            }
        }
        Ok(())
    }
}

/// Why a row no longer matters.
fn over(row: &Row, now: Time) -> Option<&'static str> {
    match row {
        Row::Ban { until, .. } if *until <= now => Some("the ban has run out"),
        Row::Package { at, .. } => {
            let age = now.get().signed_duration_since(at.get()).num_seconds();
            (age > PACKAGE_SECONDS_MAX).then_some("the cached package has expired")
        }
        _ => None,
    }
}

/// Why the store, open without limits so that nothing of it is trimmed, should not grow by this
/// row: the programs that open it have limits.
fn no_room(row: &Row, state: &State, limits: &Limits) -> Option<String> {
    let counts = state.counts();
    let (is_new, count, most, what) = match row {
        Row::Address { peer, .. }
        | Row::Peer { peer, .. }
        | Row::Reputation { peer, .. }
        | Row::Profile { peer, .. } => {
            let count = counts.peers.max(counts.reputation).max(counts.profiles);
            (state.peer(peer).is_none(), count, limits.peers, "peers")
        }
        Row::Dht { key, .. } => {
            let is_new = state.dht_entry(key).is_none();
            (is_new, counts.dht_entries, limits.dht_entries, "DHT entries")
        }
        Row::Package { id, .. } => {
            (state.package(id).is_none(), counts.packages, limits.packages, "packages")
        }
        Row::Bootstrap { node } => {
            let is_new = !state.bootstrap_nodes().contains(node);
            (is_new, counts.bootstrap_nodes, limits.bootstrap_nodes, "bootstrap nodes")
        }
        Row::Ban { peer, .. } => (state.ban(peer).is_none(), counts.bans, limits.bans, "bans"),
    };
    if is_new && count >= most {
        return Some(format!("no room for more {what}: the limit is {most}"));
    }
    let value = match row {
        Row::Dht { value, .. } => value.len(),
        Row::Package { data, .. } => data.len(),
        _ => 0,
    };
    let bytes = state.value_bytes().saturating_add(u64::try_from(value).unwrap_or(u64::MAX));
    if value > 0 && bytes > limits.value_bytes {
        return Some(format!("no room for more values: the limit is {} bytes", limits.value_bytes));
    }
    addresses(row, state, limits.addresses_per_peer)
}

/// The same for the addresses of one peer.
fn addresses(row: &Row, state: &State, most: usize) -> Option<String> {
    let (peer, added) = match row {
        Row::Address { peer, address } => (peer, std::slice::from_ref(address)),
        Row::Peer { peer, addresses, .. } => (peer, addresses.as_slice()),
        _ => return None,
    };
    let known = state.peer(peer).and_then(|entry| entry.seen.as_ref());
    let known = known.map(|seen| seen.addresses.clone()).unwrap_or_default();
    if known.len().saturating_add(added.len()) <= most {
        return None;
    }
    let united = known.with_added(added)?;
    (united.len() > most)
        .then(|| format!("no room for more addresses of one peer: the limit is {most}"))
}

/// The changes that merge a row: the newer of two wins, addresses are united, and what the peer
/// said of itself stays.
fn changes(row: Row, state: &State) -> Vec<Change> {
    let is_older = match &row {
        Row::Reputation { peer, reputation } => {
            let known = state.peer(peer).and_then(|entry| entry.reputation.as_ref());
            known.is_some_and(|known| known.last_seen >= reputation.last_seen)
        }
        Row::Dht { key, at, .. } => {
            state.dht_entry(key).is_some_and(|known| known.stored_at >= *at)
        }
        Row::Package { id, at, .. } => {
            state.package(id).is_some_and(|known| known.cached_at >= *at)
        }
        Row::Ban { peer, at, .. } => state.ban(peer).is_some_and(|known| known.at >= *at),
        _ => false,
    };
    if is_older {
        return Vec::new();
    }
    match row {
        Row::Profile { peer, verified, agent, protocols } => {
            let known = state.peer(&peer).is_some_and(|entry| entry.profile.is_some());
            let mut changes = Vec::new();
            if !known && (agent.is_some() || !protocols.is_empty()) {
                changes.push(Change::PeerProfiled { peer: peer.clone(), agent, protocols });
            }
            if verified {
                changes.push(Change::PeerVerified { peer, verified });
            }
            changes
        }
        row => vec![row.into_change()],
    }
}

#[cfg(test)]
mod tests {
    use peer_journal::state::PeerKey;

    use super::super::format::Format;
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap_or_default()
    }

    fn plan(rows: Vec<Row>, state: &State) -> Plan {
        let mut found = Found::new(Format::State);
        for (row, line) in rows.into_iter().zip(1..) {
            found.take(Place::new(Some(line), "x"), Ok(row));
        }
        let Ok(plan) = Plan::make(found, state.clone(), at(0)) else { panic!("no plan") };
        plan
    }

    fn dht(key: &str, bytes: usize, at_seconds: i64) -> Row {
        Row::Dht { key: key.into(), value: vec![7; bytes].into(), at: at(at_seconds).into() }
    }

    #[test]
    fn a_record_is_full_at_some_point_and_the_next_one_begins() {
        let rows = (0..5).map(|number| dht(&number.to_string(), 3 << 20, 0)).collect();
        let several = plan(rows, &State::default());
        let changes: Vec<usize> = several.records.iter().map(Vec::len).collect();
        assert_eq!(changes, [2, 2, 1]);
        let large = plan(vec![dht("a", 9 << 20, 0), dht("b", 1, 0)], &State::default());
        assert_eq!(large.records.len(), 2, "one that is larger stands alone");
    }

    #[test]
    fn a_store_does_not_grow_past_the_limits_of_the_programs_that_open_it() {
        let peer = PeerKey::from_text("a");
        let address = |number: usize| peer_journal::state::Address::from_text(&number.to_string());
        let row = |numbers: std::ops::Range<usize>| Row::Peer {
            peer: peer.clone(),
            addresses: numbers.map(address).collect(),
            last_seen: Time::EPOCH,
        };
        let rows = vec![row(0..1024), row(1..1025), row(0..1024)];
        let plan = plan(rows, &State::new(Limits::UNBOUNDED));
        let [skip] = plan.skips.as_slice() else { panic!("{:?}", plan.skips) };
        assert!(skip.line == Some(2) && skip.reason.contains("1024"), "{skip:?}");
        assert_eq!(plan.unchanged.get("peer"), Some(&1));
    }

    #[test]
    fn the_newer_row_wins_and_what_a_limit_refuses_is_skipped() {
        let mut state = State::default();
        for row in [dht("same", 1, 0), dht("older", 1, 0), dht("newer", 1, 0)] {
            assert!(state.apply(&row.into_change()).is_ok());
        }
        let long = "k".repeat(5000);
        let rows =
            vec![dht("same", 2, 0), dht("older", 2, -1), dht("newer", 2, 1), dht(&long, 1, 0)];
        let plan = plan(rows, &state);
        assert_eq!(plan.records.concat(), [dht("newer", 2, 1).into_change()]);
        assert_eq!(plan.unchanged.get("DHT entry"), Some(&2));
        assert_eq!(plan.imported.get("DHT entry"), Some(&1));
        let [skip] = plan.skips.as_slice() else { panic!("{plan:?}") };
        assert!(skip.fault && skip.line == Some(4), "{skip:?}");
        assert!(skip.reason.contains("the limit is 4096"), "{skip:?}");
    }

    #[test]
    fn what_the_peer_said_here_stays_and_that_we_spoke_to_it_is_learnt() {
        let peer = PeerKey::from_text("a");
        let profile = |agent: &str, verified| Row::Profile {
            peer: peer.clone(),
            verified,
            agent: Some(agent.into()),
            protocols: Vec::new(),
        };
        let first = plan(vec![profile("old", false)], &State::default());
        let mut state = State::default();
        assert!(state.apply_all(&first.records.concat()).is_ok());
        let second = plan(vec![profile("new", true)], &state);
        let kinds: Vec<_> = second.records.concat().iter().map(Change::kind).collect();
        assert_eq!(kinds, ["peer_verified"]);
    }
}
