//! The checksum of any range of a buffer, at a price that does not depend on its length.
//!
//! Behind damage a scan tries every byte as the start of a record. Bytes that somebody made can
//! claim a record of megabytes at each of them, and a checksum over each claim would take hours.
//! CRC-32 is linear: that of a range follows from those of the two prefixes that end where it
//! begins and where it ends.

use super::format::Seed;

/// A prefix is remembered at each multiple of this.
const BLOCK_BYTES: usize = 1 << 10;

/// See the module.
pub(super) struct Checksums<'a> {
    bytes: &'a [u8],
    /// Of the bytes before each block.
    prefixes: Vec<u32>,
}

impl<'a> Checksums<'a> {
    /// One pass over the bytes.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        let mut prefixes = vec![0];
        for block in bytes.chunks_exact(BLOCK_BYTES) {
            hasher.update(block);
            prefixes.push(hasher.clone().finalize());
        }
        Self { bytes, prefixes }
    }

    /// What [`Seed::crc`] gives for the bytes from `start` on; `None` if so many are not there.
    pub(super) fn of(&self, start: usize, len: usize, seed: Seed) -> Option<u32> {
        let end = start.checked_add(len)?;
        let (before, through) = (self.prefix(start)?, self.prefix(end)?);
        // As if the seed were the checksum of what stands before the range.
        Some(shifted(before ^ seed.value(), len) ^ through)
    }

    /// The checksum of the first `end` bytes.
    fn prefix(&self, end: usize) -> Option<u32> {
        let block = end / BLOCK_BYTES;
        let rest = self.bytes.get(block.checked_mul(BLOCK_BYTES)?..end)?;
        let mut hasher = crc32fast::Hasher::new_with_initial(*self.prefixes.get(block)?);
        hasher.update(rest);
        Some(hasher.finalize())
    }
}

/// What a checksum contributes to that of `len` more bytes.
fn shifted(crc: u32, len: usize) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(crc);
    hasher.combine(&crc32fast::Hasher::new_with_initial_len(0, len as u64));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreId;

    #[test]
    fn it_is_the_checksum_of_the_range() {
        let bytes: Vec<u8> =
            (0..5_u32 << 10).map(|n| (n.wrapping_mul(n) >> 3).to_le_bytes()[0]).collect();
        let checksums = Checksums::new(&bytes);
        let seed = Seed::new(&StoreId::from_bytes([3; 16]), 9);
        for start in [0, 1, 700, 1023, 1024, 1025, 4000, 5119, 5120] {
            for len in [0, 1, 20, 1000, 1024, 1100, 2048, 3000, 5000, 5120] {
                let range = bytes.get(start..start + len);
                let expected = range.map(|range| seed.crc(range, &[]));
                assert_eq!(checksums.of(start, len, seed), expected, "{start}, {len}");
            }
        }
        assert_eq!(checksums.of(usize::MAX, 2, seed), None);
    }
}
