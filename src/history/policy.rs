//! What the history keeps, and what goes first. Pure.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::History;
use crate::{Lsn, journal::name::SegmentName};

/// A segment in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldSegment {
    pub(super) name: SegmentName,
    pub(super) bytes: u64,
}

/// A snapshot in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeldSnapshot {
    pub(super) lsn: Lsn,
    pub(super) bytes: u64,
}

/// What the history holds. Both lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) segments: Vec<HeldSegment>,
    pub(super) snapshots: Vec<HeldSnapshot>,
}

impl Held {
    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        let segments = self.segments.iter().map(|segment| segment.bytes);
        segments.chain(self.snapshots.iter().map(|s| s.bytes)).fold(0, u64::saturating_add)
    }

    /// True if a snapshot that is not needed as fallback any more is to be kept: nothing below it
    /// leads up to it, or the way from the one below is longer than a snapshot is large. `recorded`
    /// says that a record has its LSN; an update too large for one is in no segment.
    pub(super) fn wants(&self, lsn: Lsn, recorded: bool) -> bool {
        let Some(below) = self.snapshots.iter().rev().find(|snapshot| snapshot.lsn <= lsn) else {
            return true;
        };
        let way = self.segments.iter().filter(|segment| {
            let first = segment.name.first_lsn;
            first > below.lsn && first <= lsn
        });
        let way = way.map(|segment| segment.bytes).fold(0, u64::saturating_add);
        below.lsn < lsn && (!recorded || way > below.bytes)
    }

    /// The first stretch: all below the second snapshot. Segments below the first snapshot lead
    /// nowhere and go before everything else.
    fn first_stretch(&self) -> Option<Stretch> {
        let first = self.snapshots.first().map(|snapshot| snapshot.lsn);
        let strays = self
            .segments
            .iter()
            .take_while(|segment| first.is_none_or(|first| segment.name.first_lsn <= first));
        let strays = strays.count();
        if strays > 0 {
            return Some(Stretch { has_snapshot: false, segments: strays });
        }
        first?;
        let second = self.snapshots.get(1).map(|snapshot| snapshot.lsn);
        let segments = self
            .segments
            .iter()
            .take_while(|segment| second.is_none_or(|second| segment.name.first_lsn <= second));
        Some(Stretch { has_snapshot: true, segments: segments.count() })
    }

    /// What goes next, if anything has to. `began` tells when a segment was made, `behind` when the
    /// first segment behind the history was.
    pub(super) fn excess(
        &self,
        caps: History,
        now: DateTime<Utc>,
        behind: Option<DateTime<Utc>>,
        began: impl Fn(SegmentName) -> Option<DateTime<Utc>>,
    ) -> Option<Stretch> {
        let stretch = self.first_stretch()?;
        let ended = || match self.segments.get(stretch.segments) {
            Some(next) => began(next.name),
            None => behind,
        };
        let goes = !stretch.has_snapshot
            || self.bytes() > caps.bytes_max
            || ended().is_some_and(|ended| is_older(ended, caps.age_max, now));
        goes.then_some(stretch)
    }
}

/// A part of the history that goes as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    /// It begins with the first snapshot.
    pub(super) has_snapshot: bool,
    /// Number of segments, from the first.
    pub(super) segments: usize,
}

/// What lies in the future, since the clock was set back, is not old.
fn is_older(time: DateTime<Utc>, age_max: Duration, now: DateTime<Utc>) -> bool {
    let age_max = TimeDelta::from_std(age_max).unwrap_or(TimeDelta::MAX);
    now.signed_duration_since(time) > age_max
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(snapshots: &[(u64, u64)], segments: &[(u64, u64)]) -> Held {
        let lsn = Lsn::new;
        Held {
            snapshots: snapshots
                .iter()
                .map(|&(at, bytes)| HeldSnapshot { lsn: lsn(at), bytes })
                .collect(),
            segments: segments
                .iter()
                .zip(1..)
                .map(|(&(first, bytes), segment)| HeldSegment {
                    name: SegmentName { segment, first_lsn: lsn(first) },
                    bytes,
                })
                .collect(),
        }
    }

    #[test]
    fn a_snapshot_is_kept_when_the_way_to_it_is_longer_than_a_snapshot_is_large() {
        let none = held(&[], &[(1, 10)]);
        assert!(none.wants(Lsn::new(9), true), "the first one");
        let some = held(&[(9, 100)], &[(10, 60), (20, 40), (30, 1)]);
        assert!(!some.wants(Lsn::new(9), true), "it is there");
        assert!(!some.wants(Lsn::new(29), true), "100 bytes of journal, 100 of snapshot");
        assert!(some.wants(Lsn::new(39), true));
        assert!(some.wants(Lsn::new(29), false), "no record holds it");
    }

    #[test]
    fn the_oldest_stretch_goes_first_and_only_when_a_cap_is_passed() {
        let at = |day: i64| DateTime::from_timestamp(day * 86_400, 0).unwrap();
        // Segment n is made on day n.
        let began = |name: SegmentName| Some(at(i64::try_from(name.segment).unwrap()));
        let two = held(&[(0, 5), (20, 5)], &[(1, 10), (11, 10), (21, 10)]);
        let caps = |bytes_max, days: u64| History {
            bytes_max,
            age_max: Duration::from_secs(days * 86_400),
        };
        let excess = |caps, now| two.excess(caps, at(now), Some(at(4)), began);
        let first = Some(Stretch { has_snapshot: true, segments: 2 });
        assert_eq!(excess(caps(40, 100), 4), None);
        assert_eq!(excess(caps(39, 100), 4), first);
        assert_eq!(excess(caps(40, 2), 5), None, "its last record may be of day 3");
        assert_eq!(excess(caps(40, 1), 5), first);
        assert_eq!(excess(caps(40, 1), 1), None, "the clock was set back");
        let one = held(&[(20, 5)], &[(21, 10)]);
        let age = |now| one.excess(caps(40, 2), at(now), Some(at(4)), began);
        assert_eq!((age(6), age(7)), (None, Some(Stretch { has_snapshot: true, segments: 1 })));
        assert_eq!(one.excess(caps(40, 2), at(99), None, began), None, "nobody knows how old");
    }

    #[test]
    fn segments_below_the_first_snapshot_lead_nowhere_and_go() {
        let began = |_| None;
        let now = DateTime::UNIX_EPOCH;
        let strays = held(&[(20, 5)], &[(1, 10), (11, 10), (21, 10)]);
        let goes = Some(Stretch { has_snapshot: false, segments: 2 });
        assert_eq!(strays.excess(History::default(), now, None, began), goes);
        let only = held(&[], &[(1, 10)]);
        let goes = Some(Stretch { has_snapshot: false, segments: 1 });
        assert_eq!(only.excess(History::default(), now, None, began), goes);
        assert_eq!(held(&[], &[]).excess(History::OFF, now, None, began), None);
    }
}
