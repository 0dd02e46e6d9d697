//! The file name of a segment, both directions, nowhere else.

use crate::{Lsn, ids::NUMBER_MAX};

/// Number and first LSN of a segment, as its file name states them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SegmentName {
    pub(crate) segment: u64,
    pub(crate) first_lsn: Lsn,
}

impl SegmentName {
    /// Reads a name that [`Display`](std::fmt::Display) wrote; anything else is not a segment.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        let (segment, first_lsn) = name.strip_suffix(".wal")?.split_once('-')?;
        let parsed =
            Self { segment: segment.parse().ok()?, first_lsn: Lsn::new(first_lsn.parse().ok()?) };
        let is_believed = parsed.segment.max(parsed.first_lsn.get()) <= NUMBER_MAX;
        (is_believed && parsed.to_string() == name).then_some(parsed)
    }
}

impl SegmentName {
    /// False for a copy, or a file from elsewhere, which proves nothing about its neighbour.
    fn takes_over_from(&self, before: &Self) -> bool {
        self.segment > before.segment && self.first_lsn >= before.first_lsn
    }
}

/// Numbers are padded so that names sort as numbers do.
impl std::fmt::Display for SegmentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:010}-{:020}.wal", self.segment, self.first_lsn.get())
    }
}

/// Name of a segment that is being prepared and is not part of the journal yet.
pub(crate) fn prepared_name(number: u64) -> String {
    format!("segment-{number}.tmp")
}

/// True for a name that [`prepared_name`] made.
pub(crate) fn is_prepared(name: &str) -> bool {
    name.strip_prefix("segment-")
        .and_then(|rest| rest.strip_suffix(".tmp"))
        .is_some_and(|number| number.parse::<u64>().is_ok())
}

/// Which segments are safe to delete once every record up to `covered` is in two published
/// snapshots: those whose successor starts at or before the next record. The last one is open and
/// has no successor. `names` are sorted.
pub(crate) fn deletable(names: &[SegmentName], covered: Lsn) -> Vec<SegmentName> {
    names
        .windows(2)
        .filter_map(|pair| match pair {
            [name, next] if next.takes_over_from(name) && next.first_lsn <= covered.next() => {
                Some(*name)
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(segment: u64, first_lsn: u64) -> SegmentName {
        SegmentName { segment, first_lsn: Lsn::new(first_lsn) }
    }

    #[test]
    fn names_round_trip_and_sort() {
        let text = name(12, 34).to_string();
        assert_eq!(text, "0000000012-00000000000000000034.wal");
        assert_eq!(SegmentName::parse(&text), Some(name(12, 34)));
        assert!(name(9, 1).to_string() < name(10, 1).to_string());
        let largest = name(NUMBER_MAX, NUMBER_MAX);
        assert_eq!(SegmentName::parse(&largest.to_string()), Some(largest));
        for absurd in [name(NUMBER_MAX + 1, 1), name(1, u64::MAX)] {
            assert_eq!(SegmentName::parse(&absurd.to_string()), None, "{absurd}");
        }
        for odd in ["12-34.wal", "", "-.wal", "0000000012-00000000000000000034.wal.tmp", "LOCK"] {
            assert_eq!(SegmentName::parse(odd), None, "{odd}");
        }
        assert!(is_prepared(&prepared_name(3)));
        assert!(!is_prepared("segment-x.tmp"));
    }

    #[test]
    fn only_segments_that_two_snapshots_cover_are_deletable() {
        let names = [name(1, 1), name(2, 11), name(3, 21)];
        assert_eq!(deletable(&names, Lsn::ZERO), []);
        assert_eq!(deletable(&names, Lsn::new(9)), []);
        assert_eq!(deletable(&names, Lsn::new(10)), [name(1, 1)]);
        assert_eq!(deletable(&names, Lsn::new(19)), [name(1, 1)]);
        assert_eq!(deletable(&names, Lsn::new(20)), [name(1, 1), name(2, 11)]);
        assert_eq!(deletable(&names, Lsn::new(99)), [name(1, 1), name(2, 11)]);
        assert_eq!(deletable(&[], Lsn::new(99)), []);
    }

    #[test]
    fn a_copy_or_a_stray_file_is_no_successor() {
        assert_eq!(deletable(&[name(3, 21), name(3, 21)], Lsn::new(99)), []);
        assert_eq!(deletable(&[name(3, 21), name(9, 5)], Lsn::new(99)), []);
    }

    #[test]
    fn a_superseded_segment_is_covered_by_what_replaced_it() {
        // Segment 2 was written after a failed sync and starts inside segment 1.
        let names = [name(1, 1), name(2, 6), name(3, 21)];
        assert_eq!(deletable(&names, Lsn::new(5)), [name(1, 1)]);
    }
}
