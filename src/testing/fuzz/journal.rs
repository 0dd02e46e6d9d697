//! The record scanner, the segment header, and the payloads of records.

use super::{Checked, MEND, RENUMBER, ensure, mend, snapshot::fingerprint, split_mode};
use crate::{
    Lsn, StoreId,
    ids::NUMBER_MAX,
    journal::{
        format::{
            FORMAT_VERSION, HEADER_BYTES, HeaderError, MAGIC, Record, RecordKind, SEAL_BYTES, Seed,
            SegmentHeader, decode_record, encode_record,
        },
        name::SegmentName,
        scan::{Scan, records, scan},
    },
    state::{self, Change, Limits, State},
};

const ID: StoreId = StoreId::from_bytes(*b"the fuzzer's own");
const SEGMENT: u64 = 7;
/// Where a header's segment numbers and LSNs stand.
const SEGMENT_AT: usize = 32;
const FIRST_LSN_AT: usize = 40;
const NUMBERS_AT: [usize; 4] = [32, 40, 56, 64];
/// Where a header's flags stand, behind all of its fields.
const FLAGS_AT: usize = 76;

/// Any bytes as the records of a segment. Accepted: the records and the seal.
///
/// # Errors
/// What does not hold.
pub fn scan_segment(input: &[u8]) -> Checked {
    let (mode, rest) = split_mode(input);
    let mut bytes = rest.to_vec();
    let seed = Seed::new(&ID, SEGMENT);
    let first = Lsn::new(1);
    if mode & MEND != 0 {
        mend::records(&mut bytes, 0, seed, (mode & RENUMBER != 0).then_some(first));
    }
    let found = scan(&bytes, 0, seed, first);
    ensure!(found == scan(&bytes, 0, seed, first), "a second scan differs");
    check_ranges(&found, &bytes)?;
    let mut state = State::new(Limits::default());
    let mut count: u64 = 0;
    let mut before = Lsn::ZERO;
    for run in &found.runs {
        ensure!(run.first > before, "run {run:?} goes back behind {before}");
        let mut last = run.first.previous();
        for record in records(&bytes, *run, Some(seed)) {
            let record = record.ok_or("a record of a run does not verify again")?;
            ensure!(record.lsn == last.next(), "lsn {} after {last} in a run", record.lsn);
            last = record.lsn;
            count = count.saturating_add(1);
            ensure!(found.vouched >= record.durable_through, "{record:?} vouches for more");
            check_record(&record, seed)?;
            if record.kind == RecordKind::Changes {
                check_payload(record.payload, &mut state)?;
            }
        }
        ensure!(last == run.last, "run {run:?} ends with {last}");
        before = run.last;
    }
    ensure!(count == found.record_count, "{count} records, not {}", found.record_count);
    Ok(count.saturating_add(u64::from(found.seal.is_some())))
}

/// Records, seal and damage lie side by side and cover everything but zeros at the end.
fn check_ranges(found: &Scan, bytes: &[u8]) -> Result<(), String> {
    let mut ranges: Vec<_> = found.runs.iter().map(|run| run.start..run.end).collect();
    ranges.extend(found.damage.iter().cloned());
    ranges.extend(found.seal.map(|seal| seal.start..seal.start.saturating_add(SEAL_BYTES)));
    ranges.sort_by_key(|range| range.start);
    let mut end = 0;
    for range in &ranges {
        ensure!(range.start == end && range.end > end, "{range:?} does not follow {end}");
        end = range.end;
    }
    let rest = bytes.get(end..).ok_or("a range ends behind the file")?;
    ensure!(rest.iter().all(|&byte| byte == 0), "bytes behind {end} are not told of");
    Ok(())
}

/// What was read is written as the same bytes again.
fn check_record(record: &Record<'_>, seed: Seed) -> Result<(), String> {
    if record.kind == RecordKind::Unknown {
        return Ok(()); // this version does not write it
    }
    let mut bytes = Vec::new();
    let (kind, lsn, durable) = (record.kind, record.lsn, record.durable_through);
    let crc = encode_record(&mut bytes, seed, kind, lsn, durable, record.payload);
    ensure!(bytes.len() == record.bytes(), "{record:?} is written {} bytes long", bytes.len());
    let again = decode_record(&bytes, seed).ok_or("a record does not read back")?;
    // A distance beyond the start of the journal is written as the distance to the start.
    let expected = Record { crc, ..*record };
    ensure!(again == expected, "{record:?} reads back as {again:?}");
    Ok(())
}

/// Changes round-trip, and applying them is deterministic and all or nothing.
fn check_payload(payload: &[u8], state: &mut State) -> Result<(), String> {
    let decoded: Result<Vec<Change>, _> = state::decode(payload).collect();
    let Ok(changes) = decoded else { return Ok(()) };
    let written = |changes: &[Change]| {
        let mut bytes = Vec::new();
        state::encode(changes, &mut bytes).map(|()| bytes).map_err(|error| error.to_string())
    };
    let bytes = written(&changes)?;
    let again: Result<Vec<Change>, _> = state::decode(&bytes).collect();
    let again = again.map_err(|error| format!("{changes:?} does not read back: {error}"))?;
    // Compared as bytes: a location may hold a number that differs from itself.
    ensure!(written(&again)? == bytes, "{changes:?} reads back as {again:?}");
    let (mut twin, before) = (state.clone(), state.clone());
    let effect = state.apply_all(&changes).map_err(|error| error.to_string());
    let same = twin.apply_all(&again).map_err(|error| error.to_string());
    ensure!(effect == same, "applied {effect:?} and then {same:?}: {changes:?}");
    ensure!(fingerprint(state)? == fingerprint(&twin)?, "not deterministic: {changes:?}");
    if effect.is_err() {
        ensure!(fingerprint(state)? == fingerprint(&before)?, "half applied: {changes:?}");
    }
    Ok(())
}

/// Any bytes as a segment header, and as the name of a segment. Accepted: a sound header.
///
/// # Errors
/// What does not hold.
pub fn read_header(input: &[u8]) -> Checked {
    let (mode, rest) = split_mode(input);
    if let Some(name) = std::str::from_utf8(rest).ok().and_then(SegmentName::parse) {
        ensure!(name.to_string().as_bytes() == rest, "{name} is not what was read");
    }
    let mut bytes = rest.to_vec();
    if mode & MEND != 0 {
        bytes.resize(HEADER_BYTES.max(bytes.len()), 0);
        if let Some(header) = bytes.first_chunk_mut::<HEADER_BYTES>() {
            mend::header(header);
        }
    }
    match SegmentHeader::decode(&bytes) {
        Ok(header) => {
            let written = header.encode();
            ensure!(SegmentHeader::decode(&written) == Ok(header), "{header:?} does not read back");
            let rest = bytes.get(HEADER_BYTES..).unwrap_or_default();
            let longer = [written.as_slice(), rest].concat();
            ensure!(SegmentHeader::decode(&longer) == Ok(header), "bytes behind it count");
            // Without the flag there is no seal, whatever stands in its place.
            if header.previous.seal.is_some() {
                let fields = |from: &[u8]| from.get(16..FLAGS_AT).map(<[u8]>::to_vec);
                ensure!(fields(&written) == fields(&bytes), "{header:?} is written otherwise");
            }
            Ok(1)
        }
        Err(HeaderError::Newer(version)) => {
            ensure!(version != FORMAT_VERSION, "version {version} is newer than itself");
            Ok(1)
        }
        Err(HeaderError::Bad) => {
            let is_bad = !bytes.starts_with(&MAGIC) || has_absurd_number(&bytes);
            ensure!(mode & MEND == 0 || is_bad, "a sound header is bad");
            Ok(0)
        }
    }
}

fn has_absurd_number(header: &[u8]) -> bool {
    let number = |at: usize| header.get(at..)?.first_chunk::<8>().copied().map(u64::from_le_bytes);
    let begins_at_one = [SEGMENT_AT, FIRST_LSN_AT].into_iter();
    NUMBERS_AT.into_iter().filter_map(number).any(|number| number > NUMBER_MAX)
        || begins_at_one.filter_map(number).any(|number| number == 0)
}
