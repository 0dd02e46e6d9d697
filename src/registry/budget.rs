//! A token bucket for each peer: how many records it may cause at once.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use libp2p_identity::PeerId;

/// Most peers that have a bucket; beyond it nobody new gets a token until some are full again.
const BUCKETS_MAX: usize = 65_536;
const MINUTE: Duration = Duration::from_secs(60);

/// One bucket for each peer that took a token lately.
#[derive(Debug)]
pub(super) struct Budget {
    per_minute: u32,
    buckets: HashMap<PeerId, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    refilled: Instant,
}

impl Budget {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { per_minute, buckets: HashMap::new() }
    }

    /// Takes a token; false if the peer has none left.
    pub(super) fn take(&mut self, peer: &PeerId, now: Instant) -> bool {
        if self.buckets.len() >= BUCKETS_MAX && !self.buckets.contains_key(peer) {
            self.prune(now);
            if self.buckets.len() >= BUCKETS_MAX {
                return false;
            }
        }
        let full = self.per_minute;
        let bucket = self.buckets.entry(*peer).or_insert(Bucket { tokens: full, refilled: now });
        bucket.refill(full, now);
        match bucket.tokens.checked_sub(1) {
            Some(left) => {
                bucket.tokens = left;
                true
            }
            None => false,
        }
    }

    /// Forgets the buckets that are full again.
    pub(super) fn prune(&mut self, now: Instant) {
        let full = self.per_minute;
        self.buckets.retain(|_, bucket| {
            bucket.refill(full, now);
            bucket.tokens < full
        });
    }
}

impl Bucket {
    fn refill(&mut self, per_minute: u32, now: Instant) {
        let Some(each) = MINUTE.checked_div(per_minute) else { return };
        let since = now.saturating_duration_since(self.refilled);
        let gained = u32::try_from(since.as_millis() / each.as_millis().max(1)).unwrap_or(u32::MAX);
        if gained > 0 {
            self.tokens = self.tokens.saturating_add(gained).min(per_minute);
            // The rest of the time counts towards the next token.
            self.refilled = match each.checked_mul(gained) {
                Some(used) if self.tokens < per_minute => self.refilled + used,
                _ => now,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_ten_tokens_and_gets_one_every_six_seconds() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let (peer, other) = (PeerId::random(), PeerId::random());
        let mut budget = Budget::new(10);
        assert_eq!((0..200).filter(|_| budget.take(&peer, start)).count(), 10);
        assert!(budget.take(&other, start), "each peer has its own");
        assert!(!budget.take(&peer, at(5)));
        assert!(budget.take(&peer, at(6)));
        assert!(!budget.take(&peer, at(6)));
        assert_eq!((0..200).filter(|_| budget.take(&peer, at(3600))).count(), 10);
        budget.prune(at(3600));
        assert_eq!(budget.buckets.len(), 1);
        budget.prune(at(7200));
        assert!(budget.buckets.is_empty());
    }

    #[test]
    fn no_budget_means_no_token() {
        assert!(!Budget::new(0).take(&PeerId::random(), Instant::now()));
    }
}
