//! The verdict on each segment and snapshot: one labelled table, pure.
//!
//! The same label stands here, in `docs/durability.md`, in the report and in the test of the case.

use std::fmt;

/// What a segment's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderState {
    Good,
    Bad,
    /// Sound, but of another store, of another history of this one, or of a segment that is there.
    Foreign,
    Newer,
}

/// Damaged bytes in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DamageState {
    None,
    /// No record vouches for what was there.
    Unvouched,
    /// A record that somebody vouches for is gone.
    Vouched,
}

/// How a segment's numbers join those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Joined,
    /// Numbers are missing that no damaged bytes account for.
    Gap,
    /// Numbers come twice, and no failed sync accounts for it.
    Overlap,
    /// A later segment holds again what this one ends with, because a sync of this one failed.
    Superseded,
}

/// All that the verdict on a segment rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) header: HeaderState,
    /// It has the largest segment number.
    pub(crate) newest: bool,
    /// It holds at least one valid record.
    pub(crate) records: bool,
    pub(crate) damage: DamageState,
    pub(crate) order: Order,
    /// The snapshot holds everything that it could hold.
    pub(crate) covered: bool,
}

/// A label of the recovery table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// Everything verifies.
    Whole,
    /// Bytes at the end that nothing vouches for: a write cut off before it was acknowledged.
    TornTail,
    /// A segment that was created and never held a record.
    Unborn,
    /// Everything in the segment is in the snapshot; compaction will delete it.
    Covered,
    /// A later segment holds its end again, because a sync of this one failed.
    Superseded,
    /// Damaged bytes inside the journal.
    BrokenRecord,
    /// The segment's header does not verify. Its records were read by the file name, as far as they
    /// could be.
    BadHeader,
    /// Records are missing before or inside this segment.
    Gap,
    /// Records come twice; the later segment counts.
    Overlap,
    /// The file belongs to another store, to another history of this one, or is a second copy.
    Foreign,
    /// The file has another segment's name. Its header says which one it is, and so it counts.
    Misnamed,
    /// Written by a newer version.
    NewerVersion,
    /// There is neither snapshot nor journal.
    FirstRun,
    /// A version 1 file, migrated.
    OldVersion,
    /// The newest snapshot could not be used; an older one and its segments were.
    StaleSnapshot,
    /// The snapshot's checksum does not match its content: edited by hand without sealing, or
    /// damaged.
    UnsealedSnapshot,
    /// The snapshot file is not a snapshot, or not all of one.
    BrokenSnapshot,
}

impl Verdict {
    /// Every label, in the order of the table.
    pub const ALL: [Self; 17] = [
        Self::NewerVersion,
        Self::Foreign,
        Self::Misnamed,
        Self::Covered,
        Self::Unborn,
        Self::BadHeader,
        Self::Gap,
        Self::Overlap,
        Self::BrokenRecord,
        Self::Superseded,
        Self::TornTail,
        Self::Whole,
        Self::FirstRun,
        Self::OldVersion,
        Self::StaleSnapshot,
        Self::UnsealedSnapshot,
        Self::BrokenSnapshot,
    ];

    /// The label, as it stands in `docs/durability.md`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::TornTail => "torn tail",
            Self::Unborn => "unborn",
            Self::Covered => "covered",
            Self::Superseded => "superseded",
            Self::BrokenRecord => "broken record",
            Self::BadHeader => "bad header",
            Self::Gap => "gap",
            Self::Overlap => "overlap",
            Self::Foreign => "foreign",
            Self::Misnamed => "misnamed",
            Self::NewerVersion => "newer version",
            Self::FirstRun => "first run",
            Self::OldVersion => "old version",
            Self::StaleSnapshot => "stale snapshot",
            Self::UnsealedSnapshot => "unsealed snapshot",
            Self::BrokenSnapshot => "broken snapshot",
        }
    }

    /// True for what [`OnDamage::Refuse`](crate::OnDamage::Refuse) refuses.
    #[must_use]
    pub const fn is_damage(self) -> bool {
        matches!(
            self,
            Self::BrokenRecord
                | Self::BadHeader
                | Self::Gap
                | Self::Overlap
                | Self::Foreign
                | Self::Misnamed
                | Self::StaleSnapshot
                | Self::UnsealedSnapshot
                | Self::BrokenSnapshot
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The table. Rows are tried from the top; the first that matches is the verdict.
pub(crate) const fn judge(evidence: Evidence) -> Verdict {
    let Evidence { header, newest, records, damage, order, covered } = evidence;
    match (header, covered, records, newest, order, damage) {
        (HeaderState::Newer, ..) => Verdict::NewerVersion,
        (HeaderState::Foreign, ..) => Verdict::Foreign,
        (_, true, true, ..) | (_, true, false, false, ..) => Verdict::Covered,
        // A header is durable before its file gets a segment's name: a bad one is damage.
        (HeaderState::Good, _, false, true, _, DamageState::None | DamageState::Unvouched) => {
            Verdict::Unborn
        }
        (HeaderState::Bad, ..) => Verdict::BadHeader,
        (_, _, _, _, Order::Gap, _) => Verdict::Gap,
        (_, _, _, _, Order::Overlap, _) => Verdict::Overlap,
        (_, _, _, _, _, DamageState::Vouched) => Verdict::BrokenRecord,
        (_, _, _, _, Order::Superseded, _) => Verdict::Superseded,
        // What is not the newest had been synced before its successor was created.
        (_, _, _, false, _, DamageState::Unvouched) => Verdict::BrokenRecord,
        (_, _, _, true, _, DamageState::Unvouched) => Verdict::TornTail,
        (_, _, _, _, Order::Joined, DamageState::None) => Verdict::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table once more, as predicates that exclude each other, in the words of the document.
    fn claims(e: Evidence) -> Vec<Verdict> {
        let ours = matches!(e.header, HeaderState::Good | HeaderState::Bad);
        let covered = ours && e.covered && (e.records || !e.newest);
        let sound = e.header == HeaderState::Good;
        let never_held = !e.records && e.damage != DamageState::Vouched;
        let unborn = sound && !covered && e.newest && never_held;
        let open = ours && !covered && !unborn;
        let bad = open && e.header == HeaderState::Bad;
        let good = open && sound;
        let joined = good && matches!(e.order, Order::Joined | Order::Superseded);
        let vouched = joined && e.damage == DamageState::Vouched;
        let superseded = joined && !vouched && e.order == Order::Superseded;
        let in_order = joined && !vouched && !superseded;
        let unvouched = in_order && e.damage == DamageState::Unvouched;
        [
            (e.header == HeaderState::Newer, Verdict::NewerVersion),
            (e.header == HeaderState::Foreign, Verdict::Foreign),
            (covered, Verdict::Covered),
            (unborn, Verdict::Unborn),
            (bad, Verdict::BadHeader),
            (good && e.order == Order::Gap, Verdict::Gap),
            (good && e.order == Order::Overlap, Verdict::Overlap),
            (vouched || (unvouched && !e.newest), Verdict::BrokenRecord),
            (superseded, Verdict::Superseded),
            (unvouched && e.newest, Verdict::TornTail),
            (in_order && e.damage == DamageState::None, Verdict::Whole),
        ]
        .into_iter()
        .filter_map(|(holds, verdict)| holds.then_some(verdict))
        .collect()
    }

    #[test]
    fn every_combination_of_evidence_has_exactly_one_verdict() {
        let mut combinations = 0;
        let mut seen = std::collections::HashSet::new();
        for header in
            [HeaderState::Good, HeaderState::Bad, HeaderState::Foreign, HeaderState::Newer]
        {
            for damage in [DamageState::None, DamageState::Unvouched, DamageState::Vouched] {
                for order in [Order::Joined, Order::Gap, Order::Overlap, Order::Superseded] {
                    for bits in 0..8 {
                        let (newest, records, covered) =
                            (bits & 1 != 0, bits & 2 != 0, bits & 4 != 0);
                        let evidence = Evidence { header, newest, records, damage, order, covered };
                        assert_eq!(claims(evidence), [judge(evidence)], "{evidence:?}");
                        seen.insert(judge(evidence));
                        combinations += 1;
                    }
                }
            }
        }
        assert_eq!(combinations, 384);
        assert_eq!(seen.len(), 11, "every segment label is reached");
    }

    #[test]
    fn labels_are_distinct() {
        let labels: std::collections::HashSet<_> = Verdict::ALL.map(Verdict::as_str).into();
        assert_eq!(labels.len(), Verdict::ALL.len());
    }
}
