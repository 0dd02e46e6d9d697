//! The payloads that one write takes to disk, in the order of their numbers.

use crate::{Lsn, journal::format::RECORD_HEADER_BYTES};

/// Payloads that travel together, each behind its length.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    first: Lsn,
    count: u64,
}

impl Batch {
    pub(super) fn push(&mut self, lsn: Lsn, payload: &[u8]) {
        if self.count == 0 {
            self.first = lsn;
        }
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&len.to_le_bytes());
        self.bytes.extend_from_slice(payload);
        self.count = self.count.saturating_add(1);
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
        let payloads = self.bytes.len().saturating_sub(headers.saturating_mul(4));
        payloads.saturating_add(headers.saturating_mul(RECORD_HEADER_BYTES))
    }

    /// The payloads with their numbers, in order.
    pub(super) fn payloads(&self) -> impl Iterator<Item = (Lsn, &[u8])> {
        let mut rest = self.bytes.as_slice();
        let mut lsn = self.first.previous();
        std::iter::from_fn(move || {
            let (len, behind) = rest.split_first_chunk::<4>()?;
            let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
            let (payload, behind) = behind.split_at_checked(len)?;
            rest = behind;
            lsn = lsn.next();
            Some((lsn, payload))
        })
    }

    /// Bytes of memory that it takes.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Empty again; the memory stays.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.count = 0;
    }
}
