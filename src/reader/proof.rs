//! What the files prove, in numbers: the words of a health check rest on these.

use super::Reader;
use crate::{Lsn, LsnRange};

/// What the files of a store prove, and what they leave open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// Every record up to this number was durable once: a later record, a seal, a header or the
    /// snapshot says so.
    pub vouched: Lsn,
    /// The last record that is there and follows the others.
    pub last: Lsn,
    /// Records up to `last` that nothing vouches for yet: as far as the files tell, what a power
    /// cut could cost now. A clean close leaves none. Records that the node has not written yet are
    /// not in the files.
    pub unvouched_records: u64,
    /// Records that were durable once and are gone.
    pub lost: Vec<LsnRange>,
    /// The newest segment cannot be read at all, so records behind `last` may be lost too.
    pub end_unknown: bool,
    /// Bytes behind the last record that counts: a write that was cut off, or one in flight.
    pub torn_bytes: u64,
}

impl Reader {
    /// What the files prove about the records.
    #[must_use]
    pub fn proof(&self) -> Proof {
        let recovered = self.recovered();
        let plan = &recovered.plan;
        let torn = recovered.inventory.segments.iter().zip(&plan.segments);
        let torn_bytes = torn
            .filter_map(|(segment, judged)| {
                let cut = judged.cut?;
                Some(segment.content_end().saturating_sub(cut) as u64)
            })
            .fold(0, u64::saturating_add);
        Proof {
            vouched: plan.vouched,
            last: plan.end,
            unvouched_records: plan.end.get().saturating_sub(plan.vouched.get()),
            lost: plan.lost.clone(),
            end_unknown: plan.end_unknown,
            torn_bytes,
        }
    }
}
