//! One segment being read: which records verify, where bytes are damaged, how far records vouch.
//!
//! A pure function of the segment's bytes. It never changes a file and never stops at damage: it
//! looks for the next record that verifies alone, so that the caller can tell damage that nothing
//! vouches for (a torn tail) from damage that a later record vouches for (corruption).

use std::ops::Range;

use super::{
    checksums::Checksums,
    format::{
        HEADER_BYTES, Record, RecordKind, SEAL_BYTES, Seed, claim, decode_record, verified_record,
    },
};
use crate::Lsn;

/// A valid record found behind damage is at most this many numbers ahead: a guard against chance.
const LSN_LEAP_MAX: u64 = 1 << 24;
/// Behind damage the checksums of longer records come from [`Checksums`].
const SHORT_BYTES: usize = 8 << 10;

/// Records that follow each other without a break, in numbers and in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) first: Lsn,
    pub(crate) last: Lsn,
    /// Byte offset of the first record.
    pub(crate) start: usize,
    /// Byte offset behind the last record.
    pub(crate) end: usize,
}

/// The seal at the end of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Number of the last record of the segment.
    pub(crate) last_lsn: Lsn,
    pub(crate) crc: u32,
    /// Byte offset of the seal.
    pub(crate) start: usize,
}

/// What a scan found. Offsets are bytes from the start of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) runs: Vec<Run>,
    /// Ranges that are neither a record nor the zeros of a prepared segment's rest.
    pub(crate) damage: Vec<Range<usize>>,
    pub(crate) seal: Option<Seal>,
    /// The largest number that some valid record here vouches for.
    pub(crate) vouched: Lsn,
    /// Number of valid records, seals not counted.
    pub(crate) record_count: u64,
    /// A sound record is of a kind that only a newer version knows.
    pub(crate) unknown_kind: bool,
}

impl Scan {
    /// Number of the last valid record.
    pub(crate) fn last_lsn(&self) -> Option<Lsn> {
        self.runs.last().map(|run| run.last)
    }

    /// Where the bytes end that are a record, a seal or damage: behind it are only zeros.
    pub(crate) fn content_end(&self) -> usize {
        let record = self.runs.last().map_or(0, |run| run.end);
        let seal = self.seal.map_or(0, |seal| seal.start.saturating_add(SEAL_BYTES));
        let damage = self.damage.last().map_or(0, |damage| damage.end);
        record.max(seal).max(damage).max(HEADER_BYTES)
    }

    fn add(&mut self, record: &Record<'_>, offset: usize) {
        self.vouched = self.vouched.max(record.durable_through);
        let end = offset.saturating_add(record.bytes());
        if record.kind == RecordKind::Seal {
            self.seal = Some(Seal { last_lsn: record.lsn, crc: record.crc, start: offset });
            return;
        }
        self.unknown_kind |= record.kind == RecordKind::Unknown;
        self.record_count = self.record_count.saturating_add(1);
        match self.runs.last_mut() {
            Some(run) if run.last.next() == record.lsn && run.end == offset => {
                run.last = record.lsn;
                run.end = end;
            }
            _ => self.runs.push(Run { first: record.lsn, last: record.lsn, start: offset, end }),
        }
    }
}

/// Scans the records of a segment from `start` on. `first_lsn` is the smallest number that may
/// occur.
pub(crate) fn scan(bytes: &[u8], start: usize, seed: Seed, first_lsn: Lsn) -> Scan {
    let mut found = Scan::default();
    let end = content_end(bytes, start);
    let mut offset = start;
    let mut expected = first_lsn;
    let mut checksums = None;
    while offset < end {
        let next = if found.seal.is_some() {
            None // nothing may follow a seal
        } else {
            record_at(bytes, offset, seed, expected)
        };
        if let Some(record) = next {
            found.add(&record, offset);
            offset = offset.saturating_add(record.bytes());
            expected = record.lsn.next();
            continue;
        }
        let resume = match found.seal {
            Some(_) => end,
            None => {
                let within = offset.saturating_add(1)..end;
                next_record(bytes, within, seed, expected, &mut checksums).unwrap_or(end)
            }
        };
        found.damage.push(offset..resume);
        offset = resume;
    }
    found
}

/// The records of a run, in order. Without a seed the bytes must be the very buffer that [`scan`]
/// was given. With one they were read again: a record that does not verify any more ends the
/// iteration with `None` as its item.
pub(crate) fn records(
    bytes: &[u8],
    run: Run,
    seed: Option<Seed>,
) -> impl Iterator<Item = Option<Record<'_>>> {
    let mut offset = run.start;
    std::iter::from_fn(move || {
        if offset >= run.end {
            return None;
        }
        let record = bytes.get(offset..).and_then(|rest| match seed {
            Some(seed) => decode_record(rest, seed),
            None => verified_record(rest),
        });
        offset = match &record {
            Some(record) => offset.saturating_add(record.bytes()),
            None => run.end,
        };
        Some(record)
    })
}

/// A record that verifies and does not go back in numbers.
fn record_at(bytes: &[u8], offset: usize, seed: Seed, expected: Lsn) -> Option<Record<'_>> {
    let rest = bytes.get(offset..)?;
    is_plausible(rest, expected).then(|| decode_record(rest, seed))?
}

/// True if the number that the bytes claim does not go back. Asked before the checksum is worked
/// out, over what may be megabytes.
fn is_plausible(rest: &[u8], expected: Lsn) -> bool {
    let Some((kind, lsn)) = claim(rest) else { return false };
    let smallest = match kind {
        RecordKind::Changes | RecordKind::Unknown => expected,
        // A seal carries the number of the record before it.
        RecordKind::Seal => expected.previous(),
    };
    lsn.get().checked_sub(smallest.get()).is_some_and(|leap| leap <= LSN_LEAP_MAX)
}

/// Where the next record begins that verifies alone.
fn next_record<'a>(
    bytes: &'a [u8],
    mut within: Range<usize>,
    seed: Seed,
    expected: Lsn,
    checksums: &mut Option<Checksums<'a>>,
) -> Option<usize> {
    within.find(|&offset| {
        let rest = bytes.get(offset..).unwrap_or_default();
        let Some(record) = is_plausible(rest, expected).then(|| verified_record(rest)).flatten()
        else {
            return false;
        };
        if record.bytes() <= SHORT_BYTES {
            return decode_record(rest, seed).is_some();
        }
        let checksums = checksums.get_or_insert_with(|| Checksums::new(bytes));
        // The checksum covers all of the record but itself.
        let (start, len) = (offset.saturating_add(4), record.bytes().saturating_sub(4));
        checksums.of(start, len, seed) == Some(record.crc)
    })
}

/// Where the bytes end that are not the zeros of a prepared segment's rest.
fn content_end(bytes: &[u8], start: usize) -> usize {
    let content = bytes.get(start..).unwrap_or_default();
    // Whole pieces first, which the compiler looks at many bytes at a time.
    let is_zeros = |piece: &[u8]| piece.iter().fold(0, |any, byte| any | byte) == 0;
    let zeros: usize =
        content.rchunks(4096).take_while(|piece| is_zeros(piece)).map(<[u8]>::len).sum();
    let content = content.get(..content.len() - zeros).unwrap_or_default();
    let len = content.iter().rposition(|&byte| byte != 0).map_or(0, |last| last.saturating_add(1));
    // A record may itself end in zeros: give back as many as a valid one could have, by letting the
    // caller read past this point; `decode_record` is bounded by the file, not by this offset.
    start.saturating_add(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        StoreId,
        journal::format::{encode_record, seal_payload},
    };

    const ID: StoreId = StoreId::from_bytes([7; 16]);

    fn seed() -> Seed {
        Seed::new(&ID, 1)
    }

    fn segment(lsns: &[u64], seal: bool) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut starts = Vec::new();
        for &lsn in lsns {
            starts.push(bytes.len());
            let payload = vec![0x55; 3 + (lsn % 5) as usize];
            let durable = Lsn::new(lsn - 1);
            encode_record(
                &mut bytes,
                seed(),
                RecordKind::Changes,
                Lsn::new(lsn),
                durable,
                &payload,
            );
        }
        if seal {
            starts.push(bytes.len());
            let last = Lsn::new(*lsns.last().unwrap_or(&0));
            let payload = seal_payload(lsns.len() as u64, bytes.len() as u64);
            encode_record(&mut bytes, seed(), RecordKind::Seal, last, last, &payload);
        }
        starts.push(bytes.len());
        (bytes, starts)
    }

    fn only(ranges: &[Range<usize>]) -> Range<usize> {
        assert_eq!(ranges.len(), 1, "{ranges:?}");
        ranges[0].clone()
    }

    fn scanned(bytes: &[u8]) -> Scan {
        scan(bytes, 0, seed(), Lsn::new(1))
    }

    #[test]
    fn a_sealed_segment_is_one_run() {
        let (mut bytes, starts) = segment(&[1, 2, 3], true);
        bytes.extend_from_slice(&[0; 100]);
        let found = scanned(&bytes);
        assert_eq!(
            found.runs,
            [Run { first: Lsn::new(1), last: Lsn::new(3), start: 0, end: starts[3] }]
        );
        assert!(found.damage.is_empty());
        assert_eq!(found.seal.unwrap().last_lsn, Lsn::new(3));
        assert_eq!(found.vouched, Lsn::new(3));
        assert_eq!(found.record_count, 3);
    }

    #[test]
    fn an_empty_sealed_segment_has_no_records() {
        let (bytes, _) = segment(&[], true);
        let found = scanned(&bytes);
        assert_eq!(found.seal.unwrap().last_lsn, Lsn::ZERO);
        assert!(found.runs.is_empty());
    }

    #[test]
    fn records_behind_damage_are_found_and_the_damage_is_bounded() {
        let (mut bytes, starts) = segment(&[1, 2, 3, 4], false);
        bytes[starts[1] + 9] ^= 1;
        let found = scanned(&bytes);
        assert_eq!(only(&found.damage), starts[1]..starts[2]);
        assert_eq!(found.runs.len(), 2);
        assert_eq!(found.runs[1].first, Lsn::new(3));
        assert_eq!(found.vouched, Lsn::new(3), "record 4 says that 3 was durable");
    }

    #[test]
    fn a_record_that_ends_in_zeros_is_whole() {
        let mut bytes = Vec::new();
        encode_record(&mut bytes, seed(), RecordKind::Changes, Lsn::new(1), Lsn::ZERO, &[0; 9]);
        let len = bytes.len();
        for tail in [0, 1, 50] {
            let mut bytes = bytes.clone();
            bytes.extend_from_slice(&vec![0; tail]);
            let found = scanned(&bytes);
            assert!(found.damage.is_empty(), "tail {tail}");
            assert_eq!(found.runs[0].end, len);
        }
    }

    #[test]
    fn every_cut_of_the_last_record_leaves_the_records_before_it() {
        let (bytes, starts) = segment(&[1, 2, 3], false);
        for cut in starts[2]..bytes.len() {
            let mut torn = bytes[..cut].to_vec();
            torn.resize(bytes.len() + 64, 0);
            let found = scanned(&torn);
            assert_eq!(found.last_lsn(), Some(Lsn::new(2)), "cut {cut}");
            assert_eq!(found.damage.is_empty(), cut == starts[2], "cut {cut}");
        }
    }

    #[test]
    fn stale_copies_behind_the_end_never_count() {
        let (first, _) = segment(&[1, 2], false);
        let mut bytes = first.clone();
        bytes.extend_from_slice(&first);
        let found = scanned(&bytes);
        assert_eq!(found.last_lsn(), Some(Lsn::new(2)));
        assert_eq!(only(&found.damage), first.len()..bytes.len());
    }

    #[test]
    fn nothing_counts_behind_a_seal() {
        let (mut bytes, _) = segment(&[1, 2], true);
        let sealed = bytes.len();
        encode_record(&mut bytes, seed(), RecordKind::Changes, Lsn::new(3), Lsn::ZERO, b"late");
        let found = scanned(&bytes);
        assert_eq!(found.last_lsn(), Some(Lsn::new(2)));
        assert_eq!(only(&found.damage), sealed..bytes.len());
    }

    #[test]
    fn a_leap_in_numbers_starts_a_new_run() {
        let (bytes, starts) = segment(&[1, 2, 6, 7], false);
        let found = scanned(&bytes);
        assert!(found.damage.is_empty());
        assert_eq!(found.runs.len(), 2);
        assert_eq!((found.runs[1].first, found.runs[1].start), (Lsn::new(6), starts[2]));
    }

    /// Every byte might begin a record of megabytes. A checksum over each of those takes hours.
    #[test]
    fn a_segment_of_rubbish_is_read_in_one_pass() {
        let mut bytes = vec![0; 2 << 20];
        let mut bits: u64 = 1;
        for byte in &mut bytes {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            *byte = (bits >> 56) as u8;
        }
        let (record, _) = segment(&[1], false);
        bytes.extend_from_slice(&record);
        let found = scanned(&bytes);
        assert_eq!(only(&found.damage), 0..2 << 20);
        assert_eq!(found.last_lsn(), Some(Lsn::new(1)), "what is behind it is found");
    }

    /// What a stranger has stored may be made to look like the starts of long records, and is
    /// searched when the record around it is damaged.
    #[test]
    fn claims_of_long_records_at_every_turn_cost_no_more_than_a_pass() {
        let mut bytes = Vec::new();
        let claimed = 1_u32 << 19;
        while bytes.len() < 1 << 20 {
            bytes.extend_from_slice(&[0xaa; 4]);
            bytes.extend_from_slice(&(claimed | 1 << 24).to_le_bytes());
            bytes.extend_from_slice(&2_u64.to_le_bytes());
            bytes.extend_from_slice(&1_u32.to_le_bytes());
        }
        let rubbish = bytes.len();
        let long = vec![0x55; 1 << 16];
        encode_record(&mut bytes, seed(), RecordKind::Changes, Lsn::new(2), Lsn::new(1), &long);
        let found = scanned(&bytes);
        assert_eq!(only(&found.damage), 0..rubbish);
        assert_eq!(found.last_lsn(), Some(Lsn::new(2)), "a long record behind it is found");
    }

    #[test]
    fn records_of_a_run_come_back_in_order() {
        let (bytes, _) = segment(&[1, 2, 3], true);
        let run = scanned(&bytes).runs[0];
        for seed in [None, Some(seed())] {
            let lsns: Vec<_> = records(&bytes, run, seed).map(|r| r.unwrap().lsn.get()).collect();
            assert_eq!(lsns, [1, 2, 3]);
        }
        let mut rotten = bytes.clone();
        rotten[30] ^= 1;
        let read: Vec<_> = records(&rotten, run, Some(seed())).map(|r| r.is_some()).collect();
        assert_eq!(read.last(), Some(&false));
    }
}
