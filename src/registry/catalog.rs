//! The catalog: packages that were announced, for searches. In memory only, and bounded. What was
//! withdrawn is remembered.

use std::collections::{BTreeMap, HashMap};

use libp2p_identity::PeerId;

use super::{
    package::{Announcement, PackageInfo},
    withdrawn::Withdrawn,
};
use crate::state::Time;

/// Rows by package id. An id belongs to the publisher from whom it was heard first.
#[derive(Debug)]
pub(super) struct Catalog {
    rows: BTreeMap<String, Row>,
    per_publisher: HashMap<PeerId, usize>,
    /// What must not come back with an older copy.
    pub(super) withdrawn: Withdrawn,
    /// This node, to which the limits do not apply.
    local: PeerId,
    most: usize,
    most_per_publisher: usize,
}

#[derive(Debug)]
struct Row {
    info: PackageInfo,
    published_ms: i64,
}

impl Catalog {
    pub(super) fn new(
        local: PeerId,
        withdrawn: Withdrawn,
        most: usize,
        most_per_publisher: usize,
    ) -> Self {
        Self {
            local,
            rows: BTreeMap::new(),
            per_publisher: HashMap::new(),
            withdrawn,
            most,
            most_per_publisher,
        }
    }

    /// Adds a package or replaces an older one of the same publisher. False if there is no room, it
    /// is not newer, it was withdrawn, or the id is another publisher's.
    pub(super) fn add(&mut self, info: PackageInfo, published_ms: i64) -> bool {
        let publisher = info.publisher;
        if self.is_withdrawn(&info.id, &publisher, published_ms) {
            return false;
        }
        if let Some(row) = self.rows.get_mut(&info.id) {
            let newer = row.info.publisher == publisher && row.published_ms < published_ms;
            if newer {
                *row = Row { info, published_ms };
            }
            return newer;
        }
        let full =
            self.provided_by(&publisher) >= self.most_per_publisher || self.rows.len() >= self.most;
        if full && publisher != self.local {
            return false;
        }
        *self.per_publisher.entry(publisher).or_default() += 1;
        self.rows.insert(info.id.clone(), Row { info, published_ms });
        true
    }

    /// Drops a package of this publisher, and remembers that it is gone. True if it was there. A
    /// package that nobody here knows leaves no trace, or anybody could fill the list; `kept` says
    /// that this node has a copy.
    pub(super) fn withdraw(
        &mut self,
        id: &str,
        publisher: &PeerId,
        published_ms: i64,
        kept: bool,
        now: Time,
    ) -> bool {
        let own = |row: &Row| row.info.publisher == *publisher && row.published_ms <= published_ms;
        let known = self.rows.get(id).is_some_and(own);
        if !known && !kept {
            return false;
        }
        self.withdrawn.insert(id, publisher, published_ms, now);
        known && self.remove(id)
    }

    /// True if this copy of the package was withdrawn by its publisher.
    pub(super) fn is_withdrawn(&self, id: &str, publisher: &PeerId, published_ms: i64) -> bool {
        self.withdrawn.covers(id, publisher, published_ms)
    }

    fn remove(&mut self, id: &str) -> bool {
        let Some(row) = self.rows.remove(id) else { return false };
        if let Some(count) = self.per_publisher.get_mut(&row.info.publisher) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.per_publisher.remove(&row.info.publisher);
            }
        }
        true
    }

    /// The publisher to whom an id belongs, as far as is known.
    pub(super) fn owner(&self, id: &str) -> Option<PeerId> {
        self.rows.get(id).map(|row| row.info.publisher)
    }

    /// Packages known of one publisher.
    pub(super) fn provided_by(&self, publisher: &PeerId) -> usize {
        self.per_publisher.get(publisher).copied().unwrap_or_default()
    }

    /// What a publisher would announce to tell of all its packages, and of those that it withdrew:
    /// nodes that were away have copies of them.
    pub(super) fn announcements(&self, publisher: &PeerId) -> Vec<Announcement> {
        let theirs = self.rows.values().filter(|row| row.info.publisher == *publisher);
        let published = theirs.map(|row| Announcement::published(&row.info, row.published_ms));
        let withdrawn = self
            .withdrawn
            .of(publisher)
            .filter(|(id, _)| self.owner(id) != Some(*publisher))
            .map(|(id, ms)| Announcement::Withdrawn { id: id.to_owned(), published_ms: ms });
        published.chain(withdrawn).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Rows whose id or description has the text, without regard to ASCII case, sorted by id.
    pub(super) fn search(&self, text: &str, limit: usize) -> Vec<PackageInfo> {
        let text = text.to_ascii_lowercase();
        let has = |field: &str| field.to_ascii_lowercase().contains(&text);
        self.rows
            .values()
            .filter(|row| has(&row.info.id) || has(&row.info.description))
            .take(limit)
            .map(|row| row.info.clone())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn info(id: &str, publisher: PeerId) -> PackageInfo {
        PackageInfo {
            id: id.into(),
            version: "1".into(),
            description: format!("About {id}"),
            publisher,
            size: 1,
            published_at: Utc::now(),
        }
    }

    fn catalog(most: usize, most_per_publisher: usize) -> Catalog {
        let local = PeerId::random();
        Catalog::new(local, Withdrawn::new("/t/", local), most, most_per_publisher)
    }

    #[test]
    fn an_id_belongs_to_whom_it_was_heard_from_first() {
        let (a, b) = (PeerId::random(), PeerId::random());
        let mut catalog = catalog(10, 10);
        assert!(catalog.add(info("x", a), 1));
        assert!(!catalog.add(info("x", b), 2));
        assert!(!catalog.add(info("x", a), 1), "not newer");
        assert!(catalog.add(info("x", a), 3));
        assert_eq!(catalog.owner("x"), Some(a));
        assert!(!catalog.withdraw("x", &b, 9, false, Time::EPOCH), "another publisher's");
        assert!(!catalog.withdraw("x", &a, 2, false, Time::EPOCH), "an older withdrawal");
        assert!(catalog.withdraw("x", &a, 3, false, Time::EPOCH));
        assert!(!catalog.add(info("x", a), 3), "an old copy does not bring it back");
        assert!(catalog.add(info("x", a), 4));
    }

    #[test]
    fn room_is_bounded_in_all_and_for_each_publisher() {
        let (a, b) = (PeerId::random(), PeerId::random());
        let mut catalog = catalog(3, 2);
        let added: Vec<bool> =
            ["1", "2", "3"].iter().map(|id| catalog.add(info(id, a), 1)).collect();
        assert_eq!(added, [true, true, false]);
        assert!(catalog.add(info("4", b), 1));
        assert!(!catalog.add(info("5", b), 1));
        assert_eq!((catalog.len(), catalog.provided_by(&a)), (3, 2));
        assert!(!catalog.withdraw("9", &b, 1, false, Time::EPOCH), "nobody here knows it");
        assert_eq!(catalog.withdrawn.of(&b).count(), 0, "so it leaves no trace");
    }

    #[test]
    fn what_was_withdrawn_is_announced_until_it_is_published_again() {
        let a = PeerId::random();
        let mut catalog = catalog(10, 10);
        for id in ["x", "y"] {
            assert!(catalog.add(info(id, a), 1));
            assert!(catalog.withdraw(id, &a, 2, true, Time::EPOCH));
        }
        assert!(catalog.add(info("y", a), 3));
        let told = catalog.announcements(&a);
        assert_eq!(told.len(), 2);
        assert!(matches!(&told[0], Announcement::Published { id, .. } if id == "y"), "{told:?}");
        assert!(matches!(&told[1], Announcement::Withdrawn { id, .. } if id == "x"), "{told:?}");
    }

    #[test]
    fn searches_look_at_id_and_description() {
        let mut catalog = catalog(10, 10);
        for id in ["web/rust", "web/go", "cli"] {
            assert!(catalog.add(info(id, PeerId::random()), 1));
        }
        let ids = |text, limit| -> Vec<String> {
            catalog.search(text, limit).into_iter().map(|info| info.id).collect()
        };
        assert_eq!(ids("WEB", 9), ["web/go", "web/rust"]);
        assert_eq!(ids("about", 9).len(), 3);
        assert_eq!(ids("about", 1), ["cli"]);
        assert!(ids("nothing", 9).is_empty());
    }
}
