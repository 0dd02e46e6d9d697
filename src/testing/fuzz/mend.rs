//! Renews checksums after a mutation, so that a fuzzer gets past them.

use crate::{
    Lsn, StoreId,
    journal::format::{HEADER_BYTES, MAGIC, RECORD_HEADER_BYTES, Seed, header_crc},
};

const CHECKSUM_KEY: &[u8] = b"\"checksum\": ";

/// Makes the bytes of a segment from `start` on verify: follows the lengths from record to record,
/// shortens one that is longer than the file, and writes each checksum anew. With `renumber` the
/// numbers follow each other, but for a small leap now and then.
pub(super) fn records(bytes: &mut [u8], start: usize, seed: Seed, renumber: Option<Lsn>) {
    let mut next = renumber;
    let mut rest = bytes.get_mut(start..).unwrap_or_default();
    while rest.len() > RECORD_HEADER_BYTES {
        let (header, behind) = rest.split_at_mut(RECORD_HEADER_BYTES);
        let Some((crc, covered)) = header.split_first_chunk_mut::<4>() else { return };
        let [a, b, c, kind, lsn @ ..] = covered else { return };
        if *kind == 0 {
            return; // the zeros of a prepared segment
        }
        let len = usize::try_from(u32::from_le_bytes([*a, *b, *c, 0])).unwrap_or(usize::MAX);
        let len = len.min(behind.len());
        for (to, from) in [a, b, c].into_iter().zip(len.to_le_bytes()) {
            *to = from;
        }
        if let (Some(expected), [lsn @ .., _, _, _, _]) = (&mut next, lsn) {
            let leap = lsn.first().map_or(0, |byte| u64::from(byte >> 6));
            let is_seal = *kind == 2;
            let number = if is_seal { expected.previous() } else { *expected };
            let number = Lsn::new(number.get().saturating_add(leap));
            for (to, from) in lsn.iter_mut().zip(number.get().to_le_bytes()) {
                *to = from;
            }
            *expected = number.next();
        }
        let (payload, after) = behind.split_at_mut(len);
        *crc = seed.crc(covered, payload).to_le_bytes();
        rest = after;
    }
}

/// Makes a whole segment file verify, under the store id and the number that its header states.
pub(super) fn segment(bytes: &mut [u8], renumber: bool) {
    let Some(header) = bytes.first_chunk_mut::<HEADER_BYTES>() else { return };
    for (to, from) in header.iter_mut().zip(MAGIC) {
        *to = from;
    }
    self::header(header);
    let store_id = header.get(16..32).and_then(|id| id.first_chunk::<16>());
    let number = header.get(32..40).and_then(|number| number.first_chunk::<8>());
    let first = header.get(40..48).and_then(|lsn| lsn.first_chunk::<8>());
    if let (Some(id), Some(number), Some(first)) = (store_id, number, first) {
        let seed = Seed::new(&StoreId::from_bytes(*id), u64::from_le_bytes(*number));
        let first = Lsn::new(u64::from_le_bytes(*first));
        records(bytes, HEADER_BYTES, seed, renumber.then_some(first));
    }
}

/// Renews the checksum of a segment header.
pub(super) fn header(bytes: &mut [u8; HEADER_BYTES]) {
    let crc = header_crc(bytes).to_le_bytes();
    for (to, from) in bytes.iter_mut().skip(12).zip(crc) {
        *to = from;
    }
}

/// Puts the checksum that holds behind the document, in the place of what stands there.
pub(super) fn snapshot(bytes: &mut Vec<u8>) {
    let key = CHECKSUM_KEY;
    let Some(at) = bytes.windows(key.len()).rposition(|window| window == key) else { return };
    bytes.truncate(at.saturating_add(key.len()));
    let crc = crc32fast::hash(bytes);
    bytes.extend_from_slice(format!("\"crc32:{crc:08x}\"\n}}\n").as_bytes());
}
