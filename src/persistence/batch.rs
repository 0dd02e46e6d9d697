//! The payloads that one write takes to disk, in the order of their numbers.

use crate::{Lsn, journal::format::RECORD_HEADER_BYTES};

/// Room that is made for payloads at a time. One buffer that grew instead would be copied now and
/// then, and the append that has it copied would take as long as hundreds of others.
const BLOCK_BYTES: usize = 64 << 10;

/// Payloads that travel together, each behind its length.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Blocks that are full, and the one that is being filled. No payload is in two.
    full: Vec<Vec<u8>>,
    open: Vec<u8>,
    /// Blocks that are empty again.
    spare: Vec<Vec<u8>>,
    first: Lsn,
    count: u64,
    payload_bytes: usize,
}

impl Batch {
    pub(super) fn push(&mut self, lsn: Lsn, payload: &[u8]) {
        if self.count == 0 {
            self.first = lsn;
        }
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
        self.make_room(len.len().saturating_add(payload.len()));
        self.open.extend_from_slice(&len);
        self.open.extend_from_slice(payload);
        self.count = self.count.saturating_add(1);
        self.payload_bytes = self.payload_bytes.saturating_add(payload.len());
    }

    fn make_room(&mut self, bytes: usize) {
        if room_in(&self.open) >= bytes {
            return;
        }
        let spare = self.spare.pop().filter(|block| room_in(block) >= bytes);
        let next = spare.unwrap_or_else(|| Vec::with_capacity(bytes.max(BLOCK_BYTES)));
        let full = std::mem::replace(&mut self.open, next);
        if !full.is_empty() {
            self.full.push(full);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn last_lsn(&self) -> Lsn {
        Lsn::new(self.first.get().saturating_add(self.count).saturating_sub(1))
    }

    /// Bytes that the records take on disk.
    pub(super) fn framed_bytes(&self) -> usize {
        let headers = usize::try_from(self.count).unwrap_or(usize::MAX);
        self.payload_bytes.saturating_add(headers.saturating_mul(RECORD_HEADER_BYTES))
    }

    /// The payloads with their numbers, in order.
    pub(super) fn payloads(&self) -> impl Iterator<Item = (Lsn, &[u8])> {
        let mut lsn = self.first.previous();
        let blocks = self.full.iter().chain([&self.open]);
        blocks.flat_map(|block| payloads_in(block)).map(move |payload| {
            lsn = lsn.next();
            (lsn, payload)
        })
    }

    /// Bytes of memory that it takes.
    pub(super) fn capacity(&self) -> usize {
        let blocks = self.full.iter().chain([&self.open]).chain(&self.spare);
        blocks.map(Vec::capacity).fold(0, usize::saturating_add)
    }

    /// Empty again; the memory stays.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        for mut block in self.full.drain(..) {
            block.clear();
            self.spare.push(block);
        }
        self.count = 0;
        self.payload_bytes = 0;
    }
}

fn room_in(block: &Vec<u8>) -> usize {
    block.capacity().saturating_sub(block.len())
}

fn payloads_in(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = block;
    std::iter::from_fn(move || {
        let (len, behind) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let (payload, behind) = behind.split_at_checked(len)?;
        rest = behind;
        Some(payload)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_come_back_in_order_whatever_their_sizes() {
        let mut batch = Batch::default();
        for round in 1..4_u64 {
            let sizes =
                [0, 1, BLOCK_BYTES - 5, BLOCK_BYTES - 4, 3, 5 * BLOCK_BYTES, 7, 40_000, 40_000];
            let payloads: Vec<Vec<u8>> = (0..).zip(sizes).map(|(n, size)| vec![n; size]).collect();
            for (lsn, payload) in (round * 100..).zip(&payloads) {
                batch.push(Lsn::new(lsn), payload);
            }
            let back: Vec<_> = batch.payloads().map(|(lsn, bytes)| (lsn.get(), bytes)).collect();
            let pushed: Vec<_> = (round * 100..).zip(payloads.iter().map(Vec::as_slice)).collect();
            assert_eq!(back, pushed);
            assert_eq!(batch.count(), 9);
            assert_eq!(batch.last_lsn(), Lsn::new(round * 100 + 8));
            let bytes: usize = sizes.iter().sum();
            assert_eq!(batch.framed_bytes(), bytes + 9 * RECORD_HEADER_BYTES);
            let capacity = batch.capacity();
            assert!(capacity >= bytes);
            batch.clear();
            assert!(batch.is_empty() && batch.payloads().next().is_none());
            assert_eq!((batch.framed_bytes(), batch.capacity()), (0, capacity));
        }
    }
}
