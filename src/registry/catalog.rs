//! The catalog: packages that were announced, for searches. In memory only, and bounded.

use std::collections::{BTreeMap, HashMap};

use libp2p_identity::PeerId;

use super::package::{Announcement, PackageInfo};

/// Withdrawn packages that are remembered, so that an older copy does not bring one back.
const WITHDRAWN_MAX: usize = 4096;

/// Rows by package id. An id belongs to the publisher from whom it was heard first.
#[derive(Debug)]
pub(super) struct Catalog {
    rows: BTreeMap<String, Row>,
    per_publisher: HashMap<PeerId, usize>,
    withdrawn: BTreeMap<(String, PeerId), i64>,
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
    pub(super) fn new(local: PeerId, most: usize, most_per_publisher: usize) -> Self {
        Self {
            local,
            rows: BTreeMap::new(),
            per_publisher: HashMap::new(),
            withdrawn: BTreeMap::new(),
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
    ) -> bool {
        let own = |row: &Row| row.info.publisher == *publisher && row.published_ms <= published_ms;
        let known = self.rows.get(id).is_some_and(own);
        if !known && !kept {
            return false;
        }
        if self.withdrawn.len() >= WITHDRAWN_MAX {
            // The oldest withdrawal is the least likely to meet a copy.
            let oldest = self.withdrawn.iter().min_by_key(|(_, ms)| **ms).map(|(key, _)| key);
            if let Some(oldest) = oldest.cloned() {
                self.withdrawn.remove(&oldest);
            }
        }
        let at = self.withdrawn.entry((id.to_owned(), *publisher)).or_insert(published_ms);
        *at = (*at).max(published_ms);
        known && self.remove(id)
    }

    /// True if this copy of the package was withdrawn by its publisher.
    pub(super) fn is_withdrawn(&self, id: &str, publisher: &PeerId, published_ms: i64) -> bool {
        let at = self.withdrawn.get(&(id.to_owned(), *publisher));
        at.is_some_and(|at| published_ms <= *at)
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

    /// What a publisher would announce to tell of all its packages.
    pub(super) fn announcements(&self, publisher: &PeerId) -> Vec<Announcement> {
        let theirs = self.rows.values().filter(|row| row.info.publisher == *publisher);
        theirs.map(|row| Announcement::published(&row.info, row.published_ms)).collect()
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

    #[test]
    fn an_id_belongs_to_whom_it_was_heard_from_first() {
        let (a, b) = (PeerId::random(), PeerId::random());
        let mut catalog = Catalog::new(PeerId::random(), 10, 10);
        assert!(catalog.add(info("x", a), 1));
        assert!(!catalog.add(info("x", b), 2));
        assert!(!catalog.add(info("x", a), 1), "not newer");
        assert!(catalog.add(info("x", a), 3));
        assert_eq!(catalog.owner("x"), Some(a));
        assert!(!catalog.withdraw("x", &b, 9, false), "another publisher's");
        assert!(!catalog.withdraw("x", &a, 2, false), "an older withdrawal");
        assert!(catalog.withdraw("x", &a, 3, false));
        assert!(!catalog.add(info("x", a), 3), "an old copy does not bring it back");
        assert!(catalog.add(info("x", a), 4));
    }

    #[test]
    fn room_is_bounded_in_all_and_for_each_publisher() {
        let (a, b) = (PeerId::random(), PeerId::random());
        let mut catalog = Catalog::new(PeerId::random(), 3, 2);
        let added: Vec<bool> =
            ["1", "2", "3"].iter().map(|id| catalog.add(info(id, a), 1)).collect();
        assert_eq!(added, [true, true, false]);
        assert!(catalog.add(info("4", b), 1));
        assert!(!catalog.add(info("5", b), 1));
        assert_eq!((catalog.len(), catalog.provided_by(&a)), (3, 2));
        for n in 0..3 * i64::try_from(WITHDRAWN_MAX).unwrap() {
            catalog.withdraw(&n.to_string(), &b, n, n % 2 == 0);
        }
        assert_eq!(catalog.withdrawn.len(), WITHDRAWN_MAX);
    }

    #[test]
    fn searches_look_at_id_and_description() {
        let mut catalog = Catalog::new(PeerId::random(), 10, 10);
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
