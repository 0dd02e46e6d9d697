//! From what each segment holds to what is replayed, what is lost and where to cut. Pure.
//!
//! The rule, in one place. Let V be the largest LSN that anything vouches for: a valid record's
//! `durable_through`, a header's citation of what came before, the snapshot. Everything up to V was
//! durable once, so whatever is missing up to V is *lost* and said to be lost. Beyond V the records
//! count for as long as they follow each other without a hole; what stands behind the first hole
//! was never acknowledged and is a *torn tail*.

use super::{
    Facts,
    inventory::Header,
    verdict::{DamageState, Evidence, HeaderState, Order, Verdict, judge},
};
use crate::{
    Lsn,
    journal::{format::HEADER_BYTES, scan::Run},
};

/// A range of LSNs, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LsnRange {
    /// The first number.
    pub first: Lsn,
    /// The last number.
    pub last: Lsn,
}

impl LsnRange {
    /// How many numbers it holds.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.last.get().saturating_sub(self.first.get()).saturating_add(1)
    }
}

impl std::fmt::Display for LsnRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first == self.last {
            write!(f, "lsn {}", self.first)
        } else {
            write!(f, "lsn {}..={}", self.first, self.last)
        }
    }
}

/// Records to replay, in order: a run of one segment, of which only `range` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Index of the segment in the inventory.
    pub(crate) segment: usize,
    pub(crate) run: Run,
    pub(crate) range: LsnRange,
}

/// The verdict on one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    /// Where to cut, if something stands behind the last record that counts.
    pub(crate) cut: Option<usize>,
    /// Nothing in it counts: the whole file goes to quarantine.
    pub(crate) moved_whole: bool,
}

/// What recovery will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// One for each segment of the inventory, in its order.
    pub(crate) segments: Vec<Judged>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) lost: Vec<LsnRange>,
    /// Number of the last record that counts. The next record gets the one after it.
    pub(crate) end: Lsn,
    /// What comes after `end` was in a segment that stays, and a sync of it failed: the next
    /// segment's header has to say so, too.
    pub(crate) supersedes: bool,
    /// Everything up to this number was durable once: something vouches for it.
    pub(crate) vouched: Lsn,
    /// The newest segment is unreadable: records behind `end` may be lost, and nobody knows how
    /// many.
    pub(crate) end_unknown: bool,
}

impl Plan {
    /// `base` is the LSN of the snapshot that replay starts from.
    pub(crate) fn make(segments: &[Facts<'_>], base: Lsn) -> Self {
        let segments = &without_other_histories(segments);
        let limits = clip_limits(segments);
        let vouched = vouched(segments).max(base);
        let (pieces, lost, end) = follow(&kept_runs(segments, &limits), base, vouched);
        let judged: Vec<Judged> = (0..segments.len())
            .map(|index| {
                let context =
                    Context { segments, limits: &limits, base, vouched, end, lost: &lost };
                context.judge(index)
            })
            .collect();
        let newest = judged.last().map(|judged| (judged.verdict, judged.moved_whole));
        let end_unknown = newest == Some((Verdict::BadHeader, true));
        let supersedes =
            segments.iter().zip(&limits).zip(&judged).any(|((segment, limit), judged)| {
                let stays_as_it_is = !judged.moved_whole && judged.cut.is_none();
                let past_end = segment.scan.last_lsn().is_some_and(|last| last > end);
                let torn_at_end = judged.verdict == Verdict::Superseded && *limit == end;
                stays_as_it_is && (past_end || torn_at_end)
            });
        Self { segments: judged, pieces, lost, end, vouched, supersedes, end_unknown }
    }
}

/// A sealed segment whose successor cites another seal is of another history of this store, say
/// from a backup. Its numbers mean other records, so nothing in it counts.
fn without_other_histories<'a>(segments: &[Facts<'a>]) -> Vec<Facts<'a>> {
    let mut segments = segments.to_vec();
    let cited: Vec<_> = segments
        .iter()
        .filter_map(|segment| match &segment.header {
            // Only a forged header cites itself, or one after it.
            Header::Good(header) if header.previous.segment < header.segment => {
                Some((header.previous.segment, header.previous.seal?))
            }
            _ => None,
        })
        .collect();
    for segment in &mut segments {
        let number = segment.name.segment;
        let other = |(cited, crc): &(u64, u32)| {
            *cited == number && segment.scan.seal.is_some_and(|seal| seal.crc != *crc)
        };
        if cited.iter().any(other) {
            segment.header = Header::Foreign;
        }
    }
    segments
}

/// The last number that counts in each segment: a later segment counts from its first number on.
fn clip_limits(segments: &[Facts<'_>]) -> Vec<Lsn> {
    let mut limit = Lsn::new(u64::MAX);
    let mut limits: Vec<_> = segments
        .iter()
        .rev()
        .map(|segment| {
            let mine = limit;
            if let Header::Good(header) = &segment.header {
                limit = limit.min(header.first_lsn.previous());
            }
            mine
        })
        .collect();
    limits.reverse();
    limits
}

fn vouched(segments: &[Facts<'_>]) -> Lsn {
    let of = |segment: &Facts<'_>| match &segment.header {
        Header::Good(header) => segment.scan.vouched.max(header.previous.last_lsn),
        Header::Bad => segment.scan.vouched,
        Header::Foreign | Header::Newer(_) => Lsn::ZERO,
    };
    segments.iter().map(of).max().unwrap_or(Lsn::ZERO)
}

/// All runs that count, in order of their numbers.
fn kept_runs(segments: &[Facts<'_>], limits: &[Lsn]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for (index, (segment, limit)) in segments.iter().zip(limits).enumerate() {
        let runs = match segment.header {
            Header::Good(_) | Header::Bad => segment.scan.runs.as_slice(),
            Header::Foreign | Header::Newer(_) => &[],
        };
        for run in runs {
            let range = LsnRange { first: run.first, last: run.last.min(*limit) };
            if range.first <= range.last {
                pieces.push(Piece { segment: index, run: *run, range });
            }
        }
    }
    pieces.sort_by_key(|piece| piece.range.first);
    pieces
}

/// Walks the runs from `base` on: what to replay, what is lost, where it ends.
fn follow(runs: &[Piece], base: Lsn, vouched: Lsn) -> (Vec<Piece>, Vec<LsnRange>, Lsn) {
    let mut pieces = Vec::new();
    let mut lost = Vec::new();
    let mut reached = base;
    for run in runs {
        let first = run.range.first.max(reached.next());
        if first > run.range.last {
            continue;
        }
        if first > reached.next() {
            if reached >= vouched {
                break; // a hole that nothing vouches for: the torn tail begins
            }
            let last = first.previous().min(vouched);
            lost.push(LsnRange { first: reached.next(), last });
            if last < first.previous() {
                reached = vouched;
                break;
            }
        }
        pieces.push(Piece { range: LsnRange { first, last: run.range.last }, ..*run });
        reached = run.range.last;
    }
    if reached < vouched {
        lost.push(LsnRange { first: reached.next(), last: vouched });
        reached = vouched;
    }
    (pieces, lost, reached)
}

struct Context<'a> {
    segments: &'a [Facts<'a>],
    limits: &'a [Lsn],
    base: Lsn,
    vouched: Lsn,
    end: Lsn,
    lost: &'a [LsnRange],
}

impl Context<'_> {
    fn judge(&self, index: usize) -> Judged {
        let nothing = Judged { verdict: Verdict::Foreign, cut: None, moved_whole: true };
        let (Some(segment), Some(limit)) = (self.segments.get(index), self.limits.get(index))
        else {
            return nothing;
        };
        let newest = index.saturating_add(1) == self.segments.len();
        let cut = if newest { self.cut(segment) } else { None };
        let records = !segment.scan.runs.is_empty();
        let verdict = judge(Evidence {
            header: match &segment.header {
                Header::Good(_) => HeaderState::Good,
                Header::Bad => HeaderState::Bad,
                Header::Foreign => HeaderState::Foreign,
                Header::Newer(_) => HeaderState::Newer,
            },
            newest,
            records,
            damage: self.damage(index, segment, *limit, cut),
            order: self.order(index, segment, *limit),
            covered: self.is_covered(index, segment),
        });
        let moved_whole = match verdict {
            Verdict::Foreign => true,
            Verdict::Unborn => !segment.scan.damage.is_empty(),
            Verdict::BadHeader => !records,
            _ => false,
        };
        Judged { verdict, cut: if moved_whole { None } else { cut }, moved_whole }
    }

    /// Where the bytes begin that stand behind the last record that counts.
    fn cut(&self, segment: &Facts<'_>) -> Option<usize> {
        let mut kept_end = HEADER_BYTES;
        let mut dropped = false;
        for run in &segment.scan.runs {
            if run.first > self.end {
                dropped = true;
            } else {
                kept_end = run.end;
            }
        }
        let damaged = segment.scan.damage.iter().any(|range| range.start >= kept_end);
        (dropped || damaged).then_some(kept_end)
    }

    fn damage(
        &self,
        index: usize,
        segment: &Facts<'_>,
        limit: Lsn,
        cut: Option<usize>,
    ) -> DamageState {
        let inside = |range: &std::ops::Range<usize>| cut.is_none_or(|cut| range.start < cut);
        let first = segment.name.first_lsn;
        let last = limit.min(segment.scan.last_lsn().unwrap_or(first).max(self.vouched));
        let lost_here = self.lost.iter().any(|lost| lost.first <= last && lost.last >= first);
        let none = segment.scan.damage.is_empty() && cut.is_none();
        if none || (!lost_here && self.is_torn_and_superseded(index, segment, limit)) {
            DamageState::None
        } else if lost_here || segment.scan.damage.iter().any(inside) {
            DamageState::Vouched
        } else {
            DamageState::Unvouched
        }
    }

    fn order(&self, index: usize, segment: &Facts<'_>, limit: Lsn) -> Order {
        let first = segment.name.first_lsn;
        let earlier = self.segments.iter().take(index);
        let previous = earlier.clone().next_back();
        let reached = earlier
            .filter_map(|earlier| earlier.scan.last_lsn())
            .max()
            .unwrap_or(Lsn::ZERO)
            .max(self.base);
        let supersedes =
            matches!(&segment.header, Header::Good(header) if header.previous.superseded);
        let tail_damaged = previous.is_some_and(|previous| !previous.scan.damage.is_empty());
        let leaps = segment.scan.damage.is_empty() && segment.scan.runs.len() > 1;
        if (first > reached.next() && !tail_damaged) || leaps {
            Order::Gap
        } else if previous.and_then(|previous| previous.scan.last_lsn()).is_some_and(|l| l >= first)
            && !supersedes
        {
            Order::Overlap
        } else if segment.scan.last_lsn().is_some_and(|last| last > limit)
            || self.is_torn_and_superseded(index, segment, limit)
        {
            Order::Superseded
        } else {
            Order::Joined
        }
    }

    /// True if all its damage stands behind the last record that counts, and its successor says
    /// that a sync of it failed: a power cut may have torn what was written and never acknowledged.
    fn is_torn_and_superseded(&self, index: usize, segment: &Facts<'_>, limit: Lsn) -> bool {
        let mut later = self.segments.iter().skip(index.saturating_add(1));
        let successor = later.find_map(|later| match &later.header {
            Header::Good(header) => Some(header),
            _ => None,
        });
        let counts = |run: &&Run| run.first <= limit;
        let kept_end = segment.scan.runs.iter().rfind(counts).map_or(HEADER_BYTES, |run| run.end);
        !segment.scan.damage.is_empty()
            && segment.scan.damage.iter().all(|range| range.start >= kept_end)
            && successor.is_some_and(|successor| {
                successor.previous.superseded && successor.first_lsn == limit.next()
            })
    }

    /// True if the snapshot holds all that the segment could: its successor starts no later than
    /// the snapshot ends, or it is sealed and its last record is in the snapshot.
    fn is_covered(&self, index: usize, segment: &Facts<'_>) -> bool {
        if self.base == Lsn::ZERO {
            return false;
        }
        match self.segments.get(index.saturating_add(1)) {
            Some(next) => next.name.first_lsn <= self.base.next(),
            None => {
                segment.scan.seal.is_some_and(|seal| seal.last_lsn <= self.base)
                    && segment.scan.last_lsn().is_none_or(|last| last <= self.base)
            }
        }
    }
}

#[cfg(test)]
mod tests;
