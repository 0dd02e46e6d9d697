//! Withdrawn packages: what their publishers took back, remembered over a restart.
//!
//! Each is one small entry among the DHT's in the store, which runs out when the last honest copy
//! has. Memory and store hold the same rows; what they differ in waits in `unsaved`.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use libp2p_identity::PeerId;

use super::package::check_id;
use crate::{
    View,
    state::{Change, State, Time},
};

/// Withdrawals that are remembered.
const ROWS_MAX: usize = 4096;
/// Of these, withdrawals of one other publisher.
const ROWS_PER_PUBLISHER: usize = 256;
/// What the keys in the store begin with; no package's key does, since topics begin them.
const KEY: &str = "withdrawn:";

/// A package of one publisher.
pub(super) type Key = (String, PeerId);

/// Rows by package and publisher.
#[derive(Debug)]
pub(super) struct Withdrawn {
    rows: BTreeMap<Key, Row>,
    /// Rows that the store does not have as they are here.
    unsaved: BTreeSet<Key>,
    /// What the DHT keys of packages begin with.
    prefix: String,
    /// This node, whose own withdrawals no stranger displaces.
    local: PeerId,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    /// When the publisher says to have withdrawn it: what it published until then is gone.
    withdrawn_ms: i64,
    /// When this node heard of it.
    at: Time,
    /// True if the store has an entry of it, maybe an older one.
    stored: bool,
}

impl Withdrawn {
    pub(super) fn new(prefix: &str, local: PeerId) -> Self {
        let prefix = prefix.to_owned();
        Self { rows: BTreeMap::new(), unsaved: BTreeSet::new(), prefix, local }
    }

    /// What the store remembers. What has run out or cannot be read is to be removed.
    pub(super) fn restore(
        state: &State,
        prefix: &str,
        local: PeerId,
        ttl: TimeDelta,
        now: Time,
    ) -> (Self, Vec<Change>) {
        let mut withdrawn = Self::new(prefix, local);
        let mut dropped = Vec::new();
        for (text, entry) in state.dht_entries() {
            let Some(rest) = text.strip_prefix(KEY) else { continue };
            let Some(rest) = rest.strip_prefix(prefix) else { continue };
            let row = <[u8; 8]>::try_from(&*entry.value).ok().map(|bytes| Row {
                withdrawn_ms: i64::from_le_bytes(bytes),
                at: entry.stored_at,
                stored: true,
            });
            let lasts = now.get() - entry.stored_at.get() <= ttl;
            match (parse(rest), row) {
                (Some(key), Some(row)) if lasts => {
                    withdrawn.rows.insert(key, row);
                }
                _ => dropped.push(Change::DhtRemoved { key: text.into() }),
            }
        }
        while withdrawn.rows.len() > ROWS_MAX {
            let Some(key) = withdrawn.oldest(|_| true) else { break };
            dropped.extend(withdrawn.forget(&key));
        }
        (withdrawn, dropped)
    }

    /// Remembers that this package is gone; [`changes`](Self::changes) says it to the store.
    pub(super) fn insert(&mut self, id: &str, publisher: &PeerId, withdrawn_ms: i64, now: Time) {
        let key = (id.to_owned(), *publisher);
        if let Some(row) = self.rows.get_mut(&key) {
            if row.withdrawn_ms < withdrawn_ms {
                *row = Row { withdrawn_ms, at: now, stored: row.stored };
                self.unsaved.insert(key);
            }
            return;
        }
        self.make_room(publisher);
        self.rows.insert(key.clone(), Row { withdrawn_ms, at: now, stored: false });
        self.unsaved.insert(key);
    }

    /// True if this copy of the package was withdrawn by its publisher.
    pub(super) fn covers(&self, id: &str, publisher: &PeerId, published_ms: i64) -> bool {
        let row = self.rows.get(&(id.to_owned(), *publisher));
        row.is_some_and(|row| published_ms <= row.withdrawn_ms)
    }

    /// What this publisher withdrew, and when.
    pub(super) fn of<'a>(&'a self, publisher: &'a PeerId) -> impl Iterator<Item = (&'a str, i64)> {
        let theirs = self.rows.iter().filter(move |((_, of), _)| of == publisher);
        theirs.map(|((id, _), row)| (id.as_str(), row.withdrawn_ms))
    }

    /// A row that the store does not have yet.
    pub(super) fn next_unsaved(&self) -> Option<Key> {
        self.unsaved.first().cloned()
    }

    /// What makes the store have this row as it is here, if it does not yet.
    pub(super) fn change(&mut self, key: &Key) -> Option<Change> {
        if !self.unsaved.remove(key) {
            return None;
        }
        let (id, publisher) = key;
        Some(match self.rows.get_mut(key) {
            Some(row) => {
                row.stored = true;
                withdrawal(&self.prefix, publisher, id, row.withdrawn_ms, row.at)
            }
            None => Change::DhtRemoved { key: store_key(&self.prefix, publisher, id).into() },
        })
    }

    /// The store has this row as it is here: it was appended with something else.
    pub(super) fn set_saved(&mut self, id: &str, publisher: &PeerId) {
        let key = (id.to_owned(), *publisher);
        self.unsaved.remove(&key);
        if let Some(row) = self.rows.get_mut(&key) {
            row.stored = true;
        }
    }

    /// Forgets what has run out.
    pub(super) fn expire(&mut self, ttl: TimeDelta, now: Time) -> Vec<Change> {
        let over = |row: &Row| now.get() - row.at.get() > ttl;
        let keys = self.rows.iter().filter(|(_, row)| over(row)).map(|(key, _)| key.clone());
        let keys: Vec<Key> = keys.collect();
        keys.iter().filter_map(|key| self.forget(key)).collect()
    }

    /// At a limit the oldest goes: of the same publisher, else of any other one.
    fn make_room(&mut self, publisher: &PeerId) {
        let local = self.local;
        if *publisher != local && self.of(publisher).count() >= ROWS_PER_PUBLISHER {
            let oldest = self.oldest(|of| of == publisher);
            oldest.into_iter().for_each(|key| self.forget_later(&key));
        }
        while self.rows.len() >= ROWS_MAX {
            let oldest = self.oldest(|of| *of != local).or_else(|| self.oldest(|_| true));
            let Some(key) = oldest else { break };
            self.forget_later(&key);
        }
    }

    fn oldest(&self, of: impl Fn(&PeerId) -> bool) -> Option<Key> {
        let rows = self.rows.iter().filter(|((_, publisher), _)| of(publisher));
        rows.min_by_key(|(_, row)| row.at).map(|(key, _)| key.clone())
    }

    fn forget(&mut self, key: &Key) -> Option<Change> {
        self.forget_later(key);
        self.change(key)
    }

    /// Drops the row here; the store's goes in its turn.
    fn forget_later(&mut self, key: &Key) {
        if self.rows.remove(key).is_some_and(|row| row.stored) {
            self.unsaved.insert(key.clone());
        } else {
            self.unsaved.remove(key);
        }
    }
}

/// When this publisher withdrew the package, by what the store remembers.
pub(super) fn withdrawn_ms(view: &View, prefix: &str, publisher: &PeerId, id: &str) -> Option<i64> {
    let entry = view.state().dht_entry(&store_key(prefix, publisher, id))?;
    <[u8; 8]>::try_from(&*entry.value).ok().map(i64::from_le_bytes)
}

/// The change that makes the store remember a withdrawal.
pub(super) fn withdrawal(
    prefix: &str,
    publisher: &PeerId,
    id: &str,
    withdrawn_ms: i64,
    at: Time,
) -> Change {
    let key = store_key(prefix, publisher, id).into();
    Change::DhtPut { key, value: withdrawn_ms.to_le_bytes().into(), at }
}

fn store_key(prefix: &str, publisher: &PeerId, id: &str) -> String {
    format!("{KEY}{prefix}{publisher}/{id}")
}

fn parse(text: &str) -> Option<Key> {
    let (publisher, id) = text.split_once('/')?;
    check_id(id).ok()?;
    Some((id.to_owned(), publisher.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Limits;

    const PREFIX: &str = "/topic/";

    fn at(seconds: i64) -> Time {
        chrono::DateTime::from_timestamp(seconds, 0).unwrap().into()
    }

    struct World {
        state: State,
        withdrawn: Withdrawn,
        local: PeerId,
    }

    impl World {
        fn new() -> Self {
            let local = PeerId::random();
            let withdrawn = Withdrawn::new(PREFIX, local);
            Self { state: State::new(Limits::default()), withdrawn, local }
        }

        fn save(&mut self) -> usize {
            let mut count = 0;
            while let Some(key) = self.withdrawn.next_unsaved() {
                let change = self.withdrawn.change(&key).unwrap();
                self.state.apply(&change).unwrap();
                count += 1;
            }
            count
        }

        fn restart(&mut self, now: i64) {
            let ttl = TimeDelta::seconds(100);
            let (withdrawn, dropped) =
                Withdrawn::restore(&self.state, PREFIX, self.local, ttl, at(now));
            self.withdrawn = withdrawn;
            for change in dropped {
                self.state.apply(&change).unwrap();
            }
        }
    }

    #[test]
    fn a_withdrawal_survives_a_restart_until_it_runs_out() {
        let mut world = World::new();
        let publisher = PeerId::random();
        world.withdrawn.insert("a/b", &publisher, 500, at(10));
        world.withdrawn.insert("a/b", &publisher, 400, at(20));
        assert_eq!(world.save(), 1);
        world.withdrawn.insert("a/b", &publisher, 500, at(30));
        assert_eq!(world.save(), 0, "nothing new");
        world.restart(110);
        assert!(world.withdrawn.covers("a/b", &publisher, 500));
        assert!(!world.withdrawn.covers("a/b", &publisher, 501), "published again since");
        assert!(!world.withdrawn.covers("a/b", &PeerId::random(), 1), "somebody else's");
        assert_eq!(world.withdrawn.of(&publisher).collect::<Vec<_>>(), [("a/b", 500)]);
        world.restart(111);
        assert!(!world.withdrawn.covers("a/b", &publisher, 500), "100 s after it was heard");
        assert_eq!(world.state.counts().dht_entries, 0, "nor does the store keep it");
    }

    #[test]
    fn it_runs_out_while_the_node_runs_too() {
        let mut world = World::new();
        world.withdrawn.insert("a", &PeerId::random(), 1, at(0));
        world.save();
        let ttl = TimeDelta::seconds(100);
        assert!(world.withdrawn.expire(ttl, at(100)).is_empty());
        let changes = world.withdrawn.expire(ttl, at(101));
        assert!(matches!(changes.as_slice(), [Change::DhtRemoved { .. }]), "{changes:?}");
        assert!(world.withdrawn.expire(ttl, at(101)).is_empty());
    }

    #[test]
    fn strangers_fill_neither_memory_nor_store_and_never_displace_our_own() {
        let mut world = World::new();
        let local = world.local;
        world.withdrawn.insert("ours", &local, 1, at(0));
        let loud = PeerId::random();
        for n in 0..1000 {
            world.withdrawn.insert(&n.to_string(), &loud, 1, at(n + 1));
        }
        assert_eq!(world.withdrawn.of(&loud).count(), ROWS_PER_PUBLISHER);
        assert!(world.withdrawn.covers("999", &loud, 1), "the newest");
        assert!(world.withdrawn.unsaved.len() <= ROWS_PER_PUBLISHER + 1);
        world.save();
        for n in 0..2 * i64::try_from(ROWS_MAX).unwrap() {
            world.withdrawn.insert("x", &PeerId::random(), 1, at(2000 + n));
        }
        world.save();
        assert_eq!(world.withdrawn.rows.len(), ROWS_MAX);
        assert_eq!(world.state.counts().dht_entries, ROWS_MAX, "what was displaced is gone");
        assert!(world.withdrawn.covers("ours", &local, 1));
        assert_eq!(world.withdrawn.of(&loud).count(), 0);
    }

    #[test]
    fn entries_that_are_none_of_ours_are_left_alone_and_broken_ones_go() {
        let mut world = World::new();
        let put = |key: String, value: &[u8]| Change::DhtPut {
            key: key.into(),
            value: value.into(),
            at: at(0),
        };
        let peer = PeerId::random();
        for (key, value) in [
            ("/topic/a".to_owned(), &b"package"[..]),
            (format!("{KEY}/other/{peer}/a"), &[0; 8]),
            (format!("{KEY}{PREFIX}{peer}/a b"), &[0; 8]),
            (format!("{KEY}{PREFIX}nobody/a"), &[0; 8]),
            (format!("{KEY}{PREFIX}{peer}/short"), &[0; 7]),
            (format!("{KEY}{PREFIX}{peer}/good"), &[0; 8]),
        ] {
            world.state.apply(&put(key, value)).unwrap();
        }
        world.restart(1);
        assert_eq!(world.withdrawn.of(&peer).collect::<Vec<_>>(), [("good", 0)]);
        assert_eq!(world.state.counts().dht_entries, 3);
    }
}
