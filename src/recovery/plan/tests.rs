//! The rule of the plan, case by case, on segments made by hand.

use super::*;
use crate::{
    StoreId,
    journal::{
        format::{Previous, SegmentHeader},
        name::SegmentName,
        scan::{Scan, Seal},
    },
};

/// A segment by hand: its number, first LSN, and the runs it holds.
struct Made {
    name: SegmentName,
    header: Header,
    scan: Scan,
}

impl Made {
    fn new(segment: u64, first: u64, runs: &[(u64, u64)]) -> Self {
        let name = SegmentName { segment, first_lsn: Lsn::new(first) };
        let header = SegmentHeader {
            store_id: StoreId::from_bytes([1; 16]),
            segment,
            first_lsn: Lsn::new(first),
            created_ms: 0,
            previous: Previous {
                segment: segment - 1,
                last_lsn: Lsn::new(first - 1),
                seal: None,
                superseded: false,
            },
        };
        let mut offset = HEADER_BYTES;
        let mut scan = Scan::default();
        for &(first, last) in runs {
            let start = offset;
            offset += 50 * usize::try_from(last - first + 1).unwrap();
            scan.runs.push(Run {
                first: Lsn::new(first),
                last: Lsn::new(last),
                start,
                end: offset,
            });
            offset += 50;
        }
        Self { name, header: Header::Good(header), scan }
    }

    fn vouching(mut self, lsn: u64) -> Self {
        self.scan.vouched = Lsn::new(lsn);
        self
    }

    fn sealed(mut self, lsn: u64) -> Self {
        self.scan.seal = Some(Seal { last_lsn: Lsn::new(lsn), crc: 9, start: 4000 });
        self
    }

    fn damaged(mut self, at: usize) -> Self {
        self.scan.damage.push(at..at + 50);
        self
    }

    fn superseding(mut self) -> Self {
        if let Header::Good(header) = &mut self.header {
            header.previous.superseded = true;
        }
        self
    }

    fn citing(mut self, crc: u32) -> Self {
        if let Header::Good(header) = &mut self.header {
            header.previous.seal = Some(crc);
        }
        self
    }

    fn bad_header(mut self) -> Self {
        self.header = Header::Bad;
        self
    }
}

fn plan(base: u64, made: &[Made]) -> Plan {
    let facts: Vec<_> = made
        .iter()
        .map(|made| Facts { name: made.name, header: made.header, scan: &made.scan })
        .collect();
    Plan::make(&facts, Lsn::new(base))
}

fn verdicts(plan: &Plan) -> Vec<&str> {
    plan.segments.iter().map(|judged| judged.verdict.as_str()).collect()
}

fn replayed(plan: &Plan) -> Vec<(u64, u64)> {
    plan.pieces.iter().map(|p| (p.range.first.get(), p.range.last.get())).collect()
}

fn lost(plan: &Plan) -> Vec<(u64, u64)> {
    plan.lost.iter().map(|range| (range.first.get(), range.last.get())).collect()
}

#[test]
fn whole_segments_are_replayed_from_the_snapshot_on() {
    let made = [Made::new(1, 1, &[(1, 10)]).sealed(10), Made::new(2, 11, &[(11, 15)]).vouching(14)];
    let plan = plan(4, &made);
    assert_eq!(verdicts(&plan), ["whole", "whole"]);
    assert_eq!(replayed(&plan), [(5, 10), (11, 15)]);
    assert_eq!((lost(&plan), plan.end), (vec![], Lsn::new(15)));
}

#[test]
fn what_stands_behind_an_unvouched_hole_is_a_torn_tail() {
    // 13 is torn; 14 and 15 were in the same write and verify, but nobody vouches for 13.
    let made = [Made::new(1, 1, &[(1, 12), (14, 15)]).vouching(10).damaged(HEADER_BYTES + 600)];
    let plan = plan(0, &made);
    assert_eq!(verdicts(&plan), ["torn tail"]);
    assert_eq!(replayed(&plan), [(1, 12)]);
    assert_eq!((lost(&plan), plan.end), (vec![], Lsn::new(12)));
    assert_eq!(plan.segments[0].cut, Some(HEADER_BYTES + 600));
}

#[test]
fn what_a_later_record_vouches_for_is_lost_and_the_rest_is_kept() {
    let made = [Made::new(1, 1, &[(1, 12), (14, 15)]).vouching(14).damaged(HEADER_BYTES + 600)];
    let plan = plan(0, &made);
    assert_eq!(verdicts(&plan), ["broken record"]);
    assert_eq!(replayed(&plan), [(1, 12), (14, 15)]);
    assert_eq!((lost(&plan), plan.end), (vec![(13, 13)], Lsn::new(15)));
    assert_eq!(plan.segments[0].cut, None);
}

#[test]
fn a_missing_segment_is_a_gap_with_its_numbers() {
    let made = [Made::new(1, 1, &[(1, 10)]).sealed(10), Made::new(3, 21, &[(21, 22)])];
    let plan = plan(0, &made);
    assert_eq!(verdicts(&plan), ["whole", "gap"]);
    assert_eq!((lost(&plan), plan.end), (vec![(11, 20)], Lsn::new(22)));
    assert_eq!(replayed(&plan), [(1, 10), (21, 22)]);
}

#[test]
fn a_snapshot_covers_a_gap() {
    let made = [Made::new(1, 1, &[(1, 10)]).sealed(10), Made::new(3, 21, &[(21, 22)])];
    let plan = plan(20, &made);
    assert_eq!(verdicts(&plan), ["covered", "whole"]);
    assert_eq!((lost(&plan), plan.end), (vec![], Lsn::new(22)));
}

#[test]
fn a_segment_after_a_failed_sync_counts_instead_of_the_end_of_the_one_before() {
    let made = [Made::new(1, 1, &[(1, 12)]).vouching(8), Made::new(2, 9, &[(9, 14)]).superseding()];
    let plan = plan(0, &made);
    assert_eq!(verdicts(&plan), ["superseded", "whole"]);
    assert_eq!(replayed(&plan), [(1, 8), (9, 14)]);
    assert_eq!(lost(&plan), []);
}

#[test]
fn a_superseded_end_may_be_torn() {
    let torn = || Made::new(1, 1, &[(1, 8)]).vouching(8).damaged(HEADER_BYTES + 400);
    let again = plan(0, &[torn(), Made::new(2, 9, &[(9, 14)]).superseding()]);
    assert_eq!(verdicts(&again), ["superseded", "whole"]);
    assert!(!again.supersedes, "segment 2 says it");
    // Segment 2 holds nothing and will be removed: whatever follows has to say it.
    let never = plan(0, &[torn(), Made::new(2, 9, &[]).superseding()]);
    assert_eq!(verdicts(&never), ["superseded", "unborn"]);
    assert!(never.supersedes);
    // A whole record among the torn bytes is as little worth.
    let mixed = Made::new(1, 1, &[(1, 8), (10, 10)]).vouching(8).damaged(HEADER_BYTES + 400);
    let mixed = plan(0, &[mixed, Made::new(2, 9, &[(9, 14)]).superseding()]);
    assert_eq!((verdicts(&mixed), lost(&mixed)), (vec!["superseded", "whole"], vec![]));
    let silent = plan(0, &[torn(), Made::new(2, 9, &[(9, 14)])]);
    assert_eq!(verdicts(&silent), ["broken record", "whole"], "nobody says that a sync failed");
    // The damage hit what counts: 8 is gone.
    let rotten = Made::new(1, 1, &[(1, 7)]).vouching(8).damaged(HEADER_BYTES + 350);
    let rotten = plan(0, &[rotten, Made::new(2, 9, &[(9, 14)]).superseding()]);
    assert_eq!(verdicts(&rotten), ["broken record", "whole"]);
    assert_eq!(lost(&rotten), [(8, 8)]);
}

#[test]
fn numbers_that_come_twice_without_a_failed_sync_are_an_overlap() {
    let made = [Made::new(1, 1, &[(1, 12)]).sealed(12), Made::new(2, 9, &[(9, 14)])];
    let plan = plan(0, &made);
    assert_eq!(verdicts(&plan)[1], "overlap");
    assert_eq!(replayed(&plan), [(1, 8), (9, 14)]);
}

#[test]
fn a_bad_header_keeps_its_records() {
    let made = [
        Made::new(1, 1, &[(1, 10)]).sealed(10),
        Made::new(2, 11, &[(11, 20)]).sealed(20).vouching(19).bad_header(),
        Made::new(3, 21, &[(21, 22)]),
    ];
    let plan = plan(0, &made);
    assert_eq!(verdicts(&plan), ["whole", "bad header", "whole"]);
    assert_eq!(replayed(&plan), [(1, 10), (11, 20), (21, 22)]);
    assert_eq!(lost(&plan), []);
    assert!(!plan.segments[1].moved_whole);
}

#[test]
fn a_segment_that_never_held_a_record_is_unborn() {
    let made = [Made::new(1, 1, &[(1, 10)]).sealed(10), Made::new(2, 11, &[])];
    let plan = plan(0, &made);
    assert_eq!(verdicts(&plan), ["whole", "unborn"]);
    assert!(!plan.segments[1].moved_whole, "nothing to keep");
    assert_eq!(plan.end, Lsn::new(10));
}

#[test]
fn the_last_record_that_a_closing_seal_vouches_for_is_lost_when_damaged() {
    let made = [Made::new(1, 1, &[(1, 9)]).sealed(10).vouching(10).damaged(HEADER_BYTES + 450)];
    let plan = plan(0, &made);
    assert_eq!(verdicts(&plan), ["broken record"]);
    assert_eq!((lost(&plan), plan.end), (vec![(10, 10)], Lsn::new(10)));
}

#[test]
fn a_segment_cut_at_a_record_boundary_is_noticed_by_its_successor() {
    let made = [Made::new(1, 1, &[(1, 7)]), Made::new(2, 11, &[(11, 12)])];
    let plan = plan(0, &made);
    assert_eq!(verdicts(&plan), ["whole", "gap"]);
    assert_eq!(lost(&plan), [(8, 10)]);
}

#[test]
fn the_snapshot_alone_is_enough() {
    let plan = plan(88, &[]);
    assert_eq!((plan.end, plan.pieces.len(), plan.lost.len()), (Lsn::new(88), 0, 0));
}

#[test]
fn a_segment_of_another_history_does_not_count() {
    // Segment 2 comes from a backup: its seal is not the one that segment 3 cites.
    let first = || Made::new(1, 1, &[(1, 10)]).sealed(10);
    let second = || Made::new(2, 11, &[(11, 20)]).sealed(20).vouching(20).citing(9);
    let swapped = [first(), second(), Made::new(3, 21, &[(21, 22)]).citing(8)];
    let without = plan(0, &swapped);
    assert_eq!(verdicts(&without), ["whole", "foreign", "whole"]);
    assert!(without.segments[1].moved_whole);
    assert_eq!(replayed(&without), [(1, 10), (21, 22)]);
    assert_eq!(lost(&without), [(11, 20)]);
    let sound = [first(), second(), Made::new(3, 21, &[(21, 22)]).citing(9)];
    assert_eq!(verdicts(&plan(0, &sound)), ["whole", "whole", "whole"]);
}
