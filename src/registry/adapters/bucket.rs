//! A token bucket in eight bytes, one for each peer, and the age of a wall-clock time that may have
//! jumped.

use std::{collections::HashMap, time::Duration};

use chrono::TimeDelta;
use libp2p::PeerId;

use crate::state::Time;

const MINUTE_MS: i64 = 60_000;
/// Most peers that have a bucket of [`Buckets`]; beyond it nobody new gets a token until some are
/// full again.
const BUCKETS_MAX: usize = 65_536;

/// Holds a minute's worth of tokens at most, and starts full.
///
/// It keeps only the time at which it will be full again, so that it needs no timer and no
/// fractions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    full_at_ms: i64,
}

impl Bucket {
    pub(super) const fn full() -> Self {
        Self { full_at_ms: i64::MIN }
    }

    /// True if a token is there.
    pub(super) fn is_ready(&self, per_minute: u32, now: Time) -> bool {
        per_minute > 0 && self.next(per_minute, now).is_some()
    }

    /// Takes a token if there is one.
    pub(super) fn take(&mut self, per_minute: u32, now: Time) -> bool {
        let next = if per_minute > 0 { self.next(per_minute, now) } else { None };
        if let Some(full_at_ms) = next {
            self.full_at_ms = full_at_ms;
        }
        next.is_some()
    }

    /// True if no token is missing.
    fn is_full(&self, now: Time) -> bool {
        let waits = self.full_at_ms.saturating_sub(now.get().timestamp_millis());
        !(1..=MINUTE_MS).contains(&waits)
    }

    /// When it would be full again with one token less; `None` if it has none.
    fn next(&self, per_minute: u32, now: Time) -> Option<i64> {
        let now = now.get().timestamp_millis();
        let token = (MINUTE_MS / i64::from(per_minute)).max(1);
        // Further off than a whole bucket only if the clock was set back: start afresh.
        let waits = self.full_at_ms.saturating_sub(now);
        let from = if (0..=MINUTE_MS).contains(&waits) { self.full_at_ms } else { now };
        let next = from.saturating_add(token);
        (next.saturating_sub(now) <= MINUTE_MS).then_some(next)
    }
}

/// One bucket for each peer that took a token lately.
#[derive(Clone, Debug)]
pub(in crate::registry) struct Buckets {
    per_minute: u32,
    buckets: HashMap<PeerId, Bucket>,
}

impl Buckets {
    pub(in crate::registry) fn new(per_minute: u32) -> Self {
        Self { per_minute, buckets: HashMap::new() }
    }

    /// Takes a token of the peer's; false if it has none left.
    pub(in crate::registry) fn take(&mut self, peer: &PeerId, now: Time) -> bool {
        if self.buckets.len() >= BUCKETS_MAX && !self.buckets.contains_key(peer) {
            self.prune(now);
            if self.buckets.len() >= BUCKETS_MAX {
                return false;
            }
        }
        self.buckets.entry(*peer).or_insert(Bucket::full()).take(self.per_minute, now)
    }

    /// Forgets the buckets that are full again.
    pub(in crate::registry) fn prune(&mut self, now: Time) {
        self.buckets.retain(|_, bucket| !bucket.is_full(now));
    }
}

/// True if `then` is at least this long ago, or if the clock was set back since.
pub(super) fn is_past(then: Time, age: Duration, now: Time) -> bool {
    let gone = now.get().signed_duration_since(then.get());
    gone < TimeDelta::zero() || gone.to_std().is_ok_and(|gone| gone >= age)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Time {
        chrono::DateTime::from_timestamp_millis(1_800_000_000_000 + ms).unwrap().into()
    }

    #[test]
    fn a_bucket_gives_its_tokens_and_then_one_at_a_time() {
        let mut bucket = Bucket::full();
        assert_eq!((0..100).filter(|_| bucket.take(10, at(0))).count(), 10);
        assert!(!bucket.take(10, at(5_999)));
        assert!(bucket.take(10, at(6_000)));
        assert!(!bucket.take(10, at(6_001)));
        assert_eq!((0..100).filter(|_| bucket.take(10, at(1_000_000))).count(), 10);
        assert!(!bucket.take(0, at(9_000_000)), "none a minute is none");
    }

    #[test]
    fn each_peer_has_a_bucket_that_is_forgotten_when_it_is_full_again() {
        let (peer, other) = (PeerId::random(), PeerId::random());
        let mut buckets = Buckets::new(10);
        assert_eq!((0..200).filter(|_| buckets.take(&peer, at(0))).count(), 10);
        assert!(buckets.take(&other, at(0)), "each peer has its own");
        buckets.prune(at(0));
        assert_eq!(buckets.buckets.len(), 2);
        buckets.prune(at(6_000));
        assert_eq!(buckets.buckets.len(), 1, "the other's is full again");
        assert!(buckets.take(&peer, at(6_000)) && !buckets.take(&peer, at(6_000)));
        buckets.prune(at(3_600_000));
        assert!(buckets.buckets.is_empty());
        assert!(!Buckets::new(0).take(&peer, at(0)), "none a minute is none");
    }

    #[test]
    fn a_clock_set_back_does_not_close_the_bucket() {
        let mut bucket = Bucket::full();
        while bucket.take(10, at(0)) {}
        assert!(bucket.take(10, at(-3_600_000)));
        assert!(is_past(at(0), Duration::from_secs(60), at(-1)));
    }
}
